//! Nodes, queues, users, counts; and what administrators set.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use zenith_proto::v1;

use super::Door;
use super::error::{BodyRefusals, Refusals, Refused};
use super::extract::{Body, Named, Who};
use crate::api::convert::{cluster_of, queue_settings, user_settings};
use crate::refusal::Refusal;
use crate::view::{Cluster, Node, QueueSettings, UserSettings};

/// The nodes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
}

/// List nodes
#[utoipa::path(
    get, path = "/v1/nodes", tag = "nodes",
    responses(Refusals, (status = 200, description = "Every node that ever joined", body = Nodes))
)]
pub(super) async fn nodes(State(door): State<Door>, Who(_): Who) -> Result<Json<Nodes>, Refused> {
    let cluster = looked_at(&door).await?;
    Ok(Json(Nodes { nodes: cluster.nodes.into_iter().map(Node::from).collect() }))
}

/// Show nodes, queues, users and counts
#[utoipa::path(
    get, path = "/v1/cluster", tag = "cluster",
    responses(Refusals, (status = 200, description = "Everything but the jobs", body = Cluster))
)]
pub(super) async fn show(State(door): State<Door>, Who(_): Who) -> Result<Json<Cluster>, Refused> {
    Ok(Json(looked_at(&door).await?.into()))
}

async fn looked_at(door: &Door) -> Result<v1::ClusterResponse, Refused> {
    let started = door.api.started_ms;
    Ok(door.api.handle.call(move |turn| Ok(cluster_of(turn.core(), started))).await?)
}

/// Close a node for new work
#[utoipa::path(
    post, path = "/v1/nodes/{name}/drain", tag = "nodes",
    params(("name" = String, Path, min_length = 1)),
    responses(Refusals, (status = 204, description = "It gets nothing new"))
)]
pub(super) async fn drain(state: State<Door>, who: Who, name: Named<String>) -> Result<StatusCode, Refused> {
    set_drained(state, who, name, true).await
}

/// Open a node for new work
#[utoipa::path(
    post, path = "/v1/nodes/{name}/resume", tag = "nodes",
    params(("name" = String, Path, min_length = 1)),
    responses(Refusals, (status = 204, description = "It gets new work"))
)]
pub(super) async fn resume(state: State<Door>, who: Who, name: Named<String>) -> Result<StatusCode, Refused> {
    set_drained(state, who, name, false).await
}

async fn set_drained(
    State(door): State<Door>,
    Who(caller): Who,
    Named(name): Named<String>,
    drained: bool,
) -> Result<StatusCode, Refused> {
    door.api.handle.call(move |turn| turn.drain(&caller, &name, drained)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make or change a queue
#[utoipa::path(
    put, path = "/v1/queues/{name}", tag = "cluster", request_body = QueueSettings,
    params(("name" = String, Path, min_length = 1, max_length = 128)),
    responses(Refusals, BodyRefusals, (status = 204, description = "It holds from now on"))
)]
pub(super) async fn set_queue(
    State(door): State<Door>,
    Who(caller): Who,
    Named(name): Named<String>,
    Body(given): Body<QueueSettings>,
) -> Result<StatusCode, Refused> {
    let QueueSettings { guarantee, limit, weight } = given;
    let settings = Some(v1::QueueSettings { guarantee, limit, weight: given_weight(weight)? });
    let (name, settings) = queue_settings(v1::SetQueueRequest { name, settings })?;
    door.api.handle.call(move |turn| turn.set_queue(&caller, &name, settings)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change what a user may have
#[utoipa::path(
    put, path = "/v1/users/{name}", tag = "cluster", request_body = UserSettings,
    params(("name" = String, Path, min_length = 1, max_length = 128)),
    responses(Refusals, BodyRefusals, (status = 204, description = "It holds from now on"))
)]
pub(super) async fn set_user(
    State(door): State<Door>,
    Who(caller): Who,
    Named(name): Named<String>,
    Body(given): Body<UserSettings>,
) -> Result<StatusCode, Refused> {
    let UserSettings { limit, weight } = given;
    let settings = Some(v1::UserSettings { limit, weight: given_weight(weight)? });
    let (name, settings) = user_settings(v1::SetUserRequest { name, settings })?;
    door.api.handle.call(move |turn| turn.set_user(&caller, &name, settings)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// In gRPC's messages zero stands for a weight that was left out; here it is one that was given.
fn given_weight(weight: f64) -> Result<f64, Refusal> {
    if weight == 0.0 {
        return Err(Refusal::Invalid { field: "weight", reason: "a share is above zero".to_owned() });
    }
    Ok(weight)
}
