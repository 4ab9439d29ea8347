//! A user's fixed choices. They are decisions of people, so they are on disk for good before a call returns.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::files::{self, Existing};
use super::{Store, StoreError};
use crate::kernel::key::{Key, Name, digest};

const KIND: &str = "pin";

/// For what a choice is fixed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One key.
    Key(Key),
    /// An operation, whatever the key. A pin of a key goes before it.
    Op(Name),
}

/// A user's fixed choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// For what.
    pub scope: Scope,
    /// The candidate's name; whatever version there is.
    pub candidate: Name,
    /// Why, in the user's words.
    pub note: String,
}

impl Store {
    /// Fixes a choice, in the place of another one for the same scope.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        let path = self.pin_path(&pin.scope);
        files::write(&path, KIND, pin, Existing::IsReplaced)?;
        files::sync_folder(&self.pins_folder())
    }

    /// Takes a fixed choice back; whether there was one.
    ///
    /// # Errors
    /// When it cannot be taken away.
    pub fn unpin(&self, scope: &Scope) -> Result<bool, StoreError> {
        let was = files::remove(&self.pin_path(scope))?;
        if was {
            files::sync_folder(&self.pins_folder())?;
        }
        Ok(was)
    }

    /// The choice that is fixed for `key`: its own, or its operation's.
    #[must_use]
    pub fn pinned(&self, key: &Key) -> Option<Pin> {
        let scopes = [Scope::Key(key.clone()), Scope::Op(key.family().op.name.clone())];
        scopes.into_iter().find_map(|scope| {
            let pin: Pin = files::read(&self.pin_path(&scope), KIND).whole()?;
            (pin.scope == scope).then_some(pin)
        })
    }

    /// All fixed choices, in the order of their scopes.
    #[must_use]
    pub fn pins(&self) -> Vec<Pin> {
        let read = |path: PathBuf| {
            files::read::<Pin>(&path, KIND).whole().filter(|pin| self.pin_path(&pin.scope) == path)
        };
        let mut pins: Vec<Pin> = files::list(&self.pins_folder()).into_iter().filter_map(read).collect();
        pins.sort_by(|a, b| a.scope.cmp(&b.scope));
        pins
    }

    pub(super) fn pins_folder(&self) -> PathBuf {
        self.root().join("pins")
    }

    fn pin_path(&self, scope: &Scope) -> PathBuf {
        let text = match scope {
            Scope::Key(key) => format!("key {key}"),
            Scope::Op(name) => format!("op {name}"),
        };
        self.pins_folder().join(format!("{}.pin", digest(&text)))
    }
}
