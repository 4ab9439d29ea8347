//! Laws of the pipeline, on a source that writes the sample's own number and counts what it was asked for.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use zenith_data::pipeline::slots::Slots;
use zenith_data::pipeline::{Batch, OnError, Pipeline, PipelineConfig, Place, StreamSpec, worker_threads};
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
    /// Ends of runs and the window over them, for a source that is read in blocks.
    blocks: Option<(Vec<u64>, u64)>,
    heard: Arc<Heard>,
}

/// What the fillers of a source were told and asked for.
#[derive(Default)]
struct Heard {
    /// Whether hints kill.
    panics: bool,
    /// Announcements and fillings in their order: (announced, samples).
    log: Mutex<Vec<(bool, Vec<u64>)>>,
    /// What each filler was told to read next.
    ahead: Mutex<Vec<Vec<u64>>>,
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
        blocks: None,
        heard: Arc::default(),
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
        let (filled, heard) = (Arc::clone(&self.filled), Arc::clone(&self.heard));
        Ok(Box::new(NumbersFiller { bad: self.bad, filled, heard }))
    }
    fn blocks(&self) -> Option<(&[u64], u64)> {
        self.blocks.as_ref().map(|(ends, window)| (&ends[..], *window))
    }
    fn grain(&self) -> Grain {
        self.grain
    }
}

struct NumbersFiller {
    bad: fn(u64) -> bool,
    filled: Arc<AtomicU64>,
    heard: Arc<Heard>,
}

fn numbers_of(keys: &[SampleKey]) -> Vec<u64> {
    keys.iter().map(|key| key.sample).collect()
}

impl Filler for NumbersFiller {
    fn read_ahead(&mut self, upcoming: &[SampleKey]) {
        self.heard.ahead.lock().unwrap().push(numbers_of(upcoming));
        assert!(!self.heard.panics, "a hint that kills");
    }

    fn announce(&mut self, later: &[SampleKey]) {
        self.heard.log.lock().unwrap().push((true, numbers_of(later)));
    }

    fn fill(
        &mut self,
        keys: &[SampleKey],
        slots: &mut Slots<'_>,
        _: &mut Spent,
    ) -> Result<(), (usize, SampleError)> {
        self.heard.log.lock().unwrap().push((false, numbers_of(keys)));
        for (i, key) in keys.iter().enumerate() {
            assert!(key.sample != 666_666, "the devil's sample");
            if (self.bad)(key.sample) {
                return Err((
                    i,
                    SampleError {
                        sample: key.sample,
                        path: None,
                        offset: None,
                        reason: "bad".into(),
                        transform: None,
                    },
                ));
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
        uncapped: true,
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
        len in 1u64..300, batch in 1usize..40, workers in 0usize..4, shuffle: bool, whole: bool,
    ) {
        let grain = if whole { Grain::Batch } else { Grain::Sample };
        let reference: Vec<Vec<Vec<u64>>> = {
            let source = Arc::new(numbers(len, Grain::Batch));
            let mut pipeline = Pipeline::new(source, spec(len, batch as u64, shuffle), config(batch, 0)).unwrap();
            (0..3).map(|e| { pipeline.begin(Place::new(e, 0)).unwrap(); epoch(&mut pipeline) }).collect()
        };
        let source = Arc::new(numbers(len, grain));
        let config = config(batch, [0, 1, 2, 8][workers]);
        let mut pipeline = Pipeline::new(source, spec(len, batch as u64, shuffle), config).unwrap();
        for (e, expected) in reference.iter().enumerate() {
            pipeline.begin(Place::new(e as u64, 0)).unwrap();
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
        whole.begin(Place::new(2, 0)).unwrap();
        let reference = epoch(&mut whole);
        let stop = stop.min(reference.len());
        let mut first = make();
        first.begin(Place::new(2, 0)).unwrap();
        for _ in 0..stop { first.next().unwrap().unwrap(); }
        let place = first.place();
        drop(first);
        let mut second = make();
        second.begin(place).unwrap();
        prop_assert_eq!(second.steps_from(place), Some((reference.len() - stop) as u64));
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
    pipeline.begin(Place::new(0, 666_650)).unwrap();
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
        pipeline.begin(Place::new(e, 0)).unwrap();
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
fn many_workers_are_so_many_threads_and_share_the_same_few_batches() {
    let (batch, batches) = (20_000, 30);
    let mut depths = HashSet::new();
    for workers in [1, 2, 8] {
        let len = batch * batches;
        let source = Arc::new(numbers(len, Grain::Batch));
        let spec = spec(len, batch, true);
        let mut pipeline =
            Pipeline::new(Arc::clone(&source) as _, spec, config(batch as usize, workers)).unwrap();
        let (threads, depth) = pipeline.size();
        assert_eq!(threads, workers);
        depths.insert(depth);
        pipeline.begin(Place::default()).unwrap();
        assert_eq!(u64::MAX - source.readers.load(Ordering::Relaxed), workers as u64, "a reader a thread");
        let mut taken = 0;
        while let Some(batch) = pipeline.next().unwrap() {
            taken += batch.len() as u64;
        }
        assert_eq!(taken, len);
        // Those queued, the consumer's, and those that workers have finished and are about to let go of.
        let stats = pipeline.pool().stats();
        assert!(stats.mapped_total <= depth + 1 + workers, "{workers} workers: {stats:?}");
    }
    assert_eq!(depths.len(), 1, "as many are made ahead by one as by eight");
}

#[test]
fn workers_beyond_the_processors_are_not_started() {
    let most = worker_threads(100_000).unwrap();
    assert!((1..100_000).contains(&most));
    assert_eq!(worker_threads(0).unwrap(), 0);
    let capped = PipelineConfig { uncapped: false, ..config(5, 100_000) };
    let pipeline = Pipeline::new(Arc::new(numbers(20, Grain::Sample)), spec(20, 5, false), capped).unwrap();
    assert_eq!(pipeline.size().0, most);
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

#[test]
fn batches_that_do_not_fit_their_memory_are_refused() {
    let refused = |spec: StreamSpec, config: PipelineConfig| {
        let source = Arc::new(numbers(20, Grain::Sample));
        Pipeline::new(source, spec, config).expect_err("a refusal").to_string()
    };
    let error = refused(spec(20, 1 << 62, false), config(1 << 62, 0));
    assert!(error.contains("larger than any memory"), "{error}");
    let error = refused(spec(20, 16, false), config(4, 0));
    assert_eq!(error, "a batch of 16 samples in a loader for 4");
    let listed = StreamSpec { cut: Cut::Listed(Arc::from([3u64, 20])), ..spec(20, 4, false) };
    assert_eq!(refused(listed, config(4, 0)), "a batch of 17 samples in a loader for 4");
    let ahead = PipelineConfig { prefetch: 1_000_000_000_000, ..config(4, 1) };
    let error = refused(spec(20, 4, false), ahead);
    assert!(error.contains("at most 65536 batches can be made ahead"), "{error}");
}

#[test]
fn a_later_sequence_of_longer_batches_is_refused() {
    let mut pipeline =
        Pipeline::new(Arc::new(numbers(20, Grain::Sample)), spec(20, 4, false), config(4, 0)).unwrap();
    let error = pipeline.begin_with(spec(20, 5, false), Place::default()).unwrap_err().to_string();
    assert_eq!(error, "a batch of 5 samples in a loader for 4");
    pipeline.begin(Place::default()).unwrap();
    assert_eq!(epoch(&mut pipeline).len(), 5);
}

#[test]
fn a_panic_while_reading_ahead_is_an_error_of_its_batches_and_no_hang() {
    let heard = Arc::new(Heard { panics: true, ..Heard::default() });
    let source = Numbers { heard: Arc::clone(&heard), ..numbers(60, Grain::Sample) };
    let mut pipeline = Pipeline::new(Arc::new(source), spec(60, 5, false), config(5, 1)).unwrap();
    pipeline.begin(Place::default()).unwrap();
    while heard.ahead.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    let (mut whole, mut broken) = (Vec::new(), 0);
    loop {
        match pipeline.next() {
            Ok(Some(batch)) => whole.extend(samples(&batch)),
            Ok(None) => break,
            Err(error) => {
                assert!(error.to_string().contains("a hint that kills"), "{error}");
                broken += 1;
            }
        }
    }
    assert!(broken > 0);
    assert_eq!(whole.len() + 5 * broken, 60);
}

#[test]
fn a_worker_names_all_it_will_read_next_in_order() {
    let source = Arc::new(numbers(400, Grain::Sample));
    let heard = Arc::clone(&source.heard);
    let mut pipeline = Pipeline::new(source, spec(400, 40, true), config(40, 1)).unwrap();
    pipeline.begin(Place::default()).unwrap();
    while heard.ahead.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    epoch(&mut pipeline);
    drop(pipeline);
    let ahead = heard.ahead.lock().unwrap();
    for pair in ahead.windows(2) {
        // What was named is read before anything else is named: lists overlap as one sequence.
        let rest = (0..=pair[0].len()).find(|from| pair[1].starts_with(&pair[0][*from..]));
        assert!(rest.is_some_and(|read| read > 0 && pair[0].len() - read < pair[1].len()), "{pair:?}");
    }
}

/// With the consumer alone the order of things is certain.
#[test]
fn blocks_are_announced_in_time_where_the_order_keeps_to_them() {
    let ends: Vec<u64> = (1..=20).map(|block| block * 50).collect();
    for order in [OrderSpec::Sequential, OrderSpec::Blocks { ends: Arc::from(&ends[..]), window: 200 }] {
        let source = Numbers { blocks: Some((ends.clone(), 200)), ..numbers(1000, Grain::Batch) };
        let heard = Arc::clone(&source.heard);
        let spec = StreamSpec { order, ..spec(1000, 10, false) };
        let mut pipeline = Pipeline::new(Arc::new(source), spec, config(10, 0)).unwrap();
        pipeline.begin(Place::default()).unwrap();
        epoch(&mut pipeline);
        let log = heard.log.lock().unwrap();
        let (mut told, mut used) = (Vec::new(), 0);
        for (announced, samples) in log.iter() {
            let blocks = samples.iter().map(|sample| sample / 50);
            if *announced {
                told.extend(blocks);
                assert!(told.len() as u64 <= used + 10 * 11, "more than half a window ahead");
            } else {
                // The first batch needs its blocks at once, and half a window goes by before the scout is ahead.
                let late = blocks.filter(|block| !told.contains(block)).count();
                assert!(late == 0 || used < 10, "samples {samples:?} come unannounced");
                used += samples.len() as u64;
            }
        }
        assert_eq!(used, 1000);
    }
    // Without room for two blocks, and in an order that jumps, announcing would push out what is needed.
    let jumps = OrderSpec::Shuffled;
    for (order, window) in [(OrderSpec::Sequential, 49), (jumps, 200)] {
        let source = Numbers { blocks: Some((ends.clone(), window)), ..numbers(1000, Grain::Batch) };
        let heard = Arc::clone(&source.heard);
        let spec = StreamSpec { order, ..spec(1000, 10, false) };
        let mut pipeline = Pipeline::new(Arc::new(source), spec, config(10, 0)).unwrap();
        pipeline.begin(Place::default()).unwrap();
        epoch(&mut pipeline);
        assert!(heard.log.lock().unwrap().iter().all(|(announced, _)| !announced));
    }
}
