//! What a job writes, from before its first attempt until its end: through waiting, preemption and retries. The scheduler gives the log of
//! one attempt; this puts them together.

use tokio::sync::mpsc;
use zenith_proto::v1;

use super::{Client, ClientError};

/// Parts that wait for their reader before reading pauses.
const AHEAD: usize = 16;

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

/// Parts, and at last perhaps what ended them too early.
pub type Parts = mpsc::Receiver<Result<v1::LogsResponse, ClientError>>;

impl Client {
    /// What a job writes until it has ended. Earlier attempts than the present one are left out. Dropping the receiver ends it.
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

async fn follow(
    mut client: Client,
    followed: Followed,
    sender: &mpsc::Sender<Result<v1::LogsResponse, ClientError>>,
) -> Result<(), ClientError> {
    let Followed { job, rank, mut tail_bytes } = followed;
    let failing = client.failing();
    let mut read = 0;
    let mut changes = client.watch(vec![job]).await?;
    while let Some(change) = changes.message().await.map_err(&failing)? {
        let Some(now) = change.jobs.into_iter().rev().find(|now| now.id == job) else { continue };
        // Before all ranks run, their nodes may not know of them yet.
        if now.attempt <= read || now.state() == v1::JobState::Starting {
            continue;
        }
        // What came and went unseen between two changes is read as well.
        let first = if read == 0 { now.attempt } else { read + 1 };
        for attempt in first..=now.attempt {
            let request = v1::LogsRequest { job, rank, attempt, follow: true, tail_bytes: tail_bytes.take() };
            let mut parts = match client.logs(request).await {
                Ok(parts) => parts,
                Err(ClientError::Refused { code, .. }) if code == "no_logs" => continue,
                Err(error) => return Err(error),
            };
            while let Some(part) = parts.message().await.map_err(&failing)? {
                if sender.send(Ok(part)).await.is_err() {
                    return Ok(());
                }
            }
        }
        read = now.attempt;
    }
    Ok(())
}
