//! The whole way from files to ordered batches, beside loops that do the same work and nothing else; and what the
//! loader itself costs where samples cost nothing.

use std::fs;
use std::sync::Arc;
use std::thread;

use fast_image_resize::FilterType;
use zenith_data::format::image::ImageOptions;
use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::pipeline::{OnError, Pipeline, PipelineConfig, Place, StreamSpec, worker_threads};
use zenith_data::sampler::rng::SampleRng;
use zenith_data::sampler::{Cut, OrderSpec};
use zenith_data::source::cache_dir::CacheDir;
use zenith_data::source::folder::{FolderBlobs, FolderIndex, Tree};
use zenith_data::source::image::ImageSource;
use zenith_data::source::{SampleKey, Source, Spent};
use zenith_data::transform::{Interpolation, Mode, Plan};
use zenith_runtime_cpu::allocator::PagesWanted;

use super::decode::zune_decode;
use super::tabular::table;
use super::transform::{ResizeThenNormalize, crop};
use super::{Bench, Scenario, float_brightness};
use crate::Failure;
use crate::harness::{Agreement, Contender, Done, Group, Quantity, Race};
use crate::meter::Meter;
use crate::photographs::Photographs;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "pipeline",
    title: "Pipeline",
    about: "Class folders of JPEGs to ordered batches of 64 normalised float32 crops, beside a loop over the same parts \
            and a loop of std::fs, zune-jpeg and fast_image_resize, each on as many threads as the loader uses (its \
            workers, and the consumer, which helps). Then the loader's own price, with samples that cost nothing, and the \
            time from opening the folder to the first batch. A loader starts at most one thread for each processor that \
            the process may use; where that is fewer than its workers, the row says how many.",
    run,
};

const BATCH: usize = 64;
/// Samples that a loop without a loader asks its reader to have on their way.
const AHEAD: usize = 4;

fn failure(error: impl Into<Failure>) -> Failure {
    error.into()
}

/// The pictures as a source, with no trace left on the machine.
fn open(photographs: &Photographs, edge: u32) -> Result<Arc<dyn Source>, Failure> {
    let tree = Tree::scan(photographs.root(), &CacheDir::none())?;
    let blobs = Arc::new(FolderBlobs::new(FolderIndex::classes(tree)?)?);
    Ok(Arc::new(ImageSource::new(blobs, plan(edge)?, ImageOptions::default())?))
}

fn plan(edge: u32) -> Result<Plan, Failure> {
    Ok(Plan::compile(&crop(edge, (0.08, 1.0), Interpolation::Bilinear), Mode::Exact)?)
}

/// Every picture `passes` times, in an order of its own.
fn order(samples: u64, passes: u64) -> Arc<[u64]> {
    let order = OrderSpec::Shuffled.epoch(samples, 1, 0);
    (0..passes * samples).map(|at| order.at(at % samples)).collect()
}

fn loader(source: &Arc<dyn Source>, order: OrderSpec, workers: usize) -> Result<Pipeline, Failure> {
    let spec = StreamSpec {
        order,
        cut: Cut::Even { batch_size: BATCH as u64, rank: 0, world: 1, drop_last: false },
        samples: source.len(),
        seed: 0,
    };
    let config = PipelineConfig {
        batch_size: BATCH,
        workers,
        uncapped: false,
        prefetch: 2,
        on_error: OnError::Raise,
        pages: PagesWanted::Auto,
        node: None,
        cpus: None,
    };
    Ok(Pipeline::new(Arc::clone(source), spec, config)?)
}

/// The sum of labels, each counted from 1.
fn labels(bytes: &[u8]) -> u64 {
    let (labels, _) = bytes.as_chunks::<8>();
    labels.iter().map(|&label| u64::from_ne_bytes(label) + 1).sum()
}

/// Whether a sample holds pixels: its checksum is far from that of zeroes, or of any one value.
fn check_picture(sample: &[u8], edge: u32) -> Result<(), Failure> {
    let plane = edge as usize * edge as usize * 4;
    let sums: Vec<u64> = sample.chunks(plane / 8).map(float_brightness).collect();
    if sums.len() < 24 || sums[1..].iter().all(|sum| *sum == sums[0]) {
        return Err("a sample without a picture".into());
    }
    Ok(())
}

/// One epoch of every picture `passes` times, on a loader of its own.
fn load(source: &Arc<dyn Source>, edge: u32, workers: usize, passes: u64) -> Result<Done, Failure> {
    // A listed order ends where it ends, so that no worker begins another epoch in the time of the next contender.
    let mut pipeline = loader(source, OrderSpec::Listed(order(source.len(), passes)), workers)?;
    pipeline.begin(Place::default())?;
    let mut done = Done::default();
    while let Some(batch) = pipeline.next()? {
        let inputs = batch.bytes(0);
        check_picture(&inputs[..inputs.len() / batch.len()], edge)?;
        done.sum += labels(batch.bytes(1));
        done.units += batch.len() as u64;
    }
    Ok(done)
}

/// Divides the samples among threads; `member` gives each thread the function that makes a sample in a slot of its
/// batch and says its label.
fn bare<M, F>(threads: usize, order: &[u64], member: M) -> Result<Done, Failure>
where
    M: Fn() -> Result<F, Failure> + Sync,
    F: FnMut(&[u64], usize) -> Result<u64, Failure>,
{
    let member = &member;
    let work = |first: usize| -> Result<u64, Failure> {
        let mut make = member()?;
        let own: Vec<u64> = order.iter().skip(first).step_by(threads).copied().collect();
        let mut sum = 0;
        for at in 0..own.len() {
            let upcoming = &own[at..own.len().min(at + AHEAD)];
            sum += make(upcoming, at % BATCH)?;
        }
        Ok(sum)
    };
    let sum = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads).map(|first| scope.spawn(move || work(first))).collect();
        let sums =
            threads.into_iter().map(|thread| thread.join().map_err(|_| failure("a thread panicked"))?);
        sums.sum::<Result<u64, Failure>>()
    })?;
    Ok(Done { units: order.len() as u64, sum, took: None })
}

/// The source's own fillers without a loader around them.
fn same_parts(source: &Arc<dyn Source>, edge: u32, threads: usize, order: &[u64]) -> Result<Done, Failure> {
    bare(threads, order, || {
        let layout = SlotLayout::new(source.schema(), BATCH)?;
        let mut slab = vec![0; layout.bytes()];
        let mut filler = source.filler()?;
        let mut keys = Vec::with_capacity(AHEAD);
        Ok(move |upcoming: &[u64], slot: usize| {
            keys.clear();
            keys.extend(upcoming.iter().map(|&sample| SampleKey { sample, seed: 0, epoch: 0 }));
            filler.read_ahead(&keys);
            let mut slots = Slots::of(&mut slab, &layout, BATCH);
            let mut slots = slots.tail(slot);
            filler.fill(&keys[..1], &mut slots, &mut Spent::default()).map_err(|(_, error)| error)?;
            if slot == 0 {
                check_picture(slots.bytes(0, 0), edge)?;
            }
            Ok(labels(slots.bytes(1, 0)))
        })
    })
}

/// What one would write from crates.io in an afternoon.
fn other_parts(photographs: &Photographs, edge: u32, threads: usize, order: &[u64]) -> Result<Done, Failure> {
    let plan = plan(edge)?;
    bare(threads, order, || {
        let sample = edge as usize * edge as usize * 12;
        let mut slab = vec![0; sample * BATCH];
        let mut pixels = Vec::new();
        let mut resize = ResizeThenNormalize::new(edge, FilterType::Bilinear);
        let plan = &plan;
        Ok(move |upcoming: &[u64], slot: usize| {
            let number = upcoming[0];
            let photograph = &photographs.all[number as usize];
            let (width, height) = photograph.size;
            let part = plan.view(width, height, &mut SampleRng::new(0, 0, number))?.region();
            let bytes = fs::read(&photograph.path)?;
            let size = zune_decode(&bytes, &mut pixels)?;
            let out = &mut slab[slot * sample..][..sample];
            let part = (part.x, part.y, part.width, part.height);
            resize.run((&pixels[..size], width, height), part, out)?;
            if slot == 0 {
                check_picture(out, edge)?;
            }
            Ok(photograph.class as u64 + 1)
        })
    })
}

fn pictures(bench: &mut Bench, photographs: &Photographs, workers: usize) -> Result<Group, Failure> {
    let edge = bench.sizes.edge;
    let source = open(photographs, edge)?;
    let label = workers_of(workers, worker_threads(workers)?);
    let threads = (workers + 1).min(thread::available_parallelism()?.get());
    let samples = source.len();
    let contenders = vec![
        Contender::ours(format!("zenith, {label}"), |passes| load(&source, edge, workers, passes)),
        Contender::rival(format!("loop of the same parts, {}", counted(threads, "thread")), |passes| {
            same_parts(&source, edge, threads, &order(samples, passes))
        }),
        Contender::rival(
            format!("loop of zune-jpeg and fast_image_resize, {}", counted(threads, "thread")),
            |passes| other_parts(photographs, edge, threads, &order(samples, passes)),
        ),
    ];
    bench.race(Race {
        title: format!("pictures to batches, {label}"),
        unit: "pictures",
        quantity: Quantity::Throughput,
        agreement: Agreement::Exact,
        contenders,
        absent: Vec::new(),
    })
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// So many workers, and how many threads they are where those are fewer.
fn workers_of(asked: usize, threads: usize) -> String {
    let workers = counted(asked, "worker");
    if threads == asked { workers } else { format!("{workers} ({})", counted(threads, "thread")) }
}

fn overhead(bench: &mut Bench) -> Result<Group, Failure> {
    let batches = bench.sizes.batches;
    let rows = usize::try_from(batches)? * BATCH;
    let source: Arc<dyn Source> = Arc::new(table(rows, 1)?);
    let layout = SlotLayout::new(source.schema(), BATCH)?;
    let mut slab = vec![0; layout.bytes()];
    let mut filler = source.filler()?;
    let mut keys = Vec::with_capacity(BATCH);
    let mut contenders: Vec<Contender<'_>> = [1, 2, 4, 8, 16]
        .into_iter()
        .map(|workers| {
            let source = &source;
            let label = workers_of(workers, worker_threads(workers)?);
            Ok(Contender::ours(format!("zenith, {label}"), move |passes| {
                let mut pipeline = loader(source, OrderSpec::Shuffled, workers)?;
                let mut done = Done::default();
                for epoch in 0..passes {
                    pipeline.begin(Place::new(epoch, 0))?;
                    while let Some(batch) = pipeline.next()? {
                        done.sum += labels(batch.bytes(1));
                        done.units += 1;
                    }
                }
                Ok(done)
            }))
        })
        .collect::<Result<_, Failure>>()?;
    contenders.push(Contender::rival("no loader, the same filling", |passes| {
        let mut done = Done::default();
        for epoch in 0..passes {
            let order = OrderSpec::Shuffled.epoch(rows as u64, 0, epoch);
            for first in (0..rows as u64).step_by(BATCH) {
                keys.clear();
                keys.extend((first..first + BATCH as u64).map(|at| SampleKey {
                    sample: order.at(at),
                    seed: 0,
                    epoch,
                }));
                let mut slots = Slots::of(&mut slab, &layout, BATCH);
                filler.fill(&keys, &mut slots, &mut Spent::default()).map_err(|(_, error)| error)?;
                done.sum += labels(slots.column(1));
                done.units += 1;
            }
        }
        Ok(done)
    }));
    bench.race(Race {
        title: format!("a batch of {BATCH} rows of one float"),
        unit: "batches",
        quantity: Quantity::Latency,
        agreement: Agreement::Exact,
        contenders,
        absent: Vec::new(),
    })
}

fn first_batch(bench: &mut Bench, photographs: &Photographs) -> Result<Group, Failure> {
    let edge = bench.sizes.edge;
    let threads = thread::available_parallelism()?.get();
    let samples = open(photographs, edge)?.len();
    let first: Vec<u64> = order(samples, 1).iter().copied().take(BATCH).collect();
    let ours = |passes| {
        let mut done = Done::default();
        let mut took = crate::meter::Cost::default();
        for _ in 0..passes {
            let meter = Meter::start();
            let source = open(photographs, edge)?;
            let mut pipeline = loader(&source, OrderSpec::Listed(first.clone().into()), threads)?;
            pipeline.begin(Place::default())?;
            let batch = pipeline.next()?.ok_or("an epoch without a batch")?;
            let cost = meter.read();
            took.wall += cost.wall;
            took.cpu += cost.cpu;
            done.sum += labels(batch.bytes(1));
            done.units += 1;
        }
        Ok(Done { took: Some(took), ..done })
    };
    let bare = |passes| {
        let mut done = Done::default();
        for _ in 0..passes {
            let source = open(photographs, edge)?;
            done.sum += same_parts(&source, edge, threads, &first)?.sum;
            done.units += 1;
        }
        Ok(done)
    };
    bench.race(Race {
        title: format!("from opening the folder to the first batch of {}", counted(first.len(), "picture")),
        unit: "batches",
        quantity: Quantity::Latency,
        agreement: Agreement::Exact,
        contenders: vec![
            Contender::ours(format!("zenith, {}", counted(threads, "worker")), ours),
            Contender::rival(format!("loop of the same parts, {}", counted(threads, "thread")), bare),
        ],
        absent: Vec::new(),
    })
}

fn run(bench: &mut Bench) -> Result<Vec<Group>, Failure> {
    let photographs = bench.photographs()?;
    Ok(vec![
        pictures(bench, &photographs, 1)?,
        pictures(bench, &photographs, 2)?,
        overhead(bench)?,
        first_batch(bench, &photographs)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_how_many_threads_its_workers_are() {
        assert_eq!(workers_of(1, 1), "1 worker");
        assert_eq!(workers_of(16, 2), "16 workers (2 threads)");
        assert_eq!(workers_of(2, 1), "2 workers (1 thread)");
    }
}
