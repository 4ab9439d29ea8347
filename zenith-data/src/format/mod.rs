//! Decoders of file formats. They turn bytes into values; where the bytes come from is [`crate::source`]'s matter.

pub(crate) mod arrow_columns;
pub(crate) mod arrow_ipc;
pub(crate) mod batches;
pub(crate) mod csv;
pub(crate) mod exif;
pub(crate) mod identity;
pub mod image;
pub mod jpeg;
pub mod kind;
pub(crate) mod npy;
pub(crate) mod npz;
pub(crate) mod parquet;
