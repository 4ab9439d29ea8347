//! Columns whose values lie in files one row behind the other: NumPy arrays, also in archives, and the plain buffers of
//! Arrow batches. They are read at offsets, by any number of threads and straight into their matrix where the types
//! agree; nothing is mapped. Knows no headers: who made the columns has read them.

use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use flate2::{Crc, CrcReader};

use super::blocks::{Blocks, Job};
use super::cells::{Cells, claimed};
use super::convert::convert_run;
use super::mapping::{Column, Holds, Plan, Target};
use crate::table::pread::PreadFile;
use crate::{DType, Error, Result};

/// Rows of a block, where memory allows.
const BLOCK_ROWS: usize = 1 << 16;
/// Bytes of a block, where its rows are wide: threads share the work, and a request is large enough for any disk.
const BLOCK_BYTES: usize = 4 << 20;
/// Blocks that the budget of a window should hold at least, so that half of it is a mixture of some.
const BLOCKS_IN_BUDGET: u64 = 16;
/// Bytes read at a time on their way into other types or places.
const PIECE_BYTES: usize = 64 << 10;
/// Rows of a tile, and bytes between its columns (not a multiple of 4 KiB, for the sets of the L1 cache).
const TILE_ROWS: usize = 1024;
const PITCH: usize = TILE_ROWS * 8 + 64;
/// Columns of a tile.
const GROUP: usize = 16;

/// A column of one type and shape, in one or more pieces that follow each other.
#[derive(Clone, Debug)]
pub(crate) struct FileColumn {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    /// One row's.
    pub(crate) shape: Vec<usize>,
    pub(crate) pieces: Vec<Piece>,
}

/// Some rows of a column, one behind the other in one file.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) file: PreadFile,
    pub(crate) rows: usize,
    pub(crate) big_endian: bool,
    pub(crate) lies: Lies,
}

/// How the bytes of a piece lie in its file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lies {
    /// As they are, from `offset` on.
    Plain { offset: u64, sum: Option<Sum> },
    /// Deflated into the `packed` bytes from `offset` on, behind `head` other bytes; `sum` is of everything inflated.
    Deflated { offset: u64, packed: u64, head: u64, len: u64, crc: u32 },
}

/// The checksum of `len` bytes of the file from `start` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) crc: u32,
}

impl FileColumn {
    pub(crate) fn rows(&self) -> usize {
        self.pieces.iter().fold(0, |all, piece| all.saturating_add(piece.rows))
    }

    /// Bytes of a row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    pub(crate) fn holds(&self) -> Holds {
        if self.shape.is_empty() {
            Holds::Number(self.dtype)
        } else {
            Holds::Array { dtype: self.dtype, shape: self.shape.clone() }
        }
    }

    /// Reads whole rows of a plain piece into `out`, in this machine's byte order; gives their checksum as they lie in
    /// the file where one is wanted.
    pub(crate) fn read(
        &self,
        piece: usize,
        row: usize,
        out: &mut [u8],
        sum: bool,
    ) -> io::Result<Option<Crc>> {
        let piece = &self.pieces[piece];
        let Lies::Plain { offset, .. } = piece.lies else {
            return Err(io::Error::other("a compressed array is only read from its start"));
        };
        piece.file.fill(out, offset + (row * self.row_bytes()) as u64)?;
        let crc = sum.then(|| {
            let mut crc = Crc::new();
            crc.update(out);
            crc
        });
        piece.turn(self.dtype, out);
        Ok(crc)
    }

    fn error(&self, piece: usize, reason: impl std::fmt::Display) -> Error {
        Error::source(self.pieces[piece].file.path(), format!("array {:?}: {reason}", self.name))
    }
}

impl Piece {
    /// Turns numbers into this machine's byte order.
    fn turn(&self, dtype: DType, bytes: &mut [u8]) {
        if self.big_endian != cfg!(target_endian = "big") && dtype.size() > 1 {
            bytes.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
        }
    }
}

/// Some rows of a piece.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    piece: usize,
    first: usize,
    rows: usize,
}

/// The checksum of some rows of a piece of a column, from the row on.
struct Part {
    column: usize,
    piece: usize,
    row: usize,
    crc: Crc,
}

/// Columns in files as blocks of rows.
pub(crate) struct FileBlocks {
    columns: Vec<FileColumn>,
    described: Vec<Column>,
    stretches: Vec<Stretch>,
    rows: Vec<u64>,
    fingerprint: u64,
    /// Checksums of what has been read so far, where everything is read once.
    sums: Option<Mutex<Vec<Part>>>,
    /// Arrays that have a checksum which nobody compares.
    unchecked: usize,
}

/// What `columns` hold.
pub(crate) fn described(columns: &[FileColumn]) -> Vec<Column> {
    columns.iter().map(|column| Column::new(&column.name, column.holds())).collect()
}

impl FileBlocks {
    /// The columns that `plan` uses, as blocks: large ones where all rows fit into `budget` bytes, else so small that
    /// the budget holds several.
    ///
    /// # Errors
    /// [`Error::Config`] for columns of unequal length, [`Error::Source`] where there is no row.
    pub(crate) fn new(
        columns: Vec<FileColumn>,
        plan: &Plan,
        budget: Option<u64>,
        fingerprint: u64,
    ) -> Result<Self> {
        let lengths = common_pieces(&columns)?;
        let mut this = Self {
            described: described(&columns),
            columns,
            stretches: Vec::new(),
            rows: Vec::new(),
            fingerprint,
            sums: None,
            unchecked: 0,
        };
        let row_bytes = this.held(plan).schema.sample_bytes().max(1);
        let total = lengths.iter().fold(0u64, |all, n| all.saturating_add(*n as u64)) as u128;
        let total = total * row_bytes as u128;
        let window = budget.filter(|budget| total > u128::from(*budget));
        let mut step = (BLOCK_BYTES / row_bytes).clamp(1, BLOCK_ROWS);
        if let Some(budget) = window {
            let fit = budget / BLOCKS_IN_BUDGET / row_bytes as u64;
            step = step.min(usize::try_from(fit).unwrap_or(usize::MAX)).max(1);
        }
        let used = |column: usize| plan.targets.iter().any(|target| target.column == column);
        let used: Vec<&FileColumn> =
            (0..this.columns.len()).filter(|c| used(*c)).map(|c| &this.columns[c]).collect();
        for (piece, rows) in lengths.iter().enumerate() {
            let deflated = |column: &&FileColumn| matches!(column.pieces[piece].lies, Lies::Deflated { .. });
            // What is compressed can only be read from its start to its end.
            let step = if used.iter().any(deflated) { *rows } else { step };
            for first in (0..*rows).step_by(step.max(1)) {
                let rows = step.min(rows - first);
                this.stretches.push(Stretch { piece, first, rows });
                this.rows.push(rows as u64);
            }
        }
        let summed = |column: &&&FileColumn| {
            column.pieces.iter().any(|piece| matches!(piece.lies, Lies::Plain { sum: Some(_), .. }))
        };
        let summed = used.iter().filter(summed).count();
        match window {
            Some(_) => this.unchecked = summed,
            None => this.sums = (summed > 0).then(Mutex::default),
        }
        Ok(this)
    }

    /// Reads a compressed piece from its start to its end into the cells of `target`.
    fn inflate(
        &self,
        column: usize,
        piece: usize,
        target: &Target,
        cells: &mut Cells<'_>,
    ) -> std::result::Result<(), String> {
        let column = &self.columns[column];
        let from = &column.pieces[piece];
        let Lies::Deflated { offset, packed, head, len, crc } = from.lies else {
            return Err("this array is not compressed".into());
        };
        let failed = |error: io::Error| format!("cannot be inflated: {error}");
        let bytes = BufReader::with_capacity(PIECE_BYTES, from.file.cursor(offset).take(packed));
        let mut inflated =
            CrcReader::new(flate2::bufread::DeflateDecoder::new(bytes)).take(len.saturating_add(1));
        let mut came = io::copy(&mut (&mut inflated).take(head), &mut io::sink()).map_err(failed)?;
        let row_bytes = column.row_bytes();
        let step = (PIECE_BYTES / row_bytes).max(1);
        let mut scratch = vec![0u8; step.min(from.rows) * row_bytes];
        for row in (0..from.rows).step_by(step) {
            let out = &mut scratch[..step.min(from.rows - row) * row_bytes];
            inflated.read_exact(out).map_err(failed)?;
            came += out.len() as u64;
            from.turn(column.dtype, out);
            cells.put(target, row, column.dtype, out);
        }
        came += io::copy(&mut inflated, &mut io::sink()).map_err(failed)?;
        if came != len {
            return Err(format!("inflates to another length than the {len} bytes announced"));
        }
        if inflated.into_inner().crc().sum() != crc {
            return Err("the checksum does not fit; the archive is damaged".into());
        }
        Ok(())
    }

    fn note(&self, column: usize, piece: usize, row: usize, crc: Option<Crc>) {
        if let (Some(sums), Some(crc)) = (&self.sums, crc) {
            sums.lock().unwrap_or_else(PoisonError::into_inner).push(Part { column, piece, row, crc });
        }
    }

    fn summed(&self, column: usize, piece: usize) -> bool {
        self.sums.is_some()
            && matches!(self.columns[column].pieces[piece].lies, Lies::Plain { sum: Some(_), .. })
    }

    /// Puts neighbouring numbers of several columns into the rows they share.
    fn transpose(&self, at: Stretch, job: &Job<'_>, cells: &mut Cells<'_>) -> Result<()> {
        let targets = &job.plan.targets[job.targets.clone()];
        let (to, size) = (cells.dtype(), cells.dtype().size());
        let mut tile = vec![0u8; PITCH * targets.len()];
        let step = PIECE_BYTES / 8;
        let mut raw: Vec<Vec<u8>> = vec![Vec::new(); targets.len()];
        for start in (0..at.rows).step_by(step) {
            let count = step.min(at.rows - start);
            for (raw, target) in raw.iter_mut().zip(targets) {
                let column = &self.columns[target.column];
                raw.resize(count * column.dtype.size(), 0);
                let crc = column
                    .read(at.piece, at.first + start, raw, self.summed(target.column, at.piece))
                    .map_err(|error| column.error(at.piece, error))?;
                self.note(target.column, at.piece, at.first + start, crc);
            }
            for row in (0..count).step_by(TILE_ROWS) {
                let n = TILE_ROWS.min(count - row);
                for (nth, (raw, target)) in raw.iter().zip(targets).enumerate() {
                    let from = self.columns[target.column].dtype;
                    convert_run(
                        from,
                        &raw[row * from.size()..][..n * from.size()],
                        to,
                        &mut tile[nth * PITCH..][..n * size],
                    );
                }
                cells.put_tile(&targets[0], targets.len(), start + row, n, &tile, PITCH);
            }
        }
        Ok(())
    }
}

/// Rows of every piece, which must be the same in all columns.
fn common_pieces(columns: &[FileColumn]) -> Result<Vec<usize>> {
    let Some(first) = columns.first() else {
        return Err(Error::Config("there are no columns".into()));
    };
    let lengths = |column: &FileColumn| column.pieces.iter().map(|piece| piece.rows).collect::<Vec<_>>();
    let expected = lengths(first);
    if let Some(other) = columns.iter().find(|column| lengths(column) != expected) {
        return Err(Error::Config(format!(
            "columns of unequal length: {:?} has {} rows, {:?} has {}",
            first.name,
            first.rows(),
            other.name,
            other.rows()
        )));
    }
    match (first.rows(), first.pieces.first()) {
        (0, Some(piece)) => Err(Error::source(piece.file.path(), "the table has no rows")),
        (0, None) => Err(Error::Config("the table has no rows".into())),
        _ => Ok(expected),
    }
}

impl Blocks for FileBlocks {
    fn columns(&self) -> &[Column] {
        &self.described
    }

    fn rows(&self) -> &[u64] {
        &self.rows
    }

    fn place(&self, block: usize) -> (&Path, String) {
        let Stretch { piece, first, rows } = self.stretches[block];
        (
            self.columns[0].pieces[piece].file.path(),
            format!("the stretch of rows {first} to {}", first + rows - 1),
        )
    }

    fn texts(&self, column: usize) -> Result<Vec<String>> {
        Err(Error::Config(format!("column {:?} holds no text", self.columns[column].name)))
    }

    fn held(&self, plan: &Plan) -> Plan {
        let mut held = plan.clone();
        for (index, field) in held.schema.fields.iter_mut().enumerate() {
            let mut of_field = held.targets.iter_mut().filter(|target| target.field == index);
            if let (Some(target), None) = (of_field.next(), of_field.next()) {
                // Pictures of bytes that become floats take a quarter of the memory until they are delivered.
                let from = self.columns[target.column].dtype;
                if from.size() < field.dtype.size() {
                    (field.dtype, target.dtype) = (from, from);
                }
            }
        }
        held
    }

    fn tasks(&self, plan: &Plan) -> Vec<Range<usize>> {
        let deflated = |nth: usize| {
            let column = &self.columns[plan.targets[nth].column];
            column.pieces.iter().any(|piece| matches!(piece.lies, Lies::Deflated { .. }))
        };
        let lone = |nth: usize| plan.targets[nth].elements != 1 || deflated(nth);
        let mut tasks: Vec<Range<usize>> = Vec::new();
        for (nth, target) in plan.targets.iter().enumerate() {
            match tasks.last_mut() {
                Some(last)
                    if last.len() < GROUP
                        && !lone(nth)
                        && !lone(last.start)
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
        let at = self.stretches[block];
        let targets = &job.plan.targets[job.targets.clone()];
        let cells = claimed(cells, &targets[0]);
        let [target] = targets else {
            return self.transpose(at, job, cells);
        };
        let column = &self.columns[target.column];
        let failed = |error: io::Error| column.error(at.piece, error);
        let summed = self.summed(target.column, at.piece);
        if matches!(column.pieces[at.piece].lies, Lies::Deflated { .. }) {
            return self
                .inflate(target.column, at.piece, target, cells)
                .map_err(|reason| column.error(at.piece, reason));
        }
        if column.dtype == cells.dtype()
            && column.dtype != DType::Bool
            && let Some(rows) = cells.whole_rows(target, 0, at.rows)
        {
            let crc = column.read(at.piece, at.first, rows, summed).map_err(failed)?;
            self.note(target.column, at.piece, at.first, crc);
            return Ok(());
        }
        let step = (PIECE_BYTES / column.row_bytes()).max(1);
        let mut scratch = vec![0u8; step.min(at.rows) * column.row_bytes()];
        for row in (0..at.rows).step_by(step) {
            let out = &mut scratch[..step.min(at.rows - row) * column.row_bytes()];
            let crc = column.read(at.piece, at.first + row, out, summed).map_err(failed)?;
            self.note(target.column, at.piece, at.first + row, crc);
            cells.put(target, row, column.dtype, out);
        }
        Ok(())
    }

    fn unchanged(&self, block: usize, job: &Job<'_>) -> Result<()> {
        let piece = self.stretches[block].piece;
        job.plan.targets[job.targets.clone()]
            .iter()
            .try_for_each(|target| self.columns[target.column].pieces[piece].file.unchanged())
    }

    fn loaded(&self) -> Result<()> {
        let Some(sums) = &self.sums else {
            return Ok(());
        };
        let mut parts = std::mem::take(&mut *sums.lock().unwrap_or_else(PoisonError::into_inner));
        parts.sort_by_key(|part| (part.column, part.piece, part.row));
        for parts in parts.chunk_by(|a, b| (a.column, a.piece) == (b.column, b.piece)) {
            let (column, piece) = (&self.columns[parts[0].column], parts[0].piece);
            let from = &column.pieces[piece];
            let Lies::Plain { offset, sum: Some(sum) } = from.lies else {
                continue;
            };
            let values = (from.rows * column.row_bytes()) as u64;
            let failed = |error: io::Error| column.error(piece, error);
            let mut crc = sum_of(&from.file, sum.start..offset).map_err(failed)?;
            parts.iter().for_each(|part| crc.combine(&part.crc));
            crc.combine(&sum_of(&from.file, offset + values..sum.start + sum.len).map_err(failed)?);
            if crc.sum() != sum.crc {
                return Err(column.error(piece, "the checksum does not fit; the archive is damaged"));
            }
        }
        Ok(())
    }

    fn smaller(&self) -> &'static str {
        "save it with np.savez, which does not compress"
    }

    fn facts(&self) -> Vec<(String, String)> {
        if self.unchecked == 0 {
            return Vec::new();
        }
        vec![(
            "arrays whose checksum is not compared, as they are read in parts".into(),
            self.unchecked.to_string(),
        )]
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// The checksum of some bytes of a file.
fn sum_of(file: &PreadFile, range: Range<u64>) -> io::Result<Crc> {
    let mut bytes = CrcReader::new(file.cursor(range.start).take(range.end.saturating_sub(range.start)));
    io::copy(&mut bytes, &mut io::sink())?;
    let mut crc = Crc::new();
    crc.combine(bytes.crc());
    Ok(crc)
}
