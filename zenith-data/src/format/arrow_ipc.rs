//! Arrow IPC files (Feather version 2) and streams as blocks, one per record batch. A stream is indexed once by walking
//! its message headers, so that its batches can be read in any order too. Reads; what becomes of the columns is decided
//! elsewhere.

mod layout;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{RecordBatchDecoder, read_dictionary, read_footer_length};
use arrow_ipc::{Message, MessageHeader, root_as_footer, root_as_message};
use arrow_schema::SchemaRef;
use parquet::file::reader::ChunkReader;

use super::arrow_columns::collect_texts;
use super::batches::{describe, put_batch};
use super::identity::{combine, file_identity};
use crate::table::blocks::{Blocks, Job};
use crate::table::cells::Cells;
use crate::table::files::{FileColumn, Lies, Piece};
use crate::table::mapping::{Column, Holds, Plan};
use crate::table::pread::PreadFile;
use crate::{Error, Result};

/// Where a message lies: its header (with the marks in front of it), then its body.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    header: usize,
    body: usize,
    compressed: bool,
}

/// Smaller bodies are read whole; of larger ones, a task reads only its own columns' bytes.
const WHOLE_BELOW: usize = 1 << 20;
/// Columns that one task writes.
const GROUP: usize = 16;

struct OpenFile {
    path: PathBuf,
    file: PreadFile,
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
}

/// A table of one or more IPC files.
pub(crate) struct IpcBlocks {
    files: Vec<OpenFile>,
    columns: Vec<Column>,
    rows: Vec<u64>,
    /// File, number in it, and place of every batch with rows.
    places: Vec<(usize, usize, Place)>,
    fingerprint: u64,
}

impl IpcBlocks {
    /// Opens the files, indexes their batches and compares their columns.
    ///
    /// # Errors
    /// A file that is no Arrow IPC, is cut off, or has other columns than the first.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut table = Self {
            files: Vec::new(),
            columns: Vec::new(),
            rows: Vec::new(),
            places: Vec::new(),
            fingerprint: 0,
        };
        let mut identities = Vec::new();
        for path in paths {
            let file = PreadFile::open(path)?;
            identities.push(file_identity(path)?);
            table.add(path, file).map_err(|reason| Error::source(path, reason))?;
        }
        let Some(first) = table.files.first() else {
            return Err(Error::Config("no Arrow file was given".into()));
        };
        if table.rows.is_empty() {
            return Err(Error::source(&first.path, "the table has no rows"));
        }
        for other in &table.files[1..] {
            super::arrow_columns::agree(&first.schema, &other.schema).map_err(|reason| {
                Error::source(&other.path, format!("{reason}, unlike in {}", first.path.display()))
            })?;
        }
        table.fingerprint = combine(&identities);
        let schema = Arc::clone(&first.schema);
        let columns = describe(&schema, |column| Ok(Some(table.batch(0, &[column])?.column(0).slice(0, 1))))?;
        table.columns = columns;
        Ok(table)
    }

    fn add(&mut self, path: &Path, file: PreadFile) -> std::result::Result<(), String> {
        let magic = file.get_bytes(0, 6.min(file.len() as usize)).map_err(|e| e.to_string())?;
        let (schema, dictionaries, batches) =
            if &magic[..] == b"ARROW1" { index_file(&file)? } else { index_stream(&file)? };
        let mut loaded = HashMap::new();
        for place in dictionaries {
            let (header, body) = read(&file, place)?;
            let message = message(&header)?;
            let batch =
                message.header_as_dictionary_batch().ok_or("a dictionary's message holds no dictionary")?;
            if let Some(values) = batch.data() {
                layout::claims_fit(values, &body)
                    .map_err(|reason| format!("the dictionary at offset {}: {reason}", place.offset))?;
            }
            read_dictionary(&body, batch, &schema, &mut loaded, &message.version())
                .map_err(|e| format!("the dictionary at offset {}: {e}", place.offset))?;
        }
        let nth = self.files.len();
        for (number, (place, rows)) in batches.into_iter().enumerate() {
            if rows > 0 {
                self.rows.push(rows);
                self.places.push((nth, number, place));
            }
        }
        self.files.push(OpenFile { path: path.to_owned(), file, schema, dictionaries: loaded });
        Ok(())
    }

    /// Columns `projection` (ascending) of a block. Of a large one, only their bytes are read.
    pub(crate) fn batch(&self, block: usize, projection: &[usize]) -> Result<RecordBatch> {
        let (nth, _, place) = self.places[block];
        let open = &self.files[nth];
        let decoded = || {
            if place.body < WHOLE_BELOW {
                let (header, body) = read(&open.file, place)?;
                return self.decode_batch(block, &header, &body, projection);
            }
            let header = open.file.get_bytes(place.offset, place.header).map_err(|e| e.to_string())?;
            let ranges = layout::ranges(&message(&header)?, &open.schema, projection);
            let body =
                layout::read_parts(&open.file, place.offset + place.header as u64, place.body, ranges)?;
            self.decode_batch(block, &header, &body, projection)
        };
        let decoded = decoded();
        open.file.unchanged()?;
        self.in_block(block, decoded)
    }

    /// Bytes of a block's message.
    pub(crate) fn body_bytes(&self, block: usize) -> u64 {
        self.places[block].2.body as u64
    }

    fn in_block<T>(&self, block: usize, result: std::result::Result<T, String>) -> Result<T> {
        result.map_err(|reason| {
            let (path, name) = self.place(block);
            Error::source(path, format!("{name}: {reason}"))
        })
    }

    fn decode_batch(
        &self,
        block: usize,
        header: &[u8],
        body: &Buffer,
        projection: &[usize],
    ) -> std::result::Result<RecordBatch, String> {
        let open = &self.files[self.places[block].0];
        let message = message(header)?;
        let batch = message.header_as_record_batch().ok_or("the message holds no record batch")?;
        layout::claims_fit(batch, body)?;
        let schema = Arc::clone(&open.schema);
        let decoded =
            RecordBatchDecoder::try_new(body, batch, schema, &open.dictionaries, &message.version())
                .and_then(|decoder| decoder.with_projection(Some(projection)).read_record_batch())
                .map_err(|e| e.to_string())?;
        if decoded.num_rows() as u64 != self.rows[block] {
            return Err(format!("{} rows where {} were announced", decoded.num_rows(), self.rows[block]));
        }
        Ok(decoded)
    }

    /// The columns that `plan` takes, in its order, where their numbers lie in the files as they are: not compressed,
    /// without nulls, as rows of one size.
    ///
    /// # Errors
    /// A batch whose description does not fit the file.
    pub(crate) fn plain(&self, plan: &Plan) -> Result<Option<Vec<FileColumn>>> {
        let mut columns = Vec::with_capacity(plan.targets.len());
        for target in &plan.targets {
            let column = &self.columns[target.column];
            let (dtype, shape) = match &column.holds {
                Holds::Number(dtype) => (*dtype, Vec::new()),
                Holds::Array { dtype, shape } => (*dtype, shape.clone()),
                _ => return Ok(None),
            };
            let pieces = Vec::with_capacity(self.places.len());
            columns.push(FileColumn { name: column.name.clone(), dtype, shape, pieces });
        }
        for (block, (nth, _, place)) in self.places.iter().enumerate() {
            if place.compressed {
                return Ok(None);
            }
            let open = &self.files[*nth];
            let header = open.file.get_bytes(place.offset, place.header);
            let header = self.in_block(block, header.map_err(|e| e.to_string()))?;
            let message = self.in_block(block, message(&header))?;
            for (target, column) in plan.targets.iter().zip(&mut columns) {
                let rows = self.rows[block] as usize;
                let expected = rows.checked_mul(column.row_bytes());
                let found = layout::plain(&message, &open.schema, target.column, self.rows[block]);
                let Some((offset, len)) = found.filter(|(_, len)| Some(*len) == expected) else {
                    return Ok(None);
                };
                if offset.checked_add(len).is_none_or(|end| end > place.body) {
                    let reason = format!("column {:?} lies outside of the message", column.name);
                    return self.in_block(block, Err(reason));
                }
                let lies = Lies::Plain { offset: place.offset + (place.header + offset) as u64, sum: None };
                column.pieces.push(Piece { file: open.file.clone(), rows, big_endian: false, lies });
            }
        }
        Ok(Some(columns))
    }

    fn at_row(&self, block: usize, column: &str, row: usize, reason: &str) -> Error {
        let nth = self.places[block].0;
        let before: u64 = (0..block).filter(|b| self.places[*b].0 == nth).map(|b| self.rows[b]).sum();
        Error::source(
            &self.files[nth].path,
            format!("column {column:?}, row {}: {reason}", before + row as u64),
        )
    }
}

fn projection(plan: &Plan, targets: Range<usize>) -> Vec<usize> {
    let columns: BTreeSet<usize> = plan.targets[targets].iter().map(|t| t.column).collect();
    columns.into_iter().collect()
}

fn column_of(batch: &RecordBatch, projection: &[usize], column: usize) -> ArrayRef {
    let index =
        projection.binary_search(&column).unwrap_or_else(|_| unreachable!("column {column} was not read"));
    Arc::clone(batch.column(index))
}

/// Header and body of a message.
fn read(file: &PreadFile, place: Place) -> std::result::Result<(bytes::Bytes, Buffer), String> {
    let all = file.get_bytes(place.offset, place.header + place.body).map_err(|e| e.to_string())?;
    let body = Buffer::from(all.slice(place.header..));
    Ok((all.slice(..place.header), body))
}

/// Parses a message's header, which starts with a continuation mark and its length.
fn message(header: &[u8]) -> std::result::Result<Message<'_>, String> {
    let skip = if header.starts_with(&[0xFF; 4]) { 8 } else { 4 };
    let text = header.get(skip..).ok_or("a message of no length")?;
    root_as_message(text).map_err(|e| format!("a damaged message: {e}"))
}

type Index = (SchemaRef, Vec<Place>, Vec<(Place, u64)>);

/// Rows of a batch, and its place with the note whether it is compressed.
fn batch_at(place: Place, header: &[u8]) -> std::result::Result<(Place, u64), String> {
    let batch = message(header)?;
    let batch = batch.header_as_record_batch().ok_or("a batch's message holds no record batch")?;
    let rows =
        u64::try_from(batch.length()).map_err(|_| "a batch of a negative number of rows".to_owned())?;
    Ok((Place { compressed: batch.compression().is_some(), ..place }, rows))
}

fn index_file(file: &PreadFile) -> std::result::Result<Index, String> {
    let cut = || "the Arrow file is cut off: its footer is missing".to_owned();
    let trailer = file.len().checked_sub(10).ok_or_else(cut)?;
    let last = file.get_bytes(trailer, 10).map_err(|e| e.to_string())?;
    let last: [u8; 10] = last[..].try_into().map_err(|_| cut())?;
    let len = read_footer_length(last).map_err(|_| cut())?;
    let start = trailer.checked_sub(len as u64).ok_or_else(cut)?;
    let bytes = file.get_bytes(start, len).map_err(|e| e.to_string())?;
    let footer = root_as_footer(&bytes).map_err(|e| format!("a damaged footer: {e}"))?;
    let schema = footer.schema().ok_or("the footer has no schema")?;
    let schema = Arc::new(try_fb_to_schema(schema).map_err(|e| format!("the schema: {e}"))?);
    let place = |block: &arrow_ipc::Block| {
        let sizes = (
            u64::try_from(block.offset()),
            usize::try_from(block.metaDataLength()),
            usize::try_from(block.bodyLength()),
        );
        match sizes {
            (Ok(offset), Ok(header), Ok(body))
                if header >= 8
                    && offset
                        .checked_add(header as u64)
                        .and_then(|end| end.checked_add(body as u64))
                        .is_some_and(|end| end <= file.len()) =>
            {
                Ok(Place { offset, header, body, compressed: false })
            }
            _ => Err("the footer names a message outside of the file".to_owned()),
        }
    };
    let dictionaries =
        footer.dictionaries().iter().flatten().map(place).collect::<std::result::Result<_, _>>()?;
    let mut batches = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        let place = place(block)?;
        let header = file.get_bytes(place.offset, place.header).map_err(|e| e.to_string())?;
        batches.push(batch_at(place, &header)?);
    }
    Ok((schema, dictionaries, batches))
}

fn index_stream(file: &PreadFile) -> std::result::Result<Index, String> {
    let (mut schema, mut dictionaries, mut batches) = (None, Vec::new(), Vec::new());
    let mut ids = HashSet::new();
    let mut offset = 0u64;
    while offset < file.len() {
        let cut = |_| format!("the Arrow stream is cut off at offset {offset}");
        let marks = file.get_bytes(offset, 8).map_err(cut)?;
        if marks[..4] != [0xFF; 4] {
            return Err(format!("no Arrow message at offset {offset}"));
        }
        let len = u32::from_le_bytes([marks[4], marks[5], marks[6], marks[7]]) as usize;
        if len == 0 {
            break;
        }
        let header = file.get_bytes(offset, 8 + len).map_err(cut)?;
        let message = message(&header)?;
        let body =
            usize::try_from(message.bodyLength()).map_err(|_| "a body of negative length".to_owned())?;
        let place = Place { offset, header: 8 + len, body, compressed: false };
        let end = offset + 8 + len as u64;
        offset = end.checked_add(body as u64).filter(|end| *end <= file.len()).ok_or_else(|| {
            format!("the Arrow stream is cut off: {body} bytes from offset {end} on are not there")
        })?;
        match message.header_type() {
            MessageHeader::Schema => {
                let found = message.header_as_schema().ok_or("a schema's message holds no schema")?;
                schema = Some(Arc::new(try_fb_to_schema(found).map_err(|e| format!("the schema: {e}"))?));
            }
            MessageHeader::DictionaryBatch => {
                let batch = message
                    .header_as_dictionary_batch()
                    .ok_or("a dictionary's message holds no dictionary")?;
                if !ids.insert(batch.id()) && !batch.isDelta() {
                    return Err("a dictionary is replaced in the middle of the stream; save the table as an Arrow file".into());
                }
                dictionaries.push(place);
            }
            MessageHeader::RecordBatch => batches.push(batch_at(place, &header)?),
            other => return Err(format!("a message of kind {other:?} at offset {}", place.offset)),
        }
    }
    Ok((schema.ok_or("the stream has no schema")?, dictionaries, batches))
}

impl Blocks for IpcBlocks {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn rows(&self) -> &[u64] {
        &self.rows
    }

    fn place(&self, block: usize) -> (&Path, String) {
        let (nth, number, _) = self.places[block];
        (&self.files[nth].path, format!("record batch {number}"))
    }

    fn texts(&self, column: usize) -> Result<Vec<String>> {
        let mut found = BTreeSet::new();
        for block in 0..self.rows.len() {
            let batch = self.batch(block, &[column])?;
            collect_texts(batch.column(0).as_ref(), &mut found)
                .map_err(|e| self.at_row(block, &self.columns[column].name, e.row, &e.reason))?;
        }
        Ok(found.into_iter().collect())
    }

    fn tasks(&self, plan: &Plan) -> Vec<Range<usize>> {
        // A small batch is cheapest read once.
        let large = |(_, _, place): &(usize, usize, Place)| place.body >= WHOLE_BELOW;
        let step = if self.places.iter().all(large) { GROUP } else { plan.targets.len().max(1) };
        (0..plan.targets.len()).step_by(step).map(|at| at..(at + step).min(plan.targets.len())).collect()
    }

    fn decode(&self, block: usize, job: &Job<'_>, cells: &mut [Cells<'_>]) -> Result<()> {
        let projection = projection(job.plan, job.targets.clone());
        let batch = self.batch(block, &projection)?;
        put_batch(&self.columns, job, cells, |t| column_of(&batch, &projection, t.column))
            .map_err(|(name, row, reason)| self.at_row(block, &name, row, &reason))
    }

    fn unchanged(&self, block: usize, _: &Job<'_>) -> Result<()> {
        self.files[self.places[block].0].file.unchanged()
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}
