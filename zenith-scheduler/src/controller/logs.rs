//! What processes wrote, fetched from the nodes that have it. Reading never waits in the controller's thread: the controller
//! only asks, and what comes back goes straight to whoever reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use zenith_proto::v1;

use super::handle::Handle;
use crate::core::{Core, Error, JobId, NodeId};
use crate::refusal::Refusal;

/// Parts of one log that wait for their reader at most; the node waits then.
const PARTS: usize = 64;

/// Which answers go to whom.
#[derive(Debug, Default)]
pub struct Routes {
    next: AtomicU64,
    of: Mutex<BTreeMap<u64, Route>>,
}

#[derive(Debug)]
struct Route {
    node: NodeId,
    sender: mpsc::Sender<v1::LogPart>,
}

impl Routes {
    /// A part has come from a node. False where nobody wants it any more: the node should be told to stop.
    pub async fn deliver(&self, part: v1::LogPart) -> bool {
        let request = part.request;
        let sender = self.table().get(&request).map(|route| route.sender.clone());
        match sender {
            Some(sender) => sender.send(part).await.is_ok(),
            None => false,
        }
    }

    /// The way to a node is gone, and with it what was asked through it.
    pub fn lose(&self, node: NodeId) {
        self.table().retain(|_, route| route.node != node);
    }

    /// Nobody is to be sent anything more of a request; whoever reads is told.
    pub fn cut(&self, request: u64) {
        self.table().remove(&request);
    }

    fn open(&self, node: NodeId) -> (u64, mpsc::Receiver<v1::LogPart>) {
        let request = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = mpsc::channel(PARTS);
        self.table().insert(request, Route { node, sender });
        (request, receiver)
    }

    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Route>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The job.
    pub job: JobId,
    /// One rank; all where absent.
    pub rank: Option<u32>,
    /// Which attempt; the last where 0.
    pub attempt: u32,
    /// Stay until the attempt has ended.
    pub follow: bool,
    /// Begin with the last so many bytes of each stream.
    pub tail_bytes: Option<u64>,
}

/// The log of one node's ranks, part by part. Dropping it ends the reading.
#[derive(Debug)]
pub struct Parts {
    request: u64,
    node: String,
    is_over: bool,
    parts: mpsc::Receiver<v1::LogPart>,
    routes: Arc<Routes>,
}

impl Parts {
    /// The next part; none after the last.
    ///
    /// # Errors
    /// [`Refusal::CutOff`] where the way to the node was lost before, or reading took too long.
    pub async fn next(&mut self) -> Result<Option<v1::LogsResponse>, Refusal> {
        while !self.is_over {
            let lost = || Refusal::CutOff { node: self.node.clone() };
            let part = self.parts.recv().await.ok_or_else(lost)?;
            self.is_over = part.last;
            if part.part.is_some() {
                return Ok(part.part);
            }
        }
        Ok(None)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.routes.cut(self.request);
    }
}

impl Handle {
    /// Begins to read what a job's processes wrote: a stream for each node that has some of it.
    ///
    /// # Errors
    /// No such job, attempt or rank; one that was never placed, or so often that it is not kept where that attempt ran; nodes
    /// that cannot be reached.
    pub async fn logs(&self, wanted: Wanted) -> Result<Vec<Parts>, Refusal> {
        let Wanted { job, rank, follow, tail_bytes, .. } = wanted;
        let (attempt, places) = self.call(move |turn| places(turn.core(), wanted)).await?;
        let mut streams = Vec::with_capacity(places.len());
        for node in places {
            let (request, parts) = self.logs.open(node);
            let routes = Arc::clone(&self.logs);
            let mut stream = Parts { request, node: String::new(), is_over: false, parts, routes };
            let read = v1::ReadLog { request, job: job.0, attempt, rank, follow, tail_bytes, stop: false };
            stream.node =
                self.call(move |turn| turn.read_log(node, read).map(|()| turn.name_of(node))).await?;
            streams.push(stream);
        }
        Ok(streams)
    }

    /// Where parts from nodes are to be delivered.
    pub fn log_routes(&self) -> Arc<Routes> {
        Arc::clone(&self.logs)
    }
}

/// The attempt that is wanted, and the nodes that have what it wrote.
fn places(core: &Core, wanted: Wanted) -> Result<(u32, Vec<NodeId>), Refusal> {
    let job = core.job(wanted.job).ok_or(Error::NoJob(wanted.job))?;
    let no_logs = |reason| Refusal::NoLogs { job: job.id, reason };
    let last = job.attempt;
    if last == 0 {
        return Err(no_logs(format!("it is {} and was not placed yet", job.state)));
    }
    let attempt = if wanted.attempt == 0 { last } else { wanted.attempt };
    if attempt > last {
        let reason = format!("{attempt}; the job has had attempts 1 to {last}");
        return Err(Refusal::Invalid { field: "attempt", reason });
    }
    let unknown = || no_logs(format!("where attempt {attempt} of {last} ran is not known any more"));
    let placement = job.place_of(attempt).ok_or_else(unknown)?;
    let per = core.batch(job).map(|batch| batch.shape.ranks).unwrap_or_default();
    let Some(rank) = wanted.rank else {
        return Ok((attempt, placement.slices.iter().map(|slice| slice.node).collect()));
    };
    let ranks = placement.ranks(per);
    let missing = || Refusal::Invalid {
        field: "rank",
        reason: format!("{rank}; the job has ranks 0 to {}", ranks - 1),
    };
    Ok((attempt, vec![placement.slice_of(rank, per).ok_or_else(missing)?.node]))
}
