//! How the GPUs of this node are, as far as it was told, and what of that is news. Who tells has a thread of its own; that it
//! says nothing any more is news too.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use zenith_proto::v1;

use super::gpus::Chosen;

/// The reason of a GPU that no driver tells of.
const MISSING: &str =
    "no driver tells of it any more, and work of this node began with it (`zenith doctor` says more)";

/// How the GPUs of this node are.
pub(crate) struct Health {
    /// None once nothing more will be told.
    told: Option<watch::Receiver<Vec<v1::GpuHealth>>>,
    gpus: Chosen,
    /// How long drivers may take to tell.
    patience: Duration,
    /// When that is over; none while it is already.
    due: Option<Instant>,
    known: BTreeMap<u32, v1::GpuHealth>,
}

impl Health {
    pub(crate) fn new(gpus: Chosen, told: watch::Receiver<Vec<v1::GpuHealth>>, patience: Duration) -> Self {
        let watched = gpus.places.iter().any(Option::is_some);
        let due = Some(Instant::now() + patience);
        let missing = |gpu: &u32| (*gpu, degraded(*gpu, MISSING));
        let known = gpus.missing.iter().map(missing).collect();
        Self { told: watched.then_some(told), gpus, patience, due, known }
    }

    /// What is known of each, for a controller that has heard nothing.
    pub(crate) fn known(&self) -> impl Iterator<Item = &v1::GpuHealth> {
        self.known.values()
    }

    /// What has changed, when something has. May be dropped and called again.
    pub(crate) async fn changes(&mut self) -> Vec<v1::GpuHealth> {
        loop {
            let Some(told) = &mut self.told else { return std::future::pending().await };
            let due = self.due;
            let silence = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let now = tokio::select! {
                news = told.changed() => match news {
                    Ok(()) => {
                        let now = told.borrow_and_update().clone();
                        self.due = Some(Instant::now() + self.patience);
                        self.placed(now)
                    }
                    Err(_) => {
                        tracing::debug!("nothing more is told of GPUs");
                        self.told = None;
                        continue;
                    }
                },
                () = silence => {
                    self.due = None;
                    let reason = format!(
                        "its driver has not answered for {} seconds (nvidia-smi and dmesg say more)",
                        self.patience.as_secs_f64()
                    );
                    tracing::warn!("GPUs: {reason}");
                    self.gpus.places.iter().flatten().map(|gpu| degraded(*gpu, &reason)).collect()
                }
            };
            let changed = self.compare(now);
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    /// What was told of the drivers' list, by the places of ours.
    fn placed(&self, told: Vec<v1::GpuHealth>) -> Vec<v1::GpuHealth> {
        let place = |health: v1::GpuHealth| {
            let gpu = self.gpus.places.get(health.gpu as usize).copied().flatten()?;
            Some(v1::GpuHealth { gpu, ..health })
        };
        told.into_iter().filter_map(place).collect()
    }

    /// Takes note, and says what is news: at first everything, since a controller may remember an illness of earlier.
    fn compare(&mut self, now: Vec<v1::GpuHealth>) -> Vec<v1::GpuHealth> {
        let is_new = |health: &v1::GpuHealth| self.known.get(&health.gpu) != Some(health);
        let changed: Vec<v1::GpuHealth> = now.into_iter().filter(is_new).collect();
        self.known.extend(changed.iter().map(|health| (health.gpu, health.clone())));
        changed
    }
}

/// A GPU that may be well: what runs on it is left alone.
fn degraded(gpu: u32, reason: &str) -> v1::GpuHealth {
    v1::GpuHealth { gpu, healthy: false, reason: reason.to_owned(), degraded: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(second: bool) -> Vec<v1::GpuHealth> {
        let reason = |healthy: bool| if healthy { String::new() } else { "Xid 79".to_owned() };
        let health = |gpu, healthy| v1::GpuHealth { gpu, healthy, reason: reason(healthy), degraded: false };
        vec![health(0, true), health(1, second)]
    }

    fn two(missing: &[u32]) -> Chosen {
        Chosen { gpus: Vec::new(), places: vec![Some(0), Some(1)], missing: missing.to_vec() }
    }

    fn short(changes: &[v1::GpuHealth]) -> Vec<(u32, bool)> {
        changes.iter().map(|change| (change.gpu, change.healthy)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_told_and_nothing_else() {
        let (teller, receiver) = watch::channel(Vec::new());
        let mut health = Health::new(two(&[]), receiver, Duration::from_secs(30));
        teller.send(told(false)).unwrap();
        assert_eq!(short(&health.changes().await), [(0, true), (1, false)]);
        assert_eq!(health.known().filter(|gpu| !gpu.healthy).count(), 1);
        teller.send(told(false)).unwrap();
        teller.send(told(true)).unwrap();
        assert_eq!(short(&health.changes().await), [(1, true)]);
        assert_eq!(health.compare(told(true)), []);
        assert_eq!(short(&health.compare(told(false))), [(1, false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_drains_and_spares_what_runs_until_something_is_said() {
        let (teller, receiver) = watch::channel(Vec::new());
        let mut health = Health::new(two(&[]), receiver, Duration::from_secs(30));
        teller.send(told(true)).unwrap();
        health.changes().await;
        let changes = health.changes().await;
        assert_eq!(short(&changes), [(0, false), (1, false)]);
        assert!(changes.iter().all(|change| change.degraded && change.reason.contains("30 seconds")));
        teller.send(told(true)).unwrap();
        assert_eq!(short(&health.changes().await), [(0, true), (1, true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_those_of_the_node() {
        let (teller, receiver) = watch::channel(Vec::new());
        let chosen = Chosen { gpus: Vec::new(), places: vec![None, Some(4)], missing: vec![2] };
        let mut health = Health::new(chosen, receiver, Duration::from_secs(30));
        assert_eq!(health.known().map(|gpu| (gpu.gpu, gpu.degraded)).collect::<Vec<_>>(), [(2, true)]);
        teller.send(told(false)).unwrap();
        assert_eq!(short(&health.changes().await), [(4, false)]);
    }
}
