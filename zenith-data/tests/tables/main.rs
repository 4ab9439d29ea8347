//! Tables of every format, through the public contract: the same rows must come out as went in, whatever the format,
//! the batch, the number of threads and the memory budget; and bad files must be named.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that fails")]

mod bad;
mod changing;
mod made;
mod pages;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, FixedSizeListBuilder, Float32Builder, ListBuilder, StringDictionaryBuilder,
};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray, UInt8Array,
};
use zenith_data::DType;
use zenith_data::source::Source;
use zenith_data::source::table::{LabelChoice, MemoryColumn, Opened, TableOptions, TableSource};

use made::{
    assert_numbers, batch, error_of, fill, floats, integers, npy, numbers, open, open_rows, rows_of,
    scattered, write_csv, write_ipc, write_parquet,
};

#[test]
fn every_format_delivers_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let batch = numbers(12_000);
    let path = |name: &str| folder.path().join(name);
    write_parquet(&path("a.parquet"), &batch, 5000);
    write_ipc(&path("a.arrow"), &batch, 700, false);
    write_ipc(&path("large.arrow"), &batch, 6000, false);
    write_ipc(&path("a.arrows"), &batch, 700, true);
    write_csv(&path("a.csv"), 12_000);
    for name in ["a.parquet", "a.arrow", "large.arrow", "a.arrows", "a.csv"] {
        for threads in [1, 3] {
            let source = open_rows(&path(name), &TableOptions { threads, ..TableOptions::default() });
            assert_eq!(source.len(), 12_000, "{name}");
            assert_eq!(source.schema().fields[0].shape, [40]);
            assert_numbers(&source, &scattered(12_000, 500));
            assert_numbers(&source, &(4900..5100).collect::<Vec<_>>());
            assert_numbers(&source, &[11_999]);
        }
    }
    let parts = vec![batch.slice(0, 10), batch.slice(10, 2990)];
    let memory = rows_of(TableSource::from_record_batches(parts, &TableOptions::default()).unwrap());
    assert_numbers(&memory, &scattered(3000, 500));
}

#[test]
fn a_table_beyond_the_budget_streams_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write_parquet(&path, &numbers(3000), 500);
    let row_bytes = 40 * 4 + 8;
    let budget =
        |bytes: u64| TableOptions { memory_budget: Some(bytes), threads: 2, ..TableOptions::default() };
    let source = open_rows(&path, &budget(1200 * row_bytes));
    let (ends, window) = source.blocks().unwrap();
    assert_eq!(ends, [500, 1000, 1500, 2000, 2500, 3000]);
    assert_eq!(window, 600, "half of the budget");
    assert_numbers(&source, &scattered(3000, 500));
    assert_numbers(&source, &(0..3000).collect::<Vec<_>>());
    assert_eq!(source.facts()[0].1, format!("at most {} bytes", 1200 * row_bytes));
    assert!(open_rows(&path, &budget(3000 * row_bytes)).blocks().is_none(), "it fits");
    let error = error_of(&path, &budget(499 * row_bytes));
    assert!(error.contains("row group 0") && error.contains(&(500 * row_bytes).to_string()), "{error}");
}

#[test]
fn many_fillers_share_a_window() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write_parquet(&path, &numbers(1000), 100);
    let source =
        open_rows(&path, &TableOptions { memory_budget: Some(300 * 168), ..TableOptions::default() });
    std::thread::scope(|scope| {
        for offset in 0..4u64 {
            let source = &source;
            scope.spawn(move || {
                for at in 0..10 {
                    let ids: Vec<u64> = (0..64).map(|i| (at * 100 + i * (offset + 1)) % 1000).collect();
                    assert_numbers(source, &ids);
                }
            });
        }
    });
}

#[test]
fn files_are_one_table_in_the_order_given_and_must_agree() {
    let folder = tempfile::tempdir().unwrap();
    let whole = numbers(1000);
    let paths: Vec<PathBuf> =
        ["b.parquet", "c.parquet", "a.parquet"].iter().map(|n| folder.path().join(n)).collect();
    write_parquet(&paths[0], &whole.slice(0, 300), 128);
    write_parquet(&paths[1], &whole.slice(300, 500), 128);
    write_parquet(&paths[2], &whole.slice(800, 200), 128);
    let source = rows_of(open(&paths, &TableOptions::default()).unwrap());
    assert_numbers(&source, &scattered(1000, 300));
    let other = batch(vec![("f0", Arc::new(Int32Array::from(vec![1])))]);
    write_parquet(&paths[1], &other, 128);
    let error = open(&paths, &TableOptions::default()).unwrap_err();
    assert_eq!(error.path(), Some(paths[1].as_path()));
    assert!(error.to_string().contains("\"f0\" is Int32 instead of Float32"), "{error}");
}

#[test]
fn lists_become_rows_and_uneven_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let make = |lengths: &[usize]| {
        let mut builder = ListBuilder::new(Float32Builder::new());
        for (row, len) in lengths.iter().enumerate() {
            (0..*len).for_each(|i| builder.values().append_value((row * 10 + i) as f32));
            builder.append(true);
        }
        let labels = StringArray::from_iter_values((0..lengths.len()).map(|r| ["dog", "cat", "emu"][r % 3]));
        batch(vec![("vector", Arc::new(builder.finish())), ("label", Arc::new(labels))])
    };
    for name in ["a.parquet", "a.arrow", "b.arrows"] {
        let path = folder.path().join(name);
        let write = |batch: &RecordBatch| {
            if name == "a.parquet" {
                write_parquet(&path, batch, 2);
            } else {
                write_ipc(&path, batch, 2, name == "b.arrows");
            }
        };
        write(&make(&[3; 5]));
        let source = open_rows(&path, &TableOptions::default());
        assert_eq!(source.schema().fields[0].shape, [3]);
        assert_eq!(source.classes().unwrap(), ["cat", "dog", "emu"]);
        let fields = fill(&source, &[4, 0]).unwrap();
        assert_eq!(floats(&fields[0]), [40.0, 41.0, 42.0, 0.0, 1.0, 2.0]);
        assert_eq!(integers(&fields[1]), [0, 1]);
        write(&make(&[3, 3, 3, 2, 3]));
        let error = error_of(&path, &TableOptions::default());
        assert!(
            error.contains("row 3") && error.contains("a list of 2 where the first row has 3"),
            "{error}"
        );
    }
}

#[test]
fn fixed_lists_in_arrow_files_are_rows_as_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.arrow");
    let mut builder = FixedSizeListBuilder::new(Float32Builder::new(), 4);
    for row in 0..100 {
        (0..4).for_each(|i| builder.values().append_value((row * 4 + i) as f32));
        builder.append(true);
    }
    let labels = Int32Array::from_iter_values((0..100).rev());
    let table = batch(vec![("x", Arc::new(builder.finish())), ("y", Arc::new(labels))]);
    write_ipc(&path, &table, 30, false);
    let in_memory = rows_of(
        TableSource::from_record_batches(
            vec![table.slice(0, 40), table.slice(40, 60)],
            &TableOptions::default(),
        )
        .unwrap(),
    );
    for source in [open_rows(&path, &TableOptions::default()), in_memory] {
        let fields = fill(&source, &[99, 31, 0]).unwrap();
        assert_eq!(floats(&fields[0])[..8], [396.0, 397.0, 398.0, 399.0, 124.0, 125.0, 126.0, 127.0]);
        assert_eq!(integers(&fields[1]), [0, 68, 99]);
    }
}

#[test]
fn types_find_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let decimals = Decimal128Array::from_iter_values([125i128, -50]).with_precision_and_scale(10, 2).unwrap();
    let mut categories = StringDictionaryBuilder::<Int32Type>::new();
    ["z", "a"].iter().for_each(|c| categories.append_value(c));
    let table = batch(vec![
        ("small", Arc::new(UInt8Array::from(vec![200, 3]))),
        ("truth", Arc::new(BooleanArray::from(vec![true, false]))),
        ("money", Arc::new(decimals)),
        ("day", Arc::new(Date32Array::from(vec![1, 2]))),
        ("time", Arc::new(TimestampMicrosecondArray::from(vec![5_000_000, 6]))),
        ("kind", Arc::new(categories.finish())),
    ]);
    write_parquet(&path, &table, 10);
    let choose = |columns: &[&str], label: LabelChoice, dtype| TableOptions {
        columns: Some(columns.iter().map(|c| (*c).to_owned()).collect()),
        label,
        dtype,
        ..TableOptions::default()
    };
    let kind = LabelChoice::Named("kind".into());
    let source = open_rows(&path, &choose(&["small", "truth", "money"], kind.clone(), None));
    let fields = fill(&source, &[0, 1]).unwrap();
    assert_eq!(floats(&fields[0]), [200.0, 1.0, 1.25, 3.0, 0.0, -0.5]);
    assert_eq!(integers(&fields[1]), [1, 0]);
    assert_eq!(source.classes().unwrap(), ["a", "z"]);
    let source = open_rows(&path, &choose(&["small", "truth"], kind, Some(DType::UInt8)));
    assert_eq!(fill(&source, &[0, 1]).unwrap()[0], [200, 1, 3, 0]);
    let source = open_rows(&path, &choose(&["day", "time", "small"], LabelChoice::None, None));
    let names: Vec<&str> = source.schema().fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["day", "time", "small"]);
    let fields = fill(&source, &[0, 1]).unwrap();
    assert_eq!((integers(&fields[0]), integers(&fields[1])), (vec![1, 2], vec![5_000_000, 6]));
    assert_eq!(fields[2], [200, 3]);
}

#[test]
fn csv_says_the_line_of_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    let mut text = String::from("a;b;species\r\n");
    for row in 0..2000 {
        text.push_str(&format!("{row};0.5;\"{}\"\r\n", ["x;y", "w"][row % 2]));
    }
    fs::write(&path, &text).unwrap();
    let source = open_rows(&path, &TableOptions::default());
    assert_eq!(source.classes().unwrap(), ["w", "x;y"]);
    let fields = fill(&source, &[1999, 2]).unwrap();
    assert_eq!(floats(&fields[0]), [1999.0, 0.5, 2.0, 0.5]);
    assert_eq!(integers(&fields[1]), [0, 1]);
    fs::write(&path, text.clone() + "7;eight;w\r\n").unwrap();
    let error = error_of(&path, &TableOptions::default());
    assert!(error.contains("line 2002") && error.contains("\"eight\" is not a number"), "{error}");
    fs::write(&path, text.clone() + "7;8\r\n").unwrap();
    assert!(error_of(&path, &TableOptions::default()).contains("line 2002: 2 fields where the header has 3"));
    fs::write(&path, text + "7;8;\"w\r\n").unwrap();
    assert!(error_of(&path, &TableOptions::default()).contains("not closed"));
    fs::write(&path, "a,b\n").unwrap();
    assert!(error_of(&path, &TableOptions::default()).contains("no rows"));
    fs::write(&path, "1,2\n3,4\n").unwrap();
    assert_eq!(open_rows(&path, &TableOptions::default()).len(), 2, "a first line of numbers is a row");
}

#[test]
fn csv_has_quotes_inside_of_fields_as_characters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    fs::write(&path, "item,y\n5\" pipe,1\n6\" pipe,2\n\"a \"\"b\"\", c\",3\n").unwrap();
    let options = TableOptions { label: LabelChoice::Named("item".into()), ..TableOptions::default() };
    let source = open_rows(&path, &options);
    assert_eq!(source.classes().unwrap(), ["5\" pipe", "6\" pipe", "a \"b\", c"]);
    let fields = fill(&source, &[2, 0, 1]).unwrap();
    assert_eq!((floats(&fields[0]), integers(&fields[1])), (vec![3.0, 1.0, 2.0], vec![2, 0, 1]));
}

#[test]
fn arrays_are_columns_by_name_or_rows_of_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let doubles: Vec<u8> = (0..6).flat_map(|v| f64::from(v).to_le_bytes()).collect();
    fs::write(path("x.npy"), npy("<f8", "(3, 2)", &doubles)).unwrap();
    fs::write(path("y.npy"), npy("<i4", "(3,)", &[7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0])).unwrap();
    let source = rows_of(open(&[path("x.npy"), path("y.npy")], &TableOptions::default()).unwrap());
    let fields = fill(&source, &[2, 0]).unwrap();
    assert_eq!((floats(&fields[0]), integers(&fields[1])), (vec![4.0, 5.0, 0.0, 1.0], vec![9, 7]));
    fs::write(path("b.npy"), npy("<f8", "(1, 2)", &doubles[..16])).unwrap();
    let source = rows_of(open(&[path("b.npy"), path("x.npy")], &TableOptions::default()).unwrap());
    assert_eq!(source.len(), 4);
    assert_eq!(floats(&fill(&source, &[3, 0]).unwrap()[0]), [4.0, 5.0, 0.0, 1.0], "b was given before x");
    fs::write(path("x.npy"), npy("<f8", "(3, 2)", &doubles[..40])).unwrap();
    assert!(error_of(&path("x.npy"), &TableOptions::default()).contains("cut off"));
}

#[test]
fn columns_in_memory_are_borrowed_and_strided() {
    // Rows of three int16 of which the middle one is the column.
    let table: Arc<Vec<i16>> = Arc::new((0..30).collect());
    #[expect(unsafe_code, reason = "the constructor for memory of others is unsafe")]
    // SAFETY: ten rows of six bytes; the column's value lies two bytes into each; the owner is the vector.
    let column = unsafe {
        let data = table.as_ptr().add(1).cast();
        MemoryColumn::borrowed("a", DType::Int16, [], 10, data, 6, table).unwrap()
    };
    let label = MemoryColumn::owned("label", DType::UInt8, [], (0..10).collect()).unwrap();
    let other = (0..10).flat_map(|v| (v as f32).to_le_bytes()).collect();
    let other = MemoryColumn::owned("b", DType::Float32, [], other).unwrap();
    let source =
        TableSource::from_columns(&[column.clone(), other, label.clone()], &TableOptions::default()).unwrap();
    let fields = fill(&source, &[9, 1]).unwrap();
    assert_eq!((floats(&fields[0]), integers(&fields[1])), (vec![28.0, 9.0, 4.0, 1.0], vec![9, 1]));
    let source = TableSource::from_columns(&[column.clone(), label], &TableOptions::default()).unwrap();
    assert_eq!(floats(&fill(&source, &[3]).unwrap()[0]), [10.0]);
    let short = MemoryColumn::owned("c", DType::UInt8, [], vec![1]).unwrap();
    let error =
        TableSource::from_columns(&[column, short], &TableOptions::default()).unwrap_err().to_string();
    assert!(error.contains("\"a\" has 10 rows, \"c\" has 1"), "{error}");
}

#[test]
fn a_budget_bounds_copies_of_columns_and_says_what_it_does_not_count() {
    let column = |name: &str| {
        let bytes = (0..1000).flat_map(|v| (v as f32).to_le_bytes()).collect();
        MemoryColumn::owned(name, DType::Float32, [], bytes).unwrap()
    };
    let columns = [column("a"), column("b"), column("label")];
    let budget = |bytes| TableOptions { memory_budget: Some(bytes), ..TableOptions::default() };
    let error = TableSource::from_columns(&columns, &budget(7999)).unwrap_err().to_string();
    assert!(error.contains("8000 bytes more, memory_budget=7999") && error.contains("one array"), "{error}");
    let facts = TableSource::from_columns(&columns, &budget(8000)).unwrap().facts();
    assert_eq!(facts[0], ("rows held in memory".into(), "8000 bytes".into()));
    assert_eq!(facts[1].1, "4000 bytes, which memory_budget does not count");
    let borrowed = TableSource::from_columns(&columns[1..], &budget(0)).unwrap();
    assert_eq!(borrowed.facts()[0].1, "0 bytes");
    assert_eq!(borrowed.facts()[1].1, "8000 bytes, which memory_budget does not count");
}

#[test]
fn the_fingerprint_tells_data_and_mapping_apart() {
    let of = |first, dtype| {
        let mut bytes = vec![1u8; 500];
        bytes[0] = first;
        let column = MemoryColumn::owned("a", DType::UInt8, [], bytes).unwrap();
        TableSource::from_columns(&[column], &TableOptions { dtype, ..TableOptions::default() })
            .unwrap()
            .fingerprint()
    };
    assert_eq!(of(1, None), of(1, None));
    assert_ne!(of(1, None), of(2, None));
    assert_ne!(of(1, None), of(1, Some(DType::Int64)));
}

fn pictures(nested: bool) -> RecordBatch {
    let mut bytes = BinaryBuilder::new();
    for row in 0..10u8 {
        if row == 7 {
            bytes.append_null();
        } else {
            bytes.append_value([0xFF, 0xD8, 0xFF, row]);
        }
    }
    let bytes: ArrayRef = Arc::new(bytes.finish());
    let image: ArrayRef = if nested {
        let path: ArrayRef = Arc::new(StringArray::from_iter_values((0..10).map(|r| format!("{r}.jpg"))));
        Arc::new(StructArray::try_from(vec![("bytes", bytes), ("path", path)]).unwrap())
    } else {
        bytes
    };
    batch(vec![("image", image), ("label", Arc::new(Int64Array::from_iter_values(10..20)))])
}

#[test]
fn pictures_in_columns_are_handed_out_with_their_labels() {
    let folder = tempfile::tempdir().unwrap();
    for nested in [false, true] {
        let path = folder.path().join("a.parquet");
        write_parquet(&path, &pictures(nested), 4);
        let Opened::Pictures(blobs) = open(std::slice::from_ref(&path), &TableOptions::default()).unwrap()
        else {
            panic!("rows")
        };
        assert_eq!((blobs.len(), blobs.blocks()), (10, &[4, 8, 10][..]));
        assert_eq!(blobs.label_dtype(), Some(DType::Int64));
        let mut bytes = Vec::new();
        for id in [9u64, 0, 5] {
            blobs.read(id, &mut bytes).unwrap();
            assert_eq!(bytes, [0xFF, 0xD8, 0xFF, id as u8]);
            assert_eq!(blobs.label(id).unwrap(), (id as i64 + 10).to_le_bytes());
        }
        let error = blobs.read(7, &mut bytes).unwrap_err();
        assert!(error.to_string().contains("no picture in row 7"), "{error}");
        assert!(blobs.read(10, &mut bytes).is_err());
    }
    let noise: ArrayRef = Arc::new(arrow_array::BinaryArray::from_iter_values([b"abc"]));
    let path = folder.path().join("b.parquet");
    write_parquet(&path, &batch(vec![("raw", noise), ("label", Arc::new(Int64Array::from(vec![1])))]), 4);
    let error = error_of(&path, &TableOptions::default());
    assert!(error.contains("no JPEG, PNG or WebP") && error.contains("columns=[\"label\"]"), "{error}");
}
