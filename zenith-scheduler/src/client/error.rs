//! What can go wrong between a client and the scheduler: refusals, which the scheduler explains, and everything that keeps it from
//! explaining. Each has a word for programs and a hint at what would work.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use prost::Message;
use tonic::Code;
use zenith_proto::v1;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The scheduler refused it. Nothing of it was done.
    #[error("{message}")]
    Refused {
        /// What kind, as a word.
        code: String,
        /// What is wrong.
        message: String,
        /// What would work.
        hint: String,
    },
    /// There is no scheduler at that address, or it could not be reached.
    #[error("no scheduler answers at {endpoint}: {reason}")]
    NoServer {
        /// Where one was looked for.
        endpoint: String,
        /// It is this machine.
        loopback: bool,
        /// What the system said.
        reason: String,
    },
    /// The connection ended before the answer did.
    #[error("the connection to the scheduler at {endpoint} broke: {reason}")]
    Broken {
        /// Where it is.
        endpoint: String,
        /// What the system said.
        reason: String,
    },
    /// The scheduler is there and does not answer.
    #[error("the scheduler at {endpoint} does not answer in time")]
    NoAnswer {
        /// Where it is.
        endpoint: String,
    },
    /// What answered is no scheduler, or one of another version.
    #[error("what answers at {endpoint} does not speak as a scheduler does: {reason}")]
    Foreign {
        /// Where it is.
        endpoint: String,
        /// What it said.
        reason: String,
    },
    /// An address that is none.
    #[error("{text:?} is no address of a scheduler: {reason}")]
    Address {
        /// As it was given.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A token would cross the network for everybody to read.
    #[error("the token would go to {endpoint} in the clear")]
    InTheClear {
        /// Where it would go.
        endpoint: String,
    },
    /// A token that cannot be sent.
    #[error("the token has characters that no token has")]
    Token,
    /// A file that the connection needs cannot be read.
    #[error("cannot read the {what} {}: {source}", path.display())]
    File {
        /// What is in it.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no means to wait for an answer.
    #[error("cannot set up connections: {0}")]
    Runtime(#[source] io::Error),
}

impl ClientError {
    /// What became of a call, as the status says it.
    pub(super) fn of_status(endpoint: &str, status: &tonic::Status) -> Self {
        if let Ok(v1::Refusal { code, message, hint }) = v1::Refusal::decode(status.details())
            && !code.is_empty()
        {
            return Self::Refused { code, message, hint };
        }
        let endpoint = endpoint.to_owned();
        let reason = || match status.source() {
            Some(source) => chain(source),
            None => status.message().to_owned(),
        };
        if from_connecting(status) {
            return Self::NoServer { loopback: is_loopback(&endpoint), reason: reason(), endpoint };
        }
        match status.code() {
            Code::DeadlineExceeded => Self::NoAnswer { endpoint },
            Code::Cancelled if status.message().contains("Timeout") => Self::NoAnswer { endpoint },
            Code::Unavailable => Self::Broken { endpoint, reason: reason() },
            // A connection that ends in the middle of an answer.
            _ if status.source().is_some() => Self::Broken { endpoint, reason: reason() },
            code => Self::Foreign { endpoint, reason: format!("{code}: {}", status.message()) },
        }
    }

    /// The error as a word, which does not change.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            Self::NoServer { .. } => "no_server",
            Self::Broken { .. } => "broken_connection",
            Self::NoAnswer { .. } => "no_answer",
            Self::Foreign { .. } => "foreign_server",
            Self::Address { .. } => "bad_address",
            Self::InTheClear { .. } => "token_in_the_clear",
            Self::Token => "bad_token",
            Self::File { .. } => "unreadable_file",
            Self::Runtime(_) => "no_runtime",
        }
    }

    /// What would work.
    pub fn hint(&self) -> &str {
        match self {
            Self::Refused { hint, .. } => hint,
            Self::NoServer { loopback: true, .. } => {
                "start one: `zenith-scheduler` needs no configuration; or name another with --controller or ZENITH_CONTROLLER"
            }
            Self::NoServer { .. } => {
                "see that it runs there, listens on more than loopback, and that https:// is said where it has a certificate"
            }
            Self::Broken { .. } => {
                "what was asked may have been done: look with `zenith job ls`; a submission with --key may be repeated"
            }
            Self::NoAnswer { .. } => "see the scheduler's log",
            Self::Foreign { .. } => {
                "see that the address is that of the scheduler's gRPC, and that both are of one version"
            }
            Self::Address { .. } => "an address is HOST:PORT, or https://HOST:PORT",
            Self::InTheClear { .. } => {
                "say https://, or name its certificates with --tls-ca or ZENITH_TLS_CA; --insecure or ZENITH_INSECURE=1 where the network is trusted"
            }
            Self::Token => "a token is one line of visible ASCII characters",
            Self::File { .. } => "name a file that this user can read",
            Self::Runtime(_) => "see the limits of this process: `ulimit -a`",
        }
    }

    /// It may go away by itself: the scheduler is being started anew, perhaps.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NoServer { .. } | Self::Broken { .. } | Self::NoAnswer { .. } => true,
            Self::Refused { code, .. } => code == "stopping",
            _ => false,
        }
    }
}

/// Whether an endpoint, `HOST:PORT` with or without a scheme, is on this machine. A name that only begins like that is not.
pub(crate) fn is_loopback(endpoint: &str) -> bool {
    let place = endpoint.split_once("://").map_or(endpoint, |(_, place)| place);
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Nothing was sent: there was no way to the server.
fn from_connecting(status: &tonic::Status) -> bool {
    let mut next = status.source();
    while let Some(error) = next {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error and what it came from, in one line; what only repeats the one before is left out.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let part = error.to_string();
        if !text.contains(&part) {
            let _ = write!(text, ": {part}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_back_as_it_was_sent() {
        let refusal = v1::Refusal {
            code: "no_such_job".to_owned(),
            message: "there is no job 7".to_owned(),
            hint: "look".to_owned(),
        };
        let status = tonic::Status::with_details(Code::NotFound, "text", refusal.encode_to_vec().into());
        let error = ClientError::of_status("here", &status);
        assert_eq!((error.code(), error.hint()), ("no_such_job", "look"));
        assert_eq!(error.to_string(), "there is no job 7");
        assert!(!error.is_passing());
    }

    #[test]
    fn only_this_machine_is_this_machine() {
        for here in
            ["http://127.0.0.1:1", "127.3.2.1:1", "https://[::1]:1", "http://localhost:1", "LocalHost:1"]
        {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in [
            "http://127.evil.org:1",
            "http://localhost:1@evil.org:2",
            "http://[fe80::1]:1",
            "10.0.0.1:1",
            "head:1",
        ] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn what_is_no_refusal_is_told_apart() {
        let of = |code| ClientError::of_status("here", &tonic::Status::new(code, "words"));
        assert!(matches!(of(Code::Unavailable), ClientError::Broken { .. }));
        assert!(matches!(of(Code::DeadlineExceeded), ClientError::NoAnswer { .. }));
        assert!(matches!(of(Code::Unimplemented), ClientError::Foreign { .. }));
    }
}
