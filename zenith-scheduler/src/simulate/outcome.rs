//! What came out of a simulation, as data.

use serde::{Deserialize, Serialize};

use super::cluster::ClusterShape;

/// What came out of a simulation. Hours unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The policy's name.
    pub policy: String,
    /// The cluster, by kinds of nodes.
    pub cluster: Vec<ClusterShape>,
    /// Jobs that ran.
    pub jobs: usize,
    /// Jobs that are larger than the cluster and were left out.
    pub too_large: usize,
    /// From submission to the end.
    pub completion: Summary,
    /// From submission to the start.
    pub wait: Summary,
    /// Waits by number of GPUs.
    pub wait_by_gpus: Vec<Band>,
    /// From the first submission to the last end.
    pub makespan: f64,
    /// Share of all GPU-time of the makespan that was used.
    pub utilisation: f64,
    /// The same from the first to the last submission.
    pub utilisation_while_submitting: f64,
    /// Share of the GPU-time of the makespan that was idle while the first job of the queue would have fitted by number of
    /// GPUs, but not by where they are.
    pub fragmentation: f64,
    /// The same from the first to the last submission.
    pub fragmentation_while_submitting: f64,
    /// Share of the GPU-time of the makespan that was idle while any queued job would have fitted by number of GPUs: what
    /// keeping room and waiting for pieces cost together.
    pub idle_beside_queue: f64,
    /// How evenly queues were served.
    pub fairness: Fairness,
    /// How good the predictions of starts were that waiting jobs were given on submission.
    pub predictions: Predictions,
    /// Scheduling rounds.
    pub rounds: u64,
    /// The number of queued jobs and of used GPUs over time, for plots.
    pub timeline: Vec<Sample>,
    /// Shares of jobs that had completed within so many hours, for plots.
    pub completion_curve: Vec<(f64, f64)>,
}

/// A distribution in hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The average.
    pub mean: f64,
    /// Half are below.
    pub median: f64,
    /// 95 % are below.
    pub p95: f64,
    /// 99 % are below.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// Waits of jobs of some sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// The sizes, for people.
    pub name: String,
    /// The fewest GPUs.
    pub from: u32,
    /// The most GPUs.
    pub to: u32,
    /// Jobs.
    pub jobs: usize,
    /// Their waits.
    pub wait: Summary,
}

/// How evenly queues were served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fairness {
    /// Jain's index of the queues' mean waits relative to their mean completion: 1 is even, 1/n is all for one.
    pub jain: f64,
    /// The largest mean wait of a queue, in hours.
    pub worst_queue_wait: f64,
    /// Median of completion by run time, with runs of at least ten minutes.
    pub median_slowdown: f64,
    /// 95th percentile of it.
    pub p95_slowdown: f64,
}

/// How good the predictions of starts were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    /// Jobs that had to wait and were given a date.
    pub jobs: usize,
    /// Mean of the absolute error in hours.
    pub mean_error: f64,
    /// Median of the absolute error in hours.
    pub median_error: f64,
    /// Share of predictions within a factor of two of the wait, or within ten minutes.
    pub within_factor_two: f64,
    /// Share of starts within the range that was given with the prediction; four of five are meant to be.
    pub within_range: f64,
}

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Hours since the first submission.
    pub at: f64,
    /// Jobs that wait.
    pub queued: usize,
    /// GPUs in use.
    pub busy: u32,
}

impl Summary {
    /// Of values in any order; zero where there are none.
    pub fn of(mut values: Vec<f64>) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        values.sort_unstable_by(f64::total_cmp);
        let at =
            |share: f64| values[((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1];
        Self {
            mean: values.iter().sum::<f64>() / values.len() as f64,
            median: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: values[values.len() - 1],
        }
    }
}
