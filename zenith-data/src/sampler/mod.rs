//! Which sample comes when: pure functions of (seed, epoch, rank, world, cursor). No disk, no clock, no thread.
//!
//! An epoch is a global sequence of positions `0..len`. [`order`] maps a position to a sample, [`steps`] cuts the
//! sequence into global batches and gives every rank its slice. A saved place is one number: the global position.

pub mod blocks;
pub mod order;
pub mod permutation;
pub mod rng;
pub mod steps;
pub mod weighted;

pub use order::{Order, OrderSpec};
pub use steps::{Cut, Step, Steps};
