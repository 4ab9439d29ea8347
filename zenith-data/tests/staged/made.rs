//! A source of numbers and a transform that fans them out, as the test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zenith_data::pipeline::Batch;
use zenith_data::pipeline::slots::Slots;
use zenith_data::schema::{Field, Schema, Shape};
use zenith_data::source::{Filler, Grain, SampleKey, Source, Spent};
use zenith_data::transform::custom::{Take, TensorRef, Transform, TransformFault, TransformWorker, Yield};
use zenith_data::{DType, Result, SampleError};

/// Samples of `inputs` [sample, epoch] and `labels` 3 * sample.
pub(crate) struct Numbers {
    len: u64,
    grain: Grain,
    pub(crate) schema: Schema,
}

pub(crate) fn numbers(len: u64, grain: Grain) -> Numbers {
    let fields = vec![Field::new("inputs", DType::UInt64, [2]), Field::new("labels", DType::Int64, [])];
    Numbers { len, grain, schema: Schema { fields, shape: Shape::Tuple } }
}

impl Source for Numbers {
    fn len(&self) -> u64 {
        self.len
    }
    fn schema(&self) -> &Schema {
        &self.schema
    }
    fn fingerprint(&self) -> u64 {
        self.len
    }
    fn filler(&self) -> Result<Box<dyn Filler>> {
        Ok(Box::new(NumbersFiller))
    }
    fn grain(&self) -> Grain {
        self.grain
    }
}

struct NumbersFiller;

impl Filler for NumbersFiller {
    fn fill(
        &mut self,
        keys: &[SampleKey],
        slots: &mut Slots<'_>,
        _: &mut Spent,
    ) -> std::result::Result<(), (usize, SampleError)> {
        for (slot, key) in keys.iter().enumerate() {
            let bytes = slots.bytes(0, slot);
            bytes[..8].copy_from_slice(&key.sample.to_ne_bytes());
            bytes[8..].copy_from_slice(&key.epoch.to_ne_bytes());
            slots.bytes(1, slot).copy_from_slice(&(3 * key.sample).to_ne_bytes());
        }
        Ok(())
    }
}

/// What a batch holds, as (sample, epoch, part); the labels must belong to the samples.
pub(crate) fn batch_of(batch: &Batch) -> Vec<[u64; 3]> {
    let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("8 bytes"));
    let rows: Vec<[u64; 3]> = batch
        .bytes(0)
        .chunks_exact(24)
        .map(|row| [number(&row[..8]), number(&row[8..16]), number(&row[16..])])
        .collect();
    let labels: Vec<u64> = batch.bytes(1).chunks_exact(8).map(number).collect();
    assert_eq!(labels, rows.iter().map(|[sample, ..]| 3 * sample).collect::<Vec<_>>(), "a label strayed");
    rows
}

type Count = Arc<dyn Fn(u64) -> Option<u64> + Send + Sync>;

/// Makes [sample, epoch] to as many [sample, epoch, part] as it is told; `None` for a sample that it refuses.
#[derive(Clone)]
pub(crate) struct Fan {
    yields: Yield,
    count: Count,
    together: bool,
    strange: Option<u64>,
    random: bool,
    calls: Arc<AtomicU64>,
    version: u64,
}

impl Fan {
    pub(crate) fn new(yields: Yield, count: impl Fn(u64) -> Option<u64> + Send + Sync + 'static) -> Self {
        let count = Arc::new(count);
        Self {
            yields,
            count,
            together: false,
            strange: None,
            random: false,
            calls: Arc::default(),
            version: 0,
        }
    }

    /// Whether it takes whole batches.
    pub(crate) fn together(self, together: bool) -> Self {
        Self { together, ..self }
    }

    /// A sample of which it makes another type and shape.
    pub(crate) fn strange(self, sample: u64) -> Self {
        Self { strange: Some(sample), ..self }
    }

    /// Gives its random bits in place of the part.
    pub(crate) fn random(self) -> Self {
        Self { random: true, ..self }
    }

    /// As another version of it.
    pub(crate) fn version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// How often it was called.
    pub(crate) fn calls(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.calls)
    }

    fn rows(&self, bytes: &[u8], random: u64) -> std::result::Result<Vec<u8>, TransformFault> {
        let sample = u64::from_ne_bytes(bytes[..8].try_into()?);
        let mut rows = Vec::new();
        for part in 0..(self.count)(sample).ok_or("it will not have this one")? {
            rows.extend_from_slice(bytes);
            rows.extend_from_slice(&if self.random { random } else { part }.to_ne_bytes());
        }
        Ok(rows)
    }
}

impl Transform for Fan {
    fn name(&self) -> &str {
        "fan"
    }
    fn yields(&self) -> Yield {
        self.yields
    }
    fn fingerprint(&self) -> u64 {
        self.version
    }
    fn worker(&self) -> std::result::Result<Box<dyn TransformWorker>, TransformFault> {
        Ok(Box::new(FanWorker(self.clone())))
    }
}

struct FanWorker(Fan);

impl TransformWorker for FanWorker {
    fn apply(
        &mut self,
        input: TensorRef<'_>,
        random: u64,
        take: Take<'_>,
    ) -> std::result::Result<(), TransformFault> {
        assert_eq!((input.dtype, input.shape), (DType::UInt64, &[2][..]));
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        if self.0.strange.is_some_and(|sample| input.bytes[..8] == sample.to_ne_bytes()) {
            return take(TensorRef { dtype: DType::UInt8, shape: &[2], bytes: &[1, 2] });
        }
        for bytes in self.0.rows(input.bytes, random)?.chunks_exact(24) {
            take(TensorRef { dtype: DType::UInt64, shape: &[3], bytes })?;
        }
        Ok(())
    }

    fn takes_batches(&self) -> bool {
        self.0.together
    }

    fn apply_batch(
        &mut self,
        input: TensorRef<'_>,
        random: u64,
        take: Take<'_>,
    ) -> std::result::Result<(), TransformFault> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let rows: Vec<Vec<u8>> = input
            .bytes
            .chunks_exact(16)
            .map(|row| self.0.rows(row, random))
            .collect::<std::result::Result<_, _>>()?;
        take(TensorRef { dtype: DType::UInt64, shape: &[input.shape[0], 3], bytes: &rows.concat() })
    }
}
