//! An event count: waiting for a condition that lives elsewhere, for next to nothing while nobody waits.
//!
//! It is no lock and protects no data. The condition (a ring's index, a flag) must itself be atomic.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::atomic::{AtomicU32, Ordering, fence};
use super::hint;
use super::park::Parking;

/// Rounds of a wait's spinning; round `i` pauses `2^i` times, so all of them take one to five microseconds: less than
/// falling asleep and being woken costs.
#[cfg(not(loom))]
const SPIN_ROUNDS: u32 = 6;
#[cfg(loom)]
const SPIN_ROUNDS: u32 = 0;

/// Lets threads wait for a condition that other threads make true.
///
/// A waiter announces itself, looks at the condition once more, and only then sleeps:
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use zenith_runtime_cpu::sync::Gate;
///
/// let (gate, ready) = (Gate::new(), AtomicBool::new(false));
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         ready.store(true, Ordering::Release);
///         gate.notify_all(); // always after the condition was made true
///     });
///     loop {
///         let key = gate.prepare();
///         if ready.load(Ordering::Acquire) {
///             break; // dropping the key withdraws the announcement
///         }
///         gate.wait(key);
///     }
/// });
/// ```
///
/// [`Gate::until`] is that loop with a short spin in front. A notification costs a fence and one load while nobody
/// waits, and a system call only when somebody sleeps. Waiters may wake without cause: always look at the condition.
#[repr(align(64))]
pub struct Gate {
    /// Counts notifications; what waiters sleep on.
    epoch: AtomicU32,
    /// Keys given out and not yet dropped.
    waiting: AtomicU32,
    /// Waiters that sleep or are about to.
    asleep: AtomicU32,
    parking: Parking,
}

/// The announcement of a waiter; dropping it withdraws the announcement.
#[derive(Debug)]
#[must_use = "a key that is dropped at once announces nothing"]
pub struct Key<'a> {
    gate: &'a Gate,
    epoch: u32,
    /// A key belongs to the thread that is going to wait.
    not_send: PhantomData<*const ()>,
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        self.gate.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// A gate nobody waits at.
    #[must_use]
    pub fn new() -> Self {
        Self {
            epoch: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            asleep: AtomicU32::new(0),
            parking: Parking::new(),
        }
    }

    /// Announces a waiter. Look at the condition afterwards: true, drop the key; false, [`wait`](Self::wait).
    pub fn prepare(&self) -> Key<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence in `notify`: either the notifier sees this waiter, or this waiter sees the condition.
        fence(Ordering::SeqCst);
        Key { gate: self, epoch: self.epoch.load(Ordering::Acquire), not_send: PhantomData }
    }

    /// Waits for a notification that came after `key` was made: spins some microseconds, then sleeps.
    #[expect(clippy::needless_pass_by_value, reason = "waiting uses the announcement up")]
    pub fn wait(&self, key: Key<'_>) {
        self.block(&key, None);
    }

    /// Like [`wait`](Self::wait), at most `timeout` long; whether there was a notification.
    #[expect(clippy::needless_pass_by_value, reason = "waiting uses the announcement up")]
    pub fn wait_timeout(&self, key: Key<'_>, timeout: Duration) -> bool {
        self.block(&key, Instant::now().checked_add(timeout))
    }

    /// Waits until `condition` gives a value.
    pub fn until<T>(&self, condition: impl FnMut() -> Option<T>) -> T {
        loop_until(self, condition, None).expect("without a deadline the wait ends with a value")
    }

    /// Waits until `condition` gives a value, or until `deadline` (then `None`).
    pub fn until_deadline<T>(&self, condition: impl FnMut() -> Option<T>, deadline: Instant) -> Option<T> {
        loop_until(self, condition, Some(deadline))
    }

    /// Wakes one waiter, if there is any. Call it after the condition was made true.
    #[inline]
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all waiters. Call it after the condition was made true.
    #[inline]
    pub fn notify_all(&self) {
        self.notify(i32::MAX);
    }

    #[inline]
    fn notify(&self, count: i32) {
        // Pairs with the fence in `prepare`.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) != 0 {
            self.ring(count);
        }
    }

    #[cold]
    fn ring(&self, count: i32) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        // Pairs with the fence in `block`: either this sees the sleeper, or the sleeper sees the new epoch.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) != 0 {
            self.parking.wake(&self.epoch, count);
        }
    }

    fn block(&self, key: &Key<'_>, deadline: Option<Instant>) -> bool {
        debug_assert!(std::ptr::eq(self, key.gate), "a key of another gate");
        let changed = || self.epoch.load(Ordering::Acquire) != key.epoch;
        if spin(|| changed().then_some(())).is_some() {
            return true;
        }
        self.asleep.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let notified = loop {
            if changed() {
                break true;
            }
            let left = match deadline {
                None => None,
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => Some(left),
                    _ => break false,
                },
            };
            self.parking.sleep(&self.epoch, key.epoch, left);
        };
        self.asleep.fetch_sub(1, Ordering::Relaxed);
        notified
    }
}

fn loop_until<T>(
    gate: &Gate,
    mut condition: impl FnMut() -> Option<T>,
    deadline: Option<Instant>,
) -> Option<T> {
    // Spinning before the announcement keeps notifiers on their fast path.
    if let Some(value) = spin(&mut condition) {
        return Some(value);
    }
    loop {
        let key = gate.prepare();
        if let Some(value) = condition() {
            return Some(value);
        }
        if !gate.block(&key, deadline) {
            return condition();
        }
    }
}

/// Asks `condition` some times within a few microseconds; at least once.
fn spin<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    for round in 0..SPIN_ROUNDS {
        if let Some(value) = condition() {
            return Some(value);
        }
        for _ in 0..1_u32 << round {
            hint::spin_loop();
        }
    }
    condition()
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use super::Gate;

    #[test]
    fn a_value_that_is_there_needs_no_notification() {
        assert_eq!(Gate::new().until(|| Some(7)), 7);
    }

    #[test]
    fn a_wait_without_a_notification_ends_at_its_timeout() {
        let gate = Gate::new();
        let start = Instant::now();
        assert!(!gate.wait_timeout(gate.prepare(), Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
        let deadline = Instant::now() + Duration::from_millis(5);
        assert_eq!(gate.until_deadline(|| None::<()>, deadline), None);
    }

    #[test]
    fn a_notification_before_the_wait_is_not_lost() {
        let gate = Gate::new();
        let key = gate.prepare();
        gate.notify_one();
        assert!(gate.wait_timeout(key, Duration::from_secs(60)));
    }

    #[test]
    fn a_dropped_key_leaves_nobody_waiting() {
        let gate = Gate::new();
        drop(gate.prepare());
        let before = gate.epoch.load(Ordering::Relaxed);
        gate.notify_all();
        assert_eq!(gate.epoch.load(Ordering::Relaxed), before, "the fast path bumps nothing");
    }

    #[test]
    fn sleepers_use_no_processor_time() {
        let (gate, done) = (Gate::new(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                let before = thread_time();
                gate.until(|| done.load(Ordering::Acquire).then_some(()));
                thread_time() - before
            });
            std::thread::sleep(Duration::from_millis(100));
            done.store(true, Ordering::Release);
            gate.notify_all();
            let used = sleeper.join().unwrap();
            assert!(used < Duration::from_millis(10), "{used:?} of 100 ms spent waiting");
        });
    }

    /// Processor time of the calling thread, from the scheduler's own account.
    fn thread_time() -> Duration {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    }

    #[test]
    fn ping_pong_never_loses_a_wakeup() {
        const ROUNDS: u64 = 20_000;
        let (ball, ping, pong) = (AtomicU64::new(0), Gate::new(), Gate::new());
        let at = |value: u64| (ball.load(Ordering::Acquire) == value).then_some(());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    ping.until(|| at(2 * round + 1));
                    ball.store(2 * round + 2, Ordering::Release);
                    pong.notify_one();
                }
            });
            for round in 0..ROUNDS {
                ball.store(2 * round + 1, Ordering::Release);
                ping.notify_one();
                pong.until(|| at(2 * round + 2));
            }
        });
        assert_eq!(ball.into_inner(), 2 * ROUNDS);
    }

    #[test]
    fn notify_all_wakes_everybody() {
        let (gate, open) = (Gate::new(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| gate.until(|| open.load(Ordering::Acquire).then_some(())));
            }
            std::thread::sleep(Duration::from_millis(5));
            open.store(true, Ordering::Release);
            gate.notify_all();
        });
    }
}

#[cfg(test)]
#[cfg(loom)]
mod models {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, Ordering};

    use super::Gate;

    fn wait_for(gate: &Gate, flag: &AtomicU32, value: u32) {
        gate.until(|| (flag.load(Ordering::Relaxed) >= value).then_some(()));
    }

    #[test]
    fn one_waiter_one_notifier() {
        loom::model(|| {
            let shared = Arc::new((Gate::new(), AtomicU32::new(0)));
            let other = shared.clone();
            let notifier = loom::thread::spawn(move || {
                other.1.store(1, Ordering::Relaxed);
                other.0.notify_one();
            });
            wait_for(&shared.0, &shared.1, 1);
            notifier.join().unwrap();
        });
    }

    #[test]
    fn two_notifications_two_waiters() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let shared = Arc::new((Gate::new(), AtomicU32::new(0)));
            let waiters: Vec<_> = (0..2)
                .map(|_| {
                    let shared = shared.clone();
                    loom::thread::spawn(move || wait_for(&shared.0, &shared.1, 1))
                })
                .collect();
            shared.1.store(1, Ordering::Relaxed);
            shared.0.notify_all();
            for waiter in waiters {
                waiter.join().unwrap();
            }
        });
    }
}
