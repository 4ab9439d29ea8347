//! The scheduler as a running thing: one thread owns the core, takes calls in, writes down what they changed, and only then
//! answers and acts. Nothing leaves it before it is on disk.
//!
//! [`Handle`] is what everybody else has of it. `actor` is the thread; `turn` what a call sees; `ops` what is asked of jobs,
//! nodes and settings; `sessions` the ways to the nodes; `outbox` what the core wants done, kept until it may be.

mod actor;
pub mod clock;
mod handle;
pub mod logs;
pub mod metrics;
pub mod ops;
mod outbox;
mod pace;
mod sessions;
mod turn;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::clock::{Clock, SystemClock};

pub use self::handle::{Begun, Handle, Running};
pub use self::sessions::{Alive, OUTSTANDING, SessionId, Welcome};
pub use self::turn::Turn;

use crate::core::Core;
use crate::policy::Policy;
use crate::store::{Store, StoreError};

/// How a controller behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How jobs are chosen.
    pub policy: Policy,
    /// How often nodes say that they are there.
    pub heartbeat: Duration,
    /// A node that was not heard for so long gets nothing new.
    pub silent_after: Duration,
    /// A node that was not heard for so long is given up: its gangs are queued again.
    pub lost_after: Duration,
    /// Jobs that ended longer ago are forgotten.
    pub keep_for: Duration,
    /// At most so many jobs that have ended are kept.
    pub keep_at_most: usize,
    /// At most so many jobs that have not ended; more are refused.
    pub max_open_jobs: usize,
    /// A submission is refused that is larger than this, in bytes: its command, its environment, its names.
    pub max_submission_bytes: u64,
    /// New work is refused while all submissions that are kept are larger than this, in bytes. Those whose jobs have ended make
    /// room, the oldest first, before it comes to that.
    pub max_kept_bytes: u64,
    /// New work is refused while the disk has less room than this, in bytes, so that what is there can go on.
    pub room: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            heartbeat: Duration::from_secs(1),
            silent_after: Duration::from_secs(5),
            lost_after: Duration::from_secs(60),
            keep_for: Duration::from_secs(14 * 24 * 3600),
            keep_at_most: 200_000,
            max_open_jobs: 1_000_000,
            max_submission_bytes: 4 << 20,
            max_kept_bytes: 1 << 30,
            room: 64 << 20,
        }
    }
}

/// Starts a controller over the state at `path`.
///
/// # Errors
/// A store that cannot be opened.
pub fn start(path: &Path, settings: Settings) -> Result<(Handle, Running), StoreError> {
    start_by(path, settings, Arc::new(SystemClock::default()))
}

/// The same by another clock than the system's.
///
/// # Errors
/// As [`start`].
pub fn start_by(
    path: &Path,
    settings: Settings,
    clock: Arc<dyn Clock>,
) -> Result<(Handle, Running), StoreError> {
    let (store, core) = Store::open(path, settings.policy)?;
    start_over(store, core, settings, clock)
}

/// The same over a store that is open, with the core that came of it.
///
/// # Errors
/// There is no thread.
pub fn start_over(
    store: Store,
    core: Core,
    settings: Settings,
    clock: Arc<dyn Clock>,
) -> Result<(Handle, Running), StoreError> {
    actor::start(store, core, settings, clock)
}
