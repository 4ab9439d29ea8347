//! The kernel decision store as Python uses it: handing calls on (`dispatcher`, with `look`, `signature` and `table`), and
//! choosing (`selector`, with `candidate`). `matmul` runs the runtime's own candidates. What decides is `zenith_runtime_gpu::kernel`.

mod candidate;
mod dispatcher;
mod look;
mod matmul;
mod selector;
mod signature;
mod table;

pub(crate) use dispatcher::Dispatcher;
pub(crate) use look::{array_facts, know_numpy, know_torch};
pub(crate) use matmul::{matmul_backends, matmul_into};
pub(crate) use selector::KernelSelector;
