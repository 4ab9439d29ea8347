//! Batches on their way to a device: on a stream of their own, a few ahead of their consumer, ordered by events.
//!
//! A [`Transfer`] asks its source for a batch only while a slot of device memory is free, so slots are all the back-pressure
//! there is. Batches, and errors in their place, come out in the source's order. What a batch is made of is the source's:
//! here it is a run of bytes, and one copy. Nothing here waits for a device, except for a source that is faster than its
//! copies: then for the oldest of them, so that not more host memory is held than there are slots.

mod slots;

use std::collections::VecDeque;
use std::sync::Arc;

pub use slots::Delivered;
use slots::{Slot, Slots};

use crate::cuda::{Context, Error as CudaError, HostBytes, Stream, Upload};

/// Slots at most; each is as large as a batch.
pub const MOST_SLOTS: usize = 64;

/// Why the next batch is not there. `E` is the source's own error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The source could not give it. What follows may be there.
    #[error("the source gave no batch: {0}")]
    Source(E),
    /// It is larger than was said. What follows may be there.
    #[error("a batch of {bytes} bytes does not fit into a slot of {slot}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// Those of a slot.
        slot: usize,
    },
    /// All slots are with the consumer: it has to drop a batch first.
    #[error(
        "all {slots} device batches are still held; drop one before asking for the next, or give more slots"
    )]
    AllHeld {
        /// How many there are.
        slots: usize,
    },
    /// The device refused a copy, or one failed.
    #[error("a copy to the device failed: {0}")]
    Copy(CudaError),
    /// The slots asked for make no sense.
    #[error("{slots} slots; from 2 to {MOST_SLOTS} would work")]
    Slots {
        /// How many were asked for.
        slots: usize,
    },
}

/// Copies what a source gives to a device, in order.
pub struct Transfer<I, H: HostBytes, E> {
    source: I,
    /// Copies and nothing else; behind it nobody computes.
    copies: Stream,
    slots: Arc<Slots>,
    /// What comes next, in the source's order.
    ahead: VecDeque<Ahead<H, E>>,
    /// Host memory of copies whose slots are with the consumer already; the oldest first.
    leaving: VecDeque<Upload<H>>,
    /// Nothing is asked of the source any more.
    ended: bool,
    /// What broke the device; said once in its turn, and again whenever somebody asks.
    broken: Option<CudaError>,
}

enum Ahead<H: HostBytes, E> {
    Flying(Upload<H>, usize),
    Failed(Error<E>),
}

impl<I, H, E> Transfer<I, H, E>
where
    I: Iterator<Item = Result<H, E>>,
    H: HostBytes,
{
    /// Takes `slots` times `slot_bytes` of the device's memory; two slots are double-buffering.
    ///
    /// # Errors
    /// [`Error::Slots`] for a number outside of 2 to [`MOST_SLOTS`], [`Error::Copy`] when there is no room or no stream.
    pub fn new(context: &Context, source: I, slots: usize, slot_bytes: usize) -> Result<Self, Error<E>> {
        if !(2..=MOST_SLOTS).contains(&slots) {
            return Err(Error::Slots { slots });
        }
        let copies = Stream::new(context).map_err(Error::Copy)?;
        let slots = Slots::new(context, slots, slot_bytes).map_err(Error::Copy)?;
        Ok(Self {
            source,
            copies,
            slots: Arc::new(slots),
            ahead: VecDeque::new(),
            leaving: VecDeque::new(),
            ended: false,
            broken: None,
        })
    }

    /// The next batch for work on `consumer`, which begins with it only when it is there; the host waits for nothing that
    /// is on the device. `None` at the source's end.
    ///
    /// What is asked of `consumer` before the batch is dropped may use it; its slot is written again behind that.
    ///
    /// # Errors
    /// The errors of the source in their turn, and those of the device: after one that broke it, always the same.
    pub fn next(&mut self, consumer: &Arc<Stream>) -> Result<Option<Delivered>, Error<E>> {
        if let Some(error) = &self.broken {
            return Err(Error::Copy(error.clone()));
        }
        self.fill();
        let Some(next) = self.ahead.pop_front() else {
            if self.ended {
                return Ok(None);
            }
            return Err(Error::AllHeld { slots: self.slots.count() });
        };
        match next {
            Ahead::Failed(error) => Err(self.remember(error)),
            Ahead::Flying(upload, len) => {
                let delivered =
                    self.deliver(upload, len, consumer).map_err(|error| self.remember(Error::Copy(error)))?;
                Ok(Some(delivered))
            }
        }
    }

    /// Batches that are on their way or ready.
    #[must_use]
    pub fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// Begins copies as long as there are slots.
    fn fill(&mut self) {
        while !self.ended && self.ahead.len() < self.slots.count() {
            let Some(slot) = self.slots.take() else { break };
            let batch = match self.source.next() {
                None => {
                    self.ended = true;
                    self.slots.give_back(slot);
                    break;
                }
                Some(Err(error)) => {
                    self.slots.give_back(slot);
                    self.ahead.push_back(Ahead::Failed(Error::Source(error)));
                    continue;
                }
                Some(Ok(batch)) => batch,
            };
            match self.begin(slot, batch) {
                Ok(flying) => self.ahead.push_back(flying),
                Err(error) => {
                    self.ended = matches!(&error, Error::Copy(error) if error.is_fatal());
                    self.ahead.push_back(Ahead::Failed(error));
                }
            }
        }
    }

    fn begin(&mut self, slot: Slot, batch: H) -> Result<Ahead<H, E>, Error<E>> {
        let bytes = batch.bytes().len();
        if bytes > self.slots.slot_bytes() {
            let slot_bytes = self.slots.slot_bytes();
            self.slots.give_back(slot);
            return Err(Error::TooLarge { bytes, slot: slot_bytes });
        }
        let begun = slot.used.as_ref().map_or(Ok(()), |used| self.copies.wait(used));
        match begun.and_then(|()| Upload::begin(&self.copies, batch, Arc::clone(&slot.memory))) {
            Ok(upload) => Ok(Ahead::Flying(upload, bytes)),
            Err(error) => {
                self.slots.give_back(slot);
                Err(Error::Copy(error))
            }
        }
    }

    fn deliver(
        &mut self,
        upload: Upload<H>,
        len: usize,
        consumer: &Arc<Stream>,
    ) -> Result<Delivered, CudaError> {
        // From here on the slot comes back whatever happens.
        let delivered =
            Delivered::new(Arc::clone(upload.device()), len, Arc::clone(consumer), Arc::clone(&self.slots));
        consumer.wait(upload.done())?;
        // Host memory whose copy is done goes back at once; of what is not, no more is kept than there are slots.
        while let Some(oldest) = self.leaving.front() {
            if self.leaving.len() < self.slots.count() && !oldest.done().is_reached()? {
                break;
            }
            if let Some(oldest) = self.leaving.pop_front() {
                drop(oldest.wait()?);
            }
        }
        self.leaving.push_back(upload);
        Ok(delivered)
    }

    fn remember(&mut self, error: Error<E>) -> Error<E> {
        if let Error::Copy(cause) = &error
            && cause.is_fatal()
        {
            self.broken = Some(cause.clone());
        }
        error
    }
}
