//! The window of random-resized-crop and the small generator behind it; no pixels here.

/// SplitMix64: enough randomness for windows and shuffles, and free.
pub struct Rng(u64);

impl Rng {
    /// A generator for one sample or one shuffle.
    pub fn new(seed: u64, epoch: u64, index: u64) -> Self {
        let mut rng = Self(seed ^ epoch.rotate_left(40) ^ index.rotate_left(16));
        rng.next();
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..=last.
    pub fn up_to(&mut self, last: u32) -> u32 {
        (self.unit() * f64::from(last + 1)) as u32
    }

    /// Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.unit() * (last + 1) as f64) as usize);
        }
    }
}

/// A window in pixels of the whole picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

const ATTEMPTS: usize = 10;
const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);

/// Draws a window as torchvision's `RandomResizedCrop` does: 8 to 100 % of the area, aspect 3/4 to 4/3.
pub fn window(width: u32, height: u32, rng: &mut Rng) -> Window {
    let (w, h) = (f64::from(width), f64::from(height));
    for _ in 0..ATTEMPTS {
        let area = w * h * (0.08 + 0.92 * rng.unit());
        let aspect = (RATIO.0.ln() + (RATIO.1.ln() - RATIO.0.ln()) * rng.unit()).exp();
        let (cw, ch) = (
            (area * aspect).sqrt().round() as u32,
            (area / aspect).sqrt().round() as u32,
        );
        if cw > 0 && cw <= width && ch > 0 && ch <= height {
            return Window {
                left: rng.up_to(width - cw),
                top: rng.up_to(height - ch),
                width: cw,
                height: ch,
            };
        }
    }
    let cw = width.min((h * RATIO.1).round() as u32).max(1);
    let ch = height.min((w / RATIO.0).round() as u32).max(1);
    Window {
        left: (width - cw) / 2,
        top: (height - ch) / 2,
        width: cw,
        height: ch,
    }
}
