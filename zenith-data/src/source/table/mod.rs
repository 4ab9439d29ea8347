//! Tables as sources of rows: files of columns ([`open_files`]) or columns in memory. Which column becomes what is
//! decided in `mapping`; rows are copied into their slots in `gather`.

pub(crate) mod blocks;
pub(crate) mod cells;
pub(crate) mod convert;
mod gather;
pub(crate) mod mapping;
pub(crate) mod memory;
mod rows;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

pub use self::mapping::{LabelChoice, TableOptions};

use self::blocks::Blocks;
use self::mapping::{Mapped, Plan};
use self::rows::RowStore;
use super::{Filler, Grain, SampleKey, Source, Spent};
use crate::pipeline::slots::Slots;
use crate::{Error, Result, SampleError, Schema};

/// A table whose rows are samples.
#[derive(Debug)]
pub struct TableSource {
    rows: Arc<RowStore>,
    plan: Plan,
    fingerprint: u64,
}

impl TableSource {
    /// Loads a whole table.
    pub(crate) fn load(blocks: &dyn Blocks, mut plan: Plan, options: &TableOptions) -> Result<Self> {
        blocks::find_classes(blocks, &mut plan)?;
        let (rows, _) = blocks::load(blocks, &plan, 0..blocks.rows().len(), options.threads, false)?;
        let fingerprint = blocks.fingerprint();
        Ok(Self {
            rows: Arc::new(rows),
            plan,
            fingerprint,
        })
    }
}

impl Source for TableSource {
    fn len(&self) -> u64 {
        self.rows.rows() as u64
    }

    fn schema(&self) -> &Schema {
        &self.plan.schema
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn filler(&self) -> Result<Box<dyn Filler>> {
        Ok(Box::new(ResidentFiller {
            rows: Arc::clone(&self.rows),
            ids: Vec::new(),
        }))
    }

    fn grain(&self) -> Grain {
        Grain::Batch
    }

    fn classes(&self) -> Option<&[String]> {
        self.plan.classes.as_deref()
    }
}

struct ResidentFiller {
    rows: Arc<RowStore>,
    ids: Vec<u64>,
}

impl Filler for ResidentFiller {
    fn fill(
        &mut self,
        keys: &[SampleKey],
        slots: &mut Slots<'_>,
        spent: &mut Spent,
    ) -> Result<(), (usize, SampleError)> {
        let started = Instant::now();
        self.ids.clear();
        self.ids.extend(keys.iter().map(|key| key.sample));
        let rows = &self.rows;
        let done = rows.gather(&self.ids, slots).map_err(|position| {
            let sample = keys[position].sample;
            let reason = format!("there is no such row; the table has {}", rows.rows());
            (
                position,
                SampleError {
                    sample,
                    path: None,
                    offset: None,
                    reason,
                },
            )
        });
        spent.transform_ns += started.elapsed().as_nanos() as u64;
        spent.bytes += (keys.len() * rows.row_bytes()) as u64;
        done
    }
}

/// What files turn out to hold.
#[derive(Debug)]
pub enum Opened {
    /// Rows of numbers.
    Rows(TableSource),
}

/// Opens Parquet files as one table.
pub fn open_parquet(paths: &[PathBuf], options: &TableOptions) -> Result<Opened> {
    let blocks = crate::format::parquet::ParquetBlocks::open(paths)?;
    match mapping::map(blocks.columns(), options)? {
        Mapped::Rows(plan) => Ok(Opened::Rows(TableSource::load(&blocks, plan, options)?)),
        Mapped::Pictures(_) => Err(Error::Config("pictures".into())),
    }
}
