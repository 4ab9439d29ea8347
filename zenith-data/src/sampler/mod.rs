//! Which sample comes when: pure functions of (seed, epoch, rank, world, cursor). No disk, no clock, no thread.

pub mod rng;
