//! The doors of a running scheduler, from outside: gRPC and REST over real connections, with nodes that the tests play.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agent;
mod http;
mod process;
mod server;

mod auth;
mod disk_full;
mod gpus;
mod idempotency;
mod lives;
mod logs;
mod program;
mod refusals;
mod rest;
mod sessions;
mod tls;
mod watching;
