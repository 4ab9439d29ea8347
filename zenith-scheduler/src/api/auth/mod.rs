//! Who calls. A caller is known by a token, or on this machine by the owner of the connection's other end; what a caller may
//! do is decided by the controller.

mod account;
mod peer;
mod secret;
pub mod tls;
pub mod tokens;

use std::io;
use std::net::IpAddr;

pub use self::peer::Peer;
pub use self::secret::Secret;
pub use self::tokens::{Role, Tokens};

use crate::controller::ops::Caller;
use crate::refusal::Refusal;

/// What tells callers apart.
#[derive(Debug)]
pub struct Auth {
    tokens: Tokens,
    own: u32,
    /// Being this user on this machine is not enough.
    is_strict: bool,
    /// What the agent within comes with. It is written down nowhere.
    within: Option<secret::Hash>,
}

/// Somebody who is known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Person(Caller),
    /// A node's agent.
    Agent,
    /// This user or root, on this machine: they may be either.
    Owner(Caller),
}

impl Auth {
    /// Callers are known by these tokens; without one, those of this user and of root on this machine.
    pub fn new(tokens: Tokens) -> Self {
        Self { tokens, own: rustix::process::getuid().as_raw(), is_strict: false, within: None }
    }

    /// Callers are known by these tokens alone, on this machine too; and the agent within by the secret that comes with it.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn strict(tokens: Tokens) -> io::Result<(Self, Secret)> {
        let within = Secret::random()?;
        let hash = secret::hash(within.reveal());
        Ok((Self { is_strict: true, within: Some(hash), ..Self::new(tokens) }, within))
    }

    /// The person that calls.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] for somebody who is not known, or who is an agent.
    pub fn person(&self, peer: &Peer, authorization: Option<&str>) -> Result<Caller, Refusal> {
        match self.known(peer, authorization)? {
            Known::Person(caller) | Known::Owner(caller) => Ok(caller),
            Known::Agent => Err(Refusal::NotAdmin { what: "calling with an agent's token" }),
        }
    }

    /// An agent calls.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] for somebody who is not known; [`Refusal::NotAdmin`] for a person.
    pub fn agent(&self, peer: &Peer, authorization: Option<&str>) -> Result<(), Refusal> {
        match self.known(peer, authorization)? {
            Known::Agent | Known::Owner(_) => Ok(()),
            Known::Person(_) => Err(Refusal::NotAgent),
        }
    }

    fn known(&self, peer: &Peer, authorization: Option<&str>) -> Result<Known, Refusal> {
        let Some(authorization) = authorization else { return self.neighbour(peer) };
        let Some((scheme, token)) = authorization.split_once(' ') else {
            return Err(Refusal::Unauthenticated("the authorization is no bearer token"));
        };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::Unauthenticated("the authorization is no bearer token"));
        }
        if self.within.is_some_and(|within| within == secret::hash(token.trim())) {
            return Ok(Known::Agent);
        }
        match self.tokens.find(token.trim()) {
            Some((user, Role::User)) => Ok(Known::Person(Caller { user, admin: false })),
            Some((user, Role::Admin)) => Ok(Known::Person(Caller { user, admin: true })),
            Some((_, Role::Agent)) => Ok(Known::Agent),
            None => Err(Refusal::Unauthenticated("nobody is known by this token")),
        }
    }

    /// Somebody without a token.
    fn neighbour(&self, peer: &Peer) -> Result<Known, Refusal> {
        if self.is_strict || !is_loopback(peer.remote().ip()) {
            return Err(Refusal::Unauthenticated("there is no token"));
        }
        match peer.uid() {
            Some(uid) if uid == self.own || uid == 0 => {
                Ok(Known::Owner(Caller { user: peer.user(uid).to_owned(), admin: true }))
            }
            Some(_) => {
                Err(Refusal::Unauthenticated("the scheduler is another user's, and there is no token"))
            }
            None => Err(Refusal::Unauthenticated(
                "it cannot be seen whose connection this is, and there is no token",
            )),
        }
    }
}

/// An address of this machine alone, also where it is written the other family's way.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn far() -> Peer {
        Peer::new("192.0.2.1:5000".parse().unwrap(), "192.0.2.2:50051".parse().unwrap())
    }

    #[test]
    fn a_token_says_who_calls_and_what_as() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        let ann = tokens.add("ann", Role::User).unwrap();
        let root = tokens.add("root", Role::Admin).unwrap();
        let node = tokens.add("nodes", Role::Agent).unwrap();
        let auth = Auth::new(tokens);
        let bearer = |secret: &Secret| format!("Bearer {}", secret.reveal());

        let caller = auth.person(&far(), Some(&bearer(&ann))).unwrap();
        assert_eq!(caller, Caller { user: "ann".to_owned(), admin: false });
        assert!(auth.person(&far(), Some(&bearer(&root))).unwrap().admin);
        assert!(auth.person(&far(), Some(&bearer(&node))).is_err(), "an agent is no person");
        assert!(auth.agent(&far(), Some(&bearer(&node))).is_ok());
        assert!(auth.agent(&far(), Some(&bearer(&root))).is_err(), "nor the other way round");
        for wrong in ["", "Bearer", "Bearer ", "Basic abc", "Bearer zenith_00", ann.reveal()] {
            let refusal = auth.person(&far(), Some(wrong)).unwrap_err();
            assert_eq!(refusal.code(), "unauthenticated", "{wrong}");
        }
        assert_eq!(auth.person(&far(), None).unwrap_err().code(), "unauthenticated");
    }

    #[test]
    fn where_tokens_are_required_nobody_is_known_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = || Tokens::at(folder.path());
        let root = tokens().add("root", Role::Admin).unwrap();
        // A connection of this process to itself, whose owner can be seen.
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let near = Peer::new(client.local_addr().unwrap(), server.local_addr().unwrap());
        assert!(Auth::new(tokens()).person(&near, None).unwrap().admin);
        let (auth, within) = Auth::strict(tokens()).unwrap();
        assert_eq!(auth.person(&near, None).unwrap_err().code(), "unauthenticated");
        assert_eq!(auth.agent(&near, None).unwrap_err().code(), "unauthenticated");
        let bearer = |secret: &Secret| format!("Bearer {}", secret.reveal());
        assert!(auth.person(&near, Some(&bearer(&root))).unwrap().admin);
        assert!(auth.agent(&near, Some(&bearer(&within))).is_ok());
        assert!(auth.person(&near, Some(&bearer(&within))).is_err(), "the agent within is no person");
    }

    #[test]
    fn no_secret_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        let secret = tokens.add("ann", Role::Admin).unwrap();
        let shown = format!("{secret:?} {tokens:?} {:?}", Auth::new(Tokens::at(folder.path())));
        let bare = secret.reveal().trim_start_matches("zenith_");
        assert!(!shown.contains(bare), "{shown}");
        let kept = fs::read_to_string(folder.path().join("tokens")).unwrap();
        assert!(!kept.contains(bare), "what is kept does not open the door");
    }

    #[test]
    fn loopback_is_known_in_both_families() {
        for address in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(address.parse().unwrap()), "{address}");
        }
        for address in ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"] {
            assert!(!is_loopback(address.parse().unwrap()), "{address}");
        }
    }
}
