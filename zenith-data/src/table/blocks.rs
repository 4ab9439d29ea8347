//! A table as a sequence of blocks that decode independently (row groups, record batches, stretches of lines), and
//! loading all of them into one row store on several threads. Knows no format.
#![expect(unsafe_code, reason = "threads claim disjoint cells of the matrices they fill together")]

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use zenith_runtime_cpu::thread::{panic_message, spawn_scoped};

use super::cells::{Cells, Matrices};
use super::mapping::{Column, Plan};
use super::rows::RowStore;
use crate::{Error, Result};

/// A decoder of blocks, shared by threads.
pub(crate) trait Blocks: Send + Sync {
    /// The columns of the table.
    fn columns(&self) -> &[Column];

    /// Rows of every block, in order.
    fn rows(&self) -> &[u64];

    /// The file a block comes from, and a name for the block in it.
    fn place(&self, block: usize) -> (&Path, String);

    /// Distinct texts of a column, sorted.
    fn texts(&self, column: usize) -> Result<Vec<String>>;

    /// The targets of a plan, cut into what one task decodes together; consecutive, without gaps.
    fn tasks(&self, plan: &Plan) -> Vec<Range<usize>>;

    /// Decodes the targets `job.targets` of a block into `cells`, whose row 0 is the block's first row.
    fn decode(&self, block: usize, job: &Job<'_>, cells: &mut [Cells<'_>]) -> Result<()>;

    /// `plan` with the element types that rows are held in until they are delivered.
    fn held(&self, plan: &Plan) -> Plan {
        plan.clone()
    }

    /// Whether the files that `job` reads for a block are as they were when the table was opened.
    fn unchanged(&self, _block: usize, _job: &Job<'_>) -> Result<()> {
        Ok(())
    }

    /// Checks what shows only when every block has been decoded.
    fn loaded(&self) -> Result<()> {
        Ok(())
    }

    /// What would make blocks smaller.
    fn smaller(&self) -> &'static str {
        "write the file with smaller row groups"
    }

    /// Facts for the report: (name, value).
    fn facts(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// A number that changes when the files change.
    fn fingerprint(&self) -> u64;
}

/// What to decode.
#[derive(Clone, Debug)]
pub(crate) struct Job<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) targets: Range<usize>,
    /// Index of every class of a text label.
    pub(crate) classes: Option<&'a HashMap<String, i64>>,
}

/// Sets the classes of a plan with a text label.
pub(crate) fn find_classes(blocks: &dyn Blocks, plan: &mut Plan) -> Result<()> {
    if let Some(label) = plan.targets.iter().find(|t| t.text) {
        plan.classes = Some(blocks.texts(label.column)?);
    }
    Ok(())
}

pub(crate) fn class_index(plan: &Plan) -> Option<HashMap<String, i64>> {
    let classes = plan.classes.as_ref()?;
    Some(classes.iter().enumerate().map(|(index, name)| (name.clone(), index as i64)).collect())
}

/// Decodes the blocks `range` into one store that delivers what `plan` says, on `threads` threads. Blocks that cannot be decoded are listed with
/// their reason where `skip_bad`; their rows are then undefined numbers and must not be delivered.
///
/// # Errors
/// The first block's error otherwise.
pub(crate) fn load(
    blocks: &dyn Blocks,
    plan: &Plan,
    range: Range<usize>,
    threads: usize,
    skip_bad: bool,
) -> Result<(RowStore, Vec<(usize, Error)>)> {
    let rows = blocks.rows();
    let mut starts = Vec::with_capacity(range.len());
    let mut end = 0usize;
    for block in range.clone() {
        starts.push(end);
        end = end.saturating_add(rows[block] as usize);
    }
    let held = &blocks.held(plan);
    let matrices = Matrices::new(held, end)?;
    let classes = class_index(plan);
    let parts = blocks.tasks(held);
    debug_assert!(
        parts.iter().try_fold(0, |at, p| (p.start == at).then_some(p.end)) == Some(plan.targets.len())
    );
    let tasks = parts.len() * range.len();
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failed: Mutex<Vec<(usize, Error)>> = Mutex::new(Vec::new());
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return;
            }
            let (nth, part) = (task / parts.len(), &parts[task % parts.len()]);
            let block = range.start + nth;
            let first = starts[nth];
            // SAFETY: every task number is drawn once; tasks differ in the block (disjoint rows) or the part (disjoint
            // targets); the matrices are read only after the threads have been joined.
            let mut cells =
                unsafe { matrices.claim(held, part.clone(), first..first + rows[block] as usize) };
            let job = Job { plan: held, targets: part.clone(), classes: classes.as_ref() };
            let done = catch_unwind(AssertUnwindSafe(|| blocks.decode(block, &job, &mut cells)));
            let changed = blocks.unchanged(block, &job).err();
            let error = match (done, changed) {
                // What else went wrong in a file that changed under us says nothing about the file.
                (_, Some(changed)) => changed,
                (Ok(Ok(())), None) => continue,
                (Ok(Err(error)), None) => error,
                // The decoders of damaged files may panic; that is bad input, not a bug of the caller.
                (Err(panic), None) => {
                    let (path, name) = blocks.place(block);
                    Error::source(
                        path,
                        format!("{name} cannot be decoded: {}", panic_message(panic.as_ref())),
                    )
                }
            };
            if !skip_bad {
                stop.store(true, Ordering::Relaxed);
            }
            failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((block, error));
        }
    };
    let threads = threads.clamp(1, tasks.max(1));
    std::thread::scope(|scope| {
        for nth in 1..threads {
            if let Err(error) = spawn_scoped(scope, format!("zenith-load-{nth}"), work) {
                tracing::warn!(%error, "loading a table with fewer threads than asked for");
                break;
            }
        }
        work();
    });
    let mut failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failed.sort_by_key(|(block, _)| *block);
    failed.dedup_by_key(|(block, _)| *block);
    if !skip_bad && !failed.is_empty() {
        return Err(failed.swap_remove(0).1);
    }
    Ok((matrices.finish(&plan.schema), failed))
}
