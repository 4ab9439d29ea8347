//! What the machine looks like: processors, memory nodes, caches, devices. Facts only; nothing here changes anything.

mod cpu_set;

pub use cpu_set::{CpuSet, ParseCpuSetError};
