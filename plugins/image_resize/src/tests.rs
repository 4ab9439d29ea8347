//! The plugin's function run natively, against a resize in floating point that is written for nothing but clarity.

use super::*;
use zenith_plugin_guest::testing;

fn pixels(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 / 2 + (i % 97) as u8).collect()
}

/// Weights of the pixels of one axis for output pixel `x`.
fn triangle(input: usize, output: usize, x: usize) -> Vec<f64> {
    let scale = input as f64 / output as f64;
    let center = (x as f64 + 0.5) * scale;
    let radius = scale.max(1.0);
    let weight = |pixel| (1.0 - ((pixel as f64 + 0.5 - center) / radius).abs()).max(0.0);
    let weights: Vec<f64> = (0..input).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

/// One channel resized in one go.
fn reference(
    pixels: &[u8],
    (width, height): (usize, usize),
    (to_width, to_height): (usize, usize),
) -> Vec<f64> {
    let mut out = Vec::new();
    for y in 0..to_height {
        let vertical = triangle(height, to_height, y);
        for x in 0..to_width {
            let horizontal = triangle(width, to_width, x);
            let row = |y: usize| -> f64 {
                (0..width).map(|x| f64::from(pixels[y * width + x]) * horizontal[x]).sum()
            };
            out.push((0..height).filter(|&y| vertical[y] > 0.0).map(|y| vertical[y] * row(y)).sum());
        }
    }
    out
}

fn resized(config: &str, shape: &[usize], pixels: &[u8]) -> Result<Tensor> {
    let input = Tensor::from_slice(shape, pixels)?;
    Ok(testing::call(image_resize, &mut Target::parse(config)?, input, 0)?.remove(0))
}

#[test]
fn pixels_are_those_of_the_filter() {
    for (from, to) in
        [((31, 17), (8, 9)), ((8, 9), (31, 17)), ((40, 3), (5, 3)), ((1, 1), (3, 2)), ((64, 50), (1, 1))]
    {
        let plane = pixels(from.0 * from.1);
        let expected = reference(&plane, from, to);
        let config = format!("{}x{}", to.1, to.0);
        let output = resized(&config, &[from.1, from.0], &plane).unwrap();
        assert_eq!(output.shape(), [to.1, to.0]);
        for (at, (&got, expected)) in output.bytes().iter().zip(expected).enumerate() {
            assert!((f64::from(got) - expected).abs() <= 1.1, "{from:?} to {to:?}, {at}: {got}, {expected}");
        }
    }
}

#[test]
fn the_order_of_axes_does_not_matter() {
    let (width, height) = (37, 23);
    for channels in [1, 3, 4] {
        let interleaved = pixels(width * height * channels);
        let channel = |c: usize| interleaved[c..].iter().step_by(channels).copied();
        let planes: Vec<u8> = (0..channels).flat_map(channel).collect();
        let hwc = resized("9x12", &[height, width, channels], &interleaved).unwrap();
        let chw = resized("9x12", &[channels, height, width], &planes).unwrap();
        assert_eq!((hwc.shape(), chw.shape()), (&[9, 12, channels][..], &[channels, 9, 12][..]));
        let same = (0..channels).all(|c| {
            let plane = &chw.bytes()[c * 9 * 12..][..9 * 12];
            hwc.bytes()[c..].iter().step_by(channels).eq(plane)
        });
        assert!(same, "{channels} channels");
    }
}

#[test]
fn the_same_size_is_the_same_picture() {
    let picture = pixels(20 * 30 * 3);
    assert_eq!(resized("20x30", &[20, 30, 3], &picture).unwrap().bytes(), picture);
}

#[test]
fn pictures_of_many_kinds_may_follow_each_other() {
    let mut target = Target::parse("11").unwrap();
    let kinds =
        [vec![20, 30, 3], vec![3, 20, 30], vec![50, 20], vec![20, 30, 4], vec![20, 30, 3], vec![300, 2, 1]];
    for shape in kinds {
        let picture = pixels(shape.iter().product());
        let alone = resized("11", &shape, &picture).unwrap();
        let input = Tensor::from_slice(&shape, &picture).unwrap();
        let after = testing::call(image_resize, &mut target, input, 0).unwrap().remove(0);
        assert!(after.shape() == alone.shape() && after.bytes() == alone.bytes(), "{shape:?}");
    }
}

#[test]
fn configurations_are_sizes() {
    let size = |text| Target::parse(text).map(|target| (target.height, target.width));
    assert_eq!(size(""), Ok((224, 224)));
    assert_eq!(size("96"), Ok((96, 96)));
    assert_eq!(size(" 224 x 320 "), Ok((224, 320)));
    for text in ["0", "x", "224x", "-1", "20000", "224 320", "1x2x3"] {
        assert_eq!(size(text).unwrap_err().code(), Error::CONFIG, "{text}");
    }
}

#[test]
fn what_is_no_picture_is_refused() {
    assert_eq!(resized("8", &[6], &[0; 6]).unwrap_err().code(), Error::INPUT);
    let floats = Tensor::zeros::<f32>(&[4, 4, 3]).unwrap();
    let error = testing::call(image_resize, &mut Target::parse("8").unwrap(), floats, 0).unwrap_err();
    assert_eq!(error.code(), Error::INPUT);
}
