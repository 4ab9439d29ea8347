//! What acts on a node: starts the processes of gangs, watches over them, says what becomes of them, reads their logs.
//!
//! Three kinds of process share that. The **agent** ([`run`]) talks to the controller and decides nothing. The **nursery**
//! ([`nursery`]) is a small child of it that forks. A **supervisor** is a fork that an attempt has for itself, which starts the ranks
//! and waits for them, and then for another attempt; while it has one it outlives the others. Between them there is no conversation: a supervisor writes to the status file
//! of its attempt what happens, and whoever is the agent then reads it. So the death of an agent or a controller harms nothing,
//! and what an agent says after it has returned is what it would have said before.
//!
//! An attempt is begun by whoever writes the first record of its status file under its lock. That is why a start may be
//! passed on again whenever it seems to be lost, and nothing is started twice.

mod actor;
pub mod arguments;
mod config;
mod error;
mod gpus;
mod health;
mod history;
mod identity;
mod launcher;
mod layout;
mod log_session;
mod logs;
mod machine;
mod nursery;
mod process;
mod record;
mod remains;
mod reports;
mod run;
mod runs;
mod session;
mod spares;
mod status;
mod watch;

use std::io;

pub use config::{Config, Keep, Token};
pub use error::Error;
pub use gpus::{Declared, Devices, Family, Gpu, Gpus, Teller};

/// Looks after this node until `shutdown` is over. What runs goes on, and the next agent with the same state finds it.
///
/// # Errors
/// The node cannot be looked after: see [`Error`]. A controller that cannot be reached, or that refuses this node, is no
/// error but a reason to try again.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    actor::Actor::new(config).await?.run(shutdown).await
}

/// The life of a nursery: see [`Config::nursery`]. To be called first thing in a process that has no other thread, whose
/// standard input an agent has given it.
///
/// # Errors
/// Standard input is none of an agent's, or its state folder cannot be used.
pub fn nursery() -> io::Result<()> {
    nursery::run()
}
