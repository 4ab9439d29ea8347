//! The system's memory: the choice of pages, the placement on a node, and the fallbacks.

use std::fs;
use std::io;

use super::placement::{self, Strictness};
use super::{Block, HUGE_1G, HUGE_2M, HostMemory, MemoryError, Pages, PagesWanted, Refused, Wanted};

/// Ordinary blocks from this size on are mappings: zeroed lazily by the kernel, and given back to it at once.
const MAP_FROM: usize = 128 << 10;

/// Memory of this machine.
///
/// With a node, explicit hugepages are bound to it, all other pages prefer it: where the node is full the kernel takes
/// a neighbour instead of killing the process, and [`Block::resident_nodes`] shows it. A system that forbids placement
/// (containers without `CAP_SYS_NICE`) gives an unplaced block that says so in [`Block::refused`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemMemory {
    /// The pages to ask for.
    pub pages: PagesWanted,
    /// The memory node; `None`: the node of the thread that first touches a page.
    pub node: Option<u32>,
}

impl SystemMemory {
    fn ordinary(self, bytes: usize) -> Result<Block, MemoryError> {
        let block =
            if bytes < MAP_FROM && self.node.is_none() { Block::heap(bytes) } else { Block::mapped(bytes) };
        let mut block = block.map_err(|source| MemoryError::Exhausted { bytes, source })?;
        self.place(&mut block, Strictness::Prefer)?;
        Ok(block)
    }

    /// `Ok(Err(_))`: no such pages here, and why.
    fn transparent(self, bytes: usize) -> Result<Result<Block, Refused>, MemoryError> {
        if let Some(reason) = transparent_hugepages_off() {
            return Ok(Err(refused(Pages::Thp, reason)));
        }
        match Block::transparent(bytes) {
            Ok(mut block) => {
                self.place(&mut block, Strictness::Prefer)?;
                Ok(Ok(block))
            }
            Err(error) => Ok(Err(refused(Pages::Thp, error.to_string()))),
        }
    }

    /// `Ok(Err(_))`: no such pages here, and why.
    fn huge(self, bytes: usize, pages: Pages) -> Result<Result<Block, Refused>, MemoryError> {
        let mut block = match Block::huge(bytes, pages) {
            Ok(block) => block,
            Err(error) => return Ok(Err(refused(pages, huge_reason(&error, pages)))),
        };
        self.place(&mut block, Strictness::Bind)?;
        // The reservation says nothing about the node or about a cgroup's limit, and touching a hugepage that is not
        // there ends the process; so all of them are taken now, while a lack is still an error.
        match block.populate() {
            Ok(()) => Ok(Ok(block)),
            Err(error) => {
                let place = self.node.map_or(String::new(), |node| format!(" on node {node}"));
                let reason = match error.raw_os_error() {
                    Some(libc::EINVAL) => {
                        "this kernel (before 5.14) cannot make sure that they exist".to_owned()
                    }
                    Some(libc::EFAULT | libc::ENOMEM) => {
                        format!("not enough of them are free{place} (raise {})", huge_knob(pages, self.node))
                    }
                    _ => error.to_string(),
                };
                Ok(Err(refused(pages, reason)))
            }
        }
    }

    fn place(self, block: &mut Block, strictness: Strictness) -> Result<(), MemoryError> {
        let Some(node) = self.node else { return Ok(()) };
        match placement::place(block, node, strictness) {
            Ok(()) => block.node = Some(node),
            // A kernel without NUMA has one node, and everything is on it.
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) && node == 0 => block.node = Some(0),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                block.refused.push(Refused {
                    wanted: Wanted::Node(node),
                    reason: format!(
                        "mbind: {error} (a container needs CAP_SYS_NICE); pages lie where they are first touched"
                    ),
                });
            }
            Err(source) => return Err(MemoryError::Node { node, source }),
        }
        Ok(())
    }

    fn best(self, bytes: usize) -> Result<Block, MemoryError> {
        let mut refusals = Vec::new();
        let mut found = None;
        if bytes >= HUGE_2M {
            match self.best_huge(bytes)? {
                Ok(block) => found = Some(block),
                Err(refusal) => {
                    refusals.push(refusal);
                    match self.transparent(bytes)? {
                        Ok(block) => found = Some(block),
                        Err(refusal) => refusals.push(refusal),
                    }
                }
            }
        }
        let mut block = match found {
            Some(block) => block,
            None => self.ordinary(bytes)?,
        };
        refusals.append(&mut block.refused);
        block.refused = refusals;
        Ok(block)
    }

    /// Explicit hugepages, unless rounding up to them would waste more than an eighth.
    fn best_huge(self, bytes: usize) -> Result<Result<Block, Refused>, MemoryError> {
        if wastes(bytes, HUGE_2M) {
            let lost = bytes.next_multiple_of(HUGE_2M) - bytes;
            return Ok(Err(refused(Pages::Huge2M, format!("rounding {bytes} bytes up would waste {lost}"))));
        }
        self.explicit_huge(bytes)
    }

    fn explicit_huge(self, bytes: usize) -> Result<Result<Block, Refused>, MemoryError> {
        if bytes >= HUGE_1G
            && !wastes(bytes, HUGE_1G)
            && let Ok(block) = self.huge(bytes, Pages::Huge1G)?
        {
            return Ok(Ok(block));
        }
        self.huge(bytes, Pages::Huge2M)
    }
}

impl HostMemory for SystemMemory {
    fn allocate(&self, bytes: usize) -> Result<Block, MemoryError> {
        if bytes > isize::MAX as usize - 2 * HUGE_1G {
            return Err(MemoryError::TooLarge { bytes });
        }
        let strict = |result: Result<Block, Refused>| {
            result.map_err(|refusal| MemoryError::Pages {
                bytes,
                pages: match refusal.wanted {
                    Wanted::Pages(pages) => pages,
                    Wanted::Node(_) => Pages::Heap,
                },
                reason: refusal.reason,
            })
        };
        match self.pages {
            PagesWanted::Auto => self.best(bytes),
            PagesWanted::Heap => self.ordinary(bytes),
            PagesWanted::Thp => strict(self.transparent(bytes)?),
            PagesWanted::Huge => strict(self.explicit_huge(bytes)?),
        }
    }

    fn describe(&self) -> String {
        let pages = self.pages.name();
        match self.node {
            Some(node) => format!("{pages} pages on node {node}"),
            None => format!("{pages} pages on the node of first touch"),
        }
    }
}

const fn wastes(bytes: usize, page: usize) -> bool {
    bytes.next_multiple_of(page) - bytes > bytes / 8
}

const fn refused(pages: Pages, reason: String) -> Refused {
    Refused { wanted: Wanted::Pages(pages), reason }
}

fn huge_knob(pages: Pages, node: Option<u32>) -> String {
    match (pages, node) {
        (Pages::Huge1G, _) => "the boot parameter hugepagesz=1G hugepages=N".to_owned(),
        (_, Some(node)) => {
            format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages")
        }
        (_, None) => "vm.nr_hugepages".to_owned(),
    }
}

fn huge_reason(error: &io::Error, pages: Pages) -> String {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => format!("not enough of them are free (raise {})", huge_knob(pages, None)),
        Some(libc::EINVAL) => "this kernel has no pages of that size".to_owned(),
        _ => error.to_string(),
    }
}

/// Why advising transparent hugepages would be in vain, if it would.
fn transparent_hugepages_off() -> Option<String> {
    const ROOT: &str = "/sys/kernel/mm/transparent_hugepage";
    let Ok(mode) = fs::read_to_string(format!("{ROOT}/enabled")) else {
        return Some("this kernel has none".to_owned());
    };
    if mode.contains("[never]") {
        return Some(format!("they are switched off (echo madvise > {ROOT}/enabled)"));
    }
    // Kernels with pages of 16 or 64 KiB have transparent hugepages too large to align for.
    let size = fs::read_to_string(format!("{ROOT}/hpage_pmd_size")).ok()?;
    let size: usize = size.trim().parse().ok()?;
    (size != HUGE_2M).then(|| format!("they have {size} bytes on this kernel"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(pages: PagesWanted, node: Option<u32>, bytes: usize) -> Result<Block, MemoryError> {
        SystemMemory { pages, node }.allocate(bytes)
    }

    fn mapped_bytes() -> usize {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split_whitespace().next().unwrap().parse().unwrap();
        pages * super::super::block::page_bytes()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn blocks_are_exact_zeroed_aligned_and_writable(bytes in prop_oneof![0_usize..9000, 100_000..6_000_000_usize]) {
            for pages in [PagesWanted::Auto, PagesWanted::Heap] {
                let mut block = get(pages, None, bytes).unwrap();
                prop_assert_eq!(block.len(), bytes);
                prop_assert!(block.as_slice().iter().all(|&byte| byte == 0));
                prop_assert_eq!(block.as_ptr().addr() % if bytes < 4096 { 64 } else { 4096 }, 0);
                block.as_mut_slice().fill(0xa5);
                block.touch();
                prop_assert!(block.as_slice().iter().all(|&byte| byte == 0xa5));
                prop_assert!(block.footprint() < bytes + HUGE_2M);
            }
        }
    }

    #[test]
    fn large_blocks_say_what_they_got_and_what_was_refused() {
        let block = get(PagesWanted::Auto, None, 40 << 20).unwrap();
        let refused = block.refused();
        match block.pages() {
            Pages::Huge2M | Pages::Huge1G => assert!(refused.is_empty(), "{refused:?}"),
            Pages::Thp => assert_eq!(refused.len(), 1, "{refused:?}"),
            Pages::Heap => assert_eq!(refused.len(), 2, "{refused:?}"),
        }
        assert!(refused.iter().all(|refused| !refused.reason.is_empty()));
    }

    #[test]
    fn what_is_asked_for_strictly_is_got_or_an_error() {
        for (wanted, got) in [(PagesWanted::Thp, Pages::Thp), (PagesWanted::Huge, Pages::Huge2M)] {
            match get(wanted, None, 4 << 20) {
                Ok(block) => assert_eq!((block.pages(), block.refused()), (got, &[][..])),
                Err(error) => {
                    assert!(matches!(&error, MemoryError::Pages { pages, .. } if *pages == got), "{error}");
                }
            }
        }
    }

    #[test]
    fn transparent_blocks_are_aligned_for_hugepages_and_get_them() {
        if let Some(reason) = transparent_hugepages_off() {
            assert!(matches!(
                get(PagesWanted::Thp, None, 8 << 20),
                Err(MemoryError::Pages { reason: told, .. }) if told == reason
            ));
            return;
        }
        let mut block = get(PagesWanted::Thp, None, (8 << 20) + 5000).unwrap();
        assert_eq!(block.as_ptr().addr() % HUGE_2M, 0);
        assert_eq!(block.footprint(), (8 << 20) + 8192);
        assert_eq!(block.transparent_huge_bytes().unwrap(), 0);
        block.touch();
        assert_eq!(block.as_slice()[(8 << 20) + 4999], 0);
    }

    #[test]
    fn more_than_the_address_space_is_an_error() {
        assert!(matches!(get(PagesWanted::Auto, None, usize::MAX - 4096), Err(MemoryError::TooLarge { .. })));
        assert!(matches!(get(PagesWanted::Auto, None, 1 << 60), Err(MemoryError::Exhausted { .. })));
    }

    #[test]
    fn a_node_is_used_as_asked_or_named_as_refused() {
        match get(PagesWanted::Auto, Some(0), 4 << 20) {
            Ok(mut block) => {
                block.touch();
                if block.node() == Some(0) {
                    assert!(block.resident_nodes().unwrap().only_on(0));
                } else {
                    assert!(block.refused().iter().any(|refused| refused.wanted == Wanted::Node(0)));
                }
            }
            Err(error) => panic!("{error}"),
        }
        for absent in [1000, 1_000_000] {
            match get(PagesWanted::Auto, Some(absent), 4 << 20) {
                Err(MemoryError::Node { node, .. }) => assert_eq!(node, absent),
                // Where placement is forbidden, the kernel does not get as far as looking at the node.
                Ok(block) => {
                    assert!(block.refused().iter().any(|refused| refused.wanted == Wanted::Node(absent)));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_dropped_block_is_unmapped() {
        drop(get(PagesWanted::Auto, None, 64 << 20).unwrap());
        let before = mapped_bytes();
        for _ in 0..50 {
            drop(get(PagesWanted::Auto, None, 64 << 20).unwrap());
            drop(get(PagesWanted::Heap, None, 64 << 20).unwrap());
        }
        // Other tests run at the same time and map some megabytes themselves.
        assert!(mapped_bytes() < before + (1 << 30), "100 blocks of 64 MiB leaked");
    }
}
