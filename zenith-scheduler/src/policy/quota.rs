//! What queues and users are promised, and what they may have at most. Who is served first within that is `order`'s.

use serde::{Deserialize, Serialize};

use super::usage::Usage;

/// What holds for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// Its share of what is shared, against the weights of the others.
    pub weight: f64,
    /// GPUs it can have whenever it wants: it is served before all that borrow, and takes back what was lent from
    /// preemptible work.
    pub guarantee: u32,
    /// GPUs it never has more of, lent ones included.
    pub limit: Option<u32>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { weight: 1.0, guarantee: 0, limit: None }
    }
}

/// What holds for a user.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserSettings {
    /// Their share against the weights of other users.
    pub weight: f64,
    /// GPUs they never have more of.
    pub limit: Option<u32>,
}

impl Default for UserSettings {
    fn default() -> Self {
        Self { weight: 1.0, limit: None }
    }
}

/// A queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// What holds for it.
    pub settings: QueueSettings,
    /// What it has and had.
    pub usage: Usage,
}

/// A user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// Their name.
    pub name: String,
    /// What holds for them.
    pub settings: UserSettings,
    /// What they have and had.
    pub usage: Usage,
}

impl QueueSettings {
    /// What is wrong with the settings, if anything is.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if !(self.weight.is_finite() && self.weight > 0.0) {
            Some("the weight has to be a number above zero")
        } else if self.limit.is_some_and(|limit| limit < self.guarantee) {
            Some("the guarantee is above the limit")
        } else {
            None
        }
    }
}

impl UserSettings {
    /// What is wrong with the settings, if anything is.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        (!(self.weight.is_finite() && self.weight > 0.0))
            .then_some("the weight has to be a number above zero")
    }
}

impl Queue {
    /// With so many GPUs more it stays within what it is promised.
    pub(crate) fn is_promised(&self, gpus: u32) -> bool {
        gpus > 0 && self.usage.gpus().saturating_add(gpus) <= self.settings.guarantee
    }

    /// GPUs it has beyond what it is promised.
    pub(crate) fn borrowed(&self) -> u32 {
        self.usage.gpus().saturating_sub(self.settings.guarantee)
    }

    /// GPUs it may have beside those it has and stay within what it is promised.
    pub(crate) fn promised_left(&self) -> u32 {
        self.settings.guarantee.saturating_sub(self.usage.gpus())
    }

    /// GPUs it may have beside those it has.
    pub(crate) fn left(&self) -> u32 {
        left(self.settings.limit, self.usage.gpus())
    }

    /// It may have so many GPUs more.
    pub(crate) fn may_have(&self, gpus: u32) -> bool {
        gpus <= self.left()
    }
}

impl User {
    /// GPUs they may have beside those they have.
    pub(crate) fn left(&self) -> u32 {
        left(self.settings.limit, self.usage.gpus())
    }

    /// They may have so many GPUs more.
    pub(crate) fn may_have(&self, gpus: u32) -> bool {
        gpus <= self.left()
    }
}

fn left(limit: Option<u32>, used: u32) -> u32 {
    limit.map_or(u32::MAX, |limit| limit.saturating_sub(used))
}
