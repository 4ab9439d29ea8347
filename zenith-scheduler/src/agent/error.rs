//! Why an agent cannot run. What goes wrong while it runs is retried, and reported where it belongs.

use std::io;
use std::path::{Path, PathBuf};

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two agents would start everything twice.
    #[error("{path}: another agent uses this state folder; give each its own by --state")]
    StateInUse {
        /// The folder.
        path: PathBuf,
    },
    /// Changes of files cannot be noticed.
    #[error(
        "{path}: it cannot be watched ({source}); raise fs.inotify.max_user_instances and max_user_watches"
    )]
    Watch {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program that starts processes cannot be started.
    #[error("the nursery {program} cannot be started: {source}")]
    Nursery {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The controller's address is none.
    #[error("{address}: this is no address of a controller ({why}); host:port would work")]
    Controller {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The token would cross the network for everybody to read.
    #[error(
        "the token would go to {controller} in the clear; give --tls-ca, or --insecure where the network is trusted"
    )]
    InTheClear {
        /// Where it would go.
        controller: String,
    },
    /// The machine does not say what it has.
    #[error("{what} of this machine is not known ({why}); give it by {option}")]
    Machine {
        /// What is missing.
        what: &'static str,
        /// Why.
        why: String,
        /// How to say it.
        option: &'static str,
    },
    /// Arguments contradict each other.
    #[error("{0}")]
    Arguments(String),
}

impl Error {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::File { path: path.to_path_buf(), source }
    }
}
