//! Injected faults for the contract suite; compiled into tests only.

use std::fs::File;
use std::path::PathBuf;

/// Where a fault can strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    Open,
    Stat,
    Read,
}

/// What a fault does to an operation.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// It fails with this error and does nothing.
    Errno(i32),
    /// It reads at most this many bytes.
    Short(usize),
}

/// What happens next at a site.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// A fault.
    Strike(Fault),
    /// Another process truncates this file to this length first.
    Truncate(PathBuf, u64),
    /// Nothing, `n` times.
    Pass(usize),
    /// The same fault, always.
    Always(Fault),
}

/// A script of faults, one list per site, taken from the front.
pub(super) struct Faults {
    script: Vec<(Site, Plan)>,
    struck: usize,
}

impl Faults {
    pub(super) fn none() -> Self {
        Self::new(Vec::new())
    }

    pub(super) fn new(script: Vec<(Site, Plan)>) -> Self {
        Faults { script, struck: 0 }
    }

    /// How many plans have come to pass.
    pub(super) fn struck(&self) -> usize {
        self.struck
    }

    pub(super) fn strike(&mut self, site: Site) -> Option<Fault> {
        let at = self.script.iter().position(|(at, _)| *at == site)?;
        match &mut self.script[at].1 {
            Plan::Pass(n) if *n > 1 => {
                *n -= 1;
                None
            }
            Plan::Pass(_) => {
                self.script.remove(at);
                None
            }
            Plan::Always(fault) => {
                self.struck += 1;
                Some(fault.clone())
            }
            Plan::Strike(fault) => {
                let fault = fault.clone();
                self.script.remove(at);
                self.struck += 1;
                Some(fault)
            }
            Plan::Truncate(path, len) => {
                File::options().write(true).open(path).unwrap().set_len(*len).unwrap();
                self.script.remove(at);
                self.struck += 1;
                None
            }
        }
    }
}
