//! Queued jobs in classes of those that are alike: a round looks at the first of each class and never at the rest, so it
//! costs as much as there are kinds of work, not as much as there is work. Which class is first is `order`'s.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::core::id::{JobId, QueueId, UserId};
use crate::core::request::{Form, Shape};
use crate::core::time::{Span, Time};

/// What jobs have in common that no policy can tell apart but by their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) queue: QueueId,
    pub(crate) user: UserId,
    pub(crate) priority: i32,
    pub(crate) shape: Shape,
    pub(crate) time_limit: Option<Span>,
    pub(crate) group: u32,
    pub(crate) preemptible: bool,
    /// Eighths of octaves of the run time, where it is known beforehand.
    pub(crate) runtime: Option<u16>,
}

impl Kind {
    /// The step that a known run time belongs to.
    pub(crate) fn step(runtime: Span) -> u16 {
        (runtime.as_secs_f64().max(1.0).log2() * 8.0) as u16
    }
}

/// A job within its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// Lowest first: the time of submission, or the run time where the policy orders by that.
    pub(crate) order: u64,
    pub(crate) job: JobId,
    pub(crate) submitted: Time,
    pub(crate) runtime: Option<Span>,
}

/// Queued jobs that are alike.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) kind: Kind,
    pub(crate) entries: VecDeque<Entry>,
    /// What a run is expected to take, and the state of experience it was computed from.
    pub(crate) forecast: Option<Forecast>,
    /// Its place in the list of classes that are not empty.
    active: usize,
}

/// The expectation of a class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forecast {
    pub(crate) version: u32,
    /// What a job's turn is weighed with.
    pub(crate) cost: f64,
    /// Mean seconds.
    pub(crate) mean: f64,
    /// Seconds that are rarely exceeded.
    pub(crate) cautious: f64,
}

/// All queued jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog {
    classes: Vec<Class>,
    by_kind: HashMap<Kind, u32>,
    /// Classes that are not empty.
    active: Vec<u32>,
    /// Places of `classes` that are free.
    spare: Vec<u32>,
    len: usize,
    /// Classes by the GPUs that they want on a node.
    sizes: BTreeMap<u32, u32>,
}

impl Backlog {
    /// The numbers of GPUs that queued work wants on a node, upwards; larger than a node where a gang fills nodes.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = u32> {
        self.sizes.keys().copied()
    }

    fn count(&mut self, kind: &Kind, by: i32) {
        let size = match kind.shape.form {
            Form::Total(gpus) => gpus,
            Form::PerNode { gpus, .. } => gpus,
        };
        let count = self.sizes.entry(size).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.sizes.remove(&size);
        }
    }

    pub(crate) fn insert(&mut self, kind: Kind, entry: Entry) {
        if !self.by_kind.contains_key(&kind) {
            self.count(&kind, 1);
        }
        let Self { classes, by_kind, active, spare, len, .. } = self;
        let at = *by_kind.entry(kind).or_insert_with(|| {
            let class = Class { kind, entries: VecDeque::new(), forecast: None, active: active.len() };
            let at = match spare.pop() {
                Some(at) => {
                    classes[at as usize] = class;
                    at
                }
                None => {
                    classes.push(class);
                    classes.len() as u32 - 1
                }
            };
            active.push(at);
            at
        });
        let entries = &mut classes[at as usize].entries;
        match entries.back() {
            Some(last) if *last > entry => {
                let place = entries.partition_point(|other| *other < entry);
                entries.insert(place, entry);
            }
            _ => entries.push_back(entry),
        }
        *len += 1;
    }

    /// Takes a job out; false where it is not in.
    pub(crate) fn remove(&mut self, kind: &Kind, entry: &Entry) -> bool {
        let Some(at) = self.by_kind.get(kind).copied() else { return false };
        let class = &mut self.classes[at as usize];
        let place = class.entries.partition_point(|other| other < entry);
        if class.entries.get(place) != Some(entry) {
            return false;
        }
        class.entries.remove(place);
        self.len -= 1;
        if class.entries.is_empty() {
            let hole = class.active;
            self.count(kind, -1);
            self.by_kind.remove(kind);
            self.spare.push(at);
            self.active.swap_remove(hole);
            if let Some(moved) = self.active.get(hole) {
                self.classes[*moved as usize].active = hole;
            }
        }
        true
    }

    /// The class of a kind.
    pub(crate) fn class_of(&self, kind: &Kind) -> Option<u32> {
        self.by_kind.get(kind).copied()
    }

    /// Classes that are not empty, in no order.
    pub(crate) fn active(&self) -> &[u32] {
        &self.active
    }

    pub(crate) fn class(&self, at: u32) -> &Class {
        &self.classes[at as usize]
    }

    pub(crate) fn class_mut(&mut self, at: u32) -> &mut Class {
        &mut self.classes[at as usize]
    }

    /// Queued jobs in all.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::request::Request;

    fn kind(user: u32) -> Kind {
        let shape = Request::gpus(1).check().unwrap();
        Kind {
            queue: QueueId(0),
            user: UserId(user),
            priority: 0,
            shape,
            time_limit: None,
            group: 0,
            preemptible: false,
            runtime: None,
        }
    }

    fn entry(order: u64, job: u64) -> Entry {
        Entry { order, job: JobId(job), submitted: Time(order), runtime: None }
    }

    #[test]
    fn a_class_is_in_order_of_age_and_goes_when_it_is_empty() {
        let mut backlog = Backlog::default();
        backlog.insert(kind(1), entry(5, 1));
        backlog.insert(kind(1), entry(9, 2));
        backlog.insert(kind(2), entry(7, 3));
        backlog.insert(kind(1), entry(7, 4));
        assert_eq!((backlog.active().len(), backlog.len()), (2, 4));
        let ids: Vec<u64> = backlog.class(0).entries.iter().map(|entry| entry.job.0).collect();
        assert_eq!(ids, [1, 4, 2]);

        assert!(!backlog.remove(&kind(1), &entry(5, 9)));
        for (order, job) in [(7, 4), (5, 1), (9, 2)] {
            assert!(backlog.remove(&kind(1), &entry(order, job)));
        }
        assert!(!backlog.remove(&kind(1), &entry(5, 1)));
        assert_eq!((backlog.active(), backlog.len()), (&[1][..], 1));
        backlog.insert(kind(3), entry(1, 5));
        assert_eq!(backlog.class(0).kind, kind(3));
    }
}
