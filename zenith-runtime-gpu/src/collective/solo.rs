//! One rank alone, so that a program need not ask whether it has company.

use std::time::Duration;

use super::Result;
use super::call::Call;
use super::communicator::Communicator;

/// The communicator of a world of one: every result is the rank's own elements.
#[derive(Debug, Default)]
pub struct Solo;

impl Communicator for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn world(&self) -> usize {
        1
    }

    fn backend(&self) -> &'static str {
        "solo"
    }

    fn carry_out(&mut self, _call: Call, _data: &mut [u8], _limit: Duration) -> Result<()> {
        // The sum, the least, the average of one, its share and its gathering are what is there.
        Ok(())
    }

    fn decide(&mut self, yes: bool, _limit: Duration) -> Result<bool> {
        Ok(yes)
    }
}
