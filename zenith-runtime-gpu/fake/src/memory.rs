//! The bytes behind addresses: device memory, page-locked host memory, and copies between them.
#![expect(unsafe_code, reason = "copies between addresses that C passes as numbers")]

use std::collections::BTreeMap;
use std::ptr;

/// Blocks by their first address.
#[derive(Debug, Default)]
pub(crate) struct Blocks(BTreeMap<u64, u64>);

impl Blocks {
    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.values().sum()
    }

    pub(crate) fn add(&mut self, address: u64, bytes: u64) {
        self.0.insert(address, bytes);
    }

    pub(crate) fn take(&mut self, address: u64) -> Option<u64> {
        self.0.remove(&address)
    }

    /// Whether a range lies within one block.
    pub(crate) fn contain(&self, address: u64, bytes: u64) -> bool {
        let block = self.0.range(..=address).next_back();
        block.is_some_and(|(start, len)| address - start <= *len && bytes <= len - (address - start))
    }

    /// Whether a range touches a block.
    pub(crate) fn touch(&self, address: u64, bytes: u64) -> bool {
        self.0.range(..address + bytes).next_back().is_some_and(|(start, len)| start + len > address)
    }
}

/// A copy that was asked for.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) from: From,
    pub(crate) to: u64,
    pub(crate) bytes: u64,
    /// What it breaks with, half-way.
    pub(crate) breaks: Option<u32>,
}

/// Where a copy's bytes are.
#[derive(Debug)]
pub(crate) enum From {
    /// Where they were, to be read when the copy runs.
    Address(u64),
    /// Pageable memory, which a driver reads before it returns.
    Staged(Vec<u8>),
}

/// Bytes of the caller's, read now.
pub(crate) fn staged(address: u64, bytes: u64) -> Vec<u8> {
    let mut copy = vec![0; bytes as usize];
    // SAFETY: the caller of the entry point promises that this range can be read, and the copy is as long.
    unsafe { ptr::copy_nonoverlapping(address as *const u8, copy.as_mut_ptr(), copy.len()) };
    copy
}

/// Carries a copy out.
pub(crate) fn run(copy: &Copy) {
    let bytes = if copy.breaks.is_some() { copy.bytes / 2 } else { copy.bytes } as usize;
    let from = match &copy.from {
        From::Address(address) => *address as *const u8,
        From::Staged(staged) => staged.as_ptr(),
    };
    // SAFETY: device ranges were found within a live block when the copy was asked for, and blocks that are freed while
    // copies run end them first; host ranges are the caller's promise, until the copy has run.
    unsafe { ptr::copy(from, copy.to as *mut u8, bytes) };
}

/// Zeroed memory that is given back by [`free`]; `None` where the system has none.
pub(crate) fn allocate(bytes: u64) -> Option<u64> {
    // SAFETY: any sizes may be asked of calloc.
    let start = unsafe { libc::calloc(bytes.max(1) as usize, 1) };
    (!start.is_null()).then_some(start as u64)
}

/// Gives memory back.
pub(crate) fn free(address: u64) {
    // SAFETY: called once for each address that `allocate` gave.
    unsafe { libc::free(address as *mut libc::c_void) };
}
