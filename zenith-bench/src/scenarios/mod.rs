//! What is measured, one file each, and what the scenarios share: how much of everything, and the pictures.

mod decode;
mod pipeline;
mod readers;
mod rings;
mod tabular;
mod transform;

use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;

use crate::Failure;
use crate::harness::{Effort, Group, Race};
use crate::photographs::Photographs;

/// One thing to measure.
pub(crate) struct Scenario {
    /// What it is called on the command line and in the record.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What is compared with what, for the reader of the figures.
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Bench) -> Result<Vec<Group>, Failure>,
}

/// All of them, in the order in which a batch meets them.
pub(crate) const ALL: [Scenario; 6] = [
    rings::SCENARIO,
    readers::SCENARIO,
    decode::SCENARIO,
    transform::SCENARIO,
    pipeline::SCENARIO,
    tabular::SCENARIO,
];

/// How much there is to work on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Most pictures.
    pub(crate) pictures: usize,
    /// Width and height of made pictures.
    pub(crate) picture: (u16, u16),
    /// Edge of the pictures after the transform.
    pub(crate) edge: u32,
    /// Files to be read.
    pub(crate) files: usize,
    /// Rows of the table.
    pub(crate) rows: usize,
    /// Values through a ring in one pass.
    pub(crate) values: u64,
    /// Batches of trivial samples in one epoch.
    pub(crate) batches: u64,
}

impl Sizes {
    /// As in earnest: beyond the caches of the processor, within the memory of a laptop.
    pub(crate) const FULL: Self = Self {
        pictures: 128,
        picture: (500, 375),
        edge: 224,
        files: 512,
        rows: 500_000,
        values: 1 << 20,
        batches: 4096,
    };
    /// To see that everything runs; the figures are rough.
    pub(crate) const QUICK: Self = Self {
        pictures: 16,
        picture: (250, 188),
        edge: 112,
        files: 32,
        rows: 20_000,
        values: 1 << 16,
        batches: 256,
    };
}

/// What a scenario works with.
pub(crate) struct Bench {
    pub(crate) effort: Effort,
    pub(crate) sizes: Sizes,
    /// The user's own pictures.
    own: Option<PathBuf>,
    photographs: Option<Rc<Photographs>>,
    progress: Box<dyn Write>,
}

impl Bench {
    pub(crate) fn new(effort: Effort, sizes: Sizes, own: Option<PathBuf>, progress: Box<dyn Write>) -> Self {
        Self { effort, sizes, own, photographs: None, progress }
    }

    /// The pictures, made or copied when first asked for.
    pub(crate) fn photographs(&mut self) -> Result<Rc<Photographs>, Failure> {
        if let Some(photographs) = &self.photographs {
            return Ok(Rc::clone(photographs));
        }
        let (count, (width, height)) = (self.sizes.pictures, self.sizes.picture);
        let photographs = Rc::new(match &self.own {
            Some(dir) => Photographs::copied(dir, count)?,
            None => Photographs::made(count, width, height)?,
        });
        self.photographs = Some(Rc::clone(&photographs));
        Ok(photographs)
    }

    /// What the pictures are, if any scenario asked for them.
    pub(crate) fn data(&self) -> Option<String> {
        self.photographs.as_ref().map(|photographs| photographs.describe())
    }

    /// Runs one comparison.
    pub(crate) fn race(&mut self, race: Race<'_>) -> Result<Group, Failure> {
        race.run(self.effort, &mut *self.progress)
    }

    /// Runs a comparison of two in the same time but many more rounds (one first, then the other first, and so on): for
    /// what depends on where the host has just put the processors.
    pub(crate) fn duel(&mut self, race: Race<'_>) -> Result<Group, Failure> {
        let Effort { seconds, rounds } = self.effort;
        race.run(Effort { seconds, rounds: rounds * DUEL }, &mut *self.progress)
    }
}

/// Rounds of a duel for each of another comparison.
const DUEL: usize = 17;

/// Bytes between those that go into a checksum: few enough to cost nothing, and a prime, so that no column or channel
/// is met alone.
const STRIDE: usize = 1021;

/// A checksum of pixels that is the larger the brighter they are.
pub(crate) fn brightness(pixels: &[u8]) -> u64 {
    pixels.iter().step_by(STRIDE).map(|&value| u64::from(value) + 1).sum()
}

/// As [`brightness`], of normalised floats (not below -3) in native byte order.
pub(crate) fn float_brightness(sample: &[u8]) -> u64 {
    let (floats, _) = sample.as_chunks::<4>();
    floats.iter().step_by(STRIDE).map(|&value| ((f32::from_ne_bytes(value) + 3.0) * 1000.0) as u64).sum()
}
