//! What a supervisor writes down of its attempt: one line a record, for programs and for people. Text only; the file is
//! `status`'s.

use std::fmt;

use zenith_proto::v1;
use zenith_proto::v1::Fault;

/// Ends every record, so that one of which only a part reached the disk is not taken for a shorter one.
const END: &str = " .";

/// Something that happened to an attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// The attempt belongs to whoever wrote this. Always the first.
    Begun(Begun),
    /// What could not be done for it.
    Note(String),
    /// A process runs.
    Started { rank: u32, pid: i32 },
    /// A process has ended, or could not be started.
    Exited { rank: u32, how: How, usage: v1::Usage },
    /// So many bytes of its logs are on disk.
    Kept(u64),
    /// No process is left. Always the last.
    Gone,
}

/// Who looks after an attempt, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// The supervisor, and with it the session that its ranks are in; 0 where there was none.
    pub(crate) pid: i32,
    /// When it was started, in ticks since boot: a process of the same number is another one.
    pub(crate) ticks: u64,
    /// Which boot of the machine that was.
    pub(crate) boot: String,
    pub(crate) rank_offset: u32,
    pub(crate) ranks: u32,
    pub(crate) master_port: u32,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Code(i32),
    Signal(i32),
    /// Killed because it took more memory than it had asked for.
    OutOfMemory,
    NotStarted(Refused),
}

/// Why a process could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) fault: Fault,
    pub(crate) why: String,
}

impl Refused {
    /// It would not start anywhere.
    pub(crate) fn by_job(why: impl Into<String>) -> Self {
        Self { fault: Fault::Job, why: why.into() }
    }

    /// It would start elsewhere.
    pub(crate) fn by_node(why: impl Into<String>) -> Self {
        Self { fault: Fault::Node, why: why.into() }
    }

    /// It would start with another port.
    pub(crate) fn by_port(why: impl Into<String>) -> Self {
        Self { fault: Fault::Port, why: why.into() }
    }

    /// Nobody can say whether it would start elsewhere.
    pub(crate) fn by_either(why: impl Into<String>) -> Self {
        Self { fault: Fault::Unspecified, why: why.into() }
    }
}

/// The words for failed starts. The first one is the oldest.
const FAULTS: [(&str, Fault); 4] = [
    ("failed", Fault::Unspecified),
    ("unfit", Fault::Job),
    ("broken", Fault::Node),
    ("portless", Fault::Port),
];

impl Record {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let line = line.strip_suffix(END)?;
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split(' ');
        let record = match kind {
            "begun" => Self::Begun(Begun {
                pid: number(&mut words)?,
                ticks: number(&mut words)?,
                boot: words.next()?.to_owned(),
                rank_offset: number(&mut words)?,
                ranks: number(&mut words)?,
                master_port: number(&mut words)?,
            }),
            "note" => return Some(Self::Note(rest.to_owned())),
            "started" => Self::Started { rank: number(&mut words)?, pid: number(&mut words)? },
            "code" | "signal" | "memory" => {
                let rank = number(&mut words)?;
                let how = match kind {
                    "code" => How::Code(number(&mut words)?),
                    "signal" => How::Signal(number(&mut words)?),
                    _ => How::OutOfMemory,
                };
                let usage = v1::Usage {
                    user_ms: number(&mut words)?,
                    system_ms: number(&mut words)?,
                    max_rss_kib: number(&mut words)?,
                };
                Self::Exited { rank, how, usage }
            }
            "kept" => Self::Kept(number(&mut words)?),
            "gone" if rest.is_empty() => return Some(Self::Gone),
            _ => {
                let (_, fault) = FAULTS.into_iter().find(|(word, _)| *word == kind)?;
                let (rank, why) = rest.split_once(' ')?;
                let how = How::NotStarted(Refused { fault, why: why.to_owned() });
                return Some(Self::Exited { rank: rank.parse().ok()?, how, usage: v1::Usage::default() });
            }
        };
        words.next().is_none().then_some(record)
    }
}

fn number<'a, T: std::str::FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Option<T> {
    words.next()?.parse().ok()
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun(Begun { pid, ticks, boot, rank_offset, ranks, master_port }) => {
                write!(f, "begun {pid} {ticks} {boot} {rank_offset} {ranks} {master_port}")?;
            }
            Self::Note(text) => write!(f, "note {}", OneLine(text))?,
            Self::Started { rank, pid } => write!(f, "started {rank} {pid}")?,
            Self::Exited { rank, how, usage } => {
                let v1::Usage { user_ms, system_ms, max_rss_kib } = usage;
                match how {
                    How::Code(code) => write!(f, "code {rank} {code} {user_ms} {system_ms} {max_rss_kib}")?,
                    How::Signal(signal) => {
                        write!(f, "signal {rank} {signal} {user_ms} {system_ms} {max_rss_kib}")?;
                    }
                    How::OutOfMemory => write!(f, "memory {rank} {user_ms} {system_ms} {max_rss_kib}")?,
                    How::NotStarted(Refused { fault, why }) => {
                        let named = FAULTS.iter().find(|(_, named)| named == fault);
                        let word = named.map_or(FAULTS[0].0, |(word, _)| *word);
                        write!(f, "{word} {rank} {}", OneLine(why))?;
                    }
                }
            }
            Self::Kept(bytes) => write!(f, "kept {bytes}")?,
            Self::Gone => f.write_str("gone")?,
        }
        f.write_str(END)
    }
}

/// Text without anything that would end its line.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(char::is_control) {
            match part.strip_suffix(char::is_control) {
                Some(plain) => write!(f, "{plain} ")?,
                None => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// The whole records of a text, and how many bytes of it they take: what follows is not finished yet.
pub(crate) fn records(text: &[u8]) -> (Vec<Record>, usize) {
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines = text[..end].split(|byte| *byte == b'\n');
    // What is no record is the rest of a write that was cut short.
    let whole = lines.filter_map(|line| Record::parse(str::from_utf8(line).ok()?));
    (whole.collect(), end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let usage = any::<(u64, u64, u64)>().prop_map(|(user_ms, system_ms, max_rss_kib)| v1::Usage {
            user_ms,
            system_ms,
            max_rss_kib,
        });
        let how = prop_oneof![
            any::<i32>().prop_map(How::Code),
            any::<i32>().prop_map(How::Signal),
            Just(How::OutOfMemory)
        ];
        let fault = prop::sample::select(FAULTS.map(|(_, fault)| fault).to_vec());
        prop_oneof![
            (any::<i32>(), any::<u64>(), "[0-9a-f@-]{1,50}", any::<(u32, u32, u32)>()).prop_map(
                |(pid, ticks, boot, (rank_offset, ranks, master_port))| {
                    Record::Begun(Begun { pid, ticks, boot, rank_offset, ranks, master_port })
                }
            ),
            "[^\\p{Cc}]*".prop_map(Record::Note),
            any::<(u32, i32)>().prop_map(|(rank, pid)| Record::Started { rank, pid }),
            (any::<u32>(), how, usage).prop_map(|(rank, how, usage)| Record::Exited { rank, how, usage }),
            (any::<u32>(), fault, "[^\\p{Cc}]*").prop_map(|(rank, fault, why)| Record::Exited {
                rank,
                how: How::NotStarted(Refused { fault, why }),
                usage: v1::Usage::default()
            }),
            any::<u64>().prop_map(Record::Kept),
            Just(Record::Gone),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(written in proptest::collection::vec(any_record(), 0..8)) {
            let text: String = written.iter().map(|record| format!("{record}\n")).collect();
            prop_assert_eq!(records(text.as_bytes()), (written, text.len()));
        }

        #[test]
        fn what_is_cut_short_is_not_read(record in any_record(), cut in any::<prop::sample::Index>()) {
            let line = record.to_string();
            let cut = cut.index(line.len());
            prop_assume!(line.is_char_boundary(cut));
            // A note may have the mark within: then the cut text is a note of its own, which harms nothing.
            let read = Record::parse(&line[..cut]);
            prop_assert!(read.is_none() || line[..cut].ends_with(END), "{:?}", read);
            let (none, taken) = records(&line.as_bytes()[..cut]);
            prop_assert_eq!((none.len(), taken), (0, 0));
        }

        #[test]
        fn nothing_makes_it_panic(text in any::<Vec<u8>>()) {
            records(&text);
        }
    }

    #[test]
    fn text_stays_in_its_line() {
        let record = Record::Note("a\nb\r\u{85}c".to_owned());
        assert_eq!(record.to_string(), "note a b  c .");
    }

    #[test]
    fn a_record_after_a_torn_one_is_read() {
        let (read, _) = records(b"started 1 12\nstarted 1 123 .\ngone .\n");
        assert_eq!(read, [Record::Started { rank: 1, pid: 123 }, Record::Gone]);
    }
}
