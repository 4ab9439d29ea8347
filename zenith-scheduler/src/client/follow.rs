//! What a job writes, from before its first attempt until its end: through waiting, preemption and retries. The scheduler gives the log of
//! one attempt; this puts them together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep;
use zenith_proto::v1;

use super::{Client, ClientError};

/// Parts that wait for their reader before reading pauses.
const AHEAD: usize = 16;

/// How long the scheduler may be away, how often it is asked whether it is back, and how long it has to be there for a loss to be
/// over.
const AWAY: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(500);
const BACK: Duration = Duration::from_secs(5);

/// Which output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// The job.
    pub job: u64,
    /// One rank; all where absent.
    pub rank: Option<u32>,
    /// Begin with the last so many bytes of each stream of the present attempt; with all of it where absent.
    pub tail_bytes: Option<u64>,
}

type Sender = mpsc::Sender<Result<v1::LogsResponse, ClientError>>;

/// Parts, and at last perhaps what ended them too early.
pub type Parts = mpsc::Receiver<Result<v1::LogsResponse, ClientError>>;

impl Client {
    /// What a job writes until it has ended. Earlier attempts than the present one are left out. A loss of the connection that does not
    /// last is bridged, but for an attempt that was begun at its last bytes. Dropping the receiver ends it.
    pub fn follow(self, followed: Followed) -> Parts {
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            if let Err(error) = follow(self, followed, &sender).await {
                // A reader that has gone away wants no error.
                let _ = sender.send(Err(error)).await;
            }
        });
        receiver
    }
}

async fn follow(mut client: Client, followed: Followed, sender: &Sender) -> Result<(), ClientError> {
    let mut place =
        Place { next: None, tail_bytes: followed.tail_bytes, is_cut: false, heard: Heard::default() };
    let mut losses = Losses::default();
    loop {
        losses.ask(Instant::now());
        let error = match follow_on(&mut client, followed, &mut place, &mut losses, sender).await {
            Err(error) if error.is_passing() && !place.is_cut => error,
            outcome => return outcome,
        };
        if losses.last_too_long(Instant::now()) {
            return Err(error);
        }
        tokio::select! {
            () = sleep(AGAIN) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// Since when the scheduler has been away: it gave no answer, or none that stood for long.
#[derive(Debug, Default)]
struct Losses {
    /// The beginning of the first of a row of losses.
    since: Option<Instant>,
    /// When it was asked last, and when it answered.
    asked: Option<Instant>,
    answered: Option<Instant>,
}

impl Losses {
    /// It is asked once more.
    fn ask(&mut self, now: Instant) {
        (self.asked, self.answered) = (Some(now), None);
    }

    /// It has answered.
    fn answer(&mut self, now: Instant) {
        self.answered = self.answered.or(Some(now));
    }

    /// There was a loss: has it been away for too long? Waiting for an answer in vain is being away; what stood for a while was not.
    fn last_too_long(&mut self, now: Instant) -> bool {
        let since = match self.answered {
            Some(answered) if now - answered >= BACK => now,
            _ => self.since.or(self.asked).unwrap_or(now),
        };
        self.since = Some(since);
        now - since > AWAY
    }

    /// There was news.
    fn end(&mut self) {
        self.since = None;
    }
}

/// How far somebody has read.
struct Place {
    /// The attempt that is read next; the present one where absent.
    next: Option<u32>,
    /// Begin with so much of it.
    tail_bytes: Option<u64>,
    /// The attempt that is being read was not read from its beginning, so that nobody can say where in it one is.
    is_cut: bool,
    /// What has come of it.
    heard: Heard,
}

async fn follow_on(
    client: &mut Client,
    followed: Followed,
    place: &mut Place,
    losses: &mut Losses,
    sender: &Sender,
) -> Result<(), ClientError> {
    let Followed { job, rank, .. } = followed;
    let failing = client.failing();
    let mut changes = client.watch(vec![job]).await?;
    losses.answer(Instant::now());
    while let Some(change) = changes.message().await.map_err(&failing)? {
        let Some(now) = change.jobs.into_iter().rev().find(|now| now.id == job) else { continue };
        // Before all ranks run, their nodes may not know of them yet.
        if now.attempt == 0 || now.state() == v1::JobState::Starting {
            continue;
        }
        // What came and went unseen between two changes is read as well.
        for attempt in place.next.unwrap_or(now.attempt)..=now.attempt {
            place.next = Some(attempt);
            place.heard.begin();
            let tail_bytes = place.tail_bytes.take();
            place.is_cut |= tail_bytes.is_some();
            let request = v1::LogsRequest { job, rank, attempt, follow: true, tail_bytes };
            match client.logs(request).await {
                Ok(mut parts) => {
                    while let Some(part) = parts.message().await.map_err(&failing)? {
                        let Some(part) = place.heard.news(part) else { continue };
                        losses.end();
                        if sender.send(Ok(part)).await.is_err() {
                            return Ok(());
                        }
                    }
                }
                Err(ClientError::Refused { code, .. }) if code == "no_logs" => {}
                Err(error) => return Err(error),
            }
            (place.next, place.is_cut, place.heard) = (Some(attempt + 1), false, Heard::default());
        }
    }
    Ok(())
}

/// How much of each rank's streams has come: after a loss an attempt is read once more from its beginning.
#[derive(Debug, Default)]
struct Heard {
    /// Up to where each has come, in all readings.
    upto: BTreeMap<(u32, i32), u64>,
    /// Where this reading is.
    at: BTreeMap<(u32, i32), u64>,
}

impl Heard {
    /// Reading begins at the beginning.
    fn begin(&mut self) {
        self.at.clear();
    }

    /// What of a part has not come before.
    fn news(&mut self, mut part: v1::LogsResponse) -> Option<v1::LogsResponse> {
        let which = (part.rank, part.stream);
        let (at, upto) = (self.at.entry(which).or_default(), self.upto.entry(which).or_default());
        let begin = at.saturating_add(part.dropped);
        let end = begin.saturating_add(part.data.len() as u64);
        *at = end;
        if end <= *upto {
            return None;
        }
        let known = usize::try_from(upto.saturating_sub(begin)).unwrap_or(usize::MAX);
        part.data.drain(..known.min(part.data.len()));
        part.dropped = begin.saturating_sub(*upto);
        *upto = end;
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A text from a place on, in parts that end at these places.
    fn parts(text: &[u8], from: usize, ends: &[usize]) -> Vec<v1::LogsResponse> {
        let mut ends: Vec<usize> =
            ends.iter().copied().filter(|end| (from + 1..text.len()).contains(end)).collect();
        ends.push(text.len());
        ends.sort_unstable();
        ends.dedup();
        let mut begin = from;
        let part = |end: usize| {
            let dropped = if begin == from { from as u64 } else { 0 };
            let data = text[begin..end].to_vec();
            begin = end;
            v1::LogsResponse { rank: 3, stream: 1, data, dropped }
        };
        ends.into_iter().map(part).collect()
    }

    /// Asks at a second, is answered at another if at all, and loses the connection at a third: whether that is too long.
    fn lose(losses: &mut Losses, begin: Instant, (asked, answered, lost): (u64, Option<u64>, u64)) -> bool {
        let at = |seconds| begin + Duration::from_secs(seconds);
        losses.ask(at(asked));
        if let Some(answered) = answered {
            losses.answer(at(answered));
        }
        losses.last_too_long(at(lost))
    }

    #[test]
    fn a_scheduler_that_does_not_come_back_is_given_up() {
        let (mut losses, begin) = (Losses::default(), Instant::now());
        assert!((0..=60).all(|second| !lose(&mut losses, begin, (second, None, second))));
        assert!(lose(&mut losses, begin, (61, None, 61)));
        losses.end();
        assert!(!lose(&mut losses, begin, (62, None, 62)), "there was news");
    }

    #[test]
    fn one_that_is_there_but_gives_no_answer_is_given_up() {
        let (mut losses, begin) = (Losses::default(), Instant::now());
        assert!(!lose(&mut losses, begin, (0, None, 60)));
        assert!(lose(&mut losses, begin, (61, None, 121)));
        let mut losses = Losses::default();
        assert!((0..=60).all(|second| !lose(&mut losses, begin, (second, Some(second), second))));
        assert!(lose(&mut losses, begin, (61, Some(61), 61)), "nor one that answers and goes at once");
    }

    #[test]
    fn losses_after_which_it_was_there_again_are_bridged_for_ever() {
        let (mut losses, begin) = (Losses::default(), Instant::now());
        assert!((0..100).all(|turn| !lose(&mut losses, begin, (31 * turn, Some(31 * turn), 31 * turn + 30))));
        let later = 31 * 100;
        assert!(!lose(&mut losses, begin, (later, None, later + 30)), "away since it was lost");
        assert!(lose(&mut losses, begin, (later + 31, None, later + 61)));
    }

    proptest! {
        #[test]
        fn whatever_is_lost_everything_comes_once(
            text in prop::collection::vec(any::<u8>(), 1..200),
            readings in prop::collection::vec(
                (0..200_usize, prop::collection::vec(0..200_usize, 0..9), 0..12_usize), 0..4),
        ) {
            let mut heard = Heard::default();
            let (mut come, mut gone, mut rotated) = (Vec::<Option<u8>>::new(), 0, 0);
            let count = readings.len();
            for (number, (from, ends, most)) in readings.into_iter().chain([(0, vec![], 1)]).enumerate() {
                // Rotation goes on meanwhile, and no reading but the last is sure to come to the end.
                rotated = rotated.max(from % text.len());
                let mut said = parts(&text, rotated, &ends);
                if number < count {
                    said.truncate(most);
                }
                heard.begin();
                for part in said.into_iter().filter_map(|part| heard.news(part)) {
                    gone += part.dropped;
                    come.extend(vec![None; part.dropped as usize]);
                    come.extend(part.data.into_iter().map(Some));
                }
            }
            prop_assert_eq!(come.len(), text.len());
            prop_assert!(gone <= rotated as u64);
            prop_assert!(come.iter().zip(&text).all(|(come, byte)| come.is_none_or(|come| come == *byte)));
        }
    }
}
