//! Decoders of file formats. They turn bytes into values; where the bytes come from is [`crate::source`]'s matter.

pub(crate) mod arrow_columns;
pub(crate) mod identity;
pub mod image;
pub mod jpeg;
pub(crate) mod parquet;
