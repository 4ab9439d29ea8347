//! Colour: brightness, contrast, saturation, hue and gray on interleaved 8-bit RGB, in the arithmetic of PIL's
//! pictures or of torchvision's uint8 tensors, whichever the place in the list of operations says.

/// One change of colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    Brightness(f64),
    Contrast(f64),
    Saturation(f64),
    Hue(f64),
    Gray,
}

/// Whose arithmetic is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Pil,
    Tensor,
}

impl Arithmetic {
    /// `ratio * value + (1 - ratio) * other`, truncated.
    #[inline]
    fn blend(self, value: f32, other: f32, ratio: f64) -> u8 {
        // Float to u8 conversion in Rust saturates, which is the clamp.
        match self {
            Arithmetic::Pil => (other + ratio as f32 * (value - other)) as u8,
            Arithmetic::Tensor => fused(other, (1.0 - ratio) as f32, value * ratio as f32) as u8,
        }
    }

    /// Luma of ITU-R 601.
    #[inline]
    fn gray(self, pixel: &[u8]) -> u8 {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]];
        match self {
            Arithmetic::Pil => {
                ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
            }
            Arithmetic::Tensor => {
                let red = f32::from(r) * 0.2989;
                fused(f32::from(b), 0.114, fused(f32::from(g), 0.587, red)) as u8
            }
        }
    }

    /// Applies `change` to interleaved RGB in place.
    pub(super) fn apply(self, change: Change, rgb: &mut [u8]) {
        match change {
            Change::Brightness(ratio) => map(rgb, |value| self.blend(value, 0.0, ratio)),
            Change::Contrast(ratio) => {
                let mean = self.mean_gray(rgb);
                map(rgb, |value| self.blend(value, mean, ratio));
            }
            Change::Saturation(ratio) => {
                for pixel in rgb.chunks_exact_mut(3) {
                    let gray = f32::from(self.gray(pixel));
                    for value in pixel {
                        *value = self.blend(f32::from(*value), gray, ratio);
                    }
                }
            }
            Change::Hue(turn) => match self {
                Arithmetic::Pil => {
                    // NumPy's int32(...) truncates, and uint8 addition wraps.
                    let turn = (turn * 255.0) as i32 as u8;
                    for pixel in rgb.chunks_exact_mut(3) {
                        let [h, s, v] = pil_rgb_to_hsv([pixel[0], pixel[1], pixel[2]]);
                        pixel.copy_from_slice(&pil_hsv_to_rgb([h.wrapping_add(turn), s, v]));
                    }
                }
                Arithmetic::Tensor => {
                    for pixel in rgb.chunks_exact_mut(3) {
                        let turned = tensor_turn_hue([pixel[0], pixel[1], pixel[2]], turn as f32);
                        pixel.copy_from_slice(&turned);
                    }
                }
            },
            Change::Gray => {
                for pixel in rgb.chunks_exact_mut(3) {
                    let gray = self.gray(pixel);
                    pixel.fill(gray);
                }
            }
        }
    }

    fn mean_gray(self, rgb: &[u8]) -> f32 {
        let sum: u64 = rgb.chunks_exact(3).map(|pixel| u64::from(self.gray(pixel))).sum();
        let mean = sum as f64 / (rgb.len() / 3) as f64;
        match self {
            Arithmetic::Pil => (mean + 0.5).floor() as f32,
            Arithmetic::Tensor => mean as f32,
        }
    }
}

/// `a * b + c` with one rounding, as torch's vector loops compute it; the product is exact in f64.
#[inline]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    (f64::from(a) * f64::from(b) + f64::from(c)) as f32
}

/// Maps each byte by a function of its value.
fn map(rgb: &mut [u8], change: impl Fn(f32) -> u8) {
    let mut table = [0u8; 256];
    for (value, out) in table.iter_mut().enumerate() {
        *out = change(value as f32);
    }
    for value in rgb {
        *value = table[usize::from(*value)];
    }
}

/// The sector of the colour wheel of a pixel whose channels differ, within 0..1.
fn hue([r, g, b]: [f32; 3], most: f32, range: f32) -> f32 {
    let [rc, gc, bc] = [(most - r) / range, (most - g) / range, (most - b) / range];
    let sector = if r == most {
        bc - gc
    } else if g == most {
        2.0 + rc - bc
    } else {
        4.0 + gc - rc
    };
    (sector / 6.0 + 1.0) % 1.0
}

// Pillow stores these steps as f32 but computes between them in f64; the truncations make the difference visible.
fn pil_rgb_to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let most = r.max(g).max(b);
    let least = r.min(g).min(b);
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [rc, gc, bc] = [r, g, b].map(|value| f32::from(most - value) / range);
    let sector = if r == most {
        bc - gc
    } else if g == most {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let hue = ((f64::from(sector) / 6.0 + 1.0) % 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

fn pil_hsv_to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let turn = f64::from(h) * 6.0 / 255.0;
    let sector = turn.floor();
    let f = f64::from((turn - sector) as f32);
    let s = f64::from((f64::from(s) / 255.0) as f32);
    let value = f64::from(v);
    let p = (value * (1.0 - s)).round() as u8;
    let q = (value * (1.0 - s * f)).round() as u8;
    let t = (value * (1.0 - s * (1.0 - f))).round() as u8;
    match sector as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

fn tensor_turn_hue(rgb: [u8; 3], turn: f32) -> [u8; 3] {
    let [r, g, b] = rgb.map(|value| f32::from(value) / 255.0);
    let most = r.max(g).max(b);
    let range = most - r.min(g).min(b);
    // A gray pixel has no hue and keeps its value whatever the turn.
    let (h, s) = if range == 0.0 { (0.0, 0.0) } else { (hue([r, g, b], most, range), range / most) };
    let turn = (h + turn).rem_euclid(1.0) * 6.0;
    let sector = turn.floor();
    let f = turn - sector;
    let p = (most * (1.0 - s)).clamp(0.0, 1.0);
    let q = (most * (1.0 - s * f)).clamp(0.0, 1.0);
    let t = (most * (1.0 - s + s * f)).clamp(0.0, 1.0);
    let turned = match sector as u8 % 6 {
        0 => [most, t, p],
        1 => [q, most, p],
        2 => [p, most, t],
        3 => [p, q, most],
        4 => [t, p, most],
        _ => [most, p, q],
    };
    turned.map(|value| (value * (256.0 - 1e-3)) as u8)
}
