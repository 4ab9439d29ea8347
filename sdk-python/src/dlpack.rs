//! DLPack's C structures and the capsule that carries them: how a batch's memory reaches a framework without a copy.
#![expect(unsafe_code, reason = "DLPack is a C interface")]

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use zenith_data::DType;
use zenith_data::pipeline::ArrayView;
use zenith_runtime_cpu::buffer::Lease;

const NAME: &CStr = c"dltensor";
const DEVICE_CPU: i32 = 1;

/// `DLDevice`.
#[repr(C)]
struct Device {
    kind: i32,
    id: i32,
}

/// `DLDataType`.
#[repr(C)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

/// `DLTensor`.
#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device: Device,
    dimensions: i32,
    dtype: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLManagedTensor`, followed by what it keeps alive.
#[repr(C)]
struct Managed {
    tensor: Tensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
    shape: Vec<i64>,
    lease: Arc<Lease>,
}

const fn data_type(dtype: DType) -> DataType {
    let code = match dtype {
        DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => 0,
        DType::UInt8 | DType::UInt16 | DType::UInt32 | DType::UInt64 => 1,
        DType::Float16 | DType::Float32 | DType::Float64 => 2,
        DType::Bool => 6,
    };
    DataType { code, bits: dtype.size() as u8 * 8, lanes: 1 }
}

/// Frees a tensor that a consumer is done with; the memory goes back to its pool with the last lease.
unsafe extern "C" fn delete(managed: *mut Managed) {
    if !managed.is_null() {
        // SAFETY: DLPack calls the deleter once, with the pointer that `capsule` made by `Box::into_raw`.
        drop(unsafe { Box::from_raw(managed) });
    }
}

/// Frees the tensor of a capsule that nobody consumed (a consumer renames the capsule).
unsafe extern "C" fn drop_capsule(capsule: *mut ffi::PyObject) {
    // SAFETY: CPython calls this with the dying capsule; the name tells whether the pointer is still ours.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, NAME.as_ptr()) == 1 {
            delete(ffi::PyCapsule_GetPointer(capsule, NAME.as_ptr()).cast());
        }
    }
}

/// A `dltensor` capsule over `view`, which keeps `lease` until the consumer frees the tensor.
pub(crate) fn capsule<'py>(
    py: Python<'py>,
    view: &ArrayView,
    lease: Arc<Lease>,
) -> PyResult<Bound<'py, PyAny>> {
    let shape: Vec<i64> = view.shape.iter().map(|&d| d as i64).collect();
    let mut managed = Box::new(Managed {
        tensor: Tensor {
            data: view.pointer.cast(),
            device: Device { kind: DEVICE_CPU, id: 0 },
            dimensions: shape.len() as i32,
            dtype: data_type(view.dtype),
            shape: ptr::null_mut(),
            strides: ptr::null_mut(),
            byte_offset: 0,
        },
        context: ptr::null_mut(),
        deleter: Some(delete),
        shape,
        lease,
    });
    managed.tensor.shape = managed.shape.as_mut_ptr();
    let raw = Box::into_raw(managed);
    // SAFETY: `raw` is a live DLManagedTensor and NAME a static string; on failure nobody else has `raw`.
    unsafe {
        let capsule = ffi::PyCapsule_New(raw.cast(), NAME.as_ptr(), Some(drop_capsule));
        if capsule.is_null() {
            delete(raw);
        }
        Bound::from_owned_ptr_or_err(py, capsule)
    }
}
