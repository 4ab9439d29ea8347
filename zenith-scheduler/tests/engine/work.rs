//! Work that says what it does in files, and waiting for what comes of it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};
use zenith_scheduler::controller::ops::Caller;
use zenith_scheduler::core::job::Work;
use zenith_scheduler::core::request::Request;
use zenith_scheduler::core::state::State;
use zenith_scheduler::core::{JobId, Submission};
use zenith_scheduler::engine::{Engine, Seen};

use crate::fixture::Fixture;

/// After so long a test is stuck. Decides nothing else.
const STUCK: Duration = Duration::from_secs(60);

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(STUCK, what).await.expect("this should have happened by now")
}

pub(crate) fn ann() -> Caller {
    Caller { user: "ann".to_owned(), admin: false }
}

/// A gang of ranks with a GPU each that runs a shell script.
pub(crate) fn shell(gpus: u32, script: &str) -> Submission {
    Submission {
        name: "work".to_owned(),
        request: Request::gpus(gpus),
        work: Work { command: ["sh", "-c", script].map(str::to_owned).into(), ..Work::default() },
        ..Submission::default()
    }
}

/// Files that work writes, one for each rank, and others by which it is told to go on.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn of(fixture: &impl Fixture) -> Self {
        Self(fixture.folder().join("work"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A script whose ranks each write their process's number to `NAME.RANK`, and end once they are told to, or the test is over. A signal
    /// to all of a rank's processes may end its last `sleep`, which says nothing of the rank.
    pub(crate) fn staying(&self, name: &str) -> String {
        let (folder, path) = (self.0.display(), self.path(name));
        let path = path.display();
        format!(
            "echo $$ > {path}.half.$RANK; mv {path}.half.$RANK {path}.$RANK; \
             while test -d {folder} && ! test -e {path}.go; do sleep 0.02; done; true"
        )
    }

    /// Tells those ranks to end.
    pub(crate) fn let_go(&self, name: &str) {
        fs::write(self.path(&format!("{name}.go")), "").unwrap();
    }

    /// The processes of those ranks that have begun.
    pub(crate) fn processes(&self, name: &str, ranks: u32) -> Vec<i32> {
        let read = |rank| fs::read_to_string(self.path(&format!("{name}.{rank}"))).ok();
        (0..ranks).filter_map(read).map(|pid| pid.trim().parse().unwrap()).collect()
    }

    /// Waits until all of them have begun.
    pub(crate) async fn begun(&self, name: &str, ranks: u32) -> Vec<i32> {
        soon(async {
            loop {
                let processes = self.processes(name, ranks);
                if processes.len() == ranks as usize {
                    return processes;
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

/// Whether a process is there and is no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// A job as the engine has it.
pub(crate) async fn seen(engine: &Arc<dyn Engine>, job: JobId) -> Seen {
    let jobs = engine.snapshot().await.unwrap();
    jobs.into_iter().find(|seen| seen.job == job).expect("an engine keeps the jobs that it took in")
}

/// Waits for a job to be so, looking only when the engine says that something has changed.
pub(crate) async fn until(engine: &Arc<dyn Engine>, job: JobId, is_it: impl Fn(&Seen) -> bool) -> Seen {
    let mut changes = engine.watch();
    soon(async {
        loop {
            let now = seen(engine, job).await;
            if is_it(&now) {
                return now;
            }
            loop {
                match changes.recv().await {
                    Ok(jobs) if !jobs.contains(&job) => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => panic!("the engine is gone"),
                }
            }
        }
    })
    .await
}

pub(crate) async fn in_state(engine: &Arc<dyn Engine>, job: JobId, state: State) -> Seen {
    until(engine, job, |seen| seen.state == state).await
}
