//! Makes table files of every kind with known content, and reads batches back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::source::table::{Kind, Opened, TableOptions, TableSource, open_files};
use zenith_data::source::{SampleKey, Source, Spent};
use zenith_data::{Error, SampleError};

pub(crate) type Fill = Result<Vec<Vec<u8>>, (usize, SampleError)>;

pub(crate) fn fill(source: &dyn Source, ids: &[u64]) -> Fill {
    let layout = SlotLayout::new(source.schema(), ids.len()).unwrap();
    let mut slab = vec![0xEEu8; layout.bytes()];
    let keys: Vec<SampleKey> = ids.iter().map(|id| SampleKey { sample: *id, seed: 0, epoch: 0 }).collect();
    let mut filler = source.filler().unwrap();
    filler.read_ahead(&keys);
    let mut slots = Slots::of(&mut slab, &layout, ids.len());
    filler.fill(&keys, &mut slots, &mut Spent::default())?;
    Ok((0..layout.offsets().len()).map(|field| slots.column(field).to_vec()).collect())
}

pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

pub(crate) fn integers(bytes: &[u8]) -> Vec<i64> {
    bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
}

pub(crate) fn rows_of(opened: Opened) -> TableSource {
    match opened {
        Opened::Rows(source) => source,
        Opened::Pictures(_) => panic!("pictures"),
    }
}

pub(crate) fn open(paths: &[PathBuf], options: &TableOptions) -> zenith_data::Result<Opened> {
    let bytes = fs::read(&paths[0]).map_err(|e| Error::io(&paths[0], e))?;
    let kind = Kind::sniff(&paths[0], &bytes[..bytes.len().min(64)]).expect("a kind");
    open_files(paths, kind, options)
}

pub(crate) fn open_rows(path: &Path, options: &TableOptions) -> TableSource {
    rows_of(open(&[path.to_owned()], options).unwrap())
}

pub(crate) fn error_of(path: &Path, options: &TableOptions) -> String {
    open(&[path.to_owned()], options).unwrap_err().to_string()
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

/// 40 columns of numbers of four types, one kind with nulls, and a label.
pub(crate) fn numbers(rows: usize) -> RecordBatch {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for c in 0..40usize {
        let value = move |r: usize| (r * 41 + c) % 1000;
        let array: ArrayRef = match c % 4 {
            0 => Arc::new(Float32Array::from_iter_values((0..rows).map(|r| value(r) as f32 / 8.0))),
            1 => Arc::new(Float64Array::from_iter_values((0..rows).map(|r| value(r) as f64 / 4.0))),
            2 => Arc::new(Int32Array::from_iter_values((0..rows).map(|r| value(r) as i32 - 500))),
            _ => Arc::new(Int64Array::from_iter(
                (0..rows).map(|r| (r % 7 != c % 7).then_some(value(r) as i64)),
            )),
        };
        columns.push((format!("f{c}"), array));
    }
    columns.push(("label".into(), Arc::new(Int64Array::from_iter_values((0..rows).map(|r| r as i64)))));
    RecordBatch::try_from_iter(columns).unwrap()
}

pub(crate) fn expected(row: usize) -> Vec<f32> {
    let one = |c: usize| {
        let value = (row * 41 + c) % 1000;
        match c % 4 {
            0 => value as f32 / 8.0,
            1 => value as f32 / 4.0,
            2 => value as f32 - 500.0,
            _ if row % 7 == c % 7 => f32::NAN,
            _ => value as f32,
        }
    };
    (0..40).map(one).collect()
}

pub(crate) fn assert_numbers(source: &dyn Source, ids: &[u64]) {
    let fields = fill(source, ids).unwrap();
    let inputs = floats(&fields[0]);
    for (nth, id) in ids.iter().enumerate() {
        let (found, expected) = (&inputs[nth * 40..(nth + 1) * 40], expected(*id as usize));
        let same = found.iter().zip(&expected).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()));
        assert!(same, "row {id}: {found:?} instead of {expected:?}");
    }
    assert_eq!(integers(&fields[1]), ids.iter().map(|id| *id as i64).collect::<Vec<_>>());
}

pub(crate) fn write_parquet(path: &Path, batch: &RecordBatch, group: usize) {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

pub(crate) fn write_ipc(path: &Path, batch: &RecordBatch, rows: usize, stream: bool) {
    let parts =
        (0..batch.num_rows()).step_by(rows).map(|at| batch.slice(at, rows.min(batch.num_rows() - at)));
    let file = fs::File::create(path).unwrap();
    if stream {
        let mut writer = arrow_ipc::writer::StreamWriter::try_new(file, &batch.schema()).unwrap();
        parts.for_each(|part| writer.write(&part).unwrap());
        writer.finish().unwrap();
    } else {
        let mut writer = arrow_ipc::writer::FileWriter::try_new(file, &batch.schema()).unwrap();
        parts.for_each(|part| writer.write(&part).unwrap());
        writer.finish().unwrap();
    }
}

pub(crate) fn write_csv(path: &Path, rows: usize) {
    let mut text = (0..40).map(|c| format!("f{c}")).collect::<Vec<_>>().join(",") + ",label\n";
    for row in 0..rows {
        for value in expected(row) {
            text.push_str(&if value.is_nan() { String::new() } else { value.to_string() });
            text.push(',');
        }
        text.push_str(&format!("{row}\n"));
    }
    fs::write(path, text).unwrap();
}

pub(crate) fn scattered(rows: u64, n: u64) -> Vec<u64> {
    (0..n).map(|i| (i * 7919 + 13) % rows).collect()
}

pub(crate) fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend((text.len() as u16).to_le_bytes());
    file.extend(text.as_bytes());
    file.extend(data);
    file
}
