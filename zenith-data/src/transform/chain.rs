//! Custom transforms one behind the other. What one gives is lent to the next while it still lies where it was made, so
//! nothing is copied between them. Each one's calls and time are accounted for; what becomes of the results is for the
//! caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::custom::{Cause, TensorRef, Transform, TransformFault, TransformWorker, Yield};
use super::ops::Op;
use super::tensor::{TensorOps, Unfit};
use crate::sampler::rng::stage_random;
use crate::source::SampleKey;
use crate::{Blamed, Error, Result};

/// One member of a chain.
#[derive(Clone)]
pub enum Link {
    /// A transform that somebody else brings.
    Custom(Arc<dyn Transform>),
    /// Native operations on what the transform before them gives.
    Native {
        /// The operations, in their order.
        ops: Vec<Op>,
        /// Whether what reaches them is a picture in torchvision's sense, and not yet a tensor.
        picture: bool,
    },
}

/// What one custom transform did so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Samples it was given.
    pub samples: u64,
    /// Nanoseconds spent in it, over all workers.
    pub nanoseconds: u64,
    /// Samples it dropped.
    pub dropped: u64,
    /// Samples it made more than one of.
    pub split: u64,
}

/// A member, compiled.
struct Stage {
    transform: Arc<dyn Transform>,
    native: bool,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    samples: AtomicU64,
    nanoseconds: AtomicU64,
    dropped: AtomicU64,
    split: AtomicU64,
}

/// A sequence of transforms, shared by all workers.
pub struct Chain {
    stages: Vec<Stage>,
}

/// Why a chain did not work on a sample.
#[derive(Debug)]
pub struct ChainFault {
    /// The custom transform to blame; `None` where a native operation failed.
    pub transform: Option<Blamed>,
    /// What is wrong, as a lower-case fragment.
    pub reason: String,
    /// Whether native operations can do nothing with this kind of tensor, whatever the sample.
    pub unfit: bool,
}

/// What takes the results of a chain, in order; the error is why it refuses one.
pub type Sink<'a> = &'a mut dyn FnMut(TensorRef<'_>) -> Result<(), String>;

impl Chain {
    /// The links one behind the other.
    ///
    /// # Errors
    /// [`Error::Config`] without any custom transform.
    pub fn new(links: Vec<Link>) -> Result<Self> {
        let mut stages: Vec<Stage> = Vec::with_capacity(links.len());
        let mut before = None;
        for link in links {
            let (transform, native): (Arc<dyn Transform>, _) = match link {
                Link::Custom(transform) => {
                    before = Some(transform.name().to_owned());
                    (transform, false)
                }
                Link::Native { ops, picture } => {
                    let after = before.clone().unwrap_or_default();
                    (Arc::new(TensorOps::new(ops, picture, after)), true)
                }
            };
            stages.push(Stage { transform, native, counts: Counts::default() });
        }
        if before.is_none() {
            return Err(Error::Config("there is no custom transform to apply".into()));
        }
        Ok(Self { stages })
    }

    /// How many tensors may become of one.
    #[must_use]
    pub fn yields(&self) -> Yield {
        let all = || self.stages.iter().map(|stage| stage.transform.yields());
        if all().any(|yields| yields == Yield::Any) {
            Yield::Any
        } else if all().any(|yields| yields == Yield::AtMostOne) {
            Yield::AtMostOne
        } else {
            Yield::One
        }
    }

    /// The names of the custom transforms, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().filter(|stage| !stage.native).map(|stage| stage.transform.name())
    }

    /// A number that changes when the chain may give something else for the same tensor.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for stage in &self.stages {
            hash.update(stage.transform.name().as_bytes());
            hash.update(&[0]);
            hash.update(&stage.transform.fingerprint().to_le_bytes());
        }
        hash.digest()
    }

    /// What each custom transform did so far.
    #[must_use]
    pub fn accounts(&self) -> Vec<Account> {
        let account = |stage: &Stage| Account {
            name: stage.transform.name().to_owned(),
            samples: stage.counts.samples.load(Ordering::Relaxed),
            nanoseconds: stage.counts.nanoseconds.load(Ordering::Relaxed),
            dropped: stage.counts.dropped.load(Ordering::Relaxed),
            split: stage.counts.split.load(Ordering::Relaxed),
        };
        self.stages.iter().filter(|stage| !stage.native).map(account).collect()
    }

    /// Sets every account to nothing.
    pub fn forget(&self) {
        for stage in &self.stages {
            let Counts { samples, nanoseconds, dropped, split } = &stage.counts;
            for counter in [samples, nanoseconds, dropped, split] {
                counter.store(0, Ordering::Relaxed);
            }
        }
    }

    /// One worker's own means of applying the chain.
    ///
    /// # Errors
    /// [`Error::Transform`] with the reason of the transform that could not be set up.
    pub fn worker(self: &Arc<Self>) -> Result<ChainWorker> {
        let worker = |stage: &Stage| {
            stage.transform.worker().map_err(|fault| {
                let (name, cause) = (stage.transform.name(), stage.transform.cause(&fault));
                let reason = without_name(name, &fault.to_string());
                Error::Transform { transform: Blamed { name: name.to_owned(), cause }, reason }
            })
        };
        let workers = self.stages.iter().map(worker).collect::<Result<Vec<_>>>()?;
        let batches = self.yields() == Yield::One && workers.iter().all(|worker| worker.takes_batches());
        Ok(ChainWorker { chain: Arc::clone(self), workers, batches })
    }
}

/// One worker's way to apply a [`Chain`].
pub struct ChainWorker {
    chain: Arc<Chain>,
    workers: Vec<Box<dyn TransformWorker>>,
    batches: bool,
}

impl ChainWorker {
    /// Whether [`Self::apply_batch`] is there.
    #[must_use]
    pub const fn takes_batches(&self) -> bool {
        self.batches
    }

    /// Applies the chain to one sample, and gives the nanoseconds that native operations took.
    ///
    /// # Errors
    /// What the first transform that failed says, or the sink.
    pub fn apply(
        &mut self,
        input: TensorRef<'_>,
        key: &SampleKey,
        sink: Sink<'_>,
    ) -> Result<u64, ChainFault> {
        let mut call = Call { key, samples: None, native_ns: 0 };
        call.run(&mut self.workers, &self.chain.stages, (0, 0), input, sink)?;
        Ok(call.native_ns)
    }

    /// Applies the chain to `samples` samples stacked along the first axis, of which `key` is the first; gives the
    /// nanoseconds that native operations took. Only where [`Self::takes_batches`].
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_batch(
        &mut self,
        input: TensorRef<'_>,
        samples: usize,
        key: &SampleKey,
        sink: Sink<'_>,
    ) -> Result<u64, ChainFault> {
        let mut call = Call { key, samples: Some(samples), native_ns: 0 };
        call.run(&mut self.workers, &self.chain.stages, (0, 0), input, sink)?;
        Ok(call.native_ns)
    }
}

/// One sample's (or batch's) way through a chain.
struct Call<'a> {
    key: &'a SampleKey,
    /// Samples of a batch; `None` for a single sample.
    samples: Option<usize>,
    native_ns: u64,
}

impl Call<'_> {
    /// Applies the stages from `at` on to a tensor that is part `part` of the sample.
    fn run(
        &mut self,
        workers: &mut [Box<dyn TransformWorker>],
        stages: &[Stage],
        (at, part): (usize, u64),
        input: TensorRef<'_>,
        sink: Sink<'_>,
    ) -> Result<(), ChainFault> {
        let (Some((worker, behind)), Some(stage)) = (workers.split_first_mut(), stages.get(at)) else {
            return sink(input).map_err(|reason| blame(&stages[..at], reason));
        };
        let SampleKey { seed, epoch, sample } = *self.key;
        let random = stage_random((seed, epoch, sample), at as u64, part);
        let most = if stage.transform.yields() == Yield::Any { usize::MAX } else { 1 };
        let mut count = 0;
        let mut elsewhere = Duration::ZERO;
        let mut refused = None;
        let samples = self.samples;
        let begun = Instant::now();
        let mut take = |given: TensorRef<'_>| -> Result<(), TransformFault> {
            let entered = Instant::now();
            let next = part.wrapping_mul(0x1_0000_01b3) ^ count as u64;
            count += 1;
            let outcome = if count > most {
                Err(stage.fault("it gave more than one tensor and announced at most one", Cause::UNFIT))
            } else {
                self.run(behind, stages, (at + 1, next), given, sink)
            };
            elsewhere += entered.elapsed();
            outcome.map_err(|fault| {
                refused = Some(fault);
                "what it gave was refused".into()
            })
        };
        let outcome = match samples {
            None => worker.apply(input, random, &mut take),
            Some(_) => worker.apply_batch(input, random, &mut take),
        };
        let own = begun.elapsed().saturating_sub(elsewhere);
        let own = u64::try_from(own.as_nanos()).unwrap_or(u64::MAX);
        if stage.native {
            self.native_ns += own;
        }
        stage.counts.nanoseconds.fetch_add(own, Ordering::Relaxed);
        stage.counts.samples.fetch_add(samples.unwrap_or(1) as u64, Ordering::Relaxed);
        if let Some(fault) = refused {
            return Err(fault);
        }
        outcome.map_err(|fault| match fault.downcast_ref::<Unfit>() {
            Some(_) => {
                let blamed = stages[..at].iter().rev().find(|before| !before.native);
                let transform = blamed.map(|stage| stage.blamed(Cause::UNFIT));
                ChainFault { transform, reason: fault.to_string(), unfit: true }
            }
            None => stage.fault(&fault.to_string(), stage.transform.cause(&fault)),
        })?;
        match (count, stage.transform.yields()) {
            (0, Yield::One) => {
                return Err(stage.fault("it gave no tensor and announced exactly one", Cause::UNFIT));
            }
            (0, _) => stage.counts.dropped.fetch_add(1, Ordering::Relaxed),
            (1, _) => 0,
            _ => stage.counts.split.fetch_add(1, Ordering::Relaxed),
        };
        Ok(())
    }
}

impl Stage {
    fn blamed(&self, cause: Cause) -> Blamed {
        Blamed { name: self.transform.name().to_owned(), cause }
    }

    fn fault(&self, reason: &str, cause: Cause) -> ChainFault {
        let name = self.transform.name();
        if self.native {
            return ChainFault { transform: None, reason: format!("{name}: {reason}"), unfit: false };
        }
        ChainFault { transform: Some(self.blamed(cause)), reason: without_name(name, reason), unfit: false }
    }
}

/// A reason without the transform's name at its head: the sample's error begins with it too.
fn without_name(name: &str, reason: &str) -> String {
    let own = reason.strip_prefix(name).and_then(|rest| rest.strip_prefix(": "));
    own.unwrap_or(reason).to_owned()
}

/// The fault of a result that was refused behind the whole chain.
fn blame(stages: &[Stage], reason: String) -> ChainFault {
    match stages.iter().rev().find(|stage| !stage.native) {
        Some(stage) => ChainFault { transform: Some(stage.blamed(Cause::UNFIT)), reason, unfit: false },
        None => ChainFault { transform: None, reason, unfit: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    /// Gives each byte of its input as a tensor of its own, times `factor`; none for a byte of 0.
    struct Bytes {
        yields: Yield,
        factor: u8,
    }

    impl Transform for Bytes {
        fn name(&self) -> &str {
            "bytes"
        }
        fn yields(&self) -> Yield {
            self.yields
        }
        fn fingerprint(&self) -> u64 {
            self.factor.into()
        }
        fn cause(&self, fault: &TransformFault) -> Cause {
            Cause { kind: "own", code: i32::try_from(fault.to_string().len()).ok() }
        }
        fn worker(&self) -> Result<Box<dyn TransformWorker>, TransformFault> {
            Ok(Box::new(BytesWorker(self.factor)))
        }
    }

    struct BytesWorker(u8);

    impl TransformWorker for BytesWorker {
        fn apply(
            &mut self,
            input: TensorRef<'_>,
            _: u64,
            take: super::super::custom::Take<'_>,
        ) -> Result<(), TransformFault> {
            for byte in input.bytes.iter().filter(|byte| **byte != 0) {
                let bytes = [byte.checked_mul(self.0).ok_or("too large")?];
                take(TensorRef { dtype: DType::UInt8, shape: &[1], bytes: &bytes })?;
            }
            Ok(())
        }
    }

    fn run(stages: Vec<(Yield, u8)>, bytes: &[u8]) -> (Result<Vec<u8>, ChainFault>, Vec<Account>) {
        let link = |(yields, factor)| Link::Custom(Arc::new(Bytes { yields, factor }));
        let chain = Arc::new(Chain::new(stages.into_iter().map(link).collect()).unwrap());
        let key = SampleKey { sample: 3, seed: 1, epoch: 2 };
        let mut given = Vec::new();
        let input = TensorRef { dtype: DType::UInt8, shape: &[bytes.len()], bytes };
        let outcome = chain.worker().unwrap().apply(input, &key, &mut |tensor| {
            given.push(tensor.bytes[0]);
            if tensor.bytes[0] == 99 { Err("no 99 please".into()) } else { Ok(()) }
        });
        (outcome.map(|_| given), chain.accounts())
    }

    #[test]
    fn parts_come_in_order_through_all_stages() {
        let (given, accounts) = run(vec![(Yield::Any, 2), (Yield::Any, 3)], &[1, 0, 5]);
        assert_eq!(given.unwrap(), [6, 30]);
        assert_eq!((accounts[0].samples, accounts[0].split, accounts[0].dropped), (1, 1, 0));
        assert_eq!((accounts[1].samples, accounts[1].split, accounts[1].dropped), (2, 0, 0));
        let (given, accounts) = run(vec![(Yield::AtMostOne, 2)], &[0]);
        assert_eq!((given.unwrap(), accounts[0].dropped), (vec![], 1));
    }

    #[test]
    fn the_one_to_blame_is_named() {
        let text = |stages, bytes: &[u8]| {
            let fault = run(stages, bytes).0.unwrap_err();
            (fault.transform.unwrap().name, fault.reason)
        };
        assert!(text(vec![(Yield::One, 1)], &[1, 2]).1.contains("more than one"));
        assert!(text(vec![(Yield::One, 1)], &[0]).1.contains("gave no tensor"));
        assert_eq!(
            text(vec![(Yield::Any, 1), (Yield::Any, 200)], &[1, 2]),
            ("bytes".into(), "too large".into())
        );
        assert_eq!(text(vec![(Yield::Any, 9), (Yield::One, 11)], &[1]).1, "no 99 please");
    }

    #[test]
    fn the_cause_is_the_transforms_own_or_that_its_result_does_not_fit() {
        let cause = |stages, bytes: &[u8]| run(stages, bytes).0.unwrap_err().transform.unwrap().cause;
        let own = Cause { kind: "own", code: Some(9) };
        assert_eq!(cause(vec![(Yield::Any, 200)], &[2]), own, "of `too large`");
        assert_eq!(cause(vec![(Yield::Any, 1), (Yield::Any, 200)], &[2]), own);
        assert_eq!(cause(vec![(Yield::One, 1)], &[0]), Cause::UNFIT);
        assert_eq!(cause(vec![(Yield::Any, 9), (Yield::One, 11)], &[1]), Cause::UNFIT);
    }

    #[test]
    fn the_fingerprint_is_that_of_all_members_in_their_order() {
        let of = |factors: &[u8]| {
            let link =
                |&factor| Link::Custom(Arc::new(Bytes { yields: Yield::One, factor }) as Arc<dyn Transform>);
            Chain::new(factors.iter().map(link).collect()).unwrap().fingerprint()
        };
        assert_eq!(of(&[2, 3]), of(&[2, 3]));
        assert!(of(&[2, 3]) != of(&[3, 2]) && of(&[2, 3]) != of(&[2, 4]) && of(&[2]) != of(&[2, 2]));
    }

    #[test]
    fn a_chain_does_what_its_members_do() {
        let yields = |all: &[Yield]| {
            let link = |&yields| Link::Custom(Arc::new(Bytes { yields, factor: 1 }) as Arc<dyn Transform>);
            Chain::new(all.iter().map(link).collect()).unwrap().yields()
        };
        assert_eq!(yields(&[Yield::One, Yield::One]), Yield::One);
        assert_eq!(yields(&[Yield::One, Yield::AtMostOne]), Yield::AtMostOne);
        assert_eq!(yields(&[Yield::Any, Yield::AtMostOne]), Yield::Any);
        assert!(Chain::new(Vec::new()).is_err());
    }
}
