//! Marker segments: from the start of the file to a start-of-scan, and between scans. No entropy-coded bit is read.

use super::bits;
use super::error::JpegError;
use crate::format::exif;

/// Zigzag position of every coefficient, as row * 8 + column.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// What a caller wants to know before it decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Width in pixels, before any orientation is applied.
    pub width: u32,
    /// Height in pixels, before any orientation is applied.
    pub height: u32,
    /// Components in the file: 1 (gray), 3 (YCbCr or RGB) or 4 (CMYK or YCCK).
    pub components: u8,
    /// Exif orientation, 1..=8; 1 where the file says nothing. Decoding does not apply it.
    pub orientation: u8,
    /// Whether the coefficients come in several passes of growing precision.
    pub progressive: bool,
    /// Most sampling of any component, (horizontal, vertical).
    pub sampling: (u8, u8),
    /// MCUs between restart markers; 0 for none.
    pub restart_interval: u16,
}

/// How the components are to be read as colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColorModel {
    Gray,
    Ycc,
    Rgb,
    Cmyk,
    Ycck,
}

/// A Huffman table as the file gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HuffmanSpec<'a> {
    /// Number of codes of each length 1..=16.
    pub(super) counts: [u8; 16],
    /// Symbols in order of their codes.
    pub(super) symbols: &'a [u8],
}

/// A component of the frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameComponent {
    pub(super) id: u8,
    pub(super) h: u8,
    pub(super) v: u8,
    pub(super) quant: u8,
}

/// The frame header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) progressive: bool,
    pub(super) count: usize,
    pub(super) components: [FrameComponent; 4],
    pub(super) max_h: u8,
    pub(super) max_v: u8,
}

/// A component of a scan.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ScanComponent {
    /// Position of the component in the frame.
    pub(super) index: usize,
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// A scan header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    pub(super) count: usize,
    pub(super) components: [ScanComponent; 4],
    pub(super) start: u8,
    pub(super) end: u8,
    pub(super) high: u8,
    pub(super) low: u8,
    /// Offset of the marker.
    pub(super) at: usize,
    /// Offset of the first entropy-coded byte.
    pub(super) data: usize,
}

/// The tables in force at some place in the file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tables<'a> {
    /// Quantisation steps in zigzag order.
    pub(super) quant: [Option<[u16; 64]>; 4],
    pub(super) dc: [Option<HuffmanSpec<'a>>; 4],
    pub(super) ac: [Option<HuffmanSpec<'a>>; 4],
    pub(super) restart_interval: u16,
}

/// What a walk along the markers stopped at.
pub(super) enum Stop {
    Scan(Scan),
    EndOfImage,
}

/// A file read up to its first scan. Made by [`parse`]; hand it to [`Decoder::decode_parsed`](super::Decoder::decode_parsed).
#[derive(Clone, Debug)]
pub struct Parsed<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) header: Header,
    pub(super) frame: Frame,
    pub(super) model: ColorModel,
    pub(super) tables: Tables<'a>,
    pub(super) scan: Scan,
}

impl Parsed<'_> {
    /// What the file says about the picture.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }
}

/// Walks marker segments.
pub(super) struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(super) frame: Option<Frame>,
    pub(super) tables: Tables<'a>,
    jfif: bool,
    adobe: Option<u8>,
    orientation: Option<u8>,
}

/// Reads everything up to the first scan; entropy-coded data is not touched.
///
/// # Errors
/// The bytes are no JPEG, are damaged, or are of a kind that is not supported.
pub fn parse(bytes: &[u8]) -> Result<Parsed<'_>, JpegError> {
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        return Err(JpegError::NotJpeg);
    }
    let mut walker = Walker {
        bytes,
        at: 2,
        frame: None,
        tables: Tables::default(),
        jfif: false,
        adobe: None,
        orientation: None,
    };
    let scan = match walker.next_stop()? {
        Stop::Scan(scan) => scan,
        Stop::EndOfImage => return Err(JpegError::corrupt(walker.at, "end of image before any scan")),
    };
    let frame = walker.frame.ok_or(JpegError::corrupt(scan.at, "scan before the frame header"))?;
    let model = walker.color_model(&frame);
    Ok(Parsed {
        bytes,
        header: Header {
            width: u32::from(frame.width),
            height: u32::from(frame.height),
            components: frame.count as u8,
            orientation: walker.orientation.unwrap_or(1),
            progressive: frame.progressive,
            sampling: (frame.max_h, frame.max_v),
            restart_interval: walker.tables.restart_interval,
        },
        frame,
        model,
        tables: walker.tables,
        scan,
    })
}

/// Reads what a caller needs before it decodes: size, components, orientation. Stops at the first scan.
///
/// # Errors
/// The bytes are no JPEG, are damaged, or are of a kind that is not supported.
pub fn read_header(bytes: &[u8]) -> Result<Header, JpegError> {
    parse(bytes).map(|parsed| parsed.header)
}

impl<'a> Walker<'a> {
    /// Goes on from `at`, behind a scan of an already parsed file.
    pub(super) fn resume(parsed: &Parsed<'a>) -> Self {
        Self {
            bytes: parsed.bytes,
            at: parsed.scan.data,
            frame: Some(parsed.frame),
            tables: parsed.tables,
            jfif: false,
            adobe: None,
            orientation: None,
        }
    }

    /// Sets the place to go on from.
    pub(super) fn seek(&mut self, at: usize) {
        self.at = at;
    }

    fn color_model(&self, frame: &Frame) -> ColorModel {
        let ids = [0, 1, 2].map(|i| frame.components[i].id);
        match (frame.count, self.adobe) {
            (1, _) => ColorModel::Gray,
            (3, _) if self.jfif => ColorModel::Ycc,
            (3, Some(0)) => ColorModel::Rgb,
            (3, None) if ids == *b"RGB" => ColorModel::Rgb,
            (3, _) => ColorModel::Ycc,
            (_, None | Some(0)) => ColorModel::Cmyk,
            (_, Some(_)) => ColorModel::Ycck,
        }
    }

    /// Finds the next marker, over fill bytes and stray bytes, and returns it with its offset.
    fn next_marker(&mut self) -> Result<(u8, usize), JpegError> {
        let Some((code, behind)) = bits::next_marker(self.bytes, self.at) else {
            return Err(JpegError::truncated(self.bytes.len(), "no marker follows"));
        };
        self.at = behind;
        Ok((code, behind - 2))
    }

    /// The payload of the segment whose length field is next.
    fn payload(&mut self) -> Result<(&'a [u8], usize), JpegError> {
        let bytes = self.bytes;
        let Some(length) = bytes.get(self.at..self.at + 2) else {
            return Err(JpegError::truncated(bytes.len(), "a segment's length is missing"));
        };
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length < 2 {
            return Err(JpegError::corrupt(self.at, "a segment's length is below 2"));
        }
        let start = self.at + 2;
        let Some(payload) = bytes.get(start..self.at + length) else {
            return Err(JpegError::truncated(bytes.len(), "a segment is cut off"));
        };
        self.at += length;
        Ok((payload, start))
    }

    /// Reads segments up to the next start-of-scan or the end of the image.
    pub(super) fn next_stop(&mut self) -> Result<Stop, JpegError> {
        loop {
            let (code, at) = self.next_marker()?;
            match code {
                0xC0..=0xC2 => self.frame_header(code, at)?,
                0xC4 => self.huffman_tables()?,
                0xC3 => return Err(JpegError::unsupported(at, "lossless coding")),
                0xC5..=0xC7 => return Err(JpegError::unsupported(at, "hierarchical coding")),
                0xC8..=0xCB | 0xCD..=0xCF => return Err(JpegError::unsupported(at, "arithmetic coding")),
                0xD8 => return Err(JpegError::corrupt(at, "a second start of image")),
                0xD9 => return Ok(Stop::EndOfImage),
                0xDA => return self.scan_header(at).map(Stop::Scan),
                0xDB => self.quant_tables()?,
                0xDD => {
                    let (payload, start) = self.payload()?;
                    let &[high, low] = payload else {
                        return Err(JpegError::corrupt(start, "restart interval of a wrong length"));
                    };
                    self.tables.restart_interval = u16::from_be_bytes([high, low]);
                }
                0xE0 => {
                    let (payload, _) = self.payload()?;
                    self.jfif |= payload.len() >= 14 && payload.starts_with(b"JFIF\0");
                }
                0xE1 => {
                    let (payload, _) = self.payload()?;
                    if payload.starts_with(exif::SIGNATURE) {
                        self.orientation = self.orientation.or_else(|| exif::orientation(payload));
                    }
                }
                0xEE => {
                    let (payload, _) = self.payload()?;
                    if payload.len() >= 12 && payload.starts_with(b"Adobe") {
                        self.adobe = Some(payload[11]);
                    }
                }
                0x01 | 0xD0..=0xD7 => {}
                0x02..=0xBF => return Err(JpegError::corrupt(at, "a reserved marker")),
                _ => {
                    self.payload()?;
                }
            }
        }
    }

    fn frame_header(&mut self, code: u8, at: usize) -> Result<(), JpegError> {
        let (payload, start) = self.payload()?;
        if self.frame.is_some() {
            return Err(JpegError::corrupt(at, "a second frame header"));
        }
        let Some((fixed, listed)) = payload.split_first_chunk::<6>() else {
            return Err(JpegError::corrupt(start, "frame header too short"));
        };
        if fixed[0] == 12 {
            return Err(JpegError::unsupported(start, "12-bit samples"));
        }
        if fixed[0] != 8 {
            return Err(JpegError::unsupported(start, "samples of other than 8 bits"));
        }
        let height = u16::from_be_bytes([fixed[1], fixed[2]]);
        let width = u16::from_be_bytes([fixed[3], fixed[4]]);
        if height == 0 {
            return Err(JpegError::unsupported(start + 1, "a height that follows the scan (DNL)"));
        }
        if width == 0 {
            return Err(JpegError::corrupt(start + 3, "width of 0"));
        }
        let count = usize::from(fixed[5]);
        if !matches!(count, 1 | 3 | 4) {
            return Err(JpegError::unsupported(start + 5, "a number of components other than 1, 3 or 4"));
        }
        if listed.len() != count * 3 {
            return Err(JpegError::corrupt(start, "frame header of a wrong length"));
        }
        let mut components = [FrameComponent::default(); 4];
        for (component, given) in components.iter_mut().zip(listed.chunks_exact(3)) {
            *component = FrameComponent { id: given[0], h: given[1] >> 4, v: given[1] & 15, quant: given[2] };
            if !(1..=4).contains(&component.h) || !(1..=4).contains(&component.v) {
                return Err(JpegError::corrupt(start + 6, "sampling factor outside 1..4"));
            }
            if component.quant > 3 {
                return Err(JpegError::corrupt(start + 6, "quantisation table outside 0..3"));
            }
        }
        if count == 1 {
            // A lone component is never interleaved: its sampling factors cancel out.
            components[0].h = 1;
            components[0].v = 1;
        }
        let used = &components[..count];
        let max_h = used.iter().map(|component| component.h).max().unwrap_or(1);
        let max_v = used.iter().map(|component| component.v).max().unwrap_or(1);
        if used.iter().any(|component| max_h % component.h != 0 || max_v % component.v != 0) {
            return Err(JpegError::unsupported(start + 6, "fractional sampling ratios"));
        }
        self.frame =
            Some(Frame { width, height, progressive: code == 0xC2, count, components, max_h, max_v });
        Ok(())
    }

    fn huffman_tables(&mut self) -> Result<(), JpegError> {
        let (mut rest, start) = self.payload()?;
        while let Some((head, tail)) = rest.split_first_chunk::<17>() {
            let mut counts = [0; 16];
            counts.copy_from_slice(&head[1..]);
            let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let (class, slot) = (head[0] >> 4, usize::from(head[0] & 15));
            if class > 1 || slot > 3 {
                return Err(JpegError::corrupt(start, "huffman table outside 0..3"));
            }
            if total > 256 || total > tail.len() {
                return Err(JpegError::corrupt(start, "huffman table with too many codes"));
            }
            let (symbols, after) = tail.split_at(total);
            let spec = HuffmanSpec { counts, symbols };
            let class = if class == 0 { &mut self.tables.dc } else { &mut self.tables.ac };
            class[slot] = Some(spec);
            rest = after;
        }
        if rest.is_empty() { Ok(()) } else { Err(JpegError::corrupt(start, "huffman table cut off")) }
    }

    fn quant_tables(&mut self) -> Result<(), JpegError> {
        let (mut rest, start) = self.payload()?;
        while let Some((&head, tail)) = rest.split_first() {
            let (wide, slot) = (head >> 4, usize::from(head & 15));
            if wide > 1 || slot > 3 {
                return Err(JpegError::corrupt(start, "quantisation table outside 0..3"));
            }
            let length = if wide == 1 { 128 } else { 64 };
            let Some((values, after)) = tail.split_at_checked(length) else {
                return Err(JpegError::corrupt(start, "quantisation table cut off"));
            };
            let mut table = [0_u16; 64];
            for (i, step) in table.iter_mut().enumerate() {
                *step = if wide == 1 {
                    u16::from_be_bytes([values[2 * i], values[2 * i + 1]])
                } else {
                    u16::from(values[i])
                };
            }
            self.tables.quant[slot] = Some(table);
            rest = after;
        }
        Ok(())
    }

    fn scan_header(&mut self, at: usize) -> Result<Scan, JpegError> {
        let (payload, start) = self.payload()?;
        let Some(frame) = &self.frame else {
            return Err(JpegError::corrupt(at, "scan before the frame header"));
        };
        let count = usize::from(payload.first().copied().unwrap_or(0));
        if !(1..=frame.count).contains(&count) || payload.len() != 4 + 2 * count {
            return Err(JpegError::corrupt(start, "scan header of a wrong length"));
        }
        let mut components = [ScanComponent::default(); 4];
        let mut taken = [false; 4];
        for (component, given) in components.iter_mut().zip(payload[1..=2 * count].chunks_exact(2)) {
            let found = (0..frame.count).find(|&i| frame.components[i].id == given[0] && !taken[i]);
            let Some(index) = found else {
                return Err(JpegError::corrupt(start, "scan of a component the frame does not have"));
            };
            taken[index] = true;
            *component =
                ScanComponent { index, dc: usize::from(given[1] >> 4), ac: usize::from(given[1] & 15) };
            if component.dc > 3 || component.ac > 3 {
                return Err(JpegError::corrupt(start, "huffman table outside 0..3"));
            }
        }
        let blocks: u32 = components[..count]
            .iter()
            .map(|component| &frame.components[component.index])
            .map(|component| u32::from(component.h) * u32::from(component.v))
            .sum();
        if count > 1 && blocks > 10 {
            return Err(JpegError::corrupt(start, "more than 10 blocks in an interleaved unit"));
        }
        let tail = &payload[1 + 2 * count..];
        let scan = Scan {
            count,
            components,
            start: tail[0],
            end: tail[1],
            high: tail[2] >> 4,
            low: tail[2] & 15,
            at,
            data: self.at,
        };
        if frame.progressive {
            let band = if scan.start == 0 {
                scan.end == 0
            } else {
                scan.start <= scan.end && scan.end <= 63 && count == 1
            };
            let precision = scan.low <= 13 && (scan.high == 0 || scan.high == scan.low + 1);
            if !band || !precision {
                return Err(JpegError::corrupt(start, "contradictory progression parameters"));
            }
        }
        Ok(scan)
    }
}
