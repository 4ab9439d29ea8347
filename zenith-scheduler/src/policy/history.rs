//! What finished work says about the run time of work to come: distributions per user, queue and size, each leaning on a
//! wider one while it knows little. Learns from runs that completed, never from what is still to come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::id::{QueueId, UserId};
use crate::core::time::Span;

/// Half octaves from one second: the last one is beyond half a year.
const BUCKETS: usize = 48;
/// Groups that are kept. Work of further groups is judged by the wider group it would belong to.
const MAX_GROUPS: usize = 1 << 14;
/// A run counts half after so many later ones of its group.
const HALF_LIFE: f32 = 256.0;
/// The wider group counts as much as so many runs of the group itself.
const LEANING: f32 = 4.0;
/// What is assumed before anything is known: one run, of an hour, in doubt.
const FIRST_GUESS: Span = Span::from_secs(3600);

/// Finished runs by group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct History {
    groups: Vec<Group>,
    #[serde(with = "by_key_as_list")]
    by_key: BTreeMap<Key, u32>,
}

/// Work that is judged together; what is left out does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    queue: Option<QueueId>,
    user: Option<UserId>,
    gpus: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Group {
    wider: Option<u32>,
    /// Runs, older ones counting less.
    counts: Vec<f32>,
    weight: f32,
    /// How often it has learned; estimates made at the same number are the same but for the wider groups.
    version: u32,
}

/// A distribution over run times.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    share: [f32; BUCKETS],
    /// How much of it is the first guess, behind which there is no experience.
    guessed: f32,
}

impl Default for History {
    fn default() -> Self {
        Self { groups: vec![Group::new(None)], by_key: BTreeMap::new() }
    }
}

impl Group {
    fn new(wider: Option<u32>) -> Self {
        Self { wider, counts: vec![0.0; BUCKETS], weight: 0.0, version: 0 }
    }
}

impl History {
    /// The group that work of a user in a queue with so many GPUs belongs to.
    pub(crate) fn group(&mut self, queue: QueueId, user: UserId, gpus: u32) -> u32 {
        let key = |queue, user, gpus| Key { queue, user, gpus };
        let mut group = 0;
        for key in [
            key(None, None, Some(gpus)),
            key(Some(queue), None, Some(gpus)),
            key(Some(queue), Some(user), Some(gpus)),
        ] {
            group = match self.by_key.get(&key) {
                Some(known) => *known,
                None if self.groups.len() < MAX_GROUPS => {
                    let next = self.groups.len() as u32;
                    self.groups.push(Group::new(Some(group)));
                    self.by_key.insert(key, next);
                    next
                }
                None => group,
            };
        }
        group
    }

    /// Learns that a run of a group took so long.
    pub(crate) fn learn(&mut self, group: u32, took: Span) {
        let bucket = bucket(took);
        let mut next = Some(group);
        while let Some(at) = next {
            let Some(group) = self.groups.get_mut(at as usize) else { return };
            let fade = 0.5_f32.powf(1.0 / HALF_LIFE);
            group.counts.iter_mut().for_each(|count| *count *= fade);
            group.counts[bucket] += 1.0;
            group.weight = group.weight * fade + 1.0;
            group.version = group.version.wrapping_add(1);
            next = group.wider;
        }
    }

    /// Changes whenever the group learns.
    pub(crate) fn version(&self, group: u32) -> u32 {
        self.groups.get(group as usize).map_or(0, |group| group.version)
    }

    /// What the group's runs are expected to take.
    pub(crate) fn estimate(&self, group: u32) -> Estimate {
        let mut chain = [0_u32; 4];
        let mut len = 0;
        let mut next = Some(group);
        while let (Some(at), true) = (next, len < chain.len()) {
            chain[len] = at;
            len += 1;
            next = self.groups.get(at as usize).and_then(|group| group.wider);
        }
        let mut share = [0.0; BUCKETS];
        share[bucket(FIRST_GUESS)] = 1.0;
        let mut guessed = 1.0;
        for at in chain[..len].iter().rev() {
            let Some(group) = self.groups.get(*at as usize) else { continue };
            let total = group.weight + LEANING;
            guessed *= LEANING / total;
            for (share, count) in share.iter_mut().zip(&group.counts) {
                *share = (*count + LEANING * *share) / total;
            }
        }
        Estimate { share, guessed }
    }
}

impl Estimate {
    /// The mean of what is left in seconds, after `elapsed` has passed and nothing beyond `limit` is possible.
    pub(crate) fn mean_left(&self, elapsed: Span, limit: Option<Span>) -> f64 {
        let elapsed_seconds = elapsed.as_secs_f64();
        let limit = limit.map_or(f64::INFINITY, Span::as_secs_f64);
        let from = bucket(elapsed);
        let (mut mass, mut sum) = (0.0, 0.0);
        for (at, share) in self.share.iter().enumerate().skip(from) {
            let share = f64::from(*share);
            let middle = middle(at).max(elapsed_seconds * 1.1).min(limit);
            mass += share;
            sum += share * (middle - elapsed_seconds).max(0.0);
        }
        // Beyond all experience: as long again as it has already taken.
        if mass < 1e-6 { elapsed_seconds.min((limit - elapsed_seconds).max(0.0)) } else { sum / mass }
    }

    /// Seconds that a run stays below with a probability of `quantile`, by experience alone: what is only guessed may take as
    /// long as `limit` lets it. So does everything for a quantile of 1.
    pub(crate) fn promised(&self, quantile: f64, limit: Option<Span>) -> f64 {
        let limit = limit.map_or(f64::INFINITY, Span::as_secs_f64);
        let mut seen = 0.0;
        for (at, share) in self.share.iter().enumerate() {
            let guessed = if at == bucket(FIRST_GUESS) { self.guessed } else { 0.0 };
            seen += f64::from(*share - guessed);
            if quantile < 1.0 && seen >= quantile {
                return upper(at).min(limit);
            }
        }
        limit
    }

    /// What is left with a probability of `quantile`, in seconds, after `elapsed` has passed; at most until the limit.
    pub(crate) fn quantile_left(&self, quantile: f64, elapsed: Span, limit: Option<Span>) -> f64 {
        let elapsed_seconds = elapsed.as_secs_f64();
        let limit = limit.map_or(f64::INFINITY, Span::as_secs_f64);
        let from = bucket(elapsed);
        let mass: f64 = self.share[from..].iter().map(|share| f64::from(*share)).sum();
        let is_beyond = mass < 1e-6;
        let mut total = if is_beyond { elapsed_seconds * 2.0 } else { f64::INFINITY };
        if !is_beyond {
            let mut seen = 0.0;
            for (at, share) in self.share.iter().enumerate().skip(from) {
                seen += f64::from(*share) / mass;
                if seen >= quantile {
                    total = upper(at).max(elapsed_seconds * 1.1);
                    break;
                }
            }
        }
        (total.min(limit) - elapsed_seconds).max(0.0)
    }
}

fn bucket(took: Span) -> usize {
    let seconds = took.as_secs_f64().max(1.0);
    ((seconds.log2() * 2.0) as usize).min(BUCKETS - 1)
}

fn upper(bucket: usize) -> f64 {
    2.0_f64.powf((bucket + 1) as f64 / 2.0)
}

fn middle(bucket: usize) -> f64 {
    2.0_f64.powf((bucket as f64 + 0.5) / 2.0)
}

/// JSON has no maps with structured keys.
mod by_key_as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Key;

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<Key, u32>, out: S) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Key, u32>, D::Error> {
        Ok(Vec::<(Key, u32)>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: (QueueId, UserId) = (QueueId(0), UserId(0));
    const OTHER: (QueueId, UserId) = (QueueId(1), UserId(1));

    fn learned(runs: &[(u32, u64)]) -> (History, u32) {
        let mut history = History::default();
        let group = history.group(ONE.0, ONE.1, 1);
        for (times, seconds) in runs {
            (0..*times).for_each(|_| history.learn(group, Span::from_secs(*seconds)));
        }
        (history, group)
    }

    #[test]
    fn knowing_nothing_an_hour_is_guessed() {
        let (history, group) = learned(&[]);
        let mean = history.estimate(group).mean_left(Span::ZERO, None);
        assert!((2500.0..5200.0).contains(&mean), "{mean}");
    }

    #[test]
    fn much_experience_outweighs_the_guess() {
        let (history, group) = learned(&[(200, 60)]);
        let median = history.estimate(group).quantile_left(0.5, Span::ZERO, None);
        assert!((60.0..90.0).contains(&median), "{median}");
    }

    #[test]
    fn who_is_new_is_judged_by_the_others() {
        let (mut history, _) = learned(&[(200, 60)]);
        let same_size = history.group(OTHER.0, OTHER.1, 1);
        let median = history.estimate(same_size).quantile_left(0.5, Span::ZERO, None);
        assert!((60.0..90.0).contains(&median), "{median}");
    }

    #[test]
    fn what_has_run_long_is_not_judged_by_what_was_short() {
        let (history, group) = learned(&[(90, 60), (10, 36_000)]);
        let estimate = history.estimate(group);
        let fresh = estimate.quantile_left(0.5, Span::ZERO, None);
        let old = estimate.quantile_left(0.5, Span::from_secs(600), None);
        assert!(fresh < 100.0 && old > 20_000.0, "{fresh} {old}");
        let beyond = estimate.quantile_left(0.5, Span::from_secs(1_000_000), None);
        assert!((beyond - 1_000_000.0).abs() < 1.0, "{beyond}");
    }

    #[test]
    fn a_guess_promises_nothing_and_experience_little_by_little() {
        let promised = |times, quantile, limit| {
            let (history, group) = learned(&[(times, 60)]);
            history.estimate(group).promised(quantile, limit)
        };
        assert_eq!(promised(0, 0.5, None), f64::INFINITY);
        assert_eq!(promised(0, 0.5, Some(Span::from_secs(300))), 300.0);
        assert!(promised(4, 0.9, None) < 100.0 && promised(4, 0.99, None).is_infinite());
        assert!(promised(200, 0.99, None) < 100.0 && promised(200, 1.0, None).is_infinite());
    }

    #[test]
    fn a_limit_is_an_upper_bound() {
        let (history, group) = learned(&[(50, 36_000)]);
        let limit = Some(Span::from_secs(300));
        assert!(history.estimate(group).quantile_left(0.9, Span::ZERO, limit) <= 300.0);
        assert!(history.estimate(group).mean_left(Span::from_secs(100), limit) <= 200.0);
    }

    #[test]
    fn the_number_of_groups_is_bounded() {
        let mut history = History::default();
        for user in 0..2 * MAX_GROUPS as u32 {
            history.group(QueueId(0), UserId(user), 1);
        }
        assert_eq!(history.groups.len(), MAX_GROUPS);
    }
}
