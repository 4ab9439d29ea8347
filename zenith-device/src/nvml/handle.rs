//! Whether two handles are the same GPU, also when the GPU no longer says who it is.
#![expect(unsafe_code, reason = "the wrapper gives the raw handle only to those who promise care")]

use nvml_wrapper::Device;

/// Whether both are handles of the same GPU. NVML gives the same handle each time it is asked for a GPU.
pub(crate) fn same(one: &Device<'_>, other: &Device<'_>) -> bool {
    // SAFETY: the pointers are compared here and kept nowhere, so nothing is done with them that NVML must know of.
    unsafe { one.handle() == other.handle() }
}
