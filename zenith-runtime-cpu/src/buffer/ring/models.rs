//! The ring under loom: every order in which two threads can see each other's writes.

use loom::thread;

use super::{Abandoned, ring, waiting};

fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn loom_values_arrive_in_order_and_once() {
    check(3, || {
        let (mut producer, mut consumer) = ring(2);
        let pushing = thread::spawn(move || {
            let mut n = 0;
            while n < 3 {
                if producer.try_push(Box::new(n)).is_ok() {
                    n += 1;
                } else {
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < 3 {
            match consumer.try_pop() {
                Some(n) => {
                    assert_eq!(*n, expected);
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
        pushing.join().unwrap();
        assert!(consumer.try_pop().is_none());
    });
}

#[test]
fn loom_batches_are_published_whole() {
    check(3, || {
        let (mut producer, mut consumer) = ring(4);
        let pushing = thread::spawn(move || {
            assert_eq!(producer.push_slice(&[1, 2]), 2);
            assert_eq!(producer.push_iter([3, 4]), 2);
        });
        let mut seen = Vec::new();
        let first = consumer.pop_each(4, |n| seen.push(n));
        assert_eq!(first % 2, 0, "half a batch was visible");
        pushing.join().unwrap();
        let mut rest = [0; 4];
        let count = consumer.pop_into(&mut rest);
        seen.extend(&rest[..count]);
        assert_eq!(seen, [1, 2, 3, 4]);
    });
}

#[test]
fn loom_no_wakeup_is_lost() {
    check(2, || {
        let (mut producer, mut consumer) = waiting(1);
        let pushing = thread::spawn(move || {
            producer.push(1).unwrap();
            producer.push(2).unwrap();
        });
        assert_eq!(consumer.pop(), Ok(1));
        assert_eq!(consumer.pop(), Ok(2));
        assert_eq!(consumer.pop(), Err(Abandoned(())));
        pushing.join().unwrap();
    });
}

#[test]
fn loom_a_dropped_consumer_wakes_the_producer() {
    check(3, || {
        let (mut producer, mut consumer) = waiting(1);
        let popping = thread::spawn(move || drop(consumer.try_pop()));
        let mut pushed = 0;
        while producer.push(Box::new(pushed)).is_ok() {
            pushed += 1;
        }
        assert!(pushed <= 2);
        popping.join().unwrap();
    });
}

#[test]
fn loom_what_is_left_is_dropped() {
    check(3, || {
        let (mut producer, mut consumer) = ring(2);
        let pushing = thread::spawn(move || {
            let _ = producer.try_push(loom::sync::Arc::new(1));
            let _ = producer.try_push(loom::sync::Arc::new(2));
        });
        drop(consumer.try_pop());
        drop(consumer);
        pushing.join().unwrap();
    });
}
