//! The only clock of the scheduler.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::core::Time;

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
