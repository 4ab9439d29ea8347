//! The machine under Zenith: topology, memory, threads, rings and I/O.
//!
//! This crate knows cores, nodes, pages, queues and files. It knows no sample, no Python, no tokio, no Arrow
//! and no CUDA; whatever has to do with those lives above it.

pub mod allocator;
pub mod buffer;
mod cgroup;
pub mod config;
pub mod doctor;
pub mod io;
pub mod limits;
pub mod numa;
pub mod sync;
pub mod telemetry;
pub mod thread;
