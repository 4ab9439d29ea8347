//! The device memory of a transfer: slots that are lent to batches and come back when their consumer is done with them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cuda::{Context, DeviceMemory, Error, Event, Stream};

/// A piece of device memory as large as a batch.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) memory: Arc<DeviceMemory>,
    /// Behind it nobody reads what is in the slot.
    pub(super) used: Option<Event>,
}

/// All slots of a transfer. They outlive it as long as batches are held.
#[derive(Debug)]
pub(super) struct Slots {
    free: Mutex<Vec<Slot>>,
    count: usize,
    slot_bytes: usize,
}

impl Slots {
    pub(super) fn new(context: &Context, count: usize, slot_bytes: usize) -> Result<Self, Error> {
        let slot = || Ok(Slot { memory: Arc::new(DeviceMemory::new(context, slot_bytes)?), used: None });
        let free = (0..count).map(|_| slot()).collect::<Result<Vec<_>, Error>>()?;
        Ok(Self { free: Mutex::new(free), count, slot_bytes })
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    pub(super) const fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// The slot that came back first.
    pub(super) fn take(&self) -> Option<Slot> {
        let mut free = self.free();
        (!free.is_empty()).then(|| free.remove(0))
    }

    pub(super) fn give_back(&self, slot: Slot) {
        self.free().push(slot);
    }

    fn free(&self) -> MutexGuard<'_, Vec<Slot>> {
        // A push or removal that panicked halfway leaves a list that is still right.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch on the device, for work on one stream. When it is dropped its slot comes back, to be written again behind
/// everything that was asked of that stream until then.
#[derive(Debug)]
pub struct Delivered {
    memory: Arc<DeviceMemory>,
    len: usize,
    consumer: Arc<Stream>,
    slots: Arc<Slots>,
}

impl Delivered {
    pub(super) fn new(
        memory: Arc<DeviceMemory>,
        len: usize,
        consumer: Arc<Stream>,
        slots: Arc<Slots>,
    ) -> Self {
        Self { memory, len, consumer, slots }
    }

    /// Where it lies: the batch is its first [`len`](Self::len) bytes.
    #[must_use]
    pub fn memory(&self) -> &DeviceMemory {
        &self.memory
    }

    /// Bytes of the batch.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the batch has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        let marked = Event::new(self.memory.context()).and_then(|event| {
            event.record(&self.consumer)?;
            Ok(event)
        });
        let used = match marked {
            Ok(event) => Some(event),
            Err(error) => {
                // Without a mark the only certainty is that the consumer's stream is empty; where not even that can be
                // had, the device is broken and the next copy says so.
                tracing::debug!(%error, "the end of a batch's use was not marked");
                if let Err(error) = self.consumer.synchronize() {
                    tracing::debug!(%error, "nor could it be waited for");
                }
                None
            }
        };
        self.slots.give_back(Slot { memory: Arc::clone(&self.memory), used });
    }
}
