//! `Dispatcher`: the way from a call to the implementation that was chosen for calls that look like it. A call that looks like
//! an earlier one is handed on within a fraction of a microsecond; for any other the package is asked.
//!
//! What is chosen, and why, is not known here.
#![expect(unsafe_code, reason = "arguments are looked at and handed on as the interpreter passes them")]

use std::ffi::{CString, c_void};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::look::{MOST_ARGUMENTS, Seen, describe, describe_modes, is_plain};
use super::signature::Signature;
use super::table::Table;

/// What was chosen for calls of one look.
struct Entry {
    target: Py<PyAny>,
    /// What is called instead where something wants to see every operation; `None` if that makes no difference.
    fallback: Option<Py<PyAny>>,
    /// Names of arguments, which signatures know by their addresses.
    names: Vec<Py<PyAny>>,
}

/// Hands calls on. The package's subclass has `_choose(args, kwargs) -> (target, fallback | None, remember)`.
#[pyclass(module = "zenith._core", subclass, frozen)]
pub(crate) struct Dispatcher {
    table: Mutex<Table<Entry>>,
    asked: AtomicU64,
    /// How often all choices were forgotten; changed under the table's lock.
    forgotten: AtomicU64,
}

/// What a call gets.
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, on the stack; a box would be memory asked for on each new call"
)]
enum Found<'py> {
    Target(Bound<'py, PyAny>),
    Nothing(Signature),
    /// It has something that cannot be written down.
    Unknown,
}

#[pymethods]
impl Dispatcher {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { table: Mutex::new(Table::new()), asked: AtomicU64::new(0), forgotten: AtomicU64::new(0) }
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty());
        let mut values = [std::ptr::null_mut(); MOST_ARGUMENTS];
        let found = if kwargs.is_some() || args.len() > MOST_ARGUMENTS {
            Found::Unknown
        } else {
            for (place, value) in values.iter_mut().zip(args.iter_borrowed()) {
                *place = value.as_ptr();
            }
            // SAFETY: the tuple keeps its items alive.
            unsafe { slf.get().find(py, &values[..args.len()], &[]) }
        };
        let target = match found {
            Found::Target(target) => target,
            other => Self::ask(slf, args, kwargs, other, Vec::new())?,
        };
        target.call(args, kwargs)
    }

    /// The same as a function, which the interpreter calls faster.
    fn function<'py>(slf: &Bound<'py, Self>, name: &str, doc: &str) -> PyResult<Bound<'py, PyAny>> {
        let text = |text: &str| CString::new(text).map_err(|error| PyValueError::new_err(error.to_string()));
        // The interpreter keeps a function's definition for as long as any function of it lives, and does not say when that ends.
        let definition = Box::leak(Box::new(ffi::PyMethodDef {
            ml_name: text(name)?.into_raw(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: fast_call },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: text(doc)?.into_raw(),
        }));
        // SAFETY: the definition lives for ever and says truly what `fast_call` takes; the function holds a reference to `slf`.
        unsafe {
            let function = ffi::PyCFunction_NewEx(definition, slf.as_ptr(), std::ptr::null_mut());
            Bound::from_owned_ptr_or_err(slf.py(), function)
        }
    }

    /// Forgets all choices.
    fn forget(&self) {
        let old = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            self.forgotten.fetch_add(1, Ordering::Relaxed);
            table.take()
        };
        drop(old);
    }

    /// How often the package was asked.
    #[getter]
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // While another thread is here, the objects are in use anyhow.
        let Ok(table) = self.table.try_lock() else { return Ok(()) };
        for entry in table.iter() {
            visit.call(&entry.target)?;
            visit.call(&entry.fallback)?;
            entry.names.iter().try_for_each(|name| visit.call(name))?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.forget();
    }
}

impl Dispatcher {
    /// What was chosen for a call.
    ///
    /// # Safety
    /// `args` and `names` are live objects; the last arguments have the names.
    #[inline]
    unsafe fn find<'py>(
        &self,
        py: Python<'py>,
        args: &[*mut ffi::PyObject],
        names: &[*mut ffi::PyObject],
    ) -> Found<'py> {
        let mut signature = Signature::new();
        let mut seen = Seen::default();
        signature.push((args.len() as u64) << 8 | names.len() as u64);
        for name in names {
            signature.push(*name as u64);
        }
        // SAFETY: by contract.
        if !args.iter().all(|&object| unsafe { describe(py, object, &mut signature, &mut seen) })
            || !describe_modes(py, &mut signature, &seen)
            || signature.words().is_none()
        {
            return Found::Unknown;
        }
        let chosen = {
            let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.get(&signature).map(|entry| {
                let fallback = entry.fallback.as_ref().map(|fallback| fallback.bind(py).clone());
                (entry.target.bind(py).clone(), fallback)
            })
        };
        match chosen {
            None => Found::Nothing(signature),
            Some((target, None)) => Found::Target(target),
            // Only torch has modes and wrapped arrays.
            Some((target, Some(_))) if !seen.torch => Found::Target(target),
            // SAFETY: by contract.
            Some((target, Some(fallback))) => match unsafe { is_plain(py, args.iter().copied()) } {
                true => Found::Target(target),
                false => Found::Target(fallback),
            },
        }
    }

    /// Lets the package choose, and remembers what it says.
    #[cold]
    fn ask<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        found: Found<'py>,
        names: Vec<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        this.asked.fetch_add(1, Ordering::Relaxed);
        let forgotten = this.forgotten.load(Ordering::Relaxed);
        let kwargs = kwargs.map_or_else(|| PyDict::new(py), Clone::clone);
        let told = slf.call_method1(pyo3::intern!(py, "_choose"), (args, &kwargs))?;
        let (target, fallback, remember): (Bound<'py, PyAny>, Option<Py<PyAny>>, bool) = told.extract()?;
        if let Found::Nothing(signature) = found
            && remember
        {
            let entry = Entry { target: target.clone().unbind(), fallback, names };
            let old = {
                let mut table = this.table.lock().unwrap_or_else(PoisonError::into_inner);
                // What was chosen before the last forgetting may not be the choice any more: the next call asks again.
                let is_current = this.forgotten.load(Ordering::Relaxed) == forgotten;
                if is_current { table.put(&signature, entry) } else { Some(entry) }
            };
            drop(old);
        }
        Ok(target)
    }
}

/// `PyObject_Vectorcall`: exported by every CPython since 3.9, of the stable interface since 3.12, and the same all the time.
type Vectorcall = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    usize,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

fn vectorcall() -> Option<Vectorcall> {
    static FOUND: OnceLock<Option<Vectorcall>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: the name is a C string, and a symbol of this name has this type.
        unsafe {
            let found: *mut c_void = libc::dlsym(libc::RTLD_DEFAULT, c"PyObject_Vectorcall".as_ptr());
            (!found.is_null()).then(|| std::mem::transmute::<*mut c_void, Vectorcall>(found))
        }
    })
}

/// The function's body: `METH_FASTCALL | METH_KEYWORDS`.
///
/// # Safety
/// Called by the interpreter: `slf` is the dispatcher, `args` has `nargs` values and then one for each of `kwnames`.
unsafe extern "C" fn fast_call(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls functions with the thread attached, and `slf` is what `function` gave it.
    let (py, this) = unsafe {
        let py = Python::assume_attached();
        (py, Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<Dispatcher>())
    };
    let mut names = [std::ptr::null_mut(); MOST_ARGUMENTS];
    // SAFETY: `kwnames` is null or a tuple of strings that lives during the call, and `args` has as many values as is said.
    let (values, names) = unsafe {
        let named = if kwnames.is_null() { 0 } else { ffi::PyTuple_Size(kwnames).max(0) as usize };
        let values = if nargs as usize + named == 0 {
            &[][..]
        } else {
            slice::from_raw_parts(args, nargs as usize + named)
        };
        for (place, name) in names.iter_mut().take(named).enumerate() {
            *name = ffi::PyTuple_GetItem(kwnames, place as ffi::Py_ssize_t);
        }
        (values, &names[..named.min(MOST_ARGUMENTS)])
    };
    let found = if values.len() > MOST_ARGUMENTS {
        Found::Unknown
    } else {
        // SAFETY: the caller keeps the arguments and their names alive.
        unsafe { this.get().find(py, values, names) }
    };
    if let Found::Target(target) = &found
        && let Some(vectorcall) = vectorcall()
    {
        // SAFETY: the arguments are handed on as they came.
        return unsafe { vectorcall(target.as_ptr(), args, nargs as usize, kwnames) };
    }
    // SAFETY: the arguments are alive, and the values in front have no names.
    let outcome =
        Python::attach(|py| unsafe { slow_call(py, &this, values, nargs as usize, kwnames, found) });
    outcome.unwrap_or(std::ptr::null_mut())
}

/// A call with its arguments as a tuple and a dictionary: where the package is to be asked. On failure the error is set.
///
/// # Safety
/// `values` are live objects, the last of them named by the tuple `kwnames` (or null).
#[cold]
unsafe fn slow_call<'py>(
    py: Python<'py>,
    this: &Bound<'py, Dispatcher>,
    values: &[*mut ffi::PyObject],
    nargs: usize,
    kwnames: *mut ffi::PyObject,
    found: Found<'_>,
) -> Option<*mut ffi::PyObject> {
    let call = || -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: by contract.
        let values: Vec<Bound<'py, PyAny>> =
            values.iter().map(|&value| unsafe { Bound::from_borrowed_ptr(py, value) }).collect();
        let args = PyTuple::new(py, &values[..nargs])?;
        let kwargs = PyDict::new(py);
        let mut names = Vec::new();
        if !kwnames.is_null() {
            // SAFETY: by contract.
            let tuple = unsafe { Bound::from_borrowed_ptr(py, kwnames).cast_into_unchecked::<PyTuple>() };
            for (name, value) in tuple.iter().zip(&values[nargs..]) {
                kwargs.set_item(&name, value)?;
                names.push(name.unbind());
            }
        }
        let target = match found {
            Found::Target(target) => target.unbind().into_bound(py),
            Found::Nothing(signature) => {
                Dispatcher::ask(this, &args, Some(&kwargs), Found::Nothing(signature), names)?
            }
            Found::Unknown => Dispatcher::ask(this, &args, Some(&kwargs), Found::Unknown, names)?,
        };
        target.call(&args, Some(&kwargs))
    };
    match call() {
        Ok(outcome) => Some(outcome.into_ptr()),
        Err(error) => {
            error.restore(py);
            None
        }
    }
}
