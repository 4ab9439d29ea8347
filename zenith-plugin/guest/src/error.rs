//! What a plugin says when it cannot do its work: a number for programs, a text for people.

use std::borrow::Cow;
use std::fmt;
use std::num::{ParseFloatError, ParseIntError};

/// A plugin's error. Both parts reach the user, in the exception or the list of skipped samples.
///
/// A text alone becomes an error of code 1, so `Err("no pixels".into())` is enough, and so is `?` behind a number that is
/// parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: i32,
    text: Cow<'static, str>,
}

/// What a plugin's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The code of errors made from a text alone.
    pub const FAILED: i32 = 1;
    /// The code of errors about the input: its element type or shape is not what the plugin takes.
    pub const INPUT: i32 = 2;
    /// The code of errors about a result that cannot be made, for want of memory for instance.
    pub const OUTPUT: i32 = 3;
    /// The code of errors about the configuration.
    pub const CONFIG: i32 = 4;

    /// An error with a code of the plugin's own. 0 means success to the host, so it becomes [`Error::FAILED`].
    #[must_use]
    pub fn new(code: i32, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: if code == 0 { Self::FAILED } else { code }, text: text.into() }
    }

    /// An error about the configuration.
    #[must_use]
    pub fn config(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Self::CONFIG, text)
    }

    /// Never 0.
    #[must_use]
    pub const fn code(&self) -> i32 {
        self.code
    }

    /// A lower-case fragment, as errors are elsewhere.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_text(self) -> Cow<'static, str> {
        self.text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<&'static str> for Error {
    fn from(text: &'static str) -> Self {
        Self::new(Self::FAILED, text)
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self::new(Self::FAILED, text)
    }
}

impl From<ParseIntError> for Error {
    fn from(error: ParseIntError) -> Self {
        error.to_string().into()
    }
}

impl From<ParseFloatError> for Error {
    fn from(error: ParseFloatError) -> Self {
        error.to_string().into()
    }
}
