//! Laws of the pipeline, on a source that writes the sample's own number and counts what it was asked for.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use zenith_data::pipeline::slots::Slots;
use zenith_data::pipeline::{Batch, OnError, Pipeline, PipelineConfig, Place, StreamSpec};
use zenith_data::sampler::{Cut, OrderSpec};
use zenith_data::schema::{Field, Schema, Shape};
use zenith_data::source::{Filler, Grain, SampleKey, Source, Spent};
use zenith_data::{DType, Error, Result, SampleError};
use zenith_runtime_cpu::allocator::PagesWanted;

struct Numbers {
    len: u64,
    grain: Grain,
    schema: Schema,
    bad: fn(u64) -> bool,
    filled: Arc<AtomicU64>,
    /// How many readers may still be had.
    readers: AtomicU64,
}

fn numbers(len: u64, grain: Grain) -> Numbers {
    let fields = vec![Field::new("inputs", DType::UInt64, [2]), Field::new("labels", DType::Int64, [])];
    Numbers {
        len,
        grain,
        schema: Schema { fields, shape: Shape::Tuple },
        bad: |_| false,
        filled: Arc::default(),
        readers: AtomicU64::new(u64::MAX),
    }
}

impl Source for Numbers {
    fn len(&self) -> u64 {
        self.len
    }
    fn schema(&self) -> &Schema {
        &self.schema
    }
    fn fingerprint(&self) -> u64 {
        self.len
    }
    fn filler(&self) -> Result<Box<dyn Filler>> {
        let left = self.readers.load(Ordering::Relaxed);
        if left == 0 {
            return Err(Error::Machine("no more readers".into()));
        }
        self.readers.store(left - 1, Ordering::Relaxed);
        Ok(Box::new(NumbersFiller { bad: self.bad, filled: Arc::clone(&self.filled) }))
    }
    fn grain(&self) -> Grain {
        self.grain
    }
}

struct NumbersFiller {
    bad: fn(u64) -> bool,
    filled: Arc<AtomicU64>,
}

impl Filler for NumbersFiller {
    fn fill(
        &mut self,
        keys: &[SampleKey],
        slots: &mut Slots<'_>,
        _: &mut Spent,
    ) -> Result<(), (usize, SampleError)> {
        for (i, key) in keys.iter().enumerate() {
            assert!(key.sample != 666_666, "the devil's sample");
            if (self.bad)(key.sample) {
                let error =
                    SampleError { sample: key.sample, path: None, offset: None, reason: "bad".into() };
                return Err((i, error));
            }
            slots.bytes(0, i)[..8].copy_from_slice(&key.sample.to_ne_bytes());
            slots.bytes(0, i)[8..].copy_from_slice(&key.epoch.to_ne_bytes());
            slots.bytes(1, i).copy_from_slice(&(key.sample as i64 * 3).to_ne_bytes());
            self.filled.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn config(batch_size: usize, workers: usize) -> PipelineConfig {
    PipelineConfig {
        batch_size,
        workers,
        prefetch: 2,
        on_error: OnError::Raise,
        pages: PagesWanted::Auto,
        node: None,
        cpus: None,
    }
}

fn spec(samples: u64, batch_size: u64, shuffle: bool) -> StreamSpec {
    StreamSpec {
        order: if shuffle { OrderSpec::Shuffled } else { OrderSpec::Sequential },
        cut: Cut::Even { batch_size, rank: 0, world: 1, drop_last: false },
        samples,
        seed: 5,
    }
}

fn samples(batch: &Batch) -> Vec<u64> {
    batch.bytes(0).chunks_exact(16).map(|c| u64::from_ne_bytes(c[..8].try_into().unwrap())).collect()
}

fn epoch(pipeline: &mut Pipeline) -> Vec<Vec<u64>> {
    let mut batches = Vec::new();
    while let Some(batch) = pipeline.next().unwrap() {
        let labels: Vec<i64> =
            batch.bytes(1).chunks_exact(8).map(|c| i64::from_ne_bytes(c.try_into().unwrap())).collect();
        let samples = samples(&batch);
        assert!(labels.iter().zip(&samples).all(|(l, s)| *l == *s as i64 * 3), "a label strayed");
        batches.push(samples);
    }
    batches
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn batches_do_not_depend_on_workers_or_grain(
        len in 1u64..300, batch in 1usize..40, workers in 0usize..5, shuffle: bool, whole: bool,
    ) {
        let grain = if whole { Grain::Batch } else { Grain::Sample };
        let reference: Vec<Vec<Vec<u64>>> = {
            let source = Arc::new(numbers(len, Grain::Batch));
            let mut pipeline = Pipeline::new(source, spec(len, batch as u64, shuffle), config(batch, 0)).unwrap();
            (0..3).map(|e| { pipeline.begin(Place { epoch: e, cursor: 0 }).unwrap(); epoch(&mut pipeline) }).collect()
        };
        let source = Arc::new(numbers(len, grain));
        let mut pipeline = Pipeline::new(source, spec(len, batch as u64, shuffle), config(batch, workers)).unwrap();
        for (e, expected) in reference.iter().enumerate() {
            pipeline.begin(Place { epoch: e as u64, cursor: 0 }).unwrap();
            prop_assert_eq!(&epoch(&mut pipeline), expected);
            let mut all: Vec<u64> = expected.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..len).collect::<Vec<_>>());
        }
        if shuffle && len > 20 {
            prop_assert_ne!(&reference[0], &reference[1]);
        }
    }

    #[test]
    fn a_saved_place_continues_exactly(len in 1u64..300, batch in 1usize..20, stop in 0usize..40, workers in 0usize..4) {
        let make = || Pipeline::new(
            Arc::new(numbers(len, Grain::Sample)), spec(len, batch as u64, true), config(batch, workers)).unwrap();
        let mut whole = make();
        whole.begin(Place { epoch: 2, cursor: 0 }).unwrap();
        let reference = epoch(&mut whole);
        let stop = stop.min(reference.len());
        let mut first = make();
        first.begin(Place { epoch: 2, cursor: 0 }).unwrap();
        for _ in 0..stop { first.next().unwrap().unwrap(); }
        let place = first.place();
        drop(first);
        let mut second = make();
        second.begin(place).unwrap();
        prop_assert_eq!(second.steps_from(place), (reference.len() - stop) as u64);
        prop_assert_eq!(&epoch(&mut second), &reference[stop..]);
    }
}

#[test]
fn hoarded_batches_neither_block_nor_change() {
    let mut pipeline =
        Pipeline::new(Arc::new(numbers(500, Grain::Sample)), spec(500, 5, false), config(5, 2)).unwrap();
    pipeline.begin(Place::default()).unwrap();
    let mut kept = Vec::new();
    while let Some(batch) = pipeline.next().unwrap() {
        kept.push(batch);
    }
    for (i, batch) in kept.iter().enumerate() {
        assert_eq!(samples(batch), (i as u64 * 5..i as u64 * 5 + 5).collect::<Vec<_>>());
    }
}

#[test]
fn a_bad_sample_is_raised_in_its_turn_and_the_rest_of_its_batch_follows() {
    for workers in [0, 3] {
        let source = Numbers { bad: |s| s == 7 || s == 9, ..numbers(20, Grain::Sample) };
        let mut pipeline = Pipeline::new(Arc::new(source), spec(20, 5, false), config(5, workers)).unwrap();
        pipeline.begin(Place::default()).unwrap();
        assert_eq!(samples(&pipeline.next().unwrap().unwrap()), [0, 1, 2, 3, 4]);
        match pipeline.next() {
            Err(Error::Sample(error)) => assert_eq!(error.sample, 7),
            other => panic!("expected the bad sample, got {other:?}"),
        }
        assert_eq!(samples(&pipeline.next().unwrap().unwrap()), [5, 6, 8]);
        assert_eq!(samples(&pipeline.next().unwrap().unwrap()), [10, 11, 12, 13, 14]);
    }
}

#[test]
fn skipped_samples_are_counted_in_the_order_of_the_stream() {
    for grain in [Grain::Sample, Grain::Batch] {
        let source = Numbers { bad: |s| s % 10 == 3, ..numbers(50, grain) };
        let config = PipelineConfig { on_error: OnError::Skip, ..config(8, 2) };
        let mut pipeline = Pipeline::new(Arc::new(source), spec(50, 8, false), config).unwrap();
        pipeline.begin(Place::default()).unwrap();
        let all: Vec<u64> = epoch(&mut pipeline).into_iter().flatten().collect();
        assert_eq!(all, (0..50).filter(|s| s % 10 != 3).collect::<Vec<_>>());
        let skipped: Vec<u64> = pipeline.skipped().iter().map(|e| e.sample).collect();
        assert_eq!(skipped, [3, 13, 23, 33, 43]);
        assert_eq!(pipeline.snapshot().skipped, 5);
    }
}

#[test]
fn a_panic_reaches_the_consumer_and_the_loader_stays_usable() {
    let len = 666_670;
    let mut pipeline =
        Pipeline::new(Arc::new(numbers(len, Grain::Batch)), spec(len, 10, false), config(10, 2)).unwrap();
    pipeline.begin(Place { epoch: 0, cursor: 666_650 }).unwrap();
    assert_eq!(samples(&pipeline.next().unwrap().unwrap())[0], 666_650);
    let error = pipeline.next().unwrap_err().to_string();
    assert!(error.contains("the devil's sample"), "{error}");
    assert!(pipeline.next().unwrap().is_none());
    pipeline.begin(Place::default()).unwrap();
    assert_eq!(samples(&pipeline.next().unwrap().unwrap())[0], 0);
}

#[test]
fn breaking_off_and_starting_over_leaves_nothing_stale() {
    let source = numbers(1000, Grain::Sample);
    let mut pipeline = Pipeline::new(Arc::new(source), spec(1000, 10, true), config(10, 3)).unwrap();
    for e in 0..30 {
        pipeline.begin(Place { epoch: e, cursor: 0 }).unwrap();
        for _ in 0..e % 4 {
            let batch = pipeline.next().unwrap().unwrap();
            assert!(
                batch.bytes(0).chunks_exact(16).all(|c| u64::from_ne_bytes(c[8..].try_into().unwrap()) == e)
            );
        }
    }
    let stats = pipeline.pool().stats();
    assert!(stats.mapped <= 40, "{stats:?}");
}

#[test]
fn dropping_a_pipeline_stops_its_work() {
    for i in 0..50 {
        let source = Arc::new(numbers(1000, Grain::Sample));
        let filled = Arc::clone(&source.filled);
        let mut pipeline = Pipeline::new(source, spec(1000, 10, true), config(10, 4)).unwrap();
        pipeline.begin(Place::default()).unwrap();
        for _ in 0..i % 7 {
            pipeline.next().unwrap();
        }
        drop(pipeline);
        let after = filled.load(Ordering::Relaxed);
        assert!(after < 1000, "back-pressure did not hold: {after}");
        assert_eq!(Arc::strong_count(&filled), 1, "a worker outlived its pipeline");
    }
}

#[test]
fn a_consumer_that_gets_no_reader_says_so_and_does_not_hang() {
    let source = Numbers { readers: AtomicU64::new(0), ..numbers(20, Grain::Sample) };
    let mut pipeline = Pipeline::new(Arc::new(source), spec(20, 5, false), config(5, 0)).unwrap();
    pipeline.begin(Place::default()).unwrap();
    for _ in 0..4 {
        assert!(pipeline.next().unwrap_err().to_string().contains("no more readers"));
    }
    assert!(pipeline.next().unwrap().is_none());
}

#[test]
fn the_meter_reads_without_the_pipeline_and_after_it() {
    let mut pipeline =
        Pipeline::new(Arc::new(numbers(40, Grain::Sample)), spec(40, 8, false), config(8, 2)).unwrap();
    let meter = pipeline.meter();
    pipeline.begin(Place::default()).unwrap();
    pipeline.next().unwrap().unwrap();
    let late = Duration::from_secs(3600);
    meter.handed_over(late);
    while pipeline.next().unwrap().is_some() {}
    let slabs = meter.pool().unwrap().slab_bytes;
    drop(pipeline);
    let counted = meter.snapshot().consumer;
    assert_eq!((counted.batches, counted.samples), (5, 40));
    assert!(counted.wait_ns >= late.as_nanos() as u64);
    assert!(counted.step_ns < late.as_nanos() as u64, "the way to the user is no step");
    assert_eq!(meter.pool().unwrap().slab_bytes, slabs);
    assert_eq!(meter.pool().unwrap().leased, 0);
}

#[test]
fn a_new_beginning_at_a_told_error_is_told_it_too() {
    let source = Numbers { bad: |sample| sample == 3, ..numbers(20, Grain::Sample) };
    let mut pipeline = Pipeline::new(Arc::new(source), spec(20, 8, false), config(8, 1)).unwrap();
    for _ in 0..2 {
        pipeline.begin(Place::default()).unwrap();
        assert!(matches!(pipeline.next(), Err(Error::Sample(error)) if error.sample == 3));
    }
    assert_eq!(samples(&pipeline.next().unwrap().unwrap()), [0, 1, 2, 4, 5, 6, 7]);
}

#[test]
fn many_small_parts_try_patience_too() {
    let source = Numbers { bad: slow, ..numbers(4000, Grain::Sample) };
    let mut pipeline = Pipeline::new(Arc::new(source), spec(4000, 4000, false), config(4000, 0)).unwrap();
    pipeline.begin(Place::default()).unwrap();
    assert!(matches!(pipeline.next_while(&mut || false), Err(Error::Interrupted)));
    assert_eq!(pipeline.place(), Place::default());
    assert_eq!(pipeline.next().unwrap().unwrap().len(), 4000, "nothing is lost by it");
}

/// A good sample of a tenth of a millisecond.
fn slow(_sample: u64) -> bool {
    std::thread::sleep(Duration::from_micros(100));
    false
}
