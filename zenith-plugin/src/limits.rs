//! What a plugin may use: raw numbers and their check, once. Keeping to them is the business of `live` and `host`.

use std::time::Duration;

use crate::PluginError;

/// The most stack a call may be given: threads have 2 MiB, of which the host needs some for itself.
const MOST_STACK: usize = 1 << 20;

/// The least stack with which ordinary functions can be entered.
const LEAST_STACK: usize = 16 << 10;

/// The longest deadline: a hundred days, so that sums of times cannot overflow.
const LONGEST: Duration = Duration::from_secs(100 * 24 * 3600);

/// The most tables; each takes up to `table_elements` times 8 bytes of the host's memory.
const MOST_TABLES: u32 = 1_000;

/// The most elements of a table.
const MOST_ELEMENTS: u32 = 10_000_000;

/// What one plugin may use. The defaults are those of `docs/plugin-abi.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of an instance, in bytes; 256 MiB. There is one instance for each thread.
    pub memory: usize,
    /// Wall time of a call, and of making an instance; 1 s.
    pub deadline: Duration,
    /// Fuel of a call (about one unit for an instruction); none. With it a call ends after the same instruction on every
    /// machine, but all calls are slower.
    pub fuel: Option<u64>,
    /// Tables of an instance; 4.
    pub tables: u32,
    /// Elements of a table; 65,536.
    pub table_elements: u32,
    /// Stack of a call, in bytes; 512 KiB.
    pub stack: usize,
    /// Length of the module, in bytes; 16 MiB.
    pub module_bytes: usize,
    /// Length of the longest function, in bytes; 128 KiB. Compiling may take time by the square of it.
    pub function_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            deadline: Duration::from_secs(1),
            fuel: None,
            tables: 4,
            table_elements: 65_536,
            stack: 512 << 10,
            module_bytes: 16 << 20,
            function_bytes: 128 << 10,
        }
    }
}

impl Limits {
    /// Refuses what could not be kept.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let refuse = |limit, value: String, reason| Err(PluginError::Limits { limit, value, reason });
        if !(LEAST_STACK..=MOST_STACK).contains(&self.stack) {
            return refuse("stack", self.stack.to_string(), "16 KiB to 1 MiB would work");
        }
        if self.deadline.is_zero() || self.deadline > LONGEST {
            return refuse("deadline", format!("{:?}", self.deadline), "up to 100 days would work");
        }
        if self.tables > MOST_TABLES {
            return refuse("tables", self.tables.to_string(), "up to 1,000 would work");
        }
        if self.table_elements > MOST_ELEMENTS {
            return refuse("table_elements", self.table_elements.to_string(), "up to 10,000,000 would work");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_what_cannot_be_kept_is_named() {
        Limits::default().check().unwrap();
        let refused = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            match limits.check() {
                Err(PluginError::Limits { limit, .. }) => limit,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(|l| l.stack = 2 << 20), "stack");
        assert_eq!(refused(|l| l.stack = 0), "stack");
        assert_eq!(refused(|l| l.deadline = Duration::ZERO), "deadline");
        assert_eq!(refused(|l| l.deadline = Duration::MAX), "deadline");
        assert_eq!(refused(|l| l.tables = u32::MAX), "tables");
        assert_eq!(refused(|l| l.table_elements = u32::MAX), "table_elements");
    }
}
