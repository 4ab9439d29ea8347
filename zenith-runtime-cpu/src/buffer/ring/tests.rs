//! The ring as a queue (against a model), under two threads, and when ends are dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Abandoned, Full, ring, waiting};

#[derive(Clone, Debug)]
enum Step {
    Push,
    Pop,
    PushIter(usize),
    PushSlice(usize),
    PopEach(usize),
    PopInto(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Push),
        Just(Step::Pop),
        (0..9_usize).prop_map(Step::PushIter),
        (0..9_usize).prop_map(Step::PushSlice),
        (0..9_usize).prop_map(Step::PopEach),
        (0..9_usize).prop_map(Step::PopInto),
    ]
}

#[test]
#[should_panic(expected = "a ring smaller than half the address space")]
fn a_ring_that_no_memory_holds_is_refused() {
    let _ = ring::<u64>(usize::MAX);
}

proptest! {
    #[test]
    fn it_is_a_bounded_queue(capacity in 1..12_usize, steps in prop::collection::vec(step(), 0..200)) {
        let (mut producer, mut consumer) = ring(capacity);
        let mut model = VecDeque::new();
        let mut next = 0_u64;
        for step in steps {
            match step {
                Step::Push => {
                    let expected = if model.len() < capacity { Ok(()) } else { Err(Full(next)) };
                    prop_assert_eq!(producer.try_push(next), expected);
                    if expected.is_ok() {
                        model.push_back(next);
                        next += 1;
                    }
                }
                Step::Pop => prop_assert_eq!(consumer.try_pop(), model.pop_front()),
                Step::PushIter(count) => {
                    let mut values = next..next + count as u64;
                    let pushed = producer.push_iter(&mut values);
                    prop_assert_eq!(pushed, count.min(capacity - model.len()));
                    prop_assert_eq!(values.start, next + pushed as u64, "a value was taken and not pushed");
                    model.extend(next..next + pushed as u64);
                    next += pushed as u64;
                }
                Step::PushSlice(count) => {
                    let values: Vec<u64> = (next..next + count as u64).collect();
                    let pushed = producer.push_slice(&values);
                    prop_assert_eq!(pushed, count.min(capacity - model.len()));
                    model.extend(&values[..pushed]);
                    next += pushed as u64;
                }
                Step::PopEach(most) => {
                    let mut popped = Vec::new();
                    prop_assert_eq!(consumer.pop_each(most, |value| popped.push(value)), popped.len());
                    let expected: Vec<u64> = model.drain(..most.min(model.len())).collect();
                    prop_assert_eq!(popped, expected);
                }
                Step::PopInto(most) => {
                    let mut popped = vec![u64::MAX; most];
                    let count = consumer.pop_into(&mut popped);
                    let expected: Vec<u64> = model.drain(..most.min(model.len())).collect();
                    prop_assert_eq!(&popped[..count], &expected[..]);
                }
            }
            prop_assert_eq!(consumer.available(), model.len());
            prop_assert_eq!(producer.room(), capacity - model.len());
        }
    }
}

/// 64 bytes that show when they were torn.
#[derive(Clone, Copy)]
struct Wide([u64; 8]);

#[test]
fn two_threads_lose_reorder_and_tear_nothing() {
    const COUNT: u64 = 20_000;
    for capacity in [1, 3, 64, 1000] {
        let (mut producer, mut consumer) = ring(capacity);
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut n = 0;
                while n < COUNT {
                    let pushed = match n % 3 {
                        0 => u64::from(producer.try_push(Wide([n; 8])).is_ok()),
                        1 => producer.push_iter((n..COUNT.min(n + 7)).map(|n| Wide([n; 8]))) as u64,
                        _ => producer.push_slice(&[Wide([n; 8])]) as u64,
                    };
                    n += pushed;
                    if pushed == 0 {
                        thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            let mut check = |Wide(words): Wide| {
                assert_eq!(words, [expected; 8]);
                expected += 1;
            };
            let mut some = [Wide([0; 8]); 5];
            for round in 0.. {
                let count = match round % 3 {
                    0 => consumer.try_pop().map(&mut check).map_or(0, |()| 1),
                    1 => consumer.pop_each(9, &mut check),
                    _ => {
                        let count = consumer.pop_into(&mut some);
                        some[..count].iter().copied().for_each(&mut check);
                        count
                    }
                };
                if count == 0 {
                    if consumer.is_abandoned() && consumer.available() == 0 {
                        break;
                    }
                    thread::yield_now();
                }
            }
            assert_eq!(expected, COUNT);
        });
    }
}

#[test]
fn blocking_ends_never_miss_each_other() {
    const COUNT: u64 = 10_000;
    for capacity in [1, 2, 7] {
        let (mut producer, mut consumer) = waiting(capacity);
        thread::scope(|scope| {
            scope.spawn(move || (0..COUNT).for_each(|n| producer.push(n).unwrap()));
            (0..COUNT).for_each(|n| assert_eq!(consumer.pop(), Ok(n)));
            assert_eq!(consumer.pop(), Err(Abandoned(())));
        });
    }
}

#[test]
fn slow_partners_are_waited_for_asleep() {
    let (mut producer, mut consumer) = waiting(1);
    thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..8 {
                thread::sleep(Duration::from_millis(10));
                producer.push(n).unwrap();
            }
            for n in 8..16 {
                producer.push(n).unwrap();
            }
        });
        let before = processor_time();
        let start = Instant::now();
        (0..8).for_each(|n| assert_eq!(consumer.pop(), Ok(n)));
        let (used, passed) = (processor_time() - before, start.elapsed());
        assert!(passed >= Duration::from_millis(80));
        assert!(used < passed / 4, "{used:?} of {passed:?} spent waiting");
        for n in 8..16 {
            thread::sleep(Duration::from_millis(1));
            assert_eq!(consumer.pop(), Ok(n));
        }
    });
}

fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
fn dropping_an_end_wakes_the_other() {
    let (producer, mut consumer) = waiting::<u8>(1);
    thread::scope(|scope| {
        let popped = scope.spawn(move || consumer.pop());
        thread::sleep(Duration::from_millis(5));
        drop(producer);
        assert_eq!(popped.join().unwrap(), Err(Abandoned(())));
    });
    let (mut producer, consumer) = waiting(1);
    producer.try_push(1).unwrap();
    thread::scope(|scope| {
        let pushed = scope.spawn(move || producer.push(2));
        thread::sleep(Duration::from_millis(5));
        drop(consumer);
        assert_eq!(pushed.join().unwrap(), Err(Abandoned(2)));
    });
}

#[test]
fn what_a_producer_left_is_still_there() {
    let (mut producer, mut consumer) = waiting(4);
    producer.push_iter([1, 2]);
    drop(producer);
    assert!(consumer.is_abandoned());
    assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Ok(1), Ok(2), Err(Abandoned(()))));
}

/// Counts itself.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn every_value_is_dropped_exactly_once() {
    for (pushed, popped) in [(0, 0), (5, 0), (8, 3), (8, 8)] {
        let drops = Arc::new(AtomicUsize::new(0));
        let (mut producer, mut consumer) = ring(8);
        // Around the end of the slots, so that what is left wraps.
        for _ in 0..6 {
            assert!(producer.try_push(Counted(Arc::clone(&drops))).is_ok());
            drop(consumer.try_pop());
        }
        assert_eq!(producer.push_iter((0..pushed).map(|_| Counted(Arc::clone(&drops)))), pushed);
        assert_eq!(consumer.pop_each(popped, drop), popped);
        assert_eq!(drops.load(Ordering::Relaxed), 6 + popped);
        drop(consumer);
        assert_eq!(drops.load(Ordering::Relaxed), 6 + popped, "the producer could still look at them");
        drop(producer);
        assert_eq!(drops.load(Ordering::Relaxed), 6 + pushed);
    }
}

#[test]
fn a_panic_while_taking_loses_only_that_value() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (mut producer, mut consumer) = ring(4);
    producer.push_iter((0..4).map(|_| Counted(Arc::clone(&drops))));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        consumer.pop_each(4, |value| {
            drop(value);
            assert!(drops.load(Ordering::Relaxed) < 2, "enough");
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(consumer.available(), 2);
    drop((producer, consumer));
    assert_eq!(drops.load(Ordering::Relaxed), 4);
}

#[test]
fn values_without_a_size_are_counted_too() {
    let (mut producer, mut consumer) = ring(3);
    assert_eq!(producer.push_slice(&[(); 5]), 3);
    assert_eq!(producer.try_push(()), Err(Full(())));
    assert_eq!(consumer.pop_each(9, |()| ()), 3);
}
