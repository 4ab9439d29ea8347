//! The memory that all ranks of a group map: a head, a board per rank, and every rank's ring of slots.
//!
//! It is a file without a name (memfd), so nothing is left behind whatever dies. Its size is sealed: no mapping can lose
//! its pages under anybody.
#![expect(unsafe_code, reason = "memory that other processes write, too")]

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use super::board::Board;
use crate::collective::call::Call;
use crate::collective::error::CollectiveError;
use crate::collective::reduce::{Fold, fold};
use crate::collective::{ReduceOp, Result};

/// Rounds that may be under way at once; the steps of three are interleaved, and one more is slack.
pub(super) const DEPTH: u32 = 4;

/// Bytes of a slot. All slots of two ranks fit into a second-level cache twice over, and a system call now and then is
/// small against copying this much.
const SLOT: usize = 256 << 10;

/// A slot has room for this much of every rank, however many there are.
const LEAST_PART: usize = 16 << 10;

const PAGE: usize = 4096;

/// What belongs to no rank.
#[derive(Debug)]
#[repr(C, align(128))]
struct Head {
    /// Zero, or what broke the group.
    verdict: AtomicU64,
    /// Outcomes of the last decisions, by the parity of their calls' numbers: number, settled, yes.
    decisions: [AtomicU64; 2],
}

/// A mapping of the memory.
#[derive(Debug)]
pub(super) struct Segment {
    base: NonNull<u8>,
    world: usize,
    slot: usize,
}

// SAFETY: the mapping is the process's, not the thread's; what is shared in it is atomic or handed over by atomics.
unsafe impl Send for Segment {}

const fn slot_of(world: usize) -> usize {
    if SLOT / world < LEAST_PART { LEAST_PART * world } else { SLOT }
}

const fn boards_end(world: usize) -> usize {
    (size_of::<Head>() + world * size_of::<Board>()).next_multiple_of(PAGE)
}

const fn length(world: usize) -> usize {
    boards_end(world) + world * DEPTH as usize * slot_of(world)
}

impl Segment {
    /// A new file for so many ranks.
    pub(super) fn create(world: usize) -> Result<OwnedFd> {
        let make = || -> rustix::io::Result<OwnedFd> {
            let file = memfd_create("zenith-collective", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
            ftruncate(&file, length(world) as u64)?;
            fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
            Ok(file)
        };
        make().map_err(|error| CollectiveError::machine("making shared memory")(error.into()))
    }

    /// Maps the file.
    pub(super) fn map(file: impl AsFd, world: usize) -> Result<Self> {
        let machine = CollectiveError::machine("mapping shared memory");
        let length = length(world);
        let size = fstat(&file).map_err(|error| machine(error.into()))?.st_size;
        if u64::try_from(size).ok() != Some(length as u64) {
            return Err(CollectiveError::meeting(
                "rank 0 sent shared memory of another size; all ranks must run one version",
            ));
        }
        // SAFETY: a new mapping at an address that the kernel chooses harms nobody.
        let base = unsafe {
            mmap(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0)
        };
        let base = base.map_err(|error| machine(error.into()))?;
        // SAFETY: the mapping is ours. Where the system gives no huge pages to shared memory, small ones do.
        let _ = unsafe { madvise(base, length, Advice::LinuxHugepage) };
        let base = NonNull::new(base.cast()).expect("a mapping is not at address zero");
        Ok(Self { base, world, slot: slot_of(world) })
    }

    /// Bytes of a slot.
    pub(super) const fn slot(&self) -> usize {
        self.slot
    }

    /// Writes to every page of `rank`'s slots, so that they come to lie on the node of the thread that will fill them.
    pub(super) fn touch(&self, rank: usize) {
        for offset in (0..DEPTH as usize * self.slot).step_by(PAGE) {
            let slot = self.place(rank, (offset / self.slot) as u32, offset % self.slot, 1);
            // SAFETY: `place` has checked that the byte lies in the slot, which nobody reads before the first round.
            unsafe { slot.write_volatile(0) };
        }
    }

    fn head(&self) -> &Head {
        // SAFETY: the mapping begins with the head, page-aligned, of zeros at first and atomics only.
        unsafe { self.base.cast::<Head>().as_ref() }
    }

    /// The board of a rank.
    pub(super) fn board(&self, rank: usize) -> &Board {
        assert!(rank < self.world, "rank {rank} of {}", self.world);
        // SAFETY: boards follow the head, whose size keeps their alignment, and consist of atomics; there are `world`.
        unsafe { self.base.add(size_of::<Head>()).cast::<Board>().add(rank).as_ref() }
    }

    /// What broke the group; zero for nothing.
    pub(super) fn verdict(&self) -> u64 {
        self.head().verdict.load(Ordering::SeqCst)
    }

    /// Says what broke the group, unless somebody has; wakes everybody.
    pub(super) fn judge(&self, verdict: u64) {
        // Who came first is right.
        let _ = self.head().verdict.compare_exchange(0, verdict, Ordering::SeqCst, Ordering::SeqCst);
        (0..self.world).for_each(|rank| self.board(rank).ring());
    }

    /// Settles a decision, unless it was; the outcome.
    pub(super) fn settle(&self, sequence: u32, yes: bool) -> bool {
        let word = &self.head().decisions[sequence as usize % 2];
        let mine = u64::from(sequence) << 2 | 2 | u64::from(yes);
        let settled = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| {
            (old >> 2 != u64::from(sequence) || old & 2 == 0).then_some(mine)
        });
        match settled {
            Ok(_) => yes,
            Err(theirs) => theirs & 1 == 1,
        }
    }

    /// Where `length` bytes at `offset` of a slot lie.
    fn place(&self, rank: usize, round: u32, offset: usize, length: usize) -> *mut u8 {
        assert!(rank < self.world && offset + length <= self.slot, "within a slot");
        let slot = rank * DEPTH as usize + (round % DEPTH) as usize;
        // SAFETY: `slot` is less than `world * DEPTH`, so this stays within the mapping.
        unsafe { self.base.as_ptr().add(boards_end(self.world) + slot * self.slot + offset) }
    }

    /// Puts bytes into the slot of `rank`, which is the caller.
    pub(super) fn put(&self, rank: usize, round: u32, offset: usize, bytes: &[u8]) {
        let slot = self.place(rank, round, offset, bytes.len());
        // SAFETY: the slot has this room; nobody reads it: all have gathered the round that used it before, and none knows
        // of this one until its step is put down. The caller's bytes are not in the segment, which it cannot name.
        unsafe { slot.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Takes bytes from the slot of another rank.
    pub(super) fn take(&self, rank: usize, round: u32, offset: usize, into: &mut [u8]) {
        let slot = self.place(rank, round, offset, into.len());
        // SAFETY: the slot has as many bytes; its owner writes them no more before this rank has gathered the round.
        unsafe { slot.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
    }

    /// Combines `mine` with what all other ranks have for `rank`, in the order of ranks, into `mine`, and into its slot.
    pub(super) fn fold_slots(
        &self,
        rank: usize,
        round: u32,
        offset: usize,
        mine: &mut [u8],
        call: Call,
        copied: bool,
    ) {
        let (result, bytes) = (mine.as_mut_ptr(), mine.len());
        let source = |other: usize| {
            if other == rank {
                result.cast_const()
            } else {
                self.place(other, round, offset, bytes).cast_const()
            }
        };
        let sources: Vec<*const u8> = (0..self.world).map(source).collect();
        let copy = copied.then(|| self.place(rank, round, offset, bytes));
        let divisor = if call.op == ReduceOp::Avg { self.world } else { 1 };
        // SAFETY: all others have put their operands there and let them be until this rank has gathered the round; in its
        // own slot this place is for the result, which nobody reads before the step is put down.
        unsafe {
            fold(&Fold { dtype: call.dtype, op: call.op, divisor, sources: &sources, result, copy, bytes });
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, of this length, and no reference into it outlives the value.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), length(self.world)) };
        debug_assert!(unmapped.is_ok(), "a mapping can be unmapped");
    }
}
