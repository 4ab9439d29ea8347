//! The extension module `zenith._core`: thin classes over the data plane, the scheduler's client and the
//! kernel decision store. What users type lives in the Python package.
#![expect(clippy::needless_pass_by_value, reason = "PyO3 hands over the arguments it has converted")]

mod array;
mod collective;
mod dlpack;
mod engine;
mod errors;
mod gpu;
mod kernels;
mod loader;
mod machine;
mod meter;
mod open;
mod order;
mod scheduler;
mod source;
mod track;
mod wasm;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::array::Array;
    #[pymodule_export]
    use crate::collective::{Communicator, choose_rows, encode_rows};
    #[pymodule_export]
    use crate::engine::{Engine, EngineStream, Tensor};
    #[pymodule_export]
    use crate::gpu::{Activity, Steps};
    #[pymodule_export]
    use crate::kernels::{
        Dispatcher, KernelSelector, array_facts, know_numpy, know_torch, matmul_backends, matmul_into,
    };
    #[pymodule_export]
    use crate::loader::{Batches, Loader};
    #[pymodule_export]
    use crate::machine::{command, devices, processors, topology, worker_threads};
    #[pymodule_export]
    use crate::meter::Meter;
    #[pymodule_export]
    use crate::open::{open_arrow, open_columns, open_labelled, open_paths};
    #[pymodule_export]
    use crate::order::Order;
    #[pymodule_export]
    use crate::scheduler::{JobChanges, LogParts, Scheduler};
    #[pymodule_export]
    use crate::source::Source;
    #[pymodule_export]
    use crate::track::Track;
    #[pymodule_export]
    use crate::wasm::Wasm;

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        machine::subscribe();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
