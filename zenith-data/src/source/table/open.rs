//! Opening table files of every kind. Several files are one table: their rows follow each other in the order of their
//! names (arrays in NPY files may also be columns, see [`open_files`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use zenith_runtime_cpu::thread::panic_message;

use super::blobs::{ArrayBlocks, ColumnBlobs, first_bytes};
use super::source::TableSource;
use crate::format::arrow_ipc::IpcBlocks;
use crate::format::batches::BatchBlocks;
use crate::format::csv::CsvBlocks;
use crate::format::identity::{combine, file_identity};
use crate::format::image::is_picture;
use crate::format::kind::Kind;
use crate::format::parquet::ParquetBlocks;
use crate::format::{npy, npz};
use crate::table::blocks::Blocks;
use crate::table::files::FileColumn;
use crate::table::mapping::{Mapped, TableOptions, is_label_name, map};
use crate::{Error, Result};

/// What files turn out to hold.
#[derive(Debug)]
pub enum Opened {
    /// Rows of numbers.
    Rows(TableSource),
    /// A column of encoded pictures, to be decoded.
    Pictures(ColumnBlobs),
}

/// Opens files of one kind as one table, in the order given.
///
/// NPY files are rows of one array if they agree in type and shape; if one of them is called as a label is (`y.npy`),
/// each is a column by its name.
///
/// # Errors
/// [`Error::Io`] and [`Error::Source`] with the path for what cannot be read, [`Error::Config`] for options that do not
/// fit the columns, and for a block that is larger than the memory budget.
pub fn open_files(paths: &[PathBuf], kind: Kind, options: &TableOptions) -> Result<Opened> {
    let paths = paths.to_vec();
    let opened = catch_unwind(AssertUnwindSafe(|| open_sorted(&paths, kind, options)));
    // The decoders of damaged files may panic; that is bad input, not a bug of the caller.
    opened.unwrap_or_else(|panic| {
        let path = paths.first().map_or_else(PathBuf::new, Clone::clone);
        Err(Error::source(path, format!("cannot be decoded: {}", panic_message(panic.as_ref()))))
    })
}

fn open_sorted(paths: &[PathBuf], kind: Kind, options: &TableOptions) -> Result<Opened> {
    match kind {
        Kind::Parquet => {
            let table = ParquetBlocks::open(paths)?;
            let mapped = map(table.columns(), options)?;
            open_mapped(table, mapped, options)
        }
        Kind::ArrowIpc => {
            let table = IpcBlocks::open(paths)?;
            let mapped = map(table.columns(), options)?;
            if let Mapped::Rows(plan) = &mapped
                && let Some(columns) = table.plain(plan)?
            {
                let plan = plan.clone();
                return Ok(Opened::Rows(TableSource::of_plain(columns, plan, table.fingerprint(), options)?));
            }
            open_mapped(table, mapped, options)
        }
        Kind::Csv => {
            let table = Arc::new(CsvBlocks::open(paths)?);
            match map(table.columns(), options)? {
                Mapped::Rows(plan) => Ok(Opened::Rows(TableSource::of_blocks(table, plan, options)?)),
                Mapped::Pictures(_) => Err(Error::source(&paths[0], "text holds no pictures")),
            }
        }
        Kind::Npy => {
            let names: Vec<String> = paths.iter().map(|path| stem(path)).collect();
            let columns = paths
                .iter()
                .zip(&names)
                .map(|(path, name)| npy::open(path, name))
                .collect::<Result<Vec<_>>>()?;
            let parts = if names.iter().any(|name| is_label_name(name)) {
                vec![columns]
            } else {
                shards(columns, paths)?
            };
            of_arrays(parts, paths, options)
        }
        Kind::Npz => {
            let parts = paths.iter().map(|path| npz::open(path)).collect::<Result<Vec<_>>>()?;
            of_arrays(parts, paths, options)
        }
    }
}

/// Opens blocks of arrays as what [`map`] says of them.
fn open_mapped(table: impl ArrayBlocks + 'static, mapped: Mapped, options: &TableOptions) -> Result<Opened> {
    let table = Arc::new(table);
    match mapped {
        Mapped::Rows(plan) => Ok(Opened::Rows(TableSource::of_blocks(table, plan, options)?)),
        Mapped::Pictures(plan) => {
            let name = &table.columns()[plan.pictures].name;
            match first_bytes(table.as_ref(), plan.pictures)? {
                Some(bytes) if is_picture(&bytes) => {}
                _ => {
                    let others =
                        table.columns().iter().filter(|c| c.name != *name).map(|c| format!("{:?}", c.name));
                    let others: Vec<String> = others.collect();
                    return Err(Error::source(
                        table.place(0).0,
                        format!(
                            "column {name:?} holds bytes that are no JPEG, PNG or WebP picture; leave it out: columns=[{}]",
                            others.join(", ")
                        ),
                    ));
                }
            }
            Ok(Opened::Pictures(ColumnBlobs::new(table, &plan, options)?))
        }
    }
}

/// Tables of the same arrays, one behind the other.
fn of_arrays(parts: Vec<Vec<FileColumn>>, paths: &[PathBuf], options: &TableOptions) -> Result<Opened> {
    let identities = paths.iter().map(|path| file_identity(path)).collect::<Result<Vec<_>>>()?;
    let mut parts = parts.into_iter();
    let Some(mut table) = parts.next() else {
        return Err(Error::Config("no file was given".into()));
    };
    for (part, path) in parts.zip(&paths[1..]) {
        let same = part.len() == table.len()
            && part
                .iter()
                .zip(&table)
                .all(|(a, b)| a.name == b.name && a.dtype == b.dtype && a.shape == b.shape);
        if !same {
            return Err(Error::source(path, format!("other arrays than in {}", paths[0].display())));
        }
        for (column, more) in table.iter_mut().zip(part) {
            column.pieces.extend(more.pieces);
        }
    }
    Ok(Opened::Rows(TableSource::of_files(table, combine(&identities), options)?))
}

/// Arrays that are rows of one table.
fn shards(columns: Vec<FileColumn>, paths: &[PathBuf]) -> Result<Vec<Vec<FileColumn>>> {
    let Some(first) = columns.first().map(|c| (c.name.clone(), c.dtype, c.shape.clone())) else {
        return Err(Error::Config("no NPY file was given".into()));
    };
    columns
        .into_iter()
        .zip(paths)
        .map(|(column, path)| {
            if column.dtype != first.1 || column.shape != first.2 {
                return Err(Error::source(
                    path,
                    format!(
                        "an array of {} {:?} where {} has {} {:?}; give arrays that are columns the names x.npy and y.npy",
                        column.dtype,
                        column.shape,
                        paths[0].display(),
                        first.1,
                        first.2
                    ),
                ));
            }
            Ok(vec![FileColumn { name: first.0.clone(), ..column }])
        })
        .collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

impl TableSource {
    /// A table of record batches in memory. Columns that are row-major already (numbers and fixed-size lists without
    /// nulls, one for each field) are borrowed; others are copied into rows.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no row, the batches differ in their columns, or the options do not fit.
    pub fn from_record_batches(batches: Vec<RecordBatch>, options: &TableOptions) -> Result<Opened> {
        let table = BatchBlocks::new(batches)?;
        let mapped = map(table.columns(), options)?;
        if let Mapped::Rows(plan) = &mapped
            && let Some(parts) = table.borrow(plan)
        {
            return Ok(Opened::Rows(TableSource::of_borrowed(&parts, plan.clone(), table.fingerprint())?));
        }
        open_mapped(table, mapped, options)
    }
}

impl ArrayBlocks for ParquetBlocks {
    fn arrays(&self, block: usize, column: usize) -> Result<Vec<ArrayRef>> {
        let mut arrays = Vec::new();
        self.read_arrow(block, column, 1024, |_, array| {
            arrays.push(array);
            Ok(true)
        })?;
        Ok(arrays)
    }

    fn first(&self, column: usize) -> Result<ArrayRef> {
        let mut first = None;
        self.read_arrow(0, column, 1, |_, array| {
            first = Some(array);
            Ok(false)
        })?;
        first.ok_or_else(|| Error::source(self.place(0).0, "the table has no rows"))
    }

    fn bytes(&self, block: usize, column: usize) -> u64 {
        self.column_bytes(block, column)
    }
}

impl ArrayBlocks for IpcBlocks {
    fn arrays(&self, block: usize, column: usize) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::clone(self.batch(block, &[column])?.column(0))])
    }

    fn first(&self, column: usize) -> Result<ArrayRef> {
        Ok(self.batch(0, &[column])?.column(0).slice(0, 1))
    }

    fn bytes(&self, block: usize, _: usize) -> u64 {
        self.body_bytes(block)
    }
}

impl ArrayBlocks for BatchBlocks {
    fn arrays(&self, block: usize, column: usize) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.array(block, column)])
    }

    fn first(&self, column: usize) -> Result<ArrayRef> {
        Ok(self.array(0, column).slice(0, 1))
    }

    fn bytes(&self, _: usize, _: usize) -> u64 {
        // The caller's memory; nothing is copied.
        0
    }
}
