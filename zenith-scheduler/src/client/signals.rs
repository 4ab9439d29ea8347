//! Signals as people name them, for the command and for Python. Sending one is the scheduler's.

/// Names by number, from 1, as Linux has them on x86-64 and ARM, where the nodes are.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names for the same.
const ALIASES: [(&str, u32); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];

/// A word that names no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no signal; write it as USR1, SIGUSR1 or 10 (1 to 31)")]
pub struct NoSignal(String);

/// The number of a signal: `USR1`, `SIGUSR1`, or `10`.
///
/// # Errors
/// Other words, and numbers beyond 1 to 31.
pub fn number(text: &str) -> Result<u32, NoSignal> {
    let unknown = || NoSignal(text.to_owned());
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=NAMES.len() as u32).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = (1..).zip(NAMES).map(|(number, known)| (known, number));
    known.chain(ALIASES).find(|(known, _)| *known == name).map(|(_, number)| number).ok_or_else(unknown)
}

/// Its name, such as `SIGUSR1`; the number where it has none.
pub fn name(number: u32) -> String {
    let name = (number as usize).checked_sub(1).and_then(|place| NAMES.get(place));
    name.map_or_else(|| number.to_string(), |name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_system() {
        for (name, number) in [
            ("HUP", libc::SIGHUP),
            ("INT", libc::SIGINT),
            ("KILL", libc::SIGKILL),
            ("USR1", libc::SIGUSR1),
            ("USR2", libc::SIGUSR2),
            ("TERM", libc::SIGTERM),
            ("CHLD", libc::SIGCHLD),
            ("CONT", libc::SIGCONT),
            ("STOP", libc::SIGSTOP),
            ("XCPU", libc::SIGXCPU),
            ("WINCH", libc::SIGWINCH),
            ("SYS", libc::SIGSYS),
        ] {
            assert_eq!(super::number(name), Ok(number as u32), "{name}");
        }
    }

    #[test]
    fn every_notation_leads_to_the_same_number_and_back() {
        for known in 1..=31 {
            let name = name(known);
            assert_eq!(number(&name), Ok(known), "{name}");
            assert_eq!(number(&name.to_lowercase()), Ok(known), "{name}");
            assert_eq!(number(name.trim_start_matches("SIG")), Ok(known), "{name}");
            assert_eq!(number(&known.to_string()), Ok(known));
        }
        assert_eq!((number("POLL"), number("SIGIOT")), (Ok(29), Ok(6)));
        assert_eq!(name(64), "64");
    }

    #[test]
    fn what_names_none_is_refused_with_an_example() {
        for wrong in ["0", "32", "-9", "", "SIG", "USR3", "SIGSIGHUP", "1.5"] {
            let error = number(wrong).unwrap_err().to_string();
            assert!(error.contains("SIGUSR1"), "{error}");
        }
    }
}
