//! Rows of a table in memory to batches in exact random order, on one thread.

use zenith_data::DType;
use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::sampler::OrderSpec;
use zenith_data::source::table::{MemoryColumn, TableOptions, TableSource};
use zenith_data::source::{SampleKey, Source, Spent};

use super::{Bench, Scenario};
use crate::Failure;
use crate::harness::{Agreement, Contender, Done, Group, Quantity, Race};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "tabular",
    title: "Tabular rows",
    about: "Rows of 100 float32 and an int64 label, gathered from memory in exact random order into the slots of \
            batches: Zenith's gather beside a loop that copies row after row from an array of rows.",
    run,
};

const FEATURES: usize = 100;
const ROW: usize = FEATURES * 4;
const LABEL: usize = 8;
/// Slabs in rotation, as a loader with a few batches ahead has them.
const SLABS: usize = 4;

/// A table whose row `r` holds 100 times `r` as float32, and `r` as its label.
pub(super) fn table(rows: usize, features: usize) -> Result<TableSource, Failure> {
    let mut columns = Vec::new();
    for column in 0..features {
        let values = (0..rows).flat_map(|row| value(row).to_ne_bytes()).collect();
        columns.push(MemoryColumn::owned(format!("f{column}"), DType::Float32, [], values)?);
    }
    let labels = (0..rows as i64).flat_map(i64::to_ne_bytes).collect();
    columns.push(MemoryColumn::owned("label", DType::Int64, [], labels)?);
    Ok(TableSource::from_columns(&columns, &TableOptions::default())?)
}

fn value(row: usize) -> f32 {
    (row % 65_536 + 1) as f32
}

/// A checksum of one field of one row in the batch and of all labels; `at` makes it another field in every batch.
fn mark(inputs: &[u8], labels: &[u8], at: usize) -> u64 {
    let (floats, _) = inputs.as_chunks::<4>();
    let float = floats.get(at % floats.len().max(1)).map_or(0.0, |&bytes| f32::from_ne_bytes(bytes));
    let (labels, _) = labels.as_chunks::<8>();
    let labels: u64 = labels.iter().map(|&bytes| u64::from_ne_bytes(bytes)).sum();
    float as u64 + labels
}

/// Fills every whole batch `passes` times; `fill` writes the rows into the slab and leaves `layout`'s fields.
fn each<'a>(
    keys: &'a [SampleKey],
    layout: &'a SlotLayout,
    mut fill: impl FnMut(&[SampleKey], &mut [u8]) -> Result<(), Failure> + 'a,
) -> impl FnMut(u64) -> Result<Done, Failure> + 'a {
    let batch = layout.batch_size();
    let mut slabs: Vec<Vec<u8>> = (0..SLABS).map(|_| vec![1; layout.bytes()]).collect();
    move |passes| {
        let (mut sum, mut units) = (0, 0);
        for _ in 0..passes {
            for (nth, keys) in keys.chunks_exact(batch).enumerate() {
                let slab = &mut slabs[nth % SLABS];
                fill(keys, slab)?;
                let field = |field: usize, size: usize| &slab[layout.offsets()[field]..][..size * batch];
                sum += mark(field(0, ROW), field(1, LABEL), nth * 7919);
                units += batch as u64;
            }
        }
        Ok(Done { units, sum, took: None })
    }
}

fn run(bench: &mut Bench) -> Result<Vec<Group>, Failure> {
    let rows = bench.sizes.rows;
    let source = table(rows, FEATURES)?;
    let plain: Vec<u8> = (0..rows).flat_map(|row| value(row).to_ne_bytes().repeat(FEATURES)).collect();
    let labels: Vec<i64> = (0..rows as i64).collect();
    let order = OrderSpec::Shuffled.epoch(rows as u64, 42, 0);
    let keys: Vec<SampleKey> = (0..rows as u64)
        .map(|position| SampleKey { sample: order.at(position), seed: 0, epoch: 0 })
        .collect();
    let mut groups = Vec::new();
    for batch in [64, 1024] {
        let layout = SlotLayout::new(source.schema(), batch)?;
        let mut filler = source.filler()?;
        let ours = |keys: &[SampleKey], slab: &mut [u8]| {
            let mut slots = Slots::of(slab, &layout, keys.len());
            filler.fill(keys, &mut slots, &mut Spent::default()).map_err(|(_, error)| error.into())
        };
        let theirs = |keys: &[SampleKey], slab: &mut [u8]| {
            let (inputs, rest) = slab.split_at_mut(layout.offsets()[1]);
            for ((key, slot), label) in
                keys.iter().zip(inputs.chunks_exact_mut(ROW)).zip(rest.chunks_exact_mut(LABEL))
            {
                let row = key.sample as usize;
                slot.copy_from_slice(&plain[row * ROW..][..ROW]);
                label.copy_from_slice(&labels[row].to_ne_bytes());
            }
            Ok(())
        };
        groups.push(bench.race(Race {
            title: format!("{rows} rows, batches of {batch}"),
            unit: "rows",
            quantity: Quantity::Throughput,
            agreement: Agreement::Exact,
            contenders: vec![
                Contender::ours("zenith", each(&keys, &layout, ours)),
                Contender::rival("copy row by row", each(&keys, &layout, theirs)),
            ],
            absent: Vec::new(),
        })?);
    }
    Ok(groups)
}
