//! Decoders of file formats. They turn bytes into values; where the bytes come from is [`crate::source`]'s matter.

pub mod image;
pub mod jpeg;
