//! A network of its own: a namespace in the middle, and one for each node around it with a cable between, which can be pulled
//! out. What lies in the middle is reached by the thread that made it.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The network's end, like its beginning, is made by `ip`.
pub(crate) struct Network {
    hub: String,
    leaves: Vec<String>,
}

impl Network {
    /// Makes it, and moves this thread into its middle.
    pub(crate) fn new(leaves: usize) -> Self {
        let name = |what: &str| format!("zenith-{}-{what}", std::process::id());
        let mut network = Self { hub: name("hub"), leaves: Vec::new() };
        let hub = network.hub.clone();
        ip(&["netns", "add", &hub]);
        ip(&["-n", &hub, "link", "set", "lo", "up"]);
        for index in 0..leaves {
            let (leaf, port) = (name(&index.to_string()), format!("leaf{index}"));
            ip(&["netns", "add", &leaf]);
            network.leaves.push(leaf.clone());
            ip(&["-n", &leaf, "link", "set", "lo", "up"]);
            ip(&["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "cable", "netns", &leaf]);
            let [middle, edge] = [1, 2].map(|end| format!("{}/30", address(index, end)));
            ip(&["-n", &hub, "address", "add", &middle, "dev", &port]);
            ip(&["-n", &leaf, "address", "add", &edge, "dev", "cable"]);
            ip(&["-n", &hub, "link", "set", &port, "up"]);
            ip(&["-n", &leaf, "link", "set", "cable", "up"]);
        }
        enter(&hub);
        network
    }

    /// The address of the middle as a node sees it.
    pub(crate) fn middle(&self, leaf: usize) -> String {
        address(leaf, 1)
    }

    /// Does something in a node's namespace; processes begun there stay there.
    pub(crate) fn at<T: Send>(&self, leaf: usize, act: impl FnOnce() -> T + Send) -> T {
        let place = &self.leaves[leaf];
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                enter(place);
                act()
            });
            there.join().unwrap()
        })
    }

    /// Pulls a node's cable out.
    pub(crate) fn cut(&self, leaf: usize) {
        ip(&["-n", &self.leaves[leaf], "link", "set", "cable", "down"]);
    }

    /// Puts it back.
    pub(crate) fn mend(&self, leaf: usize) {
        ip(&["-n", &self.leaves[leaf], "link", "set", "cable", "up"]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in self.leaves.iter().chain([&self.hub]) {
            // One that was not made cannot be removed.
            let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

/// An end of a cable, in a range that is set aside for tests of networks.
fn address(leaf: usize, end: u8) -> String {
    format!("198.18.{leaf}.{end}")
}

/// Moves this thread into a namespace.
fn enter(namespace: &str) {
    let namespace = File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn ip(arguments: &[&str]) {
    let outcome = Command::new("ip").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "ip {}: {said}", arguments.join(" "));
}
