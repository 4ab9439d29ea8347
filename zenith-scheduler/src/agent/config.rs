//! What an agent is told, checked once.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::gpus::Gpus;

/// What an agent is told.
pub struct Config {
    /// Where the controller listens: host:port.
    pub controller: String,
    /// The folder that is this agent's alone.
    pub state: PathBuf,
    /// The node's name; one that joins again by the same name is the same node.
    pub name: String,
    /// The rack it is in; empty where that is not known.
    pub rack: String,
    /// The address by which processes of other nodes reach this one. The one that is used to reach the controller where absent.
    pub address: Option<String>,
    /// Processors to hand out.
    pub cpus: u32,
    /// Memory to hand out.
    pub memory_mib: u64,
    /// The GPUs to hand out.
    pub gpus: Box<dyn Gpus>,
    /// How long their drivers may take to answer: at the start, and whenever they are asked how they are.
    pub gpu_patience: Duration,
    /// What the controller lets agents in for.
    pub token: Option<Token>,
    /// The certificates, in PEM, of those who may vouch for the controller. Without them nothing is encrypted.
    pub tls_ca: Option<Vec<u8>>,
    /// The token may go to another machine without encryption.
    pub insecure: bool,
    /// Bytes of a log after which its beginning is dropped; twice as much is kept at most.
    pub log_part: u64,
    /// What is kept of attempts that have ended.
    pub keep: Keep,
    /// The program that runs [`nursery`](super::nursery), with its arguments.
    pub nursery: Vec<OsString>,
    /// Where the machine's NUMA nodes are read from: `/sys/devices/system/node`.
    pub numa: PathBuf,
}

impl Config {
    /// The program of a nursery, for a process that has `nursery` as a command of its own: itself.
    #[must_use]
    pub fn own_nursery() -> Vec<OsString> {
        // By this name it is found even after its file was replaced.
        vec!["/proc/self/exe".into(), "nursery".into()]
    }
}

/// The variable that has the token where no file is given. No process of a job sees it.
pub(crate) const TOKEN_VARIABLE: &str = "ZENITH_AGENT_TOKEN";

/// A secret. It can be shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// What has been read from a file or a variable, without the white space around it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// How much is kept of attempts whose end the controller has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many.
    pub attempts: usize,
    /// As long as their logs take no more bytes.
    pub bytes: u64,
    /// For so long.
    pub age: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Self { attempts: 1_000, bytes: 16 << 30, age: Duration::from_secs(7 * 24 * 60 * 60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let token = Token::new(" secret\n");
        assert_eq!(token.reveal(), "secret");
        assert!(!format!("{token:?}").contains("secret"));
    }
}
