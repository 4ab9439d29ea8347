//! Reading configurations of the form `key=value; key=value`. A plugin may as well read its text otherwise.

use std::fmt::Display;
use std::str::FromStr;

use crate::{Error, Result};

/// The pairs of `key=value; key=value`, without the spaces around them. An empty text has none.
pub fn pairs(text: &str) -> impl Iterator<Item = Result<(&str, &str)>> {
    text.split(';').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Error::config(format!("{pair:?} is not of the form key=value")))?;
        Ok((key.trim(), value.trim()))
    })
}

/// The value of `key`.
///
/// # Errors
/// [`Error::CONFIG`], naming the key.
pub fn value<T: FromStr<Err: Display>>(key: &str, text: &str) -> Result<T> {
    text.trim().parse().map_err(|error| Error::config(format!("{key}={text}: {error}")))
}

/// The values of `key`, with commas between them.
///
/// # Errors
/// As [`value`].
pub fn values<T: FromStr<Err: Display>>(key: &str, text: &str) -> Result<Vec<T>> {
    text.split(',').map(|part| value(key, part)).collect()
}

/// What to say about a key that there is not.
#[must_use]
pub fn unknown(key: &str, known: &str) -> Error {
    Error::config(format!("unknown key {key:?}; there are {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_split_and_trimmed() {
        let read = |text| pairs(text).collect::<Result<Vec<_>>>();
        assert_eq!(read(" a = 1;b=2,3 ; ").unwrap(), [("a", "1"), ("b", "2,3")]);
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("a=1; b").unwrap_err().code(), Error::CONFIG);
    }

    #[test]
    fn values_name_their_key() {
        assert_eq!(values::<f32>("mean", "0.5, 1"), Ok(vec![0.5, 1.0]));
        let error = values::<u32>("mean", "1,x").unwrap_err();
        assert!(error.text().starts_with("mean=x:"), "{error}");
    }
}
