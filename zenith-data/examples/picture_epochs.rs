//! What a cache of pictures gains: `cargo run --release --example picture_epochs -- FOLDER [ROUNDS]` reads the JPEG
//! files directly in FOLDER with the crops of `RandomResizedCrop(224)` and prints pictures per CPU-second of one thread,
//! for the decoder alone by the spacing of its entry points, and for whole samples by the loader's caches.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::path::Path;

use zenith_data::format::jpeg::{DecodeOptions, Decoder, EntropyIndex, parse};
use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::pixels::PixelBuf;
use zenith_data::sampler::rng::SampleRng;
use zenith_data::source::cache_dir::CacheDir;
use zenith_data::source::image_cache::ImageCache;
use zenith_data::source::{self, Filler, OpenOptions, SampleKey, Source, Spent};
use zenith_data::transform::{Mode, Op, Plan};

const OPS: &str = r#"[{"op": "random_resized_crop", "size": [224]}, {"op": "random_horizontal_flip"},
    {"op": "to_tensor"},
    {"op": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}]"#;

/// Entry points this many MCUs apart; the last has one a row.
const SPACINGS: [u16; 4] = [4, 8, 16, u16::MAX];

type Done<T> = Result<T, Box<dyn Error>>;

/// Seconds that this thread has computed.
fn cpu() -> Done<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

fn main() -> Done<()> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().ok_or("give a folder of JPEG files")?;
    let rounds: usize = match arguments.next() {
        Some(rounds) => rounds.to_string_lossy().parse()?,
        None => 5,
    };
    let ops: Vec<Op> = serde_json::from_str(OPS)?;
    let plan = Plan::compile(&ops, Mode::Exact)?;
    decoder_alone(Path::new(&folder), &plan, rounds)?;
    whole_samples(Path::new(&folder), &plan, rounds)
}

fn decoder_alone(folder: &Path, plan: &Plan, rounds: usize) -> Done<()> {
    let mut decoder = Decoder::new();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let bytes = std::fs::read(entry?.path())?;
        // Pictures of several scans have no index.
        if decoder.index(&bytes).is_ok() {
            files.push(bytes);
        }
    }
    let mut indexes = Vec::new();
    for spacing in SPACINGS {
        let made: Result<Vec<_>, _> = files.iter().map(|file| decoder.index_every(file, spacing)).collect();
        let made = made?;
        let mut packed = Vec::new();
        made.iter().for_each(|index| index.pack(&mut packed));
        let total: usize = files.iter().map(Vec::len).sum();
        println!(
            "spacing {spacing}: {:.0} bytes a file, packed; files have {:.0}",
            packed.len() as f64 / files.len() as f64,
            total as f64 / files.len() as f64
        );
        indexes.push(made);
    }
    let mut out = PixelBuf::new();
    let mut best = [f64::MAX; SPACINGS.len() + 2];
    let mut scratch = EntropyIndex::default();
    for _ in 0..rounds {
        for (way, best) in best.iter_mut().enumerate() {
            let started = cpu()?;
            for (id, file) in files.iter().enumerate() {
                let parsed = parse(file)?;
                let header = parsed.header();
                // The same crops every round: the best round is then the least disturbed one.
                let mut rng = SampleRng::new(0, 0, id as u64);
                let view = plan.view(header.width, header.height, &mut rng)?;
                let options = DecodeOptions {
                    region: Some(view.region()),
                    index: indexes.get(way).map(|made| &made[id]),
                    ..DecodeOptions::default()
                };
                if way == SPACINGS.len() + 1 {
                    decoder.decode_indexing(&parsed, &options, u16::MAX, &mut scratch, &mut out)?;
                } else {
                    decoder.decode_parsed(&parsed, &options, &mut out)?;
                }
            }
            *best = best.min(cpu()? - started);
        }
    }
    let names = SPACINGS
        .iter()
        .map(|spacing| format!("index, spacing {spacing}"))
        .chain(["no index".into(), "making one, a row".into()]);
    for (name, seconds) in names.zip(best) {
        println!("decoder, {name}: {:.0} a CPU-second", files.len() as f64 / seconds);
    }
    Ok(())
}

fn whole_samples(folder: &Path, plan: &Plan, rounds: usize) -> Done<()> {
    let caches = [ImageCache::None, ImageCache::Index, ImageCache::Memory];
    let mut loaders = Vec::new();
    for cache in caches {
        let options = OpenOptions {
            transform: Some(plan.clone()),
            pictures: cache,
            cache: CacheDir::none(),
            ..OpenOptions::default()
        };
        let source = source::open(&folder.into(), &options)?;
        let filler = source.filler()?;
        loaders.push((source, filler));
    }
    let mut first = [0.0; 3];
    let mut best = [f64::MAX; 3];
    for epoch in 0..=rounds {
        for (way, (source, filler)) in loaders.iter_mut().enumerate() {
            let seconds = self::epoch(&**source, &mut **filler, epoch as u64)?;
            if epoch == 0 {
                first[way] = seconds;
            } else {
                best[way] = best[way].min(seconds);
            }
        }
    }
    for (way, (source, _)) in loaders.iter().enumerate() {
        let rate = |seconds: f64| source.len() as f64 / seconds;
        println!(
            "samples, cache {}: {:.0} a CPU-second in the first epoch, {:.0} in later ones",
            caches[way].name(),
            rate(first[way]),
            rate(best[way])
        );
        for (name, value) in source.facts() {
            if name.starts_with("cache") {
                println!("    {name}: {value}");
            }
        }
    }
    Ok(())
}

/// CPU-seconds of one epoch in batches of 64.
fn epoch(source: &dyn Source, filler: &mut dyn Filler, epoch: u64) -> Done<f64> {
    let layout = SlotLayout::new(source.schema(), 64)?;
    let mut slab = vec![0; layout.bytes()];
    let started = cpu()?;
    let ids: Vec<u64> = (0..source.len()).collect();
    for batch in ids.chunks(64) {
        let keys: Vec<SampleKey> = batch.iter().map(|&sample| SampleKey { sample, seed: 0, epoch }).collect();
        let mut slots = Slots::of(&mut slab, &layout, keys.len());
        filler.read_ahead(&keys);
        filler.fill(&keys, &mut slots, &mut Spent::default()).map_err(|(_, error)| error)?;
    }
    Ok(cpu()? - started)
}
