//! Writes the seeds of every target to `corpus/`, and with `--pictures` also the pictures that targets are built with.
//! Seeds are small and differ in what they exercise; libFuzzer finds the rest.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    if std::env::args().any(|argument| argument == "--pictures") {
        return pictures(&home.join("pictures"));
    }
    let corpus = home.join("corpus");
    let put = |target: &str, name: &str, bytes: &[u8]| -> io::Result<()> {
        fs::create_dir_all(corpus.join(target))?;
        fs::write(corpus.join(target).join(name), bytes)
    };
    for (name, picture) in jpegs()? {
        put("jpeg", &name, &[&picture[..], &[2, 0, 40, 60, 128, 200]].concat())?;
        put(
            "image",
            &name,
            &[&picture[..], &[1, 1, 40, 60, 128, 200]].concat(),
        )?;
    }
    for (name, picture) in other_pictures()? {
        put(
            "image",
            &name,
            &[&picture[..], &[1, 0, 40, 60, 128, 200]].concat(),
        )?;
    }
    for mode in 0..3 {
        put(
            "jpeg_index",
            &format!("mode-{mode}"),
            &[&[0; 40][..], &[mode, mode, 0, 9, 9, 99, 99]].concat(),
        )?;
    }
    for (name, little) in [("little", true), ("big", false)] {
        put("exif", name, &exif(little))?;
    }
    for (name, text) in CSV {
        put("csv", name, &[text.as_bytes(), &[0, 1]].concat())?;
        put(
            "csv",
            &format!("{name}-windowed"),
            &[text.as_bytes(), &[7, 1]].concat(),
        )?;
    }
    let arrays = [
        ("f4", npy("<f4", "(3, 2)", &[0; 24])),
        ("big", npy(">i2", "(3,)", &[0; 6])),
        ("empty", npy("|u1", "(0, 5)", &[])),
    ];
    for (name, array) in &arrays {
        put("npy", name, &[&array[..], &[0, 1]].concat())?;
    }
    for deflated in [false, true] {
        let members = [("x.npy", &arrays[0].1), ("y.npy", &arrays[1].1)];
        let file = zip(&members, deflated)?;
        put(
            "npz",
            &format!("deflated-{deflated}"),
            &[&file[..], &[0, 1]].concat(),
        )?;
    }
    tables(&put)?;
    put("folder_cache", "kept", &[&[1][..], &[0; 8]].concat())?;
    put("folder_cache", "none", &[0; 25])?;
    put(
        "cache_file",
        "head",
        b"ZENITHC\x01\x01\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0/data/set",
    )?;
    for (number, json) in TRANSFORMS.iter().enumerate() {
        for mode in 0..2 {
            put(
                "transform_json",
                &format!("{number}-{mode}"),
                &[json.as_bytes(), &[40, 30, 7, mode]].concat(),
            )?;
        }
    }
    put("topology", "two-nodes", TOPOLOGY.as_bytes())?;
    put("topology", "list", b"0-3,8,10-11")?;
    put("topology", "mask", b"ff,00000000,0000000f")?;
    for (number, json) in CONFIGS.iter().enumerate() {
        put("machine_config", &number.to_string(), json.as_bytes())?;
    }
    for (number, json) in SUBMISSIONS.iter().enumerate() {
        let given: zenith_scheduler::view::Submission = serde_json::from_str(json)?;
        let request = zenith_proto::v1::SubmitRequest {
            submission: Some(given.into()),
            idempotency_key: "key".to_owned(),
        };
        let message = prost::Message::encode_to_vec(&request);
        put("scheduler_calls", &format!("json-{number}"), &[json.as_bytes(), &[0]].concat())?;
        put("scheduler_calls", &format!("message-{number}"), &[&message[..], &[1]].concat())?;
    }
    for step in [1_usize, 5, 7, 11, 13] {
        let calls: Vec<u8> = (0..600).map(|at| (at * step * step) as u8).chain([2]).collect();
        put("scheduler_calls", &format!("calls-{step}"), &calls)?;
    }
    Ok(())
}

const CSV: [(&str, &str); 5] = [
    ("plain", "a,b,label\n1,2.5,0\n-3,1e-3,1\n"),
    (
        "quoted",
        "a;\"b \"\"x\"\"\";y\r\n1;\"2\";\"yes\"\r\n3;\"4\n\";no\r\n",
    ),
    ("headless", "1\t2\t3\n4\t5\t6"),
    ("missing", "a|b|y\n||1\nNaN|NA|2\ninf|-inf|3\n"),
    (
        "truth",
        "\u{feff}x,y\ntrue,18446744073709551615\nfalse,-9223372036854775808\n",
    ),
];

const TRANSFORMS: [&str; 5] = [
    r#"[{"op":"random_resized_crop","size":[24]},{"op":"random_horizontal_flip"},{"op":"to_tensor"},{"op":"normalize","mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]}]"#,
    r#"[{"op":"resize","size":[16],"interpolation":"bicubic","max_size":40},{"op":"center_crop","size":[12,20]},{"op":"to_image"},{"op":"channels_last"}]"#,
    r#"[{"op":"random_crop","size":[20],"padding":[3],"pad_if_needed":true,"fill":9},{"op":"random_vertical_flip","p":1},{"op":"grayscale"},{"op":"to_tensor"}]"#,
    r#"[{"op":"color_jitter","brightness":[0.5,1.5],"contrast":[0.5,1.5],"saturation":[0,2],"hue":[-0.5,0.5]},{"op":"random_grayscale","p":0.5},{"op":"to_image"},{"op":"to_dtype","dtype":"float16","scale":true}]"#,
    r#"[{"op":"to_image"},{"op":"resize","size":[9,7],"interpolation":"lanczos","antialias":true},{"op":"resize","size":[30],"interpolation":"nearest-exact"},{"op":"to_dtype","dtype":"float32"}]"#,
];

const SUBMISSIONS: [&str; 3] = [
    r#"{"resources":{"gpus":8,"cpus":4,"memory_mib":1024},"command":["python","train.py"],"time_limit_ms":60000}"#,
    r#"{"name":"a","queue":"default","priority":-3,"resources":{"nodes_min":1,"nodes_max":2,"gpus_per_node":4,"topology":"rack","topology_required":false,"ranks_per":"node"},"command":["x"],"preemptible":true,"retries":2,"count":3}"#,
    r#"{"resources":{"cpus":1},"command":["sh","-c","true"],"environment":{"A":"b"},"directory":"/tmp","held":true,"after":[{"job":1,"completed":true}]}"#,
];

const CONFIGS: [&str; 3] = [
    r#"{"pages":"thp","pin":"0-3","node":"2","io":"pread"}"#,
    r#"{"pages":"auto","pin":"auto","node":"auto","io":"io_uring"}"#,
    r#"{"pages":"huge","pin":"off","io":"auto"}"#,
];

/// Lines as the target of the topology takes them: a machine of two nodes.
const TOPOLOGY: &str = "0-1\n0\n00000001\n1\n1\n1024\n1\nData\n32K\n00000003\n0-1\n0-1\n00000001\n0\n\
    Node 0 MemTotal: 1000 kB\n10 21\n1\nNode 1 MemTotal: 1000 kB\n21 10\n0-1\n1\n0x030200\n1\n\
    MemTotal: 2000 kB\n0::/\n30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n0-1";

/// A picture with a gradient and some noise.
fn pixels(width: usize, height: usize, channels: usize) -> Vec<u8> {
    (0..width * height * channels)
        .map(|at| {
            let (x, y) = (at / channels % width, at / channels / width);
            (x * 5 + y * 3 + at % channels * 60 + (at * 2_654_435_761) % 23) as u8
        })
        .collect()
}

fn jpeg(
    (width, height): (u16, u16),
    color: ColorType,
    adjust: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Result<Vec<u8>, Failure> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 60);
    adjust(&mut encoder);
    let channels = match color {
        ColorType::Luma => 1,
        ColorType::Rgb => 3,
        _ => 4,
    };
    let data = pixels(width.into(), height.into(), channels);
    encoder.encode(&data, width, height, color)?;
    Ok(file)
}

fn jpegs() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut all = Vec::new();
    let samplings = [
        ("444", SamplingFactor::R_4_4_4),
        ("422", SamplingFactor::R_4_2_2),
        ("440", SamplingFactor::R_4_4_0),
        ("420", SamplingFactor::R_4_2_0),
        ("411", SamplingFactor::R_4_1_1),
    ];
    for (name, sampling) in samplings {
        for progressive in [false, true] {
            let file = jpeg((37, 29), ColorType::Rgb, |encoder| {
                encoder.set_sampling_factor(sampling);
                encoder.set_progressive(progressive);
            })?;
            all.push((format!("{name}-{progressive}"), file));
        }
    }
    for (name, color) in [
        ("gray", ColorType::Luma),
        ("cmyk", ColorType::Cmyk),
        ("ycck", ColorType::CmykAsYcck),
    ] {
        all.push((name.into(), jpeg((21, 18), color, |_| {})?));
        let progressive = jpeg((21, 18), color, |encoder| encoder.set_progressive(true))?;
        all.push((format!("{name}-progressive"), progressive));
    }
    let restarts = jpeg((40, 24), ColorType::Rgb, |encoder| {
        encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
        encoder.set_restart_interval(2);
    })?;
    all.push(("restarts".into(), restarts));
    // With tables of its own this encoder writes a scan for each component.
    let scans = jpeg((40, 24), ColorType::Rgb, |encoder| {
        encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
        encoder.set_optimized_huffman_tables(true);
    })?;
    all.push(("scans".into(), scans));
    let turned = jpeg((16, 9), ColorType::Rgb, |encoder| {
        // The encoder refuses segments above 64 KiB only.
        let _ = encoder.add_app_segment(1, [b"Exif\0\0", &exif(true)[..]].concat());
    })?;
    all.push(("turned".into(), turned));
    all.push(("one".into(), jpeg((1, 1), ColorType::Rgb, |_| {})?));
    Ok(all)
}

fn pictures(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let color = jpeg((40, 24), ColorType::Rgb, |encoder| {
        encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    })?;
    let gray = jpeg((33, 17), ColorType::Luma, |encoder| {
        encoder.set_optimized_huffman_tables(true);
    })?;
    let restarts = jpeg((40, 24), ColorType::Rgb, |encoder| {
        encoder.set_sampling_factor(SamplingFactor::R_4_2_2);
        encoder.set_restart_interval(3);
    })?;
    for (name, file) in [("color", color), ("gray", gray), ("restarts", restarts)] {
        fs::write(folder.join(format!("{name}.jpg")), file)?;
    }
    Ok(())
}

fn other_pictures() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut all = Vec::new();
    let colors = [
        ("gray", png::ColorType::Grayscale, 1),
        ("gray-alpha", png::ColorType::GrayscaleAlpha, 2),
        ("rgb", png::ColorType::Rgb, 3),
        ("rgba", png::ColorType::Rgba, 4),
        ("palette", png::ColorType::Indexed, 1),
    ];
    for (name, color, channels) in colors {
        for (bits, depth) in [(8, png::BitDepth::Eight), (16, png::BitDepth::Sixteen)] {
            if bits == 16 && color == png::ColorType::Indexed {
                continue;
            }
            let mut file = Vec::new();
            let mut encoder = png::Encoder::new(&mut file, 13, 11);
            encoder.set_color(color);
            encoder.set_depth(depth);
            if color == png::ColorType::Indexed {
                encoder.set_palette(pixels(256, 1, 3));
                encoder.set_trns(&[0, 128][..]);
            }
            encoder
                .write_header()?
                .write_image_data(&pixels(13, 11, channels * bits / 8))?;
            all.push((format!("png-{name}-{bits}"), file));
        }
    }
    for (name, color, channels) in [
        ("gray", image_webp::ColorType::L8, 1),
        ("rgb", image_webp::ColorType::Rgb8, 3),
        ("rgba", image_webp::ColorType::Rgba8, 4),
    ] {
        let mut file = Vec::new();
        let mut encoder = image_webp::WebPEncoder::new(&mut file);
        encoder.set_exif_metadata(exif(false));
        encoder.encode(&pixels(13, 11, channels), 13, 11, color)?;
        all.push((format!("webp-{name}"), file));
    }
    Ok(all)
}

/// EXIF data with two entries, of which the second turns the picture.
fn exif(little: bool) -> Vec<u8> {
    let two = |v: u16| if little { v.to_le_bytes() } else { v.to_be_bytes() };
    let four = |v: u32| if little { v.to_le_bytes() } else { v.to_be_bytes() };
    let mut data = if little { *b"II*\0" } else { *b"MM\0*" }.to_vec();
    data.extend(four(8));
    data.extend(two(2));
    for (tag, value) in [(0x010f, 7), (0x0112, 6)] {
        data.extend(two(tag));
        data.extend(two(3));
        data.extend(four(1));
        data.extend(two(value));
        data.extend(two(0));
    }
    data
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend((text.len() as u16).to_le_bytes());
    file.extend(text.as_bytes());
    file.extend(data);
    file
}

fn zip(members: &[(&str, &Vec<u8>)], deflated: bool) -> Result<Vec<u8>, Failure> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let mut packed = (*bytes).clone();
        if deflated {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes)?;
            packed = encoder.finish()?;
        }
        let mut sum = flate2::Crc::new();
        sum.update(bytes);
        let mut middle = vec![20, 0, 0, 0, if deflated { 8 } else { 0 }, 0, 0, 0, 0, 0];
        middle.extend(sum.sum().to_le_bytes());
        middle.extend((packed.len() as u32).to_le_bytes());
        middle.extend((bytes.len() as u32).to_le_bytes());
        middle.extend((name.len() as u16).to_le_bytes());
        middle.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&middle);
        directory.extend([0; 10]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(&middle);
        file.extend(name.as_bytes());
        file.extend(packed);
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    for _ in 0..2 {
        file.extend((members.len() as u16).to_le_bytes());
    }
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    Ok(file)
}

type Put<'a> = &'a dyn Fn(&str, &str, &[u8]) -> io::Result<()>;

fn tables(put: Put<'_>) -> Result<(), Failure> {
    let numbers: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0]));
    let labels: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a"]));
    let picture = jpeg((5, 4), ColorType::Luma, |_| {})?;
    let bytes: ArrayRef = Arc::new(arrow_array::BinaryArray::from(vec![&picture[..]; 3]));
    let batches = [
        (
            "numbers",
            RecordBatch::try_from_iter([("x", numbers.clone()), ("y", labels)])?,
        ),
        (
            "texts",
            RecordBatch::try_from_iter([("x", numbers), ("label", texts.clone())])?,
        ),
        (
            "pictures",
            RecordBatch::try_from_iter([("image", bytes), ("label", texts)])?,
        ),
    ];
    for (name, batch) in &batches {
        let mut file = Vec::new();
        let mut writer = arrow_ipc::writer::FileWriter::try_new(&mut file, &batch.schema())?;
        writer.write(batch)?;
        writer.finish()?;
        drop(writer);
        put("arrow_ipc", name, &[&file[..], &[0, 1]].concat())?;
        let mut stream = Vec::new();
        let mut writer = arrow_ipc::writer::StreamWriter::try_new(&mut stream, &batch.schema())?;
        writer.write(batch)?;
        writer.finish()?;
        drop(writer);
        put(
            "arrow_ipc",
            &format!("{name}-stream"),
            &[&stream[..], &[0, 1]].concat(),
        )?;
        let mut file = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut file, batch.schema(), None)?;
        writer.write(batch)?;
        writer.close()?;
        put("parquet", name, &[&file[..], &[0, 1]].concat())?;
    }
    Ok(())
}
