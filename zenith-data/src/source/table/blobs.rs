//! Columns of pictures: the encoded bytes by row, decoded from their blocks as they are needed and kept within a
//! budget, and the labels beside them. Decodes no picture.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use zenith_runtime_cpu::thread::panic_message;

use super::blocks::{self, Blocks};
use super::cache::BlockCache;
use super::mapping::{Column, PicturePlan, Plan, TableOptions, plan_label};
use super::rows::RowStore;
use super::source::thread_count;
use crate::{DType, Error, Result, SampleError};

/// Reads one column of a block whole, as arrays of consecutive rows.
pub(crate) trait ArrayBlocks: Blocks {
    /// The arrays of `column` in `block`.
    fn arrays(&self, block: usize, column: usize) -> Result<Vec<ArrayRef>>;

    /// The first row of `column`.
    fn first(&self, column: usize) -> Result<ArrayRef>;

    /// About how many bytes the arrays of `column` in `block` take.
    fn bytes(&self, block: usize, column: usize) -> u64;
}

/// A column of encoded pictures with its labels.
#[derive(Debug)]
pub struct ColumnBlobs {
    cache: BlockCache<Vec<ArrayRef>>,
    ends: Vec<u64>,
    paths: Vec<PathBuf>,
    labels: Option<Labels>,
    fingerprint: u64,
    column: String,
}

#[derive(Debug)]
struct Labels {
    rows: RowStore,
    dtype: DType,
    classes: Option<Vec<String>>,
}

impl ColumnBlobs {
    /// The pictures and labels that `mapped` names.
    pub(crate) fn new(
        table: Arc<dyn ArrayBlocks>,
        mapped: &PicturePlan,
        options: &TableOptions,
    ) -> Result<Self> {
        let threads = thread_count(options.threads);
        let columns: &[Column] = table.columns();
        let labels = match mapped.label {
            None => None,
            Some(label) => {
                let mut plan: Plan = plan_label(columns, label)?;
                blocks::find_classes(table.as_ref(), &mut plan)?;
                let (rows, _) = blocks::load(table.as_ref(), &plan, 0..table.rows().len(), threads, false)?;
                Some(Labels { rows, dtype: plan.schema.fields[0].dtype, classes: plan.classes })
            }
        };
        let pictures = mapped.pictures;
        let column = columns[pictures].name.clone();
        let count = table.rows().len();
        let sizes: Vec<u64> = (0..count).map(|block| table.bytes(block, pictures)).collect();
        if let Some(budget) = options.memory_budget
            && let Some((block, size)) = sizes.iter().enumerate().find(|(_, size)| **size > budget)
        {
            let (path, name) = table.place(block);
            return Err(Error::Config(format!(
                "{}: {name} alone has {size} bytes of pictures, more than memory_budget={budget}; raise the budget to {size} \
                 at least, or write the file with smaller row groups",
                path.display()
            )));
        }
        let mut end = 0;
        let ends = table
            .rows()
            .iter()
            .map(|rows| {
                end += rows;
                end
            })
            .collect();
        let paths = (0..count).map(|block| table.place(block).0.to_owned()).collect();
        let fingerprint =
            table.fingerprint() ^ xxhash_rust::xxh3::xxh3_64(format!("{column} {mapped:?}").as_bytes());
        let decode = Box::new(move |block: usize| {
            let read = || table.arrays(block, pictures);
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)) {
                Ok(arrays) => arrays.map_err(Arc::new),
                Err(panic) => {
                    let (path, name) = table.place(block);
                    let text = panic_message(panic.as_ref());
                    Err(Arc::new(Error::source(path, format!("{name} cannot be decoded: {text}"))))
                }
            }
        });
        let cache = BlockCache::new(sizes, options.memory_budget, decode)?;
        Ok(Self { cache, ends, paths, labels, fingerprint, column })
    }

    /// How many pictures there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends of the runs of pictures that are read together.
    #[must_use]
    pub fn blocks(&self) -> &[u64] {
        &self.ends
    }

    /// The file that holds picture `id`.
    #[must_use]
    pub fn path(&self, id: u64) -> Option<PathBuf> {
        let block = self.ends.partition_point(|end| *end <= id);
        self.paths.get(block).cloned()
    }

    /// Pictures that half of the memory budget holds; `None` where everything fits.
    #[must_use]
    pub fn window(&self) -> Option<u64> {
        let (budget, total) = (self.cache.budget(), self.cache.total().max(1));
        (budget < total).then(|| (u128::from(self.len()) * u128::from(budget / 2) / u128::from(total)) as u64)
    }

    /// Facts for the report: (name, value).
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        let (decoded, hits) = self.cache.counts();
        let total = self.cache.total();
        vec![
            (
                "pictures held in memory".into(),
                format!("at most {} of {total} bytes", self.cache.budget().min(total)),
            ),
            ("blocks decoded".into(), decoded.to_string()),
            ("block cache hits".into(), hits.to_string()),
        ]
    }

    /// A number that changes when the files change.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Puts the encoded bytes of picture `id` into `into` (cleared first).
    ///
    /// # Errors
    /// When the block cannot be read, or there is no such picture, or the row holds none.
    pub fn read(&self, id: u64, into: &mut Vec<u8>) -> Result<(), SampleError> {
        into.clear();
        let block = self.ends.partition_point(|end| *end <= id);
        let bad = |reason: String| SampleError {
            sample: id,
            path: self.paths.get(block).cloned(),
            offset: None,
            reason,
        };
        if block == self.ends.len() {
            return Err(bad(format!("there is no such row; the table has {}", self.len())));
        }
        let arrays = self.cache.get(block).map_err(|error| match error.as_ref() {
            Error::Source { reason, .. } => bad(reason.clone()),
            other => bad(other.to_string()),
        })?;
        let mut row = (id - if block == 0 { 0 } else { self.ends[block - 1] }) as usize;
        for array in arrays.iter() {
            if row < array.len() {
                return match bytes_at(array.as_ref(), row) {
                    Some(bytes) => {
                        into.extend_from_slice(bytes);
                        Ok(())
                    }
                    None => Err(bad(format!("column {:?} has no picture in row {id}", self.column))),
                };
            }
            row -= array.len();
        }
        Err(bad("the block ends before this row".into()))
    }

    /// Asks for the blocks of pictures to be read by the time they are needed.
    pub fn hint(&self, ids: &[u64]) {
        let blocks = ids.iter().map(|id| self.ends.partition_point(|end| end <= id));
        self.cache.hint(blocks.filter(|block| *block < self.ends.len()));
    }

    /// Element type of the labels: int64 or float32; `None` without labels.
    #[must_use]
    pub fn label_dtype(&self) -> Option<DType> {
        self.labels.as_ref().map(|labels| labels.dtype)
    }

    /// The bytes of label `id` in the labels' element type; `None` without labels.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn label(&self, id: u64) -> Option<&[u8]> {
        self.labels.as_ref().map(|labels| labels.rows.row(0, id as usize))
    }

    /// Names of the classes, where the label column holds text.
    #[must_use]
    pub fn classes(&self) -> Option<&[String]> {
        self.labels.as_ref()?.classes.as_deref()
    }
}

/// The bytes in a row of a column of bytes or of structs with a member `bytes`; `None` for a null.
fn bytes_at(array: &dyn Array, row: usize) -> Option<&[u8]> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(array.as_binary_view().value(row)),
        DataType::Struct(_) => bytes_at(array.as_struct().column_by_name("bytes")?.as_ref(), row),
        _ => None,
    }
}

/// The bytes in the first row of a column.
pub(crate) fn first_bytes(table: &dyn ArrayBlocks, column: usize) -> Result<Option<Vec<u8>>> {
    let first = table.first(column)?;
    Ok(if first.is_empty() { None } else { bytes_at(first.as_ref(), 0).map(<[u8]>::to_vec) })
}
