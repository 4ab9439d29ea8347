//! ABI 1 as it lies in memory, see `docs/plugin-abi.md`. Pointers are 32-bit, whatever machine this is compiled for.

use crate::MAX_RANK;

/// The version of the ABI.
pub const VERSION: i32 = 1;
/// The flag of plugins that may drop samples.
pub(crate) const MAY_DROP: u32 = 1;
/// The flag of plugins that may split samples.
pub(crate) const MAY_SPLIT: u32 = 2;

/// `zenith_tensor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RawTensor {
    /// First byte.
    pub data: u32,
    /// Number of the element type.
    pub dtype: u32,
    /// Number of axes.
    pub rank: u32,
    /// Their lengths; 0 behind `rank`.
    pub shape: [u32; MAX_RANK],
}

/// `zenith_input`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RawInput {
    /// The sample.
    pub tensor: RawTensor,
    /// 0.
    pub reserved: u32,
    /// Random bits.
    pub random: u64,
}

/// `zenith_result`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RawResult {
    /// 0, or an error code.
    pub status: i32,
    /// Number of tensors.
    pub count: u32,
    /// Where they are.
    pub tensors: u32,
    /// Where the error's text is.
    pub message: u32,
    /// Its bytes.
    pub message_len: u32,
}

/// `zenith_description`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RawDescription {
    /// UTF-8.
    pub name: u32,
    /// Bytes.
    pub name_len: u32,
    /// UTF-8.
    pub version: u32,
    /// Bytes.
    pub version_len: u32,
    /// UTF-8.
    pub description: u32,
    /// Bytes.
    pub description_len: u32,
    /// [`MAY_DROP`], [`MAY_SPLIT`].
    pub flags: u32,
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<RawTensor>() == 44 && offset_of!(RawTensor, shape) == 12);
    assert!(
        size_of::<RawInput>() == 56
            && offset_of!(RawInput, reserved) == 44
            && offset_of!(RawInput, random) == 48
    );
    assert!(size_of::<RawResult>() == 20 && offset_of!(RawResult, message_len) == 16);
    assert!(size_of::<RawDescription>() == 28 && offset_of!(RawDescription, flags) == 24);
};
