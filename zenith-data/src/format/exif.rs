//! The orientation in a block of EXIF data, wherever a format keeps it; nothing else of it is read.

/// Tag of the orientation in the first directory.
const TAG: u16 = 0x0112;

/// What precedes EXIF data in a JPEG's application segment.
pub(crate) const SIGNATURE: &[u8] = b"Exif\0\0";

/// The orientation 1..=8 that EXIF data (a TIFF structure, with or without the signature before it) asks for. `None`
/// where it has none or is malformed, which is no reason to refuse the picture.
pub(crate) fn orientation(data: &[u8]) -> Option<u8> {
    let data = data.strip_prefix(SIGNATURE).unwrap_or(data);
    let little = match data.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = data.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes = data.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let directory = u32_at(4)? as usize;
    let count = usize::from(u16_at(directory)?);
    let entry = (0..count)
        .map_while(|i| directory.checked_add(2 + 12 * i))
        .find(|&entry| u16_at(entry) == Some(TAG))?;
    // Type SHORT, one value, which then lies in the entry itself.
    (u16_at(entry + 2)? == 3 && u32_at(entry + 4)? == 1)
        .then(|| u16_at(entry + 8))
        .flatten()
        .and_then(|value| u8::try_from(value).ok())
        .filter(|value| (1..=8).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(little: bool, value: u16) -> Vec<u8> {
        let two = |v: u16| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let four = |v: u32| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let mut data = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        data.extend(four(8));
        data.extend(two(2));
        for (tag, value) in [(0x010f, 7), (TAG, value)] {
            data.extend(two(tag));
            data.extend(two(3));
            data.extend(four(1));
            data.extend(two(value));
            data.extend(two(0));
        }
        data
    }

    #[test]
    fn both_byte_orders_and_the_prefix() {
        for little in [false, true] {
            for value in 1..=8 {
                let data = block(little, value);
                let expected = Some(value as u8);
                assert_eq!(orientation(&data), expected);
                assert_eq!(orientation(&[b"Exif\0\0", &data[..]].concat()), expected);
            }
            assert_eq!(orientation(&block(little, 9)), None);
            assert_eq!(orientation(&block(little, 0)), None);
        }
    }

    #[test]
    fn an_orientation_of_several_values_or_another_type_is_none() {
        let mut data = block(true, 6);
        let entry = data.len() - 12;
        data[entry + 4] = 2;
        assert_eq!(orientation(&data), None, "two values");
        let mut data = block(true, 6);
        data[entry + 2] = 4;
        assert_eq!(orientation(&data), None, "of 32 bits");
    }

    #[test]
    fn malformed_data_says_nothing() {
        let data = block(true, 6);
        // The last two bytes only pad the value.
        for cut in 0..data.len() - 2 {
            assert_eq!(orientation(&data[..cut]), None, "cut at {cut}");
        }
        assert_eq!(orientation(b"http://ns.adobe.com/xap/1.0/\0"), None);
        let mut far = data;
        far[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(orientation(&far), None);
    }
}
