//! Zenith beside its rivals on the machine at hand: what each part does per second, what it costs in processor time,
//! and how both compare with the best that can be linked in instead.
//!
//! A scenario (one file each in `scenarios`) makes contenders that do the same work; `harness` runs them in
//! alternating rounds and checks that they did it; `table`, `record` and `page` show the outcome. Nothing outside of
//! `harness` and `meter` reads a clock, except where a scenario times less than a whole pass.

mod command;
mod harness;
mod machine;
mod meter;
mod page;
mod photographs;
mod record;
mod scenarios;
mod table;

pub use command::run;

/// Why a benchmark could not be run.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
