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

/// How long the scheduler may be away, and how often it is asked whether it is back.
const AWAY: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(500);

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

/// Losses of the connection one soon after another, with no news between them.
#[derive(Debug, Default)]
struct Losses {
    first_and_last: Option<(Instant, Instant)>,
}

impl Losses {
    /// There was one more: have they gone on for too long? One that comes long after the last has nothing to do with it.
    fn last_too_long(&mut self, now: Instant) -> bool {
        let first =
            self.first_and_last.filter(|(_, last)| now - *last <= AWAY).map_or(now, |(first, _)| first);
        self.first_and_last = Some((first, now));
        now - first > AWAY
    }

    fn end(&mut self) {
        self.first_and_last = None;
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

    #[test]
    fn losses_that_follow_each_other_are_one_and_those_far_apart_are_not() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut losses = Losses::default();
        assert!((0..=60).all(|second| !losses.last_too_long(at(second))));
        assert!(losses.last_too_long(at(61)));
        losses.end();
        assert!(!losses.last_too_long(at(62)), "there was news");
        assert!(!losses.last_too_long(at(122)));
        assert!(!losses.last_too_long(at(183)), "long after the last one");
        assert!(!losses.last_too_long(at(243)));
        assert!(losses.last_too_long(at(244)));
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
