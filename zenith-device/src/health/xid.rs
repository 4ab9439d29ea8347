//! NVIDIA's error numbers, Xids: what the well-known ones mean, and what follows for the GPU.
//!
//! The table is ours; what it goes by is NVIDIA's. "Analyzing Xid Errors with the Xid Catalog" (docs.nvidia.com,
//! deploy/xid-errors) has for each number what to do at once: restart the program, reset the GPU, restart the machine,
//! look at the links, or nothing. "GPU Memory Error Management" (deploy/a100-gpu-mem-error-mgmt) says what remapped rows
//! and contained errors leave behind: a GPU that works on, and wants a reset when it is idle. NVIDIA's plugin for
//! Kubernetes gives a GPU up for every critical number except those that are known to be the program's; here a number
//! that the table lacks degrades the GPU, since newer drivers also have numbers for news that is not bad.
//!
//! The numbers of NVLink's fifth generation (144 to 150) mean anything from nothing to a reset, by registers that only
//! the kernel's log has; they are taken for the worst that the catalog has for them.

use serde::Serialize;

/// What an Xid says about the GPU it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing: the program that ran there did something wrong, and was or will be stopped.
    Program,
    /// Nothing that asks for anything.
    Notice,
    /// It works, and is not what it was: reset it when it is idle, and until then prefer others.
    Degraded,
    /// What it computes cannot be trusted, or it does not compute: no work until it was repaired.
    Condemned,
}

/// What repairs a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Nothing has to be done to the GPU.
    None,
    /// `nvidia-smi --gpu-reset`, with nothing running on it.
    Reset,
    /// A reboot of the node.
    Reboot,
    /// A look at power, seating and links, by a person.
    Inspect,
}

/// An error that the driver reported of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Xid {
    /// NVIDIA's number; `None` where the driver does not know it itself.
    pub number: Option<u64>,
    /// What happened.
    pub text: &'static str,
    /// What it says about the GPU.
    pub verdict: Verdict,
    /// What repairs the GPU.
    pub remedy: Remedy,
}

use Remedy::{Inspect, Reboot, Reset};
use Verdict::{Condemned, Degraded, Notice, Program};

/// The well-known numbers, ascending.
const TABLE: [(u64, &str, Verdict, Remedy); 49] = [
    (8, "a program's work did not end in time", Program, Remedy::None),
    (11, "a program sent a broken stream of commands", Program, Remedy::None),
    (13, "an exception in a program's kernel", Program, Remedy::None),
    (31, "a program touched memory that is not mapped", Program, Remedy::None),
    (32, "a program sent a broken stream of commands", Program, Remedy::None),
    (43, "a program's channel was stopped after its own fault", Program, Remedy::None),
    (
        45,
        "a program's channel was cleaned up, for it ended or another error came first",
        Program,
        Remedy::None,
    ),
    (46, "the GPU stopped processing", Condemned, Reset),
    (48, "memory error of two bits, not corrected", Condemned, Reset),
    (54, "auxiliary power is not connected", Condemned, Inspect),
    (62, "the power management unit halted", Condemned, Reset),
    (63, "a bad row or page of memory was taken out; a reset completes it", Degraded, Reset),
    (64, "a bad row or page of memory could not be taken out", Condemned, Reset),
    (66, "a register was touched that is not allowed", Notice, Remedy::None),
    (67, "a check in the context switching firmware failed", Notice, Remedy::None),
    (68, "an exception in a video decoder", Program, Remedy::None),
    (69, "a program used a class of work wrongly", Program, Remedy::None),
    (74, "an NVLink failed", Condemned, Inspect),
    (79, "the GPU fell off the bus", Condemned, Reboot),
    (80, "a program's stream of commands arrived damaged", Program, Remedy::None),
    (92, "corrected memory errors come often", Notice, Remedy::None),
    (93, "the InfoROM was written more often than it should", Notice, Remedy::None),
    (94, "a memory error that was not corrected, confined to one program", Degraded, Reset),
    (95, "a memory error that was not corrected, and may have reached other programs", Condemned, Reset),
    (106, "a test message", Notice, Remedy::None),
    (107, "a test message", Notice, Remedy::None),
    (108, "an address of another GPU could not be translated", Notice, Remedy::None),
    (109, "switching between programs took too long", Condemned, Reset),
    (110, "a fault of the security engine", Condemned, Reset),
    (119, "the GPU's system processor does not answer", Condemned, Reset),
    (120, "the GPU's system processor failed", Condemned, Reset),
    (121, "an error on the link to the host's processor, corrected", Notice, Remedy::None),
    (136, "training of a link failed", Condemned, Reset),
    (137, "a request over NVLink was refused by the other side", Notice, Remedy::None),
    (140, "a memory error that was not corrected went unnoticed at first", Condemned, Reset),
    (143, "the GPU could not be initialized", Condemned, Reset),
    (144, "an error of NVLink", Condemned, Reset),
    (145, "an error of NVLink", Condemned, Reset),
    (146, "an error of NVLink", Condemned, Reset),
    (147, "an event of NVLink", Notice, Remedy::None),
    (148, "an event of NVLink", Notice, Remedy::None),
    (149, "an error of NVLink", Condemned, Reset),
    (150, "an error of NVLink", Condemned, Reset),
    (151, "keys of confidential computing could not be changed", Condemned, Reboot),
    (154, "the driver asks for another recovery action than before", Notice, Remedy::None),
    (155, "an error of NVLink's software", Condemned, Reset),
    (156, "a part of the GPU was taken out; a reset completes it", Degraded, Reset),
    (157, "a part of the GPU could not be taken out", Degraded, Inspect),
    (158, "the GPU did not end its work in time", Condemned, Reset),
];

impl Xid {
    /// What this number means.
    #[must_use]
    pub fn of(number: u64) -> Self {
        match TABLE.binary_search_by_key(&number, |row| row.0) {
            Ok(place) => {
                let (number, text, verdict, remedy) = TABLE[place];
                Self { number: Some(number), text, verdict, remedy }
            }
            Err(_) => Self { number: Some(number), ..Self::UNKNOWN },
        }
    }

    /// An error whose number the driver does not know, or that is not in the table.
    pub(super) const UNKNOWN: Self = Self {
        number: None,
        text: "an error that is not known here: look it up in NVIDIA's catalog of Xids",
        verdict: Degraded,
        remedy: Inspect,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_says_what_repairs_what_it_condemns() {
        assert!(TABLE.is_sorted_by(|one, next| one.0 < next.0));
        for (number, text, verdict, remedy) in TABLE {
            assert_eq!(remedy == Remedy::None, verdict < Degraded, "{number}: {text}");
        }
    }

    #[test]
    fn programs_are_told_from_hardware() {
        for number in [13, 31, 43, 45] {
            assert_eq!(Xid::of(number).verdict, Program, "{number}");
        }
        for number in [48, 64, 74, 79, 95, 119, 120] {
            assert_eq!(Xid::of(number).verdict, Condemned, "{number}");
        }
        for number in [63, 94] {
            assert_eq!(Xid::of(number).verdict, Degraded, "{number}");
        }
        assert_eq!((Xid::of(79).remedy, Xid::of(79).number), (Reboot, Some(79)));
        assert_eq!((Xid::of(7777).number, Xid::of(7777).verdict), (Some(7777), Degraded));
    }
}
