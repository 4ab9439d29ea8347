//! Custom transforms among native operations on pictures.

use std::fs;
use std::sync::Arc;

use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::source::cache_dir::CacheDir;
use zenith_data::source::detect::SourceSpec;
use zenith_data::source::staged::Staged;
use zenith_data::source::{self, OpenOptions, SampleKey, Source, Spent};
use zenith_data::transform::chain::Link;
use zenith_data::transform::custom::{Take, TensorRef, Transform, TransformFault, TransformWorker, Yield};
use zenith_data::transform::{Mode, Op, Plan};
use zenith_data::{DType, Error, Result, SampleError};

type Made = (DType, Vec<usize>, Vec<u8>);

/// Makes one tensor of one as a function says.
#[derive(Clone, Copy)]
struct Make(fn(TensorRef<'_>) -> Made);

impl Transform for Make {
    fn name(&self) -> &str {
        "make"
    }
    fn yields(&self) -> Yield {
        Yield::One
    }
    fn fingerprint(&self) -> u64 {
        0
    }
    fn worker(&self) -> std::result::Result<Box<dyn TransformWorker>, TransformFault> {
        Ok(Box::new(*self))
    }
}

impl TransformWorker for Make {
    fn apply(
        &mut self,
        input: TensorRef<'_>,
        _: u64,
        take: Take<'_>,
    ) -> std::result::Result<(), TransformFault> {
        let (dtype, shape, bytes) = self.0(input);
        take(TensorRef { dtype, shape: &shape, bytes: &bytes })
    }
}

fn same(input: TensorRef<'_>) -> Made {
    (input.dtype, input.shape.to_vec(), input.bytes.to_vec())
}

/// The upper left 8x8 pixels of a picture with its channels last.
fn corner(input: TensorRef<'_>) -> Made {
    let &[_, width, 3] = input.shape else { panic!("{:?} is not [H, W, 3]", input.shape) };
    let bytes = (0..8).flat_map(|y| &input.bytes[y * width * 3..][..24]).copied().collect();
    (DType::UInt8, vec![8, 8, 3], bytes)
}

/// Channels first, as floats.
fn planes(input: TensorRef<'_>) -> Made {
    let &[height, width, 3] = input.shape else { panic!("{:?} is not [H, W, 3]", input.shape) };
    let value = |c: usize, i: usize| f32::from(input.bytes[i * 3 + c]).to_ne_bytes();
    let bytes = (0..3).flat_map(|c| (0..height * width).flat_map(move |i| value(c, i))).collect();
    (DType::Float32, vec![3, height, width], bytes)
}

fn folder(sizes: &[(u32, u32)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (nth, (width, height)) in sizes.iter().enumerate() {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, *width, *height);
        encoder.set_color(png::ColorType::Rgb);
        let pixels: Vec<u8> = (0..width * height * 3)
            .map(|i| (zenith_data::sampler::rng::mix(u64::from(i) + ((nth as u64) << 40)) >> 20) as u8)
            .collect();
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        fs::write(dir.path().join(format!("{nth}.png")), out).unwrap();
    }
    dir
}

fn ops(json: &str) -> Vec<Op> {
    serde_json::from_str(json).unwrap()
}

fn open(dir: &tempfile::TempDir, ops: &[Op]) -> Arc<dyn Source> {
    let ops = if ops.is_empty() { &[Op::ChannelsLast] } else { ops };
    let transform = Some(Plan::compile(ops, Mode::Exact).unwrap());
    let options = OpenOptions { transform, cache: CacheDir::none(), ..OpenOptions::default() };
    source::open(&SourceSpec::from(dir.path()), &options).unwrap()
}

fn native(json: &str, picture: bool) -> Link {
    Link::Native { ops: ops(json), picture }
}

fn make(function: fn(TensorRef<'_>) -> Made) -> Link {
    Link::Custom(Arc::new(Make(function)))
}

fn read(source: &dyn Source, sample: u64, epoch: u64) -> std::result::Result<Vec<u8>, SampleError> {
    let layout = SlotLayout::new(source.schema(), 1).unwrap();
    let mut slab = vec![0xee; layout.bytes()];
    let mut slots = Slots::of(&mut slab, &layout, 1);
    let key = SampleKey { sample, seed: 3, epoch };
    let mut filler = source.filler().unwrap();
    filler.fill(&[key], &mut slots, &mut Spent::default()).map_err(|(_, error)| error)?;
    Ok(slots.bytes(0, 0).to_vec())
}

const TO_FLOATS: &str = r#"[{"op": "to_image"}, {"op": "to_dtype", "dtype": "float32", "scale": true},
    {"op": "normalize", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}]"#;

#[test]
fn a_transform_that_changes_nothing_changes_nothing_among_native_ones() {
    let dir = folder(&[(40, 30), (31, 57)]);
    let resize = ops(r#"[{"op": "resize", "size": [16, 20]}]"#);
    let whole = open(&dir, &[resize.clone(), ops(TO_FLOATS)].concat());
    let seen = |link| {
        let last = [resize.clone(), vec![Op::ChannelsLast]].concat();
        Staged::new(open(&dir, &last), vec![make(same), link]).unwrap()
    };
    let staged = seen(native(TO_FLOATS, true));
    assert_eq!(staged.schema(), whole.schema());
    for sample in 0..2 {
        assert_eq!(read(&staged, sample, 0).unwrap(), read(&*whole, sample, 0).unwrap());
    }
    // Behind a tensor: channels come first.
    let tensor = [resize, vec![Op::ToImage]].concat();
    let to_floats = r#"[{"op": "to_dtype", "dtype": "float32", "scale": true},
        {"op": "normalize", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}]"#;
    let staged = Staged::new(open(&dir, &tensor), vec![make(same), native(to_floats, false)]).unwrap();
    assert_eq!(read(&staged, 1, 0).unwrap(), read(&*whole, 1, 0).unwrap());
}

#[test]
fn pictures_of_any_size_reach_a_transform_that_makes_them_one_size() {
    let dir = folder(&[(40, 30), (31, 57), (8, 8)]);
    let staged =
        Staged::new(open(&dir, &[]), vec![make(corner), native(r#"[{"op": "to_image"}]"#, true)]).unwrap();
    assert_eq!(staged.schema().fields[0].shape, [3, 8, 8]);
    for sample in 0..3 {
        let pixels = read(&staged, sample, 0).unwrap();
        let expected = zenith_data::sampler::rng::mix(1 + (sample << 40)) >> 20;
        assert_eq!(pixels[64], expected as u8, "green of the first pixel");
    }
}

#[test]
fn augmentation_behind_a_transform_belongs_to_the_sample_and_the_epoch() {
    let dir = folder(&[(16, 16), (16, 16), (16, 16)]);
    let crop = r#"[{"op": "random_resized_crop", "size": [8]}, {"op": "random_horizontal_flip"}]"#;
    let open = || Staged::new(open(&dir, &[]), vec![make(same), native(crop, true)]).unwrap();
    let (source, again) = (open(), open());
    assert_eq!(source.schema().fields[0].shape, [3, 8, 8]);
    let pixels = |source: &Staged, epoch| (0..3).map(|s| read(source, s, epoch).unwrap()).collect::<Vec<_>>();
    assert_eq!(pixels(&source, 1), pixels(&again, 1));
    assert_ne!(pixels(&source, 1), pixels(&source, 2));
}

#[test]
fn floats_are_normalised_channel_by_channel() {
    let dir = folder(&[(9, 7)]);
    let json =
        r#"[{"op": "normalize", "mean": [1, 2, 3], "std": [2]}, {"op": "to_dtype", "dtype": "float16"}]"#;
    let plain = Staged::new(open(&dir, &[]), vec![make(planes)]).unwrap();
    let normal = Staged::new(open(&dir, &[]), vec![make(planes), native(json, false)]).unwrap();
    assert_eq!(
        (normal.schema().fields[0].dtype, &normal.schema().fields[0].shape[..]),
        (DType::Float16, &[3, 7, 9][..])
    );
    let plain = read(&plain, 0, 0).unwrap();
    let normal = read(&normal, 0, 0).unwrap();
    for (i, (from, to)) in plain.chunks_exact(4).zip(normal.chunks_exact(2)).enumerate() {
        let from = f32::from_ne_bytes(from.try_into().unwrap());
        // Halves of bytes are exact in half precision: 11 bits.
        let expected = (from - (1 + i / 63) as f32) / 2.0;
        let bits = u16::from_ne_bytes(to.try_into().unwrap());
        assert_eq!(half::f16::from_bits(bits).to_f32(), expected, "element {i}");
    }
}

#[test]
fn what_native_operations_cannot_do_names_them_and_the_transform() {
    let dir = folder(&[(9, 7)]);
    let text = |function, json, picture| -> String {
        let staged: Result<Staged> =
            Staged::new(open(&dir, &[]), vec![make(function), native(json, picture)]);
        match staged.err() {
            Some(Error::Config(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    let resized = text(planes, r#"[{"op": "resize", "size": [4]}]"#, false);
    assert!(resized.contains("Resize behind make") && resized.contains("float32 [3, 7, 9]"), "{resized}");
    let normalized = text(same, r#"[{"op": "normalize", "mean": [1], "std": [1]}]"#, true);
    assert!(normalized.contains("Normalize behind make") && normalized.contains("floats"), "{normalized}");
    let flat = text(
        |input| (input.dtype, vec![input.bytes.len()], input.bytes.to_vec()),
        r#"[{"op": "to_image"}]"#,
        true,
    );
    assert!(flat.contains("ToImage behind make") && flat.contains("uint8 [189]"), "{flat}");
    let channels = text(planes, r#"[{"op": "normalize", "mean": [1, 2], "std": [1]}]"#, false);
    assert!(channels.contains("mean has 2 values"), "{channels}");
}
