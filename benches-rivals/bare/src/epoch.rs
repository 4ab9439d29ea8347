//! The loop over an epoch: threads take the next sample of a shuffled list until there is none.

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Config;
use crate::crop::Rng;
use crate::meter;
use crate::picture::Worker;

/// The data set: class folders in sorted order.
pub struct Files {
    paths: Vec<(PathBuf, usize)>,
    classes: usize,
}

impl Files {
    pub fn list(root: &Path) -> Result<Self, Box<dyn Error>> {
        let mut folders = sorted(root)?;
        folders.retain(|path| path.is_dir());
        let mut paths = Vec::new();
        for (label, folder) in folders.iter().enumerate() {
            paths.extend(sorted(folder)?.into_iter().map(|path| (path, label)));
        }
        if paths.is_empty() {
            return Err(format!("{}: no files in class folders", root.display()).into());
        }
        Ok(Self {
            paths,
            classes: folders.len(),
        })
    }
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

/// One thread's decoder and its batch slots, kept from epoch to epoch.
pub struct Member {
    worker: Worker,
    batch: Vec<f32>,
}

impl Member {
    pub fn new(config: &Config) -> Result<Self, String> {
        let worker = Worker::new(config.size)?;
        let batch = vec![0f32; worker.floats() * config.batch_size];
        Ok(Self { worker, batch })
    }
}

/// Loads every sample once and returns the epoch's record in the harness's shape.
pub fn run(
    files: &Files,
    config: &Config,
    team: &mut [Member],
    number: u64,
) -> Result<Value, Box<dyn Error>> {
    let cpu = meter::cpu_seconds();
    let start = Instant::now();
    let mut order: Vec<usize> = (0..files.paths.len()).collect();
    Rng::new(config.seed, number, u64::MAX).shuffle(&mut order);
    let next = AtomicUsize::new(0);
    let finished = AtomicUsize::new(0);
    let first_batch = OnceLock::new();
    let whole_batch = config.batch_size.min(order.len());

    let work = |member: &mut Member| -> Result<(Vec<u64>, f64), String> {
        let Member { worker, batch } = member;
        let floats = worker.floats();
        let mut counts = vec![0; files.classes];
        let mut touched = 0.0;
        for slot in (0..config.batch_size).cycle() {
            let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            let (path, label) = &files.paths[index];
            let out = &mut batch[slot * floats..][..floats];
            worker.load(path, &mut Rng::new(config.seed, number, index as u64), out)?;
            counts[*label] += 1;
            touched += f64::from(out[floats - 1]);
            if finished.fetch_add(1, Ordering::Relaxed) + 1 == whole_batch {
                first_batch.get_or_init(|| start.elapsed().as_secs_f64());
            }
        }
        Ok((counts, touched))
    };

    let mut label_counts = vec![0u64; files.classes];
    let mut touched = 0.0;
    thread::scope(|scope| -> Result<(), String> {
        let work = &work;
        let threads: Vec<_> = team
            .iter_mut()
            .map(|member| scope.spawn(move || work(member)))
            .collect();
        for thread in threads {
            let (counts, sum) = thread.join().map_err(|_| "a thread panicked".to_owned())??;
            touched += sum;
            for (total, count) in label_counts.iter_mut().zip(counts) {
                *total += count;
            }
        }
        Ok(())
    })?;
    let samples: u64 = label_counts.iter().sum();
    Ok(json!({
        "samples": samples,
        "batches": samples.div_ceil(config.batch_size as u64),
        "wall_seconds": start.elapsed().as_secs_f64(),
        "cpu_seconds": meter::cpu_seconds() - cpu,
        "first_batch_seconds": first_batch.get(),
        "complete": true,
        "label_counts": label_counts,
        "touched": touched,
    }))
}

/// Statistics of some samples, for the harness's check that these are normalised pictures.
pub fn sanity(files: &Files, config: &Config, samples: usize) -> Result<Value, Box<dyn Error>> {
    let mut order: Vec<usize> = (0..files.paths.len()).collect();
    Rng::new(config.seed, config.epochs, u64::MAX).shuffle(&mut order);
    order.truncate(samples);
    let mut worker = Worker::new(config.size)?;
    let mut slot = vec![0f32; worker.floats()];
    let plane = slot.len() / 3;
    let (mut means, mut deviations) = ([0f64; 3], [0f64; 3]);
    let mut distinct = HashSet::new();
    for &index in &order {
        worker.load(
            &files.paths[index].0,
            &mut Rng::new(config.seed, config.epochs, index as u64),
            &mut slot,
        )?;
        for (channel, values) in slot.chunks_exact(plane).enumerate() {
            let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / plane as f64;
            let square = values
                .iter()
                .map(|&value| (f64::from(value) - mean).powi(2))
                .sum::<f64>()
                / plane as f64;
            means[channel] += mean / order.len() as f64;
            deviations[channel] += square.sqrt() / order.len() as f64;
        }
        distinct.insert(
            slot.iter()
                .step_by(97)
                .map(|value| value.to_bits())
                .collect::<Vec<_>>(),
        );
    }
    Ok(json!({
        "shape": [[3, config.size, config.size]],
        "dtype": ["float32"],
        "layout": "NCHW",
        "channel_mean": means,
        "channel_deviation": deviations,
        "samples": order.len(),
        "distinct_samples": distinct.len(),
    }))
}
