//! The driver and its devices: what there is, without taking anything of it.
#![expect(unsafe_code, reason = "calls the driver")]

use std::env;
use std::ffi::{CStr, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::context::Context;
use super::error::Error;
use super::symbols::{Functions, check};

/// The environment variable that names another library than the machine's `libcuda.so.1`.
pub const CUDA_VARIABLE: &str = "ZENITH_CUDA";

/// No machine has more devices; the driver's own number is not trusted further.
const MOST_DEVICES: u32 = 256;

/// Numbers of `CUdevice_attribute`.
const MULTIPROCESSORS: c_int = 16;
const L2_BYTES: c_int = 38;
const COPY_ENGINES: c_int = 40;
const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;

/// The driver, started. Clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct Driver {
    pub(super) functions: Arc<Functions>,
    count: u32,
}

/// A device. What the driver does not tell is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number, as CUDA counts in this process.
    pub ordinal: u32,
    /// Its name.
    pub name: Option<String>,
    /// Its PCI address in the kernel's notation, as `zenith-device` writes it.
    pub pci: Option<String>,
    /// Its memory.
    pub memory_bytes: Option<usize>,
    /// Its compute capability.
    pub capability: Option<(i32, i32)>,
    /// Its multiprocessors.
    pub multiprocessors: Option<i32>,
    /// Its second-level cache.
    pub l2_bytes: Option<i32>,
    /// Engines that copy beside the multiprocessors.
    pub copy_engines: Option<i32>,
}

impl Driver {
    /// The driver that `ZENITH_CUDA` names, else the machine's.
    ///
    /// # Errors
    /// As [`Driver::open`].
    pub fn host() -> Result<Self, Error> {
        let named = env::var_os(CUDA_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self::open(named.as_deref())
    }

    /// Loads and starts the driver at `path`, or where the loader finds it.
    ///
    /// # Errors
    /// When it is absent, broken, lacks functions or does not start.
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        let functions = Functions::load(path)?;
        let mut count = 0;
        // SAFETY: the only flags there are, and a number of ours to write into.
        let started = unsafe { check("cuInit", (functions.init)(0)) };
        started.map_err(|error| match error {
            Error::Call { code, .. } => Error::Init { code },
            other => other,
        })?;
        // SAFETY: as above.
        unsafe { check("cuDeviceGetCount", (functions.device_count)(&raw mut count))? };
        let count = u32::try_from(count).unwrap_or(0).min(MOST_DEVICES);
        Ok(Self { functions: Arc::new(functions), count })
    }

    /// How many devices this process may use.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The version of CUDA that the driver is made for: (13, 0).
    ///
    /// # Errors
    /// What the driver says.
    pub fn version(&self) -> Result<(i32, i32), Error> {
        let mut version = 0;
        // SAFETY: a number of ours to write into.
        unsafe { check("cuDriverGetVersion", (self.functions.driver_version)(&raw mut version))? };
        Ok((version / 1000, version % 1000 / 10))
    }

    /// What there is to know of device `ordinal`.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn device(&self, ordinal: u32) -> Result<Device, Error> {
        let device = self.handle(ordinal)?;
        let (functions, mut bytes) = (&*self.functions, 0);
        // SAFETY: a number of ours to write into.
        let memory = unsafe { (functions.device_memory)(&raw mut bytes, device) };
        let attribute = |number| {
            let mut value = 0;
            // SAFETY: a number of ours to write into.
            let status = unsafe { (functions.device_attribute)(&raw mut value, number, device) };
            (status == 0).then_some(value)
        };
        let text = |call: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> u32| {
            let mut buffer = [0_u8; 256];
            // SAFETY: a buffer of ours and its length; the last byte is not given away, so the text ends within.
            let status = unsafe { call(buffer.as_mut_ptr().cast(), 255, device) };
            let text = CStr::from_bytes_until_nul(&buffer).ok()?;
            (status == 0).then(|| text.to_string_lossy().into_owned())
        };
        Ok(Device {
            ordinal,
            name: text(functions.device_name),
            pci: text(functions.device_pci).map(|address| address.to_lowercase()),
            memory_bytes: (memory == 0).then_some(bytes),
            capability: attribute(CAPABILITY_MAJOR).zip(attribute(CAPABILITY_MINOR)),
            multiprocessors: attribute(MULTIPROCESSORS),
            l2_bytes: attribute(L2_BYTES),
            copy_engines: attribute(COPY_ENGINES),
        })
    }

    /// The primary context of device `ordinal`, which frameworks in this process use too.
    ///
    /// # Errors
    /// When there is no such device, or the driver refuses.
    pub fn context(&self, ordinal: u32) -> Result<Context, Error> {
        Context::retain(self, self.handle(ordinal)?)
    }

    fn handle(&self, ordinal: u32) -> Result<c_int, Error> {
        let missing = Error::NoSuchDevice { device: ordinal, count: self.count };
        if ordinal >= self.count {
            return Err(missing);
        }
        let number = c_int::try_from(ordinal).map_err(|_| missing)?;
        let mut device = 0;
        // SAFETY: a number of ours to write into.
        unsafe { check("cuDeviceGet", (self.functions.device_get)(&raw mut device, number))? };
        Ok(device)
    }
}
