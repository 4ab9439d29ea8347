//! Vectors from slices and into them, with checked lengths; everything else about vectors is in [`core::arch::wasm32`],
//! where it is safe. Only there where a plugin is compiled with `-C target-feature=+simd128`.
#![expect(unsafe_code, reason = "vector loads and stores are from and to arrays of their length")]

use core::arch::wasm32::{v128, v128_load, v128_load64_zero, v128_store, v128_store64_lane};

/// The first 16 bytes.
///
/// # Panics
/// If there are fewer.
#[inline(always)]
#[must_use]
pub fn load(bytes: &[u8]) -> v128 {
    let bytes: &[u8; 16] = bytes.first_chunk().expect("a vector has 16 bytes");
    // SAFETY: the array has the vector's 16 bytes; wasm needs no alignment.
    unsafe { v128_load(bytes.as_ptr().cast()) }
}

/// The first 8 bytes, and 8 zeros.
///
/// # Panics
/// If there are fewer.
#[inline(always)]
#[must_use]
pub fn load_half(bytes: &[u8]) -> v128 {
    let bytes: &[u8; 8] = bytes.first_chunk().expect("half a vector has 8 bytes");
    // SAFETY: the array has the 8 bytes; wasm needs no alignment.
    unsafe { v128_load64_zero(bytes.as_ptr().cast()) }
}

/// The first 4 numbers.
///
/// # Panics
/// If there are fewer.
#[inline(always)]
#[must_use]
pub fn load_u32(numbers: &[u32]) -> v128 {
    let numbers: &[u32; 4] = numbers.first_chunk().expect("a vector has 4 numbers");
    // SAFETY: as in `load`.
    unsafe { v128_load(numbers.as_ptr().cast()) }
}

/// Writes the vector to the first 16 bytes.
///
/// # Panics
/// If there are fewer.
#[inline(always)]
pub fn store(vector: v128, bytes: &mut [u8]) {
    let bytes: &mut [u8; 16] = bytes.first_chunk_mut().expect("a vector has 16 bytes");
    // SAFETY: as in `load`.
    unsafe { v128_store(bytes.as_mut_ptr().cast(), vector) }
}

/// Writes the vector to the first 4 numbers.
///
/// # Panics
/// If there are fewer.
#[inline(always)]
pub fn store_u32(vector: v128, numbers: &mut [u32]) {
    let numbers: &mut [u32; 4] = numbers.first_chunk_mut().expect("a vector has 4 numbers");
    // SAFETY: as in `load`.
    unsafe { v128_store(numbers.as_mut_ptr().cast(), vector) }
}

/// Writes the vector's first half to the first 2 numbers.
///
/// # Panics
/// If there are fewer.
#[inline(always)]
pub fn store_half(vector: v128, numbers: &mut [u32]) {
    let numbers: &mut [u32; 2] = numbers.first_chunk_mut().expect("half a vector has 2 numbers");
    // SAFETY: the array has the 8 bytes; wasm needs no alignment.
    unsafe { v128_store64_lane::<0>(vector, numbers.as_mut_ptr().cast()) }
}
