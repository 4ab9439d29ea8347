//! Decodes every JPEG of a folder with Zenith, libjpeg-turbo and zune-jpeg in alternating passes of one process and
//! prints pictures per CPU second of each and their ratios: whole pictures and random-resized-crop regions.
//! Not a test of correctness beyond comparing the pixels of whole pictures once.
//!
//! Usage: zenith-rivals-jpeg FOLDER [ROUNDS] [MODE,...]

mod turbo;

use std::{env, error::Error, fs, path::Path};

use turbo::Turbo;
use zenith_data::format::jpeg::{DecodeOptions, Decoder, EntropyIndex, parse};
use zenith_data::pixels::{PixelBuf, Region};
use zune_jpeg::zune_core::{bytestream::ZCursor, options::DecoderOptions as ZuneOptions};

/// One picture and what is asked of it.
struct Task {
    bytes: Vec<u8>,
    region: Region,
    index: Option<EntropyIndex>,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A region as random-resized-crop draws it: area 0.08..1, ratio 3/4..4/3.
    fn region(&mut self, width: u32, height: u32) -> Region {
        for _ in 0..10 {
            let area = f64::from(width) * f64::from(height) * (0.08 + 0.92 * self.unit());
            let ratio = ((0.75_f64).ln() + self.unit() * ((4.0_f64 / 3.0).ln() - (0.75_f64).ln())).exp();
            let (w, h) = (
                (area * ratio).sqrt().round() as u32,
                (area / ratio).sqrt().round() as u32,
            );
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let x = (self.unit() * f64::from(width - w + 1)) as u32;
                let y = (self.unit() * f64::from(height - h + 1)) as u32;
                return Region {
                    x,
                    y,
                    width: w,
                    height: h,
                };
            }
        }
        let side = width.min(height);
        Region {
            x: (width - side) / 2,
            y: (height - side) / 2,
            width: side,
            height: side,
        }
    }
}

/// CPU time of this thread in seconds.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the one timespec the call writes.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn read_folder(folder: &Path) -> Result<Vec<Task>, Box<dyn Error>> {
    let mut paths: Vec<_> = fs::read_dir(folder)?
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .map(|e| e.path())
        .collect();
    paths.sort();
    let mut random = Random(7);
    let mut decoder = Decoder::new();
    let mut tasks = Vec::new();
    for path in paths {
        let bytes = fs::read(&path)?;
        let Ok(parsed) = parse(&bytes) else { continue };
        let region = random.region(parsed.header().width, parsed.header().height);
        let index = decoder.index(&bytes).ok();
        tasks.push(Task { bytes, region, index });
    }
    Ok(tasks)
}

type Job<'a> = (
    &'static str,
    Box<dyn FnMut(&Task) -> Result<(), Box<dyn Error>> + 'a>,
);

fn measure(title: &str, tasks: &[Task], rounds: usize, jobs: &mut [Job<'_>]) -> Result<(), Box<dyn Error>> {
    let mut seconds = vec![Vec::new(); jobs.len()];
    for round in 0..=rounds {
        for (job, times) in jobs.iter_mut().zip(&mut seconds) {
            let start = cpu_seconds();
            for task in tasks {
                (job.1)(task)?;
            }
            if round > 0 {
                times.push(cpu_seconds() - start);
            }
        }
    }
    println!(
        "{title} ({} pictures, median and best of {rounds} rounds)",
        tasks.len()
    );
    let mut reference = None;
    for ((name, _), times) in jobs.iter().zip(&mut seconds) {
        times.sort_by(f64::total_cmp);
        let (median, best) = (times[times.len() / 2], times[0]);
        let (rate, top) = (tasks.len() as f64 / median, tasks.len() as f64 / best);
        let (base, base_top) = *reference.get_or_insert((rate, top));
        println!(
            "  {name:<24} {rate:8.0} /cpu-s  {:5.2}x   best {top:8.0} /cpu-s  {:5.2}x",
            rate / base,
            top / base_top
        );
    }
    Ok(())
}

fn compare(tasks: &[Task]) -> Result<(), Box<dyn Error>> {
    let (mut decoder, mut turbo) = (Decoder::new(), Turbo::new()?);
    let (mut out, mut part) = (PixelBuf::new(), PixelBuf::new());
    for task in tasks {
        decoder.decode(&task.bytes, &DecodeOptions::default(), &mut out)?;
        assert_eq!(
            out.pixels(),
            turbo.decode(&task.bytes, None)?,
            "pixels differ from libjpeg-turbo's"
        );
        let (region, channels) = (task.region, usize::from(out.channels()));
        let columns = region.x as usize * channels..(region.x + region.width) as usize * channels;
        for index in [None, task.index.as_ref()] {
            let options = DecodeOptions {
                region: Some(region),
                index,
                ..DecodeOptions::default()
            };
            decoder.decode(&task.bytes, &options, &mut part)?;
            let wanted = out.pixels().chunks_exact(out.stride()).skip(region.y as usize);
            for (row, whole) in part.pixels().chunks_exact(part.stride()).zip(wanted) {
                assert_eq!(row, &whole[columns.clone()], "a region differs from the whole");
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = arguments
        .next()
        .ok_or("usage: zenith-rivals-jpeg FOLDER [ROUNDS] [MODE,...]")?;
    let rounds = arguments.next().map_or(Ok(7), |rounds| rounds.parse())?;
    let modes = arguments.next().unwrap_or_else(|| "full,crop".to_owned());
    let tasks = read_folder(Path::new(&folder))?;
    compare(&tasks)?;
    let (mut fast, mut portable, mut indexed) = (Decoder::new(), Decoder::portable(), Decoder::new());
    let (mut turbo, mut out) = (Turbo::new()?, [PixelBuf::new(), PixelBuf::new(), PixelBuf::new()]);
    let [out0, out1, out2] = &mut out;
    if modes.contains("full") {
        let whole = DecodeOptions::default();
        measure(
            "whole pictures",
            &tasks,
            rounds,
            &mut [
                (
                    "libjpeg-turbo",
                    Box::new(|task| turbo.decode(&task.bytes, None).map(|_| ())),
                ),
                (
                    "zenith",
                    Box::new(|task| Ok(fast.decode(&task.bytes, &whole, out0)?)),
                ),
                (
                    "zenith, portable",
                    Box::new(|task| Ok(portable.decode(&task.bytes, &whole, out1)?)),
                ),
                (
                    "zune-jpeg",
                    Box::new(|task| {
                        let options = ZuneOptions::default();
                        zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(&task.bytes), options)
                            .decode()
                            .map_err(|error| format!("{error:?}"))?;
                        Ok(())
                    }),
                ),
            ],
        )?;
    }
    if modes.contains("crop") {
        let cropped = |task: &Task| DecodeOptions {
            region: Some(task.region),
            ..DecodeOptions::default()
        };
        measure(
            "random-resized-crop regions",
            &tasks,
            rounds,
            &mut [
                (
                    "libjpeg-turbo",
                    Box::new(|task| turbo.decode(&task.bytes, Some(task.region)).map(|_| ())),
                ),
                (
                    "zenith",
                    Box::new(|task| Ok(fast.decode(&task.bytes, &cropped(task), out0)?)),
                ),
                (
                    "zenith, portable",
                    Box::new(|task| Ok(portable.decode(&task.bytes, &cropped(task), out1)?)),
                ),
                (
                    "zenith, with an index",
                    Box::new(|task| {
                        let options = DecodeOptions {
                            index: task.index.as_ref(),
                            ..cropped(task)
                        };
                        Ok(indexed.decode(&task.bytes, &options, out2)?)
                    }),
                ),
            ],
        )?;
    }
    Ok(())
}
