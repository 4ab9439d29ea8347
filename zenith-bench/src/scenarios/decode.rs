//! JPEG to pixels on one thread: whole, only a crop, and at half size.

use zenith_data::format::jpeg::{DecodeOptions, Decoder, EntropyIndex, Scale};
use zenith_data::pixels::{PixelBuf, Region};
use zenith_data::sampler::rng::SampleRng;
use zenith_data::transform::{Interpolation, Mode, Op, Plan};

use super::{Bench, Scenario, brightness};
use crate::Failure;
use crate::harness::{Agreement, Contender, Done, Group, Quantity, Race};
use crate::photographs::Photographs;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "decode",
    title: "JPEG decoding",
    about: "Encoded bytes in memory to RGB pixels: Zenith's decoder beside zune-jpeg and jpeg-decoder (which starts \
            threads of its own: look at its processor time). Regions are those of random-resized-crop, 8 to 100 % of the \
            area; the rivals decode the whole picture and cut. An entropy index is made once for each picture and lets \
            the decoder begin near the region.",
    run,
};

/// Decoders differ in how they smooth colour and round.
const NEAR: Agreement = Agreement::Near(0.02);

/// One picture and the part of it that is wanted.
struct Task<'a> {
    bytes: &'a [u8],
    size: (u32, u32),
    region: Region,
    index: Option<EntropyIndex>,
}

fn tasks(photographs: &Photographs) -> Result<Vec<Task<'_>>, Failure> {
    let crop = Op::RandomResizedCrop {
        size: vec![224],
        scale: (0.08, 1.0),
        ratio: (3.0 / 4.0, 4.0 / 3.0),
        interpolation: Interpolation::Bilinear,
        antialias: true,
    };
    let plan = Plan::compile(&[crop], Mode::Exact)?;
    let mut decoder = Decoder::new();
    photographs
        .all
        .iter()
        .zip(0..)
        .map(|(photograph, n)| {
            let (width, height) = photograph.size;
            Ok(Task {
                bytes: &photograph.bytes,
                size: photograph.size,
                region: plan.view(width, height, &mut SampleRng::new(7, 0, n))?.region(),
                // Pictures of several scans have none.
                index: decoder.index(&photograph.bytes).ok(),
            })
        })
        .collect()
}

/// Decodes every picture `passes` times by `decode`, which gives the checksum.
fn each<'a>(
    tasks: &'a [Task<'a>],
    mut decode: impl FnMut(&Task<'_>) -> Result<u64, Failure> + 'a,
) -> impl FnMut(u64) -> Result<Done, Failure> + 'a {
    move |passes| {
        let mut sum = 0;
        for _ in 0..passes {
            for task in tasks {
                sum += decode(task)?;
            }
        }
        Ok(Done { units: passes * tasks.len() as u64, sum, took: None })
    }
}

/// How Zenith decodes a task.
fn options<'a>(task: &'a Task<'_>, cut: bool, indexed: bool, scale: Scale) -> DecodeOptions<'a> {
    DecodeOptions {
        region: cut.then_some(task.region),
        index: task.index.as_ref().filter(|_| indexed),
        scale,
        ..DecodeOptions::default()
    }
}

fn ours<'a>(
    name: &str,
    tasks: &'a [Task<'a>],
    mut decoder: Decoder,
    (cut, indexed, scale): (bool, bool, Scale),
) -> Contender<'a> {
    let mut out = PixelBuf::new();
    Contender::ours(
        name,
        each(tasks, move |task| {
            decoder.decode(task.bytes, &options(task, cut, indexed, scale), &mut out)?;
            Ok(brightness(out.pixels()))
        }),
    )
}

/// Cuts the region out of a whole picture into `out`.
fn cut<'o>(pixels: &[u8], task: &Task<'_>, out: &'o mut Vec<u8>) -> &'o [u8] {
    let Region { x, y, width, height } = task.region;
    let row = task.size.0 as usize * 3;
    out.clear();
    for line in pixels.chunks_exact(row).skip(y as usize).take(height as usize) {
        out.extend_from_slice(&line[x as usize * 3..(x + width) as usize * 3]);
    }
    out
}

fn zune<'a>(tasks: &'a [Task<'a>], cuts: bool) -> Contender<'a> {
    let (mut pixels, mut part) = (Vec::new(), Vec::new());
    Contender::rival(
        "zune-jpeg",
        each(tasks, move |task| {
            let size = zune_decode(task.bytes, &mut pixels)?;
            Ok(brightness(if cuts { cut(&pixels[..size], task, &mut part) } else { &pixels[..size] }))
        }),
    )
}

/// Decodes to RGB at the front of `pixels`, which is kept; gives the bytes.
pub(super) fn zune_decode(bytes: &[u8], pixels: &mut Vec<u8>) -> Result<usize, Failure> {
    let mut decoder = zune_jpeg::JpegDecoder::new(zune_jpeg::zune_core::bytestream::ZCursor::new(bytes));
    decoder.decode_headers().map_err(|error| format!("{error:?}"))?;
    let size = decoder.output_buffer_size().ok_or("a picture without a size")?;
    if pixels.len() < size {
        pixels.resize(size, 0);
    }
    decoder.decode_into(&mut pixels[..size]).map_err(|error| format!("{error:?}"))?;
    Ok(size)
}

fn jpeg_decoder<'a>(tasks: &'a [Task<'a>], cuts: bool, halves: bool) -> Contender<'a> {
    let mut part = Vec::new();
    Contender::rival(
        "jpeg-decoder",
        each(tasks, move |task| {
            let mut decoder = jpeg_decoder::Decoder::new(task.bytes);
            if halves {
                let half = |edge: u32| u16::try_from(edge.div_ceil(2));
                decoder.scale(half(task.size.0)?, half(task.size.1)?)?;
            }
            let pixels = decoder.decode()?;
            Ok(brightness(if cuts { cut(&pixels, task, &mut part) } else { &pixels }))
        }),
    )
}

fn run(bench: &mut Bench) -> Result<Vec<Group>, Failure> {
    let photographs = bench.photographs()?;
    let tasks = tasks(&photographs)?;
    let races = [
        (
            "whole pictures",
            vec![
                ours("zenith", &tasks, Decoder::new(), (false, false, Scale::Full)),
                ours("zenith, portable code", &tasks, Decoder::portable(), (false, false, Scale::Full)),
                zune(&tasks, false),
                jpeg_decoder(&tasks, false, false),
            ],
        ),
        (
            "random-resized-crop regions",
            vec![
                ours("zenith", &tasks, Decoder::new(), (true, false, Scale::Full)),
                ours("zenith, with an entropy index", &tasks, Decoder::new(), (true, true, Scale::Full)),
                zune(&tasks, true),
                jpeg_decoder(&tasks, true, false),
            ],
        ),
        (
            "at half size",
            vec![
                ours("zenith", &tasks, Decoder::new(), (false, false, Scale::Half)),
                jpeg_decoder(&tasks, false, true),
            ],
        ),
    ];
    races
        .into_iter()
        .map(|(title, contenders)| {
            bench.race(Race {
                title: title.to_owned(),
                unit: "pictures",
                quantity: Quantity::Throughput,
                agreement: NEAR,
                contenders,
                absent: Vec::new(),
            })
        })
        .collect()
}
