//! Columns in Arrow memory: what they hold, and writing their values into rows. Parquet (for what is not a flat
//! column of numbers), Arrow IPC and record batches in memory all come through here.

use std::collections::{BTreeSet, HashMap};

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal32Type, Decimal64Type, Decimal128Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use crate::DType;
use crate::table::cells::Cells;
use crate::table::mapping::{Holds, Target};

/// A text label may have this many classes; beyond, the column is text and not a label.
pub(crate) const MOST_CLASSES: usize = 100_000;

/// Trouble with one value; `row` counts from the first row of the array.
#[derive(Debug)]
pub(crate) struct ValueError {
    pub(crate) row: usize,
    pub(crate) reason: String,
}

impl ValueError {
    fn new(row: usize, reason: impl Into<String>) -> Self {
        Self { row, reason: reason.into() }
    }
}

/// The number type of a flat column, with the type its values have in Arrow memory.
fn number(data_type: &DataType) -> Option<DType> {
    Some(match data_type {
        DataType::Boolean => DType::Bool,
        DataType::Int8 => DType::Int8,
        DataType::Int16 => DType::Int16,
        DataType::Int32 => DType::Int32,
        DataType::Int64 => DType::Int64,
        DataType::UInt8 => DType::UInt8,
        DataType::UInt16 => DType::UInt16,
        DataType::UInt32 => DType::UInt32,
        DataType::UInt64 => DType::UInt64,
        DataType::Float16 => DType::Float16,
        DataType::Float32 => DType::Float32,
        DataType::Float64 | DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => {
            DType::Float64
        }
        DataType::Dictionary(_, values) => return number(values),
        _ => return None,
    })
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Whether a value must be looked at to know its size.
pub(crate) fn needs_look(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(_) | DataType::LargeList(_) => true,
        DataType::FixedSizeList(item, _) => needs_look(item.data_type()),
        _ => false,
    }
}

/// What a column of this type holds. `first` is its first row, needed where [`needs_look`] says so.
pub(crate) fn holds(data_type: &DataType, first: Option<&dyn Array>) -> Holds {
    if let Some(dtype) = number(data_type) {
        return Holds::Number(dtype);
    }
    match data_type {
        DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(..)
        | DataType::Duration(_) => Holds::Time,
        _ if is_text(data_type) => Holds::Text,
        _ if is_bytes(data_type) => Holds::Binary { nested: false },
        DataType::Struct(fields) if fields.iter().any(|f| f.name() == "bytes" && is_bytes(f.data_type())) => {
            Holds::Binary { nested: true }
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            let mut shape = Vec::new();
            let mut item = data_type;
            let mut value = first.map(|f| f.slice(0, 1.min(f.len())));
            loop {
                match item {
                    DataType::FixedSizeList(inner, len) => {
                        shape.push(*len as usize);
                        value = value.map(|v| {
                            let list = v.as_fixed_size_list();
                            list.values().slice(0, list.values().len().min(1))
                        });
                        item = inner.data_type();
                    }
                    DataType::List(inner) | DataType::LargeList(inner) => {
                        let Some((len, inside)) = value.as_ref().and_then(first_list) else {
                            return Holds::Other("lists of which the first is null".into());
                        };
                        shape.push(len);
                        value = Some(inside);
                        item = inner.data_type();
                    }
                    _ => break,
                }
            }
            match number(item) {
                // Any number of such rows fits into no bytes at all.
                Some(_) if shape.contains(&0) => Holds::Other("rows of no numbers".into()),
                Some(dtype) => Holds::Array { dtype, shape },
                None => Holds::Other(format!("lists of {item}")),
            }
        }
        other => Holds::Other(format!("{other}")),
    }
}

/// Length and values of the first list.
fn first_list(array: &ArrayRef) -> Option<(usize, ArrayRef)> {
    if array.is_empty() || array.is_null(0) {
        return None;
    }
    let inside = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(0),
        _ => array.as_list::<i64>().value(0),
    };
    Some((inside.len(), inside))
}

/// Writes a whole column into rows `row..` of `cells`. `classes` are the indices of a text label's values.
pub(crate) fn put(
    array: &dyn Array,
    target: &Target,
    shape: &[usize],
    row: usize,
    cells: &mut Cells<'_>,
    classes: Option<&HashMap<String, i64>>,
) -> Result<(), ValueError> {
    if target.text {
        return put_text(array, target, row, cells, classes);
    }
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let ends = list.value_offsets();
            even(array, shape, ends.windows(2).map(|w| (w[1] - w[0]) as usize))?;
            let values = list.values().slice(ends[0] as usize, (ends[ends.len() - 1] - ends[0]) as usize);
            inner(&values, target, shape, row, cells)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let ends = list.value_offsets();
            even(array, shape, ends.windows(2).map(|w| (w[1] - w[0]) as usize))?;
            let values = list.values().slice(ends[0] as usize, (ends[ends.len() - 1] - ends[0]) as usize);
            inner(&values, target, shape, row, cells)
        }
        DataType::FixedSizeList(_, len) => {
            let list = array.as_fixed_size_list();
            even(array, shape, (0..list.len()).map(|_| *len as usize))?;
            let start = list.value_offset_at(0);
            inner(&list.values().slice(start, list.len() * *len as usize), target, shape, row, cells)
        }
        _ => put_leaf(array, target, row, cells),
    }
}

fn inner(
    values: &ArrayRef,
    target: &Target,
    shape: &[usize],
    row: usize,
    cells: &mut Cells<'_>,
) -> Result<(), ValueError> {
    let per_row = shape.first().copied().unwrap_or(1).max(1);
    put(values, target, shape.get(1..).unwrap_or(&[]), row, cells, None)
        .map_err(|error| ValueError::new(error.row / per_row, error.reason))
}

fn even(array: &dyn Array, shape: &[usize], lengths: impl Iterator<Item = usize>) -> Result<(), ValueError> {
    let Some(expected) = shape.first() else {
        return Err(ValueError::new(0, "a list where a number was expected"));
    };
    if array.null_count() > 0 {
        let row = (0..array.len()).find(|row| array.is_null(*row)).unwrap_or(0);
        return Err(ValueError::new(row, format!("a null instead of a list of {expected}")));
    }
    for (row, len) in lengths.enumerate() {
        if len != *expected {
            return Err(ValueError::new(
                row,
                format!(
                    "a list of {len} where the first row has {expected}; lists of unequal length cannot be a batch"
                ),
            ));
        }
    }
    Ok(())
}

fn put_leaf(array: &dyn Array, target: &Target, row: usize, cells: &mut Cells<'_>) -> Result<(), ValueError> {
    let raw = |from: DType, cells: &mut Cells<'_>| {
        let data = array.to_data();
        let size = from.size();
        let bytes = &data.buffers()[0].as_slice()[data.offset() * size..][..data.len() * size];
        cells.put(target, row, from, bytes);
    };
    match array.data_type() {
        DataType::Boolean => {
            let bits: Vec<u8> = array.as_boolean().values().iter().map(u8::from).collect();
            cells.put(target, row, DType::Bool, &bits);
        }
        DataType::Date32 | DataType::Time32(_) => raw(DType::Int32, cells),
        DataType::Date64 | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_) => {
            raw(DType::Int64, cells);
        }
        DataType::Decimal32(_, scale) => {
            let values = array.as_primitive::<Decimal32Type>().values();
            decimals(values.iter().map(|v| f64::from(*v)), *scale, target, row, cells);
        }
        DataType::Decimal64(_, scale) => {
            let values = array.as_primitive::<Decimal64Type>().values();
            decimals(values.iter().map(|v| *v as f64), *scale, target, row, cells);
        }
        DataType::Decimal128(_, scale) => {
            let values = array.as_primitive::<Decimal128Type>().values();
            decimals(values.iter().map(|v| *v as f64), *scale, target, row, cells);
        }
        DataType::Dictionary(..) => return put_dictionary(array, target, row, cells),
        other => match number(other) {
            Some(from) => raw(from, cells),
            None => return Err(ValueError::new(0, format!("{other} where a number was expected"))),
        },
    }
    nulls(array, target, row, cells)
}

fn decimals(
    values: impl Iterator<Item = f64>,
    scale: i8,
    target: &Target,
    row: usize,
    cells: &mut Cells<'_>,
) {
    let unit = 10f64.powi(i32::from(scale));
    let bytes: Vec<u8> = values.flat_map(|v| (v / unit).to_le_bytes()).collect();
    cells.put(target, row, DType::Float64, &bytes);
}

/// Replaces what stands in place of nulls.
fn nulls(array: &dyn Array, target: &Target, row: usize, cells: &mut Cells<'_>) -> Result<(), ValueError> {
    let Some(valid) = array.logical_nulls() else {
        return Ok(());
    };
    let per_row = target.elements.max(1);
    for nth in (0..array.len()).filter(|nth| valid.is_null(*nth)) {
        let one = Target { element: target.element + nth % per_row, elements: 1, ..target.clone() };
        cells.put_null(&one, row + nth / per_row).map_err(|error| ValueError::new(nth, error.to_string()))?;
    }
    Ok(())
}

fn put_dictionary(
    array: &dyn Array,
    target: &Target,
    row: usize,
    cells: &mut Cells<'_>,
) -> Result<(), ValueError> {
    let dictionary = array.as_any_dictionary();
    let per_row = target.elements.max(1);
    let keys = if dictionary.values().is_empty() { Vec::new() } else { dictionary.normalized_keys() };
    let one = |nth: usize| Target { element: target.element + nth % per_row, elements: 1, ..target.clone() };
    for (nth, key) in keys.iter().enumerate().filter(|(nth, _)| array.is_valid(*nth)) {
        let value = dictionary.values().slice(*key, 1);
        put_leaf(&value, &one(nth), row + nth / per_row, cells)
            .map_err(|error| ValueError::new(nth, error.reason))?;
    }
    nulls(array, target, row, cells)
}

/// The texts of a column in order; `None` for a null.
fn texts<'a>(array: &'a dyn Array) -> Option<Box<dyn Iterator<Item = Option<&'a str>> + 'a>> {
    Some(match array.data_type() {
        DataType::Utf8 => Box::new(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => Box::new(array.as_string::<i64>().iter()),
        DataType::Utf8View => Box::new(array.as_string_view().iter()),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values: Vec<Option<&str>> = texts(dictionary.values().as_ref())?.collect();
            let keys = if values.is_empty() { vec![0; array.len()] } else { dictionary.normalized_keys() };
            Box::new(
                keys.into_iter()
                    .enumerate()
                    .map(move |(nth, key)| if array.is_null(nth) { None } else { values[key] }),
            )
        }
        _ => return None,
    })
}

/// Adds the distinct texts of a column to `found`; stops with an error beyond [`MOST_CLASSES`].
pub(crate) fn collect_texts(array: &dyn Array, found: &mut BTreeSet<String>) -> Result<(), ValueError> {
    let Some(texts) = texts(array) else {
        return Err(ValueError::new(0, format!("{} where text was expected", array.data_type())));
    };
    for (row, text) in texts.enumerate() {
        let Some(text) = text else {
            return Err(ValueError::new(row, "a null cannot be a label"));
        };
        if !found.contains(text) {
            if found.len() == MOST_CLASSES {
                return Err(ValueError::new(
                    row,
                    format!(
                        "more than {MOST_CLASSES} distinct texts, so this is no label; name one with label="
                    ),
                ));
            }
            found.insert(text.to_owned());
        }
    }
    Ok(())
}

fn put_text(
    array: &dyn Array,
    target: &Target,
    row: usize,
    cells: &mut Cells<'_>,
    classes: Option<&HashMap<String, i64>>,
) -> Result<(), ValueError> {
    let (Some(texts), Some(classes)) = (texts(array), classes) else {
        return Err(ValueError::new(0, format!("{} where text was expected", array.data_type())));
    };
    let mut indices = Vec::with_capacity(array.len() * 8);
    for (nth, text) in texts.enumerate() {
        let Some(text) = text else {
            return Err(ValueError::new(nth, "a null cannot be a label"));
        };
        let Some(index) = classes.get(text) else {
            return Err(ValueError::new(
                nth,
                format!("the label {text:?} was not there when the table was opened"),
            ));
        };
        indices.extend_from_slice(&index.to_le_bytes());
    }
    cells.put(target, row, DType::Int64, &indices);
    Ok(())
}

/// Whether another file has the same columns; what differs otherwise.
pub(crate) fn agree(first: &arrow_schema::Schema, other: &arrow_schema::Schema) -> Result<(), String> {
    let (expected, found) = (first.fields(), other.fields());
    for (nth, field) in expected.iter().enumerate() {
        return Err(match found.get(nth) {
            None => format!("column {:?} is missing", field.name()),
            Some(same) if same.name() == field.name() && same.data_type() == field.data_type() => continue,
            Some(twin) if twin.name() == field.name() => {
                format!("column {:?} is {} instead of {}", field.name(), twin.data_type(), field.data_type())
            }
            Some(stranger) => format!("column {:?} stands where {:?} should", stranger.name(), field.name()),
        });
    }
    found.get(expected.len()).map_or(Ok(()), |extra| Err(format!("column {:?} is new", extra.name())))
}
