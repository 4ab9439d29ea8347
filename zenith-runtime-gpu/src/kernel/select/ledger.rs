//! What is known: the store's rows, and those that the store could not take. Without a store all of them are in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::lock;
use crate::kernel::candidate::CandidateId;
use crate::kernel::key::{Family, Key};
use crate::kernel::store::{Pin, Row, Scope, Store, StoreError};

/// The most keys whose rows are kept in memory; with more, all of them are forgotten.
const MAX_KEYS: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Ledger {
    store: Option<Store>,
    rows: Mutex<BTreeMap<Key, Vec<Row>>>,
    pins: Mutex<BTreeMap<Scope, Pin>>,
}

impl Ledger {
    pub(super) fn new(store: Option<Store>) -> Self {
        Self { store, rows: Mutex::default(), pins: Mutex::default() }
    }

    pub(super) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// All rows of a key; the store's go before those in memory.
    pub(super) fn rows(&self, key: &Key) -> Vec<Row> {
        let mut rows = self.store.as_ref().map(|store| store.rows(key)).unwrap_or_default();
        rows.extend(lock(&self.rows).get(key).into_iter().flatten().cloned());
        rows
    }

    /// All keys of a family that something is known of.
    pub(super) fn keys(&self, family: &Family) -> Vec<Key> {
        let mut keys = self.store.as_ref().map(|store| store.keys(family)).unwrap_or_default();
        keys.extend(lock(&self.rows).keys().filter(|key| key.family() == family).cloned());
        keys.sort();
        keys.dedup();
        keys
    }

    /// Keeps a row: in the store, or in memory where that fails.
    pub(super) fn put(&self, row: Row) {
        let Some(store) = &self.store else { return self.keep(row) };
        if let Err(error) = store.put(&row) {
            tracing::warn!(%error, "a measurement is kept in memory only, and will be made again by the next process");
            self.keep(row);
        }
    }

    fn keep(&self, row: Row) {
        let mut rows = lock(&self.rows);
        if rows.len() >= MAX_KEYS && !rows.contains_key(&row.key) {
            rows.clear();
        }
        rows.entry(row.key.clone()).or_default().push(row);
    }

    pub(super) fn pinned(&self, key: &Key) -> Option<Pin> {
        if let Some(store) = &self.store {
            return store.pinned(key);
        }
        let pins = lock(&self.pins);
        let scopes = [Scope::Key(key.clone()), Scope::Op(key.family().op.name.clone())];
        scopes.iter().find_map(|scope| pins.get(scope).cloned())
    }

    pub(super) fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        match &self.store {
            Some(store) => store.pin(pin),
            None => {
                lock(&self.pins).insert(pin.scope.clone(), pin.clone());
                Ok(())
            }
        }
    }

    pub(super) fn unpin(&self, scope: &Scope) -> Result<bool, StoreError> {
        match &self.store {
            Some(store) => store.unpin(scope),
            None => Ok(lock(&self.pins).remove(scope).is_some()),
        }
    }

    pub(super) fn forget(&self, key: &Key, candidate: Option<&CandidateId>) -> Result<usize, StoreError> {
        let mut rows = lock(&self.rows);
        let mut forgotten = 0;
        if let Some(kept) = rows.get_mut(key) {
            let before = kept.len();
            kept.retain(|row| candidate.is_some_and(|candidate| row.candidate != *candidate));
            forgotten = before - kept.len();
        }
        drop(rows);
        let stored = self.store.as_ref().map_or(Ok(0), |store| store.forget(key, candidate))?;
        Ok(forgotten + stored)
    }
}
