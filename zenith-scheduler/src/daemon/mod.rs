//! The program: a controller with its doors, from start to end. It stops when it is asked to by a signal: it takes no calls any
//! more, writes down what was begun, and leaves all jobs running.

pub mod config;

use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub use self::config::{Config, ConfigError};
use crate::agent::arguments::NodeArguments;
use crate::agent::{self, Token};
use crate::api::Api;
use crate::api::auth::tls::{TlsError, acceptor};
use crate::api::auth::tokens::TokenError;
use crate::api::auth::{Auth, Tokens, is_loopback};
use crate::api::server::{Entrance, serve_grpc, serve_rest};
use crate::controller;
use crate::store::StoreError;

/// The store's file in the folder of the state.
const STORE: &str = "scheduler.redb";

/// What calls have to end after the doors have closed.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// Why the program cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tokens cannot be read.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// Certificates or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address is open to others, and nobody is known by a token.
    #[error(
        "{address} can be reached from other machines, and there are no tokens; \
         make some by `zenith-scheduler token add NAME`, or listen at 127.0.0.1"
    )]
    NoTokens {
        /// The address.
        address: SocketAddr,
    },
    /// Nobody could call.
    #[error(
        "tokens are required, and there are none; make some by `zenith-scheduler token add NAME --admin`"
    )]
    NobodyKnown,
    /// Tokens would cross the network for everybody to read.
    #[error(
        "{address} can be reached from other machines, and tokens would cross the network in the clear; \
         give --tls-cert and --tls-key, or --insecure where the network is trusted"
    )]
    NoTls {
        /// The address.
        address: SocketAddr,
    },
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The agent cannot work.
    #[error(transparent)]
    Agent(#[from] agent::Error),
    /// A part of the program has ended that was not asked to.
    #[error("{part} has ended: {why}")]
    Ended {
        /// Which.
        part: &'static str,
        /// Why.
        why: String,
    },
    /// The system does not do what every system does.
    #[error("{what}: {source}")]
    System {
        /// What failed.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// Runs until a signal asks for the end.
///
/// # Errors
/// What keeps it from starting.
pub fn run(config: &Config, node: &NodeArguments) -> Result<(), DaemonError> {
    config::make_private(&config.state)?;
    let tokens = Tokens::at(&config.state);
    is_safe(config, &tokens)?;
    let (handle, running) = controller::start(&config.state.join(STORE), config.settings.clone())?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_name("zenith-api")
        .enable_all()
        .build()
        .map_err(|source| DaemonError::System { what: "no threads", source })?;
    let outcome = runtime.block_on(serve(config, node, handle, tokens));
    // What still runs holds a way to the controller, which ends when the last one is gone.
    runtime.shutdown_timeout(LAST_CALLS);
    running.join();
    tracing::info!("everything is written down");
    outcome
}

/// Looks after this machine as a node of a controller elsewhere, until a signal asks for the end.
///
/// # Errors
/// What keeps it from starting.
pub fn join(config: agent::Config) -> Result<(), DaemonError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| DaemonError::System { what: "no reactor", source })?;
    runtime.block_on(async {
        let stopped = stopped().map_err(|source| DaemonError::System { what: "no signals", source })?;
        let stopped = async {
            // Not within the log's macro: what is not logged is not waited for either.
            let signal = stopped.await;
            tracing::info!(signal, "stopping; what runs goes on");
        };
        Ok(agent::run(config, stopped).await?)
    })
}

/// Nobody who is not known can reach it, and no token can be read on the way.
fn is_safe(config: &Config, tokens: &Tokens) -> Result<(), DaemonError> {
    if config.require_tokens && tokens.is_empty()? {
        return Err(DaemonError::NobodyKnown);
    }
    let open = config.open_addresses();
    let Some(address) = open.first().copied() else { return Ok(()) };
    if tokens.is_empty()? {
        return Err(DaemonError::NoTokens { address });
    }
    if config.tls.is_none() && !config.insecure {
        return Err(DaemonError::NoTls { address });
    }
    Ok(())
}

/// What one part of the program came to.
type Part = (&'static str, Result<(), String>);

async fn serve(
    config: &Config,
    node: &NodeArguments,
    handle: controller::Handle,
    tokens: Tokens,
) -> Result<(), DaemonError> {
    let stopped = stopped().map_err(|source| DaemonError::System { what: "no signals", source })?;
    let (auth, within) = if config.require_tokens {
        let strict = Auth::strict(tokens);
        let (auth, within) =
            strict.map_err(|source| DaemonError::System { what: "no randomness", source })?;
        (auth, Some(Token::new(within.reveal())))
    } else {
        (Auth::new(tokens), None)
    };
    let (api, close) = Api::new(handle.clone(), auth);
    let grpc = open(config.grpc, config, b"h2").await?;
    let rest = open(config.rest, config, b"http/1.1").await?;
    let (tls, address) = (config.tls.is_some(), grpc.address());
    tracing::info!(%address, tls, "gRPC is served");
    tracing::info!(address = %rest.address(), tls, "REST is served");
    let mut parts = JoinSet::new();
    parts.spawn(part("gRPC", serve_grpc(api.clone(), grpc)));
    parts.spawn(part("REST", serve_rest(api.clone(), rest)));
    let agent = if config.no_agent {
        None
    } else {
        let way = if tls || !is_loopback(address.ip()) {
            // The agent within needs neither certificates nor a token: it comes by a door of its own.
            let inner = Entrance::open(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None);
            let inner = inner.await.map_err(|source| DaemonError::Listen { address, source })?;
            let way = inner.address();
            parts.spawn(part("the agent's door", serve_grpc(api.clone(), inner)));
            way
        } else {
            address
        };
        Some(agent::Config { token: within, ..own_agent(config, node, way, address)? })
    };
    let closing = api.clone();
    let mut agent = pin!(part("the agent", async move {
        let closed = async {
            closing.closing().await;
        };
        match agent {
            Some(agent) => agent::run(agent, closed).await,
            None => {
                closed.await;
                Ok(())
            }
        }
    }));
    drop(api);
    let mut is_agent_over = false;
    let outcome = tokio::select! {
        signal = stopped => {
            tracing::info!(signal, "stopping; what runs goes on");
            Ok(())
        }
        Some(ended) = parts.join_next() => Err(ended_by_itself(ended)),
        () = handle.ended() => {
            Err(DaemonError::Ended { part: "the controller", why: "the log says what it met".to_owned() })
        }
        ended = &mut agent => {
            is_agent_over = true;
            Err(ended_by_itself(Ok(ended)))
        }
    };
    drop(handle);
    // All parts hear of it.
    let _ = close.send(true);
    let ended = async {
        if !is_agent_over {
            // It was asked to end; what it has to say against that changes nothing.
            let _ = agent.await;
        }
        while parts.join_next().await.is_some() {}
    };
    if timeout(LAST_CALLS, ended).await.is_err() {
        tracing::warn!("calls that did not end are cut off");
    }
    outcome
}

async fn part<E: Display>(name: &'static str, running: impl Future<Output = Result<(), E>>) -> Part {
    (name, running.await.map_err(|error| error.to_string()))
}

fn ended_by_itself(ended: Result<Part, JoinError>) -> DaemonError {
    match ended {
        Ok((part, outcome)) => {
            DaemonError::Ended { part, why: outcome.err().unwrap_or_else(|| "nobody asked".to_owned()) }
        }
        Err(panic) => DaemonError::Ended { part: "a part", why: panic.to_string() },
    }
}

/// What the agent within is told. Ranks of other nodes reach those of this one where the controller is reached.
fn own_agent(
    config: &Config,
    node: &NodeArguments,
    way: SocketAddr,
    shown: SocketAddr,
) -> Result<agent::Config, DaemonError> {
    let mut agent = node.config(way.to_string(), &config.state.join("agent"))?;
    if agent.address.is_none() && !is_loopback(shown.ip()) {
        let address = if shown.ip().is_unspecified() { agent.name.clone() } else { shown.ip().to_string() };
        agent.address = Some(address);
    }
    Ok(agent)
}

async fn open(address: SocketAddr, config: &Config, protocol: &[u8]) -> Result<Entrance, DaemonError> {
    let tls: Option<TlsAcceptor> = match &config.tls {
        Some(files) => Some(acceptor(&files.certificates, &files.key, protocol)?),
        None => None,
    };
    Entrance::open(address, tls).await.map_err(|source| DaemonError::Listen { address, source })
}

/// The name of the signal that asks for the end, when it comes.
fn stopped() -> io::Result<impl Future<Output = &'static str>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}
