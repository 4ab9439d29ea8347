//! The orientation out of an Exif block; every other tag is left alone.

/// Bytes that open an Exif application segment.
const SIGNATURE: &[u8] = b"Exif\0\0";
/// Tag of the orientation in the first image directory.
const ORIENTATION: u16 = 0x0112;
/// Field type of a 16-bit number.
const SHORT: u16 = 3;

struct Tiff<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl Tiff<'_> {
    fn u16(&self, at: usize) -> Option<u16> {
        let pair: [u8; 2] = self.bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.little {
            u16::from_le_bytes(pair)
        } else {
            u16::from_be_bytes(pair)
        })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let four: [u8; 4] = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.little {
            u32::from_le_bytes(four)
        } else {
            u32::from_be_bytes(four)
        })
    }
}

/// The orientation 1..=8 that an APP1 payload declares; `None` when it is not Exif, has none or is damaged (a damaged
/// orientation is no reason to refuse the picture).
pub(super) fn orientation(payload: &[u8]) -> Option<u8> {
    let bytes = payload.strip_prefix(SIGNATURE)?;
    let little = match bytes.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let tiff = Tiff { bytes, little };
    if tiff.u16(2)? != 42 {
        return None;
    }
    let directory = tiff.u32(4)? as usize;
    let entries = tiff.u16(directory)?;
    for entry in 0..usize::from(entries) {
        let at = directory.checked_add(2 + entry * 12)?;
        if tiff.u16(at)? == ORIENTATION {
            if tiff.u16(at + 2)? != SHORT {
                return None;
            }
            let value = tiff.u16(at + 8)?;
            return u8::try_from(value).ok().filter(|value| (1..=8).contains(value));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::orientation;

    fn exif(little: bool, value: u16) -> Vec<u8> {
        let two = |v: u16| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let four = |v: u32| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let mut out = b"Exif\0\0".to_vec();
        out.extend(if little { *b"II" } else { *b"MM" });
        out.extend(two(42));
        out.extend(four(8));
        out.extend(two(2));
        for (tag, value) in [(0x0100, 7), (0x0112, value)] {
            out.extend(two(tag));
            out.extend(two(3));
            out.extend(four(1));
            out.extend(two(value));
            out.extend(two(0));
        }
        out
    }

    #[test]
    fn both_byte_orders() {
        for value in 1..=8 {
            assert_eq!(orientation(&exif(true, value)), Some(value as u8));
            assert_eq!(orientation(&exif(false, value)), Some(value as u8));
        }
    }

    #[test]
    fn damage_is_no_orientation() {
        assert_eq!(orientation(&exif(true, 0)), None);
        assert_eq!(orientation(&exif(true, 9)), None);
        let whole = exif(false, 6);
        // The last two bytes pad the value.
        for cut in 0..whole.len() - 2 {
            assert_eq!(orientation(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(orientation(b"http://ns.adobe.com/xap/1.0/\0"), None);
    }
}
