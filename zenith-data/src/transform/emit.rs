//! The last step of a pass: rows of 8-bit pixels become elements of the output, in its type and order. Nothing here
//! resamples.

use super::kernels::{Affine, Kernels};
use crate::DType;

/// Order of an output's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Channel, height, width.
    Chw,
    /// Height, width, channel.
    Hwc,
}

/// What the elements of an output are.
#[derive(Clone, Debug)]
pub(super) struct Format {
    pub(super) dtype: DType,
    pub(super) order: Order,
    /// 1 (of three equal ones) or 3.
    pub(super) channels: usize,
    /// The value of each byte, for the floating types.
    pub(super) affine: [Affine; 3],
    /// The value of each byte as an element in native byte order, `dtype.size()` bytes of each four.
    table: Box<[[[u8; 4]; 256]; 3]>,
}

impl Format {
    /// The format of pictures between passes.
    pub(super) fn bytes() -> Self {
        Self::new(DType::UInt8, Order::Hwc, 3, [(1.0, 0.0); 3])
    }

    /// A format whose elements are `byte * scale + bias` for the `(scale, bias)` of each channel.
    pub(super) fn new(dtype: DType, order: Order, channels: usize, affine: [(f64, f64); 3]) -> Self {
        let affine = affine.map(|(scale, bias)| Affine::new(scale, bias));
        let mut table = Box::new([[[0; 4]; 256]; 3]);
        for (affine, table) in affine.iter().zip(table.iter_mut()) {
            for (byte, (&value, out)) in affine.table.iter().zip(table).enumerate() {
                match dtype {
                    DType::UInt8 => out[0] = byte as u8,
                    DType::Float16 => out[..2].copy_from_slice(&half_bits(value).to_ne_bytes()),
                    _ => *out = value.to_ne_bytes(),
                }
            }
        }
        Self { dtype, order, channels, affine, table }
    }

    /// Whether a resampled plane can be written without a stop at 8 bits in memory.
    pub(super) fn is_fused(&self) -> bool {
        self.order == Order::Chw && matches!(self.dtype, DType::UInt8 | DType::Float32)
    }
}

/// An output picture being written.
pub(super) struct Canvas<'a> {
    pub(super) format: &'a Format,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) out: &'a mut [u8],
}

impl Canvas<'_> {
    /// The bytes of `length` elements of one channel from (`x`, `y`) on. Only where channels come first.
    pub(super) fn plane_row(&mut self, channel: usize, x: usize, y: usize, length: usize) -> &mut [u8] {
        let size = self.format.dtype.size();
        let begin = ((channel * self.height + y) * self.width + x) * size;
        &mut self.out[begin..begin + length * size]
    }

    /// Fills the whole canvas with one byte value.
    pub(super) fn fill(&mut self, byte: u8) {
        let size = self.format.dtype.size();
        let channels = self.format.channels;
        let element = |c: usize| self.format.table[c][usize::from(byte)];
        match self.format.order {
            Order::Chw => {
                for (c, plane) in self.out.chunks_exact_mut(self.width * self.height * size).enumerate() {
                    let element = element(c);
                    plane.chunks_exact_mut(size).for_each(|to| to.copy_from_slice(&element[..size]));
                }
            }
            Order::Hwc => {
                for (i, to) in self.out.chunks_exact_mut(size).enumerate() {
                    to.copy_from_slice(&element(i % channels)[..size]);
                }
            }
        }
    }

    /// Writes a row of interleaved RGB from (`x`, `y`) on.
    pub(super) fn rgb(&mut self, kernels: Kernels, x: usize, y: usize, rgb: &[u8]) {
        let (width, height) = (self.width, self.height);
        let count = rgb.len() / 3;
        match (self.format.order, self.format.dtype, self.format.channels) {
            (Order::Hwc, DType::UInt8, 3) => {
                let begin = (y * width + x) * 3;
                self.out[begin..begin + rgb.len()].copy_from_slice(rgb);
            }
            (Order::Chw, DType::Float32, 3) => {
                let (r, rest) = self.out.split_at_mut(width * height * 4);
                let (g, b) = rest.split_at_mut(width * height * 4);
                let row = (y * width + x) * 4..(y * width + x + count) * 4;
                let planes = [&mut r[row.clone()], &mut g[row.clone()], &mut b[row]];
                kernels.rgb_to_planes(rgb, &self.format.affine, planes);
            }
            _ => self.elements(x, y, count, |c, i| rgb[i * 3 + c]),
        }
    }

    /// Writes a row of three planes of bytes, each `stride` long, of which `count` are pixels, from (`x`, `y`) on.
    pub(super) fn planes(&mut self, x: usize, y: usize, planes: &[u8], stride: usize, count: usize) {
        let [r, g, b] = [&planes[..count], &planes[stride..][..count], &planes[2 * stride..][..count]];
        if (self.format.order, self.format.dtype, self.format.channels) == (Order::Hwc, DType::UInt8, 3) {
            let begin = (y * self.width + x) * 3;
            let row = self.out[begin..begin + count * 3].chunks_exact_mut(3);
            for (to, ((&r, &g), &b)) in row.zip(r.iter().zip(g).zip(b)) {
                to.copy_from_slice(&[r, g, b]);
            }
        } else {
            let planes = [r, g, b];
            self.elements(x, y, count, |c, i| planes[c][i]);
        }
    }

    /// Writes `count` pixels from (`x`, `y`) on through the table, element by element.
    fn elements(&mut self, x: usize, y: usize, count: usize, byte: impl Fn(usize, usize) -> u8) {
        let (size, channels) = (self.format.dtype.size(), self.format.channels);
        for channel in 0..channels {
            let table = &self.format.table[channel];
            let (begin, step) = match self.format.order {
                Order::Chw => ((channel * self.height + y) * self.width + x, 1),
                Order::Hwc => ((y * self.width + x) * channels + channel, channels),
            };
            let to = self.out[begin * size..].chunks_mut(size).step_by(step);
            for (i, to) in to.take(count).enumerate() {
                to.copy_from_slice(&table[usize::from(byte(channel, i))][..size]);
            }
        }
    }
}

/// IEEE half precision, rounded to nearest, ties to even.
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude >= 0x4780_0000 {
        // 65536 and above, infinities and NaN (whose payload is not kept).
        return sign | if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    }
    if magnitude < 0x3880_0000 {
        // Below the least normal half: in units of 2^-24, which f32 addition rounds to as wanted.
        let units = f32::from_bits(magnitude) * 16_777_216.0;
        return sign | units.round_ties_even() as u16;
    }
    let rounded = magnitude + 0x0fff + ((magnitude >> 13) & 1);
    sign | ((rounded - 0x3800_0000) >> 13) as u16
}

#[cfg(test)]
mod tests {
    use super::half_bits;

    #[test]
    fn halves_round_as_ieee_says() {
        let cases = [
            (0.0, 0x0000),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65_504.0, 0x7bff),
            (65_519.0, 0x7bff),
            (65_520.0, 0x7c00),
            (1.0e9, 0x7c00),
            (6.103_515_6e-5, 0x0400),
            (5.960_464_5e-8, 0x0001),
            (2.980_232_2e-8, 0x0000),
            (1.0 + 1.0 / 2048.0, 0x3c00),
            (1.0 + 3.0 / 2048.0, 0x3c02),
            (f32::INFINITY, 0x7c00),
        ];
        for (value, bits) in cases {
            assert_eq!(half_bits(value), bits, "{value}");
        }
    }
}
