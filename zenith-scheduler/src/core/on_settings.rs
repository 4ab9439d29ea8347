//! What operators set: queues and users.

use super::Core;
use super::comm::Comm;
use super::error::Error;
use super::event::Change;
use super::time::Time;
use crate::policy::quota::{QueueSettings, UserSettings};

/// Makes a queue, or changes what holds for it.
///
/// # Errors
/// [`Error::Settings`] for settings that contradict themselves.
pub fn on_queue_set(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    name: &str,
    settings: QueueSettings,
) -> Result<(), Error> {
    match settings.fault() {
        Some(reason) => Err(Error::Settings { name: name.to_owned(), reason }),
        None => core.emit(comm, now, Change::QueueSet { name: name.to_owned(), settings }),
    }
}

/// Changes what holds for a user, who need not have been seen before.
///
/// # Errors
/// [`Error::Settings`] for settings that contradict themselves.
pub fn on_user_set(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    name: &str,
    settings: UserSettings,
) -> Result<(), Error> {
    match settings.fault() {
        Some(reason) => Err(Error::Settings { name: name.to_owned(), reason }),
        None => core.emit(comm, now, Change::UserSet { name: name.to_owned(), settings }),
    }
}
