//! What the agent knows of one attempt, and what is to be reported when its supervisor has written something down. Pure.

use std::ops::Range;
use std::time::Instant;

use zenith_proto::v1;
use zenith_proto::v1::Fault;
use zenith_proto::v1::rank_exited::How as Reported;
use zenith_proto::v1::report::What;

use super::record::{Begun, How, Record, Refused};

/// One attempt on this node.
#[derive(Debug)]
pub(crate) struct Run {
    /// What it is, until its supervisor has begun.
    pub(crate) request: Option<Request>,
    /// Who looks after it.
    pub(crate) begun: Option<Begun>,
    /// It is to be ended, by that signal, as soon as there is somebody to tell.
    pub(crate) asked: Option<Ask>,
    /// Signals to pass on as soon as there is somebody to tell.
    pub(crate) signals: Vec<i32>,
    /// How far its status file has been read.
    pub(crate) offset: u64,
    /// Bytes of its logs, once it is over.
    pub(crate) kept: u64,
    /// No process is left.
    pub(crate) gone: bool,
    /// Its supervisor is dead and its processes are being killed.
    pub(crate) burying: bool,
    started: bool,
    exited: Vec<u32>,
    notes: Vec<String>,
}

/// A start that has been passed on.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) start: v1::Start,
    pub(crate) since: Instant,
    /// How often.
    pub(crate) tries: u32,
}

/// How an attempt is to end. The later the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ask {
    End,
    Kill,
}

impl Run {
    pub(crate) fn requested(start: v1::Start, since: Instant) -> Self {
        Self { request: Some(Request { start, since, tries: 1 }), ..Self::found() }
    }

    /// One whose status file was there before us.
    pub(crate) fn found() -> Self {
        Self {
            request: None,
            begun: None,
            asked: None,
            signals: Vec::new(),
            offset: 0,
            kept: 0,
            gone: false,
            burying: false,
            started: false,
            exited: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn master_port(&self) -> u32 {
        let requested = || self.request.as_ref().map_or(0, |request| request.start.master_port);
        self.begun.as_ref().map_or_else(requested, |begun| begun.master_port)
    }

    fn ranks(&self) -> Range<u32> {
        self.begun
            .as_ref()
            .map_or(0..0, |begun| begun.rank_offset..begun.rank_offset.saturating_add(begun.ranks))
    }

    /// What to write down for a supervisor that is dead and whose processes are, too.
    pub(crate) fn last_words(&self) -> Vec<Record> {
        let left = self.ranks().filter(|rank| !self.exited.contains(rank));
        let killed =
            |rank| Record::Exited { rank, how: How::Signal(libc::SIGKILL), usage: v1::Usage::default() };
        left.map(killed).chain([Record::Gone]).collect()
    }

    /// Takes note of a record and says what to report, by rank.
    pub(crate) fn hear(&mut self, record: Record) -> Option<(u32, What)> {
        match record {
            Record::Begun(begun) => {
                self.begun = Some(begun);
                self.request = None;
                None
            }
            Record::Note(note) => {
                if !self.started {
                    self.notes.push(note);
                    return None;
                }
                // One that comes late is said with another word of a start, which is no news in itself.
                let late = v1::RankStarted { notes: vec![note] };
                Some((self.ranks().start, What::Started(late)))
            }
            Record::Started { rank, .. } => {
                self.started = true;
                let notes = std::mem::take(&mut self.notes);
                Some((rank, What::Started(v1::RankStarted { notes })))
            }
            Record::Exited { rank, how, usage } => {
                self.exited.push(rank);
                let (how, fault) = match how {
                    How::Code(code) => (Reported::Code(code), Fault::Unspecified),
                    How::Signal(signal) => (Reported::Signal(signal), Fault::Unspecified),
                    How::OutOfMemory => (Reported::Signal(libc::SIGKILL), Fault::Job),
                    How::NotStarted(Refused { fault, why }) => (Reported::NotStarted(why), fault),
                };
                let exited = v1::RankExited { how: Some(how), usage: Some(usage), fault: fault.into() };
                Some((rank, What::Exited(exited)))
            }
            Record::Kept(bytes) => {
                self.kept = bytes;
                None
            }
            Record::Gone if self.gone => None,
            Record::Gone => {
                self.gone = true;
                Some((0, What::Gone(v1::AttemptGone {})))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Record {
        let boot = "b".to_owned();
        Record::Begun(Begun { pid: 9, ticks: 1, boot, rank_offset: 4, ranks: 3, master_port: 77 })
    }

    fn exited(rank: u32) -> Record {
        Record::Exited { rank, how: How::Code(0), usage: v1::Usage::default() }
    }

    #[test]
    fn notes_are_said_once_with_the_first_rank_and_late_ones_on_their_own() {
        let mut run = Run::found();
        let note = |text: &str| Record::Note(text.to_owned());
        let said = |heard: Option<(u32, What)>| match heard {
            Some((rank, What::Started(started))) => (rank, started.notes),
            other => panic!("{other:?}"),
        };
        assert_eq!(run.hear(begun()), None);
        assert_eq!(run.hear(note("a")), None);
        assert_eq!(run.hear(note("b")), None);
        assert_eq!(said(run.hear(Record::Started { rank: 5, pid: 1 })), (5, vec!["a".into(), "b".into()]));
        assert_eq!(said(run.hear(Record::Started { rank: 4, pid: 2 })), (4, vec![]));
        assert_eq!(said(run.hear(note("c"))), (4, vec!["c".into()]));
    }

    #[test]
    fn the_last_words_name_whoever_was_left() {
        let mut run = Run::found();
        run.hear(begun());
        run.hear(exited(5));
        let killed = |rank| Record::Exited { rank, how: How::Signal(9), usage: v1::Usage::default() };
        assert_eq!(run.last_words(), [killed(4), killed(6), Record::Gone]);
    }

    #[test]
    fn an_end_is_said_once() {
        let mut run = Run::found();
        run.hear(begun());
        assert!(run.hear(Record::Gone).is_some());
        assert_eq!(run.hear(Record::Gone), None);
    }

    #[test]
    fn a_request_is_over_when_somebody_has_begun() {
        let start = v1::Start { master_port: 5, ..Default::default() };
        let mut run = Run::requested(start, Instant::now());
        assert_eq!(run.master_port(), 5);
        run.hear(begun());
        assert!(run.request.is_none());
        assert_eq!(run.master_port(), 77);
        assert!(Ask::Kill > Ask::End);
    }
}
