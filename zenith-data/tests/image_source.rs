//! From a folder of pictures to slots of a batch: values, labels, open sizes, and every kind of bad file.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch};
use zenith_data::format::image::ImageOptions;
use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::schema::Shape;
use zenith_data::source::cache_dir::CacheDir;
use zenith_data::source::detect::{Found, SourceSpec, detect};
use zenith_data::source::folder::FolderBlobs;
use zenith_data::source::image::ImageSource;
use zenith_data::source::image_cache::ImageCache;
use zenith_data::source::subset::Subset;
use zenith_data::source::table::{LabelChoice, TableOptions, TableSource};
use zenith_data::source::{self, Grain, OpenOptions, SampleKey, Source, Spent};
use zenith_data::transform::{Mode, Op, Plan};
use zenith_data::{DType, Error, SampleError};
use zenith_runtime_cpu::io::Backend;

fn png(width: u32, height: u32, color: [u8; 3]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let pixels: Vec<u8> = color.iter().copied().cycle().take((width * height * 3) as usize).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    out
}

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn ops(json: &str) -> Plan {
    let ops: Vec<Op> = serde_json::from_str(json).unwrap();
    Plan::compile(&ops, Mode::Exact).unwrap()
}

fn open(spec: impl Into<SourceSpec>, plan: Plan) -> Result<ImageSource, Error> {
    match detect(&spec.into(), &CacheDir::none())? {
        Found::Pictures(index) => {
            ImageSource::new(Arc::new(FolderBlobs::new(index)?), plan, ImageOptions::default())
        }
        Found::Tables(files) => panic!("found tables: {files:?}"),
    }
}

const KEY: SampleKey = SampleKey { sample: 0, seed: 5, epoch: 0 };

/// Bytes of each field for the given samples, each filled alone.
fn fill(source: &dyn Source, samples: &[u64]) -> Vec<Result<Vec<Vec<u8>>, SampleError>> {
    let layout = SlotLayout::new(source.schema(), 1).unwrap();
    let mut filler = source.filler().unwrap();
    let keys: Vec<SampleKey> = samples.iter().map(|&sample| SampleKey { sample, ..KEY }).collect();
    filler.read_ahead(&keys);
    keys.iter()
        .map(|&key| {
            let mut slab = vec![0xee; layout.bytes()];
            let mut slots = Slots::of(&mut slab, &layout, 1);
            let mut spent = Spent::default();
            let done = filler.fill(&[key], &mut slots, &mut spent).map_err(|(at, error)| {
                assert_eq!(at, 0);
                error
            });
            done.map(|()| {
                assert!(spent.bytes > 0 && spent.decode_ns > 0);
                (0..layout.sizes().len()).map(|field| slots.bytes(field, 0).to_vec()).collect()
            })
        })
        .collect()
}

#[test]
fn class_folders_become_inputs_and_labels() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "ant/0.png", &png(40, 30, [10, 20, 30]));
    put(dir.path(), "bee/0.png", &png(30, 50, [40, 50, 60]));
    put(dir.path(), "bee/1.jpg", include_bytes!("data/turned.jpg"));
    let source =
        open(dir.path(), ops(r#"[{"op": "resize", "size": [16]}, {"op": "center_crop", "size": [16]}]"#))
            .unwrap();
    assert_eq!((source.len(), source.grain()), (3, Grain::Sample));
    assert_eq!(source.classes().unwrap(), ["ant", "bee"]);
    let schema = source.schema();
    assert_eq!(schema.shape, Shape::Tuple);
    assert_eq!((schema.fields[0].dtype, &*schema.fields[0].shape), (DType::UInt8, &[3, 16, 16][..]));
    assert_eq!((schema.fields[1].dtype, &*schema.fields[1].shape), (DType::Int64, &[][..]));
    let filled: Vec<_> = fill(&source, &[0, 1, 2]).into_iter().map(Result::unwrap).collect();
    for (sample, color) in [(0, [10, 20, 30]), (1, [40, 50, 60])] {
        for channel in 0..3 {
            let plane = &filled[sample][0][channel * 256..][..256];
            assert!(plane.iter().all(|&value| value == color[channel]), "{sample} {channel}");
        }
    }
    let labels: Vec<i64> = filled.iter().map(|f| i64::from_ne_bytes(f[1][..].try_into().unwrap())).collect();
    assert_eq!(labels, [0, 1, 1]);
    assert!(source.facts().iter().any(|(name, _)| name == "transform"));
}

#[test]
fn randomness_belongs_to_the_sample() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["a", "b"] {
        put(dir.path(), &format!("{file}.jpg"), include_bytes!("data/turned.jpg"));
    }
    let plan = || ops(r#"[{"op": "random_resized_crop", "size": [8]}, {"op": "random_horizontal_flip"}]"#);
    let source = open(dir.path(), plan()).unwrap();
    assert_eq!((source.schema().shape, source.classes()), (Shape::Single, None));
    let pixels = |samples: &[u64]| -> Vec<Vec<u8>> {
        fill(&source, samples).into_iter().map(|s| s.unwrap().remove(0)).collect()
    };
    let (there, back) = (pixels(&[0, 1, 0]), pixels(&[1, 0]));
    assert_eq!((&there[0], &there[1]), (&back[1], &back[0]));
    assert_eq!(there[0], there[2]);
    assert_ne!(there[0], there[1]);
}

#[test]
fn one_size_needs_no_transform_and_two_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "0.png", b"");
    put(dir.path(), "1.png", &png(4, 3, [1, 2, 3]));
    put(dir.path(), "2.png", &png(4, 3, [4, 5, 6]));
    put(dir.path(), "3.png", &png(4, 4, [7, 8, 9]));
    let source = open(dir.path(), ops("[]")).unwrap();
    assert_eq!(source.schema().fields[0].shape, [3, 3, 4]);
    let filled = fill(&source, &[0, 1, 2, 3, 4]);
    assert!(filled[0].as_ref().unwrap_err().reason.contains("empty"));
    assert_eq!(filled[2].as_ref().unwrap()[0][..12], [4; 12]);
    let error = filled[3].as_ref().unwrap_err();
    assert!(error.path.as_ref().unwrap().ends_with("3.png"));
    for text in ["4x4", "4x3", "1.png", "v2.Compose([v2.Resize(256), v2.CenterCrop(224)])"] {
        assert!(error.reason.contains(text), "{error}");
    }
    assert!(filled[4].as_ref().unwrap_err().reason.contains("no such picture"));

    let bad = tempfile::tempdir().unwrap();
    put(bad.path(), "0.png", b"GIF89a");
    let error = open(bad.path(), ops("[]")).err().unwrap();
    assert!(error.path().unwrap().ends_with("0.png"), "{error}");
    assert!(error.to_string().contains("found a GIF picture"), "{error}");
}

#[test]
fn every_bad_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let whole = png(20, 20, [1, 2, 3]);
    let mut bomb = whole.clone();
    bomb[16..24].copy_from_slice(&[0x7f, 0, 0, 0, 0x7f, 0, 0, 0]);
    let files: [(&str, &[u8], &str); 8] = [
        ("a/0-good.jpg", &whole, ""),
        ("a/1-zero.jpg", b"", "empty"),
        ("a/2-truncated.png", &whole[..whole.len() - 30], "truncated PNG data"),
        ("a/3-truncated.jpg", &include_bytes!("data/turned.jpg")[..600], "truncated JPEG data"),
        ("a/4-text.jpg", b"hello", "found text; supported are JPEG, PNG, WebP"),
        ("a/5-gzip.png", b"\x1f\x8b\x08\0\0", "found gzip data"),
        ("a/6-bomb.png", &bomb, "decompression bomb"),
        ("a/7-good.webp", include_bytes!("data/turned.jpg"), ""),
    ];
    for (name, bytes, _) in files {
        put(dir.path(), name, bytes);
    }
    std::os::unix::fs::symlink("/nowhere", dir.path().join("a/8-dangling.jpg")).unwrap();
    let fifo = dir.path().join("a/9-fifo.jpg");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    put(dir.path(), "a/a-vanishes.jpg", &whole);
    put(dir.path(), "a/b-becomes-a-folder.jpg", &whole);
    let source = open(dir.path(), ops(r#"[{"op": "resize", "size": [8, 8]}]"#)).unwrap();
    fs::remove_file(dir.path().join("a/a-vanishes.jpg")).unwrap();
    fs::remove_file(dir.path().join("a/b-becomes-a-folder.jpg")).unwrap();
    fs::create_dir(dir.path().join("a/b-becomes-a-folder.jpg")).unwrap();
    let expected: Vec<&str> = files
        .iter()
        .map(|(.., reason)| *reason)
        .chain(["link to nothing", "a FIFO", "gone", "a directory"])
        .collect();
    assert_eq!(source.len(), expected.len() as u64);
    let samples: Vec<u64> = (0..source.len()).collect();
    for (sample, (filled, reason)) in fill(&source, &samples).into_iter().zip(expected).enumerate() {
        match filled {
            Ok(_) => assert_eq!(reason, "", "sample {sample} was delivered"),
            Err(error) => {
                assert!(!reason.is_empty() && error.reason.contains(reason), "{error}");
                assert_eq!(error.sample, sample as u64);
                assert!(error.path.as_ref().unwrap().starts_with(dir.path().canonicalize().unwrap()));
                assert_eq!(
                    error.offset.is_some(),
                    reason.contains("truncated") || reason == "empty",
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn a_run_stops_at_the_bad_one_and_goes_on_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..4 {
        put(dir.path(), &format!("{file}.png"), &png(2, 2, [file, file, file]));
    }
    let source = open(dir.path(), ops("[]")).unwrap();
    put(dir.path(), "2.png", b"broken");
    let layout = SlotLayout::new(source.schema(), 4).unwrap();
    let mut slab = vec![0xee; layout.bytes()];
    let mut slots = Slots::of(&mut slab, &layout, 4);
    let keys: Vec<SampleKey> = (0..4).map(|sample| SampleKey { sample, ..KEY }).collect();
    let mut filler = source.filler().unwrap();
    let (at, error) = filler.fill(&keys, &mut slots, &mut Spent::default()).unwrap_err();
    assert_eq!((at, error.sample), (2, 2));
    filler.fill(&keys[3..], &mut slots.tail(2), &mut Spent::default()).unwrap();
    let values: Vec<u8> = (0..3).map(|slot| slots.bytes(0, slot)[0]).collect();
    assert_eq!(values, [0, 1, 3]);
}

#[test]
fn what_is_found_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    put(dir.path(), "texts/a.txt", b"a");
    put(dir.path(), "texts/b.txt", b"b");
    fs::create_dir(at("nothing")).unwrap();
    put(dir.path(), "mixed/a.jpg", b"");
    put(dir.path(), "mixed/a.parquet", b"PAR1");
    put(dir.path(), "deep/c/a.jpg", b"");
    put(dir.path(), "deep/c/a.csv", b"");
    put(dir.path(), "tables/part=1/x.parquet", b"PAR1");
    put(dir.path(), "tables/_SUCCESS", b"");
    put(dir.path(), "bare/part-0", b"PAR1....");
    put(dir.path(), "flat/a.jpg", b"");
    put(dir.path(), "flat/.thumbs/info.txt", b"");
    put(dir.path(), "classes/c/a.jpg", b"");
    put(dir.path(), "classes/labels.csv", b"");
    put(dir.path(), "gone.zip", b"PK\x03\x04");
    let fails = |spec: SourceSpec, texts: &[&str]| {
        let error = match detect(&spec, &CacheDir::none()) {
            Err(error @ Error::Source { .. }) => error.to_string(),
            other => panic!("{spec:?}: {other:?}"),
        };
        for text in texts {
            assert!(error.contains(text), "{error}");
        }
    };
    fails(at("texts").into(), &["found 2 .txt files", "class folders of pictures", "Parquet"]);
    fails(at("nothing").into(), &["found no file"]);
    fails(at("mixed").into(), &["pictures (1) and tables (1)", "*.parquet"]);
    fails(at("deep").into(), &["together"]);
    fails(at("missing").into(), &["no such file or folder"]);
    fails(at("gone.zip").into(), &["found a ZIP archive", "would work"]);
    fails(at("*.none").into(), &["no file matches"]);
    fails("s3://bucket/data".into(), &["remote sources (s3://)"]);
    fails("https://host/data.parquet".into(), &["not supported by this version"]);
    fails(SourceSpec::Paths(vec![at("flat"), at("texts")]), &["this is a folder"]);
    assert!(matches!(detect(&SourceSpec::Paths(Vec::new()), &CacheDir::none()), Err(Error::Config(_))));

    let tables = |spec: SourceSpec, expected: &[&str]| match detect(&spec, &CacheDir::none()) {
        Ok(Found::Tables(files)) => {
            assert_eq!(files, expected.iter().map(|name| at(name)).collect::<Vec<_>>());
        }
        other => panic!("{spec:?}: {other:?}"),
    };
    tables(at("tables").into(), &["tables/part=1/x.parquet"]);
    tables(at("bare").into(), &["bare/part-0"]);
    tables(at("bare/part-0").into(), &["bare/part-0"]);
    tables(at("mixed/*.parquet").into(), &["mixed/a.parquet"]);
    let pictures = |spec: SourceSpec, classes: usize| match detect(&spec, &CacheDir::none()) {
        Ok(Found::Pictures(index)) => assert_eq!((index.len(), index.class_names().len()), (1, classes)),
        other => panic!("{spec:?}: {other:?}"),
    };
    pictures(at("flat").into(), 0);
    pictures(at("classes").into(), 1);
    pictures(at("mixed/*.jpg").into(), 0);
    pictures(SourceSpec::Paths(vec![at("flat/a.jpg")]), 0);
    pictures(SourceSpec::Paths(vec![at("classes")]), 1);
    pictures(SourceSpec::Path(format!("file://{}", at("flat").display()).into()), 0);
}

#[test]
fn folders_and_tables_open_alike() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "pictures/a/0.png", &png(2, 2, [1, 2, 3]));
    put(dir.path(), "rows/0.csv", b"x,y,label\n1,2,0\n3,4,1\n");
    put(dir.path(), "rows/1.csv", b"x,y,label\n5,6,1\n");
    put(dir.path(), "two/a.csv", b"x,y\n1,2\n");
    put(dir.path(), "two/b.npy", b"\x93NUMPY\x01\0");
    put(dir.path(), "false/a.csv", b"\x1f\x8b\0\0");
    let spec = |name: &str| SourceSpec::from(dir.path().join(name));
    let plain = OpenOptions::default();
    let pictures = source::open(&spec("pictures"), &plain).unwrap();
    assert_eq!((pictures.len(), pictures.schema().fields[0].dtype), (1, DType::UInt8));
    let rows = source::open(&spec("rows"), &plain).unwrap();
    assert_eq!((rows.len(), &*rows.schema().fields[0].shape), (3, &[2][..]));
    let resized = OpenOptions {
        transform: Some(ops(r#"[{"op": "resize", "size": [8, 8]}]"#)),
        ..OpenOptions::default()
    };
    let pictures = source::open(&spec("pictures"), &resized).unwrap();
    assert_eq!(pictures.schema().fields[0].shape, [3, 8, 8]);
    let fails = |name: &str, options: &OpenOptions, text: &str| {
        let error = source::open(&spec(name), options).err().unwrap().to_string();
        assert!(error.contains(text), "{error}");
    };
    fails("rows", &resized, "the table holds none");
    let rows = source::open(&spec("rows"), &OpenOptions { untransformed_rows: true, ..resized }).unwrap();
    assert!(!rows.pictures() && pictures.pictures() && *rows.schema().fields[0].shape == [2]);
    let table = |table| OpenOptions { table, ..OpenOptions::default() };
    let columns = TableOptions { columns: Some(vec!["x".into()]), ..TableOptions::default() };
    fails("pictures", &table(columns), "columns= is for tables");
    let unlabelled = TableOptions { label: LabelChoice::None, ..TableOptions::default() };
    fails("pictures", &table(unlabelled), "label= is for tables");
    let typed = TableOptions { dtype: Some(DType::Float64), ..TableOptions::default() };
    fails("pictures", &table(typed), "dtype= is for tables");
    fails("two", &plain, "files of one kind");
    fails("false", &plain, "found gzip data; Parquet");
}

#[test]
fn files_are_read_by_the_backend_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a/1.png", &png(4, 4, [1, 2, 3]));
    let read_by = |io| {
        let options = OpenOptions { io, ..OpenOptions::default() };
        let source = source::open(&dir.path().into(), &options).unwrap();
        fill(&*source, &[0]).remove(0).unwrap();
        let facts = source.facts();
        facts.iter().find(|(name, _)| name == "files read by").unwrap().1.clone()
    };
    assert_eq!(read_by(Backend::Pread), "pread");
    let expected = zenith_runtime_cpu::io::open_reader(Backend::Auto, 8).unwrap().backend().to_owned();
    assert!(read_by(Backend::Auto).starts_with(&expected));
}

/// Two pictures and something else, each with a label.
fn picture_column() -> RecordBatch {
    let cells = [png(4, 4, [1, 2, 3]), png(4, 4, [4, 5, 6]), b"GIF89a".to_vec()];
    RecordBatch::try_from_iter([
        ("image", Arc::new(BinaryArray::from_iter_values(&cells)) as ArrayRef),
        ("label", Arc::new(Int64Array::from(vec![7, 8, 9])) as ArrayRef),
    ])
    .unwrap()
}

fn write_arrow(path: &Path, batch: &RecordBatch) {
    let mut writer =
        arrow_ipc::writer::FileWriter::try_new(fs::File::create(path).unwrap(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
}

#[test]
fn arguments_without_effect_on_pictures_are_noted_and_only_those() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "classes/a/1.png", &png(4, 4, [1, 2, 3]));
    let (folder, file) = (dir.path().join("classes"), dir.path().join("pictures.arrow"));
    write_arrow(&file, &picture_column());
    let options = |pictures, memory_budget| OpenOptions {
        pictures,
        table: TableOptions { memory_budget, ..TableOptions::default() },
        io: Backend::Pread,
        ..OpenOptions::default()
    };
    let of_files = |path: &Path, pictures, budget| {
        source::open(&path.into(), &options(pictures, budget)).unwrap().notes()
    };
    let of_memory = |pictures, budget| {
        let options = options(pictures, budget);
        let table = TableSource::from_record_batches(vec![picture_column()], &options.table).unwrap();
        source::open::opened(table, &options).unwrap().notes()
    };
    let (none, index, memory) = (ImageCache::None, ImageCache::Index, ImageCache::Memory);
    let budget = Some(1 << 20);
    for (case, found, expected) in [
        ("folder", of_files(&folder, none, budget), &["memory_budget has no effect: without cache="][..]),
        ("folder, kept", of_files(&folder, memory, budget), &[]),
        ("folder, no budget", of_files(&folder, none, None), &[]),
        ("column", of_files(&file, none, budget), &[]),
        ("column, index", of_files(&file, index, budget), &[]),
        (
            "column, memory",
            of_files(&file, memory, budget),
            &["cache=\"memory\" has no effect: a table's column"],
        ),
        ("in memory", of_memory(none, budget), &["memory_budget has no effect: the source lies in memory"]),
        ("in memory, index", of_memory(index, budget), &[]),
        (
            "in memory, memory",
            of_memory(memory, None),
            &["cache=\"memory\" has no effect: the source lies in"],
        ),
    ] {
        assert_eq!(found.len(), expected.len(), "{case}: {found:?}");
        assert!(found.iter().zip(expected).all(|(note, start)| note.starts_with(start)), "{case}: {found:?}");
    }
    // Notes come through whatever stands behind the source.
    let source = source::open(&folder.as_path().into(), &options(none, budget)).unwrap();
    let subset = Subset::new(Arc::clone(&source), vec![0]).unwrap();
    assert_eq!(subset.notes(), source.notes());
}

/// A table's file is what `datasets` of pictures often are; the column's bytes are decoded as files are.
#[test]
fn a_column_of_pictures_is_decoded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pictures.arrow");
    write_arrow(&path, &picture_column());
    let source = source::open(&path.clone().into(), &OpenOptions::default()).unwrap();
    assert_eq!((source.len(), source.blocks()), (3, None), "everything fits");
    assert!(source.facts().iter().any(|(name, _)| name == "pictures held in memory"));
    let mut filled = fill(&*source, &[1, 0, 2]);
    let error = filled.pop().unwrap().unwrap_err();
    assert!(error.reason.contains("found a GIF picture"), "{error}");
    assert_eq!((error.path, error.sample), (Some(path), 2));
    for (fields, (color, label)) in filled.into_iter().zip([(4, 8i64), (1, 7)]) {
        let fields = fields.unwrap();
        assert_eq!(fields[0][..16], [color; 16]);
        assert_eq!(fields[1], label.to_ne_bytes());
    }
}
