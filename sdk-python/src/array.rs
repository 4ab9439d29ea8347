//! `Array`: one array of a batch as Python sees it when no framework has taken it over yet.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use zenith_data::DType;
use zenith_data::pipeline::{ArrayView, Batch};
use zenith_runtime_cpu::buffer::Lease;

use crate::dlpack;

/// One array of a batch. NumPy takes it without a copy by `np.asarray`, every DLPack consumer by `from_dlpack`.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Array {
    view: ArrayView,
    lease: Arc<Lease>,
}

// The pointer in the view belongs to the lease, which may be moved and shared between threads.
#[expect(unsafe_code, reason = "a raw pointer is not Send by itself")]
// SAFETY: `view.pointer` is only handed out as a number or in a capsule; the memory is kept by `lease`.
unsafe impl Send for Array {}
#[expect(unsafe_code, reason = "a raw pointer is not Sync by itself")]
// SAFETY: as for Send; nothing is read or written through a shared reference.
unsafe impl Sync for Array {}

impl Array {
    pub(crate) fn of(batch: &Batch, field: usize) -> Self {
        Self { view: batch.array(field), lease: Arc::clone(batch.lease()) }
    }
}

/// NumPy's typestring, as in the array interface.
pub(crate) const fn typestr(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "|b1",
        DType::UInt8 => "|u1",
        DType::Int8 => "|i1",
        DType::UInt16 => "<u2",
        DType::UInt32 => "<u4",
        DType::UInt64 => "<u8",
        DType::Int16 => "<i2",
        DType::Int32 => "<i4",
        DType::Int64 => "<i8",
        DType::Float16 => "<f2",
        DType::Float32 => "<f4",
        DType::Float64 => "<f8",
    }
}

#[pymethods]
impl Array {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("shape", PyTuple::new(py, &self.view.shape)?)?;
        interface.set_item("typestr", typestr(self.view.dtype))?;
        interface.set_item("data", (self.view.pointer as usize, false))?;
        Ok(interface)
    }

    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<&Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = (stream, max_version);
        if dl_device.is_some_and(|device| device != (1, 0)) || copy == Some(true) {
            return Err(pyo3::exceptions::PyBufferError::new_err(
                "the batch lies in host memory and is not copied",
            ));
        }
        dlpack::capsule(py, &self.view, Arc::clone(&self.lease))
    }

    fn __dlpack_device__(&self) -> (i32, i32) {
        (1, 0)
    }
}
