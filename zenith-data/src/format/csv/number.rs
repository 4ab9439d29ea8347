//! Parsing numbers and recognising nulls in text fields. A decimal whose digits fit into 53 bits with a power of ten up
//! to 22 is one multiplication or division and exact; all others go to the standard library.

/// Whether a field stands for a missing value: nothing, `NA`, `N/A`, `NaN`, `null` or `None`, in any case.
pub(super) fn is_null(field: &[u8]) -> bool {
    match field.len() {
        0 => true,
        2..=4 => {
            [&b"na"[..], b"n/a", b"nan", b"null", b"none"].iter().any(|null| field.eq_ignore_ascii_case(null))
        }
        _ => false,
    }
}

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The number a field spells, correctly rounded.
pub(super) fn float(field: &[u8]) -> Option<f64> {
    quick(field).or_else(|| std::str::from_utf8(field).ok()?.parse().ok())
}

fn quick(field: &[u8]) -> Option<f64> {
    let (negative, digits) = match field {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, field),
    };
    let (mut mantissa, mut count, mut power, mut seen_point) = (0u64, 0, 0i32, false);
    let mut at = 0;
    while let Some(byte) = digits.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            count += 1;
            power -= i32::from(seen_point);
        } else if *byte == b'.' && !seen_point {
            seen_point = true;
        } else {
            break;
        }
        at += 1;
    }
    if count == 0 || count > 19 || mantissa >= 1 << 53 {
        return None;
    }
    if at < digits.len() {
        let [b'e' | b'E', exponent @ ..] = &digits[at..] else {
            return None;
        };
        power += std::str::from_utf8(exponent).ok()?.parse::<i16>().ok().map(i32::from)?;
    }
    let value = match power {
        0..=22 => mantissa as f64 * POWERS[power as usize],
        -22..=-1 => mantissa as f64 / POWERS[-power as usize],
        _ => return None,
    };
    Some(if negative { -value } else { value })
}

/// The integer a field spells; `true` and `false` are 1 and 0.
pub(super) fn integer(field: &[u8]) -> Option<i64> {
    let (negative, digits) = match field {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, field),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return truth(field).map(i64::from);
    }
    digits.iter().try_fold(0i64, |value, digit| {
        let digit = i64::from(digit - b'0');
        value.checked_mul(10)?.checked_add(if negative { -digit } else { digit })
    })
}

/// The truth value a field spells.
pub(super) fn truth(field: &[u8]) -> Option<bool> {
    if field.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if field.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn floats_are_what_the_standard_library_reads(value: f64, short in -1e9f64..1e9, digits in "[+-]?[0-9]{0,22}\\.?[0-9]{0,22}([eE][+-]?[0-9]{1,3})?") {
            for text in [value.to_string(), format!("{value:e}"), format!("{short:.4}"), digits] {
                let expected: Option<f64> = text.parse().ok();
                prop_assert_eq!(float(text.as_bytes()).map(f64::to_bits), expected.map(f64::to_bits), "{}", text);
            }
        }

        #[test]
        fn integers_are_what_the_standard_library_reads(value: i64, digits in "[+-]?[0-9]{0,25}") {
            prop_assert_eq!(integer(value.to_string().as_bytes()), Some(value));
            prop_assert_eq!(integer(digits.as_bytes()), digits.parse().ok());
        }
    }

    #[test]
    fn nulls_are_the_usual_words() {
        for null in ["", "NA", "nan", "N/A", "None", "NULL"] {
            assert!(is_null(null.as_bytes()), "{null}");
        }
        assert!(!is_null(b"no") && !is_null(b"0"));
    }
}
