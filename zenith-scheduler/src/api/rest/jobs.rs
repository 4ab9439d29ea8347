//! Jobs: submitting, listing, looking at, changing.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Door;
use super::error::{BodyRefusals, Refusals, Refused};
use super::extract::{Asked, Body, Named, Who};
use crate::api::convert::{detail_of, submission_of, why_of};
use crate::api::query::{Filter, Lister, PAGE, States};
use crate::controller::Turn;
use crate::controller::ops::Act;
use crate::core::JobId;
use crate::refusal;
use crate::view::{Job, JobDetail, JobState, Submission, Submitted, Why};

/// The header that makes a call one that may be repeated.
const KEY: &str = "Idempotency-Key";

/// Jobs of a page where no number is given.
const USUAL_PAGE: u64 = 100;

/// The largest id that every reader of JSON has exactly.
const MAX_ID: u64 = (1 << 53) - 1;

/// Which jobs are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only those in these states, with commas between
    #[param(style = Form, explode = false, value_type = Vec<JobState>, required = false)]
    #[serde(default, deserialize_with = "states")]
    state: Vec<JobState>,
    /// Only those of this user
    #[param(required = false)]
    #[serde(default)]
    user: String,
    /// Only those of this queue
    #[param(required = false)]
    #[serde(default)]
    queue: String,
    /// Only those with a larger id
    #[param(maximum = 9007199254740991_u64, nullable = false)]
    after: Option<u64>,
    /// Only those with a smaller id
    #[param(maximum = 9007199254740991_u64, nullable = false)]
    before: Option<u64>,
    /// At most so many; 100 where absent
    #[param(minimum = 1, maximum = 1000, nullable = false)]
    limit: Option<u64>,
    /// The newest first
    #[param(required = false)]
    #[serde(default)]
    newest_first: bool,
}

fn states<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<JobState>, D::Error> {
    use serde::de::value::StrDeserializer;
    let text = String::deserialize(deserializer)?;
    let words = text.split(',').filter(|word| !word.is_empty());
    words.map(|word| JobState::deserialize(StrDeserializer::<D::Error>::new(word))).collect()
}

/// Jobs in the order asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Jobs {
    jobs: Vec<Job<'static>>,
    /// There may be more: give this as `after`, or as `before` where the newest come first.
    #[schema(required)]
    next: Option<u64>,
}

/// List jobs
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", params(Wanted),
    responses(Refusals, (status = 200, description = "One page", body = Jobs))
)]
pub(super) async fn list(
    State(door): State<Door>,
    Who(_): Who,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<Jobs>, Refused> {
    let limit = wanted.limit.unwrap_or(USUAL_PAGE);
    if limit == 0 || limit > PAGE as u64 {
        let reason = format!("{limit}; 1 to {PAGE} are possible");
        return Err(refusal::Refusal::Invalid { field: "limit", reason }.into());
    }
    for (field, id) in [("after", wanted.after), ("before", wanted.before)] {
        if let Some(id) = id.filter(|id| *id > MAX_ID) {
            let reason = format!("{id}; ids go up to {MAX_ID}");
            return Err(refusal::Refusal::Invalid { field, reason }.into());
        }
    }
    let filter = Filter {
        states: wanted.state.into_iter().fold(States::default(), |states, state| states.and(state.into())),
        user: wanted.user,
        queue: wanted.queue,
        after: wanted.after.map(JobId),
        before: wanted.before.map(JobId),
        limit: Some(limit),
        newest_first: wanted.newest_first,
    };
    let (mut lister, mut jobs) = (Lister::new(filter), Vec::new());
    loop {
        let more;
        (lister, more) = lister.next(&door.api.handle).await?;
        if more.is_empty() {
            break;
        }
        jobs.extend(more.into_iter().map(Job::from));
    }
    let next = if lister.is_cut() { jobs.last().map(|job: &Job<'_>| job.id) } else { None };
    Ok(Json(Jobs { jobs, next }))
}

/// Submit work
///
/// When it answers, the jobs are on disk.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", request_body = Submission,
    params(("Idempotency-Key" = Option<String>, Header, max_length = 128,
        pattern = "^[!-~]*$",
        description = "The same key by the same user gives the jobs of the first call, so that a call may be repeated")),
    responses(Refusals, BodyRefusals, (status = 201, description = "The jobs were taken in", body = Submitted),
        (status = 200, description = "The key was known", body = Submitted))
)]
pub(super) async fn submit(
    State(door): State<Door>,
    Who(caller): Who,
    headers: HeaderMap,
    Body(given): Body<Submission>,
) -> Result<(StatusCode, Json<Submitted>), Refused> {
    let key = headers.get(KEY).map(|value| value.to_str());
    let not_text = |_| refusal::Refusal::Invalid { field: KEY, reason: "it is no plain text".to_owned() };
    let key = key.transpose().map_err(not_text)?.unwrap_or_default().to_owned();
    let submission = submission_of(Some(given.into()), key)?;
    let submitted = door.api.handle.call(move |turn| turn.submit(&caller, submission)).await?;
    let status = if submitted.known { StatusCode::OK } else { StatusCode::CREATED };
    let (job, count, known) = (submitted.first.0, submitted.count, submitted.known);
    Ok((status, Json(Submitted { job, count, known })))
}

/// Show a job
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs",
    params(("id" = u64, Path, minimum = 1, maximum = 9007199254740991_u64)),
    responses(Refusals, (status = 200, description = "Everything that is known of it", body = JobDetail))
)]
pub(super) async fn show(
    State(door): State<Door>,
    Who(caller): Who,
    Named(id): Named<u64>,
) -> Result<Json<JobDetail>, Refused> {
    let job = JobId(id);
    let detail = move |turn: &mut Turn<'_>| {
        let is_own = turn.own(&caller, job).is_ok();
        Ok(detail_of(turn.core(), job, is_own)?)
    };
    Ok(Json(door.api.handle.call(detail).await?.into()))
}

/// Cancel a job
///
/// What runs is asked to end, and killed after the grace time.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", tag = "jobs",
    params(("id" = u64, Path, minimum = 1, maximum = 9007199254740991_u64)),
    responses(Refusals, (status = 204, description = "It ends"))
)]
pub(super) async fn cancel(state: State<Door>, who: Who, id: Named<u64>) -> Result<StatusCode, Refused> {
    act(state, who, id, Act::Cancel).await
}

/// Put a job aside
#[utoipa::path(
    post, path = "/v1/jobs/{id}/hold", tag = "jobs",
    params(("id" = u64, Path, minimum = 1, maximum = 9007199254740991_u64)),
    responses(Refusals, (status = 204, description = "It is put aside"))
)]
pub(super) async fn hold(state: State<Door>, who: Who, id: Named<u64>) -> Result<StatusCode, Refused> {
    act(state, who, id, Act::Hold).await
}

/// Let a held job queue
#[utoipa::path(
    post, path = "/v1/jobs/{id}/release", tag = "jobs",
    params(("id" = u64, Path, minimum = 1, maximum = 9007199254740991_u64)),
    responses(Refusals, (status = 204, description = "It queues"))
)]
pub(super) async fn release(state: State<Door>, who: Who, id: Named<u64>) -> Result<StatusCode, Refused> {
    act(state, who, id, Act::Release).await
}

/// End the present attempt of a job and queue it again
#[utoipa::path(
    post, path = "/v1/jobs/{id}/requeue", tag = "jobs",
    params(("id" = u64, Path, minimum = 1, maximum = 9007199254740991_u64)),
    responses(Refusals, (status = 204, description = "It ends, and is queued again"))
)]
pub(super) async fn requeue(state: State<Door>, who: Who, id: Named<u64>) -> Result<StatusCode, Refused> {
    act(state, who, id, Act::Requeue).await
}

/// A signal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Signal {
    /// Its number; 10 is SIGUSR1.
    #[schema(minimum = 1, maximum = 31)]
    number: u32,
}

/// Send a signal to every rank of a running job
///
/// Its attempt goes on, unless its processes end because of it. A job that does not run is refused by 409, `not_running`.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/signal", tag = "jobs", request_body = Signal,
    params(("id" = u64, Path, minimum = 1, maximum = 9007199254740991_u64)),
    responses(Refusals, BodyRefusals, (status = 204, description = "It is on its way"))
)]
pub(super) async fn signal(
    State(door): State<Door>,
    Who(caller): Who,
    Named(id): Named<u64>,
    Body(Signal { number }): Body<Signal>,
) -> Result<StatusCode, Refused> {
    door.api.handle.call(move |turn| turn.signal(&caller, JobId(id), number)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn act(
    State(door): State<Door>,
    Who(caller): Who,
    Named(id): Named<u64>,
    act: Act,
) -> Result<StatusCode, Refused> {
    door.api.handle.call(move |turn| turn.act(&caller, JobId(id), act)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Say why a job does not run
#[utoipa::path(
    get, path = "/v1/jobs/{id}/why", tag = "jobs",
    params(("id" = u64, Path, minimum = 1, maximum = 9007199254740991_u64)),
    responses(Refusals, (status = 200, description = "The reason that matters most", body = Why))
)]
pub(super) async fn why(
    State(door): State<Door>,
    Who(_): Who,
    Named(id): Named<u64>,
) -> Result<Json<Why>, Refused> {
    let why = door.api.handle.call(move |turn| Ok(why_of(turn.core(), JobId(id), turn.now())?)).await?;
    Ok(Json(why.into()))
}
