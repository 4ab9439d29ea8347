//! A source with custom transforms behind it: the inner source writes its samples into scratch memory, a [`Chain`] turns
//! their field `inputs` into something else, and the result goes into the slot; the other fields stay.
//!
//! What a sample becomes is found by trying the first ones. A sample that becomes something of another type or shape is
//! a bad sample. Dropped and split samples are told to [`Slots::became`]; packing them is the pipeline's matter.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Filler, Grain, Loose, SampleKey, Source, Spent};
use crate::pipeline::slots::{SlotLayout, Slots};
use crate::sampler::permutation::Permutation;
use crate::schema::Shape;
use crate::transform::chain::{Account, Chain, ChainFault, ChainWorker, Link};
use crate::transform::custom::{Cause, TensorRef, Yield};
use crate::{Blamed, DType, Error, Result, SampleError, Schema};

/// Samples that are tried to find out what they become; a filter may drop that many.
const TRIED: u64 = 1_000;
/// Bad samples among them before their errors are taken for the answer.
const BAD: usize = 16;
/// The first ones are tried in their order, the others from everywhere: data are often sorted.
const IN_ORDER: u64 = 16;

/// Samples that one may be split into, ...
const MOST_PARTS: usize = 1 << 16;
/// ... and the bytes that they may have.
const MOST_BYTES: usize = 64 << 20;

/// Rows are claimed in runs of about so many bytes: a custom transform takes some microseconds for them.
const RUN_BYTES: usize = 32 << 10;

/// The samples of another source behind custom transforms.
pub struct Staged {
    shared: Arc<Shared>,
}

/// What all fillers need.
struct Shared {
    source: Arc<dyn Source>,
    chain: Arc<Chain>,
    /// What the inner source gives.
    given: Schema,
    schema: Schema,
    /// The field that the chain is applied to.
    field: usize,
    /// Whether inner samples come with shapes of their own.
    loose: bool,
    /// Whether inner samples are cheap to get together.
    together: bool,
    splitting: Option<u64>,
    /// Runs of samples that a chain for whole batches failed on although it did on each sample, and the first reason.
    batches_failed: Mutex<Option<(u64, String)>>,
}

impl Staged {
    /// The samples of `inner` with `links` applied to their field `inputs` (the first one, where fields have no names).
    ///
    /// # Errors
    /// [`Error::Config`] when there is no such field, or native operations do not fit what a custom transform gives;
    /// [`Error::Transform`] when a transform cannot be set up or drops all samples tried; [`Error::Sample`] when it
    /// fails on the first samples.
    pub fn new(inner: Arc<dyn Source>, links: Vec<Link>) -> Result<Self> {
        let chain = Arc::new(Chain::new(links)?);
        let mut schema = inner.schema().clone();
        let field = inputs(&schema)?;
        if inner.parts() != Yield::One {
            return Err(Error::Config("the source drops or splits samples already".into()));
        }
        if inner.is_empty() {
            return Err(Error::Config("there are no samples to transform".into()));
        }
        let mut shared = Shared {
            given: schema.clone(),
            schema: schema.clone(),
            field,
            loose: inner.is_loose() && field == 0,
            together: inner.grain() != Grain::Sample,
            splitting: splitting(&schema, &chain),
            batches_failed: Mutex::new(None),
            source: inner,
            chain,
        };
        let (dtype, shape) = first_result(&shared)?;
        (schema.fields[field].dtype, schema.fields[field].shape) = (dtype, shape);
        shared.schema = schema;
        shared.chain.forget();
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// The field that transforms are applied to.
fn inputs(schema: &Schema) -> Result<usize> {
    match schema.fields.iter().position(|field| field.name == "inputs") {
        Some(field) => Ok(field),
        None if schema.shape != Shape::Dict && !schema.fields.is_empty() => Ok(0),
        None => {
            let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
            Err(Error::Config(format!(
                "custom transforms are applied to the field \"inputs\", and this source gives {names:?}"
            )))
        }
    }
}

/// A place means the same whatever the chain does, unless it counts parts of samples.
fn splitting(given: &Schema, chain: &Chain) -> Option<u64> {
    let hash = || xxhash_rust::xxh3::xxh3_64_with_seed(format!("{given:?}").as_bytes(), chain.fingerprint());
    (chain.yields() == Yield::Any).then(hash)
}

/// The type and shape that the first sample becomes that is neither dropped nor bad.
fn first_result(shared: &Shared) -> Result<(DType, Vec<usize>)> {
    let inner = &*shared.source;
    let mut scratch = Scratch::new(&shared.given)?;
    let mut filler = inner.filler()?;
    let mut chain = shared.chain.worker()?;
    let mut first_error = None;
    let mut errors = 0;
    let anywhere = Permutation::new(inner.len(), 0);
    // Of few samples, all are tried.
    for nth in 0..(inner.len() + IN_ORDER).min(TRIED) {
        let sample = match nth.checked_sub(IN_ORDER) {
            _ if inner.blocks().is_some() => nth,
            None => nth,
            Some(nth) => anywhere.at(nth),
        };
        if sample >= inner.len() {
            continue;
        }
        let key = SampleKey { sample, seed: 0, epoch: 0 };
        let mut result = None;
        let outcome = scratch.read(&mut *filler, shared, &key, &mut Spent::default()).and_then(|input| {
            let sink = &mut |tensor: TensorRef<'_>| {
                result.get_or_insert_with(|| (tensor.dtype, tensor.shape.to_vec()));
                Ok(())
            };
            match chain.apply(input, &key, sink) {
                Ok(_) => Ok(()),
                Err(fault) if fault.unfit => {
                    errors = BAD;
                    Err(shared.bad(sample, fault))
                }
                Err(fault) => Err(shared.bad(sample, fault)),
            }
        });
        match (outcome, result) {
            (Ok(()), Some(result)) => return Ok(result),
            (Ok(()), None) => {}
            (Err(error), _) => {
                first_error.get_or_insert(error);
                errors += 1;
                if errors >= BAD {
                    break;
                }
            }
        }
    }
    match first_error {
        Some(error) if errors > BAD => Err(Error::Config(error.reason)),
        Some(error) => Err(error.into()),
        None => {
            let tried = inner.len().min(TRIED);
            let reason = format!(
                "all of the {tried} samples that were tried are dropped, so that nobody knows the shape of what is left"
            );
            Err(Error::Transform { transform: shared.last(), reason })
        }
    }
}

impl Shared {
    fn bad(&self, sample: u64, fault: ChainFault) -> SampleError {
        let ChainFault { transform, reason, .. } = fault;
        SampleError {
            sample,
            path: self.source.path(sample),
            offset: None,
            reason,
            transform: transform.map(Box::new),
        }
    }

    fn batches_failed(&self) -> MutexGuard<'_, Option<(u64, String)>> {
        self.batches_failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last custom transform, where what came of the whole chain does not fit.
    fn last(&self) -> Blamed {
        let name = self.chain.names().last().unwrap_or_default().to_owned();
        Blamed { name, cause: Cause::UNFIT }
    }

    /// Whether `tensor` is what every sample has to become; else why not. `stacked` are the samples of a batch.
    fn check(&self, tensor: TensorRef<'_>, stacked: Option<usize>) -> std::result::Result<(), String> {
        let field = &self.schema.fields[self.field];
        let shape = match stacked {
            None => tensor.shape,
            Some(samples) => match tensor.shape.split_first() {
                Some((first, rest)) if *first == samples => rest,
                _ => {
                    return Err(format!(
                        "it gave {} {:?} for a batch of {samples} samples, whose first axis has to stay",
                        tensor.dtype, tensor.shape
                    ));
                }
            },
        };
        if (tensor.dtype, shape) == (field.dtype, &field.shape[..]) {
            return Ok(());
        }
        Err(format!(
            "it gave {} {shape:?} where the first sample gave {} {:?}; all samples of a batch have one type and shape",
            tensor.dtype, field.dtype, field.shape
        ))
    }
}

impl Source for Staged {
    fn len(&self) -> u64 {
        self.shared.source.len()
    }

    fn schema(&self) -> &Schema {
        &self.shared.schema
    }

    fn fingerprint(&self) -> u64 {
        self.shared.source.fingerprint()
    }

    fn filler(&self) -> Result<Box<dyn Filler>> {
        Ok(Box::new(StagedFiller {
            inner: self.shared.source.filler()?,
            chain: self.shared.chain.worker()?,
            scratch: Scratch::new(&self.shared.given)?,
            more: Vec::new(),
            shared: Arc::clone(&self.shared),
        }))
    }

    fn grain(&self) -> Grain {
        match self.shared.source.grain() {
            Grain::Sample => Grain::Sample,
            Grain::Run(samples) => Grain::Run(samples),
            Grain::Batch => Grain::Run((RUN_BYTES / self.shared.given.sample_bytes().max(1)).max(1)),
        }
    }

    fn blocks(&self) -> Option<(&[u64], u64)> {
        self.shared.source.blocks()
    }

    fn classes(&self) -> Option<&[String]> {
        self.shared.source.classes()
    }

    fn parts(&self) -> Yield {
        self.shared.chain.yields()
    }

    fn splitting(&self) -> Option<u64> {
        self.shared.splitting
    }

    fn readers(&self) -> Option<u64> {
        self.shared.source.readers()
    }

    fn share(&self, readers: u64) {
        self.shared.source.share(readers);
    }

    fn path(&self, sample: u64) -> Option<PathBuf> {
        self.shared.source.path(sample)
    }

    fn accounts(&self) -> Vec<Account> {
        self.shared.chain.accounts()
    }

    fn facts(&self) -> Vec<(String, String)> {
        let mut facts = self.shared.source.facts();
        if let Some((runs, reason)) = &*self.shared.batches_failed() {
            let text = format!("{runs} runs of samples went one by one instead: {reason}");
            facts.push(("whole batches refused by a plugin".into(), text));
        }
        facts
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.shared.source.notes();
        if let Some((_, reason)) = &*self.shared.batches_failed() {
            notes
                .push(format!("samples go one by one through a plugin that refused whole batches: {reason}"));
        }
        notes
    }
}

/// The memory that inner samples lie in.
struct Scratch {
    slab: Vec<u8>,
    layout: SlotLayout,
    loose: Loose,
}

impl Scratch {
    fn new(schema: &Schema) -> Result<Self> {
        let layout = SlotLayout::new(schema, 1)?;
        Ok(Self { slab: vec![0; layout.bytes()], layout, loose: Loose::new() })
    }

    /// Makes room for `samples`.
    fn reserve(&mut self, schema: &Schema, samples: usize) -> Result<()> {
        if self.layout.batch_size() < samples {
            self.layout = SlotLayout::new(schema, samples)?;
            self.slab.resize(self.layout.bytes(), 0);
        }
        Ok(())
    }

    /// Reads one sample of the inner source; what the chain is applied to.
    fn read<'a>(
        &'a mut self,
        filler: &mut dyn Filler,
        shared: &'a Shared,
        key: &SampleKey,
        spent: &mut Spent,
    ) -> std::result::Result<TensorRef<'a>, SampleError> {
        let mut slots = Slots::of(&mut self.slab, &self.layout, 1);
        if shared.loose {
            filler.fill_loose(key, &mut self.loose, &mut slots, spent)?;
            return Ok(self.loose.tensor());
        }
        filler.fill(std::slice::from_ref(key), &mut slots, spent).map_err(|(_, error)| error)?;
        Ok(self.tensor(shared, 0))
    }

    /// What the chain is applied to, of the sample in `slot`.
    fn tensor<'a>(&'a self, shared: &'a Shared, slot: usize) -> TensorRef<'a> {
        let field = &shared.given.fields[shared.field];
        let size = self.layout.sizes()[shared.field];
        let start = self.layout.offsets()[shared.field] + slot * size;
        TensorRef { dtype: field.dtype, shape: &field.shape, bytes: &self.slab[start..start + size] }
    }

    /// Copies the fields that the chain leaves alone, of `count` samples from slot `from` on to slot `to` on.
    fn copy_rest(&self, shared: &Shared, (from, to): (usize, usize), count: usize, slots: &mut Slots<'_>) {
        for (field, (offset, size)) in self.layout.offsets().iter().zip(self.layout.sizes()).enumerate() {
            if field != shared.field {
                let start = offset + from * size;
                slots.column(field)[to * size..(to + count) * size]
                    .copy_from_slice(&self.slab[start..start + count * size]);
            }
        }
    }
}

struct StagedFiller {
    shared: Arc<Shared>,
    inner: Box<dyn Filler>,
    chain: ChainWorker,
    scratch: Scratch,
    /// Further parts of a sample that is being split.
    more: Vec<u8>,
}

impl Filler for StagedFiller {
    fn fill(
        &mut self,
        keys: &[SampleKey],
        slots: &mut Slots<'_>,
        spent: &mut Spent,
    ) -> std::result::Result<(), (usize, SampleError)> {
        if self.shared.together && keys.len() > 1 {
            return self.rows(keys, slots, spent);
        }
        for (slot, key) in keys.iter().enumerate() {
            let Self { shared, inner, chain, scratch, more } = self;
            let input = scratch.read(&mut **inner, shared, key, spent).map_err(|error| (slot, error))?;
            deliver(shared, chain, more, (key, input), (&mut *slots, slot), spent)
                .map_err(|error| (slot, error))?;
            scratch.copy_rest(shared, (0, slot), 1, slots);
        }
        Ok(())
    }

    fn read_ahead(&mut self, upcoming: &[SampleKey]) {
        self.inner.read_ahead(upcoming);
    }

    fn announce(&mut self, later: &[SampleKey]) {
        self.inner.announce(later);
    }
}

impl StagedFiller {
    /// Samples that the inner source gives together.
    fn rows(
        &mut self,
        keys: &[SampleKey],
        slots: &mut Slots<'_>,
        spent: &mut Spent,
    ) -> std::result::Result<(), (usize, SampleError)> {
        let Self { shared, inner, chain, scratch, more } = self;
        scratch.reserve(&shared.given, keys.len()).map_err(|error| {
            let (sample, reason) = (keys[0].sample, error.to_string());
            (0, SampleError { sample, path: None, offset: None, reason, transform: None })
        })?;
        let mut inner_slots = Slots::of(&mut scratch.slab, &scratch.layout, keys.len());
        let (good, trouble) = match inner.fill(keys, &mut inner_slots, spent) {
            Ok(()) => (keys.len(), Ok(())),
            Err((place, error)) => (place, Err((place, error))),
        };
        scratch.copy_rest(shared, (0, 0), good, slots);
        let failed = if chain.takes_batches() && good > 1 {
            match batch(shared, chain, scratch, &keys[..good], slots, spent) {
                Ok(()) => return trouble,
                Err(fault) => Some(fault),
            }
        } else {
            None
        };
        // Where a batch fails, going row by row finds out which row it is.
        for (slot, key) in keys[..good].iter().enumerate() {
            let input = scratch.tensor(shared, slot);
            deliver(shared, chain, more, (key, input), (&mut *slots, slot), spent)
                .map_err(|error| (slot, error))?;
        }
        if let Some(fault) = failed {
            shared.batches_failed().get_or_insert((0, fault.reason)).0 += 1;
        }
        trouble
    }
}

/// Applies the chain to all samples of `keys`, which lie in `scratch`, at once.
fn batch(
    shared: &Shared,
    chain: &mut ChainWorker,
    scratch: &Scratch,
    keys: &[SampleKey],
    slots: &mut Slots<'_>,
    spent: &mut Spent,
) -> std::result::Result<(), ChainFault> {
    let field = &shared.given.fields[shared.field];
    let start = scratch.layout.offsets()[shared.field];
    let bytes = &scratch.slab[start..start + keys.len() * scratch.layout.sizes()[shared.field]];
    let mut shape = Vec::with_capacity(field.shape.len() + 1);
    shape.push(keys.len());
    shape.extend_from_slice(&field.shape);
    let input = TensorRef { dtype: field.dtype, shape: &shape, bytes };
    let native_ns = chain.apply_batch(input, keys.len(), &keys[0], &mut |tensor| {
        shared.check(tensor, Some(keys.len()))?;
        slots.column(shared.field)[..tensor.bytes.len()].copy_from_slice(tensor.bytes);
        Ok(())
    })?;
    spent.transform_ns += native_ns;
    Ok(())
}

/// Applies the chain to one sample and writes what it becomes into its slot.
fn deliver(
    shared: &Shared,
    chain: &mut ChainWorker,
    more: &mut Vec<u8>,
    (key, input): (&SampleKey, TensorRef<'_>),
    (slots, slot): (&mut Slots<'_>, usize),
    spent: &mut Spent,
) -> std::result::Result<(), SampleError> {
    let mut count = 0;
    more.clear();
    let native_ns = chain
        .apply(input, key, &mut |tensor| {
            shared.check(tensor, None)?;
            count += 1;
            if count == 1 {
                slots.bytes(shared.field, slot).copy_from_slice(tensor.bytes);
                return Ok(());
            }
            if count > MOST_PARTS || more.len() + tensor.bytes.len() > MOST_BYTES {
                return Err(format!(
                    "it splits a sample into more than {MOST_PARTS} parts or {MOST_BYTES} bytes"
                ));
            }
            more.extend_from_slice(tensor.bytes);
            Ok(())
        })
        .map_err(|fault| shared.bad(key.sample, fault))?;
    spent.transform_ns += native_ns;
    if count != 1 && !slots.became(slot, count, shared.field, more) {
        let reason = match count {
            0 => "it drops this sample, and exactly one was asked for".to_owned(),
            count => format!("it splits this sample into {count}, and exactly one was asked for"),
        };
        let fault = ChainFault { transform: Some(shared.last()), reason, unfit: false };
        return Err(shared.bad(key.sample, fault));
    }
    Ok(())
}
