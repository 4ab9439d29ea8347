//! The empty twin of the fault injection that tests compile in: nothing ever goes wrong on purpose.

/// Where a fault could strike.
#[derive(Clone, Copy)]
pub(super) enum Site {
    Open,
    Stat,
    Read,
}

/// What a fault does to an operation.
#[expect(dead_code, reason = "only the twin for tests makes any")]
pub(super) enum Fault {
    Errno(i32),
    Short(usize),
}

/// No faults.
pub(super) struct Faults;

impl Faults {
    pub(super) const fn none() -> Self {
        Faults
    }

    #[inline(always)]
    pub(super) fn strike(&mut self, _site: Site) -> Option<Fault> {
        None
    }
}
