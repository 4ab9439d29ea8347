//! What people type and see: spans of time, memory, ranges of nodes and jobs, topologies, dependencies. Read and written in one place,
//! for the command and for Python.

use std::fmt;

use zenith_proto::v1;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Most jobs that one range may name.
pub const MOST_JOBS: u64 = 1_000_000;

/// Words that mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}; write it as {example}")]
pub struct NotationError {
    text: String,
    what: &'static str,
    example: &'static str,
}

fn wrong(text: &str, what: &'static str, example: &'static str) -> NotationError {
    NotationError { text: text.to_owned(), what, example }
}

/// A span of time in milliseconds: `90m`, `1h30m`, `45s`, `2d`, or as Slurm has it: `MINUTES`, `MINUTES:SECONDS`,
/// `HOURS:MINUTES:SECONDS`, `DAYS-HOURS`, `DAYS-HOURS:MINUTES`, `DAYS-HOURS:MINUTES:SECONDS`.
///
/// # Errors
/// Other words, and zero.
pub fn span_ms(text: &str) -> Result<u64, NotationError> {
    let span = if text.contains(|c: char| c.is_ascii_alphabetic()) { units(text) } else { slurm(text) };
    let fail = || wrong(text, "span of time", "90m, 1h30m, 12:00:00 or 1-12:00:00");
    span.filter(|span| *span > 0).ok_or_else(fail)
}

fn units(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0u64;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            _ => return None,
        };
        // Larger units first, each once.
        if unit >= last {
            return None;
        }
        last = unit;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = after;
    }
    Some(total)
}

fn slurm(text: &str) -> Option<u64> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days.parse::<u64>().ok()?), rest),
        None => (None, text),
    };
    let parts: Vec<u64> = rest.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match (days, parts.as_slice()) {
        (None, [minutes]) => (0, *minutes, 0),
        (None, [minutes, seconds]) => (0, *minutes, *seconds),
        (None | Some(_), [hours, minutes, seconds]) => (*hours, *minutes, *seconds),
        (Some(_), [hours]) => (*hours, 0, 0),
        (Some(_), [hours, minutes]) => (*hours, *minutes, 0),
        _ => return None,
    };
    days.unwrap_or(0)
        .checked_mul(DAY)?
        .checked_add(hours.checked_mul(HOUR)?)?
        .checked_add(minutes.checked_mul(MINUTE)?)?
        .checked_add(seconds.checked_mul(1000)?)
}

/// Memory in MiB: `16G`, `512M`, `1T`; a number alone is MiB, as Slurm has it.
///
/// # Errors
/// Other words, and parts of a MiB.
pub fn memory_mib(text: &str) -> Result<u64, NotationError> {
    let fail = || wrong(text, "amount of memory", "16G, 512M or 1T");
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or(lower.strip_suffix('b')).unwrap_or(&lower);
    let (number, mib) = match lower.as_bytes().last() {
        Some(b'm') => (&lower[..lower.len() - 1], 1),
        Some(b'g') => (&lower[..lower.len() - 1], 1 << 10),
        Some(b't') => (&lower[..lower.len() - 1], 1 << 20),
        _ => (lower, 1),
    };
    let number: u64 = number.parse().map_err(|_| fail())?;
    number.checked_mul(mib).ok_or_else(fail)
}

/// Nodes, fewest and most: `2`, `2..4`, or `2-4` as Slurm has it.
///
/// # Errors
/// Other words.
pub fn nodes(text: &str) -> Result<(u32, u32), NotationError> {
    let (min, max) = text.split_once("..").or_else(|| text.split_once('-')).unwrap_or((text, text));
    let fail = |_| wrong(text, "number of nodes", "2 or 2..4");
    Ok((min.parse().map_err(fail)?, max.parse().map_err(fail)?))
}

/// How near GPUs have to be: `nvlink`, `numa`, `node`, `rack`; with `:required` it is a condition.
///
/// # Errors
/// Other words.
pub fn topology(text: &str) -> Result<(v1::TopologyLevel, bool), NotationError> {
    let fail = || wrong(text, "topology", "nvlink, numa, node or rack, each with :required or without");
    let (level, condition) = text.split_once(':').unwrap_or((text, "preferred"));
    let level = match level {
        "nvlink" => v1::TopologyLevel::Nvlink,
        "numa" => v1::TopologyLevel::Numa,
        "node" => v1::TopologyLevel::Node,
        "rack" => v1::TopologyLevel::Rack,
        _ => return Err(fail()),
    };
    match condition {
        "required" => Ok((level, true)),
        "preferred" => Ok((level, false)),
        _ => Err(fail()),
    }
}

/// A topology as a word; None where nothing was said.
pub fn topology_word(level: v1::TopologyLevel) -> Option<&'static str> {
    match level {
        v1::TopologyLevel::Unspecified => None,
        v1::TopologyLevel::Nvlink => Some("nvlink"),
        v1::TopologyLevel::Numa => Some("numa"),
        v1::TopologyLevel::Node => Some("node"),
        v1::TopologyLevel::Rack => Some("rack"),
    }
}

/// Whether a node is heard, as a word.
pub fn contact(contact: v1::NodeContact) -> &'static str {
    match contact {
        v1::NodeContact::Unspecified => "unknown",
        v1::NodeContact::Up => "up",
        v1::NodeContact::Silent => "silent",
        v1::NodeContact::Lost => "lost",
    }
}

/// What one process has: `gpu`, or everything of a `node`. Whether it is the latter.
///
/// # Errors
/// Other words.
pub fn rank_per_node(text: &str) -> Result<bool, NotationError> {
    match text {
        "gpu" => Ok(false),
        "node" => Ok(true),
        _ => Err(wrong(text, "share of a process", "gpu or node")),
    }
}

/// What has to end first: `12` or `12:ok` for good, `12:any` somehow; `afterok:12` and `afterany:12` as Slurm has it.
///
/// # Errors
/// Other words.
pub fn dependency(text: &str) -> Result<v1::Dependency, NotationError> {
    let (job, completed) = match text.split_once(':') {
        None => (text, true),
        Some(("afterok", job)) => (job, true),
        Some(("afterany", job)) => (job, false),
        Some((job, "ok")) => (job, true),
        Some((job, "any")) => (job, false),
        Some(_) => ("", true),
    };
    let job = job.parse().map_err(|_| wrong(text, "dependency", "12, 12:ok or 12:any"))?;
    Ok(v1::Dependency { job, completed })
}

/// Jobs, first and last: `12`, or `12-20`.
///
/// # Errors
/// Other words; ranges that are empty or name more than [`MOST_JOBS`].
pub fn jobs(text: &str) -> Result<(u64, u64), NotationError> {
    let fail = || wrong(text, "job", "12, or 12-20 for several");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: u64 = first.parse().map_err(|_| fail())?;
    let last: u64 = last.parse().map_err(|_| fail())?;
    if last < first || last - first >= MOST_JOBS { Err(fail()) } else { Ok((first, last)) }
}

/// A state as a word.
pub fn state(state: v1::JobState) -> &'static str {
    match state {
        v1::JobState::Unspecified => "unknown",
        v1::JobState::Held => "held",
        v1::JobState::Waiting => "waiting",
        v1::JobState::Queued => "queued",
        v1::JobState::Starting => "starting",
        v1::JobState::Running => "running",
        v1::JobState::Stopping => "stopping",
        v1::JobState::Completed => "completed",
        v1::JobState::Failed => "failed",
        v1::JobState::Cancelled => "cancelled",
    }
}

/// The state that a word means.
///
/// # Errors
/// Other words.
pub fn state_of(text: &str) -> Result<v1::JobState, NotationError> {
    let all = UNFINISHED.iter().chain(&FINISHED);
    let found = all.copied().find(|known| state(*known) == text);
    found.ok_or_else(|| {
        wrong(
            text,
            "state",
            "held, waiting, queued, starting, running, stopping, completed, failed or cancelled",
        )
    })
}

/// The states of jobs that have not ended.
pub const UNFINISHED: [v1::JobState; 6] = [
    v1::JobState::Held,
    v1::JobState::Waiting,
    v1::JobState::Queued,
    v1::JobState::Starting,
    v1::JobState::Running,
    v1::JobState::Stopping,
];

/// The states of jobs that have ended.
pub const FINISHED: [v1::JobState; 3] =
    [v1::JobState::Completed, v1::JobState::Failed, v1::JobState::Cancelled];

/// A span of time as people read it: `0:07`, `12:34`, `3:00:00`, `2-03:00:00`.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0 / DAY, self.0 % DAY);
        let (hours, minutes, seconds) = (rest / HOUR, rest % HOUR / MINUTE, rest % MINUTE / 1000);
        match (days, hours) {
            (0, 0) => write!(f, "{minutes}:{seconds:02}"),
            (0, _) => write!(f, "{hours}:{minutes:02}:{seconds:02}"),
            _ => write!(f, "{days}-{hours:02}:{minutes:02}:{seconds:02}"),
        }
    }
}

/// Memory as people read it: `512M`, `16G`, `1.5T`.
#[derive(Clone, Copy, Debug)]
pub struct Memory(pub u64);

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_units = |f: &mut fmt::Formatter<'_>, mib: u64, unit| match self.0 % mib {
            0 => write!(f, "{}{unit}", self.0 / mib),
            _ => write!(f, "{:.1}{unit}", self.0 as f64 / mib as f64),
        };
        match self.0 {
            0..1024 => write!(f, "{}M", self.0),
            1024..1_048_576 => in_units(f, 1 << 10, 'G'),
            _ => in_units(f, 1 << 20, 'T'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_written() {
        for (text, ms) in [
            ("90m", 90 * MINUTE),
            ("1h30m", 90 * MINUTE),
            ("45s", 45_000),
            ("2d", 2 * DAY),
            ("250ms", 250),
            ("30", 30 * MINUTE),
            ("1:30", MINUTE + 30_000),
            ("12:00:00", 12 * HOUR),
            ("1-12", 36 * HOUR),
            ("1-12:30", 36 * HOUR + 30 * MINUTE),
            ("1-12:00:00", 36 * HOUR),
        ] {
            assert_eq!(span_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "0", "m", "1x", "30m1h", "1h1h", "1:2:3:4", "-5", "1-", "99999999999999d", "1.5h"] {
            assert!(span_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_written_as_they_are_read() {
        for (ms, text) in [
            (0, "0:00"),
            (7_900, "0:07"),
            (754_000, "12:34"),
            (3 * HOUR, "3:00:00"),
            (51 * HOUR, "2-03:00:00"),
        ] {
            assert_eq!(Span(ms).to_string(), text);
        }
        assert_eq!(span_ms(&Span(51 * HOUR).to_string()), Ok(51 * HOUR));
    }

    #[test]
    fn memory_is_in_mib() {
        for (text, mib) in [
            ("16G", 16 << 10),
            ("512M", 512),
            ("1T", 1 << 20),
            ("2048", 2048),
            ("8GiB", 8 << 10),
            ("4gb", 4 << 10),
        ] {
            assert_eq!(memory_mib(text), Ok(mib), "{text}");
        }
        for text in ["", "G", "1.5G", "16K", "-1", "99999999999999T"] {
            assert!(memory_mib(text).is_err(), "{text}");
        }
        assert_eq!(
            [512, 16 << 10, 1536, 3 << 19].map(|mib| Memory(mib).to_string()),
            ["512M", "16G", "1.5G", "1.5T"]
        );
    }

    #[test]
    fn ranges_topologies_and_dependencies() {
        assert_eq!((nodes("2"), nodes("2..4"), nodes("2-4")), (Ok((2, 2)), Ok((2, 4)), Ok((2, 4))));
        assert_eq!((jobs("12"), jobs("12-20")), (Ok((12, 12)), Ok((12, 20))));
        assert!(
            jobs("20-12").is_err() && jobs("0-1000000").is_err() && jobs("x").is_err() && nodes("").is_err()
        );
        assert_eq!(topology("rack"), Ok((v1::TopologyLevel::Rack, false)));
        assert_eq!(topology("nvlink:required"), Ok((v1::TopologyLevel::Nvlink, true)));
        assert!(topology("rack:maybe").is_err() && topology("room").is_err());
        let of = |job, completed| Ok(v1::Dependency { job, completed });
        assert_eq!(
            (dependency("12"), dependency("12:ok"), dependency("afterok:12")),
            (of(12, true), of(12, true), of(12, true))
        );
        assert_eq!((dependency("12:any"), dependency("afterany:12")), (of(12, false), of(12, false)));
        assert!(dependency("12:never").is_err() && dependency("").is_err());
    }

    #[test]
    fn every_state_has_a_word() {
        for known in UNFINISHED.into_iter().chain(FINISHED) {
            assert_eq!(state_of(state(known)), Ok(known));
        }
        assert!(state_of("unknown").is_err());
    }
}
