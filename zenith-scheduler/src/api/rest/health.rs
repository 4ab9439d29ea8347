//! What supervisors and monitors ask. Health needs no token, since those who ask have none.

use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::Door;
use super::error::{Refusals, Refused};
use super::extract::Who;
use crate::api::metrics;
use crate::refusal::Refusal;

/// A controller that answers does so long before.
const PATIENCE: Duration = Duration::from_secs(2);

/// Say that the program runs, and the controller within
#[utoipa::path(
    get, path = "/healthz", tag = "health", security(()),
    responses(Refusals, (status = 200, description = "It runs", body = String, content_type = "text/plain"))
)]
pub(super) async fn healthy(State(door): State<Door>) -> Result<&'static str, Refused> {
    if door.api.handle.is_alive() { Ok("healthy\n") } else { Err(Refusal::Stopping.into()) }
}

/// Say whether the controller answers
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses(Refusals, (status = 200, description = "It answers", body = String, content_type = "text/plain"))
)]
pub(super) async fn ready(State(door): State<Door>) -> Result<&'static str, Refused> {
    match timeout(PATIENCE, door.api.handle.call(|_| Ok(()))).await {
        Ok(Ok(())) => Ok("ready\n"),
        Ok(Err(refusal)) => Err(refusal.into()),
        Err(_) => Err(Refusal::Busy.into()),
    }
}

/// Counters and gauges in Prometheus' text format
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses(Refusals, (status = 200, description = "All of them", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(door): State<Door>, Who(_): Who) -> Result<Response, Refused> {
    let text = metrics::text(&door.api).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
