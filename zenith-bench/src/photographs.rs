//! JPEGs to work on: made here, in class folders, or copied from a folder of the user's. Not for judging decoders'
//! correctness; made pictures have the statistics of photographs (much coarse, little fine, noise), not their content.

use std::fs;
use std::path::{Path, PathBuf};

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use tempfile::TempDir;
use zenith_data::format::jpeg::parse;
use zenith_data::sampler::rng::{SampleRng, mix};

use crate::Failure;

/// Classes that the pictures are put into.
pub(crate) const CLASSES: usize = 8;

/// One picture.
pub(crate) struct Photograph {
    pub(crate) path: PathBuf,
    pub(crate) class: usize,
    pub(crate) bytes: Vec<u8>,
    /// Width and height in pixels.
    pub(crate) size: (u32, u32),
}

/// Colour JPEGs in class folders; the folders go with this value.
pub(crate) struct Photographs {
    folder: TempDir,
    pub(crate) all: Vec<Photograph>,
    /// Where they came from, for the reader of the figures.
    pub(crate) origin: String,
}

impl Photographs {
    /// Makes `count` pictures of `width` by `height` pixels, always the same ones.
    pub(crate) fn made(count: usize, width: u16, height: u16) -> Result<Self, Failure> {
        let pictures = (0..count as u64).map(|n| encode(&scene(n, width, height), width, height));
        Self::of(pictures, format!("made, {width}x{height}"))
    }

    /// Copies the first `most` colour JPEGs in `dir` and its folders.
    pub(crate) fn copied(dir: &Path, most: usize) -> Result<Self, Failure> {
        let pictures = jpegs(dir)?
            .into_iter()
            .map(|path| fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into()));
        let is_usable = |bytes: &Result<Vec<u8>, Failure>| match bytes {
            Ok(bytes) => parse(bytes).is_ok_and(|parsed| parsed.header().components == 3),
            Err(_) => true,
        };
        Self::of(pictures.filter(is_usable).take(most), "from the folder given".to_owned())
    }

    fn of(pictures: impl Iterator<Item = Result<Vec<u8>, Failure>>, origin: String) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let mut all = Vec::new();
        for (n, bytes) in pictures.enumerate() {
            let (bytes, class) = (bytes?, n % CLASSES);
            let header = *parse(&bytes)?.header();
            let dir = folder.path().join(format!("class_{class}"));
            fs::create_dir_all(&dir)?;
            let path = dir.join(format!("{n:05}.jpg"));
            fs::write(&path, &bytes)?;
            all.push(Photograph { path, class, bytes, size: (header.width, header.height) });
        }
        if all.is_empty() {
            return Err("there is no colour JPEG (.jpg, .jpeg) in the folder given".into());
        }
        // As a folder of classes lists them.
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { folder, all, origin })
    }

    /// The folder of class folders.
    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// One line about them.
    pub(crate) fn describe(&self) -> String {
        let count = self.all.len();
        let bytes: usize = self.all.iter().map(|p| p.bytes.len()).sum();
        let pixels: u64 = self.all.iter().map(|p| u64::from(p.size.0) * u64::from(p.size.1)).sum();
        format!(
            "{count} JPEGs ({}), on average {:.2} megapixels and {:.0} KB",
            self.origin,
            pixels as f64 / count as f64 / 1e6,
            bytes as f64 / count as f64 / 1e3
        )
    }
}

/// Files with a JPEG's ending, sorted.
fn jpegs(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let is_jpeg = path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("jpg") || e.eq_ignore_ascii_case("jpeg"));
            if path.is_dir() {
                open.push(path);
            } else if is_jpeg {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Quality and colour resolution as cameras and the web mostly have them.
fn encode(rgb: &[u8], width: u16, height: u16) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 90);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(rgb, width, height, ColorType::Rgb)?;
    Ok(bytes)
}

/// Distance of the coarsest octave's points in pixels; each further octave halves it and its strength.
const COARSEST: u32 = 128;
/// Octaves of brightness; colour has the coarser half of them.
const OCTAVES: u32 = 7;

/// Noise with the falling spectrum of photographs, hard edges where it crosses a level, and a little grain.
fn scene(number: u64, width: u16, height: u16) -> Vec<u8> {
    let mut rng = SampleRng::new(number, 0, 0);
    let keys: [u64; 4] = std::array::from_fn(|_| rng.next_u64());
    let mut rgb = Vec::with_capacity(usize::from(width) * usize::from(height) * 3);
    for y in 0..u32::from(height) {
        for x in 0..u32::from(width) {
            let edge = if noise(keys[3], x, y, COARSEST, 3) > 0.08 { 38.0 } else { -14.0 };
            let grain = rng.uniform(-19.0, 19.0);
            let light = 122.0 + edge + 105.0 * noise(keys[0], x, y, COARSEST, OCTAVES) + grain;
            let warm = 60.0 * noise(keys[1], x, y, COARSEST, OCTAVES / 2);
            let green = 40.0 * noise(keys[2], x, y, COARSEST, OCTAVES / 2);
            rgb.extend([light + warm, light + green, light - warm].map(|value| value as u8));
        }
    }
    rgb
}

/// Smooth value noise, about -1 to 1, of octaves from points `spacing` apart.
fn noise(key: u64, x: u32, y: u32, spacing: u32, octaves: u32) -> f64 {
    let mut strength = 0.5;
    let mut sum = 0.0;
    for octave in 0..octaves {
        let step = (spacing >> octave).max(1);
        let (column, row) = (x / step, y / step);
        let ease = |part: u32| {
            let t = f64::from(part) / f64::from(step);
            t * t * (3.0 - 2.0 * t)
        };
        let (right, down) = (ease(x % step), ease(y % step));
        let at = |dx: u32, dy: u32| {
            let place = u64::from(column + dx) << 32 | u64::from(row + dy);
            (mix(key ^ mix(place ^ u64::from(octave) << 60)) >> 40) as f64 / f64::from(1 << 23) - 1.0
        };
        let top = at(0, 0) + (at(1, 0) - at(0, 0)) * right;
        let bottom = at(0, 1) + (at(1, 1) - at(0, 1)) * right;
        sum += strength * (top + (bottom - top) * down);
        strength *= 0.62;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_pictures_have_the_size_of_photographs_and_are_always_the_same() {
        let [one, two] = [Photographs::made(1, 500, 375), Photographs::made(1, 500, 375)].map(Result::unwrap);
        let bytes = one.all[0].bytes.len();
        assert!((70_000..115_000).contains(&bytes), "{bytes} bytes");
        assert_eq!(one.all[0].bytes, two.all[0].bytes);
        assert_eq!(one.all[0].size, (500, 375));
    }

    #[test]
    fn a_folder_of_pictures_is_copied_into_classes() {
        let made = Photographs::made(10, 32, 24).unwrap();
        fs::write(made.root().join("class_0/broken.jpg"), "no picture").unwrap();
        let copied = Photographs::copied(made.root(), 9).unwrap();
        assert_eq!(copied.all.len(), 9);
        assert!(copied.all.iter().all(|p| p.path.starts_with(copied.root())));
        let nothing = tempfile::tempdir().unwrap();
        assert!(Photographs::copied(nothing.path(), 9).is_err());
    }
}
