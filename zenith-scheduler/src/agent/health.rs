//! Asking GPUs how they are, on a thread of its own since a driver may hang, and telling what has changed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use zenith_proto::v1;

use super::gpus::Gpus;

/// How often GPUs are asked.
const PAUSE: Duration = Duration::from_secs(5);

type Answer = (Box<dyn Gpus>, Vec<v1::GpuHealth>);

enum Ask {
    Later(Instant, Box<dyn Gpus>),
    Now(JoinHandle<Answer>),
    /// There are none, or they could not be asked.
    Never,
}

/// How the GPUs of this node are.
pub(crate) struct Health {
    ask: Ask,
    known: BTreeMap<u32, v1::GpuHealth>,
}

impl Health {
    pub(crate) fn new(gpus: Box<dyn Gpus>) -> Self {
        let ask = if gpus.list().is_empty() { Ask::Never } else { Ask::Later(Instant::now(), gpus) };
        Self { ask, known: BTreeMap::new() }
    }

    /// What is known of each, for a controller that has heard nothing.
    pub(crate) fn known(&self) -> impl Iterator<Item = &v1::GpuHealth> {
        self.known.values()
    }

    /// What has changed, when something has. May be dropped and called again.
    pub(crate) async fn changes(&mut self) -> Vec<v1::GpuHealth> {
        loop {
            match &mut self.ask {
                Ask::Never => std::future::pending().await,
                Ask::Later(when, _) => {
                    sleep_until(*when).await;
                    if let Ask::Later(_, mut gpus) = std::mem::replace(&mut self.ask, Ask::Never) {
                        self.ask = Ask::Now(spawn_blocking(move || {
                            let health = gpus.poll_health();
                            (gpus, health)
                        }));
                    }
                }
                Ask::Now(answer) => match answer.await {
                    Ok((gpus, now)) => {
                        self.ask = Ask::Later(Instant::now() + PAUSE, gpus);
                        let changed = self.compare(now);
                        if !changed.is_empty() {
                            return changed;
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "the health of GPUs is not looked at any more");
                        self.ask = Ask::Never;
                    }
                },
            }
        }
    }

    fn compare(&mut self, now: Vec<v1::GpuHealth>) -> Vec<v1::GpuHealth> {
        let is_new = |health: &v1::GpuHealth| match self.known.get(&health.gpu) {
            Some(known) => known.healthy != health.healthy,
            // A GPU is well until something else is said.
            None => !health.healthy,
        };
        let changed: Vec<v1::GpuHealth> = now.iter().filter(|health| is_new(health)).cloned().collect();
        self.known = now.into_iter().map(|health| (health.gpu, health)).collect();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ill;

    impl Gpus for Ill {
        fn list(&self) -> Vec<v1::Gpu> {
            vec![v1::Gpu::default(); 2]
        }

        fn poll_health(&mut self) -> Vec<v1::GpuHealth> {
            poll(false)
        }
    }

    fn poll(second: bool) -> Vec<v1::GpuHealth> {
        let health = |gpu, healthy| v1::GpuHealth { gpu, healthy, reason: "Xid 79".to_owned() };
        vec![health(0, true), health(1, second)]
    }

    #[tokio::test]
    async fn changes_are_told_and_nothing_else() {
        let mut health = Health::new(Box::new(Ill));
        let told = |changes: Vec<v1::GpuHealth>| -> Vec<(u32, bool)> {
            changes.iter().map(|change| (change.gpu, change.healthy)).collect()
        };
        assert_eq!(told(health.changes().await), [(1, false)]);
        assert_eq!(health.known().filter(|gpu| !gpu.healthy).count(), 1);
        assert_eq!(told(health.compare(poll(false))), []);
        assert_eq!(told(health.compare(poll(true))), [(1, true)]);
        assert_eq!(told(health.compare(poll(true))), []);
        assert_eq!(told(health.compare(poll(false))), [(1, false)]);
    }
}
