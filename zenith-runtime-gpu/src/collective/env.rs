//! From what a launcher has put into the environment to a communicator.

use std::env;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Result;
use super::communicator::Communicator;
use super::error::CollectiveError;
use super::shared::Shared;
use super::solo::Solo;
use super::tcp::{Tcp, Token};

/// Ranks meet at `MASTER_PORT` plus this, since the port itself is the framework's; within the range of ports modulo its
/// size. `ZENITH_COLLECTIVE_PORT` names another one.
pub const PORT_OFFSET: u16 = 20_000;

/// The lowest port that `MASTER_PORT` plus [`PORT_OFFSET`] may become; what would lie above 65535 begins here.
const LOWEST_PORT: u32 = 1024;

/// Who this process is among the ranks of its job, in the words of `torchrun` and of Zenith's scheduler.
#[derive(Clone, Debug)]
pub struct Launch {
    /// `RANK`.
    pub rank: usize,
    /// `WORLD_SIZE`.
    pub world: usize,
    /// Whether `LOCAL_WORLD_SIZE` says that all ranks are on this machine.
    pub one_machine: bool,
    /// `MASTER_ADDR`.
    pub address: String,
    /// `ZENITH_COLLECTIVE_PORT`, or what follows from `MASTER_PORT`.
    pub port: u16,
    /// `ZENITH_COLLECTIVE_TOKEN`, or what tells one job from another.
    pub token: Token,
}

impl Launch {
    /// From this process's environment.
    ///
    /// # Errors
    /// When a variable is missing or makes no sense.
    pub fn from_env() -> Result<Self> {
        Self::from(|name| env::var(name).ok())
    }

    /// From variables by name. Without `WORLD_SIZE` there is one rank.
    ///
    /// # Errors
    /// As for [`from_env`](Self::from_env).
    pub fn from(get: impl Fn(&'static str) -> Option<String>) -> Result<Self> {
        let number = |variable: &'static str| -> Result<Option<usize>> {
            let Some(text) = get(variable) else { return Ok(None) };
            let parsed = text.trim().parse();
            parsed.map(Some).map_err(|_| CollectiveError::Environment {
                variable,
                reason: format!("{text:?} is no number"),
            })
        };
        let missing = |variable| CollectiveError::Environment {
            variable,
            reason: "is not set; torchrun and `zenith job submit` set it".to_owned(),
        };
        let world = number("WORLD_SIZE")?.unwrap_or(1);
        let rank =
            if world == 1 { number("RANK")?.unwrap_or(0) } else { number("RANK")?.ok_or(missing("RANK"))? };
        if rank >= world {
            let reason = format!("there is no rank {rank} among {world} (WORLD_SIZE)");
            return Err(CollectiveError::Environment { variable: "RANK", reason });
        }
        let alone = Self {
            rank,
            world,
            one_machine: true,
            address: String::new(),
            port: 0,
            token: Token::new(Vec::new()),
        };
        if world == 1 {
            return Ok(alone);
        }
        let master = number("MASTER_PORT")?.ok_or(missing("MASTER_PORT"))?;
        let address = get("MASTER_ADDR").ok_or(missing("MASTER_ADDR"))?;
        let port = number("ZENITH_COLLECTIVE_PORT")?.unwrap_or_else(|| beside(master));
        let port = u16::try_from(port).map_err(|_| CollectiveError::Environment {
            variable: "ZENITH_COLLECTIVE_PORT",
            reason: format!("{port} is no port"),
        })?;
        let token =
            get("ZENITH_COLLECTIVE_TOKEN").map_or_else(|| public_token(&get, &address, master), Token::new);
        let one_machine = number("LOCAL_WORLD_SIZE")? == Some(world);
        Ok(Self { one_machine, address, port, token, ..alone })
    }
}

/// The port beside the framework's.
fn beside(master: usize) -> usize {
    let port = master as u32 + u32::from(PORT_OFFSET);
    (if port > u32::from(u16::MAX) { port - u32::from(u16::MAX) - 1 + LOWEST_PORT } else { port }) as usize
}

/// No secret: it keeps jobs apart that would meet at one port by mistake.
fn public_token(get: &impl Fn(&'static str) -> Option<String>, address: &str, port: usize) -> Token {
    let mut hash = Sha256::new();
    for part in ["TORCHELASTIC_RUN_ID", "ZENITH_JOB_ID", "ZENITH_ATTEMPT"] {
        hash.update(get(part).unwrap_or_default());
        hash.update([0]);
    }
    hash.update(format!("{address}:{port}"));
    Token::new(hash.finalize().to_vec())
}

/// Meets the ranks of a launch: none alone, by shared memory on one machine, else by TCP. `name` tells apart groups of one
/// job that exist at the same time; on several machines each of them needs a port of its own, too.
///
/// # Errors
/// When they do not meet within `limit`.
pub fn connect(launch: &Launch, name: &str, limit: Duration) -> Result<Box<dyn Communicator>> {
    if launch.world == 1 {
        return Ok(Box::new(Solo));
    }
    if launch.one_machine {
        let place = format!("{}/{name}", launch.port);
        return Ok(Box::new(Shared::meet(&place, launch.rank, launch.world, limit)?));
    }
    let token = &launch.token;
    if launch.rank == 0 {
        let listener = TcpListener::bind(resolve(launch)?).map_err(|error| {
            let (address, port) = (&launch.address, launch.port);
            CollectiveError::meeting(format!(
                "rank 0 cannot listen at {address}:{port}: {error}; ZENITH_COLLECTIVE_PORT names another port"
            ))
        })?;
        return Ok(Box::new(Tcp::host(listener, launch.world, token, limit)?));
    }
    Ok(Box::new(Tcp::join(resolve(launch)?, launch.rank, launch.world, token, limit)?))
}

fn resolve(launch: &Launch) -> Result<SocketAddr> {
    let unknown = |reason: String| CollectiveError::Environment { variable: "MASTER_ADDR", reason };
    let mut found = (launch.address.as_str(), launch.port)
        .to_socket_addrs()
        .map_err(|error| unknown(error.to_string()))?;
    found.next().ok_or_else(|| unknown(format!("{} has no address", launch.address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(variables: &[(&'static str, &str)]) -> Result<Launch> {
        Launch::from(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_a_launcher_there_is_one_rank() {
        let launch = launch(&[]).unwrap();
        assert_eq!((launch.rank, launch.world), (0, 1));
    }

    #[test]
    fn ranks_meet_beside_the_frameworks_port() {
        let base =
            [("WORLD_SIZE", "2"), ("RANK", "1"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "29500")];
        let plain = launch(&base).unwrap();
        assert_eq!((plain.port, plain.one_machine), (49_500, false));
        let local = launch(&[&base[..], &[("LOCAL_WORLD_SIZE", "2")]].concat()).unwrap();
        assert!(local.one_machine);
        let named = launch(&[&base[..], &[("ZENITH_COLLECTIVE_PORT", "1234")]].concat()).unwrap();
        assert_eq!(named.port, 1234);
        assert_eq!((beside(60_000), beside(45_535)), (15_488, 65_535));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let variable = |variables: &[(&'static str, &str)]| match launch(variables) {
            Err(CollectiveError::Environment { variable, .. }) => variable,
            other => panic!("{other:?}"),
        };
        assert_eq!(variable(&[("WORLD_SIZE", "two")]), "WORLD_SIZE");
        assert_eq!(variable(&[("WORLD_SIZE", "2")]), "RANK");
        assert_eq!(variable(&[("WORLD_SIZE", "2"), ("RANK", "2")]), "RANK");
        assert_eq!(variable(&[("WORLD_SIZE", "2"), ("RANK", "0")]), "MASTER_PORT");
        assert_eq!(variable(&[("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_PORT", "1")]), "MASTER_ADDR");
    }
}
