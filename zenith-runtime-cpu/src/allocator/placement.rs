//! Which memory node pages are to be on, and which they are on: the kernel's memory policy calls.
//!
//! It asks and tells the kernel; deciding on nodes is [`numa`](crate::numa)'s business.
#![expect(unsafe_code, reason = "mbind, get_mempolicy and move_pages have no safe wrapper")]

use std::collections::BTreeMap;
use std::io;
use std::ptr;

use super::Block;

const NODE_BITS: usize = 1024;
const WORD_BITS: usize = usize::BITS as usize;
const MPOL_F_ADDR: libc::c_ulong = 2;

type NodeMask = [libc::c_ulong; NODE_BITS / WORD_BITS];

/// How strictly a node is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Only this node; where it is full, allocation fails.
    Bind,
    /// This node while it has room, then its neighbours.
    Prefer,
}

/// The memory policy of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How strictly; `None`: the default, each page on the node of the thread that touches it first.
    pub strictness: Option<Strictness>,
    /// The nodes meant.
    pub nodes: Vec<u32>,
}

/// On which nodes pages lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    /// Pages (of the size of ordinary pages) per node.
    pub pages: BTreeMap<u32, usize>,
    /// Pages that nobody has touched yet.
    pub absent: usize,
}

impl Residency {
    /// Whether at least one page is present and all present pages lie on `node`.
    #[must_use]
    pub fn only_on(&self, node: u32) -> bool {
        self.pages.len() == 1 && self.pages.contains_key(&node)
    }
}

/// Sets the policy of a block's pages. Only pages touched from now on are affected.
pub(super) fn place(block: &Block, node: u32, strictness: Strictness) -> io::Result<()> {
    let Some((start, bytes)) = block.mapping() else {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    };
    let mut mask: NodeMask = [0; NODE_BITS / WORD_BITS];
    let index = node as usize;
    let Some(word) = mask.get_mut(index / WORD_BITS) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    *word |= 1 << (index % WORD_BITS);
    let mode = match strictness {
        Strictness::Bind => libc::MPOL_BIND,
        Strictness::Prefer => libc::MPOL_PREFERRED,
    };
    // SAFETY: the range is a whole mapping of the block's own; the mask outlives the call. The kernel reads one bit
    // less than it is told.
    let result =
        unsafe { libc::syscall(libc::SYS_mbind, start, bytes, mode, mask.as_ptr(), NODE_BITS + 1, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The policy that governs the block's first page.
///
/// # Errors
/// The system's error; containers often forbid the question.
pub fn policy(block: &Block) -> io::Result<Policy> {
    let mut mode: libc::c_int = 0;
    let mut mask: NodeMask = [0; NODE_BITS / WORD_BITS];
    // SAFETY: `mode` and `mask` are writable and as large as the kernel is told; the address is the block's own.
    let result = unsafe {
        libc::syscall(
            libc::SYS_get_mempolicy,
            ptr::from_mut(&mut mode),
            mask.as_mut_ptr(),
            NODE_BITS,
            block.as_ptr(),
            MPOL_F_ADDR,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let nodes = (0..NODE_BITS)
        .filter(|bit| mask[bit / WORD_BITS] >> (bit % WORD_BITS) & 1 == 1)
        .filter_map(|bit| u32::try_from(bit).ok())
        .collect();
    let strictness = match mode {
        libc::MPOL_BIND => Some(Strictness::Bind),
        libc::MPOL_PREFERRED => Some(Strictness::Prefer),
        _ => None,
    };
    Ok(Policy { strictness, nodes })
}

/// Where the pages at these addresses lie.
pub(super) fn residency(pages: impl Iterator<Item = usize>) -> io::Result<Residency> {
    const CHUNK: usize = 4096;
    let pages: Vec<*mut libc::c_void> = pages.map(ptr::without_provenance_mut).collect();
    let mut residency = Residency::default();
    for chunk in pages.chunks(CHUNK) {
        let mut status: [libc::c_int; CHUNK] = [0; CHUNK];
        // SAFETY: without a list of nodes, move_pages moves nothing; it reads `chunk.len()` addresses, which it checks,
        // and writes as many entries of `status`.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0,
                chunk.len(),
                chunk.as_ptr(),
                ptr::null::<libc::c_int>(),
                status.as_mut_ptr(),
                0,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        for &status in &status[..chunk.len()] {
            match u32::try_from(status) {
                Ok(node) => *residency.pages.entry(node).or_default() += 1,
                Err(_) => residency.absent += 1,
            }
        }
    }
    Ok(residency)
}
