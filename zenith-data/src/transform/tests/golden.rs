//! Small pictures resized and recoloured by Pillow 13.0 and torchvision 0.29, and the same made here. The source is
//! `super::picture`; the values are theirs.

use super::{refusal, render, view_error};

const BILINEAR: [u8; 60] = [
    34, 84, 134, 66, 116, 166, 94, 144, 194, 108, 158, 203, 133, 183, 186, 77, 127, 177, 107, 157, 206, 131,
    181, 172, 147, 189, 144, 176, 180, 90, 115, 165, 198, 142, 191, 171, 165, 213, 106, 183, 177, 70, 200,
    95, 59, 154, 204, 113, 175, 199, 47, 194, 210, 46, 183, 131, 61, 155, 43, 89,
];
const BICUBIC: [u8; 60] = [
    28, 78, 128, 62, 112, 162, 92, 142, 197, 104, 155, 210, 132, 186, 191, 75, 125, 176, 107, 157, 215, 131,
    182, 183, 147, 194, 145, 180, 187, 82, 113, 163, 207, 144, 193, 179, 166, 221, 98, 187, 182, 62, 209, 82,
    54, 155, 208, 116, 178, 201, 32, 200, 218, 38, 182, 128, 60, 145, 30, 94,
];
const LANCZOS: [u8; 60] = [
    27, 77, 126, 61, 111, 158, 92, 142, 198, 103, 153, 215, 130, 187, 193, 74, 124, 174, 108, 158, 221, 132,
    182, 191, 145, 197, 149, 179, 193, 77, 113, 163, 211, 144, 191, 181, 165, 224, 93, 190, 184, 55, 215, 73,
    52, 155, 212, 117, 179, 197, 24, 202, 223, 35, 182, 129, 61, 142, 20, 98,
];
const BOX: [u8; 60] = [
    25, 75, 125, 63, 113, 163, 91, 141, 191, 105, 155, 205, 138, 188, 181, 79, 129, 179, 110, 160, 210, 134,
    184, 176, 156, 185, 107, 182, 175, 83, 106, 156, 206, 146, 196, 182, 171, 221, 101, 182, 200, 58, 219,
    56, 63, 151, 201, 137, 177, 205, 42, 197, 219, 41, 178, 121, 64, 135, 43, 93,
];
const HAMMING: [u8; 60] = [
    28, 78, 128, 63, 113, 163, 93, 143, 193, 102, 152, 201, 132, 182, 195, 77, 127, 177, 106, 156, 206, 131,
    181, 171, 145, 190, 142, 176, 185, 94, 113, 163, 203, 142, 192, 189, 166, 216, 109, 180, 183, 73, 205,
    88, 58, 157, 207, 106, 177, 203, 34, 198, 211, 44, 183, 125, 62, 149, 42, 91,
];
const NEAREST: [u8; 60] = [
    25, 75, 125, 73, 123, 173, 109, 159, 209, 90, 140, 190, 138, 188, 238, 79, 129, 179, 132, 182, 232, 158,
    208, 2, 129, 179, 229, 182, 232, 26, 115, 165, 215, 153, 203, 253, 154, 204, 254, 155, 205, 255, 193,
    243, 37, 169, 219, 13, 157, 207, 1, 203, 253, 47, 194, 244, 38, 237, 31, 81,
];
const BILINEAR_UP: [u8; 90] = [
    0, 50, 100, 4, 54, 104, 8, 58, 108, 13, 63, 113, 18, 68, 118, 21, 71, 121, 5, 55, 105, 10, 60, 110, 16,
    66, 116, 22, 72, 122, 28, 78, 128, 32, 82, 132, 13, 63, 113, 19, 69, 119, 27, 77, 127, 35, 85, 135, 43,
    93, 143, 49, 99, 149, 21, 71, 121, 29, 79, 129, 38, 88, 138, 48, 98, 148, 59, 109, 159, 66, 116, 166, 26,
    76, 126, 35, 85, 135, 46, 96, 146, 57, 107, 157, 69, 119, 169, 77, 127, 177,
];
const BICUBIC_UP: [u8; 90] = [
    0, 49, 99, 2, 52, 102, 7, 57, 107, 11, 61, 111, 16, 66, 116, 19, 69, 119, 4, 54, 104, 8, 58, 108, 14, 64,
    114, 20, 70, 120, 26, 76, 126, 30, 80, 130, 12, 62, 112, 18, 68, 118, 27, 77, 127, 35, 85, 135, 44, 94,
    144, 50, 100, 150, 21, 71, 121, 28, 78, 128, 40, 90, 140, 50, 100, 150, 62, 112, 162, 69, 119, 169, 26,
    76, 126, 34, 84, 134, 47, 97, 147, 59, 109, 159, 72, 122, 172, 80, 130, 180,
];
const PIL_BRIGHTNESS: [u8; 36] = [
    0, 65, 130, 9, 74, 139, 18, 83, 148, 27, 92, 157, 16, 81, 146, 32, 97, 162, 48, 113, 178, 63, 128, 193,
    33, 98, 163, 55, 120, 185, 78, 143, 208, 100, 165, 230,
];
const TENSOR_BRIGHTNESS: [u8; 36] = [
    0, 65, 130, 9, 74, 139, 18, 83, 148, 27, 92, 157, 16, 81, 146, 32, 97, 162, 48, 113, 178, 63, 128, 193,
    33, 98, 163, 55, 120, 185, 78, 143, 208, 100, 165, 230,
];
const PIL_CONTRAST: [u8; 36] = [
    28, 58, 88, 33, 63, 93, 37, 67, 97, 41, 71, 101, 36, 66, 96, 43, 73, 103, 51, 81, 111, 58, 88, 118, 44,
    74, 104, 54, 84, 114, 64, 94, 124, 75, 105, 135,
];
const TENSOR_CONTRAST: [u8; 36] = [
    28, 58, 88, 32, 62, 92, 36, 66, 96, 41, 71, 101, 36, 66, 96, 43, 73, 103, 50, 80, 110, 57, 87, 117, 44,
    74, 104, 54, 84, 114, 64, 94, 124, 74, 104, 134,
];
const PIL_SATURATION: [u8; 36] = [
    0, 56, 141, 0, 63, 148, 0, 70, 155, 0, 77, 162, 0, 69, 154, 0, 81, 166, 8, 93, 178, 20, 105, 190, 0, 82,
    167, 14, 99, 184, 31, 116, 201, 48, 133, 218,
];
const TENSOR_SATURATION: [u8; 36] = [
    0, 57, 142, 0, 64, 149, 0, 71, 156, 0, 78, 163, 0, 70, 155, 0, 82, 167, 9, 94, 179, 21, 106, 191, 0, 83,
    168, 14, 100, 185, 32, 117, 202, 49, 134, 219,
];
const PIL_HUE: [u8; 36] = [
    68, 0, 100, 75, 7, 107, 82, 14, 114, 89, 21, 121, 81, 13, 113, 93, 25, 125, 105, 37, 137, 117, 49, 149,
    94, 26, 126, 111, 43, 143, 128, 60, 160, 145, 77, 177,
];
const TENSOR_HUE: [u8; 36] = [
    70, 0, 100, 77, 7, 107, 84, 14, 114, 91, 21, 121, 83, 13, 113, 95, 25, 125, 107, 37, 137, 119, 49, 149,
    96, 26, 126, 113, 43, 143, 130, 60, 160, 147, 77, 177,
];
const PIL_GRAY: [u8; 36] = [
    41, 41, 41, 48, 48, 48, 55, 55, 55, 62, 62, 62, 54, 54, 54, 66, 66, 66, 78, 78, 78, 90, 90, 90, 67, 67,
    67, 84, 84, 84, 101, 101, 101, 118, 118, 118,
];
const TENSOR_GRAY: [u8; 36] = [
    40, 40, 40, 47, 47, 47, 54, 54, 54, 61, 61, 61, 53, 53, 53, 65, 65, 65, 77, 77, 77, 89, 89, 89, 66, 66,
    66, 83, 83, 83, 100, 100, 100, 117, 117, 117,
];

/// The largest difference, and how many values differ.
fn distance(ours: &[u8], theirs: &[u8]) -> (u8, usize) {
    assert_eq!(ours.len(), theirs.len());
    let differences = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b));
    (differences.clone().max().unwrap(), differences.filter(|&d| d > 0).count())
}

fn resized(interpolation: &str, from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    let json = format!(
        r#"[{{"op": "resize", "size": [{}, {}], "interpolation": "{interpolation}"}}, {{"op": "channels_last"}}]"#,
        to.1, to.0
    );
    render(&json, from.0, from.1)
}

#[test]
fn resizes_are_pillows() {
    for (interpolation, theirs) in [
        ("nearest", &NEAREST),
        ("box", &BOX),
        ("bilinear", &BILINEAR),
        ("hamming", &HAMMING),
        ("bicubic", &BICUBIC),
        ("lanczos", &LANCZOS),
    ] {
        let (most, count) = distance(&resized(interpolation, (17, 11), (5, 4)), theirs);
        // 16-bit weights where Pillow has 22: a value on the brink of rounding may fall to the other side.
        assert!(most <= 1 && count <= 2, "{interpolation}: {count} values differ by up to {most}");
    }
    for (interpolation, theirs) in [("bilinear", &BILINEAR_UP), ("bicubic", &BICUBIC_UP)] {
        let (most, count) = distance(&resized(interpolation, (4, 3), (6, 5)), theirs);
        assert!(most <= 1 && count <= 2, "{interpolation}: {count} values differ by up to {most}");
    }
}

#[test]
fn colours_are_pils_before_to_image_and_torchs_after() {
    for (change, pil, tensor) in [
        (r#"{"op": "color_jitter", "brightness": [1.3, 1.3]}"#, PIL_BRIGHTNESS, TENSOR_BRIGHTNESS),
        (r#"{"op": "color_jitter", "contrast": [0.6, 0.6]}"#, PIL_CONTRAST, TENSOR_CONTRAST),
        (r#"{"op": "color_jitter", "saturation": [1.7, 1.7]}"#, PIL_SATURATION, TENSOR_SATURATION),
        (r#"{"op": "color_jitter", "hue": [0.2, 0.2]}"#, PIL_HUE, TENSOR_HUE),
        (r#"{"op": "grayscale", "num_output_channels": 3}"#, PIL_GRAY, TENSOR_GRAY),
    ] {
        let ours = render(&format!(r#"[{change}, {{"op": "channels_last"}}]"#), 4, 3);
        assert_eq!(ours, pil, "PIL {change}");
        let ours = render(&format!(r#"[{{"op": "to_image"}}, {change}, {{"op": "channels_last"}}]"#), 4, 3);
        assert_eq!(ours, tensor, "tensor {change}");
    }
}

#[test]
fn refusals_name_the_operation() {
    let mean = r#""mean": [0.5], "std": [0.5]"#;
    for (json, message) in [
        (format!(r#"[{{"op": "normalize", {mean}}}]"#), "transform 0 (Normalize): it needs floats"),
        (
            r#"[{"op": "to_tensor"}, {"op": "color_jitter", "hue": [0.1, 0.2]}]"#.to_owned(),
            "transform 1 (ColorJitter): it must come before the conversion to floats",
        ),
        (
            r#"[{"op": "to_tensor"}, {"op": "resize", "size": [8], "interpolation": "bicubic"}]"#.to_owned(),
            "transform 1 (Resize): bicubic must come before",
        ),
        (
            format!(
                r#"[{{"op": "to_tensor"}}, {{"op": "normalize", {mean}}}, {{"op": "center_crop", "size": [8]}}]"#
            ),
            "transform 2 (CenterCrop): it may pad",
        ),
        (r#"[{"op": "resize", "size": [1, 2, 3]}]"#.to_owned(), "transform 0 (Resize): size takes"),
        (r#"[{"op": "resize", "size": [0]}]"#.to_owned(), "transform 0 (Resize): size 0x0"),
        (r#"[{"op": "resize", "size": [9], "max_size": 9}]"#.to_owned(), "max_size 9 must be greater"),
        (r#"[{"op": "random_horizontal_flip", "p": 1.5}]"#.to_owned(), "p = 1.5"),
        (
            r#"[{"op": "random_resized_crop", "size": [8], "scale": [0.9, 0.1]}]"#.to_owned(),
            "scale (0.9, 0.1) must be",
        ),
        (r#"[{"op": "color_jitter", "hue": [-0.6, 0.2]}]"#.to_owned(), "hue (-0.6, 0.2)"),
        (
            r#"[{"op": "to_tensor"}, {"op": "normalize", "mean": [0.1, 0.2], "std": [1]}]"#.to_owned(),
            "mean has 2 values, the picture 3 channels",
        ),
        (
            r#"[{"op": "to_tensor"}, {"op": "normalize", "mean": [0], "std": [0]}]"#.to_owned(),
            "std has a value of 0",
        ),
        (r#"[{"op": "to_dtype", "dtype": "int64"}]"#.to_owned(), "int64 has no native form"),
    ] {
        let got = refusal(&json);
        assert!(got.contains(message), "{json}: {got}");
    }
    let error = view_error(r#"[{"op": "random_crop", "size": [32]}]"#, 40, 20).to_string();
    assert!(error.starts_with("RandomCrop cannot be applied to a picture of 40x20 pixels"), "{error}");
    let error = view_error(r#"[{"op": "resize", "size": [60000]}]"#, 40, 20).to_string();
    assert!(error.contains("the result would be 120000x60000"), "{error}");
    view_error("[]", 0, 20);
}
