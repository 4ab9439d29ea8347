//! Looking at the arguments of a call without making Python objects: arrays of torch by DLPack's exchange interface, arrays of
//! NumPy by the structure that its C interface promises, plain values by their own. What is none of these is unknown, and the
//! package decides.
#![expect(unsafe_code, reason = "DLPack's exchange interface and NumPy's array structure are C interfaces")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::{ptr, slice};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

use zenith_runtime_gpu::kernel::Layout;

use super::signature::Signature;

/// Dimensions that an array may have here; one of more is unknown.
const MOST_DIMENSIONS: usize = 8;
/// Arguments that a call may have; one with more is unknown.
pub(crate) const MOST_ARGUMENTS: usize = 12;
/// Bytes of a text argument that are looked at.
const LONGEST_TEXT: usize = 64;
/// Alignments beyond this power of two make no difference: a cache line.
const COARSEST_ALIGNMENT: u32 = 6;

const CAPSULE: &CStr = c"dlpack_exchange_api";
/// The major version of DLPack whose structures are written down here.
const DLPACK_MAJOR: u32 = 1;

/// `DLTensor`.
#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    dimensions: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

type Export = unsafe extern "C" fn(*mut c_void, *mut DlTensor) -> c_int;

/// `DLPackExchangeAPI`, as far as it is used.
#[repr(C)]
struct ExchangeApi {
    major: u32,
    minor: u32,
    previous: *mut c_void,
    allocate: *const c_void,
    managed_from: *const c_void,
    managed_to: *const c_void,
    export: Option<Export>,
}

/// `PyArrayObject_fields`, which NumPy 1 and 2 share; later fields are not used.
#[repr(C)]
struct NdArray {
    base: ffi::PyObject,
    data: *mut c_char,
    dimensions: c_int,
    shape: *mut isize,
    strides: *mut isize,
    owner: *mut ffi::PyObject,
    descr: *mut ffi::PyObject,
    flags: c_int,
}

/// What is known of torch once a tensor has been seen.
struct Torch {
    tensor: Py<PyType>,
    parameter: Py<PyType>,
    export: Export,
    requires_grad: Py<PyString>,
    grad_enabled: Py<PyAny>,
    modes: Vec<Py<PyAny>>,
    interceptors: Vec<Py<PyAny>>,
}

/// What is known of NumPy.
struct NumPy {
    array: Py<PyType>,
    /// The element types whose descriptor is one object that lives for ever.
    dtypes: Vec<(Py<PyAny>, u8, u8)>,
}

static TORCH: PyOnceLock<Torch> = PyOnceLock::new();
static NUMPY: PyOnceLock<NumPy> = PyOnceLock::new();

/// Whose an array is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Torch,
    NumPy,
}

/// An array as it lies in memory; shape and strides belong to the array and are gone with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) family: Family,
    pub(crate) data: *mut u8,
    /// `DLDeviceType` and the number of the device.
    pub(crate) device: (i32, i32),
    /// `DLDataTypeCode` and bits.
    pub(crate) dtype: (u8, u8),
    pub(crate) shape: &'a [i64],
    /// In elements for torch, in bytes for NumPy; `None` for a compact array.
    pub(crate) strides: Option<&'a [i64]>,
    pub(crate) writeable: bool,
}

/// What came of looking at all arguments of a call.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) torch: bool,
    grad: bool,
}

/// Makes tensors known: `api` is the capsule `torch.Tensor.__dlpack_c_exchange_api__`, `modes` are functions without
/// arguments whose results belong to what a call looks like, and `interceptors` such whose results must be false where
/// something other than an operation of torch may be called.
#[pyfunction]
pub(crate) fn know_torch(
    py: Python<'_>,
    tensor: Bound<'_, PyType>,
    parameter: Bound<'_, PyType>,
    api: Bound<'_, PyAny>,
    grad_enabled: Py<PyAny>,
    modes: Vec<Py<PyAny>>,
    interceptors: Vec<Py<PyAny>>,
) -> PyResult<bool> {
    // SAFETY: the function checks type and name of the capsule; its pointer is that of a table which lives as long as the process.
    let api: *const ExchangeApi = unsafe { ffi::PyCapsule_GetPointer(api.as_ptr(), CAPSULE.as_ptr()).cast() };
    if api.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: the header of the table is the same in all versions.
    let major = unsafe { (*api).major };
    if major != DLPACK_MAJOR {
        return Ok(false);
    }
    // SAFETY: the table is that of this major version.
    let Some(export) = (unsafe { (*api).export }) else { return Ok(false) };
    TORCH.get_or_init(py, || Torch {
        tensor: tensor.unbind(),
        parameter: parameter.unbind(),
        export,
        requires_grad: PyString::intern(py, "requires_grad").unbind(),
        grad_enabled,
        modes,
        interceptors,
    });
    Ok(true)
}

/// Makes NumPy's arrays known, after a look at `probe`, a one-dimensional array of three `int16` that are two elements
/// apart, at `address`. `dtypes` are descriptors with DLPack's code and bits.
#[pyfunction]
pub(crate) fn know_numpy(
    py: Python<'_>,
    array: Bound<'_, PyType>,
    dtypes: Vec<(Py<PyAny>, u8, u8)>,
    probe: Bound<'_, PyAny>,
    address: usize,
) -> PyResult<()> {
    if !probe.is_exact_instance(&array) {
        return Err(PyRuntimeError::new_err("the probe is no array of NumPy"));
    }
    let known = NUMPY.get_or_init(py, || NumPy { array: array.unbind(), dtypes });
    // SAFETY: `probe` is an array by the check above, and lives until the end of this function.
    let view = unsafe { numpy_view(known, probe.as_ptr()) };
    let agrees = view.is_some_and(|view| {
        view.data as usize == address
            && view.shape == [3]
            && view.strides == Some(&[4])
            && view.dtype == (0, 16)
    });
    if agrees {
        Ok(())
    } else {
        Err(PyRuntimeError::new_err("NumPy's arrays do not lie in memory as NumPy 1 and 2 say"))
    }
}

/// Looks at one argument, and writes down what it is; false if that is unknown.
///
/// # Safety
/// `object` is a live object.
#[inline]
pub(crate) unsafe fn describe(
    py: Python<'_>,
    object: *mut ffi::PyObject,
    signature: &mut Signature,
    seen: &mut Seen,
) -> bool {
    // SAFETY: by contract, here and below.
    if let Some(view) = unsafe { view(py, object) } {
        let (code, bits) = view.dtype;
        let alignment = (view.data as usize).trailing_zeros().min(COARSEST_ALIGNMENT);
        signature.push(
            (1 + view.family as u64) << 56
                | u64::from(view.device.0 as u8) << 48
                | u64::from(view.device.1 as u16) << 32
                | u64::from(code) << 24
                | u64::from(bits) << 16
                | u64::from(alignment) << 8
                | view.shape.len() as u64,
        );
        for &length in view.shape {
            signature.push(length as u64);
        }
        match view.strides {
            Some(strides) => strides.iter().for_each(|&stride| signature.push(stride as u64)),
            None => view.shape.iter().for_each(|_| signature.push(u64::MAX)),
        }
        if view.family == Family::Torch {
            seen.torch = true;
            if !seen.grad {
                // SAFETY: as above.
                match unsafe { requires_grad(py, object) } {
                    Some(grad) => seen.grad = grad,
                    None => return false,
                }
            }
        }
        return true;
    }
    // SAFETY: as above.
    unsafe { describe_value(object, signature) }
}

/// Writes down the modes that belong to a call with the arguments `seen`; false if they cannot be read.
#[inline]
pub(crate) fn describe_modes(py: Python<'_>, signature: &mut Signature, seen: &Seen) -> bool {
    if !seen.torch {
        return true;
    }
    let Some(torch) = TORCH.get(py) else { return false };
    let mut read = |mode: &Py<PyAny>| {
        // SAFETY: `mode` is a live callable; the reference that comes back is ours and is given up below.
        unsafe {
            let told = ffi::PyObject_CallNoArgs(mode.as_ptr());
            if told.is_null() {
                ffi::PyErr_Clear();
                return false;
            }
            let known = describe_value(told, signature);
            ffi::Py_DECREF(told);
            known
        }
    };
    (!seen.grad || read(&torch.grad_enabled)) && torch.modes.iter().all(read)
}

/// Whether nothing stands between the call and an implementation that is not torch's own: no mode that wants to see every
/// operation, and no tensor whose memory is not its value.
///
/// # Safety
/// `arguments` are live objects.
pub(crate) unsafe fn is_plain(py: Python<'_>, arguments: impl Iterator<Item = *mut ffi::PyObject>) -> bool {
    let Some(torch) = TORCH.get(py) else { return true };
    let is_false = |told: *mut ffi::PyObject| {
        // SAFETY: `told` is a new reference or null, and is given up here.
        unsafe {
            if told.is_null() {
                ffi::PyErr_Clear();
                return false;
            }
            let is_false = ffi::PyObject_IsTrue(told) == 0;
            ffi::Py_DECREF(told);
            is_false
        }
    };
    // SAFETY: the callables are alive as long as the process.
    if !torch.interceptors.iter().all(|mode| is_false(unsafe { ffi::PyObject_CallNoArgs(mode.as_ptr()) })) {
        return false;
    }
    let (negative, conjugate) = (pyo3::intern!(py, "is_neg"), pyo3::intern!(py, "is_conj"));
    for object in arguments {
        // SAFETY: by contract; the names are live strings.
        let plain = unsafe {
            !is_tensor(torch, object)
                || [negative, conjugate].iter().all(|name| {
                    is_false(ffi::PyObject_CallMethodObjArgs(
                        object,
                        name.as_ptr(),
                        ptr::null_mut::<ffi::PyObject>(),
                    ))
                })
        };
        if !plain {
            return false;
        }
    }
    true
}

/// The memory of an array of a known kind.
///
/// # Safety
/// `object` is a live object, and the view is used no longer than it lives unchanged.
#[inline]
pub(crate) unsafe fn view<'a>(py: Python<'_>, object: *mut ffi::PyObject) -> Option<View<'a>> {
    if let Some(torch) = TORCH.get(py)
        // SAFETY: by contract.
        && unsafe { is_tensor(torch, object) }
    {
        // SAFETY: by contract, and it is a tensor.
        return unsafe { tensor_view(torch, object) };
    }
    let numpy = NUMPY.get(py)?;
    // SAFETY: by contract.
    if unsafe { ffi::Py_TYPE(object) } == numpy.array.as_ptr().cast() {
        // SAFETY: by contract, and it is exactly an ndarray.
        return unsafe { numpy_view(numpy, object) };
    }
    None
}

/// Whether an object is exactly a tensor or a parameter; a subclass may mean something else by everything.
#[inline]
unsafe fn is_tensor(torch: &Torch, object: *mut ffi::PyObject) -> bool {
    // SAFETY: `object` is alive.
    let class = unsafe { ffi::Py_TYPE(object) };
    class == torch.tensor.as_ptr().cast() || class == torch.parameter.as_ptr().cast()
}

#[inline]
unsafe fn tensor_view<'a>(torch: &Torch, object: *mut ffi::PyObject) -> Option<View<'a>> {
    let mut told = MaybeUninit::<DlTensor>::uninit();
    // SAFETY: `object` is of the type whose interface this is, and `told` has room; it is filled where 0 comes back.
    let told = unsafe {
        if (torch.export)(object.cast(), told.as_mut_ptr()) != 0 {
            ffi::PyErr_Clear();
            return None;
        }
        told.assume_init()
    };
    let dimensions =
        usize::try_from(told.dimensions).ok().filter(|&d| d <= MOST_DIMENSIONS && told.lanes == 1)?;
    // SAFETY: the exporter's shape and strides have as many elements as there are dimensions, and live as long as the tensor.
    let (shape, strides) = unsafe { (list(told.shape, dimensions), list(told.strides, dimensions)) };
    Some(View {
        family: Family::Torch,
        data: told.data.cast::<u8>().wrapping_add(told.byte_offset as usize),
        device: (told.device_type, told.device_id),
        dtype: (told.code, told.bits),
        shape: shape.unwrap_or_default(),
        strides: if dimensions == 0 { Some(&[]) } else { strides },
        writeable: true,
    })
    .filter(|view| dimensions == 0 || view.shape.len() == dimensions)
}

#[inline]
unsafe fn numpy_view<'a>(numpy: &NumPy, object: *mut ffi::PyObject) -> Option<View<'a>> {
    const WRITEABLE: c_int = 0x400;
    // SAFETY: `object` is an ndarray, which begins with this structure.
    let array = unsafe { &*object.cast::<NdArray>() };
    let (_, code, bits) = numpy.dtypes.iter().find(|(descr, ..)| descr.as_ptr() == array.descr)?;
    let dimensions = usize::try_from(array.dimensions).ok().filter(|&d| d <= MOST_DIMENSIONS)?;
    // SAFETY: shape and strides have as many elements as there are dimensions, of 64 bits on all platforms that are built for.
    let (shape, strides) =
        unsafe { (list(array.shape.cast(), dimensions), list(array.strides.cast(), dimensions)) };
    Some(View {
        family: Family::NumPy,
        data: array.data.cast(),
        device: (1, 0),
        dtype: (*code, *bits),
        shape: shape.unwrap_or_default(),
        strides: if dimensions == 0 { Some(&[]) } else { strides },
        writeable: array.flags & WRITEABLE != 0,
    })
    .filter(|view| dimensions == 0 || view.shape.len() == dimensions)
}

/// A list in C's manner.
///
/// # Safety
/// `first` is null or the first of `length` elements that live for `'a`.
#[inline]
unsafe fn list<'a>(first: *const i64, length: usize) -> Option<&'a [i64]> {
    // SAFETY: by contract.
    (!first.is_null()).then(|| unsafe { slice::from_raw_parts(first, length) })
}

/// Whether a tensor wants a gradient; `None` if it does not say.
unsafe fn requires_grad(py: Python<'_>, object: *mut ffi::PyObject) -> Option<bool> {
    let torch = TORCH.get(py)?;
    // SAFETY: `object` is a live tensor and the name a live string; the answer is ours and is given up.
    unsafe {
        let told = ffi::PyObject_GetAttr(object, torch.requires_grad.as_ptr());
        if told.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        let grad = told == ffi::Py_True();
        ffi::Py_DECREF(told);
        Some(grad)
    }
}

/// Writes down a plain value: None, a boolean, a whole number of 64 bits, a float, a short text.
unsafe fn describe_value(object: *mut ffi::PyObject, signature: &mut Signature) -> bool {
    const NONE: u64 = 0x10;
    const FALSE: u64 = 0x11;
    const TRUE: u64 = 0x12;
    const INT: u64 = 0x13;
    const FLOAT: u64 = 0x14;
    const TEXT: u64 = 0x15;
    // SAFETY: `object` is alive, and each conversion is asked of its exact type only.
    unsafe {
        if object == ffi::Py_None() {
            signature.push(NONE);
        } else if object == ffi::Py_False() {
            signature.push(FALSE);
        } else if object == ffi::Py_True() {
            signature.push(TRUE);
        } else if ffi::PyLong_CheckExact(object) != 0 {
            let mut overflow = 0;
            let value = ffi::PyLong_AsLongLongAndOverflow(object, &raw mut overflow);
            if overflow != 0 {
                return false;
            }
            signature.push(INT);
            signature.push(value as u64);
        } else if ffi::PyFloat_CheckExact(object) != 0 {
            signature.push(FLOAT);
            signature.push(ffi::PyFloat_AsDouble(object).to_bits());
        } else if ffi::PyUnicode_CheckExact(object) != 0 {
            let mut length = 0;
            let text = ffi::PyUnicode_AsUTF8AndSize(object, &raw mut length);
            if text.is_null() {
                ffi::PyErr_Clear();
                return false;
            }
            if length as usize > LONGEST_TEXT {
                return false;
            }
            signature.push(TEXT);
            signature.push_bytes(slice::from_raw_parts(text.cast(), length as usize));
        } else {
            return false;
        }
    }
    true
}

/// What a key has to know of an array: its library and element type, sizes, layout class, address and distances between
/// elements in bytes, and where it lies. `None` for anything that is no array of a known kind.
pub(crate) type Facts = (String, Vec<u64>, String, u64, Vec<i64>, (i32, i32));

/// The facts of an array.
#[pyfunction]
pub(crate) fn array_facts(object: &Bound<'_, PyAny>) -> Option<Facts> {
    // SAFETY: `object` is alive during the call, and the view does not leave it.
    let view = unsafe { view(object.py(), object.as_ptr()) }?;
    let kind = match view.dtype.0 {
        0 => "int",
        1 => "uint",
        2 => "float",
        4 => "bfloat",
        5 => "complex",
        6 => "bool",
        _ => return None,
    };
    let library = match view.family {
        Family::Torch => "torch",
        Family::NumPy => "numpy",
    };
    let dtype = if kind == "bool" { kind.to_owned() } else { format!("{kind}{}", view.dtype.1) };
    let shape: Vec<u64> = view.shape.iter().map(|&length| length as u64).collect();
    let strides = view.strides_in_elements()?;
    let layout = Layout::of(&shape, &strides).to_string();
    let width = i64::from(view.dtype.1 / 8);
    let distances = strides.iter().map(|stride| stride * width).collect();
    Some((format!("{library}.{dtype}"), shape, layout, view.data as u64, distances, view.device))
}

impl View<'_> {
    /// Distances between neighbours in each dimension; `None` where they are no whole number of elements.
    pub(crate) fn strides_in_elements(&self) -> Option<Vec<i64>> {
        let width = i64::from(self.dtype.1 / 8);
        match (self.strides, self.family) {
            (Some(strides), Family::Torch) => Some(strides.to_vec()),
            (Some(strides), Family::NumPy) => {
                let whole = |&stride: &i64| (width > 0 && stride % width == 0).then(|| stride / width);
                strides.iter().map(whole).collect()
            }
            (None, _) => {
                let mut next = 1;
                let mut strides: Vec<i64> = self
                    .shape
                    .iter()
                    .rev()
                    .map(|&length| {
                        let own = next;
                        next *= length.max(1);
                        own
                    })
                    .collect();
                strides.reverse();
                Some(strides)
            }
        }
    }
}
