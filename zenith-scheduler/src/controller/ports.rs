//! Ports at which the ranks of a gang meet. No two living gangs whose first rank is at the same address have the same one.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::JobId;

/// Below the ports that systems give out by themselves.
const FIRST: u16 = 16_384;
const LAST: u16 = 32_767;

/// Ports in use.
#[derive(Debug)]
pub(super) struct Ports {
    taken: BTreeSet<(String, u16)>,
    of: BTreeMap<JobId, (String, u16)>,
    /// The next to be tried: a port rests as long as possible before it is used again, since a program may hold it still.
    next: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { taken: BTreeSet::new(), of: BTreeMap::new(), next: FIRST }
    }
}

impl Ports {
    /// A port for a job at an address; its own where it has one there already. None where all are taken.
    pub(super) fn take(&mut self, job: JobId, address: &str) -> Option<u16> {
        if let Some((known, port)) = self.of.get(&job)
            && known == address
        {
            return Some(*port);
        }
        for _ in FIRST..=LAST {
            let port = self.next;
            self.next = if port == LAST { FIRST } else { port + 1 };
            if !self.taken.contains(&(address.to_owned(), port)) {
                self.note(job, address, port);
                return Some(port);
            }
        }
        None
    }

    /// A job is known to have a port.
    pub(super) fn note(&mut self, job: JobId, address: &str, port: u16) {
        self.give_back(job);
        self.taken.insert((address.to_owned(), port));
        self.of.insert(job, (address.to_owned(), port));
    }

    /// A job's attempt is over.
    pub(super) fn give_back(&mut self, job: JobId) {
        if let Some(taken) = self.of.remove(&job) {
            self.taken.remove(&taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn living_gangs_at_one_address_have_ports_of_their_own() {
        let mut ports = Ports::default();
        let all: BTreeSet<u16> = (0..100).filter_map(|job| ports.take(JobId(job), "a")).collect();
        assert_eq!(all.len(), 100);
        assert_eq!(ports.take(JobId(7), "a"), Some(FIRST + 7), "the port of a job stays the same");
        ports.note(JobId(500), "b", FIRST + 100);
        assert_eq!(ports.take(JobId(200), "b"), Some(FIRST + 101));
    }

    #[test]
    fn a_port_rests_before_it_is_used_again() {
        let mut ports = Ports::default();
        assert_eq!(ports.take(JobId(1), "a"), Some(FIRST));
        ports.give_back(JobId(1));
        assert_eq!(ports.take(JobId(2), "a"), Some(FIRST + 1));
    }

    #[test]
    fn when_all_are_taken_there_is_none() {
        let mut ports = Ports::default();
        let count = u64::from(LAST - FIRST) + 1;
        assert!((0..count).all(|job| ports.take(JobId(job), "a").is_some()));
        assert_eq!(ports.take(JobId(count), "a"), None);
        ports.give_back(JobId(3));
        assert_eq!(ports.take(JobId(count), "a"), Some(FIRST + 3));
    }
}
