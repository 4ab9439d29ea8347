//! Columns of pictures: the encoded bytes by row, decoded from their blocks as they are needed and kept within a
//! budget, and the labels beside them. Decodes no picture.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use zenith_runtime_cpu::thread::panic_message;

use super::cache::BlockCache;
use super::source::thread_count;
use crate::source::image_cache::Limit;
use crate::table::blocks::{self, Blocks};
use crate::table::mapping::{Column, PicturePlan, Plan, TableOptions, plan_label};
use crate::table::rows::RowStore;
use crate::{DType, Error, Result, SampleError};

/// Bytes of pictures to hold where nobody says how many. It decides which pictures are near each other in the shuffled
/// order of a larger column, so it is the same on every machine.
const DEFAULT_BUDGET: u64 = 4 << 30;

/// How many bytes of pictures are dealt with together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    /// Twice what the order mixes at a time.
    mixed: u64,
    /// What is kept in memory.
    held: Limit,
}

impl Bounds {
    /// The bounds for blocks of up to `largest` bytes on a machine that lets us have `free`.
    fn new(budget: Option<u64>, largest: u64, free: impl FnOnce() -> Limit) -> Self {
        if let Some(bytes) = budget {
            return Self { mixed: bytes, held: Limit { bytes, origin: "memory_budget" } };
        }
        let mixed = DEFAULT_BUDGET.max(largest.saturating_mul(2));
        let free = free();
        let held = match free.bytes.max(largest) {
            bytes if bytes < mixed => Limit { bytes, ..free },
            _ => Limit { bytes: mixed, origin: "without memory_budget" },
        };
        Self { mixed, held }
    }
}

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
    bounds: Bounds,
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
        let largest = sizes.iter().copied().max().unwrap_or(0);
        let bounds = Bounds::new(options.memory_budget, largest, || Limit::of(None));
        let cache = BlockCache::new(sizes, Some(bounds.held.bytes), decode)?;
        let this = Self { cache, bounds, ends, paths, labels, fingerprint, column };
        if this.rereads() {
            let (held, origin) = (bounds.held.bytes, bounds.held.origin);
            tracing::warn!(held, origin, "less memory for pictures than the order mixes; give memory_budget");
        }
        Ok(this)
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

    /// Whether blocks are read again and again, as less is kept than the order mixes.
    fn rereads(&self) -> bool {
        self.bounds.held.bytes < self.bounds.mixed.min(self.cache.total())
    }

    /// Pictures that half of the memory budget holds (without one, of a fixed number of bytes); `None` where everything
    /// fits.
    #[must_use]
    pub fn window(&self) -> Option<u64> {
        let (budget, total) = (self.bounds.mixed, self.cache.total().max(1));
        (budget < total).then(|| (u128::from(self.len()) * u128::from(budget / 2) / u128::from(total)) as u64)
    }

    /// How many processes can read the column side by side; `None` where nothing is kept. Where everything fits, the order mixes
    /// everything, and each process needs room for all of it.
    pub(crate) fn readers(&self) -> Option<u64> {
        let mixed = if self.window().is_some() { self.bounds.mixed / 2 } else { self.cache.total() };
        self.keeps_blocks().then(|| self.cache.readers(mixed))
    }

    /// From here on this process is one of `readers` that share the memory budget.
    pub(crate) fn share(&self, readers: u64) {
        self.cache.share(readers);
    }

    /// Facts for the report: (name, value).
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        let (decoded, hits) = self.cache.counts();
        let (total, Limit { bytes, origin }) = (self.cache.total(), self.bounds.held);
        vec![
            (
                "pictures held in memory".into(),
                format!("at most {} of {total} bytes ({origin})", bytes.min(total)),
            ),
            ("blocks decoded".into(), decoded.to_string()),
            ("block cache hits".into(), hits.to_string()),
        ]
    }

    /// What is slower than it could be, in words for the report.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let rereads = self.rereads().then_some(
            "blocks of pictures are decoded more than once: less is held than the order mixes; memory_budget makes the \
             two agree",
        );
        rereads.map(str::to_owned).into_iter().collect()
    }

    /// Whether blocks are kept within a budget; those of a caller's table are his memory, of which nothing is copied.
    #[must_use]
    pub fn keeps_blocks(&self) -> bool {
        self.cache.total() > 0
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
            transform: None,
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

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::path::Path;

    use super::*;
    use crate::table::blocks::Job;
    use crate::table::cells::Cells;
    use crate::table::mapping::Holds;

    const GIB: u64 = 1 << 30;

    fn free(bytes: u64) -> impl FnOnce() -> Limit {
        move || Limit { bytes, origin: "free" }
    }

    #[test]
    fn without_a_budget_what_the_order_mixes_does_not_depend_on_the_machine() {
        let plenty = Bounds::new(None, GIB, free(64 * GIB));
        let scarce = Bounds::new(None, GIB, free(2 * GIB));
        assert_eq!((plenty.mixed, scarce.mixed), (4 * GIB, 4 * GIB));
        assert_eq!((plenty.held.bytes, scarce.held.bytes), (4 * GIB, 2 * GIB));
        assert_eq!(scarce.held.origin, "free");
        assert_eq!(Bounds::new(None, 3 * GIB, free(GIB)).held.bytes, 3 * GIB, "a block must fit");
        assert_eq!(Bounds::new(None, 3 * GIB, free(64 * GIB)).mixed, 6 * GIB);
        let given = Bounds::new(Some(9), 5, || unreachable!("nobody asks the machine"));
        assert_eq!((given.mixed, given.held.bytes), (9, 9));
    }

    /// A column of `.0` blocks that claim to have a gibibyte each, ten pictures a block.
    struct Claims(Vec<u64>, Vec<Column>);

    impl Claims {
        fn new(blocks: usize) -> Arc<Self> {
            let column = Column::new("image", Holds::Binary { nested: false });
            Arc::new(Self(vec![10; blocks], vec![column]))
        }
    }

    impl Blocks for Claims {
        fn columns(&self) -> &[Column] {
            &self.1
        }
        fn rows(&self) -> &[u64] {
            &self.0
        }
        fn place(&self, block: usize) -> (&Path, String) {
            (Path::new("claims"), block.to_string())
        }
        fn texts(&self, _: usize) -> Result<Vec<String>> {
            Ok(Vec::new())
        }
        fn tasks(&self, _: &Plan) -> Vec<Range<usize>> {
            Vec::new()
        }
        fn decode(&self, _: usize, _: &Job<'_>, _: &mut [Cells<'_>]) -> Result<()> {
            Ok(())
        }
        fn fingerprint(&self) -> u64 {
            0
        }
    }

    impl ArrayBlocks for Claims {
        fn arrays(&self, _: usize, _: usize) -> Result<Vec<ArrayRef>> {
            Ok(Vec::new())
        }
        fn first(&self, _: usize) -> Result<ArrayRef> {
            Err(Error::Config("nothing is here".into()))
        }
        fn bytes(&self, _: usize, _: usize) -> u64 {
            GIB
        }
    }

    #[test]
    fn a_column_larger_than_the_default_is_shuffled_by_blocks_and_bounded() {
        let mapped = PicturePlan { pictures: 0, label: None };
        let column =
            |blocks| ColumnBlobs::new(Claims::new(blocks), &mapped, &TableOptions::default()).unwrap();
        let large = column(100);
        assert_eq!(large.window(), Some(20), "two of the hundred blocks, of ten pictures each");
        assert!(large.cache.budget() <= DEFAULT_BUDGET);
        for blocks in [1, 4] {
            let fits = column(blocks);
            let each = (fits.cache.budget() / (blocks as u64 * GIB)).max(1);
            assert_eq!((fits.window(), fits.readers()), (None, Some(each)), "all of it is mixed");
        }
    }
}
