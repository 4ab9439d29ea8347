//! Plugins for pictures, held against the native operations that they are twins of.

use zenith_data::DType;
use zenith_data::pixels::PixelBuf;
use zenith_data::sampler::rng::SampleRng;
use zenith_data::transform::{Interpolation, Mode, Op, Plan, Scratch};

use crate::{Guest, Owned, load, noise};

/// What the data plane makes of interleaved RGB or gray pixels: channels first.
fn native(ops: &[Op], (width, height): (usize, usize), channels: usize, pixels: &[u8]) -> Owned {
    let plan = Plan::compile(ops, Mode::Exact).unwrap();
    let view = plan.view(width as u32, height as u32, &mut SampleRng::new(0, 0, 0)).unwrap();
    let mut source = PixelBuf::new();
    source.reset(width as u32, height as u32, channels as u8);
    source.pixels_mut().copy_from_slice(pixels);
    let (rows, columns) = view.output_size();
    let output = plan.output();
    let mut bytes = vec![0; output.bytes(rows, columns)];
    plan.render(&view, &source, &mut Scratch::new(), &mut bytes).unwrap();
    let shape = vec![usize::from(output.channels), rows as usize, columns as usize];
    Owned { dtype: output.dtype, shape, bytes }
}

fn resize(height: u32, width: u32) -> Op {
    Op::Resize {
        size: vec![height, width],
        interpolation: Interpolation::Bilinear,
        max_size: None,
        antialias: true,
    }
}

/// Interleaved pixels, channels first.
fn planes(picture: &Owned) -> Owned {
    let [height, width, channels] = picture.shape[..] else { panic!("{:?}", picture.shape) };
    let plane = |c: usize| picture.bytes[c..].iter().step_by(channels).copied();
    let bytes: Vec<u8> = (0..channels).flat_map(plane).collect();
    Owned::bytes(&[channels, height, width], &bytes)
}

/// A picture with edges, gradients and noise.
fn photograph(width: usize, height: usize) -> Owned {
    let mut bytes = noise(width * height * 3, (width * height) as u64);
    for (at, byte) in bytes.iter_mut().enumerate() {
        let (x, y, c) = (at / 3 % width, at / 3 / width, at % 3);
        let smooth = (x * 255 / width + y * 128 / height + c * 40) as u8 / 2;
        let edge = if (x / 9 + y / 7) % 2 == 0 { 90 } else { 0 };
        *byte = smooth / 2 + edge + *byte / 8;
    }
    Owned::bytes(&[height, width, 3], &bytes)
}

#[test]
fn image_resize_equals_the_native_resize_in_every_pixel() {
    let sizes = [
        ((500, 375), (224, 224)),
        ((375, 500), (224, 320)),
        ((97, 61), (224, 224)),
        ((640, 33), (31, 200)),
        ((33, 640), (200, 31)),
        ((1600, 1200), (96, 96)),
        ((224, 224), (224, 224)),
        ((5, 3), (1, 1)),
        ((1, 1), (7, 2)),
        ((301, 299), (150, 149)),
    ];
    for ((width, height), (rows, columns)) in sizes {
        let picture = photograph(width, height);
        let expected = native(&[resize(rows, columns)], (width, height), 3, &picture.bytes);
        let mut guest = Guest::new("image_resize", &format!("{rows}x{columns}"));
        let interleaved = guest.one(&picture);
        assert_eq!(interleaved.shape, [rows as usize, columns as usize, 3]);
        assert!(planes(&interleaved) == expected, "{width}x{height} to {columns}x{rows}");
        // A picture of few columns looks like one with its channels last.
        if width > 4 {
            assert!(
                guest.one(&planes(&picture)) == expected,
                "planes of {width}x{height} to {columns}x{rows}"
            );
        }
    }
}

#[test]
fn image_resize_takes_gray_and_transparent_pictures() {
    let picture = photograph(210, 140);
    let gray: Vec<u8> = picture.bytes.iter().step_by(3).copied().collect();
    let expected = native(&[resize(64, 48)], (210, 140), 1, &gray);
    let expected = &expected.bytes[..64 * 48];
    let mut guest = Guest::new("image_resize", "64x48");
    for shape in [vec![140, 210], vec![140, 210, 1], vec![1, 140, 210]] {
        assert!(guest.one(&Owned::bytes(&shape, &gray)).bytes == expected, "{shape:?}");
    }
    let with_alpha: Vec<u8> =
        picture.bytes.chunks(3).zip(&gray).flat_map(|(p, &a)| [p[0], p[1], p[2], a]).collect();
    let resized = guest.one(&Owned::bytes(&[140, 210, 4], &with_alpha));
    assert_eq!(resized.shape, [64, 48, 4]);
    let alpha: Vec<u8> = resized.bytes.iter().skip(3).step_by(4).copied().collect();
    assert!(alpha == expected);
}

#[test]
fn image_resize_has_a_default_size_and_refuses_what_it_cannot_do() {
    let mut guest = Guest::new("image_resize", "");
    assert_eq!(guest.one(&photograph(300, 200)).shape, [224, 224, 3]);
    assert_eq!(
        guest.refusal(&Owned::bytes(&[6], &[0; 6])),
        (2, "a tensor of shape [6] is no picture".into())
    );
    assert_eq!(guest.refusal(&Owned::floats(&[2, 2], &[0.0; 4])).0, 2);
    // A refusal costs nothing: the next picture is resized.
    assert_eq!(guest.one(&photograph(30, 20)).shape, [224, 224, 3]);
    let refused = load("image_resize", "huge").unwrap_err();
    assert!(refused.to_string().contains("huge"), "{refused}");
}

#[test]
fn normalize_equals_the_native_normalize() {
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let picture = photograph(67, 45);
    let ops = [Op::ToTensor, Op::Normalize { mean: mean.to_vec(), std: std.to_vec() }];
    let expected = native(&ops, (67, 45), 3, &picture.bytes);
    let mut guest = Guest::new("normalize", "mean=0.485,0.456,0.406; std=0.229,0.224,0.225");
    let close = |got: &Owned, what: &str| {
        assert_eq!((got.dtype, &got.shape), (DType::Float32, &expected.shape), "{what}");
        let pairs = got.as_floats().into_iter().zip(expected.as_floats());
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-6, "{what}: {worst}");
    };
    let bytes = planes(&picture);
    close(&guest.one(&bytes), "bytes");
    let unit: Vec<f32> = bytes.bytes.iter().map(|&v| f32::from(v) / 255.0).collect();
    close(&guest.one(&Owned::floats(&bytes.shape, &unit)), "floats");

    let stacked = [bytes.bytes.clone(), noise(bytes.bytes.len(), 3)].concat();
    let batch = guest.batch(&Owned::bytes(&[2, 3, 45, 67], &stacked));
    let half = Owned { shape: bytes.shape.clone(), ..batch.clone() };
    close(&Owned { bytes: batch.bytes[..batch.bytes.len() / 2].to_vec(), ..half }, "batch");
    let second = guest.one(&Owned::bytes(&bytes.shape, &stacked[bytes.bytes.len()..]));
    assert!(second.bytes == batch.bytes[batch.bytes.len() / 2..]);
}
