//! Whether a footer may be given to the `parquet` crate, which skips as many elements as a number of the file says (see
//! [`super::thrift`]). What the footer means is the crate's to read.

use parquet::file::metadata::FooterTail;

use super::known::FOOTER;
use super::thrift::{Stop, Walk};
use crate::table::pread::PreadFile;

/// Why the crate must not read the footer in `bytes`. What is no footer at all passes: it is refused later.
fn fault(bytes: &[u8]) -> Option<&'static str> {
    match Walk::new(bytes).known(FOOTER) {
        Err(Stop::Endless) => Some("its footer counts more elements than it has bytes"),
        Err(Stop::Unlike) => Some("its footer has a field of another kind than footers have"),
        Ok(()) | Err(Stop::Short | Stop::Malformed) => None,
    }
}

/// Refuses a file whose footer would be read for ever. A footer that is missing or cut off passes: opening refuses it.
pub(super) fn check(file: &PreadFile) -> Result<(), &'static str> {
    let mut tail = [0; 8];
    let Some(tail_at) = file.len().checked_sub(tail.len() as u64) else {
        return Ok(());
    };
    let footer = file.fill(&mut tail, tail_at).ok().and_then(|()| FooterTail::try_new(&tail).ok());
    let Some(start) = footer.as_ref().and_then(|tail| tail_at.checked_sub(tail.metadata_length() as u64))
    else {
        return Ok(());
    };
    let mut bytes = vec![0; (tail_at - start) as usize];
    let fault = file.fill(&mut bytes, start).ok().and_then(|()| fault(&bytes));
    fault.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(bytes: &[u8]) -> bool {
        fault(bytes).is_none_or(|fault| !fault.contains("more elements"))
    }

    #[test]
    fn lists_of_nothing_are_counted() {
        // A structure with one field that nobody knows: a list of `count` booleans, which take no bytes.
        let with = |count: &[u8]| [&[0xf9, 0xf1], count, &[0]].concat();
        assert!(ends(&with(&[3])));
        assert!(!ends(&with(&[0xff, 0xff, 0xff, 0xff, 0x07])));
        // As a map from booleans to booleans.
        assert!(!ends(&[0xfb, 0xff, 0xff, 0xff, 0xff, 0x07, 0x11, 0]));
        // Lists in a list, each shorter than the footer.
        let many: Vec<u8> = [&[0xf9, 0xf9, 200, 1][..], &[0xf1, 100].repeat(200), &[0]].concat();
        assert!(!ends(&many));
        // Row groups of no bytes at all.
        assert!(!ends(&[0x49, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07]));
    }

    #[test]
    fn what_is_no_thrift_is_left_to_the_reader() {
        for bytes in [&[][..], &[0xff], &[0x68, 0xff, 0xff], &[0xff; 40]] {
            assert_eq!(fault(bytes), None);
        }
        // Deeper than anything that is read.
        assert_eq!(fault(&[&[0xfc][..], &[0x1c; 100_000]].concat()), None);
    }

    #[test]
    fn nothing_is_too_deep_or_too_long_for_the_walk_that_the_reader_would_read() {
        let endless = [0xf9, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07];
        // Behind a number of more bytes than its bits need.
        let long = [&[0x16][..], &[0x80; 20], &[0], &endless].concat();
        assert!(!ends(&long));
        // In as many structures as the reader skips.
        assert!(!ends(&[&[0xfc][..], &[0x1c; 63], &endless].concat()));
    }

    #[test]
    fn fields_of_another_kind_are_refused_where_the_reader_would_trust_their_numbers() {
        // The version as a text, a number for the schema, a list of numbers for the row groups.
        for bytes in [&[0x18, 0][..], &[0x26, 0], &[0x49, 0x25, 0, 0]] {
            assert!(fault(bytes).is_some_and(|fault| fault.contains("of another kind")));
        }
        assert_eq!(fault(&[0x15, 2, 0]), None);
        assert_eq!(fault(&[0x49, 0x0c, 0]), None);
    }
}
