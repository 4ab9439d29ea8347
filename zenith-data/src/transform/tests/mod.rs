//! Tests of whole plans: against pictures made with Pillow and torchvision (`golden`), and by laws that hold for every
//! picture (`laws`).

mod golden;
mod laws;

use super::{Mode, Op, Plan, Scratch, TransformError, View};
use crate::pixels::PixelBuf;
use crate::sampler::rng::SampleRng;

/// A picture whose pixels are all different from their neighbours.
pub(super) fn picture(width: u32, height: u32) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            pixels.extend((0..3).map(|c| (x * 7 + y * 13 + c * 50 + (x * y) % 11 * 5) as u8));
        }
    }
    pixels
}

/// Operations as they come from Python.
pub(super) fn ops(json: &str) -> Vec<Op> {
    serde_json::from_str(json).unwrap()
}

pub(super) fn plan(json: &str) -> Plan {
    Plan::compile(&ops(json), Mode::Exact).unwrap()
}

pub(super) fn refusal(json: &str) -> String {
    Plan::compile(&ops(json), Mode::Exact).unwrap_err().to_string()
}

/// Renders `view` of a picture, of which only the region asked for is handed over.
pub(super) fn render_view(
    plan: &Plan,
    view: &View,
    pixels: &[u8],
    channels: u8,
    scratch: &mut Scratch,
) -> Vec<u8> {
    let region = view.region();
    let stride =
        view.source_size().0.div_ceil(u32::from(view.scale_denom())) as usize * usize::from(channels);
    let mut source = PixelBuf::new();
    source.reset(region.width, region.height, channels);
    let row_bytes = source.stride();
    for (y, row) in source.pixels_mut().chunks_exact_mut(row_bytes).enumerate() {
        let from = (region.y as usize + y) * stride + region.x as usize * usize::from(channels);
        row.copy_from_slice(&pixels[from..from + row_bytes]);
    }
    let (height, width) = view.output_size();
    let mut out = vec![0xa5; plan.output().bytes(height, width)];
    plan.render(view, &source, scratch, &mut out).unwrap();
    out
}

/// Renders a whole picture with the parameters of `seed`, by both sets of inner loops, which must agree.
pub(super) fn render_seed(json: &str, width: u32, height: u32, pixels: &[u8], seed: u64) -> Vec<u8> {
    let plan = plan(json);
    let view = plan.view(width, height, &mut SampleRng::new(seed, 0, 0)).unwrap();
    let channels = (pixels.len() / (width * height) as usize) as u8;
    let fast = render_view(&plan, &view, pixels, channels, &mut Scratch::new());
    let portable = render_view(&plan, &view, pixels, channels, &mut Scratch::portable());
    assert!(fast == portable, "the inner loops disagree on {json} {view:?}");
    fast
}

pub(super) fn render(json: &str, width: u32, height: u32) -> Vec<u8> {
    render_seed(json, width, height, &picture(width, height), 0)
}

pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
}

pub(super) fn view_error(json: &str, width: u32, height: u32) -> TransformError {
    plan(json).view(width, height, &mut SampleRng::new(0, 0, 0)).unwrap_err()
}
