//! Delimited text (CSV, TSV) as blocks of whole lines. One pass finds where lines end, so that blocks are parsed on
//! several threads and in any order.
//!
//! - The delimiter is what occurs most in the first line among comma, semicolon, tab and bar.
//! - The first line is the header unless one of its fields is a number; columns without a header are `c0`, `c1`, ...
//! - What a column holds is inferred from the first [`SAMPLE_ROWS`] rows of the first file: truth values, integers,
//!   numbers, else text. A later value that does not fit is an error with its line number.
//! - Missing values: see [`number::is_null`].

mod lines;
mod number;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use parquet::file::reader::ChunkReader;

use self::lines::{Cutter, Stretch, delimiter, rows};
use self::number::{float, integer, is_null, truth};
use super::arrow_columns::MOST_CLASSES;
use super::identity::{combine, file_identity};
use crate::table::blocks::{Blocks, Job};
use crate::table::cells::{Cells, claimed};
use crate::table::convert::is_float;
use crate::table::mapping::{Column, Holds, Plan, Target};
use crate::table::pread::PreadFile;
use crate::{DType, Error, Result};

/// Rows of the first file that decide what columns hold.
pub(crate) const SAMPLE_ROWS: usize = 1000;
/// Bytes of a block.
const BLOCK: usize = 1 << 20;
/// Bytes read at a time while lines are counted.
const PIECE: usize = 1 << 18;
/// The header and the sampled rows must come within so many bytes.
const HEAD: usize = 4 << 20;
/// Rows parsed before they are written to their cells.
const TILE_ROWS: usize = 256;

struct OpenFile {
    path: PathBuf,
    file: PreadFile,
}

/// A table of one or more text files.
pub(crate) struct CsvBlocks {
    files: Vec<OpenFile>,
    delimiter: u8,
    columns: Vec<Column>,
    rows: Vec<u64>,
    places: Vec<(usize, Stretch)>,
    fingerprint: u64,
}

/// The header of a file, and what follows it.
struct Head {
    delimiter: u8,
    names: Vec<String>,
    /// Where the first row starts, and in which line.
    offset: u64,
    line: u64,
    holds: Vec<Holds>,
}

impl CsvBlocks {
    /// Opens the files, finds their lines, infers the columns from the first and compares the names of the others.
    ///
    /// # Errors
    /// A file that is empty, is no text, has an open quote at its end, or has other columns than the first.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        let (mut files, mut identities) = (Vec::new(), Vec::new());
        let (mut lengths, mut places) = (Vec::new(), Vec::new());
        let mut first: Option<Head> = None;
        for (nth, path) in paths.iter().enumerate() {
            let file = PreadFile::open(path)?;
            identities.push(file_identity(path)?);
            let bad = |reason: String| Error::source(path, reason);
            let head = read_head(&file).map_err(bad)?;
            if let Some(first) = &first
                && (first.names != head.names || first.delimiter != head.delimiter)
            {
                let differs = |(a, b): &(&String, &String)| a != b;
                let pair = first.names.iter().zip(&head.names).find(differs);
                let (column, twin) = pair.map_or(("", ""), |(a, b)| (a, b));
                return Err(bad(format!(
                    "{} columns ({twin:?}) unlike the {} ({column:?}) of {}",
                    head.names.len(),
                    first.names.len(),
                    paths[0].display()
                )));
            }
            let mut cutter = Cutter::new(head.offset, head.line, head.delimiter, BLOCK);
            let mut at = head.offset;
            while at < file.len() {
                let piece = file
                    .get_bytes(at, PIECE.min((file.len() - at) as usize))
                    .map_err(|e| bad(e.to_string()))?;
                cutter.feed(&piece);
                at += piece.len() as u64;
            }
            for stretch in cutter.finish().map_err(bad)? {
                lengths.push(stretch.rows);
                places.push((nth, stretch));
            }
            files.push(OpenFile { path: path.clone(), file });
            first.get_or_insert(head);
        }
        let Some(head) = first else {
            return Err(Error::Config("no CSV file was given".into()));
        };
        if lengths.is_empty() {
            return Err(Error::source(&paths[0], "the table has no rows"));
        }
        let columns =
            head.names.into_iter().zip(head.holds).map(|(name, holds)| Column::new(name, holds)).collect();
        let fingerprint = combine(&identities);
        Ok(Self { files, delimiter: head.delimiter, columns, rows: lengths, places, fingerprint })
    }

    /// Calls `row` with the number in the block, the line, and the fields of every row of a block.
    fn each(
        &self,
        block: usize,
        mut row: impl FnMut(usize, u64, &[Cow<'_, [u8]>]) -> std::result::Result<(), String>,
    ) -> Result<()> {
        let (nth, stretch) = self.places[block];
        let open = &self.files[nth];
        let text = open
            .file
            .get_bytes(stretch.offset, stretch.len)
            .map_err(|e| Error::source(&open.path, format!("line {}: {e}", stretch.line)))?;
        let mut count = 0;
        rows(&text, stretch.line, self.delimiter, |line, fields| {
            let bad = |reason: String| Error::source(&open.path, format!("line {line}: {reason}"));
            if fields.len() != self.columns.len() {
                return Err(bad(format!(
                    "{} fields where the header has {}",
                    fields.len(),
                    self.columns.len()
                )));
            }
            if count as u64 == stretch.rows {
                return Err(bad("more rows than when the file was opened; it has changed".into()));
            }
            row(count, line, fields).map_err(bad)?;
            count += 1;
            Ok(())
        })?;
        if count as u64 != stretch.rows {
            let reason = format!(
                "from line {} on: {count} rows where {} were; it has changed",
                stretch.line, stretch.rows
            );
            return Err(Error::source(&open.path, reason));
        }
        Ok(())
    }
}

fn read_head(file: &PreadFile) -> std::result::Result<Head, String> {
    let len = HEAD.min(file.len() as usize);
    let bytes = file.get_bytes(0, len).map_err(|e| e.to_string())?;
    let start = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let text = &bytes[start..];
    let whole = len as u64 == file.len();
    // The last line of the piece may be cut; it is not looked at unless it is the file's last.
    let text =
        if whole { text } else { &text[..text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)] };
    let delimiter = delimiter(text);
    let mut names: Option<Vec<String>> = None;
    let mut guesses: Vec<Guess> = Vec::new();
    let mut header_line = None;
    let mut taken = 0;
    let stopped = rows(text, 1, delimiter, |line, fields| {
        if names.is_none() {
            let is_header = !fields.iter().any(|f| !is_null(f) && float(f).is_some());
            guesses.resize(fields.len(), Guess::Nothing);
            names = Some(if is_header {
                header_line = Some(line);
                fields.iter().map(|f| String::from_utf8_lossy(f).into_owned()).collect()
            } else {
                (0..fields.len()).map(|n| format!("c{n}")).collect()
            });
            if is_header {
                return Ok(());
            }
        }
        if taken == SAMPLE_ROWS {
            return Err(());
        }
        taken += 1;
        for (guess, field) in guesses.iter_mut().zip(fields) {
            *guess = guess.with(field);
        }
        Ok(())
    });
    // Ending early is how the sample is bounded.
    let (Ok(()) | Err(())) = stopped;
    let Some(names) = names else {
        return Err(if file.len() == 0 {
            "the file is empty".into()
        } else {
            "the file has no line of text".into()
        });
    };
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(format!("two columns are called {twice:?}"));
    }
    let (offset, line) = match header_line {
        None => (start as u64, 1),
        Some(_) => {
            // One stretch of one line: where the header ends.
            let mut cutter = Cutter::new(0, 1, delimiter, 1);
            cutter.feed(text);
            // Behind the header the piece may end inside of quotes.
            let first = match cutter.first() {
                Some(first) => Some(first),
                None => cutter.finish()?.first().copied(),
            };
            let end = first.map_or(text.len() as u64, |s| s.offset + s.len as u64);
            let newlines = text[..end as usize].iter().filter(|b| **b == b'\n').count() as u64;
            (start as u64 + end, 1 + newlines)
        }
    };
    let holds = guesses.iter().map(|guess| guess.holds()).collect();
    Ok(Head { delimiter, names, offset, line, holds })
}

/// What the values of a column have been so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Guess {
    Nothing,
    Truth,
    Integer,
    Float,
    Text,
}

impl Guess {
    fn with(self, field: &[u8]) -> Self {
        let this = if is_null(field) {
            Guess::Nothing
        } else if truth(field).is_some() {
            Guess::Truth
        } else if integer(field).is_some() {
            Guess::Integer
        } else if float(field).is_some() {
            Guess::Float
        } else {
            Guess::Text
        };
        match (self.min(this), self.max(this)) {
            (Guess::Truth, Guess::Integer | Guess::Float) => Guess::Text,
            (_, wider) => wider,
        }
    }

    fn holds(self) -> Holds {
        match self {
            Guess::Truth => Holds::Number(DType::Bool),
            Guess::Integer => Holds::Number(DType::Int64),
            // A column of nothing but nulls is a column of NaN.
            Guess::Float | Guess::Nothing => Holds::Number(DType::Float64),
            Guess::Text => Holds::Text,
        }
    }
}

/// Values of one target that wait to be written.
enum Waiting {
    Floats(Vec<f64>),
    Integers(Vec<i64>),
}

impl Blocks for CsvBlocks {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn rows(&self) -> &[u64] {
        &self.rows
    }

    fn place(&self, block: usize) -> (&Path, String) {
        let (nth, stretch) = self.places[block];
        (&self.files[nth].path, format!("the lines from {} on", stretch.line))
    }

    fn texts(&self, column: usize) -> Result<Vec<String>> {
        let mut found: BTreeSet<String> = BTreeSet::new();
        for block in 0..self.rows.len() {
            self.each(block, |_, _, fields| {
                let text = label_text(&fields[column])?;
                if !found.contains(text) {
                    if found.len() == MOST_CLASSES {
                        return Err(format!(
                            "column {:?} has more than {MOST_CLASSES} distinct texts, so it is no label; name one with label=",
                            self.columns[column].name
                        ));
                    }
                    found.insert(text.to_owned());
                }
                Ok(())
            })?;
        }
        Ok(found.into_iter().collect())
    }

    fn tasks(&self, plan: &Plan) -> Vec<Range<usize>> {
        std::iter::once(0..plan.targets.len()).collect()
    }

    fn decode(&self, block: usize, job: &Job<'_>, cells: &mut [Cells<'_>]) -> Result<()> {
        let targets = &job.plan.targets[job.targets.clone()];
        let mut waiting: Vec<Waiting> = targets
            .iter()
            .map(|target| match self.columns[target.column].holds {
                Holds::Number(DType::Float64) => Waiting::Floats(Vec::with_capacity(TILE_ROWS)),
                Holds::Number(_) if is_float(target.dtype) => Waiting::Floats(Vec::with_capacity(TILE_ROWS)),
                _ => Waiting::Integers(Vec::with_capacity(TILE_ROWS)),
            })
            .collect();
        let mut count = 0;
        self.each(block, |row, _, fields| {
            for (target, values) in targets.iter().zip(&mut waiting) {
                let field: &[u8] = &fields[target.column];
                let unfit = || {
                    let what = String::from_utf8_lossy(field);
                    let kind = match self.columns[target.column].holds {
                        Holds::Number(DType::Float64) => "a number",
                        Holds::Number(DType::Bool) => "true or false",
                        _ => "an integer",
                    };
                    format!("column {:?}: {what:?} is not {kind}, as the first {SAMPLE_ROWS} rows are", target.name)
                };
                if target.text {
                    let index = job.classes.and_then(|classes| classes.get(label_text(field).ok()?)).ok_or_else(unfit)?;
                    values.push_integer(*index);
                } else if is_null(field) {
                    if !is_float(target.dtype) {
                        return Err(format!(
                            "column {:?}: a missing value cannot be {}; choose a floating-point type (dtype=) to have it as NaN, or leave the column out",
                            target.name, target.dtype
                        ));
                    }
                    values.push_float(f64::NAN);
                } else {
                    match values {
                        Waiting::Floats(values) => {
                            let value = float(field).or_else(|| truth(field).map(f64::from)).ok_or_else(unfit)?;
                            values.push(value);
                        }
                        Waiting::Integers(values) => values.push(integer(field).ok_or_else(unfit)?),
                    }
                }
            }
            count = row + 1;
            if count % TILE_ROWS == 0 {
                flush(targets, &mut waiting, count - TILE_ROWS, cells);
            }
            Ok(())
        })?;
        flush(targets, &mut waiting, count - count % TILE_ROWS, cells);
        Ok(())
    }

    fn unchanged(&self, block: usize, _: &Job<'_>) -> Result<()> {
        self.files[self.places[block].0].file.unchanged()
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

impl Waiting {
    fn push_integer(&mut self, value: i64) {
        match self {
            Waiting::Floats(values) => values.push(value as f64),
            Waiting::Integers(values) => values.push(value),
        }
    }

    fn push_float(&mut self, value: f64) {
        match self {
            Waiting::Floats(values) => values.push(value),
            Waiting::Integers(values) => values.push(value as i64),
        }
    }
}

fn label_text(field: &[u8]) -> std::result::Result<&str, String> {
    std::str::from_utf8(field).map_err(|_| "a label is not UTF-8 text".to_owned())
}

/// Writes what waits to the rows from `row` on.
fn flush(targets: &[Target], waiting: &mut [Waiting], row: usize, cells: &mut [Cells<'_>]) {
    let mut bytes = Vec::with_capacity(TILE_ROWS * 8);
    for (target, values) in targets.iter().zip(waiting) {
        bytes.clear();
        let from = match values {
            Waiting::Floats(values) => {
                values.drain(..).for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
                DType::Float64
            }
            Waiting::Integers(values) => {
                values.drain(..).for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
                DType::Int64
            }
        };
        claimed(cells, target).put(target, row, from, &bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_may_end_inside_of_quotes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("a,y\n\"{}\",1\n2,3\n", "x\n".repeat(HEAD / 2));
        std::fs::write(file.path(), text).unwrap();
        let table = CsvBlocks::open(&[file.path().to_owned()]).unwrap();
        assert_eq!(table.rows().iter().sum::<u64>(), 2);
        let names: Vec<&str> = table.columns().iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "y"]);
    }
}
