//! Memory for batches: which pages, on which memory node, and what was really got.
//!
//! This is no general-purpose allocator: it hands out a few large blocks that live long and are reused by the
//! [slab pool](crate::buffer). Whatever was refused on the way is recorded in the [`Block`], never swallowed.

mod block;
pub mod placement;
mod system;

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

pub use block::Block;
pub use system::SystemMemory;

/// Bytes of the hugepages used here.
pub const HUGE_2M: usize = 2 << 20;
/// Bytes of a gigantic page.
pub const HUGE_1G: usize = 1 << 30;

/// The kind of pages to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PagesWanted {
    /// The best that can be had: explicit hugepages, then transparent ones, then ordinary pages. Blocks under 2 MiB
    /// get ordinary pages at once.
    #[default]
    Auto,
    /// Ordinary pages.
    Heap,
    /// Transparent hugepages, by advice; an error where the kernel has them switched off.
    Thp,
    /// Explicit hugepages; an error where there are not enough.
    Huge,
}

impl PagesWanted {
    /// The name used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Heap => "heap",
            Self::Thp => "thp",
            Self::Huge => "huge",
        }
    }
}

/// The kind of pages a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pages {
    /// Ordinary pages.
    Heap,
    /// Memory for which transparent hugepages were advised; see [`Block::transparent_huge_bytes`] for how much of it
    /// the kernel has backed so.
    Thp,
    /// Explicit hugepages of 2 MiB.
    Huge2M,
    /// Explicit hugepages of 1 GiB.
    Huge1G,
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Heap => "ordinary pages",
            Self::Thp => "transparent hugepages",
            Self::Huge2M => "2 MiB hugepages",
            Self::Huge1G => "1 GiB hugepages",
        })
    }
}

/// Something better that a block was meant to have and could not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// What was wanted.
    pub wanted: Wanted,
    /// Why it was refused, as a lower-case fragment.
    pub reason: String,
}

/// A wish that can be refused without the allocation failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// This kind of pages.
    Pages(Pages),
    /// Memory of this node.
    Node(u32),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wanted {
            Wanted::Pages(pages) => write!(f, "no {pages}: {}", self.reason),
            Wanted::Node(node) => write!(f, "not placed on node {node}: {}", self.reason),
        }
    }
}

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// More than the address space can hold.
    #[error("{bytes} bytes are more than this machine can address")]
    TooLarge {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The system has no memory left, or a limit (ulimit -v, memory cgroup) was reached.
    #[error("cannot get {bytes} bytes of memory: {source}")]
    Exhausted {
        /// Bytes asked for.
        bytes: usize,
        /// The system's error.
        source: io::Error,
    },
    /// The pages that were asked for explicitly cannot be had.
    #[error("cannot get {bytes} bytes in {pages}: {reason}")]
    Pages {
        /// Bytes asked for.
        bytes: usize,
        /// The kind of pages.
        pages: Pages,
        /// What stands in the way and what would help.
        reason: String,
    },
    /// The memory cannot be locked for a device.
    #[error("cannot lock {bytes} bytes of memory: {reason}")]
    Locked {
        /// Bytes asked for.
        bytes: usize,
        /// Who refused it, and why.
        reason: String,
    },
    /// There is no such memory node, or this process may not use it.
    #[error("no memory can be placed on node {node}: {source}")]
    Node {
        /// The node.
        node: u32,
        /// The system's error.
        source: io::Error,
    },
}

/// Where host memory comes from.
pub trait HostMemory: fmt::Debug + Send + Sync {
    /// A block of exactly `bytes` zeroed bytes, aligned to 64 bytes, from 4 KiB on to a page.
    ///
    /// # Errors
    /// [`MemoryError`] when the memory, or what was asked for strictly, cannot be had.
    fn allocate(&self, bytes: usize) -> Result<Block, MemoryError>;

    /// What this memory is, in a few words for reports.
    fn describe(&self) -> String;
}
