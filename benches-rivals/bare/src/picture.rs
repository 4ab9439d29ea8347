//! One sample from file to normalised float32 CHW: read, decode the crop, resize, flip and normalise.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::crop::{self, Rng};
use crate::jpeg::Decoder;

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// What one thread needs for its samples; grows to the largest picture and then stays.
pub struct Worker {
    decoder: Decoder,
    resizer: Resizer,
    encoded: Vec<u8>,
    small: Image<'static>,
    table: [[f32; 256]; 3],
    size: u32,
}

impl Worker {
    pub fn new(size: u32) -> Result<Self, String> {
        let table = std::array::from_fn(|channel| {
            std::array::from_fn(|value| (value as f32 / 255.0 - MEAN[channel]) / STD[channel])
        });
        Ok(Self {
            decoder: Decoder::new()?,
            resizer: Resizer::new(),
            encoded: Vec::new(),
            small: Image::new(size, size, PixelType::U8x3),
            table,
            size,
        })
    }

    /// Floats of one sample.
    pub fn floats(&self) -> usize {
        3 * self.size as usize * self.size as usize
    }

    /// Fills `slot` from the file; errors carry the path.
    pub fn load(&mut self, path: &Path, rng: &mut Rng, slot: &mut [f32]) -> Result<(), String> {
        self.try_load(path, rng, slot)
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    fn try_load(&mut self, path: &Path, rng: &mut Rng, slot: &mut [f32]) -> Result<(), String> {
        self.encoded.clear();
        File::open(path)
            .and_then(|mut file| file.read_to_end(&mut self.encoded))
            .map_err(|error| error.to_string())?;
        let (width, height) = self.decoder.header(&self.encoded)?;
        let window = crop::window(width, height, rng);
        let region = self.decoder.decode(&self.encoded, window)?;
        let length = region.width as usize * region.height as usize * 3;
        let source = ImageRef::new(
            region.width,
            region.height,
            &self.decoder.pixels[..length],
            PixelType::U8x3,
        )
        .map_err(|error| error.to_string())?;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .crop(
                f64::from(region.left),
                0.0,
                f64::from(window.width),
                f64::from(window.height),
            );
        self.resizer
            .resize(&source, &mut self.small, &options)
            .map_err(|error| error.to_string())?;
        self.normalise(rng.unit() < 0.5, slot);
        Ok(())
    }

    fn normalise(&self, flip: bool, slot: &mut [f32]) {
        let side = self.size as usize;
        let (red, rest) = slot.split_at_mut(side * side);
        let (green, blue) = rest.split_at_mut(side * side);
        let planes = red
            .chunks_exact_mut(side)
            .zip(green.chunks_exact_mut(side))
            .zip(blue.chunks_exact_mut(side));
        for (row, ((red, green), blue)) in self.small.buffer().chunks_exact(side * 3).zip(planes) {
            for (column, pixel) in row.chunks_exact(3).enumerate() {
                let at = if flip { side - 1 - column } else { column };
                red[at] = self.table[0][pixel[0] as usize];
                green[at] = self.table[1][pixel[1] as usize];
                blue[at] = self.table[2][pixel[2] as usize];
            }
        }
    }
}
