//! A table as a source of samples: rows resident in memory, or a window of decoded blocks of a table that is larger
//! than its budget.

use std::sync::Arc;
use std::time::Instant;

use super::cache::{BlockCache, Held};
use crate::table::blocks::{self, Blocks};
use crate::table::columns::{self, MemoryColumn};
use crate::table::files::{self, FileBlocks, FileColumn};
use crate::table::mapping::{Column, Mapped, Plan, TableOptions, Target, map};
use zenith_runtime_cpu::limits::{memory_available, processors};

use crate::pipeline::slots::Slots;
use crate::schema::Shape;
use crate::source::{Filler, Grain, SampleKey, Source, Spent};
use crate::table::rows::{Place, RowStore, gather_from};
use crate::{Error, Field, Result, SampleError, Schema};

/// A table whose rows are samples.
#[derive(Debug)]
pub struct TableSource {
    rows: Rows,
    plan: Plan,
    ends: Vec<u64>,
    fingerprint: u64,
    /// Bytes of a row in the types it is held in.
    row_bytes: u64,
    facts: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum Rows {
    Resident(Arc<Resident>),
    Window(Arc<Window>),
}

/// All rows, in one or more stretches of memory.
#[derive(Debug)]
struct Resident {
    stores: Vec<RowStore>,
    ends: Vec<u64>,
    /// Ends of rows that cannot be had, and why: (first, end, reason).
    bad: Vec<(u64, u64, Error)>,
}

/// Some blocks of rows.
#[derive(Debug)]
struct Window {
    cache: BlockCache<RowStore>,
    ends: Vec<u64>,
}

impl TableSource {
    /// A table of columns in memory. A column that is a field of its own is borrowed, not copied; several columns of
    /// numbers are transposed into one matrix of inputs.
    ///
    /// # Errors
    /// [`Error::Config`] for columns of unequal length, none, or names and columns that the options do not fit.
    pub fn from_columns(columns: &[MemoryColumn], options: &TableOptions) -> Result<Self> {
        let described: Vec<Column> = columns.iter().map(|c| Column::new(&c.name, c.holds())).collect();
        let Mapped::Rows(plan) = map(&described, options)? else {
            return Err(Error::Config("columns in memory hold numbers, not pictures".into()));
        };
        let copied = columns::copied_bytes(columns, &plan);
        if let Some(budget) = options.memory_budget.filter(|budget| copied > *budget) {
            return Err(Error::Config(format!(
                "laying columns in memory out as rows takes {copied} bytes more, memory_budget={budget} allows less; raise \
                 it, or give one array of shape [rows, columns], which is read where it lies"
            )));
        }
        let stores = vec![columns::store(columns, &plan, thread_count(options.threads))?];
        Ok(Self::resident(stores, Vec::new(), plan, columns::fingerprint(columns)).holding(copied))
    }

    /// Columns that become a tuple of fields as they are: types, shapes and order kept, no label looked for.
    ///
    /// # Errors
    /// [`Error::Config`] for columns of unequal length, or none.
    pub fn from_tensors(columns: &[MemoryColumn]) -> Result<Self> {
        let field = |column: &MemoryColumn| Field::new(&column.name, column.dtype, column.shape.clone());
        let fields: Vec<Field> = columns.iter().map(field).collect();
        let target = |(at, field): (usize, &Field)| Target {
            column: at,
            name: field.name.clone(),
            field: at,
            element: 0,
            elements: field.shape.iter().product(),
            dtype: field.dtype,
            text: false,
        };
        let targets = fields.iter().enumerate().map(target).collect();
        let plan = Plan { schema: Schema { fields, shape: Shape::Tuple }, targets, classes: None };
        let stores = vec![columns::store(columns, &plan, 1)?];
        Ok(Self::resident(stores, Vec::new(), plan, columns::fingerprint(columns)).holding(0))
    }

    /// Columns whose values lie in files: read now where they fit into the budget, else in parts as they are needed.
    ///
    /// # Errors
    /// What cannot be read, [`Error::Config`] for options that the columns do not fit.
    pub(crate) fn of_files(
        columns: Vec<FileColumn>,
        fingerprint: u64,
        options: &TableOptions,
    ) -> Result<Self> {
        let Mapped::Rows(plan) = map(&files::described(&columns), options)? else {
            return Err(Error::Config("arrays hold numbers, not pictures".into()));
        };
        let table = FileBlocks::new(columns, &plan, options.memory_budget, fingerprint)?;
        Self::of_blocks(Arc::new(table), plan, options)
    }

    /// The columns of the targets of `plan`, in their order, whose values lie in files.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) fn of_plain(
        columns: Vec<FileColumn>,
        mut plan: Plan,
        fingerprint: u64,
        options: &TableOptions,
    ) -> Result<Self> {
        for (nth, target) in plan.targets.iter_mut().enumerate() {
            target.column = nth;
        }
        let table = FileBlocks::new(columns, &plan, options.memory_budget, fingerprint)?;
        Self::of_blocks(Arc::new(table), plan, options)
    }

    /// Columns that are one field each, as they lie.
    pub(crate) fn of_borrowed(parts: &[Vec<MemoryColumn>], plan: Plan, fingerprint: u64) -> Result<Self> {
        // The columns are the targets, in their order.
        let targets =
            plan.targets.iter().enumerate().map(|(column, t)| Target { column, ..t.clone() }).collect();
        let direct = Plan { targets, ..plan.clone() };
        let stores = parts.iter().map(|part| columns::store(part, &direct, 1)).collect::<Result<Vec<_>>>()?;
        Ok(Self::resident(stores, Vec::new(), plan, fingerprint).holding(0))
    }

    /// Of all rows only so many bytes are ours; the others lie in the caller's memory.
    fn holding(mut self, bytes: u64) -> Self {
        self.row_bytes = bytes / self.len().max(1);
        if let Rows::Resident(rows) = &self.rows {
            let all: u64 = rows.stores.iter().map(RowStore::source_bytes).sum();
            let text = format!("{} bytes, which memory_budget does not count", all - bytes);
            self.facts.push(("rows in the caller's memory".into(), text));
        }
        self
    }

    fn resident(stores: Vec<RowStore>, bad: Vec<(u64, u64, Error)>, plan: Plan, fingerprint: u64) -> Self {
        let ends = sums(stores.iter().map(|s| s.rows() as u64));
        let fingerprint = with_plan(fingerprint, &plan);
        let rows = Rows::Resident(Arc::new(Resident { stores, ends: ends.clone(), bad }));
        let row_bytes = plan.schema.sample_bytes() as u64;
        Self { rows, plan, ends, fingerprint, row_bytes, facts: Vec::new() }
    }

    /// The rows of a table of blocks: loaded now where they fit into the budget, else streamed.
    pub(crate) fn of_blocks(table: Arc<dyn Blocks>, mut plan: Plan, options: &TableOptions) -> Result<Self> {
        let threads = thread_count(options.threads);
        blocks::find_classes(table.as_ref(), &mut plan)?;
        let row_bytes = table.held(&plan).schema.sample_bytes() as u64;
        let facts = table.facts();
        let sizes: Vec<u64> = table.rows().iter().map(|rows| rows.saturating_mul(row_bytes)).collect();
        let total = sizes.iter().fold(0u64, |all, size| all.saturating_add(*size));
        let ends = sums(table.rows().iter().copied());
        if options.memory_budget.is_none()
            && let Some(available) = memory_available().filter(|available| total > *available)
        {
            // Streaming of its own accord would change the order with the memory that happens to be free.
            let reason = format!(
                "the table has {total} bytes of rows, and {available} bytes of memory are available; memory_budget= streams \
                 it within so many bytes"
            );
            return Err(Error::source(table.place(0).0, reason));
        }
        match options.memory_budget.filter(|budget| total > *budget) {
            None => {
                let all = 0..table.rows().len();
                let (store, failed) = blocks::load(table.as_ref(), &plan, all, threads, options.skip_bad)?;
                if failed.is_empty() {
                    table.loaded()?;
                }
                let first = |block: usize| if block == 0 { 0 } else { ends[block - 1] };
                let bad =
                    failed.into_iter().map(|(block, error)| (first(block), ends[block], error)).collect();
                Ok(Self { row_bytes, facts, ..Self::resident(vec![store], bad, plan, table.fingerprint()) })
            }
            Some(budget) => {
                if let Some((block, size)) = sizes.iter().enumerate().find(|(_, size)| **size > budget) {
                    let (path, name) = table.place(block);
                    return Err(Error::Config(format!(
                        "{}: {name} alone has {size} bytes of rows, more than memory_budget={budget}; raise the budget \
                         to {size} at least, or {}",
                        path.display(),
                        table.smaller()
                    )));
                }
                let fingerprint = with_plan(table.fingerprint(), &plan);
                let of_thread = plan.clone();
                let decode = Box::new(move |block: usize| {
                    blocks::load(table.as_ref(), &of_thread, block..block + 1, threads, false)
                        .map(|(store, _)| store)
                        .map_err(Arc::new)
                });
                let cache = BlockCache::new(sizes, Some(budget), decode)?;
                let rows = Rows::Window(Arc::new(Window { cache, ends: ends.clone() }));
                Ok(Self { rows, plan, ends, fingerprint, row_bytes, facts })
            }
        }
    }
}

impl Source for TableSource {
    fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn schema(&self) -> &Schema {
        &self.plan.schema
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn filler(&self) -> Result<Box<dyn Filler>> {
        Ok(match &self.rows {
            Rows::Resident(rows) => {
                Box::new(ResidentFiller { rows: Arc::clone(rows), ids: Vec::new(), places: Vec::new() })
            }
            Rows::Window(window) => Box::new(WindowFiller { window: Arc::clone(window), places: Vec::new() }),
        })
    }

    fn grain(&self) -> Grain {
        Grain::Batch
    }

    fn blocks(&self) -> Option<(&[u64], u64)> {
        let Rows::Window(window) = &self.rows else {
            return None;
        };
        // Half of the budget is the window being read; the other half lets the next one load meanwhile.
        Some((&self.ends, window.cache.budget() / 2 / self.row_bytes.max(1)))
    }

    fn readers(&self) -> Option<u64> {
        match &self.rows {
            Rows::Resident(_) => None,
            Rows::Window(window) => Some(window.cache.readers(window.cache.budget() / 2)),
        }
    }

    fn share(&self, readers: u64) {
        if let Rows::Window(window) = &self.rows {
            window.cache.share(readers);
        }
    }

    fn classes(&self) -> Option<&[String]> {
        self.plan.classes.as_deref()
    }

    fn facts(&self) -> Vec<(String, String)> {
        let mut facts = match &self.rows {
            Rows::Resident(_) => {
                vec![("rows held in memory".into(), format!("{} bytes", self.len() * self.row_bytes))]
            }
            Rows::Window(window) => {
                let (decoded, hits) = window.cache.counts();
                vec![
                    ("rows held in memory".into(), format!("at most {} bytes", window.cache.budget())),
                    ("blocks decoded".into(), decoded.to_string()),
                    ("reads that found their block decoded".into(), hits.to_string()),
                ]
            }
        };
        facts.extend(self.facts.iter().cloned());
        facts
    }
}

/// The threads to use: as asked, or as many as can run at once.
pub(crate) fn thread_count(asked: usize) -> usize {
    if asked > 0 { asked } else { processors().unwrap_or(1) }
}

fn sums(rows: impl Iterator<Item = u64>) -> Vec<u64> {
    rows.scan(0u64, |end, rows| {
        *end = end.saturating_add(rows);
        Some(*end)
    })
    .collect()
}

fn with_plan(fingerprint: u64, plan: &Plan) -> u64 {
    let text = format!("{fingerprint} {:?} {:?} {:?}", plan.schema, plan.targets, plan.classes);
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// The stretch that holds a row, and the row's number in it.
fn locate(ends: &[u64], row: u64) -> Option<(usize, u64)> {
    let part = ends.partition_point(|end| *end <= row);
    let first = if part == 0 { 0 } else { ends[part - 1] };
    (part < ends.len()).then_some((part, row - first))
}

fn no_such_row(sample: u64, ends: &[u64]) -> SampleError {
    let rows = ends.last().copied().unwrap_or(0);
    SampleError {
        sample,
        path: None,
        offset: None,
        reason: format!("there is no such row; the table has {rows}"),
        transform: None,
    }
}

fn bad_row(sample: u64, error: &Error) -> SampleError {
    let reason = match error {
        Error::Source { reason, .. } => reason.clone(),
        other => other.to_string(),
    };
    SampleError { sample, path: error.path().map(Into::into), offset: None, reason, transform: None }
}

struct ResidentFiller {
    rows: Arc<Resident>,
    ids: Vec<u64>,
    places: Vec<Place>,
}

impl Filler for ResidentFiller {
    fn fill(
        &mut self,
        keys: &[SampleKey],
        slots: &mut Slots<'_>,
        spent: &mut Spent,
    ) -> Result<(), (usize, SampleError)> {
        let started = Instant::now();
        let rows = &*self.rows;
        let len = rows.ends.last().copied().unwrap_or(0);
        let bad = |id: u64| rows.bad.iter().find(|(first, end, _)| (*first..*end).contains(&id));
        let unfit = if rows.bad.is_empty() {
            keys.iter().position(|key| key.sample >= len)
        } else {
            keys.iter().position(|key| key.sample >= len || bad(key.sample).is_some())
        };
        let good = &keys[..unfit.unwrap_or(keys.len())];
        if let [store] = &rows.stores[..] {
            self.ids.clear();
            self.ids.extend(good.iter().map(|key| key.sample));
            store.gather(&self.ids, slots);
        } else {
            self.places.clear();
            self.places.extend(
                good.iter()
                    .filter_map(|key| locate(&rows.ends, key.sample))
                    .map(|(store, row)| Place { store, row }),
            );
            gather_from(&rows.stores, &self.places, slots);
        }
        spent.transform_ns += started.elapsed().as_nanos() as u64;
        spent.bytes += good.len() as u64 * rows.stores.first().map_or(0, RowStore::row_bytes) as u64;
        match unfit {
            None => Ok(()),
            Some(position) => {
                let sample = keys[position].sample;
                Err((
                    position,
                    bad(sample).map_or_else(|| no_such_row(sample, &rows.ends), |b| bad_row(sample, &b.2)),
                ))
            }
        }
    }
}

struct WindowFiller {
    window: Arc<Window>,
    places: Vec<Place>,
}

impl Filler for WindowFiller {
    fn fill(
        &mut self,
        keys: &[SampleKey],
        slots: &mut Slots<'_>,
        spent: &mut Spent,
    ) -> Result<(), (usize, SampleError)> {
        let window = &*self.window;
        let mut at = 0;
        // As many keys at a time as their blocks fit into the window together; in a block-shuffled order that is all.
        while at < keys.len() {
            let started = Instant::now();
            let mut held: Vec<(usize, Held<RowStore>)> = Vec::new();
            let mut trouble = None;
            self.places.clear();
            for (nth, key) in keys[at..].iter().enumerate() {
                let Some((block, row)) = locate(&window.ends, key.sample) else {
                    trouble = Some((at + nth, no_such_row(key.sample, &window.ends)));
                    break;
                };
                let index = match held.iter().position(|(b, _)| *b == block) {
                    Some(index) => index,
                    None => {
                        // Who holds blocks must not wait for room: another may wait for these.
                        let came = match held.is_empty() {
                            true => window.cache.get(block),
                            false => match window.cache.get_if_room(block) {
                                Some(came) => came,
                                None => break,
                            },
                        };
                        match came {
                            Ok(store) => held.push((block, store)),
                            Err(reason) => {
                                trouble = Some((at + nth, bad_row(key.sample, &reason)));
                                break;
                            }
                        }
                        held.len() - 1
                    }
                };
                self.places.push(Place { store: index, row });
            }
            let waited = started.elapsed().as_nanos() as u64;
            let stores: Vec<&RowStore> = held.iter().map(|(_, store)| &**store).collect();
            gather_from(&stores, &self.places, &mut slots.tail(at));
            spent.decode_ns += waited;
            spent.transform_ns += started.elapsed().as_nanos() as u64 - waited;
            spent.bytes += (self.places.len() * stores.first().map_or(0, |s| s.row_bytes())) as u64;
            at += self.places.len();
            if let Some(trouble) = trouble {
                return Err(trouble);
            }
        }
        Ok(())
    }

    fn announce(&mut self, later: &[SampleKey]) {
        let blocks = later.iter().filter_map(|key| locate(&self.window.ends, key.sample));
        self.window.cache.hint(blocks.map(|(block, _)| block));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_beyond_32_bits_keep_their_number() {
        let ends = [3, (1 << 32) + 10, 1 << 40];
        assert_eq!(locate(&ends, 2), Some((0, 2)));
        assert_eq!(locate(&ends, (1 << 32) + 7), Some((1, (1 << 32) + 4)));
        assert_eq!(locate(&ends, (1 << 40) - 1), Some((2, (1 << 40) - (1 << 32) - 11)));
        assert_eq!(locate(&ends, 1 << 40), None);
    }
}
