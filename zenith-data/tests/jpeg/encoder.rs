//! A small JPEG writer for tests: it codes given (random) coefficients, sequentially or progressively, with any sampling
//! and restart interval. No picture is transformed here; it is not meant to look good.

/// Zeros before, coefficient.
type Ac = Vec<(u8, i16)>;

/// What to code.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// Sampling factors (horizontal, vertical) by component.
    pub(crate) sampling: Vec<(u8, u8)>,
    pub(crate) restart: u16,
    pub(crate) progressive: bool,
    pub(crate) seed: u64,
    /// Out of 256: how often a coefficient is followed by another.
    pub(crate) density: u8,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn block(&mut self, density: u8) -> (i16, Ac) {
        let dc = (self.next() % 401) as i16 - 200;
        let (mut ac, mut k) = (Vec::new(), 1);
        while k < 64 && self.next() % 256 < u64::from(density) {
            let run = (self.next() % 64 * (self.next() % 4) / 24) as u8;
            if k + run > 63 {
                break;
            }
            let bits = 1 + self.next() % 7 * (self.next() % 2);
            let value = 1 + (self.next() % (1 << bits)) as i16;
            ac.push((run, if self.next().is_multiple_of(2) { value } else { -value }));
            k += run + 1;
        }
        (dc, ac)
    }
}

/// Codes of every symbol: short for small ones, up to 16 bits for the rest.
struct Huffman {
    counts: [u8; 16],
    symbols: Vec<u8>,
    codes: [(u32, u32); 256],
}

impl Huffman {
    fn new(mut symbols: Vec<u8>, counts: [u8; 16]) -> Self {
        symbols.sort_by_key(|&symbol| ((symbol >> 4) + (symbol & 15), symbol));
        let mut codes = [(0, 0); 256];
        let (mut code, mut at) = (0, 0);
        for (length, &count) in (1..).zip(&counts) {
            for _ in 0..count {
                codes[usize::from(symbols[at])] = (code, length);
                (code, at) = (code + 1, at + 1);
            }
            code <<= 1;
        }
        assert_eq!(at, symbols.len());
        Self { counts, symbols, codes }
    }

    fn dc() -> Self {
        Self::new((0..12).collect(), [0, 1, 1, 2, 3, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    fn ac() -> Self {
        Self::new((0..=255).collect(), [0, 1, 1, 2, 3, 4, 5, 6, 8, 10, 12, 20, 0, 0, 0, 184])
    }

    fn segment(&self, slot: u8) -> Vec<u8> {
        let mut out = vec![slot];
        out.extend(self.counts);
        out.extend(&self.symbols);
        out
    }
}

struct Writer {
    out: Vec<u8>,
    bits: u64,
    count: u32,
}

impl Writer {
    fn put(&mut self, value: u32, length: u32) {
        self.bits = self.bits << length | u64::from(value) & ((1 << length) - 1);
        self.count += length;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.bits >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xFF {
                self.out.push(0);
            }
        }
    }

    fn value(&mut self, table: &Huffman, run: u8, value: i16) {
        let size = 16 - value.unsigned_abs().leading_zeros();
        let (code, length) = table.codes[usize::from(run << 4 | size as u8)];
        self.put(code, length);
        self.put((if value < 0 { value - 1 } else { value }) as u32, size);
    }

    fn band(&mut self, table: &Huffman, ac: &Ac, (start, end): (u8, u8)) {
        let (mut k, mut next) = (1, start);
        for &(run, value) in ac {
            k += run;
            if (start..=end).contains(&k) {
                let mut zeros = k - next;
                while zeros > 15 {
                    let (code, length) = table.codes[0xF0];
                    self.put(code, length);
                    zeros -= 16;
                }
                self.value(table, zeros, value);
                next = k + 1;
            }
            k += 1;
        }
        if next <= end {
            let (code, length) = table.codes[0];
            self.put(code, length);
        }
    }

    fn flush(&mut self) {
        if self.count > 0 {
            self.put(0x7F, 8 - self.count);
        }
    }

    fn segment(&mut self, marker: u8, payload: &[u8]) {
        self.out.extend([0xFF, marker]);
        self.out.extend((payload.len() as u16 + 2).to_be_bytes());
        self.out.extend(payload);
    }
}

/// Which part of the coefficients a scan codes.
#[derive(Clone, Copy)]
enum Part {
    All,
    DcHigh,
    DcLow,
    Ac(u8, u8),
}

/// Writes the file.
pub(crate) fn encode(spec: &Spec) -> Vec<u8> {
    let mut random = Random(spec.seed);
    let count = spec.sampling.len();
    let max_h = spec.sampling.iter().map(|s| s.0).max().unwrap_or(1);
    let max_v = spec.sampling.iter().map(|s| s.1).max().unwrap_or(1);
    let mcus_x = usize::from(spec.width).div_ceil(usize::from(max_h) * 8);
    let mcus_y = usize::from(spec.height).div_ceil(usize::from(max_v) * 8);
    let blocks: Vec<Vec<_>> = (spec.sampling.iter())
        .map(|&(h, v)| {
            let blocks = mcus_x * mcus_y * usize::from(h) * usize::from(v);
            (0..blocks).map(|_| random.block(spec.density)).collect()
        })
        .collect();

    let mut writer = Writer { out: vec![0xFF, 0xD8], bits: 0, count: 0 };
    let mut quant = vec![0];
    quant.extend((0..64).map(|k| 3 + k / 8));
    writer.segment(0xDB, &quant);
    let mut frame = vec![8];
    frame.extend(spec.height.to_be_bytes());
    frame.extend(spec.width.to_be_bytes());
    frame.push(count as u8);
    for (id, &(h, v)) in (1..).zip(&spec.sampling) {
        frame.extend([id, h << 4 | v, 0]);
    }
    writer.segment(if spec.progressive { 0xC2 } else { 0xC0 }, &frame);
    let (dc, ac) = (Huffman::dc(), Huffman::ac());
    writer.segment(0xC4, &dc.segment(0x00));
    writer.segment(0xC4, &ac.segment(0x10));
    writer.segment(0xDD, &spec.restart.to_be_bytes());

    let all: Vec<usize> = (0..count).collect();
    let mut scans = vec![(all.clone(), Part::All)];
    if spec.progressive {
        scans = vec![(all.clone(), Part::DcHigh)];
        for part in [Part::Ac(1, 5), Part::Ac(6, 63)] {
            scans.extend((0..count).map(|component| (vec![component], part)));
        }
        scans.push((all, Part::DcLow));
    }
    for (components, part) in scans {
        let mut header = vec![components.len() as u8];
        header.extend(components.iter().flat_map(|&component| [component as u8 + 1, 0]));
        header.extend(match part {
            Part::All => [0, 63, 0],
            Part::DcHigh => [0, 0, 0x01],
            Part::DcLow => [0, 0, 0x10],
            Part::Ac(start, end) => [start, end, 0],
        });
        writer.segment(0xDA, &header);
        let mut predictors = vec![0; count];
        let lone = components.len() == 1;
        let (across, down) = if lone {
            let (h, v) = spec.sampling[components[0]];
            (
                (usize::from(spec.width) * usize::from(h)).div_ceil(usize::from(max_h) * 8),
                (usize::from(spec.height) * usize::from(v)).div_ceil(usize::from(max_v) * 8),
            )
        } else {
            (mcus_x, mcus_y)
        };
        for mcu in 0..across * down {
            if spec.restart > 0 && mcu > 0 && mcu % usize::from(spec.restart) == 0 {
                writer.flush();
                let number = (mcu / usize::from(spec.restart) - 1) % 8;
                writer.out.extend([0xFF, 0xD0 + number as u8]);
                predictors.fill(0);
            }
            for &component in &components {
                let (h, v) = spec.sampling[component];
                let (h, v) = (usize::from(h), usize::from(v));
                let (per_x, per_y) = if lone { (1, 1) } else { (h, v) };
                for at in 0..per_x * per_y {
                    let bx = mcu % across * per_x + at % per_x;
                    let by = mcu / across * per_y + at / per_x;
                    let (value, coefficients) = &blocks[component][by * mcus_x * h + bx];
                    let mut difference =
                        |value: i16| value - std::mem::replace(&mut predictors[component], value);
                    match part {
                        Part::All => {
                            writer.value(&dc, 0, difference(*value));
                            writer.band(&ac, coefficients, (1, 63));
                        }
                        Part::DcHigh => writer.value(&dc, 0, difference(*value >> 1)),
                        Part::DcLow => writer.put(*value as u32 & 1, 1),
                        Part::Ac(start, end) => writer.band(&ac, coefficients, (start, end)),
                    }
                }
            }
        }
        writer.flush();
    }
    writer.out.extend([0xFF, 0xD9]);
    writer.out
}
