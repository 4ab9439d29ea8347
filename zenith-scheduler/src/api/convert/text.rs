//! What names, words and paths may be: long enough for people, short enough to be kept, printable, and what a system takes.

use super::invalid;
use crate::refusal::Refusal;

/// Longest name of a job.
const MAX_TITLE: usize = 256;
/// Longest name of a user, a queue, a rack, and longest key of a submission.
const MAX_WORD: usize = 128;
/// Longest host name.
const MAX_HOST: usize = 253;
/// Longest path that systems take.
const MAX_PATH: usize = 4096;

/// A text for people; may be empty.
pub(super) fn title(field: &'static str, text: &str) -> Result<(), Refusal> {
    bounded(field, text, MAX_TITLE)?;
    printable(field, text)
}

/// A name by which something is found; may be empty where `required` is not set.
pub(super) fn word(field: &'static str, text: &str, required: bool) -> Result<(), Refusal> {
    if required && text.is_empty() {
        return Err(invalid(field, "it is empty"));
    }
    bounded(field, text, MAX_WORD)?;
    printable(field, text)?;
    spaceless(field, text)
}

/// A key: whatever a program makes up, within bounds.
pub(super) fn key(field: &'static str, text: &str) -> Result<(), Refusal> {
    bounded(field, text, MAX_WORD)?;
    printable(field, text)
}

/// A host name or an address.
pub(super) fn host(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(invalid(field, "it is empty"));
    }
    bounded(field, text, MAX_HOST)?;
    printable(field, text)?;
    spaceless(field, text)
}

/// A folder; may be empty.
pub(super) fn path(field: &'static str, text: &str) -> Result<(), Refusal> {
    bounded(field, text, MAX_PATH)?;
    nul_free(field, text)?;
    if text.is_empty() || text.starts_with('/') {
        Ok(())
    } else {
        Err(invalid(field, format!("{text:?} does not begin with /")))
    }
}

/// What a system takes as an argument or a variable.
pub(super) fn nul_free(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.contains('\0') { Err(invalid(field, "a byte of it is zero")) } else { Ok(()) }
}

fn bounded(field: &'static str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.len() > most {
        return Err(invalid(field, format!("{} bytes; at most {most} are possible", text.len())));
    }
    Ok(())
}

fn printable(field: &'static str, text: &str) -> Result<(), Refusal> {
    match text.chars().find(|c| c.is_control()) {
        Some(found) => Err(invalid(field, format!("{found:?} cannot be printed"))),
        None => Ok(()),
    }
}

fn spaceless(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.contains(char::is_whitespace) {
        return Err(invalid(field, format!("{text:?} has white space in it")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_or_shown_is_refused_by_name() {
        assert!(title("name", "a run of mine").is_ok());
        assert!(title("name", "").is_ok());
        assert!(title("name", &"x".repeat(257)).is_err());
        assert!(word("queue", "a b", true).is_err());
        assert!(word("queue", "", true).is_err());
        assert!(word("queue", "", false).is_ok());
        assert!(host("name", "a\u{1b}[0m").is_err());
        assert!(path("directory", "home").is_err());
        assert!(path("directory", "/home").is_ok());
        let text = nul_free("command", "a\0b").unwrap_err().to_string();
        assert_eq!(text, "command: a byte of it is zero");
    }
}
