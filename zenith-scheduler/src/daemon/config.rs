//! How the program is to run: raw as it was written, checked once.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::api::auth::is_loopback;
use crate::controller::Settings;
use crate::core::Span;
use crate::policy::Policy;

const GRPC: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);
const REST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Longest length of time that a setting may have, in seconds: ten years.
const MAX_SECONDS: f64 = 10.0 * 366.0 * 86400.0;

/// Settings as they are written, in a file and as arguments.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Raw {
    /// The folder of the state.
    pub state: Option<PathBuf>,
    /// Where gRPC is served.
    pub grpc: Option<SocketAddr>,
    /// Where REST is served.
    pub rest: Option<SocketAddr>,
    /// The certificates.
    pub tls_cert: Option<PathBuf>,
    /// Their key.
    pub tls_key: Option<PathBuf>,
    /// Tokens may cross the network in the clear.
    pub insecure: bool,
    /// Who calls on this machine needs a token too.
    pub require_tokens: bool,
    /// This machine is no node.
    pub no_agent: bool,
    /// Seconds between signs of life of nodes.
    pub heartbeat: Option<f64>,
    /// Seconds until a node is silent.
    pub silent_after: Option<f64>,
    /// Seconds until a node is lost.
    pub lost_after: Option<f64>,
    /// Seconds between the signal to end and the kill.
    pub grace: Option<f64>,
    /// Days for which jobs that have ended are kept.
    pub keep_days: Option<f64>,
    /// So many of them at most.
    pub keep_jobs: Option<usize>,
    /// So many jobs that have not ended at most.
    pub max_open_jobs: Option<usize>,
    /// KiB of one submission at most.
    pub max_submission_kib: Option<u64>,
    /// MiB of all submissions that are kept at most.
    pub max_kept_mib: Option<u64>,
    /// MiB of the disk that are left alone by new work.
    pub room_mib: Option<u64>,
    /// How jobs are chosen.
    pub policy: Policy,
}

/// Settings that make sense.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the state.
    pub state: PathBuf,
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where REST is served.
    pub rest: SocketAddr,
    /// What is shown to those who connect; without it nothing is encrypted.
    pub tls: Option<TlsFiles>,
    /// Tokens may cross the network in the clear.
    pub insecure: bool,
    /// Who calls on this machine needs a token too.
    pub require_tokens: bool,
    /// This machine is no node.
    pub no_agent: bool,
    /// How the controller behaves.
    pub settings: Settings,
}

/// Certificates and their key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates.
    pub certificates: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// What is wrong with settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or a folder cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be understood.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The folder of the state is everybody's.
    #[error("{}: all users may write to it; name a folder of the scheduler's own with --state", path.display())]
    Shared {
        /// Which.
        path: PathBuf,
    },
    /// There is nowhere to keep state.
    #[error("there is no home directory; say where to keep the state by --state")]
    Homeless,
    /// A setting makes no sense.
    #[error("{setting}: {reason}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Raw {
    /// Settings of a file.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source: Box::new(source) };
        toml::from_str(&text).map_err(unreadable)
    }

    /// What they mean.
    ///
    /// # Errors
    /// Settings that contradict each other or themselves.
    pub fn check(self) -> Result<Config, ConfigError> {
        let usual = Settings::default();
        let mut policy = self.policy;
        if let Some(grace) = self.grace {
            policy.grace = Span(length("grace", grace)?.as_millis() as u64);
        }
        let or = |setting, given: Option<f64>, usual| given.map_or(Ok(usual), |given| length(setting, given));
        let settings = Settings {
            policy,
            heartbeat: or("heartbeat", self.heartbeat, usual.heartbeat)?,
            silent_after: or("silent-after", self.silent_after, usual.silent_after)?,
            lost_after: or("lost-after", self.lost_after, usual.lost_after)?,
            keep_for: or("keep-days", self.keep_days.map(|days| days * 86400.0), usual.keep_for)?,
            keep_at_most: self.keep_jobs.unwrap_or(usual.keep_at_most),
            max_open_jobs: self.max_open_jobs.unwrap_or(usual.max_open_jobs),
            max_submission_bytes: self
                .max_submission_kib
                .map_or(usual.max_submission_bytes, |kib| kib.saturating_mul(1 << 10)),
            max_kept_bytes: self.max_kept_mib.map_or(usual.max_kept_bytes, |mib| mib.saturating_mul(1 << 20)),
            room: self.room_mib.map_or(usual.room, |mib| mib.saturating_mul(1 << 20)),
        };
        let in_order =
            settings.heartbeat < settings.silent_after && settings.silent_after < settings.lost_after;
        if settings.heartbeat.is_zero() || !in_order {
            let reason = format!(
                "a heartbeat every {:?}, silent after {:?}, lost after {:?}: each has to be longer than the one before",
                settings.heartbeat, settings.silent_after, settings.lost_after
            );
            return Err(ConfigError::Setting { setting: "heartbeat", reason });
        }
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(certificates), Some(key)) => Some(TlsFiles { certificates, key }),
            (None, None) => None,
            _ => {
                let reason = "certificates and key go together".to_owned();
                return Err(ConfigError::Setting { setting: "tls-cert", reason });
            }
        };
        Ok(Config {
            state: state(self.state)?,
            grpc: self.grpc.unwrap_or(GRPC),
            rest: self.rest.unwrap_or(REST),
            tls,
            insecure: self.insecure,
            require_tokens: self.require_tokens,
            no_agent: self.no_agent,
            settings,
        })
    }
}

impl Config {
    /// Addresses that other machines can reach.
    pub fn open_addresses(&self) -> Vec<SocketAddr> {
        [self.grpc, self.rest].into_iter().filter(|address| !is_loopback(address.ip())).collect()
    }
}

fn length(setting: &'static str, seconds: f64) -> Result<Duration, ConfigError> {
    if (0.0..=MAX_SECONDS).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    let reason = format!("{seconds} s; 0 to {MAX_SECONDS} are possible");
    Err(ConfigError::Setting { setting, reason })
}

/// The folder of the state: the one given, or the usual one.
///
/// # Errors
/// None is given, and there is no home directory.
pub fn state(given: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = || absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    let usual = || data().map(|data| data.join("zenith/scheduler"));
    given.or_else(usual).ok_or(ConfigError::Homeless)
}

/// Makes a folder that is this user's alone, or makes one that is there so.
///
/// # Errors
/// What the system says; a folder that all users may write to, as `/tmp` is.
pub fn make_private(folder: &Path) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::File { path: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let mode = fs::metadata(folder).map_err(failed)?.permissions().mode();
    if mode & 0o002 != 0 {
        return Err(ConfigError::Shared { path: folder.to_owned() });
    }
    if mode & 0o077 != 0 {
        tracing::warn!(folder = %folder.display(), "the folder of the state was open to others and is closed to them now");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Config, String> {
        let raw: Raw = toml::from_str(text).map_err(|error| error.to_string())?;
        raw.check().map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_as_usual() {
        let config = parsed("state = \"/s\"").unwrap();
        assert_eq!((config.grpc, config.rest), (GRPC, REST));
        assert_eq!(config.open_addresses(), []);
        assert_eq!(config.settings.policy, Policy::default());
    }

    #[test]
    fn a_folder_that_is_there_is_closed_to_others_and_one_that_is_everybodys_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mode = || fs::metadata(folder.path()).unwrap().permissions().mode() & 0o7777;
        let set = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        set(0o755);
        make_private(folder.path()).unwrap();
        assert_eq!(mode(), 0o700);
        set(0o1777);
        let refused = make_private(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("--state"), "{refused}");
        assert_eq!(mode(), 0o1777);
        make_private(&folder.path().join("a/b")).unwrap();
    }

    #[test]
    fn policies_are_settings_too() {
        let text = "state = \"/s\"\ngrace = 2.5\nkeep-days = 1\n[policy]\norder = \"submitted\"\n";
        let settings = parsed(text).unwrap().settings;
        assert_eq!(settings.policy.grace, Span(2500));
        assert_eq!(settings.policy.order, crate::policy::Order::Submitted);
        assert_eq!(settings.keep_for, Duration::from_secs(86400));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert!(parsed("colour = 1").unwrap_err().contains("colour"));
        assert!(parsed("state = \"/s\"\ngrace = -1").unwrap_err().starts_with("grace: "));
        assert!(parsed("state = \"/s\"\nheartbeat = 9").unwrap_err().starts_with("heartbeat: "));
        assert!(parsed("state = \"/s\"\nheartbeat = nan").unwrap_err().starts_with("heartbeat: "));
        assert!(parsed("state = \"/s\"\ntls-cert = \"/c\"").unwrap_err().starts_with("tls-cert: "));
    }

    #[test]
    fn addresses_that_others_reach_are_seen() {
        let config = parsed("state = \"/s\"\ngrpc = \"0.0.0.0:1\"\nrest = \"[::1]:2\"").unwrap();
        assert_eq!(config.open_addresses(), ["0.0.0.0:1".parse().unwrap()]);
    }
}
