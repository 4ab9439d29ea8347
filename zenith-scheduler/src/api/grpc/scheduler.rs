//! What users ask.

use tonic::{Request, Response, Status, async_trait};
use zenith_proto::v1;
use zenith_proto::v1::scheduler_service_server::SchedulerService;

use super::gate::Pass;
use super::{Messages, Service, is_read};
use crate::api::convert::{
    cluster_of, detail_of, outcome_of, queue_settings, submission_of, user_settings, why_of,
};
use crate::api::query::{Filter, Lister, PAGE, Watcher, read_logs};
use crate::controller::logs::Wanted;
use crate::controller::ops::{Act, Caller};
use crate::core::JobId;
use crate::refusal::Refusal;

/// Most jobs of one call.
const MAX_JOBS: usize = 100_000;

/// Jobs that are acted on in one turn.
const TOGETHER: usize = 500;

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl SchedulerService for Service {
    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Answer<v1::SubmitResponse> {
        let caller = self.person(&request)?;
        let v1::SubmitRequest { submission, idempotency_key } = request.into_inner();
        let submission = submission_of(submission, idempotency_key)?;
        let submitted = self.api.handle.call(move |turn| turn.submit(&caller, submission)).await?;
        Ok(Response::new(v1::SubmitResponse {
            job: submitted.first.0,
            count: submitted.count,
            known: submitted.known,
        }))
    }

    async fn cancel(&self, request: Request<v1::JobsRequest>) -> Answer<v1::JobsResponse> {
        self.act(request, Act::Cancel).await
    }

    async fn hold(&self, request: Request<v1::JobsRequest>) -> Answer<v1::JobsResponse> {
        self.act(request, Act::Hold).await
    }

    async fn release(&self, request: Request<v1::JobsRequest>) -> Answer<v1::JobsResponse> {
        self.act(request, Act::Release).await
    }

    async fn signal(&self, request: Request<v1::SignalRequest>) -> Answer<v1::SignalResponse> {
        let caller = self.person(&request)?;
        let v1::SignalRequest { job, number } = request.into_inner();
        self.api.handle.call(move |turn| turn.signal(&caller, JobId(job), number)).await?;
        Ok(Response::new(v1::SignalResponse {}))
    }

    async fn requeue(&self, request: Request<v1::JobsRequest>) -> Answer<v1::JobsResponse> {
        self.act(request, Act::Requeue).await
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::JobDetail> {
        let caller = self.person(&request)?;
        let job = JobId(request.into_inner().job);
        let detail = move |turn: &mut crate::controller::Turn<'_>| {
            let is_own = turn.own(&caller, job).is_ok();
            Ok(detail_of(turn.core(), job, is_own)?)
        };
        Ok(Response::new(self.api.handle.call(detail).await?))
    }

    type ListStream = Messages<v1::ListResponse>;

    async fn list(&self, request: Request<v1::ListRequest>) -> Answer<Self::ListStream> {
        let pass = Pass::of(&request)?.clone();
        let filter = Filter::of(request.into_inner())?;
        let handle = self.api.handle.clone();
        Ok(Response::new(self.send(pass, |sender| async move {
            let mut lister = Lister::new(filter);
            loop {
                let jobs;
                (lister, jobs) = lister.next(&handle).await?;
                if jobs.is_empty() {
                    return Ok(());
                }
                for jobs in pages(jobs) {
                    if !is_read(&sender.send(Ok(v1::ListResponse { jobs })).await) {
                        return Ok(());
                    }
                }
            }
        })))
    }

    type WatchStream = Messages<v1::WatchResponse>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let pass = Pass::of(&request)?.clone();
        let jobs = request.into_inner().jobs;
        bounded(jobs.len())?;
        let mut watcher = Watcher::new(self.api.handle.clone(), jobs).await?;
        Ok(Response::new(self.send(pass, |sender| async move {
            while let Some(jobs) = watcher.next().await? {
                for jobs in pages(jobs) {
                    if !is_read(&sender.send(Ok(v1::WatchResponse { jobs })).await) {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })))
    }

    async fn why(&self, request: Request<v1::WhyRequest>) -> Answer<v1::WhyResponse> {
        self.person(&request)?;
        let job = JobId(request.into_inner().job);
        let why = self.api.handle.call(move |turn| Ok(why_of(turn.core(), job, turn.now())?)).await?;
        Ok(Response::new(why))
    }

    type LogsStream = Messages<v1::LogsResponse>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        let pass = Pass::of(&request)?.clone();
        let caller = pass.caller()?;
        let v1::LogsRequest { job, rank, attempt, follow, tail_bytes } = request.into_inner();
        let wanted = Wanted { job: JobId(job), rank, attempt, follow, tail_bytes };
        let mut parts = read_logs(&self.api.handle, caller, wanted).await?;
        Ok(Response::new(self.send(pass, |sender| async move {
            while let Some(part) = parts.recv().await {
                if !is_read(&sender.send(Ok(part?)).await) {
                    break;
                }
            }
            Ok(())
        })))
    }

    async fn cluster(&self, request: Request<v1::ClusterRequest>) -> Answer<v1::ClusterResponse> {
        self.person(&request)?;
        let started = self.api.started_ms;
        let cluster = self.api.handle.call(move |turn| Ok(cluster_of(turn.core(), started))).await?;
        Ok(Response::new(cluster))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Answer<v1::DrainResponse> {
        let caller = self.person(&request)?;
        let v1::DrainRequest { node, drained } = request.into_inner();
        self.api.handle.call(move |turn| turn.drain(&caller, &node, drained)).await?;
        Ok(Response::new(v1::DrainResponse {}))
    }

    async fn set_queue(&self, request: Request<v1::SetQueueRequest>) -> Answer<v1::SetQueueResponse> {
        let caller = self.person(&request)?;
        let (name, settings) = queue_settings(request.into_inner())?;
        self.api.handle.call(move |turn| turn.set_queue(&caller, &name, settings)).await?;
        Ok(Response::new(v1::SetQueueResponse {}))
    }

    async fn set_user(&self, request: Request<v1::SetUserRequest>) -> Answer<v1::SetUserResponse> {
        let caller = self.person(&request)?;
        let (name, settings) = user_settings(request.into_inner())?;
        self.api.handle.call(move |turn| turn.set_user(&caller, &name, settings)).await?;
        Ok(Response::new(v1::SetUserResponse {}))
    }
}

impl Service {
    async fn act(&self, request: Request<v1::JobsRequest>, act: Act) -> Answer<v1::JobsResponse> {
        let caller = self.person(&request)?;
        let jobs = request.into_inner().jobs;
        bounded(jobs.len())?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        for jobs in jobs.chunks(TOGETHER) {
            outcomes.extend(self.act_together(caller.clone(), jobs.to_vec(), act).await?);
        }
        Ok(Response::new(v1::JobsResponse { outcomes }))
    }

    async fn act_together(
        &self,
        caller: Caller,
        jobs: Vec<u64>,
        act: Act,
    ) -> Result<Vec<v1::JobOutcome>, Refusal> {
        let call = move |turn: &mut crate::controller::Turn<'_>| {
            Ok(jobs.into_iter().map(|job| outcome_of(job, turn.act(&caller, JobId(job), act))).collect())
        };
        self.api.handle.call(call).await
    }
}

fn bounded(jobs: usize) -> Result<(), Refusal> {
    if jobs > MAX_JOBS {
        let reason = format!("{jobs} in one call; at most {MAX_JOBS} are possible");
        return Err(Refusal::Invalid { field: "jobs", reason });
    }
    Ok(())
}

/// At least one page, so that an empty answer is an answer.
fn pages(mut jobs: Vec<v1::Job>) -> impl Iterator<Item = Vec<v1::Job>> {
    let mut is_first = true;
    std::iter::from_fn(move || {
        if jobs.is_empty() && !is_first {
            return None;
        }
        is_first = false;
        let rest = jobs.split_off(jobs.len().min(PAGE));
        Some(std::mem::replace(&mut jobs, rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_everything_once_and_in_order() {
        let jobs = |count| (0..count).map(|id| v1::Job { id, ..Default::default() }).collect::<Vec<_>>();
        for count in [0, 1, 999, 1000, 1001, 4000] {
            let cut: Vec<Vec<v1::Job>> = pages(jobs(count)).collect();
            assert!(!cut.is_empty() && cut.iter().all(|page| page.len() <= PAGE));
            assert_eq!(cut.concat(), jobs(count));
        }
    }
}
