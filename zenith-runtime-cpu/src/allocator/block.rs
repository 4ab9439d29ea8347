//! One block of memory: how it is obtained from the system and given back the same way.
#![expect(unsafe_code, reason = "owns heap memory and anonymous mappings")]

use std::alloc::{self, Layout};
use std::fmt;
use std::fs;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use super::placement::{self, Residency};
use super::{HUGE_1G, HUGE_2M, Pages, Refused};

/// Linux 5.14; reports the lack of a hugepage as an error, where touching it would be fatal.
const MADV_POPULATE_WRITE: libc::c_int = 23;

/// Exactly as many bytes as were asked for, zeroed at first; freed on drop in the way they were obtained.
pub struct Block {
    start: NonNull<u8>,
    len: usize,
    origin: Origin,
    pub(super) pages: Pages,
    pub(super) node: Option<u32>,
    pub(super) refused: Vec<Refused>,
    /// What somebody did to this memory, undone before it is freed.
    attached: Option<Box<dyn Send + Sync>>,
}

#[derive(Debug)]
enum Origin {
    Heap(Layout),
    /// `bytes` mapped from `start` on.
    Mapping {
        bytes: usize,
    },
}

// SAFETY: a block owns its memory exclusively; neither the heap nor a mapping is bound to a thread.
unsafe impl Send for Block {}
// SAFETY: `&Block` gives read access only; writing through the raw pointer is its user's unsafe act.
unsafe impl Sync for Block {}

impl Block {
    /// Zeroed memory of the process's heap.
    pub(super) fn heap(bytes: usize) -> io::Result<Self> {
        let align = if bytes < page_bytes() { 64 } else { page_bytes() };
        let layout = Layout::from_size_align(bytes.max(1), align).map_err(io::Error::other)?;
        // SAFETY: the layout's size is at least 1.
        let start = NonNull::new(unsafe { alloc::alloc_zeroed(layout) })
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self::from_parts(start, bytes, Origin::Heap(layout), Pages::Heap))
    }

    /// A private anonymous mapping of ordinary pages, untouched.
    pub(super) fn mapped(bytes: usize) -> io::Result<Self> {
        let size = bytes.max(1).next_multiple_of(page_bytes());
        let start = map(size, 0)?;
        Ok(Self::from_parts(start, bytes, Origin::Mapping { bytes: size }, Pages::Heap))
    }

    /// A private anonymous mapping, aligned for and advised to have transparent hugepages, untouched.
    pub(super) fn transparent(bytes: usize) -> io::Result<Self> {
        let size = bytes.max(1).next_multiple_of(page_bytes());
        let slack = size + HUGE_2M;
        let raw = map(slack, 0)?;
        let lead = raw.as_ptr().addr().next_multiple_of(HUGE_2M) - raw.as_ptr().addr();
        // SAFETY: lead < HUGE_2M, so both ends cut off lie inside the mapping, are page-aligned and used by nobody.
        let start = unsafe {
            unmap(raw.as_ptr(), lead);
            unmap(raw.as_ptr().add(lead + size), HUGE_2M - lead);
            NonNull::new_unchecked(raw.as_ptr().add(lead))
        };
        let block = Self::from_parts(start, bytes, Origin::Mapping { bytes: size }, Pages::Thp);
        block.advise(libc::MADV_HUGEPAGE)?;
        Ok(block)
    }

    /// A mapping of explicit hugepages, reserved but not yet populated.
    pub(super) fn huge(bytes: usize, pages: Pages) -> io::Result<Self> {
        let (page, flag) = match pages {
            Pages::Huge1G => (HUGE_1G, libc::MAP_HUGE_1GB),
            _ => (HUGE_2M, libc::MAP_HUGE_2MB),
        };
        let size = bytes.max(1).next_multiple_of(page);
        let start = map(size, libc::MAP_HUGETLB | flag)?;
        Ok(Self::from_parts(start, bytes, Origin::Mapping { bytes: size }, pages))
    }

    fn from_parts(start: NonNull<u8>, len: usize, origin: Origin, pages: Pages) -> Self {
        Self { start, len, origin, pages, node: None, refused: Vec::new(), attached: None }
    }

    /// Keeps something until the block is freed, and drops it before: what locks these pages for a device, say. What was
    /// kept before is dropped now.
    pub fn attach(&mut self, kept: Box<dyn Send + Sync>) {
        self.attached = Some(kept);
    }

    /// The first byte.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    #[must_use]
    pub const fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` are ours and initialised (zeroed by the heap or the kernel).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to write.
    #[must_use]
    pub const fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// The pages it has.
    #[must_use]
    pub const fn pages(&self) -> Pages {
        self.pages
    }

    /// The node it was bound to; `None`: the node of the thread that first touches a page.
    #[must_use]
    pub const fn node(&self) -> Option<u32> {
        self.node
    }

    /// What was wanted and could not be had, best first.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Bytes taken from the system: the length rounded up to the pages used.
    #[must_use]
    pub const fn footprint(&self) -> usize {
        match self.origin {
            Origin::Heap(layout) => layout.size(),
            Origin::Mapping { bytes } => bytes,
        }
    }

    /// Makes every page present, by the calling thread; contents stay.
    pub fn touch(&mut self) {
        if matches!(self.origin, Origin::Mapping { .. }) && self.advise(MADV_POPULATE_WRITE).is_ok() {
            return;
        }
        for at in (0..self.len).step_by(page_bytes()) {
            // SAFETY: `at < len`, and `&mut self` makes the access exclusive.
            unsafe {
                let byte = self.start.as_ptr().add(at);
                byte.write_volatile(byte.read_volatile());
            }
        }
    }

    /// Populates a mapping without the risk of a fatal signal.
    pub(super) fn populate(&self) -> io::Result<()> {
        self.advise(MADV_POPULATE_WRITE)
    }

    /// On which memory nodes the pages lie now, as the kernel says. Pages nobody touched lie nowhere.
    ///
    /// # Errors
    /// The system's error; containers often forbid the question.
    pub fn resident_nodes(&self) -> io::Result<Residency> {
        let page = page_bytes();
        let first = self.start.as_ptr().addr() / page * page;
        let end = self.start.as_ptr().addr() + self.len.max(1);
        placement::residency((first..end).step_by(page))
    }

    /// How many bytes of it the kernel has backed by transparent hugepages at this moment (of the mappings it lies in).
    ///
    /// # Errors
    /// When `/proc/self/smaps` cannot be read.
    pub fn transparent_huge_bytes(&self) -> io::Result<usize> {
        let (start, end) = (self.start.as_ptr().addr(), self.start.as_ptr().addr() + self.footprint());
        let (mut inside, mut bytes) = (false, 0);
        for line in fs::read_to_string("/proc/self/smaps")?.lines() {
            if let Some((from, to)) = address_range(line) {
                inside = from < end && start < to;
            } else if let Some(rest) = line.strip_prefix("AnonHugePages:").filter(|_| inside) {
                let kib: usize = rest.trim().trim_end_matches(" kB").parse().unwrap_or(0);
                bytes += kib * 1024;
            }
        }
        Ok(bytes)
    }

    /// The range whose placement can be governed: whole pages of ours alone.
    pub(super) fn mapping(&self) -> Option<(*mut u8, usize)> {
        match self.origin {
            Origin::Mapping { bytes } => Some((self.start.as_ptr(), bytes)),
            Origin::Heap(_) => None,
        }
    }

    fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        let Some((start, bytes)) = self.mapping() else {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        };
        // SAFETY: the range is a mapping of ours; the advices used (hugepages, populate) change no contents.
        match unsafe { libc::madvise(start.cast(), bytes, advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("start", &self.start)
            .field("len", &self.len)
            .field("origin", &self.origin)
            .field("pages", &self.pages)
            .field("node", &self.node)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.attached = None;
        // SAFETY: obtained with this very layout, or mapped with this very length, and used by nobody any more.
        unsafe {
            match self.origin {
                Origin::Heap(layout) => alloc::dealloc(self.start.as_ptr(), layout),
                Origin::Mapping { bytes } => unmap(self.start.as_ptr(), bytes),
            }
        }
    }
}

fn address_range(line: &str) -> Option<(usize, usize)> {
    let (from, to) = line.split_whitespace().next()?.split_once('-')?;
    Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
}

fn map(bytes: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))
}

/// # Safety
/// `start..start + bytes` is page-aligned, mapped by [`map`], and used by nobody.
unsafe fn unmap(start: *mut u8, bytes: usize) {
    if bytes == 0 {
        return;
    }
    // SAFETY: by the contract above.
    let result = unsafe { libc::munmap(start.cast(), bytes) };
    debug_assert_eq!(result, 0, "munmap: {}", io::Error::last_os_error());
}

/// Bytes of an ordinary page.
pub(super) fn page_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        // SAFETY: sysconf has no preconditions.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    })
}
