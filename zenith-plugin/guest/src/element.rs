//! Element types and the Rust types that stand for them. Knows no tensor.

use crate::Error;

/// The element type of a tensor. Names are NumPy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool = 0,
    /// Unsigned 8 bit.
    UInt8 = 1,
    /// Unsigned 16 bit.
    UInt16 = 2,
    /// Unsigned 32 bit.
    UInt32 = 3,
    /// Unsigned 64 bit.
    UInt64 = 4,
    /// Signed 8 bit.
    Int8 = 5,
    /// Signed 16 bit.
    Int16 = 6,
    /// Signed 32 bit.
    Int32 = 7,
    /// Signed 64 bit.
    Int64 = 8,
    /// IEEE half precision; read and written as bytes.
    Float16 = 9,
    /// IEEE single precision.
    Float32 = 10,
    /// IEEE double precision.
    Float64 = 11,
}

impl DType {
    /// Every element type; an element type's place is its number in the ABI.
    pub const ALL: [DType; 12] = [
        DType::Bool,
        DType::UInt8,
        DType::UInt16,
        DType::UInt32,
        DType::UInt64,
        DType::Int8,
        DType::Int16,
        DType::Int32,
        DType::Int64,
        DType::Float16,
        DType::Float32,
        DType::Float64,
    ];

    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::UInt8 | DType::Int8 => 1,
            DType::UInt16 | DType::Int16 | DType::Float16 => 2,
            DType::UInt32 | DType::Int32 | DType::Float32 => 4,
            DType::UInt64 | DType::Int64 | DType::Float64 => 8,
        }
    }

    /// NumPy's name, such as `float32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::UInt8 => "uint8",
            DType::UInt16 => "uint16",
            DType::UInt32 => "uint32",
            DType::UInt64 => "uint64",
            DType::Int8 => "int8",
            DType::Int16 => "int16",
            DType::Int32 => "int32",
            DType::Int64 => "int64",
            DType::Float16 => "float16",
            DType::Float32 => "float32",
            DType::Float64 => "float64",
        }
    }

    /// The element type with NumPy's name `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// The element type with this number in the ABI.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(code as usize).copied()
    }
}

/// A Rust type that a tensor's elements can be read as. `bool` and half precision have none: their tensors are
/// bytes.
pub trait Element: Copy + sealed::Plain {
    /// The element type it stands for.
    const DTYPE: DType;
}

pub(crate) mod sealed {
    /// Types without padding of which every pattern of bits is a value.
    pub trait Plain {}
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),+) => {$(
        impl sealed::Plain for $rust {}
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
        }
        const _: () = assert!(size_of::<$rust>() == DType::$dtype.size());
    )+};
}

elements!(
    u8 => UInt8, u16 => UInt16, u32 => UInt32, u64 => UInt64,
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
    f32 => Float32, f64 => Float64
);

/// What to say when a tensor of `found` is read as `wanted`.
pub(crate) fn mismatch(wanted: DType, found: DType) -> Error {
    Error::new(Error::INPUT, format!("{} is needed, the tensor is {}", wanted.name(), found.name()))
}
