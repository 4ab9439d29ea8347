//! JPEG, decoded for a data loader: bit-exact with the reference library's default settings, hardened against any
//! bytes, and only as much work as the wanted rectangle needs.
//!
//! The walk of a picture: `header` reads the marker segments, `plan` finds out which blocks the region needs, then either
//! `sequential` streams them out of the bits, or `progressive` gathers the coefficients of several scans first; `idct`
//! makes samples of blocks, `bands` keeps a few rows of them and makes pixel rows with `upsample` and `color`.
//! `noting` does the same while it makes an `index`. `kernels` says which twin of a kernel runs. No file is opened and no orientation applied here.

#[cfg_attr(not(target_arch = "x86_64"), path = "avx2_disabled.rs")]
mod avx2;
mod bands;
mod bits;
mod block;
mod color;
mod error;
mod header;
mod huffman;
mod idct;
mod index;
mod kernels;
mod noting;
mod plan;
mod progressive;
mod scan;
mod sequential;
mod upsample;

pub use error::JpegError;
pub use header::{Header, Parsed, parse, read_header};
pub use index::EntropyIndex;
pub use plan::Scale;

use crate::pixels::{PixelBuf, Region};
use bands::Bands;
use header::ColorModel;
use kernels::Kernels;
use plan::Plan;
use progressive::Store;
use scan::{Cursor, McuBlocks, Slots, Wanted, mcu_blocks, steps};
use sequential::Stage;

/// What to decode of a picture.
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions<'i> {
    /// The rectangle wanted, in pixels of the scaled picture; all of it where `None`.
    pub region: Option<Region>,
    /// The size of the result relative to the picture.
    pub scale: Scale,
    /// Most pixels (before scaling) that a picture may have.
    pub max_pixels: u64,
    /// Entry points into this very picture's data.
    pub index: Option<&'i EntropyIndex>,
}

impl Default for DecodeOptions<'_> {
    fn default() -> Self {
        Self { region: None, scale: Scale::Full, max_pixels: 1 << 28, index: None }
    }
}

/// A decoder with its scratch memory: one a worker, reused from picture to picture.
pub struct Decoder {
    kernels: Kernels,
    slots: Box<Slots>,
    bands: Bands,
    store: Store,
    /// Unstuffed entropy-coded bytes.
    bytes: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder that runs the best code for this machine.
    #[must_use]
    pub fn new() -> Self {
        Self::with_kernels(Kernels::detect())
    }

    /// A decoder that runs the portable code on any machine; the pixels are the same.
    #[must_use]
    pub fn portable() -> Self {
        Self::with_kernels(Kernels::PORTABLE)
    }

    fn with_kernels(kernels: Kernels) -> Self {
        Self {
            kernels,
            slots: Box::default(),
            bands: Bands::default(),
            store: Store::default(),
            bytes: Vec::new(),
        }
    }

    /// Decodes `bytes`: gray pictures to one channel, others to RGB. `out` is set to the region's size.
    ///
    /// # Errors
    /// The bytes are no JPEG, are damaged where the region needs them, are of an unsupported kind or above the pixel
    /// limit; or the region is not inside the picture. The contents of `out` are then unspecified.
    pub fn decode(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions<'_>,
        out: &mut PixelBuf,
    ) -> Result<(), JpegError> {
        self.decode_parsed(&parse(bytes)?, options, out)
    }

    /// Decodes a picture whose header has been read by [`parse`].
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_parsed(
        &mut self,
        parsed: &Parsed<'_>,
        options: &DecodeOptions<'_>,
        out: &mut PixelBuf,
    ) -> Result<(), JpegError> {
        self.decode_noting(parsed, options, None, out)
    }

    /// As [`Self::decode_parsed`], and makes `index` one of the whole picture on the way, with entry points `spacing`
    /// MCUs apart: the entropy-coded data outside the region is read past once for that, so this costs less than
    /// [`Self::index_every`] and a decode. `false` when there is no index: the picture is of several scans, too large
    /// for one, or damaged outside the region. The contents of `index` are then unspecified.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_indexing(
        &mut self,
        parsed: &Parsed<'_>,
        options: &DecodeOptions<'_>,
        spacing: u16,
        index: &mut EntropyIndex,
        out: &mut PixelBuf,
    ) -> Result<bool, JpegError> {
        let begun = !is_gathered(parsed)
            && Plan::new(&parsed.frame, options.region, options.scale)
                .and_then(|plan| index.begin(parsed, &plan, spacing))
                .is_ok();
        if begun && self.decode_noting(parsed, options, Some(&mut *index), out).is_ok() {
            return Ok(index.is_whole());
        }
        // Without stops, whole restart intervals are passed unseen: the picture may be good enough for the region.
        self.decode_noting(parsed, options, None, out)?;
        Ok(false)
    }

    fn decode_noting(
        &mut self,
        parsed: &Parsed<'_>,
        options: &DecodeOptions<'_>,
        note: Option<&mut EntropyIndex>,
        out: &mut PixelBuf,
    ) -> Result<(), JpegError> {
        let frame = &parsed.frame;
        let (width, height) = (parsed.header.width, parsed.header.height);
        if u64::from(width) * u64::from(height) > options.max_pixels {
            return Err(JpegError::TooLarge { width, height, limit: options.max_pixels });
        }
        let plan = Plan::new(frame, options.region, options.scale)?;
        if let Some(index) = options.index {
            index.check(parsed, &plan)?;
        }
        let channels = if parsed.model == ColorModel::Gray { 1 } else { 3 };
        out.reset(plan.width as u32, plan.height as u32, channels);
        self.bands.reset(&plan);
        let kernels = self.kernels;
        let transforms = plan.components.map(|c| match c.block {
            8 => (kernels.idct, kernels.flat),
            4 => (idct::half as idct::Idct, idct::half as idct::Idct),
            2 => (idct::quarter as idct::Idct, idct::quarter as idct::Idct),
            _ => (idct::eighth as idct::Idct, idct::eighth as idct::Idct),
        });
        let mut stage = Stage {
            plan: &plan,
            steps: [[0; 64]; 4],
            idct: transforms.map(|(full, _)| full),
            flat: transforms.map(|(_, flat)| flat),
        };
        if is_gathered(parsed) {
            let gathered = progressive::gather(
                parsed,
                &plan,
                &mut self.slots,
                &mut stage,
                &mut self.store,
                &mut self.bytes,
            );
            if gathered.is_ok() {
                progressive::render(parsed, &stage, &mut self.store, &mut self.bands, &kernels, out);
            }
            self.store.give_back_giant();
            return gathered;
        }
        for component in 0..frame.count {
            stage.steps[component] = steps(&parsed.tables, frame, component, parsed.scan.at)?;
        }
        let (blocks, mut cursor) = open(parsed, &plan, &mut self.slots, &mut self.bytes, true)?;
        if let Some(index) = note {
            for row in plan.rows.clone() {
                noting::decode_row(&mut cursor, &blocks, &stage, row, index, &mut self.bands, &kernels)?;
                self.bands.finish_row(&plan, parsed.model, row, &kernels, out);
            }
            // What is wrong behind the region is no business of this decode; the index then stays short.
            let _ = noting::note_rest(&mut cursor, &blocks, &plan, index, &kernels);
            return Ok(());
        }
        for row in plan.rows.clone() {
            let entry = options.index.and_then(|index| index.before(row, plan.columns.start));
            if let Some(entry) = entry.filter(|entry| entry.mcu > cursor.mcu) {
                cursor.seek(&entry)?;
            }
            sequential::skip_to(&mut cursor, &blocks, row * plan.mcus_x + plan.columns.start, &kernels)?;
            let end = plan.columns.end;
            sequential::decode_to(&mut cursor, &blocks, &stage, (row, end), &mut self.bands, &kernels)?;
            self.bands.finish_row(&plan, parsed.model, row, &kernels, out);
        }
        Ok(())
    }

    /// Makes an index of a picture's entropy-coded data, with entry points some MCUs apart.
    ///
    /// # Errors
    /// The picture is damaged, or of several scans, which have no such index.
    pub fn index(&mut self, bytes: &[u8]) -> Result<EntropyIndex, JpegError> {
        self.index_every(bytes, INDEX_SPACING)
    }

    /// As [`Self::index`], with `spacing` MCUs (at least 1, at most a row) between entry points.
    ///
    /// # Errors
    /// As [`Self::index`].
    pub fn index_every(&mut self, bytes: &[u8], spacing: u16) -> Result<EntropyIndex, JpegError> {
        let parsed = parse(bytes)?;
        if is_gathered(&parsed) {
            return Err(JpegError::unsupported(
                parsed.scan.at,
                "an entropy index of a picture of several scans",
            ));
        }
        let plan = Plan::new(&parsed.frame, None, Scale::Full)?;
        let mut index = EntropyIndex::default();
        index.begin(&parsed, &plan, spacing)?;
        let (blocks, mut cursor) = open(&parsed, &plan, &mut self.slots, &mut self.bytes, false)?;
        noting::note_rest(&mut cursor, &blocks, &plan, &mut index, &self.kernels)?;
        Ok(index)
    }
}

/// MCUs between the entry points of an index, where nothing else is asked for.
const INDEX_SPACING: u16 = 8;

/// Whether the coefficients come in several scans and must be gathered before they are transformed.
fn is_gathered(parsed: &Parsed<'_>) -> bool {
    parsed.frame.progressive || parsed.scan.count < parsed.frame.count
}

/// Goes to the start of a lone sequential scan, with its tables ready to be read past and, where wanted, for values.
fn open<'a, 's>(
    parsed: &Parsed<'a>,
    plan: &Plan,
    slots: &'s mut Slots,
    scratch: &'s mut Vec<u8>,
    values: bool,
) -> Result<(McuBlocks<'s>, Cursor<'a, 's>), JpegError> {
    slots.load(&parsed.tables, &parsed.scan, Wanted { dc: true, ac: true })?;
    for component in &parsed.scan.components[..parsed.scan.count] {
        let table = &mut slots.ac[component.ac];
        // A whole picture at a scale with AC coefficients has nothing to read past.
        if !values || !plan.is_whole() {
            table.prepare_skip();
        }
        if values {
            table.prepare_ac();
        }
    }
    let blocks = mcu_blocks(&parsed.frame, &parsed.scan, slots);
    Ok((
        blocks,
        Cursor::new(
            parsed.bytes,
            parsed.scan.data,
            plan.mcus_x * plan.mcus_y,
            parsed.tables.restart_interval,
            scratch,
        ),
    ))
}
