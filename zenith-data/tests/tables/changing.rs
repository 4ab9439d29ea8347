//! Files that are cut off or written to while a table reads them: what is in memory is delivered as it was read, and what
//! must still be read is an error that names the file. The process lives on.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{FixedSizeListBuilder, Float32Builder};
use arrow_array::{Int64Array, RecordBatch};
use zenith_data::source::Source;
use zenith_data::source::table::{Opened, TableOptions};

use crate::made::{
    assert_numbers, batch, error_of, fill, floats, integers, npy, numbers, open, open_rows, write_ipc,
    write_parquet,
};
use crate::pictures;

const ROWS: usize = 20_000;
const WIDTH: usize = 8;

/// A zip archive of stored members.
fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let mut middle = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for number in [crc.sum(), bytes.len() as u32, bytes.len() as u32, name.len() as u32] {
            middle.extend(number.to_le_bytes());
        }
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&middle);
        directory.extend([0; 10]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(&middle);
        file.extend(name.as_bytes());
        file.extend(bytes);
    }
    let (start, count) = (file.len() as u32, members.len() as u16);
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend(count.to_le_bytes());
    file.extend(count.to_le_bytes());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    file
}

fn lists() -> RecordBatch {
    let mut x = FixedSizeListBuilder::new(Float32Builder::new(), WIDTH as i32);
    for row in 0..ROWS {
        (0..WIDTH).for_each(|i| x.values().append_value((row * WIDTH + i) as f32));
        x.append(true);
    }
    let y = Int64Array::from_iter_values((0..ROWS).map(|row| row as i64));
    batch(vec![("x", Arc::new(x.finish())), ("y", Arc::new(y))])
}

/// The same rows as an archive, as an Arrow file, as an Arrow stream, and as Parquet.
fn written(folder: &Path) -> Vec<PathBuf> {
    let x: Vec<u8> = (0..ROWS * WIDTH).flat_map(|v| (v as f32).to_le_bytes()).collect();
    let y: Vec<u8> = (0..ROWS).flat_map(|v| (v as i64).to_le_bytes()).collect();
    let x = npy("<f4", &format!("({ROWS}, {WIDTH})"), &x);
    let y = npy("<i8", &format!("({ROWS},)"), &y);
    let paths: Vec<PathBuf> = ["t.npz", "t.arrow", "t.arrows", "t.parquet"].map(|n| folder.join(n)).into();
    fs::write(&paths[0], npz(&[("x.npy", x), ("y.npy", y)])).unwrap();
    write_ipc(&paths[1], &lists(), ROWS, false);
    write_ipc(&paths[2], &lists(), 7000, true);
    write_parquet(&paths[3], &lists(), 1000);
    paths
}

fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn assert_rows(source: &dyn Source, ids: &[u64]) {
    let fields = fill(source, ids).unwrap();
    for (nth, id) in ids.iter().enumerate() {
        let first = (*id as usize * WIDTH) as f32;
        let expected: Vec<f32> = (0..WIDTH).map(|i| first + i as f32).collect();
        assert_eq!(floats(&fields[0])[nth * WIDTH..(nth + 1) * WIDTH], expected);
    }
    assert_eq!(integers(&fields[1]), ids.iter().map(|id| *id as i64).collect::<Vec<_>>());
}

#[test]
fn what_is_in_memory_outlives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    for path in written(folder.path()) {
        let source = open_rows(&path, &TableOptions::default());
        cut(&path, 0);
        assert_rows(&source, &[0, 19_999, 7, 6_999, 7_000, 12_345]);
    }
}

#[test]
fn a_file_that_shrinks_under_a_window_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in written(folder.path()) {
        let budget = Some(200_000);
        let source = open_rows(&path, &TableOptions { memory_budget: budget, ..TableOptions::default() });
        let (_, window) = source.blocks().unwrap();
        assert_eq!(window, 100_000 / (4 * WIDTH as u64 + 8), "half of the budget");
        assert_rows(&source, &[5, 19_998, 3]);
        let len = fs::metadata(&path).unwrap().len();
        cut(&path, len / 3);
        let (position, error) = fill(&source, &[10_000]).unwrap_err();
        assert_eq!((position, error.path.as_deref()), (0, Some(path.as_path())));
        let expected = format!("{} of {len} bytes are left", len / 3);
        assert!(error.reason.contains("shrank") && error.reason.contains(&expected), "{error}");
    }
}

#[test]
fn a_file_that_is_written_to_under_a_window_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in written(folder.path()) {
        let budget = Some(200_000);
        let source = open_rows(&path, &TableOptions { memory_budget: budget, ..TableOptions::default() });
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend([0; 10]);
        fs::write(&path, &bytes).unwrap();
        let (_, error) = fill(&source, &[10_000]).unwrap_err();
        assert!(error.reason.contains("written to"), "{error}");
        assert_eq!(error.path.as_deref(), Some(path.as_path()));
    }
}

#[test]
fn a_file_that_is_written_to_while_its_pictures_are_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.parquet", "a.arrow"] {
        let path = folder.path().join(name);
        if name == "a.parquet" {
            write_parquet(&path, &pictures(false), 4);
        } else {
            write_ipc(&path, &pictures(false), 4, false);
        }
        let Opened::Pictures(blobs) = open(std::slice::from_ref(&path), &TableOptions::default()).unwrap()
        else {
            panic!("rows")
        };
        let mut bytes = Vec::new();
        blobs.read(0, &mut bytes).unwrap();
        // Behind everything that is read.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&[0]).unwrap();
        let error = blobs.read(9, &mut bytes).unwrap_err();
        assert!(error.reason.contains("written to"), "{name}: {error}");
        assert_eq!(error.path.as_deref(), Some(path.as_path()));
        blobs.read(1, &mut bytes).unwrap();
        assert_eq!(bytes, [0xFF, 0xD8, 0xFF, 1], "what is in memory is delivered as it was read");
    }
}

#[test]
fn columns_of_large_batches_are_read_apart_from_each_other() {
    // Over a megabyte a batch, with nulls in between, so that neither the whole body nor plain numbers are read.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.arrow");
    write_ipc(&path, &numbers(40_000), 20_000, false);
    let columns = Some((0..40).map(|c| format!("f{c}")).collect());
    let source = open_rows(&path, &TableOptions { columns, threads: 2, ..TableOptions::default() });
    assert_numbers(&source, &[0, 39_999, 20_000, 19_999]);
    let few = TableOptions { columns: Some(vec!["f39".into()]), ..TableOptions::default() };
    let fields = fill(&open_rows(&path, &few), &[39_999]).unwrap();
    assert_eq!(floats(&fields[0]), [((39_999 * 41 + 39) % 1000) as f32]);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(error_of(&path, &TableOptions::default()).contains("cut off"));
}

#[test]
fn types_narrower_than_their_field_are_held_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    fs::write(&path, npy("|u1", "(4000, 3)", &(0..12_000).map(|v| v as u8).collect::<Vec<_>>())).unwrap();
    let dtype = Some(zenith_data::DType::Float32);
    let source = open_rows(&path, &TableOptions { dtype, ..TableOptions::default() });
    assert!(source.facts().contains(&("rows held in memory".into(), "12000 bytes".into())));
    assert_eq!(floats(&fill(&source, &[3999]).unwrap()[0]), [221.0, 222.0, 223.0]);
    fs::write(&path, npy(">f8", "(2, 2)", &[0x3F, 0xF0, 0, 0, 0, 0, 0, 0].repeat(4))).unwrap();
    assert_eq!(floats(&fill(&open_rows(&path, &TableOptions::default()), &[1]).unwrap()[0]), [1.0, 1.0]);
}
