//! Parquet files as blocks (one per row group). Flat columns of numbers take the short way in [`flat`]; everything
//! else is read through Arrow. Several files are one table; their columns must agree.

mod claims;
mod codec;
mod flat;
mod footer;
mod header;
mod known;
mod pages;
mod thrift;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::ArrayRef;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Type as Physical;

use self::pages::RowGroup;
use super::arrow_columns::{agree, collect_texts, holds, needs_look, put};
use super::identity::file_identity;
use crate::table::blocks::{Blocks, Job};
use crate::table::cells::{Cells, claimed};
use crate::table::mapping::{Column, Plan};
use crate::table::pread::PreadFile;
use crate::{DType, Error, Result};

/// Rows of a batch read through Arrow.
const ARROW_ROWS: usize = 4096;

struct OpenFile {
    path: PathBuf,
    file: Arc<PreadFile>,
    metadata: ArrowReaderMetadata,
}

impl OpenFile {
    /// The leaf of a flat column, with the type that its values have in memory and the one they have in the file; `None`
    /// for other columns.
    fn flat_leaf(&self, root: usize) -> Option<(usize, DType, Physical)> {
        let schema = self.metadata.parquet_schema();
        let mut of_root = (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == root);
        let (leaf, None) = (of_root.next()?, of_root.next()) else {
            return None;
        };
        let column = schema.column(leaf);
        let flat = flat::flat_type(&column).filter(|_| column.path().parts().len() == 1)?;
        Some((leaf, flat, column.physical_type()))
    }
}

/// A table of one or more Parquet files.
pub(crate) struct ParquetBlocks {
    files: Vec<OpenFile>,
    columns: Vec<Column>,
    /// Leaf of a column that is flat, in one type, in every file.
    leaves: Vec<Option<usize>>,
    rows: Vec<u64>,
    /// File and row group of every block.
    places: Vec<(usize, usize)>,
    fingerprint: u64,
}

impl ParquetBlocks {
    /// Opens the files and compares their columns.
    ///
    /// # Errors
    /// A file that is no Parquet, is cut off, or has other columns than the first.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut files = Vec::with_capacity(paths.len());
        let mut identities = Vec::with_capacity(paths.len());
        for path in paths {
            let file = PreadFile::open(path)?;
            let unreadable = |reason: &dyn std::fmt::Display| {
                Error::source(path, format!("no readable Parquet file: {reason}"))
            };
            footer::check(&file).map_err(|reason| unreadable(&reason))?;
            let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
                .map_err(|error| unreadable(&error))?;
            identities.push(file_identity(path)?);
            files.push(OpenFile { path: path.clone(), file: Arc::new(file), metadata });
        }
        let Some(first) = files.first() else {
            return Err(Error::Config("no Parquet file was given".into()));
        };
        for other in &files[1..] {
            agree(first.metadata.schema(), other.metadata.schema()).map_err(|reason| {
                Error::source(&other.path, format!("{reason}, unlike in {}", first.path.display()))
            })?;
        }
        let mut rows = Vec::new();
        let mut places = Vec::new();
        for (nth, file) in files.iter().enumerate() {
            for (group, meta) in file.metadata.metadata().row_groups().iter().enumerate() {
                if meta.num_rows() > 0 {
                    rows.push(meta.num_rows() as u64);
                    places.push((nth, group));
                }
            }
        }
        if rows.is_empty() {
            return Err(Error::source(&first.path, "the table has no rows"));
        }
        // Files may hold the same times in different types, of which only some are flat.
        let leaves: Vec<Option<usize>> = (0..first.metadata.schema().fields().len())
            .map(|root| {
                let flat = first.flat_leaf(root)?;
                files[1..].iter().all(|other| other.flat_leaf(root) == Some(flat)).then_some(flat.0)
            })
            .collect();
        let mut table = Self {
            columns: Vec::new(),
            leaves,
            rows,
            places,
            fingerprint: super::identity::combine(&identities),
            files,
        };
        let fields = table.files[0].metadata.schema().fields().clone();
        for (index, field) in fields.iter().enumerate() {
            let look = if needs_look(field.data_type()) { table.first_row(index)? } else { None };
            table.columns.push(Column::new(field.name(), holds(field.data_type(), look.as_deref())));
        }
        Ok(table)
    }

    fn first_row(&self, column: usize) -> Result<Option<ArrayRef>> {
        let mut first = None;
        self.read_arrow(0, column, 1, |_, array| {
            first = Some(array);
            Ok(false)
        })?;
        Ok(first)
    }

    /// Reads one column of a block through Arrow; `visit` gets the first row's number in the block and the values, and
    /// says whether to go on.
    ///
    /// # Errors
    /// What cannot be read, what `visit` says, and a file that has been written to meanwhile.
    pub(crate) fn read_arrow(
        &self,
        block: usize,
        column: usize,
        batch: usize,
        visit: impl FnMut(usize, ArrayRef) -> Result<bool>,
    ) -> Result<()> {
        let read = self.read_batches(block, column, batch, visit);
        // What else went wrong in a file that changed under us says nothing about the file.
        self.files[self.places[block].0].file.unchanged()?;
        read
    }

    fn read_batches(
        &self,
        block: usize,
        column: usize,
        batch: usize,
        mut visit: impl FnMut(usize, ArrayRef) -> Result<bool>,
    ) -> Result<()> {
        let (nth, group) = self.places[block];
        let open = &self.files[nth];
        let damaged = |error: String| {
            let (path, name) = self.place(block);
            Error::source(path, format!("column {:?} of {name}: {error}", self.name_of(column)))
        };
        let schema = open.metadata.parquet_schema();
        let mask = ProjectionMask::roots(schema, [column]);
        let fields = open.metadata.schema().fields();
        let reader = parquet_to_arrow_field_levels(schema, mask, Some(fields)).and_then(|levels| {
            let group = RowGroup { file: &open.file, metadata: open.metadata.metadata(), group };
            ParquetRecordBatchReader::try_new_with_row_groups(&levels, &group, batch, None)
        });
        let reader = reader.map_err(|e| damaged(e.to_string()))?;
        let mut row = 0;
        for batch in reader {
            let batch = batch.map_err(|e| damaged(e.to_string()))?;
            let n = batch.num_rows();
            if !visit(row, Arc::clone(batch.column(0)))? {
                return Ok(());
            }
            row += n;
        }
        if row as u64 != self.rows[block] {
            return Err(damaged(format!("ends after {row} of {} rows", self.rows[block])));
        }
        Ok(())
    }

    /// Bytes of a column of a block, decompressed.
    pub(crate) fn column_bytes(&self, block: usize, column: usize) -> u64 {
        let (nth, group) = self.places[block];
        let metadata = &self.files[nth].metadata;
        let schema = metadata.parquet_schema();
        let of_column = (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == column);
        let group = metadata.metadata().row_group(group);
        of_column.map(|leaf| group.column(leaf).uncompressed_size().max(0) as u64).sum()
    }

    fn name_of(&self, column: usize) -> &str {
        self.files[0].metadata.schema().field(column).name()
    }

    fn at_row(&self, block: usize, column: &str, row: usize, reason: &str) -> Error {
        let (nth, _) = self.places[block];
        let before: u64 = (0..block).filter(|b| self.places[*b].0 == nth).map(|b| self.rows[b]).sum();
        Error::source(
            &self.files[nth].path,
            format!("column {column:?}, row {}: {reason}", before + row as u64),
        )
    }
}

impl Blocks for ParquetBlocks {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn rows(&self) -> &[u64] {
        &self.rows
    }

    fn place(&self, block: usize) -> (&Path, String) {
        let (nth, group) = self.places[block];
        (&self.files[nth].path, format!("row group {group}"))
    }

    fn texts(&self, column: usize) -> Result<Vec<String>> {
        let mut found = BTreeSet::new();
        for block in 0..self.rows.len() {
            self.read_arrow(block, column, ARROW_ROWS, |row, array| {
                collect_texts(array.as_ref(), &mut found)
                    .map_err(|e| self.at_row(block, self.name_of(column), row + e.row, &e.reason))?;
                Ok(true)
            })?;
        }
        Ok(found.into_iter().collect())
    }

    fn tasks(&self, plan: &Plan) -> Vec<Range<usize>> {
        let flat = |nth: usize| self.leaves[plan.targets[nth].column].is_some() && !plan.targets[nth].text;
        let mut tasks: Vec<Range<usize>> = Vec::new();
        for (nth, target) in plan.targets.iter().enumerate() {
            match tasks.last_mut() {
                Some(last)
                    if flat(nth)
                        && flat(last.start)
                        && last.len() < flat::GROUP
                        && plan.targets[last.start].field == target.field =>
                {
                    last.end = nth + 1;
                }
                _ => tasks.push(nth..nth + 1),
            }
        }
        tasks
    }

    fn decode(&self, block: usize, job: &Job<'_>, cells: &mut [Cells<'_>]) -> Result<()> {
        let (nth, group) = self.places[block];
        let open = &self.files[nth];
        let targets = &job.plan.targets[job.targets.clone()];
        let leaves: Option<Vec<usize>> =
            targets.iter().map(|t| self.leaves[t.column].filter(|_| !t.text)).collect();
        if let Some(leaves) = leaves {
            let meta = open.metadata.metadata().row_group(group);
            let cells = claimed(cells, &targets[0]);
            return flat::decode(&open.file, meta, targets, &leaves, cells).map_err(|error| {
                let name = &targets[error.column].name;
                match error.row {
                    Some(row) => self.at_row(block, name, row, &error.reason),
                    None => {
                        let (path, place) = self.place(block);
                        Error::source(path, format!("column {name:?} of {place}: {}", error.reason))
                    }
                }
            });
        }
        for target in targets {
            let shape = &job.plan.schema.fields[target.field].shape;
            let shape: &[usize] = if target.elements == 1 && shape.len() <= 1 && !self.is_array(target.column)
            {
                &[]
            } else {
                shape
            };
            let cells = claimed(cells, target);
            self.read_arrow(block, target.column, ARROW_ROWS, |row, array| {
                put(array.as_ref(), target, shape, row, cells, job.classes)
                    .map_err(|e| self.at_row(block, &target.name, row + e.row, &e.reason))?;
                Ok(true)
            })?;
        }
        Ok(())
    }

    fn unchanged(&self, block: usize, _: &Job<'_>) -> Result<()> {
        self.files[self.places[block].0].file.unchanged()
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

impl ParquetBlocks {
    fn is_array(&self, column: usize) -> bool {
        matches!(self.columns[column].holds, crate::table::mapping::Holds::Array { .. })
    }
}
