//! Pictures as a source of samples: encoded bytes, a compiled transform and a label become the fields `inputs` and
//! `labels`. Where the bytes lie is for [`Blobs`], what they mean for [`crate::format::image`], what becomes of the
//! pixels for [`crate::transform`].

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::blobs::{BlobReader, Blobs};
use super::image_cache::{IndexCache, Indexes};
use super::{Filler, Grain, Loose, SampleKey, Source, Spent};
use crate::format::image::{ImageDecoder, ImageError, ImageKind, ImageOptions};
use crate::pipeline::slots::Slots;
use crate::pixels::PixelBuf;
use crate::sampler::rng::SampleRng;
use crate::schema::Shape;
use crate::transform::{Order, Plan, Scratch, TransformError, View};
use crate::{DType, Error, Field, Result, SampleError, Schema};

/// How many pictures are tried to find the size of a batch, before their errors are taken for the answer.
const TRIED: u64 = 16;

/// Encoded pictures that become batches.
pub struct ImageSource {
    blobs: Arc<dyn Blobs>,
    shared: Arc<Shared>,
    schema: Schema,
    /// What is to be said of how they were opened.
    notes: Vec<String>,
}

/// What all fillers need.
struct Shared {
    plan: Plan,
    options: ImageOptions,
    labels: Option<DType>,
    /// Height and width of every sample.
    size: (u32, u32),
    /// The picture whose size the others have to have, where the transform leaves it open.
    model: Option<u64>,
    /// Where the pictures' data can be entered.
    indexes: Option<Arc<IndexCache>>,
}

impl Shared {
    /// The shape of a sample of so many rows and columns.
    fn shape(&self, (height, width): (u32, u32)) -> [usize; 3] {
        let output = self.plan.output();
        let (height, width, channels) = (height as usize, width as usize, usize::from(output.channels));
        match output.order {
            Order::Chw => [channels, height, width],
            Order::Hwc => [height, width, channels],
        }
    }
}

impl ImageSource {
    /// The pictures of `blobs` as `plan` makes them. Where the plan leaves the size open, the first picture that can be
    /// decoded sets it, and pictures of another size become bad samples.
    ///
    /// # Errors
    /// When there are no pictures, or none of the first ones can be decoded although the size depends on them.
    pub fn new(blobs: Arc<dyn Blobs>, plan: Plan, options: ImageOptions) -> Result<Self> {
        Self::with_indexes(blobs, plan, options, None)
    }

    /// As [`Self::new`]; pictures are decoded with the help of `indexes`, and add to them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_indexes(
        blobs: Arc<dyn Blobs>,
        plan: Plan,
        options: ImageOptions,
        indexes: Option<Arc<IndexCache>>,
    ) -> Result<Self> {
        if blobs.is_empty() {
            return Err(Error::Config("there are no pictures to load".into()));
        }
        let mut shared = Shared {
            labels: blobs.label_dtype(),
            size: plan.output().size.unwrap_or_default(),
            model: None,
            indexes,
            plan,
            options,
        };
        if shared.plan.output().size.is_none() {
            let (model, size) = first_size(&*blobs, &shared)?;
            (shared.model, shared.size) = (Some(model), size);
        }
        let mut fields = vec![Field::new("inputs", shared.plan.output().dtype, shared.shape(shared.size))];
        let shape = match shared.labels {
            Some(dtype) => {
                fields.push(Field::new("labels", dtype, []));
                Shape::Tuple
            }
            None => Shape::Single,
        };
        Ok(Self { schema: Schema { fields, shape }, shared: Arc::new(shared), blobs, notes: Vec::new() })
    }

    /// The same, with `notes` for the report.
    #[must_use]
    pub fn noting(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }
}

/// The first picture that can be looked at, and the height and width that the plan makes of it.
fn first_size(blobs: &dyn Blobs, shared: &Shared) -> Result<(u64, (u32, u32))> {
    let mut reader = blobs.reader()?;
    let decoder = ImageDecoder::new(shared.options);
    let mut scratch = Vec::new();
    let mut first_error = None;
    for id in 0..blobs.len().min(TRIED) {
        let result = reader.read(id, &mut scratch).map_err(Trouble::Read).and_then(|bytes| {
            let (width, height) = decoder.open(bytes)?.size();
            Ok(shared.plan.view(width, height, &mut SampleRng::new(0, 0, id))?)
        });
        match result {
            Ok(view) => return Ok((id, view.output_size())),
            Err(trouble) => {
                first_error.get_or_insert_with(|| trouble.at(id, blobs));
            }
        }
    }
    Err(first_error.map_or_else(|| Error::Config("there are no pictures to load".into()), Error::from))
}

impl Source for ImageSource {
    fn len(&self) -> u64 {
        self.blobs.len()
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn fingerprint(&self) -> u64 {
        self.blobs.fingerprint()
    }

    fn filler(&self) -> Result<Box<dyn Filler>> {
        Ok(Box::new(ImageFiller {
            reader: self.blobs.reader()?,
            blobs: Arc::clone(&self.blobs),
            worker: Worker {
                decoder: ImageDecoder::new(self.shared.options),
                pixels: PixelBuf::new(),
                scratch: Scratch::new(),
                indexes: self.shared.indexes.clone().map(Indexes::new),
                shared: Arc::clone(&self.shared),
            },
            bytes: Vec::new(),
            ids: Vec::new(),
        }))
    }

    fn grain(&self) -> Grain {
        Grain::Sample
    }

    fn blocks(&self) -> Option<(&[u64], u64)> {
        self.blobs.blocks()
    }

    fn readers(&self) -> Option<u64> {
        self.blobs.readers()
    }

    fn share(&self, readers: u64) {
        self.blobs.share(readers);
    }

    fn pictures(&self) -> bool {
        true
    }

    fn classes(&self) -> Option<&[String]> {
        self.blobs.classes()
    }

    fn is_loose(&self) -> bool {
        true
    }

    fn path(&self, sample: u64) -> Option<PathBuf> {
        self.blobs.path(sample)
    }

    fn facts(&self) -> Vec<(String, String)> {
        let mut facts = self.blobs.facts();
        if let Some(indexes) = &self.shared.indexes {
            facts.extend(indexes.facts());
        }
        facts.push(("transform".into(), self.shared.plan.describe()));
        facts
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        notes.extend(self.blobs.notes());
        notes.extend(self.shared.indexes.as_ref().and_then(|indexes| indexes.note()));
        notes
    }
}

/// Why a picture did not become a sample.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Read(io::Error),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Transform(#[from] TransformError),
    #[error(
        "the picture becomes {}x{} pixels where {model} becomes {}x{}; pictures of unequal size need a transform, \
         such as `transform=v2.Compose([v2.Resize(256), v2.CenterCrop(224)])`",
        got.1, got.0, wanted.1, wanted.0
    )]
    Size { got: (u32, u32), wanted: (u32, u32), model: String },
    #[error("there is no such picture; there are {0}")]
    Range(u64),
}

impl Trouble {
    fn at(&self, sample: u64, blobs: &dyn Blobs) -> SampleError {
        SampleError {
            sample,
            path: blobs.path(sample),
            offset: match self {
                Trouble::Image(error) => error.offset(),
                _ => None,
            },
            reason: self.to_string(),
            transform: None,
        }
    }
}

struct ImageFiller {
    blobs: Arc<dyn Blobs>,
    reader: Box<dyn BlobReader>,
    worker: Worker,
    bytes: Vec<u8>,
    ids: Vec<u64>,
}

impl Filler for ImageFiller {
    fn fill(
        &mut self,
        keys: &[SampleKey],
        slots: &mut Slots<'_>,
        spent: &mut Spent,
    ) -> Result<(), (usize, SampleError)> {
        for (slot, key) in keys.iter().enumerate() {
            self.one(key, (&mut *slots, slot), None, spent)
                .map_err(|trouble| (slot, trouble.at(key.sample, &*self.blobs)))?;
        }
        Ok(())
    }

    fn fill_loose(
        &mut self,
        key: &SampleKey,
        first: &mut Loose,
        rest: &mut Slots<'_>,
        spent: &mut Spent,
    ) -> Result<(), SampleError> {
        self.one(key, (rest, 0), Some(first), spent).map_err(|trouble| trouble.at(key.sample, &*self.blobs))
    }

    fn read_ahead(&mut self, upcoming: &[SampleKey]) {
        self.ids.clear();
        self.ids.extend(upcoming.iter().map(|key| key.sample).filter(|&id| id < self.blobs.len()));
        self.reader.read_ahead(&self.ids);
    }

    fn announce(&mut self, later: &[SampleKey]) {
        self.ids.clear();
        self.ids.extend(later.iter().map(|key| key.sample).filter(|&id| id < self.blobs.len()));
        self.reader.announce(&self.ids);
    }
}

impl ImageFiller {
    fn one(
        &mut self,
        key: &SampleKey,
        (slots, slot): (&mut Slots<'_>, usize),
        loose: Option<&mut Loose>,
        spent: &mut Spent,
    ) -> Result<(), Trouble> {
        if key.sample >= self.blobs.len() {
            return Err(Trouble::Range(self.blobs.len()));
        }
        if self.worker.shared.labels.is_some() {
            self.blobs.write_label(key.sample, slots.bytes(1, slot));
        }
        let started = Instant::now();
        let bytes = self.reader.read(key.sample, &mut self.bytes).map_err(Trouble::Read)?;
        let read = Instant::now();
        spent.read_ns += nanoseconds(started, read);
        spent.bytes += bytes.len() as u64;
        let decoded = self.worker.decode(bytes, key, &*self.blobs, loose.is_some());
        let then = Instant::now();
        spent.decode_ns += nanoseconds(read, then);
        let view = decoded?;
        let Worker { shared, pixels, scratch, .. } = &mut self.worker;
        let out = match loose {
            Some(loose) => loose.reset(shared.plan.output().dtype, &shared.shape(view.output_size())),
            None => slots.bytes(0, slot),
        };
        let rendered = shared.plan.render(&view, pixels, scratch, out);
        spent.transform_ns += nanoseconds(then, Instant::now());
        Ok(rendered?)
    }
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}

/// What decodes, with its memory.
struct Worker {
    shared: Arc<Shared>,
    decoder: ImageDecoder,
    pixels: PixelBuf,
    scratch: Scratch,
    indexes: Option<Indexes>,
}

impl Worker {
    /// Draws the sample's parameters and decodes the pixels that they need.
    fn decode(
        &mut self,
        bytes: &[u8],
        key: &SampleKey,
        blobs: &dyn Blobs,
        loose: bool,
    ) -> Result<View, Trouble> {
        let shared = &*self.shared;
        let picture = self.decoder.open(bytes)?;
        let (width, height) = picture.size();
        let mut rng = SampleRng::new(key.seed, key.epoch, key.sample);
        let mut view = shared.plan.view(width, height, &mut rng)?;
        if !picture.scales() {
            view = view.unscaled();
        }
        if let Some(model) = shared.model
            && !loose
            && view.output_size() != shared.size
        {
            return Err(Trouble::Size {
                got: view.output_size(),
                wanted: shared.size,
                model: blobs
                    .path(model)
                    .map_or_else(|| format!("sample {model}"), |path| path.display().to_string()),
            });
        }
        let (region, denom) = (view.region(), view.scale_denom());
        match &mut self.indexes {
            Some(indexes) if picture.info().kind == ImageKind::Jpeg => {
                indexes.decode(key.sample, &mut self.decoder, &picture, (region, denom), &mut self.pixels)?;
            }
            _ => self.decoder.decode(&picture, region, denom, &mut self.pixels)?,
        }
        Ok(view)
    }
}
