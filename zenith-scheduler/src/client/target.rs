//! Where the scheduler is and who calls it: raw as flags, arguments and variables say it, and checked once.

use std::path::PathBuf;
use std::{env, fmt, fs};

use tonic::metadata::{Ascii, MetadataValue};

use super::ClientError;
use super::is_loopback;

/// Where the scheduler is if nobody says otherwise.
pub const DEFAULT_CONTROLLER: &str = "127.0.0.1:50051";

/// What a user says of the scheduler; what is left out comes from the environment.
#[derive(Clone, Debug, Default)]
pub struct RawTarget {
    /// `HOST:PORT`, or a URL; otherwise `ZENITH_CONTROLLER`, otherwise [`DEFAULT_CONTROLLER`].
    pub controller: Option<String>,
    /// The token; otherwise it is read from `token_file`, `ZENITH_TOKEN`, or the file that `ZENITH_TOKEN_FILE` names.
    pub token: Option<Token>,
    /// A file with the token.
    pub token_file: Option<PathBuf>,
    /// Certificates in PEM by which the scheduler's is known; otherwise the file that `ZENITH_TLS_CA` names.
    pub tls_ca: Option<PathBuf>,
    /// A token may go to another machine without encryption; otherwise it may where `ZENITH_INSECURE` is 1 or true.
    pub insecure: bool,
}

/// A secret that shows who calls. It is in no message and in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token, without the end of the line it stood in.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Where the scheduler is and who calls it.
#[derive(Clone, Debug)]
pub struct Target {
    endpoint: String,
    token: Option<Token>,
    ca: Option<PathBuf>,
}

impl RawTarget {
    /// The target, with the process's environment for what is left out.
    ///
    /// # Errors
    /// An address that is none; a file that cannot be read; a token that everybody on the way could read.
    pub fn check(self) -> Result<Target, ClientError> {
        self.check_with(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// The target, with `variable` for what is left out.
    ///
    /// # Errors
    /// As [`RawTarget::check`].
    pub fn check_with(self, variable: impl Fn(&str) -> Option<String>) -> Result<Target, ClientError> {
        let file = |name| variable(name).map(PathBuf::from);
        let ca = self.tls_ca.or_else(|| file("ZENITH_TLS_CA"));
        let controller = self
            .controller
            .or_else(|| variable("ZENITH_CONTROLLER"))
            .unwrap_or_else(|| DEFAULT_CONTROLLER.to_owned());
        let endpoint = endpoint(&controller, ca.is_some())?;
        let token = match (self.token, self.token_file) {
            (Some(token), _) => Some(token),
            (None, Some(path)) => Some(read_token(path)?),
            (None, None) => match variable("ZENITH_TOKEN") {
                Some(token) => Some(Token::new(&token)),
                None => file("ZENITH_TOKEN_FILE").map(read_token).transpose()?,
            },
        };
        let target = Target { endpoint, token, ca };
        let is_open = target.token.is_some() && !target.is_tls() && !target.is_loopback();
        if is_open
            && !self.insecure
            && variable("ZENITH_INSECURE").is_none_or(|said| said != "1" && said != "true")
        {
            return Err(ClientError::InTheClear { endpoint: target.endpoint });
        }
        Ok(target)
    }
}

impl Target {
    /// Its URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.endpoint)
    }

    /// Whether the connection is to be encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.endpoint.starts_with("https://")
    }

    pub(super) fn certificate(&self) -> Result<Option<Vec<u8>>, ClientError> {
        let Some(path) = &self.ca else { return Ok(None) };
        let read = fs::read(path);
        let fail = |source| ClientError::File { what: "certificates", path: path.clone(), source };
        read.map(Some).map_err(fail)
    }

    pub(super) fn bearer(&self) -> Result<Option<MetadataValue<Ascii>>, ClientError> {
        let Some(Token(token)) = &self.token else { return Ok(None) };
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().map_err(|_| ClientError::Token)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn read_token(path: PathBuf) -> Result<Token, ClientError> {
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Token::new(&text)),
        Err(source) => Err(ClientError::File { what: "token", path, source }),
    }
}

fn endpoint(controller: &str, tls: bool) -> Result<String, ClientError> {
    let fail = |reason: &str| ClientError::Address { text: controller.to_owned(), reason: reason.to_owned() };
    let (scheme, place) = match controller.split_once("://") {
        Some((scheme @ ("http" | "https"), place)) => (scheme, place),
        Some(_) => return Err(fail("its scheme is neither http nor https")),
        None => (if tls { "https" } else { "http" }, controller),
    };
    let place = place.trim_end_matches('/');
    let (host, port) = place.rsplit_once(':').ok_or_else(|| fail("it has no port"))?;
    if host.is_empty() || host.contains('/') {
        return Err(fail("it has no host"));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(format!("{scheme}://{place}")),
        _ => Err(fail("its port is no number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(controller: &str) -> Result<Target, ClientError> {
        RawTarget { controller: Some(controller.to_owned()), ..RawTarget::default() }.check_with(|_| None)
    }

    #[test]
    fn addresses_are_hosts_and_ports() {
        assert_eq!(target("gpu1:50051").unwrap().endpoint(), "http://gpu1:50051");
        assert_eq!(target("https://gpu1:50051/").unwrap().endpoint(), "https://gpu1:50051");
        assert_eq!(target("[::1]:50051").unwrap().endpoint(), "http://[::1]:50051");
        for wrong in ["gpu1", "gpu1:", "gpu1:0", "gpu1:70000", ":50051", "ftp://gpu1:1", ""] {
            assert_eq!(target(wrong).unwrap_err().code(), "bad_address", "{wrong}");
        }
    }

    #[test]
    fn what_is_left_out_comes_from_the_environment() {
        let none = RawTarget::default().check_with(|_| None).unwrap();
        assert_eq!(none.endpoint(), format!("http://{DEFAULT_CONTROLLER}"));
        assert!(none.is_loopback() && none.bearer().unwrap().is_none());
        let given = RawTarget::default()
            .check_with(|name| match name {
                "ZENITH_CONTROLLER" => Some("head:1".to_owned()),
                "ZENITH_TOKEN" => Some("secret\n".to_owned()),
                "ZENITH_TLS_CA" => Some("/ca.pem".to_owned()),
                _ => None,
            })
            .unwrap();
        assert_eq!(given.endpoint(), "https://head:1");
        assert_eq!(given.bearer().unwrap().unwrap().to_str().unwrap(), "Bearer secret");
        assert!(!given.is_loopback());
    }

    #[test]
    fn a_token_goes_nowhere_in_the_clear_unless_that_is_wanted() {
        let raw = |controller: &str, insecure| RawTarget {
            controller: Some(controller.to_owned()),
            token: Some(Token::new("sesame")),
            insecure,
            ..RawTarget::default()
        };
        let refused = raw("head:1", false).check_with(|_| None).unwrap_err();
        assert_eq!(refused.code(), "token_in_the_clear");
        assert!(raw("head:1", true).check_with(|_| None).is_ok());
        for (said, is_fine) in [("1", true), ("true", true), ("0", false), ("false", false), ("", false)] {
            let variable = |name: &str| (name == "ZENITH_INSECURE").then(|| said.to_owned());
            assert_eq!(raw("head:1", false).check_with(variable).is_ok(), is_fine, "{said:?}");
        }
        for fine in ["https://head:1", "127.0.0.1:1", "localhost:1"] {
            assert!(raw(fine, false).check_with(|_| None).is_ok(), "{fine}");
        }
        assert!(target("head:1").is_ok(), "there is no token");
    }

    #[test]
    fn a_token_is_shown_nowhere() {
        let target = RawTarget { token: Some(Token::new("sesame")), ..RawTarget::default() };
        let shown = format!("{target:?} {:?}", target.clone().check_with(|_| None).unwrap());
        assert!(!shown.contains("sesame"), "{shown}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let raw = RawTarget { token_file: Some("/nothing/here".into()), ..RawTarget::default() };
        let error = raw.check_with(|_| None).unwrap_err();
        assert!(error.to_string().contains("/nothing/here"), "{error}");
    }
}
