//! Whether NVIDIA's GPUs are well: errors as the driver reports them, and counters that should be zero.
//!
//! A [`Watch`] holds the library, a [`Monitor`] of it waits for errors and looks at the counters. It only looks: it
//! resets nothing and moves nobody. AMD's GPUs are not watched; what their driver counted is in
//! [`Gpu::ecc`](crate::Gpu::ecc) of each discovery.

mod monitor;
mod xid;

use std::fmt;

use serde::Serialize;

use crate::discovery::Settings;
use crate::finding::Finding;
use crate::nvml::{Library, finding};

pub use monitor::Monitor;
pub use xid::{Remedy, Verdict, Xid};

/// Whether work may go to a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing is wrong that is looked at; [`GpuHealth::unwatched`] says what is not.
    #[default]
    Healthy,
    /// It works, and wants a reset when it is idle.
    Degraded,
    /// No work until it was repaired.
    Condemned,
}

/// Why a GPU is not healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The driver reported an error.
    #[error("{0}")]
    Xid(Xid),
    /// The driver reported a memory error that was not corrected.
    #[error("a memory error of two bits")]
    DoubleBitEcc,
    /// Memory errors were not corrected since the driver was loaded.
    #[error("{count} memory errors were not corrected since the driver was loaded")]
    UncorrectedEcc {
        /// How many.
        count: u64,
    },
    /// There are no spare rows for bad ones any more.
    #[error("a bad row of memory could not be replaced")]
    RowRemapFailed,
    /// Bad rows are replaced at the next reset.
    #[error("bad rows of memory wait for a reset to be replaced")]
    RowRemapPending,
    /// It does not answer any more.
    #[error("it fell off the bus")]
    FellOffBus,
    /// It answers nothing else than that it needs a reset.
    #[error("it needs a reset")]
    ResetRequired,
    /// It cannot be asked: this user may not, or the driver cannot either.
    #[error("it cannot be asked")]
    Unreadable,
    /// The driver itself asks for something.
    #[error("the driver asks for {}", match action { Remedy::Reboot => "a reboot of the node", _ => "a reset" })]
    RecoveryAsked {
        /// For what.
        action: Remedy,
    },
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Errors that the driver reports.
    Xid,
    /// The count of memory errors that were not corrected.
    Ecc,
    /// Rows of memory that were to be replaced.
    RowRemap,
    /// What the driver itself asks for.
    Recovery,
}

/// How one GPU is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuHealth {
    /// Its number at NVML.
    pub gpu: u32,
    /// Its UUID; `None` when it did not answer from the start.
    pub uuid: Option<String>,
    /// The worst that the causes say.
    pub state: State,
    /// Why it is not healthy.
    pub causes: Vec<Cause>,
    /// What is not looked at, since the GPU or the library does not have it.
    pub unwatched: Vec<Check>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// The driver reported an error, whatever it says about the GPU.
    Reported {
        /// The GPU's number at NVML; `None` when the library does not say which one.
        gpu: Option<u32>,
        /// The error.
        xid: Xid,
    },
    /// A GPU's state is another one.
    State {
        /// The GPU's number at NVML.
        gpu: u32,
        /// What it was.
        from: State,
        /// What it is.
        to: State,
    },
}

/// NVML, open for watching.
#[derive(Debug)]
pub struct Watch {
    library: Library,
}

impl Watch {
    /// Opens NVML.
    ///
    /// # Errors
    /// The finding that [`discover`](crate::discover) would have too.
    pub fn open(settings: &Settings) -> Result<Self, Finding> {
        let library = Library::open(settings.nvml.as_deref()).map_err(finding)?;
        Ok(Self { library })
    }

    /// Begins to watch all GPUs. Errors that were reported before are not seen; their traces in the counters are.
    ///
    /// # Errors
    /// When the library does not even count its GPUs.
    pub fn monitor(&self) -> Result<Monitor<'_>, Finding> {
        Monitor::new(&self.library)
    }
}

impl Cause {
    /// What it makes of a GPU.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Xid(xid) => match xid.verdict {
                Verdict::Program | Verdict::Notice => State::Healthy,
                Verdict::Degraded => State::Degraded,
                Verdict::Condemned => State::Condemned,
            },
            Self::RowRemapPending => State::Degraded,
            Self::DoubleBitEcc
            | Self::UncorrectedEcc { .. }
            | Self::RowRemapFailed
            | Self::FellOffBus
            | Self::ResetRequired
            | Self::Unreadable
            | Self::RecoveryAsked { .. } => State::Condemned,
        }
    }

    /// What repairs it.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Xid(xid) => xid.remedy,
            Self::RecoveryAsked { action } => *action,
            Self::FellOffBus => Remedy::Reboot,
            Self::RowRemapFailed | Self::Unreadable => Remedy::Inspect,
            Self::DoubleBitEcc
            | Self::UncorrectedEcc { .. }
            | Self::RowRemapPending
            | Self::ResetRequired => Remedy::Reset,
        }
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "Xid {number}: {}", self.text),
            None => write!(f, "Xid without a number: {}", self.text),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "nothing",
            Self::Reset => "reset it when nothing runs on it (nvidia-smi --gpu-reset)",
            Self::Reboot => "reboot the node",
            Self::Inspect => {
                "look at its power, its seating and its links; ask for a replacement if it comes again"
            }
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Condemned => "condemned",
        })
    }
}
