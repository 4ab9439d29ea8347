//! Changes as they happen, as server-sent events.

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use super::Door;
use super::error::{Refusals, Refused};
use super::extract::{Asked, Who};
use crate::api::query::Watcher;
use crate::refusal::Refusal;
use crate::view::Job;

/// Most jobs that are named in one call.
const MAX_JOBS: usize = 1000;

/// Whose changes are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only these jobs, with commas between; the stream ends when all of them have ended. All jobs where absent
    #[param(style = Form, explode = false, value_type = Vec<u64>, required = false, max_items = 1000)]
    #[serde(default, deserialize_with = "ids")]
    job: Vec<u64>,
}

fn ids<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let words = text.split(',').filter(|word| !word.is_empty());
    words.map(|word| word.parse().map_err(serde::de::Error::custom)).collect()
}

/// Watch jobs
///
/// Each event is named `job` and has a job in its data: first all as they are, then each that has changed.
#[utoipa::path(
    get, path = "/v1/events", tag = "jobs", params(Which),
    responses(Refusals, (status = 200, description = "Events, until all jobs that were named have ended",
        body = Job, content_type = "text/event-stream"))
)]
pub(super) async fn watch(
    State(door): State<Door>,
    Who(_): Who,
    Asked(which): Asked<Which>,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, Refused> {
    if which.job.len() > MAX_JOBS {
        let reason = format!("{} in one call; at most {MAX_JOBS} are possible", which.job.len());
        return Err(Refusal::Invalid { field: "job", reason }.into());
    }
    let mut watcher = Watcher::new(door.api.handle.clone(), which.job).await?;
    let (sender, receiver) = mpsc::channel(64);
    let api = door.api.clone();
    tokio::spawn(async move {
        loop {
            let jobs = tokio::select! {
                jobs = watcher.next() => jobs,
                () = sender.closed() => return,
                _ = api.closing() => return,
            };
            let Ok(Some(jobs)) = jobs else { return };
            for job in jobs {
                let event = Event::default().event("job").json_data(Job::from(job));
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::default()))
}
