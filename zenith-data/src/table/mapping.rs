//! The user's contract: which columns of a table become which fields of a batch.
//!
//! - The label is the column named by `label=`, else one called `label`, `labels`, `target` or `y` (in any case), else
//!   the last column. It becomes `labels`: integers, truth values and times as int64, floats as float32, text as the
//!   index of its value among all values in sorted order.
//! - Numbers in the remaining columns become `inputs` of shape `[F]`, float32 unless `dtype=` says otherwise.
//! - A single remaining column of lists or arrays becomes `inputs` of its shape: floats as float32, other numbers as
//!   they are, unless `dtype=` says otherwise.
//! - Anything else (times, several lists, lists beside numbers), and a table without a label of which no columns were
//!   chosen, is delivered as a dictionary by column name, each column with its own type (the label as above).
//! - Text and bytes have no fixed size and cannot be a field: they must be left out by `columns=`. A column of bytes
//!   that hold pictures is decoded.
//!
//! Decides only; reads nothing.

use crate::schema::Shape;
use crate::{DType, Error, Field, Result, Schema};

use super::convert::is_float;

/// Which column is the label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LabelChoice {
    /// The column called `label`, `labels`, `target` or `y` in any case, else the last one.
    #[default]
    Auto,
    /// The column of this name.
    Named(String),
    /// There is no label.
    None,
}

/// What a caller may choose about a table.
#[derive(Clone, Debug, Default)]
pub struct TableOptions {
    /// Only these columns, in this order.
    pub columns: Option<Vec<String>>,
    /// The label.
    pub label: LabelChoice,
    /// Element type of the inputs, instead of the default.
    pub dtype: Option<DType>,
    /// Bytes of decoded rows to hold at most; a larger table is streamed by blocks.
    pub memory_budget: Option<u64>,
    /// Threads that load; 0 for as many as the process may use.
    pub threads: usize,
    /// Deliver rows of an unreadable block as bad samples instead of refusing the table.
    pub skip_bad: bool,
}

/// What a column of a table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// One number a row.
    Number(DType),
    /// As many numbers in every row, of a fixed shape.
    Array { dtype: DType, shape: Vec<usize> },
    /// A date, time or duration, as a 64-bit count.
    Time,
    /// Text, also dictionary-encoded.
    Text,
    /// Bytes; `nested` where they are the `bytes` member of a struct.
    Binary { nested: bool },
    /// Something that has no place in a batch, in words.
    Other(String),
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) holds: Holds,
}

impl Column {
    pub(crate) fn new(name: impl Into<String>, holds: Holds) -> Self {
        Self { name: name.into(), holds }
    }
}

/// Where the values of one column go: `elements` numbers of a row, from `element` on, of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Index of the column in the table.
    pub(crate) column: usize,
    /// Name of the column, for messages.
    pub(crate) name: String,
    pub(crate) field: usize,
    pub(crate) element: usize,
    pub(crate) elements: usize,
    /// Element type in the batch.
    pub(crate) dtype: DType,
    /// Whether the values are text to be replaced by class indices.
    pub(crate) text: bool,
}

/// What becomes of a table.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) schema: Schema,
    /// Sorted by field and element; they cover every element of every field exactly once.
    pub(crate) targets: Vec<Target>,
    /// Classes of a text label, sorted.
    pub(crate) classes: Option<Vec<String>>,
}

/// Columns of pictures: which one holds them and which is the label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PicturePlan {
    pub(crate) pictures: usize,
    pub(crate) label: Option<usize>,
}

/// Rows of numbers, or pictures.
#[derive(Clone, Debug)]
pub(crate) enum Mapped {
    Rows(Plan),
    Pictures(PicturePlan),
}

const LABEL_NAMES: [&str; 4] = ["label", "labels", "target", "y"];

/// Whether a column of this name is the label unless another is named.
pub(crate) fn is_label_name(name: &str) -> bool {
    LABEL_NAMES.iter().any(|label| name.eq_ignore_ascii_case(label))
}

/// Decides what becomes of `columns`.
///
/// # Errors
/// [`Error::Config`] for names that do not exist and for columns that cannot be a field, with the line to add.
pub(crate) fn map(columns: &[Column], options: &TableOptions) -> Result<Mapped> {
    let chosen = choose(columns, options.columns.as_deref())?;
    let label = find_label(columns, &chosen, options)?;
    let features: Vec<usize> = chosen.iter().copied().filter(|c| Some(*c) != label).collect();
    let binary: Vec<usize> =
        features.iter().copied().filter(|c| matches!(columns[*c].holds, Holds::Binary { .. })).collect();
    match binary[..] {
        [] => {}
        [pictures] => return Ok(Mapped::Pictures(PicturePlan { pictures, label })),
        _ => {
            let names: Vec<&str> = binary.iter().map(|c| columns[*c].name.as_str()).collect();
            return Err(Error::Config(format!(
                "columns {} hold bytes; only one column of pictures can be decoded: choose one with columns=[{:?}, ...]",
                names.join(", "),
                names[0]
            )));
        }
    }
    refuse_variable(columns, &features, label)?;
    if features.is_empty() {
        return Err(Error::Config("there is no column besides the label".into()));
    }
    Ok(Mapped::Rows(plan(columns, &features, label, options)))
}

fn choose(columns: &[Column], names: Option<&[String]>) -> Result<Vec<usize>> {
    let Some(names) = names else {
        return Ok((0..columns.len()).collect());
    };
    if names.is_empty() {
        return Err(Error::Config("columns=[] chooses nothing".into()));
    }
    let mut chosen = Vec::with_capacity(names.len());
    for name in names {
        let index = find(columns, name, "columns")?;
        if chosen.contains(&index) {
            return Err(Error::Config(format!("columns names {name:?} twice")));
        }
        chosen.push(index);
    }
    Ok(chosen)
}

fn find(columns: &[Column], name: &str, argument: &str) -> Result<usize> {
    columns.iter().position(|c| c.name == name).ok_or_else(|| {
        Error::Config(format!(
            "{argument} names {name:?}, but the table has the columns {}",
            list(columns.iter())
        ))
    })
}

fn list<'a>(columns: impl Iterator<Item = &'a Column>) -> String {
    const SHOWN: usize = 20;
    let names: Vec<String> = columns.map(|c| format!("{:?}", c.name)).collect();
    match names.len() {
        0..=SHOWN => names.join(", "),
        n => format!("{}, ... ({n} in all)", names[..SHOWN].join(", ")),
    }
}

fn find_label(columns: &[Column], chosen: &[usize], options: &TableOptions) -> Result<Option<usize>> {
    let called = |index: &usize, name: &str| columns[*index].name.eq_ignore_ascii_case(name);
    let label = match &options.label {
        LabelChoice::None => None,
        LabelChoice::Named(name) => Some(find(columns, name, "label")?),
        LabelChoice::Auto => {
            let all: Vec<usize> = (0..columns.len()).collect();
            let named = [chosen, &all]
                .into_iter()
                .find_map(|among| LABEL_NAMES.iter().find_map(|name| among.iter().find(|i| called(i, name))));
            match named {
                Some(index) => Some(*index),
                // A lone column is the input; the last column of several is the label, but never the pictures.
                None if chosen.len() < 2 => None,
                None => {
                    chosen.iter().rev().copied().find(|i| !matches!(columns[*i].holds, Holds::Binary { .. }))
                }
            }
        }
    };
    // A table of nothing but its label has that column as its only input.
    let only =
        label.is_some() && chosen.iter().all(|c| Some(*c) == label) && options.label == LabelChoice::Auto;
    Ok(if only { None } else { label })
}

fn refuse_variable(columns: &[Column], features: &[usize], label: Option<usize>) -> Result<()> {
    let unfit = |index: &usize, is_label: bool| match &columns[*index].holds {
        Holds::Text if !is_label => Some("text, which has no fixed size".to_owned()),
        Holds::Binary { .. } if is_label => Some("bytes, which cannot be a label".to_owned()),
        Holds::Other(what) => Some(what.clone()),
        _ => None,
    };
    if let Some(what) = label.as_ref().and_then(|index| unfit(index, true)) {
        let index = label.unwrap_or_default();
        return Err(Error::Config(format!(
            "the label column {:?} holds {what}; name another one with label=",
            columns[index].name
        )));
    }
    let Some((index, what)) = features.iter().find_map(|i| Some((*i, unfit(i, false)?))) else {
        return Ok(());
    };
    let fit: Vec<&Column> = features
        .iter()
        .filter(|i| unfit(i, false).is_none())
        .chain(label.iter())
        .map(|i| &columns[*i])
        .collect();
    let advice = if fit.is_empty() {
        "no column is left that could be delivered".to_owned()
    } else {
        format!("leave it out: columns=[{}]", list(fit.into_iter()))
    };
    Err(Error::Config(format!("column {:?} holds {what}; {advice}", columns[index].name)))
}

fn plan(columns: &[Column], features: &[usize], label: Option<usize>, options: &TableOptions) -> Plan {
    let is_number = |index: &usize| matches!(columns[*index].holds, Holds::Number(_));
    let matrix = !features.is_empty() && features.iter().all(is_number);
    let lone_array = features.len() == 1 && matches!(columns[features[0]].holds, Holds::Array { .. });
    let as_inputs =
        (matrix || lone_array) && (label.is_some() || features.len() == 1 || options.columns.is_some());
    let mut fields = Vec::new();
    let mut targets = Vec::new();
    let mut push = |name: &str, columns_of: &[usize], dtype: DType, shape: Vec<usize>, text: bool| {
        let elements = shape.iter().product::<usize>() / columns_of.len().max(1);
        for (nth, column) in columns_of.iter().enumerate() {
            targets.push(Target {
                column: *column,
                name: columns[*column].name.clone(),
                field: fields.len(),
                element: nth * elements,
                elements,
                dtype,
                text,
            });
        }
        fields.push(Field::new(name, dtype, shape));
    };
    let own = |index: usize| match &columns[index].holds {
        Holds::Number(dtype) => (options.dtype.unwrap_or(*dtype), Vec::new()),
        Holds::Array { dtype, shape } => (options.dtype.unwrap_or(*dtype), shape.clone()),
        _ => (DType::Int64, Vec::new()),
    };
    let shape = if as_inputs {
        if matrix {
            // A lone column of numbers is one number a sample, as it is in TensorDataset; several are a row.
            let shape =
                if features.len() == 1 && label.is_none() { Vec::new() } else { vec![features.len()] };
            push("inputs", features, options.dtype.unwrap_or(DType::Float32), shape, false);
        } else {
            let (mut dtype, shape) = own(features[0]);
            if options.dtype.is_none() && is_float(dtype) {
                dtype = DType::Float32;
            }
            push("inputs", features, dtype, shape, false);
        }
        if label.is_some() { Shape::Tuple } else { Shape::Single }
    } else {
        for index in features {
            let (dtype, shape) = own(*index);
            push(&columns[*index].name, &[*index], dtype, shape, false);
        }
        Shape::Dict
    };
    if let Some(index) = label {
        let name = if as_inputs { "labels" } else { columns[index].name.as_str() };
        let (dtype, shape, text) = match &columns[index].holds {
            Holds::Number(dtype) => (label_type(*dtype), Vec::new(), false),
            Holds::Array { dtype, shape } => (label_type(*dtype), shape.clone(), false),
            Holds::Text => (DType::Int64, Vec::new(), true),
            _ => (DType::Int64, Vec::new(), false),
        };
        push(name, &[index], dtype, shape, text);
    }
    Plan { schema: Schema { fields, shape }, targets, classes: None }
}

/// The plan that delivers nothing but the label.
pub(crate) fn plan_label(columns: &[Column], label: usize) -> Result<Plan> {
    refuse_variable(columns, &[], Some(label))?;
    Ok(plan(columns, &[], Some(label), &TableOptions::default()))
}

fn label_type(dtype: DType) -> DType {
    if is_float(dtype) { DType::Float32 } else { DType::Int64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str, dtype: DType) -> Column {
        Column::new(name, Holds::Number(dtype))
    }

    fn rows(columns: &[Column], options: &TableOptions) -> Plan {
        match map(columns, options).unwrap() {
            Mapped::Rows(plan) => plan,
            Mapped::Pictures(_) => panic!("pictures"),
        }
    }

    fn text(plan: &Plan) -> String {
        let fields: Vec<String> =
            plan.schema.fields.iter().map(|f| format!("{} {}{:?}", f.name, f.dtype, f.shape)).collect();
        format!("{:?}: {}", plan.schema.shape, fields.join(", "))
    }

    fn labelled(label: LabelChoice) -> TableOptions {
        TableOptions { label, ..TableOptions::default() }
    }

    #[test]
    fn the_label_is_found_by_name_and_else_is_the_last_column() {
        let table = [number("a", DType::Float64), number("Y", DType::Int8), number("b", DType::Int32)];
        assert_eq!(
            text(&rows(&table, &labelled(LabelChoice::Auto))),
            "Tuple: inputs float32[2], labels int64[]"
        );
        assert_eq!(rows(&table, &labelled(LabelChoice::Auto)).targets[2].column, 1);
        let named = rows(&table, &labelled(LabelChoice::Named("a".into())));
        assert_eq!(text(&named), "Tuple: inputs float32[2], labels float32[]");
        let last = rows(&[number("a", DType::Int8), number("b", DType::Bool)], &TableOptions::default());
        assert_eq!(last.targets[1].column, 1);
        assert_eq!(text(&last), "Tuple: inputs float32[1], labels int64[]");
    }

    #[test]
    fn chosen_columns_still_find_a_named_label_outside_of_them() {
        let table = [number("label", DType::Int8), number("a", DType::Int8), number("b", DType::Int8)];
        let options = TableOptions { columns: Some(vec!["b".into(), "a".into()]), ..TableOptions::default() };
        let plan = rows(&table, &options);
        assert_eq!(plan.targets.iter().map(|t| t.column).collect::<Vec<_>>(), [2, 1, 0]);
    }

    #[test]
    fn without_a_label_a_table_is_a_dictionary_and_chosen_columns_are_one_array() {
        let table = [number("a", DType::Float64), number("b", DType::Int32)];
        assert_eq!(text(&rows(&table, &labelled(LabelChoice::None))), "Dict: a float64[], b int32[]");
        let options = TableOptions {
            columns: Some(vec!["a".into(), "b".into()]),
            label: LabelChoice::None,
            ..TableOptions::default()
        };
        assert_eq!(text(&rows(&table, &options)), "Single: inputs float32[2]");
    }

    #[test]
    fn lists_keep_integers_and_make_floats_single_precision() {
        let list = |dtype| Column::new("x", Holds::Array { dtype, shape: vec![8] });
        let label = number("label", DType::Float64);
        let plan = rows(&[list(DType::Int64), label.clone()], &TableOptions::default());
        assert_eq!(text(&plan), "Tuple: inputs int64[8], labels float32[]");
        let plan = rows(&[list(DType::Float64), label.clone()], &TableOptions::default());
        assert_eq!(text(&plan), "Tuple: inputs float32[8], labels float32[]");
        let mixed = rows(&[list(DType::Float64), number("a", DType::Int8), label], &TableOptions::default());
        assert_eq!(text(&mixed), "Dict: x float64[8], a int8[], label float32[]");
    }

    #[test]
    fn text_is_a_label_but_not_an_input() {
        let table = [number("a", DType::Int8), Column::new("species", Holds::Text)];
        let plan = rows(&table, &TableOptions::default());
        assert!(plan.targets[1].text);
        let table =
            [Column::new("note", Holds::Text), number("a", DType::Int8), number("label", DType::Int8)];
        let error = map(&table, &TableOptions::default()).unwrap_err().to_string();
        assert!(error.contains("\"note\"") && error.contains("columns=[\"a\", \"label\"]"), "{error}");
    }

    #[test]
    fn unknown_names_list_what_there_is() {
        let table = [number("a", DType::Int8), number("b", DType::Int8)];
        let error = map(&table, &labelled(LabelChoice::Named("c".into()))).unwrap_err().to_string();
        assert!(error.contains("\"c\"") && error.contains("\"a\", \"b\""), "{error}");
    }

    #[test]
    fn bytes_are_pictures_and_never_the_label() {
        let table = [number("cls", DType::Int8), Column::new("image", Holds::Binary { nested: true })];
        let Mapped::Pictures(plan) = map(&table, &TableOptions::default()).unwrap() else { panic!("rows") };
        assert_eq!(plan, PicturePlan { pictures: 1, label: Some(0) });
    }

    #[test]
    fn a_lone_column_is_the_input() {
        let table = [Column::new("x", Holds::Array { dtype: DType::UInt8, shape: vec![3, 4] })];
        assert_eq!(text(&rows(&table, &TableOptions::default())), "Single: inputs uint8[3, 4]");
        assert_eq!(
            text(&rows(&[number("y", DType::Int8)], &TableOptions::default())),
            "Single: inputs float32[]"
        );
    }
}
