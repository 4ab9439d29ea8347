//! Compares the fused transforms with fast_image_resize, alternating in one run: random-resized-crop to 224 pixels and
//! normalised float32 planes, from pictures of ImageNet's usual size. It decodes nothing.
#![expect(clippy::print_stdout, reason = "the result of the program")]
#![expect(clippy::unwrap_used, reason = "a failure must end the program")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use zenith_data::pixels::{PixelBuf, Region};
use zenith_data::sampler::rng::SampleRng;
use zenith_data::transform::{Interpolation, Mode, Op, Plan, Scratch, View};

const WIDTH: u32 = 500;
const HEIGHT: u32 = 375;
const EDGE: u32 = 224;
const SAMPLES: u64 = 64;
const ROUNDS: usize = 40;
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// Smooth waves with some noise: neither flat nor random.
fn picture() -> Vec<u8> {
    let mut rng = SampleRng::new(1, 2, 3);
    let mut pixels = Vec::new();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            for c in 0..3u32 {
                let wave = (f64::from(x * (c + 1)) / 37.0).sin() + (f64::from(y + c) / 23.0).cos();
                let value = 128.0 + 45.0 * wave + rng.uniform(-12.0, 12.0);
                pixels.push(value as u8);
            }
        }
    }
    pixels
}

/// What a decoder that is asked for a region delivers.
fn cut(pixels: &[u8], region: Region) -> PixelBuf {
    let mut buf = PixelBuf::new();
    buf.reset(region.width, region.height, 3);
    let stride = buf.stride();
    for (y, row) in buf.pixels_mut().chunks_exact_mut(stride).enumerate() {
        let from = ((region.y as usize + y) * WIDTH as usize + region.x as usize) * 3;
        row.copy_from_slice(&pixels[from..from + stride]);
    }
    buf
}

struct Rival {
    resizer: Resizer,
    options: ResizeOptions,
    resized: Image<'static>,
}

impl Rival {
    fn new(filter: FilterType) -> Self {
        Self {
            resizer: Resizer::new(),
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)),
            resized: Image::new(EDGE, EDGE, PixelType::U8x3),
        }
    }

    fn resize(&mut self, source: &PixelBuf) {
        let source =
            ImageRef::new(source.width(), source.height(), source.pixels(), PixelType::U8x3).unwrap();
        self.resizer.resize(&source, &mut self.resized, &self.options).unwrap();
    }

    /// Resize, then one pass that normalises into planes.
    fn run(&mut self, source: &PixelBuf, out: &mut [f32]) {
        self.resize(source);
        normalize(self.resized.buffer(), out);
    }
}

fn normalize(rgb: &[u8], out: &mut [f32]) {
    let scale: [f32; 3] = std::array::from_fn(|c| (1.0 / (255.0 * STD[c])) as f32);
    let bias: [f32; 3] = std::array::from_fn(|c| (-MEAN[c] / STD[c]) as f32);
    let (r, rest) = out.split_at_mut(rgb.len() / 3);
    let (g, b) = rest.split_at_mut(rgb.len() / 3);
    for (((pixel, r), g), b) in rgb.chunks_exact(3).zip(r).zip(g).zip(b) {
        *r = f32::from(pixel[0]) * scale[0] + bias[0];
        *g = f32::from(pixel[1]) * scale[1] + bias[1];
        *b = f32::from(pixel[2]) * scale[2] + bias[2];
    }
}

/// The least time that each sample took, in microseconds, summed up: what other programs take from the processor does
/// not count.
struct Best(Vec<Duration>);

impl Best {
    fn time(&mut self, sample: usize, run: impl FnOnce()) {
        let start = Instant::now();
        run();
        self.0[sample] = self.0[sample].min(start.elapsed());
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64() * 1e6 / self.0.len() as f64
    }
}

fn compare(name: &str, interpolation: Interpolation, filter: FilterType, scale: (f64, f64)) {
    let pixels = picture();
    let ops = [
        Op::RandomResizedCrop {
            size: vec![EDGE],
            scale,
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            interpolation,
            antialias: true,
        },
        Op::ToTensor,
        Op::Normalize { mean: MEAN.to_vec(), std: STD.to_vec() },
    ];
    let plan = Plan::compile(&ops, Mode::Exact).unwrap();
    let samples: Vec<(View, PixelBuf)> = (0..SAMPLES)
        .map(|sample| {
            let view = plan.view(WIDTH, HEIGHT, &mut SampleRng::new(0, 0, sample)).unwrap();
            let source = cut(&pixels, view.region());
            (view, source)
        })
        .collect();
    let mut scratch = Scratch::new();
    let mut portable = Scratch::portable();
    let mut rival = Rival::new(filter);
    let mut out = vec![0f32; (EDGE * EDGE * 3) as usize];
    let mut slot = vec![0u8; out.len() * 4];
    let mut best: [Best; 4] = std::array::from_fn(|_| Best(vec![Duration::MAX; samples.len()]));
    let [ours, theirs, resize, slow] = &mut best;
    for round in 0..ROUNDS {
        for (i, (view, source)) in samples.iter().enumerate() {
            ours.time(i, || {
                plan.render(view, source, &mut scratch, black_box(&mut slot)).unwrap();
            });
            theirs.time(i, || rival.run(source, black_box(&mut out)));
            resize.time(i, || rival.resize(black_box(source)));
            if round < 3 {
                slow.time(i, || {
                    plan.render(view, source, &mut portable, black_box(&mut slot)).unwrap();
                });
            }
        }
    }
    let [ours, theirs, resize, portable] = best.map(|best| best.mean());
    println!(
        "{name:28} {ours:7.1} us  {theirs:7.1} us ({resize:.1} us is its resize)  {:5.2} x   portable {portable:.1} us",
        theirs / ours
    );
}

fn main() {
    println!(
        "{WIDTH}x{HEIGHT} -> {EDGE}x{EDGE} float32 planes, per picture: zenith, fast_image_resize, ratio"
    );
    compare("bilinear, area 0.08 to 1", Interpolation::Bilinear, FilterType::Bilinear, (0.08, 1.0));
    compare("bilinear, whole picture", Interpolation::Bilinear, FilterType::Bilinear, (0.99, 1.0));
    compare("bicubic, area 0.08 to 1", Interpolation::Bicubic, FilterType::CatmullRom, (0.08, 1.0));
}
