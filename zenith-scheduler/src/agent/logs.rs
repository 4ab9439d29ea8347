//! Reading and following logs, a part at a time: no faster than the controller takes them, and never on the agent's own
//! thread, which a slow disk must not stop.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use zenith_proto::v1;
use zenith_proto::v1::agent_message::Kind;

use super::layout::{Key, Layout, log_of};
use super::nursery::rotate::dropped;

/// Bytes of one part.
const PART: usize = 32 * 1024;

/// How often a log that is followed is looked at: one that has just grown, and one that has not for long.
const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_millis(250);

/// Where an attempt is, as far as its readers are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// Nothing will be written any more.
    Ended,
    /// Nobody wants to know.
    Unwanted,
}

/// A log that is being read.
#[derive(Debug)]
struct Open {
    file: File,
    at: u64,
    /// Bytes that rotation took before they were read, and that nobody has been told of.
    missed: u64,
}

type Which = (u32, i32);

/// Answers one request: what there is, and what comes where it is followed. The answers end with one that is the last.
pub(crate) async fn serve(
    layout: Layout,
    request: v1::ReadLog,
    mut phase: watch::Receiver<Phase>,
    out: mpsc::Sender<v1::AgentMessage>,
) {
    let key = Key { job: request.job, attempt: request.attempt };
    let mut open = BTreeMap::new();
    let mut pause = SOON;
    loop {
        // Looked at before the logs are, so that what was written before the end is not missed.
        let now = *phase.borrow_and_update();
        if now == Phase::Unwanted {
            return;
        }
        let (opened, outcome) = find(layout.clone(), key, request, open).await;
        open = opened;
        if let Err(error) = outcome {
            tracing::warn!(%key, %error, "logs cannot be read");
        }
        let Ok(grew) = send_all(&request, &mut open, &phase, &out).await else { return };
        if now == Phase::Ended || !request.follow {
            break;
        }
        pause = if grew { SOON } else { (pause * 2).min(LATE) };
        // Where the agent is gone, so is the session.
        let changed = tokio::time::timeout(pause, phase.changed()).await;
        if let Ok(Err(_)) = changed {
            return;
        }
    }
    let last = v1::LogPart { request: request.request, part: None, last: true };
    let _ = out.send(v1::AgentMessage { kind: Some(Kind::LogPart(last)) }).await;
}

/// Nobody listens any more.
struct Deaf;

/// Sends what there is, a part of each log in turn. Whether there was anything.
async fn send_all(
    request: &v1::ReadLog,
    open: &mut BTreeMap<Which, Open>,
    phase: &watch::Receiver<Phase>,
    out: &mpsc::Sender<v1::AgentMessage>,
) -> Result<bool, Deaf> {
    let mut grew = false;
    let mut unread: Vec<Which> = open.keys().copied().collect();
    while !unread.is_empty() {
        let mut more = Vec::new();
        for which in unread {
            if *phase.borrow() == Phase::Unwanted {
                return Err(Deaf);
            }
            let Some(log) = open.remove(&which) else { continue };
            let (mut log, data) = spawn_blocking(move || read(log)).await.map_err(|_| Deaf)?;
            let data = data.unwrap_or_else(|error| {
                tracing::warn!(rank = which.0, %error, "a log cannot be read on");
                Vec::new()
            });
            if !data.is_empty() {
                let (rank, stream) = which;
                let dropped = std::mem::take(&mut log.missed);
                let part = v1::LogsResponse { rank, stream, data, dropped };
                let part = v1::LogPart { request: request.request, part: Some(part), last: false };
                let message = v1::AgentMessage { kind: Some(Kind::LogPart(part)) };
                out.send(message).await.map_err(|_| Deaf)?;
                grew = true;
                more.push(which);
            }
            open.insert(which, log);
        }
        unread = more;
    }
    Ok(grew)
}

/// Opens the logs of a request that are not open yet.
async fn find(
    layout: Layout,
    key: Key,
    request: v1::ReadLog,
    mut open: BTreeMap<Which, Open>,
) -> (BTreeMap<Which, Open>, io::Result<()>) {
    let work = move || {
        let outcome = find_now(&layout, key, &request, &mut open);
        (open, outcome)
    };
    match spawn_blocking(work).await {
        Ok(found) => found,
        Err(error) => (BTreeMap::new(), Err(io::Error::other(error))),
    }
}

fn find_now(
    layout: &Layout,
    key: Key,
    request: &v1::ReadLog,
    open: &mut BTreeMap<Which, Open>,
) -> io::Result<()> {
    let entries = match fs::read_dir(layout.run(key)) {
        Ok(entries) => entries,
        // It has not begun, or it is no more.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some((rank, stream)) = name.to_str().and_then(log_of) else { continue };
        let which = (rank, stream as i32);
        if request.rank.is_some_and(|wanted| wanted != rank) || open.contains_key(&which) {
            continue;
        }
        let file = File::open(layout.log(key, rank, stream))?;
        let size = file.metadata()?.len();
        let at = request.tail_bytes.map_or(0, |tail| size.saturating_sub(tail));
        open.insert(which, Open { file, at, missed: 0 });
    }
    Ok(())
}

/// The next part of a log; empty at its present end.
fn read(mut log: Open) -> (Open, io::Result<Vec<u8>>) {
    let outcome = next_part(&mut log);
    (log, outcome)
}

fn next_part(log: &mut Open) -> io::Result<Vec<u8>> {
    loop {
        let mut data = vec![0; PART];
        let got = log.file.read_at(&mut data, log.at)?;
        data.truncate(got);
        // Asked after reading: what was given back meanwhile reads as zeros.
        let gone = dropped(&log.file).saturating_sub(log.at);
        if got == 0 || gone == 0 {
            log.at += got as u64;
            return Ok(data);
        }
        log.missed += gone;
        log.at += gone;
        if gone < got as u64 {
            data.drain(..gone as usize);
            log.at += data.len() as u64;
            return Ok(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{FallocateFlags, fallocate};

    use super::*;

    const KEY: Key = Key { job: 1, attempt: 1 };

    fn run_with(logs: &[(u32, &str)]) -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        fs::create_dir_all(layout.run(KEY)).unwrap();
        for (rank, text) in logs {
            fs::write(layout.log(KEY, *rank, v1::Stream::Stdout), text).unwrap();
        }
        (folder, layout)
    }

    fn request() -> v1::ReadLog {
        v1::ReadLog { request: 7, job: 1, attempt: 1, ..Default::default() }
    }

    fn part(message: v1::AgentMessage) -> v1::LogPart {
        match message.kind {
            Some(Kind::LogPart(part)) => part,
            other => panic!("{other:?}"),
        }
    }

    /// Everything until the last part: per rank the text and what was dropped.
    async fn all(layout: &Layout, request: v1::ReadLog) -> BTreeMap<u32, (String, u64)> {
        let (out, mut answers) = mpsc::channel(1);
        let (_keep, phase) = watch::channel(Phase::Ended);
        let task = tokio::spawn(serve(layout.clone(), request, phase, out));
        let mut texts = BTreeMap::<u32, (String, u64)>::new();
        loop {
            let answer = part(answers.recv().await.unwrap());
            assert_eq!(answer.request, 7);
            match answer.part {
                Some(part) => {
                    let text = texts.entry(part.rank).or_default();
                    text.0.push_str(str::from_utf8(&part.data).unwrap());
                    text.1 += part.dropped;
                }
                None => {
                    assert!(answer.last);
                    task.await.unwrap();
                    assert!(answers.recv().await.is_none());
                    return texts;
                }
            }
        }
    }

    #[tokio::test]
    async fn all_ranks_are_read_to_their_end_or_one_or_a_tail() {
        let long = "0123456789".repeat(10_000);
        let (_folder, layout) = run_with(&[(0, &long), (1, "one")]);
        let texts = all(&layout, request()).await;
        assert!(texts[&0].0 == long && texts[&1].0 == "one");
        let one = all(&layout, v1::ReadLog { rank: Some(1), ..request() }).await;
        assert_eq!(one.into_values().collect::<Vec<_>>(), [("one".to_owned(), 0)]);
        let tail = all(&layout, v1::ReadLog { tail_bytes: Some(4), ..request() }).await;
        assert_eq!((tail[&0].0.as_str(), tail[&1].0.as_str()), ("6789", "one"));
        assert!(all(&layout, v1::ReadLog { attempt: 2, ..request() }).await.is_empty());
    }

    #[tokio::test]
    async fn what_rotation_took_is_counted() {
        let long = "0123456789ABCDEF".repeat(20_000);
        let (_folder, layout) = run_with(&[(0, &long)]);
        let file = File::options().write(true).open(layout.log(KEY, 0, v1::Stream::Stdout)).unwrap();
        fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 128 * 1024).unwrap();
        let texts = all(&layout, request()).await;
        assert_eq!(texts[&0].1, 128 * 1024);
        assert!(texts[&0].0 == long[128 * 1024..]);
    }

    #[tokio::test]
    async fn a_log_is_followed_to_its_end() {
        let (_folder, layout) = run_with(&[(0, "a")]);
        let (out, mut answers) = mpsc::channel(1);
        let (phase, now) = watch::channel(Phase::Running);
        let task = tokio::spawn(serve(layout.clone(), v1::ReadLog { follow: true, ..request() }, now, out));
        let mut next = async || part(answers.recv().await.unwrap()).part.map(|part| (part.rank, part.data));
        assert_eq!(next().await, Some((0, b"a".to_vec())));
        let mut log = File::options().append(true).open(layout.log(KEY, 0, v1::Stream::Stdout)).unwrap();
        log.write_all(b"b").unwrap();
        assert_eq!(next().await, Some((0, b"b".to_vec())));
        fs::write(layout.log(KEY, 3, v1::Stream::Stdout), "late").unwrap();
        assert_eq!(next().await, Some((3, b"late".to_vec())));
        log.write_all(b"c").unwrap();
        phase.send(Phase::Ended).unwrap();
        assert_eq!(next().await, Some((0, b"c".to_vec())));
        assert_eq!(next().await, None);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn nobody_is_answered_who_does_not_want_to_know() {
        let (_folder, layout) = run_with(&[(0, "a")]);
        let (out, mut answers) = mpsc::channel(1);
        let (phase, now) = watch::channel(Phase::Running);
        let task = tokio::spawn(serve(layout, v1::ReadLog { follow: true, ..request() }, now, out));
        answers.recv().await.unwrap();
        phase.send(Phase::Unwanted).unwrap();
        task.await.unwrap();
        assert!(answers.recv().await.is_none());
    }
}
