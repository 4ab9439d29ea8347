//! Parquet's pages, in every way that writers have of them, and files made page by page.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, RecordBatch, StringArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{Int64Type, Int96, Int96Type};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use zenith_data::source::Source;
use zenith_data::source::table::{LabelChoice, Opened, TableOptions};

use crate::made::{assert_numbers, batch, fill, integers, numbers, open, open_rows, rows_of};
use crate::pictures;

pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Fields of a Thrift structure, from the first on, without its end.
pub(crate) fn fields(numbers: &[i32]) -> Vec<u8> {
    let field = |number: &i32| [&[0x15][..], &varint(u64::from(number.cast_unsigned()) * 2)].concat();
    numbers.iter().flat_map(field).collect()
}

/// A page and its header, of kind 0 (data: count, encoding, encodings of levels) or 2 (dictionary: count, encoding).
pub(crate) fn page(kind: i32, inflated: i32, of_kind: &[i32], packed: &[u8]) -> Vec<u8> {
    let structure = if kind == 0 { 0x2c } else { 0x4c };
    let own = fields(&[kind, inflated, packed.len() as i32]);
    [&own[..], &[structure], &fields(of_kind), &[0, 0], packed].concat()
}

/// A file of one row in one row group, with the pages of every column of `schema`.
pub(crate) fn write_pages(path: &Path, schema: &str, compression: Compression, columns: &[Vec<u8>]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::default()).unwrap();
    let described = writer.schema_descr().columns().to_vec();
    let mut group = writer.next_row_group().unwrap();
    for (column, pages) in described.into_iter().zip(columns) {
        let metadata = ColumnChunkMetaData::builder(column)
            .set_compression(compression)
            .set_num_values(1)
            .set_total_compressed_size(pages.len() as i64)
            .set_total_uncompressed_size(pages.len() as i64)
            .set_data_page_offset(0)
            .build()
            .unwrap();
        let close = ColumnCloseResult {
            bytes_written: pages.len() as u64,
            rows_written: 1,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        group.append_column(&Bytes::from(pages.clone()), close).unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

fn write_with(path: &Path, table: &RecordBatch, properties: WriterPropertiesBuilder) {
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, table.schema(), Some(properties.build())).unwrap();
    writer.write(table).unwrap();
    writer.close().unwrap();
}

fn properties(version: WriterVersion) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_writer_version(version)
        .set_max_row_group_row_count(Some(250))
        .set_write_batch_size(50)
        .set_data_page_row_count_limit(100)
}

const VERSIONS: [WriterVersion; 2] = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0];

#[test]
fn pages_of_every_compression_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        for version in VERSIONS {
            for dictionary in [true, false] {
                let properties =
                    properties(version).set_compression(compression).set_dictionary_enabled(dictionary);
                write_with(&path, &numbers(300), properties);
                assert_numbers(&open_rows(&path, &TableOptions::default()), &[0, 99, 100, 249, 250, 299]);
            }
        }
    }
}

#[test]
fn texts_and_pictures_of_every_encoding_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let rows = 600;
    let class = |row: usize| format!("class {}", row * 7 % 50 + 10);
    let x: ArrayRef = Arc::new(Float32Array::from_iter_values((0..rows).map(|row| row as f32)));
    let label: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(class)));
    let texts = batch(vec![("x", x), ("label", label)]);
    for encoding in [Encoding::PLAIN, Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY] {
        for (version, dictionary) in VERSIONS.into_iter().flat_map(|v| [(v, true), (v, false)]) {
            let made = || {
                let of_text = |builder: WriterPropertiesBuilder, name: &str| {
                    builder.set_column_encoding(name.into(), encoding)
                };
                of_text(of_text(properties(version), "label"), "image").set_dictionary_enabled(dictionary)
            };
            write_with(&path, &texts, made());
            let source = open_rows(&path, &TableOptions::default());
            let classes = source.classes().unwrap();
            assert_eq!(classes.len(), 50);
            let ids: Vec<u64> = (0..rows as u64).collect();
            for (row, index) in integers(&fill(&source, &ids).unwrap()[1]).iter().enumerate() {
                assert_eq!(classes[*index as usize], class(row));
            }
            write_with(&path, &pictures(false), made().set_column_encoding("label".into(), Encoding::PLAIN));
            let Opened::Pictures(blobs) =
                open(std::slice::from_ref(&path), &TableOptions::default()).unwrap()
            else {
                panic!("rows")
            };
            let mut bytes = Vec::new();
            for id in (0..10).filter(|id| *id != 7) {
                blobs.read(id, &mut bytes).unwrap();
                assert_eq!(bytes, [0xFF, 0xD8, 0xFF, id as u8]);
            }
        }
    }
}

/// A file of times in nanoseconds, as 64-bit counts or in the older 96 bits.
fn write_times(path: &Path, old: bool, times: &[i64]) {
    const EPOCH: u32 = 2_440_588;
    let kind = if old { "int96 t" } else { "int64 t (TIMESTAMP(NANOS, false))" };
    let schema = Arc::new(parse_message_type(&format!("message m {{ required {kind}; }}")).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    if old {
        let of_day = |time: &i64| Int96::from(vec![*time as u32, (*time >> 32) as u32, EPOCH]);
        let times: Vec<Int96> = times.iter().map(of_day).collect();
        column.typed::<Int96Type>().write_batch(&times, None, None).unwrap();
    } else {
        column.typed::<Int64Type>().write_batch(times, None, None).unwrap();
    }
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn files_with_the_same_times_in_different_types_are_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.parquet", "b.parquet"].map(|name| folder.path().join(name));
    for old_first in [true, false] {
        write_times(&paths[0], old_first, &[1, 70_000_000_000_000]);
        write_times(&paths[1], !old_first, &[5, 80_000_000_000_000]);
        let options = TableOptions { label: LabelChoice::None, ..TableOptions::default() };
        let source = rows_of(open(&paths, &options).unwrap());
        assert_eq!(source.len(), 4);
        let times = integers(&fill(&source, &[0, 1, 2, 3]).unwrap()[0]);
        assert_eq!(times, [1, 70_000_000_000_000, 5, 80_000_000_000_000]);
    }
}
