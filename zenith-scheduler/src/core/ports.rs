//! Where the ranks of a gang meet. No two placed gangs whose first rank is at the same address have the same port. Chosen
//! once for an attempt and written down with its place, so that every part is told the same whenever it is told.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Below the ports that systems give out by themselves.
const FIRST: u16 = 16_384;
const LAST: u16 = 32_767;

/// A place to meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meeting {
    /// Where the node of the first rank is reached.
    pub address: String,
    /// A port there.
    pub port: u16,
}

/// Ports of placed gangs, by address. Follows from the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    taken: BTreeMap<String, BTreeSet<u16>>,
    /// The next to be tried: a port rests as long as possible before it is used again, since a program may hold it still.
    next: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { taken: BTreeMap::new(), next: FIRST }
    }
}

impl Ports {
    /// A port that no gang has at an address; none where all are taken.
    pub(crate) fn free(&self, address: &str) -> Option<u16> {
        let Some(taken) = self.taken.get(address) else { return Some(self.next) };
        (self.next..=LAST).chain(FIRST..self.next).find(|port| !taken.contains(port))
    }

    /// A gang meets here from now on.
    pub(crate) fn take(&mut self, meeting: &Meeting) {
        self.taken.entry(meeting.address.clone()).or_default().insert(meeting.port);
        self.next = if (FIRST..LAST).contains(&meeting.port) { meeting.port + 1 } else { FIRST };
    }

    /// A gang meets here no longer.
    pub(crate) fn give_back(&mut self, meeting: &Meeting) {
        if let Some(taken) = self.taken.get_mut(&meeting.address) {
            taken.remove(&meeting.port);
            if taken.is_empty() {
                self.taken.remove(&meeting.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(ports: &mut Ports, address: &str) -> Option<u16> {
        let port = ports.free(address)?;
        ports.take(&Meeting { address: address.to_owned(), port });
        Some(port)
    }

    fn back(ports: &mut Ports, address: &str, port: u16) {
        ports.give_back(&Meeting { address: address.to_owned(), port });
    }

    #[test]
    fn living_gangs_at_one_address_have_ports_of_their_own() {
        let mut ports = Ports::default();
        let all: BTreeSet<u16> = (0..100).filter_map(|_| taken(&mut ports, "a")).collect();
        assert_eq!(all.len(), 100);
        assert_eq!(taken(&mut ports, "b"), Some(FIRST + 100));
    }

    #[test]
    fn a_port_rests_before_it_is_used_again() {
        let mut ports = Ports::default();
        assert_eq!(taken(&mut ports, "a"), Some(FIRST));
        back(&mut ports, "a", FIRST);
        assert_eq!(taken(&mut ports, "a"), Some(FIRST + 1));
    }

    #[test]
    fn when_all_are_taken_there_is_none() {
        let mut ports = Ports::default();
        assert!((FIRST..=LAST).all(|_| taken(&mut ports, "a").is_some()));
        assert_eq!(ports.free("a"), None);
        back(&mut ports, "a", FIRST + 3);
        assert_eq!(ports.free("a"), Some(FIRST + 3));
    }
}
