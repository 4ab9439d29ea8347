//! Custom transforms in the data plane: what the consumer sees equals a sequential model, whoever makes the samples, and
//! wherever one resumes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod made;
mod pictures;

use std::sync::Arc;

use made::{Fan, Numbers, batch_of, numbers};
use proptest::prelude::*;
use zenith_data::pipeline::{OnError, Pipeline, PipelineConfig, Place, StreamSpec};
use zenith_data::sampler::{Cut, OrderSpec};
use zenith_data::source::staged::Staged;
use zenith_data::source::subset::Subset;
use zenith_data::source::{Grain, Source};
use zenith_data::transform::chain::Link;
use zenith_data::transform::custom::Yield;
use zenith_data::{DType, Error};
use zenith_runtime_cpu::allocator::PagesWanted;

fn spec(samples: u64, batch_size: usize, shuffle: bool, drop_last: bool) -> StreamSpec {
    let order = if shuffle { OrderSpec::Shuffled } else { OrderSpec::Sequential };
    let cut = Cut::Even { batch_size: batch_size as u64, rank: 0, world: 1, drop_last };
    StreamSpec { order, cut, samples, seed: 5 }
}

fn config(batch_size: usize, workers: usize, on_error: OnError) -> PipelineConfig {
    PipelineConfig {
        batch_size,
        workers,
        uncapped: true,
        prefetch: 2,
        on_error,
        pages: PagesWanted::Heap,
        node: None,
        cpus: None,
    }
}

/// What a consumer meets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    /// A batch, as (sample, epoch, part).
    Batch(Vec<[u64; 3]>),
    /// The error of a sample.
    Bad(u64),
}

/// Everything to the end of the epoch; the place after each event.
fn events(pipeline: &mut Pipeline) -> Vec<(Event, Place)> {
    let mut events = Vec::new();
    loop {
        let event = match pipeline.next() {
            Ok(Some(batch)) => Event::Batch(batch_of(&batch)),
            Ok(None) => return events,
            Err(Error::Sample(error)) => Event::Bad(error.sample),
            Err(other) => panic!("{other}"),
        };
        events.push((event, pipeline.place()));
    }
}

/// How many samples become of one; the pattern is any function of the sample.
fn count(pattern: u64, most: u64, sample: u64) -> u64 {
    let mixed = zenith_data::sampler::rng::mix(pattern ^ sample.wrapping_mul(0x9e37_79b9));
    if mixed % 8 <= pattern % 8 { 1 + (mixed >> 8) % most } else { 0 }
}

fn is_bad(pattern: u64, sample: u64) -> bool {
    zenith_data::sampler::rng::mix(pattern.wrapping_add(sample)).is_multiple_of(29)
}

#[derive(Clone, Copy, Debug)]
struct Case {
    len: u64,
    batch: usize,
    pattern: u64,
    /// The most samples that become of one.
    most: u64,
    bad: bool,
    shuffle: bool,
    drop_last: bool,
    raise: bool,
}

impl Case {
    fn pipeline(self, workers: usize, grain: Grain) -> Pipeline {
        let Case { len, batch, pattern, most, bad, shuffle, drop_last, raise } = self;
        let source = numbers(len, grain);
        let yields = if most > 1 { Yield::Any } else { Yield::AtMostOne };
        let fan = Fan::new(yields, move |sample| {
            // The samples that are tried first must leave something, or there would be no loader.
            if bad && is_bad(pattern, sample) { None } else { Some(count(pattern, most, sample)) }
        });
        let staged = Staged::new(Arc::new(source), vec![Link::Custom(Arc::new(fan))]).unwrap();
        let on_error = if raise { OnError::Raise } else { OnError::Skip };
        let spec = spec(len, batch, shuffle, drop_last);
        Pipeline::new(Arc::new(staged), spec, config(batch, workers, on_error)).unwrap()
    }

    /// Whether there is a sample that shows what samples become, and not too many bad ones before it.
    fn has_any(self) -> bool {
        let is_bad = |sample: &u64| self.bad && is_bad(self.pattern, *sample);
        (0..self.len).filter(is_bad).count() < 8
            && (0..self.len).any(|sample| !is_bad(&sample) && count(self.pattern, self.most, sample) > 0)
    }

    /// What one thread without any pipeline would give.
    fn model(self, epoch: u64) -> Vec<Event> {
        let order = spec(self.len, self.batch, self.shuffle, false).order.epoch(self.len, 5, epoch);
        let (mut events, mut open) = (Vec::new(), Vec::new());
        for position in 0..self.len {
            let sample = order.at(position);
            if self.bad && is_bad(self.pattern, sample) {
                if self.raise {
                    events.push(Event::Bad(sample));
                }
                continue;
            }
            for part in 0..count(self.pattern, self.most, sample) {
                open.push([sample, epoch, part]);
                if open.len() == self.batch {
                    events.push(Event::Batch(std::mem::take(&mut open)));
                }
            }
        }
        if !open.is_empty() && !self.drop_last {
            events.push(Event::Batch(open));
        }
        events
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (1u64..200, 1usize..24, any::<u64>(), 1u64..5, flags).prop_map(
        |(len, batch, pattern, most, (bad, shuffle, drop_last, raise))| Case {
            len,
            batch,
            pattern,
            most,
            bad,
            shuffle,
            drop_last,
            raise,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn full_batches_in_order_whoever_makes_them(case in cases(), workers in 0usize..4, run in 0usize..9) {
        prop_assume!(case.has_any());
        let grain = if run == 0 { Grain::Batch } else { Grain::Sample };
        let mut pipeline = case.pipeline([0, 1, 2, 8][workers], grain);
        for epoch in 0..2 {
            pipeline.begin(Place::new(epoch, 0)).unwrap();
            let seen: Vec<Event> = events(&mut pipeline).into_iter().map(|(event, _)| event).collect();
            prop_assert_eq!(seen, case.model(epoch));
        }
    }

    #[test]
    fn a_saved_place_continues_exactly(case in cases(), workers in 0usize..4, stop in 0usize..60) {
        prop_assume!(case.has_any());
        let mut whole = case.pipeline(1, Grain::Sample);
        whole.begin(Place::new(1, 0)).unwrap();
        let all = events(&mut whole);
        prop_assume!(!all.is_empty());
        let stop = stop % all.len();
        let place = all[stop].1;
        let mut again = case.pipeline([0, 1, 2, 8][workers], Grain::Sample);
        again.begin(place).unwrap();
        let seen: Vec<Event> = events(&mut again).into_iter().map(|(event, _)| event).collect();
        // A place is behind a batch: errors that were raised after it are raised again.
        let behind = (0..=stop).rev().find(|at| matches!(all[*at].0, Event::Batch(_))).map_or(0, |at| at + 1);
        let rest: Vec<Event> = all[behind..].iter().map(|(event, _)| event.clone()).collect();
        prop_assert_eq!(seen, rest);
    }
}

/// A filter drops `dropped`; what `bad` does of a sample is its own.
fn filtered(len: u64, dropped: u64, bad: fn(u64) -> Option<u64>) -> Pipeline {
    let fan = Fan::new(Yield::AtMostOne, move |sample| if sample == dropped { Some(0) } else { bad(sample) });
    let staged =
        Staged::new(Arc::new(numbers(len, Grain::Sample)), vec![Link::Custom(Arc::new(fan))]).unwrap();
    Pipeline::new(Arc::new(staged), spec(len, 8, false, false), config(8, 1, OnError::Raise)).unwrap()
}

fn next_samples(pipeline: &mut Pipeline) -> Vec<u64> {
    batch_of(&pipeline.next().unwrap().unwrap()).into_iter().map(|[sample, ..]| sample).collect()
}

#[test]
fn a_new_beginning_at_a_told_error_of_a_packed_batch_is_told_it_too() {
    let mut pipeline = filtered(20, 5, |sample| (sample != 3).then_some(1));
    for _ in 0..2 {
        pipeline.begin(Place::default()).unwrap();
        assert!(matches!(pipeline.next(), Err(Error::Sample(error)) if error.sample == 3));
    }
    assert_eq!(next_samples(&mut pipeline), [0, 1, 2, 4, 6, 7, 8, 9]);
    // Behind a batch nothing is missing any more.
    pipeline.begin(pipeline.place()).unwrap();
    assert_eq!(next_samples(&mut pipeline), (10..18).collect::<Vec<_>>());
}

#[test]
fn a_new_beginning_at_a_batch_that_could_not_be_made_leaves_none_out() {
    let mut pipeline = filtered(20, 5, |sample| {
        assert!(sample != 3, "a fan that kills");
        Some(1)
    });
    for _ in 0..2 {
        pipeline.begin(Place::default()).unwrap();
        let error = pipeline.next().unwrap_err().to_string();
        assert!(error.contains("a fan that kills"), "{error}");
    }
    assert_eq!(next_samples(&mut pipeline), (8..16).collect::<Vec<_>>());
}

#[test]
fn skipped_and_dropped_samples_are_told_apart() {
    let fan = Fan::new(Yield::AtMostOne, |sample| match sample % 10 {
        3 => None,
        5 | 6 => Some(0),
        _ => Some(1),
    });
    let staged =
        Staged::new(Arc::new(numbers(100, Grain::Sample)), vec![Link::Custom(Arc::new(fan))]).unwrap();
    let staged: Arc<dyn Source> = Arc::new(staged);
    let mut pipeline =
        Pipeline::new(Arc::clone(&staged), spec(100, 8, false, false), config(8, 2, OnError::Skip)).unwrap();
    assert_eq!(pipeline.steps_from(Place::default()), None);
    pipeline.begin(Place::default()).unwrap();
    let sizes: Vec<usize> = events(&mut pipeline)
        .iter()
        .map(|(event, _)| match event {
            Event::Batch(batch) => batch.len(),
            Event::Bad(_) => panic!("skipped samples are not raised"),
        })
        .collect();
    assert_eq!(sizes, [8, 8, 8, 8, 8, 8, 8, 8, 6]);
    let skipped = pipeline.skipped();
    assert_eq!(
        skipped.iter().map(|error| error.sample).collect::<Vec<_>>(),
        (0..10).map(|i| i * 10 + 3).collect::<Vec<_>>()
    );
    assert_eq!(skipped[0].transform.as_ref().unwrap().name, "fan");
    assert!(skipped[0].to_string().contains("fan: it will not have this one"), "{}", skipped[0]);
    let account = &staged.accounts()[0];
    // The pipeline may have begun the next epoch.
    assert!(account.samples >= 100 && account.dropped >= 20 && account.split == 0, "{account:?}");
}

#[test]
fn what_samples_are_split_into_changes_with_the_transform_and_the_data_do_not() {
    let staged = |yields, version| {
        let fan = Fan::new(yields, |_| Some(1)).version(version);
        Staged::new(Arc::new(numbers(9, Grain::Sample)), vec![Link::Custom(Arc::new(fan))]).unwrap()
    };
    let splitting = |version| staged(Yield::Any, version).splitting().unwrap();
    assert_eq!(splitting(1), splitting(1));
    assert_ne!(splitting(1), splitting(2));
    assert_eq!(staged(Yield::AtMostOne, 1).splitting(), None);
    assert_eq!(staged(Yield::Any, 1).fingerprint(), numbers(9, Grain::Sample).fingerprint());
}

#[test]
fn rows_go_through_the_chain_together_or_one_by_one() {
    for (together, calls) in [(true, 1..60), (false, 300..301)] {
        let fan = Fan::new(Yield::One, |_| Some(1)).together(together);
        let used = fan.calls();
        let staged =
            Staged::new(Arc::new(numbers(300, Grain::Batch)), vec![Link::Custom(Arc::new(fan))]).unwrap();
        used.store(0, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(staged.grain(), Grain::Run(_)));
        let mut pipeline =
            Pipeline::new(Arc::new(staged), spec(300, 30, true, false), config(30, 0, OnError::Raise))
                .unwrap();
        assert_eq!(pipeline.steps_from(Place::default()), Some(10));
        pipeline.begin(Place::default()).unwrap();
        let order = OrderSpec::Shuffled.epoch(300, 5, 0);
        for batch in 0..10 {
            let expected: Vec<_> = (0..30).map(|i| [order.at(batch * 30 + i), 0, 0]).collect();
            assert_eq!(batch_of(&pipeline.next().unwrap().unwrap()), expected);
        }
        let used = used.load(std::sync::atomic::Ordering::Relaxed);
        assert!(calls.contains(&used), "{used} calls");
    }
}

#[test]
fn a_batch_with_a_bad_row_loses_only_that_row() {
    let fan = Fan::new(Yield::One, |sample| (sample % 40 != 33).then_some(1)).together(true);
    let staged = Staged::new(Arc::new(numbers(80, Grain::Batch)), vec![Link::Custom(Arc::new(fan))]).unwrap();
    let mut pipeline =
        Pipeline::new(Arc::new(staged), spec(80, 20, false, false), config(20, 2, OnError::Skip)).unwrap();
    pipeline.begin(Place::default()).unwrap();
    let samples: Vec<u64> = events(&mut pipeline)
        .into_iter()
        .flat_map(|(event, _)| match event {
            Event::Batch(batch) => batch,
            Event::Bad(_) => Vec::new(),
        })
        .map(|[sample, ..]| sample)
        .collect();
    assert_eq!(samples, (0..80).filter(|sample| sample % 40 != 33).collect::<Vec<_>>());
}

#[test]
fn a_sample_that_becomes_something_else_is_a_bad_one_and_the_message_says_what() {
    let fan = Fan::new(Yield::One, |_| Some(1)).strange(7);
    let staged =
        Staged::new(Arc::new(numbers(20, Grain::Sample)), vec![Link::Custom(Arc::new(fan))]).unwrap();
    assert_eq!(
        (staged.schema().fields[0].dtype, &staged.schema().fields[0].shape[..]),
        (DType::UInt64, &[3][..])
    );
    let mut pipeline =
        Pipeline::new(Arc::new(staged), spec(20, 10, false, false), config(10, 1, OnError::Raise)).unwrap();
    pipeline.begin(Place::default()).unwrap();
    let error = pipeline.next().unwrap_err().to_string();
    for part in ["fan", "uint8 [2]", "uint64 [3]", "sample 7"] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    assert_eq!(pipeline.next().unwrap().unwrap().len(), 9);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason() {
    let staged = |count: fn(u64) -> Option<u64>| {
        let fan = Fan::new(Yield::AtMostOne, count);
        Staged::new(Arc::new(numbers(5_000, Grain::Sample)), vec![Link::Custom(Arc::new(fan))])
    };
    let text = |result: zenith_data::Result<Staged>| result.err().unwrap().to_string();
    assert!(text(staged(|_| Some(0))).contains("1000 samples that were tried are dropped"));
    assert!(text(staged(|_| None)).contains("fan: it will not have this one"));
    // A sorted source whose first samples are all dropped is no trouble.
    assert!(staged(|sample| Some(u64::from(sample > 2_000))).is_ok());

    let half = Arc::new(staged(|sample| Some(sample % 2)).unwrap());
    let ranks = Cut::Even { batch_size: 10, rank: 0, world: 2, drop_last: false };
    let listed = Cut::Listed(Arc::from([3, 7]));
    for (cut, word) in [(ranks, "2 ranks"), (listed.clone(), "batch_sampler")] {
        let spec = StreamSpec { cut, ..spec(5_000, 10, false, false) };
        let error = Pipeline::new(half.clone(), spec, config(10, 1, OnError::Raise)).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    let mut pipeline =
        Pipeline::new(half, spec(5_000, 10, false, false), config(10, 1, OnError::Raise)).unwrap();
    let listed = StreamSpec { cut: listed, ..spec(5_000, 10, false, false) };
    assert!(pipeline.begin_with(listed, Place::default()).is_err());
    pipeline.begin(Place::default()).unwrap();
    assert_eq!(batch_of(&pipeline.next().unwrap().unwrap())[9], [19, 0, 0]);
}

#[test]
fn a_subset_keeps_the_randomness_of_its_samples() {
    let draws = |source: Arc<dyn Source>, len: u64| {
        let mut pipeline =
            Pipeline::new(source, spec(len, 4, false, false), config(4, 0, OnError::Raise)).unwrap();
        pipeline.begin(Place::new(3, 0)).unwrap();
        let batch = pipeline.next().unwrap().unwrap();
        batch
            .bytes(0)
            .chunks_exact(24)
            .map(|row| u64::from_ne_bytes(row[16..].try_into().unwrap()))
            .collect::<Vec<_>>()
    };
    let make = || {
        let fan = Fan::new(Yield::One, |_| Some(1)).random();
        Arc::new(
            Staged::new(Arc::new(numbers(50, Grain::Sample)), vec![Link::Custom(Arc::new(fan))]).unwrap(),
        )
    };
    let all = draws(make(), 50);
    let some = draws(Arc::new(Subset::new(make(), vec![3, 1, 2, 0]).unwrap()), 4);
    assert_eq!(some, [all[3], all[1], all[2], all[0]]);
    assert_eq!(all, draws(make(), 50));
    assert_ne!(all[0], all[1]);
}

#[test]
fn fields_without_the_name_inputs_are_told() {
    let mut source: Numbers = numbers(5, Grain::Sample);
    source.schema.shape = zenith_data::schema::Shape::Dict;
    source.schema.fields[0].name = "pixels".into();
    let fan = Fan::new(Yield::One, |_| Some(1));
    let error = Staged::new(Arc::new(source), vec![Link::Custom(Arc::new(fan))]).err().unwrap();
    assert!(error.to_string().contains("pixels"), "{error}");
}
