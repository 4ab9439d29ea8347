//! Full batches of what filters and splitters leave: takes the batches that the workers made in order, leaves out
//! what was dropped, adds what samples were split into, and cuts anew.
//!
//! Bad samples come up exactly in their place, so what the consumer sees does not depend on where the workers' batches
//! begin, and a resume may begin anywhere. A batch of which nothing was dropped goes through as it is; else its slab
//! becomes the next batch's, and survivors move together in it.
#![expect(unsafe_code, reason = "moves samples within and between slabs that are exclusively ours")]

use std::collections::VecDeque;
use std::sync::Arc;

use zenith_runtime_cpu::buffer::Lease;

use super::board::{Fault, Work};
use super::parts::Became;
use super::shared::Shared;
use super::slots::SlotLayout;
use super::stream::Place;
use crate::{Error, SampleError};

/// What was found behind the last sample that was looked at.
#[derive(Debug)]
pub(super) enum Packed {
    /// A full batch of so many samples, and the place behind it.
    Batch(Arc<Lease>, usize, Place),
    /// The next sample is a bad one.
    Bad(SampleError),
    /// Everything fed is used up.
    Hungry,
}

/// The stage between the workers' batches and the consumer's.
#[derive(Debug)]
pub(super) struct Packer {
    batch_size: usize,
    drop_last: bool,
    /// Parts of the first sample fed next that were delivered before.
    delivered: usize,
    raw: Option<Raw>,
    target: Option<Target>,
    /// The place behind everything that was fed.
    end: Place,
    /// Whether the consumer was told of an error since the last batch it got.
    raised: bool,
}

/// A batch being put together.
#[derive(Debug)]
struct Target {
    lease: Arc<Lease>,
    len: usize,
}

/// A batch of the workers being taken apart.
#[derive(Debug)]
struct Raw {
    work: Arc<Work>,
    lease: Arc<Lease>,
    /// The slots that do not hold one good sample, in order.
    marks: VecDeque<(usize, Mark)>,
    /// The slot to look at next, and how many of its parts are done with.
    slot: usize,
    part: usize,
    splits: bool,
}

#[derive(Debug)]
enum Mark {
    Bad(SampleError),
    Became(Became),
}

impl Packer {
    pub(super) const fn new(batch_size: usize, drop_last: bool) -> Self {
        let end = Place::new(0, 0);
        Self { batch_size, drop_last, delivered: 0, raw: None, target: None, end, raised: false }
    }

    /// Forgets everything; what is fed next begins at `place`.
    pub(super) fn restart(&mut self, batch_size: usize, drop_last: bool, place: Place) {
        let delivered = usize::try_from(place.part).unwrap_or(usize::MAX);
        *self = Self { delivered, end: place, ..Self::new(batch_size, drop_last) };
    }

    /// Notes that the consumer is told of an error: samples behind its place are gone, which only [`Packer::restart`] brings
    /// back.
    pub(super) const fn raised(&mut self) {
        self.raised = true;
    }

    pub(super) const fn was_raised(&self) -> bool {
        self.raised
    }

    /// Takes the next batch of the workers.
    ///
    /// # Errors
    /// When it could not be made; it is left out then, and the consumer is to be told.
    pub(super) fn feed(&mut self, work: Arc<Work>) -> Result<(), Error> {
        debug_assert!(self.raw.is_none(), "one batch is taken apart at a time");
        self.end = work.making.next;
        let part = std::mem::take(&mut self.delivered);
        let mut marks = Vec::new();
        for fault in work.faults().drain(..) {
            match fault {
                Fault::Batch(error) => {
                    self.raised = true;
                    return Err(error);
                }
                Fault::Sample(slot, error) => marks.push((slot, Mark::Bad(error))),
            }
        }
        let Some(Ok(lease)) = work.slab.get().cloned() else {
            self.raised = true;
            return Err(Error::Machine("a finished batch has no memory".into()));
        };
        let became = work.parts.as_ref().map(super::parts::Parts::take).unwrap_or_default();
        let splits = became.iter().any(|became| became.count > 1);
        marks.extend(became.into_iter().map(|became| (became.slot, Mark::Became(became))));
        marks.sort_by_key(|(slot, _)| *slot);
        self.raw = Some(Raw { work, lease, marks: marks.into(), slot: 0, part, splits });
        Ok(())
    }

    /// Goes on until there is something to say.
    ///
    /// # Errors
    /// When there is no memory for a batch.
    pub(super) fn next(&mut self, shared: &Shared) -> Result<Packed, Error> {
        while let Some(raw) = &mut self.raw {
            let room = self.batch_size - self.target.as_ref().map_or(0, |target| target.len);
            let single = raw.marks.front().map_or(raw.work.len(), |(slot, _)| *slot);
            if raw.slot < single {
                if raw.part > 0 {
                    // Delivered before a resume: it is one sample now, whatever it was then.
                    raw.advance();
                    continue;
                }
                let target = raw.target(&mut self.target, shared).inspect_err(|_| self.raised = true)?;
                let count = room.min(single - raw.slot);
                move_slots(&shared.layout, (&raw.lease, raw.slot), (&target.lease, target.len), count);
                target.len += count;
                raw.slot += count;
            } else {
                match raw.marks.pop_front() {
                    Some((_, Mark::Bad(error))) => {
                        raw.advance();
                        return Ok(Packed::Bad(error));
                    }
                    Some((_, Mark::Became(became))) if raw.part >= became.count => raw.advance(),
                    Some((slot, Mark::Became(became))) => {
                        let target = match raw.target(&mut self.target, shared) {
                            Ok(target) => target,
                            Err(error) => {
                                raw.marks.push_front((slot, Mark::Became(became)));
                                self.raised = true;
                                return Err(error);
                            }
                        };
                        let count = room.min(became.count - raw.part);
                        for part in raw.part..raw.part + count {
                            let from = (&*raw.lease, slot);
                            copy_part(&shared.layout, from, &became, part, (&target.lease, target.len));
                            target.len += 1;
                        }
                        raw.part += count;
                        if raw.part == became.count {
                            raw.advance();
                        } else {
                            raw.marks.push_front((slot, Mark::Became(became)));
                        }
                    }
                    None => {
                        let splits = raw.splits;
                        self.raw = None;
                        if splits {
                            // Memory of split samples came free, for which workers may have stopped.
                            shared.work.notify_one();
                        }
                        continue;
                    }
                }
            }
            if let Some(target) = self.target.take_if(|target| target.len == self.batch_size) {
                self.raised = false;
                return Ok(Packed::Batch(target.lease, target.len, raw.place()));
            }
        }
        Ok(Packed::Hungry)
    }

    /// What is left at the end of an epoch, if it is to be delivered, and the place behind it.
    pub(super) fn rest(&mut self) -> Option<(Arc<Lease>, usize, Place)> {
        self.raised = false;
        let target = self.target.take().filter(|target| target.len > 0 && !self.drop_last)?;
        Some((target.lease, target.len, self.end))
    }
}

impl Raw {
    /// Goes to the next slot.
    const fn advance(&mut self) {
        self.slot += 1;
        self.part = 0;
    }

    fn place(&self) -> Place {
        let making = &self.work.making;
        let cursor = making.positions.start + self.slot as u64;
        Place { epoch: making.next.epoch, cursor, part: self.part as u64 }
    }

    /// The batch being put together. A new one takes this slab over where samples only move down in it.
    fn target<'a>(&self, target: &'a mut Option<Target>, shared: &Shared) -> Result<&'a mut Target, Error> {
        let present = match target.take() {
            Some(target) => target,
            None if self.splits => {
                let lease = shared.pool.lease().map_err(|error| Error::Machine(error.to_string()))?;
                Target { lease: Arc::new(lease), len: 0 }
            }
            None => Target { lease: Arc::clone(&self.lease), len: 0 },
        };
        Ok(target.insert(present))
    }
}

/// Moves `count` samples from one slot on to another slot on; both slabs may be the same.
fn move_slots(layout: &SlotLayout, from: (&Lease, usize), to: (&Lease, usize), count: usize) {
    let (from, first) = from;
    let (to, place) = to;
    if std::ptr::eq(from, to) && first == place {
        return;
    }
    assert!(
        first + count <= layout.batch_size() && place + count <= layout.batch_size(),
        "slots beyond the slab"
    );
    for (offset, size) in layout.offsets().iter().zip(layout.sizes()) {
        // SAFETY: both slabs have this layout and nobody else uses them: the one is a finished batch that was taken off
        // the board, the other has not been handed out. All slots were checked to lie in the field; `copy` allows overlap.
        unsafe {
            let source = from.as_ptr().add(offset + first * size);
            std::ptr::copy(source, to.as_mut_ptr().add(offset + place * size), count * size);
        }
    }
}

/// Copies part `part` of the sample in slot `from.1` to slot `to.1` of another slab.
fn copy_part(layout: &SlotLayout, from: (&Lease, usize), became: &Became, part: usize, to: (&Lease, usize)) {
    move_slots(layout, from, to, 1);
    if let Some(nth) = part.checked_sub(1) {
        let size = layout.sizes()[became.field];
        let own = &became.more()[nth * size..(nth + 1) * size];
        // SAFETY: as in `move_slots`, which checked the slot; `own` has the length of one sample of the field and lies in
        // no slab.
        unsafe {
            let start = to.0.as_mut_ptr().add(layout.offsets()[became.field] + to.1 * size);
            std::ptr::copy_nonoverlapping(own.as_ptr(), start, size);
        }
    }
}
