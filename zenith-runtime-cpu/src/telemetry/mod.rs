//! Numbers about a running program: counters and latency histograms that many threads record into without meeting,
//! and their text for Prometheus. Not for logs, and not for deciding anything in the program itself.

mod counter;
mod exposition;
mod histogram;
mod registry;

pub use counter::Counter;
pub use histogram::{Histogram, Summary};
pub use registry::{MetricError, Registry};

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Lanes of a metric. Threads beyond this number share lanes, which stays correct and only costs time.
const LANES: usize = 16;

/// Two cache lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// The lane of the calling thread, the same for all metrics.
#[inline]
fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LANE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    LANE.with(|lane| {
        if lane.get() == usize::MAX {
            lane.set(NEXT.fetch_add(1, Ordering::Relaxed) % LANES);
        }
        lane.get()
    })
}
