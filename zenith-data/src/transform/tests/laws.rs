//! Laws of plans: what must hold for every picture, size and seed.

use proptest::prelude::*;

use super::{floats, picture, plan, render, render_seed, render_view};
use crate::DType;
use crate::pixels::{PixelBuf, Region};
use crate::sampler::rng::SampleRng;
use crate::transform::{Mode, Order, Plan, Scratch, TransformError};

/// Cuts a window out of interleaved RGB.
fn cut(rgb: &[u8], width: usize, window: Region) -> Vec<u8> {
    (window.y as usize..(window.y + window.height) as usize)
        .flat_map(|y| &rgb[(y * width + window.x as usize) * 3..][..window.width as usize * 3])
        .copied()
        .collect()
}

const LAST: &str = r#"{"op": "channels_last"}"#;
const INTERPOLATIONS: [&str; 7] =
    ["nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_window_of_a_resize_is_the_crop_of_the_whole(
        (width, height) in (1u32..90, 1u32..90),
        (to_width, to_height) in (9u32..70, 9u32..70),
        edge in 1u32..9,
        which in 0usize..7,
        tensor: bool,
    ) {
        let interpolation = INTERPOLATIONS[which];
        prop_assume!(!tensor || !matches!(interpolation, "box" | "hamming"));
        let start = if tensor { r#"{"op": "to_image"},"# } else { "" };
        let resize = format!(
            r#"{start}{{"op": "resize", "size": [{to_height}, {to_width}], "interpolation": "{interpolation}"}}"#
        );
        let whole = render(&format!("[{resize}, {LAST}]"), width, height);
        let crop = format!(r#"[{resize}, {{"op": "center_crop", "size": [{edge}]}}, {LAST}]"#);
        let window = render(&crop, width, height);
        let middle = |length: u32| (f64::from(length - edge) / 2.0).round_ties_even() as u32;
        let at = Region { x: middle(to_width), y: middle(to_height), width: edge, height: edge };
        prop_assert_eq!(window, cut(&whole, to_width as usize, at));
    }

    #[test]
    fn mirrored_twice_is_not_mirrored(
        (width, height) in (1u32..60, 1u32..60),
        edge in 1u32..50,
        flip in prop::sample::select(vec!["random_horizontal_flip", "random_vertical_flip"]),
    ) {
        let flip = format!(r#"{{"op": "{flip}", "p": 1}}"#);
        let crop = format!(r#"{{"op": "center_crop", "size": [{edge}]}}"#);
        let resize = format!(r#"{{"op": "resize", "size": [{edge}, 13]}}"#);
        for middle in [crop, resize] {
            let plain = render(&format!("[{middle}]"), width, height);
            prop_assert_eq!(&render(&format!("[{middle}, {flip}, {flip}]"), width, height), &plain);
            // Around the operation as well, which turns places and phases about.
            let around = render(&format!("[{flip}, {middle}, {flip}]"), width, height);
            let most = around.iter().zip(&plain).map(|(a, b)| a.abs_diff(*b)).max();
            let even = middle.contains("resize") || [width, height].iter().all(|l| l.abs_diff(edge) % 2 == 0);
            prop_assert!(!even || most <= Some(1), "{middle}: {most:?}");
        }
    }

    #[test]
    fn floats_are_normalised_bytes(
        (width, height) in (1u32..40, 1u32..40),
        mean in prop::array::uniform3(0.1f64..0.9),
        std in prop::array::uniform3(0.1f64..0.9),
    ) {
        let resize = r#"{"op": "resize", "size": [11, 21]}"#;
        let normalize = format!(r#"{{"op": "to_tensor"}}, {{"op": "normalize", "mean": {mean:?}, "std": {std:?}}}"#);
        for geometry in [resize, r#"{"op": "random_vertical_flip", "p": 1}"#] {
            let bytes = render(&format!("[{geometry}]"), width, height);
            let values = floats(&render(&format!("[{geometry}, {normalize}]"), width, height));
            prop_assert_eq!(values.len(), bytes.len());
            let plane = bytes.len() / 3;
            for (i, (&value, &byte)) in values.iter().zip(&bytes).enumerate() {
                let wanted = (f64::from(byte) / 255.0 - mean[i / plane]) / std[i / plane];
                prop_assert!((f64::from(value) - wanted).abs() <= 2e-6, "{value} {wanted}");
            }
        }
    }

    #[test]
    fn every_order_and_type_holds_the_same_picture(
        (width, height) in (1u32..70, 1u32..70),
        seed: u64,
    ) {
        let rrc = r#"{"op": "random_resized_crop", "size": [19, 37]}, {"op": "random_horizontal_flip"}"#;
        let pixels = picture(width, height);
        let made = |rest: &str| render_seed(&format!("[{rrc}{rest}]"), width, height, &pixels, seed);
        let chw = made("");
        let hwc = made(r#", {"op": "channels_last"}"#);
        let float = floats(&made(r#", {"op": "to_dtype", "dtype": "float32"}"#));
        let last = floats(&made(r#", {"op": "to_dtype", "dtype": "float32"}, {"op": "channels_last"}"#));
        let half = made(r#", {"op": "to_dtype", "dtype": "float16"}"#);
        let plane = chw.len() / 3;
        for i in 0..chw.len() {
            let (c, at) = (i / plane, i % plane);
            prop_assert_eq!(chw[i], hwc[at * 3 + c]);
            prop_assert_eq!(f32::from(chw[i]), float[i]);
            prop_assert_eq!(f32::from(chw[i]), last[at * 3 + c]);
            // Whole numbers up to 255 have an exact half: exponent and mantissa by hand.
            let bits = u16::from_ne_bytes([half[2 * i], half[2 * i + 1]]);
            let value = if bits == 0 {
                0.0
            } else {
                (1.0 + f32::from(bits & 0x3ff) / 1024.0) * 2f32.powi(i32::from(bits >> 10) - 15)
            };
            prop_assert_eq!(value, f32::from(chw[i]));
        }
    }

    #[test]
    fn any_list_stays_inside_its_region_and_slot(
        (width, height) in (1u32..120, 1u32..120),
        seed: u64,
        edges in prop::array::uniform3(1u32..60),
        order in Just([0usize, 1, 2, 3, 4, 5]).prop_shuffle(),
        gray: bool,
        fast: bool,
    ) {
        let [a, b, c] = edges;
        let all = [
            format!(r#"{{"op": "resize", "size": [{a}], "interpolation": "bicubic"}}"#),
            format!(r#"{{"op": "center_crop", "size": [{b}, {c}]}}"#),
            format!(r#"{{"op": "random_crop", "size": [{c}], "padding": [2, 5], "pad_if_needed": true, "fill": 9}}"#),
            format!(r#"{{"op": "random_resized_crop", "size": [{b}], "scale": [0.01, 1]}}"#),
            r#"{"op": "random_horizontal_flip"}, {"op": "random_vertical_flip"}"#.to_owned(),
            r#"{"op": "color_jitter", "contrast": [0.5, 2], "hue": [-0.5, 0.5]}"#.to_owned(),
        ];
        let json = format!("[{}]", order.map(|i| all[i].as_str()).join(", "));
        if fast {
            let plan = Plan::compile(&super::ops(&json), Mode::Fast).unwrap();
            let view = plan.view(width, height, &mut SampleRng::new(seed, 0, 0)).unwrap();
            let denom = u32::from(view.scale_denom());
            let (w, h) = (width.div_ceil(denom), height.div_ceil(denom));
            render_view(&plan, &view, &picture(w, h), 3, &mut Scratch::new());
        } else {
            let channels = if gray { 1 } else { 3 };
            let pixels: Vec<u8> = picture(width, height).chunks(3).flat_map(|p| &p[..channels]).copied().collect();
            render_seed(&json, width, height, &pixels, seed);
        }
    }

    #[test]
    fn a_gray_source_is_its_rgb_twin((width, height) in (1u32..50, 1u32..50), seed: u64) {
        let json = r#"[{"op": "random_resized_crop", "size": [23]}, {"op": "random_horizontal_flip"}, {"op": "to_tensor"}]"#;
        let gray: Vec<u8> = picture(width, height).chunks(3).map(|p| p[0]).collect();
        let rgb: Vec<u8> = gray.iter().flat_map(|&v| [v; 3]).collect();
        prop_assert_eq!(
            render_seed(json, width, height, &gray, seed),
            render_seed(json, width, height, &rgb, seed)
        );
    }
}

#[test]
fn an_empty_list_is_to_image() {
    let plan = plan("[]");
    let output = plan.output();
    assert_eq!(
        (output.dtype, output.order, output.channels, output.size),
        (DType::UInt8, Order::Chw, 3, None)
    );
    let pixels = picture(5, 4);
    let planes: Vec<u8> = (0..3).flat_map(|c| pixels.iter().skip(c).step_by(3).copied()).collect();
    assert_eq!(render("[]", 5, 4), planes);
}

#[test]
fn the_output_is_known_where_it_does_not_depend_on_the_sample() {
    for (json, size) in [
        (r#"[{"op": "resize", "size": [8]}]"#, None),
        (r#"[{"op": "resize", "size": [8, 9]}]"#, Some((8, 9))),
        (r#"[{"op": "resize", "size": [8]}, {"op": "center_crop", "size": [7, 6]}]"#, Some((7, 6))),
        (
            r#"[{"op": "random_resized_crop", "size": [10, 20]}, {"op": "resize", "size": [5]}]"#,
            Some((5, 10)),
        ),
        (r#"[{"op": "random_crop", "size": [32], "padding": [4]}]"#, Some((32, 32))),
    ] {
        assert_eq!(plan(json).output().size, size, "{json}");
    }
    let gray = plan(
        r#"[{"op": "grayscale"}, {"op": "to_tensor"}, {"op": "normalize", "mean": [0.5], "std": [0.5]}]"#,
    );
    assert_eq!((gray.output().channels, gray.output().bytes(2, 3)), (1, 24));
}

#[test]
fn the_key_alone_decides_the_parameters() {
    let json = r#"[{"op": "random_resized_crop", "size": [32]}, {"op": "random_horizontal_flip"},
        {"op": "color_jitter", "brightness": [0.5, 1.5], "hue": [-0.1, 0.1]}, {"op": "random_grayscale"}]"#;
    let plan = plan(json);
    let view = |seed, epoch, sample| plan.view(300, 200, &mut SampleRng::new(seed, epoch, sample)).unwrap();
    for sample in 0..50 {
        assert_eq!(view(1, 2, sample), view(1, 2, sample));
        assert_ne!(view(1, 2, sample), view(1, 3, sample));
        assert_ne!(view(1, 2, sample), view(1, 2, sample + 1));
    }
}

#[test]
fn random_parts_have_torchvisions_distribution() {
    let plan =
        plan(r#"[{"op": "random_resized_crop", "size": [16]}, {"op": "random_horizontal_flip", "p": 0.25}]"#);
    let (width, height) = (1000u32, 1000u32);
    let samples = 20_000u32;
    let (mut area, mut log_ratio, mut left, mut flips) = (0.0, 0.0, 0.0, 0);
    for sample in 0..samples {
        let view = plan.view(width, height, &mut SampleRng::new(5, 0, u64::from(sample))).unwrap();
        let text = view.describe();
        let part = view.region();
        let (w, h) = (f64::from(part.width), f64::from(part.height));
        assert!((0.745..1.341).contains(&(w / h)), "{text}");
        area += w * h / f64::from(width * height);
        log_ratio += (w / h).ln();
        left += if w < f64::from(width) { f64::from(part.x) / (f64::from(width) - w) } else { 0.5 };
        flips += u32::from(text.contains("mirrored"));
    }
    let n = f64::from(samples);
    // The mean of the area is that of 4 million draws by torchvision's rule in NumPy; it is below 0.54, because parts
    // that do not fit are drawn again.
    assert!((area / n - 0.478).abs() < 0.006, "{}", area / n);
    assert!((log_ratio / n).abs() < 0.005, "{}", log_ratio / n);
    assert!((left / n - 0.5).abs() < 0.01, "{}", left / n);
    assert!((f64::from(flips) / n - 0.25).abs() < 0.01, "{flips}");
}

#[test]
fn a_part_that_cannot_fit_is_the_middle() {
    let plan = plan(r#"[{"op": "random_resized_crop", "size": [16], "scale": [0.9, 1]}]"#);
    let region = |w, h| plan.view(w, h, &mut SampleRng::new(0, 0, 0)).unwrap().region();
    assert_eq!(region(1000, 10), Region { x: 493, y: 0, width: 13, height: 10 });
    assert_eq!(region(10, 1000), Region { x: 0, y: 493, width: 10, height: 13 });
}

#[test]
fn a_smaller_picture_is_padded_as_torchvision_pads() {
    // 3x2 onto 4x5 (height 5): one column, three rows; the larger half to the right and below.
    let bytes = render(r#"[{"op": "center_crop", "size": [5, 4]}, {"op": "channels_last"}]"#, 3, 2);
    let source = picture(3, 2);
    for y in 0..5 {
        for x in 0..4 {
            let got = &bytes[(y * 4 + x) * 3..][..3];
            let inside = (1..3).contains(&y) && x < 3;
            let wanted = if inside { &source[((y - 1) * 3 + x) * 3..][..3] } else { &[0; 3] };
            assert_eq!(got, wanted, "{x} {y}");
        }
    }
}

#[test]
fn the_fast_mode_asks_for_a_scaled_picture_only_where_it_shrinks() {
    let ops = super::ops(r#"[{"op": "resize", "size": [100]}, {"op": "center_crop", "size": [80]}]"#);
    let fast = Plan::compile(&ops, Mode::Fast).unwrap();
    let exact = Plan::compile(&ops, Mode::Exact).unwrap();
    let denom = |plan: &Plan, w, h| plan.view(w, h, &mut SampleRng::new(0, 0, 0)).unwrap().scale_denom();
    for (edge, wanted) in [(90, 1), (199, 1), (200, 2), (399, 2), (400, 4), (801, 8), (5000, 8)] {
        assert_eq!(denom(&fast, edge, edge + 30), wanted, "{edge}");
        assert_eq!(denom(&exact, edge, edge + 30), 1);
    }
    let view = fast.view(801, 603, &mut SampleRng::new(0, 0, 0)).unwrap();
    assert_eq!(view.scale_denom(), 4);
    let region = view.region();
    assert!(region.x + region.width <= 201 && region.y + region.height <= 151, "{region:?}");
    let unscaled = view.unscaled();
    assert_eq!(unscaled.scale_denom(), 1);
    assert!(unscaled.region().width > 3 * region.width);
}

#[test]
fn buffers_that_do_not_fit_are_refused() {
    let plan = plan(r#"[{"op": "center_crop", "size": [4]}]"#);
    let view = plan.view(8, 8, &mut SampleRng::new(0, 0, 0)).unwrap();
    let mut source = PixelBuf::new();
    source.reset(5, 4, 3);
    let mut out = [0; 48];
    let error = plan.render(&view, &source, &mut Scratch::new(), &mut out).unwrap_err();
    assert!(matches!(error, TransformError::Source { .. }), "{error}");
    source.reset(4, 4, 3);
    let error = plan.render(&view, &source, &mut Scratch::new(), &mut out[1..]).unwrap_err();
    assert_eq!(error, TransformError::Slot { expected: 48, got: 47 });
    plan.render(&view, &source, &mut Scratch::new(), &mut out).unwrap();
}
