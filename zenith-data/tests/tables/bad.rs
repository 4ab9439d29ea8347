//! Bad files: each is named, with what is wrong, and nothing of it is delivered as if it were right.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Int32Array, Int64Array, RecordBatch};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::{DataType, Field};
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use zenith_data::Error;
use zenith_data::source::Source as _;
use zenith_data::source::table::{Kind, LabelChoice, TableOptions, TableSource, open_files};

use crate::made::{
    assert_numbers, batch, error_of, fill, npy, numbers, open, open_rows, write_ipc, write_parquet,
};
use crate::pages::{fields, page, varint, write_pages};

#[test]
fn a_null_that_cannot_be_nan_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let a = Int32Array::from(vec![Some(1), None, Some(3)]);
    let label = Int64Array::from(vec![Some(1), Some(2), None]);
    let table = batch(vec![("a", Arc::new(a)), ("label", Arc::new(label))]);
    for name in ["a.parquet", "a.arrow"] {
        let path = folder.path().join(name);
        if name == "a.parquet" {
            write_parquet(&path, &table, 2);
        } else {
            write_ipc(&path, &table, 2, false);
        }
        let error = error_of(&path, &TableOptions::default());
        assert!(error.contains("\"label\", row 2: a null cannot be int64"), "{error}");
        let options = TableOptions { label: LabelChoice::Named("a".into()), ..TableOptions::default() };
        assert!(error_of(&path, &options).contains("\"a\", row 1"));
    }
}

#[test]
fn damaged_files_are_named_and_never_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let one = std::slice::from_ref(&path);
    write_parquet(&path, &numbers(2000), 500);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    let error = open(one, &TableOptions::default()).unwrap_err();
    assert_eq!(error.path(), Some(path.as_path()));
    // Zeroes in the middle of the second row group's pages.
    let mut torn = whole.clone();
    let middle = whole.len() * 3 / 8;
    torn[middle..middle + 3000].fill(0);
    fs::write(&path, &torn).unwrap();
    let error = open(one, &TableOptions::default()).unwrap_err();
    assert!(matches!(&error, Error::Source { path: found, .. } if *found == path), "{error:?}");
    // With skip_bad the rows of that block are bad samples, all others are right.
    let source = open_rows(&path, &TableOptions { skip_bad: true, ..TableOptions::default() });
    assert_numbers(&source, &(0..500).collect::<Vec<_>>());
    assert_numbers(&source, &(1000..2000).collect::<Vec<_>>());
    let (position, error) = fill(&source, &[3, 600, 4]).unwrap_err();
    assert_eq!((position, error.sample, error.path.as_deref()), (1, 600, Some(path.as_path())));
    // And so they are when the table streams.
    let source =
        open_rows(&path, &TableOptions { memory_budget: Some(600 * 168), ..TableOptions::default() });
    assert_numbers(&source, &[3, 4, 1500]);
    assert_eq!(fill(&source, &[3, 4, 999]).unwrap_err().0, 2);
    assert!(fill(&source, &[2000]).unwrap_err().1.to_string().contains("no such row"));
    fs::write(&path, b"PAR1").unwrap();
    assert!(error_of(&path, &TableOptions::default()).contains("a.parquet"));
    fs::remove_file(&path).unwrap();
    let error = open_files(one, Kind::Parquet, &TableOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn a_footer_that_would_be_read_for_ever_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    // A field nobody knows: a list of 100 lists of 2^31 - 1 booleans each, which take no bytes.
    let lists = [0xf1, 0xff, 0xff, 0xff, 0xff, 0x07].repeat(100);
    let footer = [&[0x09, 0xfe, 0x01, 0xf9, 100][..], &lists, &[0]].concat();
    let file = [b"PAR1", &footer[..], &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat();
    fs::write(&path, file).unwrap();
    let error = error_of(&path, &TableOptions::default());
    assert!(error.contains("its footer counts more elements than it has bytes"), "{error}");
}

/// A page of one number, not compressed.
fn one_number() -> Vec<u8> {
    page(0, 8, &[1, 0, 3, 3], &[0; 8])
}

#[test]
fn a_column_of_fewer_than_no_bytes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    for schema in ["message m { required int64 x; }", "message m { required binary image; }"] {
        write_pages(&path, schema, Compression::UNCOMPRESSED, &[one_number()]);
        let mut bytes = fs::read(&path).unwrap();
        // In the footer one value, its bytes as they are and as they are packed, in zigzag, each behind its field.
        let twice = 2 * one_number().len() as u8;
        let sizes = [0x16, 2, 0x16, twice, 0x16, twice];
        let places: Vec<usize> = (0..bytes.len() - 6).filter(|at| bytes[*at..at + 6] == sizes).collect();
        assert_eq!(places.len(), 1);
        bytes[places[0] + 5] = twice - 1;
        fs::write(&path, bytes).unwrap();
        let error = error_of(&path, &TableOptions::default());
        assert!(error.contains(&format!("claims to have -{} bytes", twice / 2)), "{error}");
    }
}

#[test]
fn a_dictionary_that_claims_too_much_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let claim = page(2, 8, &[i32::MAX, 0], &[0; 8]);
    let pages = [&claim[..], &page(0, 3, &[1, 8, 3, 3], &[1, 2, 0])].concat();
    for (schema, columns) in [
        ("message m { required int64 x; }", vec![pages.clone()]),
        ("message m { required int64 x; required binary label (UTF8); }", vec![one_number(), pages]),
    ] {
        write_pages(&path, schema, Compression::UNCOMPRESSED, &columns);
        let error = error_of(&path, &TableOptions::default());
        assert!(error.contains("a dictionary of 8 bytes claims to have 2147483647 values"), "{error}");
    }
}

#[test]
fn lengths_that_claim_too_much_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    // Blocks of 128 differences in 4 parts.
    let lengths = |count: u64| [&[0x80, 1, 4][..], &varint(count), &[0; 6]].concat();
    let (one, many) = (lengths(1), lengths(1 << 40));
    // Alone, and behind the lengths of what is shared with the value before.
    for (encoding, bytes) in [(6, many.clone()), (7, many.clone()), (7, [&one[..5], &many].concat())] {
        let pages = page(0, bytes.len() as i32, &[1, encoding, 3, 3], &bytes);
        for (schema, columns) in [
            ("message m { required binary image; }", vec![pages.clone()]),
            ("message m { required int64 x; required binary label (UTF8); }", vec![one_number(), pages]),
        ] {
            write_pages(&path, schema, Compression::UNCOMPRESSED, &columns);
            let error = error_of(&path, &TableOptions::default());
            assert!(error.contains("claim to have 1099511627776 differences"), "{error}");
        }
    }
}

#[test]
fn pages_that_inflate_to_more_than_they_announce_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let zeroes = vec![0; 1 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&zeroes).unwrap();
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 1, 22);
    brotli.write_all(&zeroes).unwrap();
    let (gzip, brotli) = (gzip.finish().unwrap(), brotli.into_inner());
    let schema = "message m { required int64 x; }";
    for (compression, packed) in [
        (Compression::GZIP(GzipLevel::default()), &gzip),
        (Compression::BROTLI(BrotliLevel::default()), &brotli),
    ] {
        write_pages(&path, schema, compression, &[page(0, 8, &[1, 0, 3, 3], packed)]);
        let error = error_of(&path, &TableOptions::default());
        assert!(error.contains("inflates to more than the 8 bytes announced"), "{error}");
    }
    for compression in [
        Compression::SNAPPY,
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        write_pages(&path, schema, compression, &[page(0, i32::MAX, &[1, 0, 3, 3], &[0; 10])]);
        let error = error_of(&path, &TableOptions::default());
        assert!(error.contains("a page of 10 bytes claims to hold 2147483647"), "{error}");
    }
}

#[test]
fn a_page_header_that_would_be_read_for_ever_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    // A field nobody knows: a list of 100 lists of 2^31 - 1 booleans each, which take no bytes.
    let lists = [0xf1, 0xff, 0xff, 0xff, 0xff, 0x07].repeat(100);
    let unknown = [&[0xc9, 0xf9, 100][..], &lists].concat();
    let around = [&fields(&[0, 8, 8])[..], &unknown, &[0]].concat();
    // The same in a text that stands where a number should: readers who trust the field's number, not its kind, read
    // the length and go on inside of it.
    let inside = [&[0x15, 16][..], &unknown, &[0]].concat();
    let hidden = [&fields(&[0])[..], &[0x18], &varint(inside.len() as u64), &inside, &[0]].concat();
    for (pages, expected) in
        [(around, "counts more elements than it has bytes"), (hidden, "the page header at offset 4")]
    {
        let schema = "message m { required int64 x; }";
        write_pages(&path, schema, Compression::UNCOMPRESSED, &[pages]);
        let error = error_of(&path, &TableOptions::default());
        assert!(error.contains(expected), "{error}");
    }
}

/// Writes `number` wherever `was` stands, and says how often.
fn replace(bytes: &mut [u8], was: i64, number: i64) -> usize {
    let places: Vec<usize> =
        (0..bytes.len() - 7).filter(|at| bytes[*at..at + 8] == was.to_le_bytes()).collect();
    places.iter().for_each(|at| bytes[*at..at + 8].copy_from_slice(&number.to_le_bytes()));
    places.len()
}

#[test]
fn an_arrow_footer_that_names_more_than_the_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.arrow");
    let column: ArrayRef = Arc::new(Int64Array::from(vec![0; 777]));
    write_ipc(&path, &batch(vec![("x", column)]), 777, false);
    let mut bytes = fs::read(&path).unwrap();
    // Rows and bytes of the column, and the body that holds it in whole lines of 64 bytes, in the message and in the
    // footer.
    assert!(replace(&mut bytes, 777, 1 << 50) >= 2);
    assert!(replace(&mut bytes, 6216, 1 << 53) >= 1);
    assert!(replace(&mut bytes, 6272, 1 << 60) >= 2);
    fs::write(&path, bytes).unwrap();
    let error = error_of(&path, &TableOptions::default());
    assert!(error.contains("the footer names a message outside of the file"), "{error}");
}

#[test]
fn rows_of_no_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let empty = || -> ArrayRef { Arc::new(Float32Array::from(Vec::<f32>::new())) };
    let lists: ArrayRef =
        Arc::new(FixedSizeListArray::try_new_with_length(item, 0, empty(), None, 777).unwrap());
    let table = batch(vec![("x", lists)]);
    let options = TableOptions { label: LabelChoice::None, ..TableOptions::default() };
    for (name, stream) in [("a.arrow", false), ("a.arrows", true)] {
        let path = folder.path().join(name);
        write_ipc(&path, &table, 777, stream);
        let mut bytes = fs::read(&path).unwrap();
        assert!(error_of(&path, &options).contains("\"x\" holds rows of no numbers"));
        // As many rows as one likes fit into the same file.
        assert!(replace(&mut bytes, 777, 1 << 50) >= 2);
        fs::write(&path, bytes).unwrap();
        let error = error_of(&path, &options);
        assert!(error.contains("\"x\" holds rows of no numbers"), "{error}");
    }
    let error = TableSource::from_record_batches(vec![table], &options).unwrap_err().to_string();
    assert!(error.contains("rows of no numbers"), "{error}");
}

#[test]
fn a_compressed_arrow_buffer_that_claims_too_much_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.arrow");
    let write = |table: &RecordBatch, codec| {
        let options = IpcWriteOptions::default().try_with_compression(Some(codec)).unwrap();
        let file = fs::File::create(&path).unwrap();
        let mut writer = FileWriter::try_new_with_options(file, &table.schema(), options).unwrap();
        writer.write(table).unwrap();
        writer.finish().unwrap();
    };
    for (codec, magic) in [(CompressionType::ZSTD, 0xfd2f_b528), (CompressionType::LZ4_FRAME, 0x184d_2204)] {
        write(&numbers(500), codec);
        let whole = fs::read(&path).unwrap();
        // The length stands before the frame.
        let frame = whole.windows(4).position(|four| four == u32::to_le_bytes(magic)).unwrap();
        for claim in [1_u64 << 32, 1 << 62] {
            let mut greedy = whole.clone();
            greedy[frame - 8..frame].copy_from_slice(&claim.to_le_bytes());
            fs::write(&path, greedy).unwrap();
            let error = error_of(&path, &TableOptions::default());
            assert!(error.contains(&format!("claims to hold {claim}")), "{error}");
        }
        // What compresses as well as can be is not suspected.
        write(&batch(vec![("a", Arc::new(Float32Array::from(vec![0.0; 3_000_000])))]), codec);
        assert_eq!(open_rows(&path, &TableOptions::default()).len(), 3_000_000);
    }
}

#[test]
fn a_table_that_memory_cannot_hold_is_named_and_streams_with_a_budget() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    // A sparse file: 4 TiB of zeroes that take no disk.
    let rows = 1u64 << 36;
    let header = npy("<f8", &format!("({rows}, 8)"), &[]);
    let file = fs::File::create(&path).unwrap();
    fs::write(&path, &header).unwrap();
    file.set_len(header.len() as u64 + rows * 64).unwrap();
    let error = open_files(std::slice::from_ref(&path), Kind::Npy, &TableOptions::default()).unwrap_err();
    assert_eq!(error.path(), Some(path.as_path()));
    assert!(error.to_string().contains("memory_budget= streams"), "{error}");
}

#[test]
fn cut_arrow_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, stream) in [("a.arrow", false), ("b.arrows", true)] {
        let path = folder.path().join(name);
        write_ipc(&path, &numbers(500), 100, stream);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() * 2 / 3]).unwrap();
        let error = error_of(&path, &TableOptions::default());
        assert!(error.contains("cut off") && error.contains(name), "{error}");
    }
}

#[test]
fn empty_tables_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let empty = numbers(0);
    let (parquet, ipc) = (folder.path().join("a.parquet"), folder.path().join("a.arrow"));
    write_parquet(&parquet, &empty, 10);
    write_ipc(&ipc, &empty, 10, false);
    for path in [parquet, ipc] {
        assert!(error_of(&path, &TableOptions::default()).contains("no rows"));
    }
    assert!(TableSource::from_record_batches(vec![empty], &TableOptions::default()).is_err());
}

#[test]
fn a_file_that_is_cut_off_while_it_is_read_is_named_or_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rows = 400_000u64;
    let values: Vec<u8> = (0..rows).flat_map(|row| (row as f32).to_ne_bytes()).collect();
    let array = npy("<f4", &format!("({rows},)"), &values);
    let floats =
        |name| (name, Arc::new(Float32Array::from_iter_values((0..rows).map(|r| r as f32))) as ArrayRef);
    let columns = batch(vec![floats("x"), floats("y"), floats("label")]);
    // Held in memory, or read through a window.
    for (name, budget) in [("a.npy", None), ("held.arrow", None), ("window.arrow", Some(300_000 * 12))] {
        let path = folder.path().join(name);
        if name == "a.npy" {
            fs::write(&path, &array).unwrap();
        } else {
            write_ipc(&path, &columns, 300_000, false);
        }
        let label = if name == "a.npy" { LabelChoice::None } else { LabelChoice::Auto };
        let options = TableOptions { label, memory_budget: budget, ..TableOptions::default() };
        let source = open_rows(&path, &options);
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(5000).unwrap();
        let ids: Vec<u64> = (0..rows).step_by(997).collect();
        match fill(&source, &ids) {
            Ok(fields) => {
                assert!(budget.is_none(), "{name}: rows of a file that is gone");
                let found = crate::made::floats(&fields[0]);
                let width = found.len() / ids.len();
                let same = ids.iter().enumerate().all(|(at, id)| found[at * width] == *id as f32);
                assert!(same, "{name}: other rows than the file had");
            }
            Err((_, error)) => {
                assert!(budget.is_some(), "{name}: {error}");
                assert_eq!(error.path.as_deref(), Some(path.as_path()), "{error}");
            }
        }
    }
}
