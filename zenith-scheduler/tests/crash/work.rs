//! The work that goes on while things are killed: ranks that note in a file when they start and end, and lock the GPUs that
//! they were given. Remembers what was asked and acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tonic::{Code, Status};
use zenith_proto::v1;

use crate::cluster::Cluster;

/// How long everything may take to come to its end when nothing is killed any more.
const SETTLE: Duration = Duration::from_secs(120);

/// What a rank does. The lock is held by its children too, so that a process left behind is noticed by the next on the GPU.
const SCRIPT: &str = r#"
cd "$1"
exec 9>"gpu-$ZENITH_NODE_NAME-$CUDA_VISIBLE_DEVICES"
flock -n 9 || echo "$ZENITH_JOB_ID $RANK $ZENITH_ATTEMPT on $ZENITH_NODE_NAME $CUDA_VISIBLE_DEVICES" >> conflicts
echo "$ZENITH_JOB_ID $ZENITH_ATTEMPT $MASTER_ADDR:$MASTER_PORT" >> meetings
echo "start $ZENITH_JOB_ID $RANK $ZENITH_ATTEMPT $$" >> journal
sleep "$2"
echo "end $ZENITH_JOB_ID $RANK $ZENITH_ATTEMPT $$" >> journal
"#;

/// A line of the journal that ranks write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) is_start: bool,
    pub(crate) job: u64,
    pub(crate) rank: u32,
    pub(crate) attempt: u32,
    pub(crate) process: u32,
}

pub(crate) struct Work {
    folder: PathBuf,
    next_key: u64,
    /// GPUs of each acknowledged job.
    pub(crate) acknowledged: BTreeMap<u64, u32>,
    /// How often a process of a job was killed.
    pub(crate) kills: BTreeMap<u64, u32>,
}

impl Work {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, next_key: 0, acknowledged: BTreeMap::new(), kills: BTreeMap::new() }
    }

    /// Submits a gang of 1, 2, 4 or 6 GPUs, under a key and as often as it takes to be acknowledged.
    pub(crate) async fn submit(&mut self, cluster: &mut Cluster, choice: u64) {
        let gpus = [1, 1, 2, 4, 6][(choice % 5) as usize];
        let seconds = format!("0.{}", 1 + choice / 5 % 9);
        let folder = self.folder.to_str().unwrap().to_owned();
        let command = ["/bin/sh", "-c", SCRIPT, "rank", &folder, &seconds].map(str::to_owned).to_vec();
        let resources = v1::Resources { gpus: Some(gpus), ..v1::Resources::default() };
        let submission = v1::Submission { resources: Some(resources), command, ..v1::Submission::default() };
        self.next_key += 1;
        let request = v1::SubmitRequest {
            submission: Some(submission),
            idempotency_key: format!("key {}", self.next_key),
        };
        let mut client = cluster.client();
        loop {
            match client.submit(request.clone()).await {
                Ok(answer) => {
                    self.acknowledged.insert(answer.into_inner().job, gpus);
                    return;
                }
                Err(status) => {
                    assert!(is_away(&status), "{status}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    cluster.start_what_is_missing();
                }
            }
        }
    }

    /// Acknowledged jobs none of whose ranks have noted their end.
    pub(crate) fn open(&self) -> usize {
        let ended: BTreeSet<u64> =
            self.journal().iter().filter(|line| !line.is_start).map(|line| line.job).collect();
        self.acknowledged.keys().filter(|job| !ended.contains(job)).count()
    }

    pub(crate) fn journal(&self) -> Vec<Line> {
        let text = fs::read_to_string(self.folder.join("journal")).unwrap_or_default();
        text.lines().filter_map(line).collect()
    }

    pub(crate) fn conflicts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("conflicts")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Where ranks were told to meet: the job and its attempt, and the place.
    pub(crate) fn meetings(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.folder.join("meetings")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(attempt, place)| (attempt.to_owned(), place.to_owned()))
            .collect()
    }

    /// Processes that have noted their start and not their end, with their jobs.
    pub(crate) fn living(&self) -> Vec<(u64, u32)> {
        let mut living = BTreeSet::new();
        for line in self.journal() {
            match line.is_start {
                true => living.insert((line.job, line.process)),
                false => living.remove(&(line.job, line.process)),
            };
        }
        let is_ours = |(_, process): &(u64, u32)| {
            let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            words.windows(8).any(|window| window == b"/bin/sh\0")
        };
        living.into_iter().filter(is_ours).collect()
    }

    pub(crate) fn killed(&mut self, job: u64) {
        *self.kills.entry(job).or_default() += 1;
    }

    /// Waits until every acknowledged job has ended.
    pub(crate) async fn settle(&self, cluster: &mut Cluster) {
        let until = Instant::now() + SETTLE;
        let is_final = |job: &v1::Job| {
            matches!(job.state(), v1::JobState::Completed | v1::JobState::Failed | v1::JobState::Cancelled)
        };
        loop {
            cluster.start_what_is_missing();
            let answer = cluster.client().cluster(v1::ClusterRequest {}).await;
            if answer.is_ok() {
                let open: Vec<u64> =
                    cluster.jobs().await.iter().filter(|job| !is_final(job)).map(|job| job.id).collect();
                if open.is_empty() {
                    return;
                }
                assert!(Instant::now() < until, "jobs {open:?} do not end; see {}", cluster.keep());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn line(text: &str) -> Option<Line> {
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, job, rank, attempt, process] = words[..] else { return None };
    Some(Line {
        is_start: kind == "start",
        job: job.parse().ok()?,
        rank: rank.parse().ok()?,
        attempt: attempt.parse().ok()?,
        process: process.parse().ok()?,
    })
}

/// The controller is being started again.
fn is_away(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}
