//! Some samples of another source, in an order of the user's choosing. Augmentation stays that of the original sample.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Filler, Grain, Loose, SampleKey, Source, Spent};
use crate::pipeline::slots::Slots;
use crate::transform::chain::Account;
use crate::transform::custom::Yield;
use crate::{Error, Result, SampleError, Schema};

/// The samples of `inner` at `indices`.
pub struct Subset {
    inner: Arc<dyn Source>,
    indices: Arc<[u64]>,
}

impl Subset {
    /// The samples of `inner` at `indices`.
    ///
    /// # Errors
    /// [`Error::Config`] that names the first index `inner` does not have.
    pub fn new(inner: Arc<dyn Source>, indices: Vec<u64>) -> Result<Self> {
        let len = inner.len();
        if let Some(bad) = indices.iter().find(|index| **index >= len) {
            return Err(Error::Config(format!("the subset names sample {bad} of {len}")));
        }
        Ok(Self { inner, indices: Arc::from(indices) })
    }
}

impl Source for Subset {
    fn len(&self) -> u64 {
        self.indices.len() as u64
    }

    fn schema(&self) -> &Schema {
        self.inner.schema()
    }

    fn fingerprint(&self) -> u64 {
        let mut hash = xxhash_rust::xxh3::Xxh3::with_seed(self.inner.fingerprint());
        for index in self.indices.iter() {
            hash.update(&index.to_le_bytes());
        }
        hash.digest()
    }

    fn filler(&self) -> Result<Box<dyn Filler>> {
        let inner = self.inner.filler()?;
        Ok(Box::new(SubsetFiller { inner, indices: Arc::clone(&self.indices), keys: Vec::new() }))
    }

    fn grain(&self) -> Grain {
        self.inner.grain()
    }

    fn pictures(&self) -> bool {
        self.inner.pictures()
    }

    fn classes(&self) -> Option<&[String]> {
        self.inner.classes()
    }

    fn parts(&self) -> Yield {
        self.inner.parts()
    }

    fn splitting(&self) -> Option<u64> {
        self.inner.splitting()
    }

    fn readers(&self) -> Option<u64> {
        self.inner.readers()
    }

    fn share(&self, readers: u64) {
        self.inner.share(readers);
    }

    fn is_loose(&self) -> bool {
        self.inner.is_loose()
    }

    fn path(&self, sample: u64) -> Option<PathBuf> {
        self.inner.path(*self.indices.get(usize::try_from(sample).ok()?)?)
    }

    fn accounts(&self) -> Vec<Account> {
        self.inner.accounts()
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.inner.facts()
    }

    fn notes(&self) -> Vec<String> {
        self.inner.notes()
    }
}

struct SubsetFiller {
    inner: Box<dyn Filler>,
    indices: Arc<[u64]>,
    keys: Vec<SampleKey>,
}

impl SubsetFiller {
    fn translate(&mut self, keys: &[SampleKey]) {
        self.keys.clear();
        let indices = &self.indices;
        self.keys.extend(keys.iter().map(|key| SampleKey { sample: indices[key.sample as usize], ..*key }));
    }
}

impl Filler for SubsetFiller {
    fn fill(
        &mut self,
        keys: &[SampleKey],
        slots: &mut Slots<'_>,
        spent: &mut Spent,
    ) -> Result<(), (usize, SampleError)> {
        self.translate(keys);
        self.inner.fill(&self.keys, slots, spent)
    }

    fn fill_loose(
        &mut self,
        key: &SampleKey,
        first: &mut Loose,
        rest: &mut Slots<'_>,
        spent: &mut Spent,
    ) -> Result<(), SampleError> {
        let key = SampleKey { sample: self.indices[key.sample as usize], ..*key };
        self.inner.fill_loose(&key, first, rest, spent)
    }

    fn read_ahead(&mut self, upcoming: &[SampleKey]) {
        self.translate(upcoming);
        self.inner.read_ahead(&self.keys);
    }

    fn announce(&mut self, later: &[SampleKey]) {
        self.translate(later);
        self.inner.announce(&self.keys);
    }
}
