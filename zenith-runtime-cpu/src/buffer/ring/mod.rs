//! A bounded ring between exactly two threads: values go in at the [`Producer`], come out in order at the
//! [`Consumer`], and neither end ever waits for a lock.
//!
//! Dropping an end is how the other learns of the end: a producer without a consumer gets its values back, a consumer
//! without a producer drains what is left. Not for many producers or consumers, and not for control messages.
//!
//! ```
//! use zenith_runtime_cpu::buffer::ring;
//!
//! let (mut producer, mut consumer) = ring::waiting(4);
//! std::thread::scope(|scope| {
//!     scope.spawn(move || (0..10).for_each(|n| producer.push(n).unwrap()));
//!     assert!((0..10).all(|n| consumer.pop() == Ok(n)));
//!     assert_eq!(consumer.pop(), Err(ring::Abandoned(())));
//! });
//! ```
#![expect(unsafe_code, reason = "each end moves values through slots that its indices prove to be its own")]

mod asymmetric;
#[cfg(test)]
#[cfg(loom)]
mod models;
mod patience;
mod slots;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

use crate::sync::Gate;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use asymmetric::Barriers;
use patience::Patience;
use slots::Slots;

/// The ring has no room; here is the value back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full")]
pub struct Full<T>(pub T);

/// The other end is gone; here is what could not be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end of the ring is gone")]
pub struct Abandoned<T>(pub T);

/// Keeps what it holds on cache lines of its own; two lines, because processors fetch them in pairs.
#[repr(align(128))]
struct Apart<T>(T);

struct Shared<T> {
    /// Values ever pushed; written by the producer.
    tail: Apart<AtomicUsize>,
    /// Values ever popped; written by the consumer.
    head: Apart<AtomicUsize>,
    /// What is rarely written and often read by both.
    state: Apart<State>,
    /// Where the consumer waits for values.
    values: Gate,
    /// Where the producer waits for room.
    room: Gate,
    slots: Slots<T>,
}

struct State {
    producer_waits: AtomicBool,
    consumer_waits: AtomicBool,
    producer_gone: AtomicBool,
    consumer_gone: AtomicBool,
    /// One end has let go.
    deserted: AtomicBool,
}

/// The hold of one end on what both share, which the second to let go frees. The ends themselves have no `Drop`, and
/// letting go takes no address of one: either would keep their indices from living in registers.
struct Hold<T> {
    shared: NonNull<Shared<T>>,
    produces: bool,
}

// SAFETY: an end is used by one thread at a time; what both reach is atomic or handed from one to the other.
unsafe impl<T: Send> Send for Hold<T> {}

impl<T> Deref for Hold<T> {
    type Target = Shared<T>;

    #[inline(always)]
    fn deref(&self) -> &Shared<T> {
        // SAFETY: freed only when both holds are gone.
        unsafe { self.shared.as_ref() }
    }
}

impl<T> Drop for Hold<T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: this hold is not used again.
        unsafe { let_go(self.shared, self.produces) };
    }
}

/// Tells the other end, and frees everything if it has let go before.
///
/// # Safety
/// Once for each end, which does not use `shared` afterwards.
#[cold]
#[inline(never)]
unsafe fn let_go<T>(shared: NonNull<Shared<T>>, produces: bool) {
    // SAFETY: this end has not let go yet.
    let Shared { state, values, room, .. } = unsafe { shared.as_ref() };
    let (gone, gate) =
        if produces { (&state.0.producer_gone, values) } else { (&state.0.consumer_gone, room) };
    gone.store(true, Ordering::Release);
    gate.notify_all();
    if state.0.deserted.swap(true, Ordering::AcqRel) {
        // SAFETY: `ring` made it from a box; the other end has let go, and this is the last use.
        drop(unsafe { Box::from_raw(shared.as_ptr()) });
    }
}

/// The end of a ring that values go in at. With `WAITS` it can wait for room; see [`waiting`].
pub struct Producer<T, const WAITS: bool = false> {
    shared: Hold<T>,
    /// As `shared.tail`, which only this end writes.
    tail: usize,
    /// `shared.head` when last looked at; the real one is this or further.
    head: usize,
    capacity: usize,
    slots: Slots<T>,
    barriers: Barriers,
    patience: Patience,
}

/// The end of a ring that values come out at. With `WAITS` it can wait for values; see [`waiting`].
pub struct Consumer<T, const WAITS: bool = false> {
    shared: Hold<T>,
    /// As `shared.head`, which only this end writes.
    head: usize,
    /// `shared.tail` when last looked at; the real one is this or further.
    tail: usize,
    slots: Slots<T>,
    barriers: Barriers,
    patience: Patience,
}

/// A ring with room for exactly `capacity` values (at least one), for ends that never wait in it: they try, and do
/// something else meanwhile.
#[must_use]
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    make(capacity)
}

/// A ring like [`ring`], the ends of which can also wait for each other asleep ([`Producer::push`],
/// [`Consumer::pop`]). Each operation then also looks whether the other end sleeps.
#[must_use]
pub fn waiting<T>(capacity: usize) -> (Producer<T, true>, Consumer<T, true>) {
    make(capacity)
}

fn make<T, const WAITS: bool>(capacity: usize) -> (Producer<T, WAITS>, Consumer<T, WAITS>) {
    let capacity = capacity.max(1);
    let barriers = Barriers::choose();
    let slots = Slots::allocate(capacity);
    let shared = Box::new(Shared {
        tail: Apart(AtomicUsize::new(0)),
        head: Apart(AtomicUsize::new(0)),
        state: Apart(State {
            producer_waits: AtomicBool::new(false),
            consumer_waits: AtomicBool::new(false),
            producer_gone: AtomicBool::new(false),
            consumer_gone: AtomicBool::new(false),
            deserted: AtomicBool::new(false),
        }),
        values: Gate::new(),
        room: Gate::new(),
        slots,
    });
    let shared = NonNull::from(Box::leak(shared));
    let hold = |produces| Hold { shared, produces };
    (
        Producer {
            shared: hold(true),
            tail: 0,
            head: 0,
            capacity,
            slots,
            barriers,
            patience: Patience::new(capacity),
        },
        Consumer {
            shared: hold(false),
            head: 0,
            tail: 0,
            slots,
            barriers,
            patience: Patience::new(capacity),
        },
    )
}

impl<T, const WAITS: bool> Producer<T, WAITS> {
    /// Pushes a value if there is room; a vain try takes up to a few microseconds.
    ///
    /// # Errors
    /// [`Full`], with the value. A ring without a consumer fills up; see [`Producer::is_abandoned`].
    #[inline]
    pub fn try_push(&mut self, value: T) -> Result<(), Full<T>> {
        if self.tail.wrapping_sub(self.head) == self.capacity && self.look() == 0 && self.look_again() == 0 {
            return Err(Full(value));
        }
        // SAFETY: `tail` is less than `capacity` beyond `head`, so the consumer is done with this slot.
        unsafe { self.slots.write(self.tail, value) };
        self.publish(1);
        Ok(())
    }

    /// Pushes values from `values` while there is room and publishes them at once; returns how many. Takes no value
    /// that it cannot push.
    pub fn push_iter(&mut self, values: impl IntoIterator<Item = T>) -> usize {
        let room = self.room();
        let mut count = 0;
        for value in values.into_iter().take(room) {
            // SAFETY: `count` is less than `room`, so the slot is within `capacity` of `head`. Should the iterator
            // panic, the values written so far are not published and leak.
            unsafe { self.slots.write(self.tail.wrapping_add(count), value) };
            count += 1;
        }
        self.publish(count);
        count
    }

    /// Pushes the front of `values`, as much as there is room for, and publishes it at once; returns how many.
    pub fn push_slice(&mut self, values: &[T]) -> usize
    where
        T: Copy,
    {
        let mut room = self.capacity - self.tail.wrapping_sub(self.head);
        if room < values.len() {
            room = self.look();
            if room == 0 {
                room = self.look_again();
            }
        }
        let count = room.min(values.len());
        // SAFETY: `count` slots from `tail` on are within `capacity` of `head`.
        unsafe { self.slots.copy_in(self.tail, &values[..count]) };
        self.publish(count);
        count
    }

    /// How many values could be pushed now; at least as many can be pushed later.
    #[must_use]
    pub fn room(&mut self) -> usize {
        self.look()
    }

    /// The ring's capacity in values.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether the consumer is gone.
    #[inline]
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.shared.state.0.consumer_gone.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn look(&mut self) -> usize {
        self.head = self.shared.head.0.load(Ordering::Acquire);
        self.capacity - self.tail.wrapping_sub(self.head)
    }

    #[inline(always)]
    fn look_again(&mut self) -> usize {
        self.patience.wait();
        let found = self.look();
        self.patience.learn(found);
        found
    }

    #[inline(always)]
    fn publish(&mut self, count: usize) {
        self.tail = self.tail.wrapping_add(count);
        self.shared.tail.0.store(self.tail, Ordering::Release);
        if WAITS {
            self.barriers.light();
            if self.shared.state.0.consumer_waits.load(Ordering::Relaxed) {
                wake(&self.shared.values);
            }
        }
    }
}

impl<T> Producer<T, true> {
    /// Pushes a value, waiting for room: spinning for microseconds, then asleep.
    ///
    /// # Errors
    /// [`Abandoned`], with the value, when the consumer is gone.
    pub fn push(&mut self, mut value: T) -> Result<(), Abandoned<T>> {
        loop {
            if self.is_abandoned() {
                return Err(Abandoned(value));
            }
            match self.try_push(value) {
                Ok(()) => return Ok(()),
                Err(Full(back)) => value = back,
            }
            self.wait_for_room();
        }
    }

    #[cold]
    fn wait_for_room(&mut self) {
        let Self { shared, tail, capacity, barriers, .. } = self;
        let changed = || {
            let state = &shared.state.0;
            let full = tail.wrapping_sub(shared.head.0.load(Ordering::Acquire)) == *capacity;
            !full || state.consumer_gone.load(Ordering::Acquire)
        };
        barriers.wait(&shared.room, &shared.state.0.producer_waits, changed);
    }
}

impl<T, const WAITS: bool> Consumer<T, WAITS> {
    /// Pops the oldest value if there is one; a vain try takes up to a few microseconds.
    #[inline]
    pub fn try_pop(&mut self) -> Option<T> {
        if self.head == self.tail && self.look() == 0 && self.look_again() == 0 {
            return None;
        }
        // SAFETY: `head` is before `tail`, so the slot holds a value, which is read once: `head` moves past it.
        let value = unsafe { self.slots.read(self.head) };
        self.release(1);
        Some(value)
    }

    /// Pops up to `most` values, calling `take` with each, and frees their slots together; returns how many.
    pub fn pop_each(&mut self, most: usize, mut take: impl FnMut(T)) -> usize {
        let count = self.look().min(most);
        let mut taken = Taken { consumer: self, count: 0 };
        for at in 0..count {
            taken.count = at + 1;
            // SAFETY: `at` is less than the number of values from `head` on; `Taken` moves `head` past each value
            // that was read, also if `take` panics.
            take(unsafe { taken.consumer.shared.slots.read(taken.consumer.head.wrapping_add(at)) });
        }
        count
    }

    /// Pops values into the front of `values`, as many as there are and fit; returns how many.
    pub fn pop_into(&mut self, values: &mut [T]) -> usize
    where
        T: Copy,
    {
        let mut there = self.tail.wrapping_sub(self.head);
        if there < values.len() {
            there = self.look();
            if there == 0 {
                there = self.look_again();
            }
        }
        let count = there.min(values.len());
        // SAFETY: `count` slots from `head` on hold values, which are `Copy`.
        unsafe { self.slots.copy_out(self.head, &mut values[..count]) };
        self.release(count);
        count
    }

    /// How many values could be popped now; at least as many can be popped later.
    #[must_use]
    pub fn available(&mut self) -> usize {
        self.look()
    }

    /// Whether the producer is gone. Values that it left can still be popped.
    #[inline]
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.shared.state.0.producer_gone.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn look(&mut self) -> usize {
        self.tail = self.shared.tail.0.load(Ordering::Acquire);
        self.tail.wrapping_sub(self.head)
    }

    #[inline(always)]
    fn look_again(&mut self) -> usize {
        self.patience.wait();
        let found = self.look();
        self.patience.learn(found);
        found
    }

    #[inline(always)]
    fn release(&mut self, count: usize) {
        self.head = self.head.wrapping_add(count);
        self.shared.head.0.store(self.head, Ordering::Release);
        if WAITS {
            self.barriers.light();
            if self.shared.state.0.producer_waits.load(Ordering::Relaxed) {
                wake(&self.shared.room);
            }
        }
    }
}

impl<T> Consumer<T, true> {
    /// Pops the oldest value, waiting for one: spinning for microseconds, then asleep.
    ///
    /// # Errors
    /// [`Abandoned`] when the ring is empty and the producer is gone.
    pub fn pop(&mut self) -> Result<T, Abandoned<()>> {
        loop {
            if let Some(value) = self.try_pop() {
                return Ok(value);
            }
            if self.is_abandoned() {
                // What it pushed before it left is visible now.
                return self.try_pop().ok_or(Abandoned(()));
            }
            self.wait_for_values();
        }
    }

    #[cold]
    fn wait_for_values(&mut self) {
        let Self { shared, head, barriers, .. } = self;
        let changed = || {
            shared.tail.0.load(Ordering::Acquire) != *head
                || shared.state.0.producer_gone.load(Ordering::Acquire)
        };
        barriers.wait(&shared.values, &shared.state.0.consumer_waits, changed);
    }
}

#[cold]
fn wake(gate: &Gate) {
    gate.notify_one();
}

/// Frees the slots of the values that were taken, whatever became of them.
struct Taken<'a, T, const WAITS: bool> {
    consumer: &'a mut Consumer<T, WAITS>,
    count: usize,
}

impl<T, const WAITS: bool> Drop for Taken<'_, T, WAITS> {
    fn drop(&mut self) {
        self.consumer.release(self.count);
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = self.tail.0.load(Ordering::Acquire);
        let mut head = self.head.0.load(Ordering::Acquire);
        while head != tail {
            // SAFETY: both ends are gone; the slots from `head` to `tail` hold values nobody else will read.
            drop(unsafe { self.slots.read(head) });
            head = head.wrapping_add(1);
        }
        // SAFETY: the ends, which had the only copies, are gone.
        unsafe { self.slots.free() };
    }
}

impl<T, const WAITS: bool> fmt::Debug for Producer<T, WAITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl<T, const WAITS: bool> fmt::Debug for Consumer<T, WAITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}
