//! Decoded pixels on their way from a decoder to a transform: interleaved 8-bit, reused from sample to sample.

/// A rectangle of whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width, at least 1.
    pub width: u32,
    /// Height, at least 1.
    pub height: u32,
}

impl Region {
    /// The whole of a picture.
    #[must_use]
    pub const fn full(width: u32, height: u32) -> Self {
        Self { x: 0, y: 0, width, height }
    }
}

/// What a buffer keeps between samples. A picture of a megapixel needs more; it pays for its own pages, so that a few
/// giants do not leave every worker with memory for a giant.
const KEPT_BYTES: usize = 3 << 19;

/// Gives the memory of a giant back. For what a worker keeps between samples, when it is done with one.
pub(crate) fn give_back_giant<T>(memory: &mut Vec<T>) {
    if memory.capacity() * size_of::<T>() > KEPT_BYTES {
        *memory = Vec::new();
    }
}

/// Whether a worker may keep this memory between samples.
#[cfg(test)]
pub(crate) fn may_be_kept<T>(memory: &Vec<T>) -> bool {
    memory.capacity() * size_of::<T>() <= KEPT_BYTES
}

/// Interleaved 8-bit pixels (`height` rows of `width * channels` bytes, no padding). Memory of an ordinary size is kept
/// when the size changes, so that nothing is allocated from sample to sample.
#[derive(Debug, Default)]
pub struct PixelBuf {
    data: Vec<u8>,
    width: u32,
    height: u32,
    channels: u8,
}

impl PixelBuf {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the size; the contents are unspecified afterwards (old bytes, never uninitialised memory).
    pub fn reset(&mut self, width: u32, height: u32, channels: u8) {
        let len = width as usize * height as usize * channels as usize;
        if self.data.len() > KEPT_BYTES && len <= KEPT_BYTES {
            self.data = Vec::new();
        }
        if self.data.len() < len {
            self.data.resize(len, 0);
        }
        self.width = width;
        self.height = height;
        self.channels = channels;
    }

    /// Width in pixels.
    #[must_use]
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// Channels per pixel: 1 (gray) or 3 (RGB).
    #[must_use]
    pub const fn channels(&self) -> u8 {
        self.channels
    }

    /// Bytes of one row.
    #[must_use]
    pub const fn stride(&self) -> usize {
        self.width as usize * self.channels as usize
    }

    /// All pixels, row by row.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.data[..self.stride() * self.height as usize]
    }

    /// All pixels, row by row, to be written.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        let len = self.stride() * self.height as usize;
        &mut self.data[..len]
    }
}
