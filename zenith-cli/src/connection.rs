//! How subcommands reach the scheduler: the flags for it, and what a failed call looks like.

use std::path::PathBuf;

use clap::Args;
use zenith_scheduler::client::{Blocking, ClientError, RawTarget};

/// Where the scheduler is and who calls it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Scheduler")]
pub(crate) struct Connection {
    /// Where the scheduler is: HOST:PORT, or https://HOST:PORT [default: ZENITH_CONTROLLER, or 127.0.0.1:50051].
    #[arg(long, value_name = "ADDRESS")]
    controller: Option<String>,
    /// A file with the token that shows who calls [default: the token in ZENITH_TOKEN, or the file in ZENITH_TOKEN_FILE].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) by which the scheduler's is known; means https [default: ZENITH_TLS_CA].
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Send the token to another machine without encryption [default: if ZENITH_INSECURE is 1 or true].
    #[arg(long)]
    insecure: bool,
}

impl Connection {
    /// A client; nothing is connected before its first call.
    pub(crate) fn open(&self) -> Result<Blocking, ClientError> {
        let Self { controller, token_file, tls_ca, insecure } = self.clone();
        Ok(Blocking::new(RawTarget { controller, token: None, token_file, tls_ca, insecure }.check()?))
    }
}

/// The command has done its work and ends with this status, which is not its own.
#[derive(Debug, thiserror::Error)]
#[error("ended with status {0}")]
pub(crate) struct Status(pub(crate) u8);
