//! Nodes, queues, users, counts; and what administrators set.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zenith_proto::v1;

use super::Door;
use super::error::{BodyRefusals, Refusals, Refused};
use super::extract::{Body, Named, Who};
use super::schema::{JobState, shown_state};
use crate::api::convert::{cluster_of, queue_settings, user_settings};

/// The nodes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
struct Node {
    id: u32,
    name: String,
    rack: String,
    contact: Contact,
    /// Closed for new work.
    drained: bool,
    cpus: u32,
    cpus_used: u32,
    memory_mib: u64,
    memory_used_mib: u64,
    gpus: Vec<Gpu>,
    gpus_used: Vec<u32>,
    gpus_ill: Vec<u32>,
    /// Why those of `gpus_ill` are that.
    ill: Vec<IllGpu>,
    /// Jobs that hold something on it.
    jobs: Vec<u64>,
}

/// A GPU.
#[derive(Debug, Serialize, ToSchema)]
struct Gpu {
    /// The NUMA node it hangs on.
    numa: u32,
    /// The group of GPUs that NVLink joins.
    nvlink: u32,
    model: String,
    /// Its memory, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mib: Option<u64>,
}

/// A GPU on which nothing new is placed.
#[derive(Debug, Serialize, ToSchema)]
struct IllGpu {
    /// Its number on the node.
    gpu: u32,
    /// What its driver says.
    reason: String,
}

/// Whether a node can be reached.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Contact {
    Up,
    Silent,
    Lost,
}

/// Everything but the jobs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cluster {
    version: String,
    started_ms: u64,
    nodes: Vec<Node>,
    queues: Vec<Queue>,
    users: Vec<User>,
    /// Jobs by state, for each state that has any.
    counts: Vec<Count>,
}

/// How many jobs are in a state.
#[derive(Debug, Serialize, ToSchema)]
struct Count {
    state: Option<JobState>,
    jobs: u64,
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
struct Queue {
    name: String,
    /// GPUs its jobs hold.
    gpus_used: u32,
    settings: QueueSettings,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
struct User {
    name: String,
    gpus_used: u32,
    settings: UserSettings,
}

/// What holds for a queue.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueSettings {
    /// GPUs it can have whenever it wants.
    #[schema(maximum = 4294967295_u64)]
    #[serde(default)]
    guarantee: u32,
    /// GPUs it may have at most; as many as there are where absent.
    #[schema(maximum = 4294967295_u64)]
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    /// Its share of what is shared; 1 where absent.
    #[schema(exclusive_minimum = 0, maximum = 1000000)]
    #[serde(default = "usual_weight")]
    weight: f64,
}

/// What holds for a user.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserSettings {
    /// GPUs they may have at most; as many as there are where absent.
    #[schema(maximum = 4294967295_u64)]
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    /// Their share against other users; 1 where absent.
    #[schema(exclusive_minimum = 0, maximum = 1000000)]
    #[serde(default = "usual_weight")]
    weight: f64,
}

fn usual_weight() -> f64 {
    1.0
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
    let cluster = looked_at(&door).await?;
    Ok(Json(Cluster {
        version: cluster.version,
        started_ms: cluster.started_ms,
        nodes: cluster.nodes.into_iter().map(Node::from).collect(),
        queues: cluster.queues.into_iter().map(Queue::from).collect(),
        users: cluster.users.into_iter().map(User::from).collect(),
        counts: cluster
            .counts
            .into_iter()
            .map(|count| Count { state: shown_state(count.state), jobs: count.jobs })
            .collect(),
    }))
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
    let settings = Some(v1::QueueSettings { guarantee, limit, weight });
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
    let settings = Some(v1::UserSettings { limit, weight });
    let (name, settings) = user_settings(v1::SetUserRequest { name, settings })?;
    door.api.handle.call(move |turn| turn.set_user(&caller, &name, settings)).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<v1::Node> for Node {
    fn from(node: v1::Node) -> Self {
        let contact = match node.contact() {
            v1::NodeContact::Up => Contact::Up,
            v1::NodeContact::Silent => Contact::Silent,
            v1::NodeContact::Lost | v1::NodeContact::Unspecified => Contact::Lost,
        };
        let spec = node.spec.unwrap_or_default();
        let gpus = spec.gpus.into_iter().map(|gpu| Gpu {
            numa: gpu.numa,
            nvlink: gpu.nvlink,
            model: gpu.model,
            memory_mib: gpu.memory_mib,
        });
        Self {
            id: node.id,
            name: spec.name,
            rack: spec.rack,
            contact,
            drained: node.drained,
            cpus: spec.cpus,
            cpus_used: node.cpus_used,
            memory_mib: spec.memory_mib,
            memory_used_mib: node.memory_used_mib,
            gpus: gpus.collect(),
            gpus_used: node.gpus_used,
            gpus_ill: node.gpus_ill,
            ill: node.ill.into_iter().map(|v1::IllGpu { gpu, reason }| IllGpu { gpu, reason }).collect(),
            jobs: node.jobs,
        }
    }
}

impl From<v1::Queue> for Queue {
    fn from(queue: v1::Queue) -> Self {
        let v1::QueueSettings { guarantee, limit, weight } = queue.settings.unwrap_or_default();
        let settings = QueueSettings { guarantee, limit, weight };
        Self { name: queue.name, gpus_used: queue.gpus_used, settings }
    }
}

impl From<v1::User> for User {
    fn from(user: v1::User) -> Self {
        let v1::UserSettings { limit, weight } = user.settings.unwrap_or_default();
        Self { name: user.name, gpus_used: user.gpus_used, settings: UserSettings { limit, weight } }
    }
}
