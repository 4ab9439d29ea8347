//! What a call sees of the controller while it has its turn: the core, the way out, the connections, the time.

use super::Settings;
use super::outbox::Outbox;
use super::sessions::Sessions;
use crate::core::{Core, Time};

/// The controller, lent to one call.
#[derive(Debug)]
pub struct Turn<'a> {
    pub(super) core: &'a mut Core,
    pub(super) out: &'a mut Outbox,
    pub(super) sessions: &'a mut Sessions,
    pub(super) settings: &'a Settings,
    pub(super) now: Time,
    /// The disk has room for new work.
    pub(super) has_room: bool,
}

impl Turn<'_> {
    /// Everything there is.
    pub fn core(&self) -> &Core {
        self.core
    }

    /// The time of this turn.
    pub fn now(&self) -> Time {
        self.now
    }
}
