//! The doors of the scheduler: gRPC, and REST with an OpenAPI description. Each knows its own way of saying things; what may be
//! asked and what is answered is the controller's, for all of them.
//!
//! `auth` knows who calls, `convert` turns what is said into what the core knows and back, `query` reads in turns that are
//! short, `server` accepts connections.

pub mod auth;
pub mod convert;
pub mod grpc;
mod metrics;
pub mod query;
mod rest;
pub mod server;

use std::sync::Arc;

use tokio::sync::watch;

use self::auth::Auth;
use crate::controller::Handle;
use crate::controller::clock::{Clock, SystemClock};
use crate::refusal::Refusal;

/// What every door needs.
#[derive(Clone, Debug)]
pub struct Api {
    /// The way to the controller.
    pub handle: Handle,
    /// Who calls.
    pub auth: Arc<Auth>,
    /// When the scheduler started, in milliseconds since 1970-01-01 UTC.
    pub started_ms: u64,
    closing: watch::Receiver<bool>,
}

impl Api {
    /// Doors to a controller. They close when the sender says so, or is gone.
    pub fn new(handle: Handle, auth: Auth) -> (Self, watch::Sender<bool>) {
        let (close, closing) = watch::channel(false);
        (Self { handle, auth: Arc::new(auth), started_ms: SystemClock::default().wall().0, closing }, close)
    }

    /// Returns when the doors close.
    pub async fn closing(&self) -> Refusal {
        let mut closing = self.closing.clone();
        // A sender that is gone means the same.
        let _ = closing.wait_for(|closing| *closing).await;
        Refusal::Stopping
    }
}
