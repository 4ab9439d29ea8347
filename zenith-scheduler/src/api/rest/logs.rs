//! What a job's processes wrote, as it comes: the bytes themselves where one rank is asked for, and lines that begin with their
//! rank where it is all of them.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use zenith_proto::v1;

use super::Door;
use super::error::{Refusals, Refused};
use super::extract::{Asked, Named, Who};
use crate::api::query::read_logs;
use crate::controller::logs::Wanted;
use crate::core::JobId;
use crate::refusal::Refusal;

/// A line is told when it is so long even if it has not ended.
const LONGEST_LINE: usize = 64 << 10;

/// Which logs are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// One rank, byte by byte; all, line by line, where absent
    #[param(maximum = 4294967295_u64, nullable = false)]
    rank: Option<u32>,
    /// Which attempt; the last where absent
    #[param(minimum = 1, maximum = 4294967295_u64, nullable = false)]
    attempt: Option<u32>,
    /// Stay until the job has ended
    #[param(required = false)]
    #[serde(default)]
    follow: bool,
    /// Begin with the last so many bytes of each stream
    #[param(maximum = 9007199254740991_u64, nullable = false)]
    tail_bytes: Option<u64>,
}

/// Read what a job's processes wrote
#[utoipa::path(
    get, path = "/v1/jobs/{id}/logs", tag = "jobs",
    params(("id" = u64, Path, minimum = 1, maximum = 9007199254740991_u64), Which),
    responses(Refusals, (status = 200, description = "What they wrote", body = String, content_type = "text/plain"))
)]
pub(super) async fn read(
    State(door): State<Door>,
    Who(caller): Who,
    Named(id): Named<u64>,
    Asked(which): Asked<Which>,
) -> Result<Response, Refused> {
    let Which { rank, attempt, follow, tail_bytes } = which;
    let wanted = Wanted { job: JobId(id), rank, attempt: attempt.unwrap_or(0), follow, tail_bytes };
    let mut parts = read_logs(&door.api.handle, caller, wanted).await?;
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Refusal>>(4);
    let api = door.api.clone();
    tokio::spawn(async move {
        let mut lines = Lines::default();
        loop {
            let part = tokio::select! {
                part = parts.recv() => part,
                () = sender.closed() => return,
                _ = api.closing() => return,
            };
            let bytes = match (part, rank) {
                (Some(Ok(part)), Some(_)) => Ok(part.data),
                (Some(Ok(part)), None) => Ok(lines.take(&part)),
                // A body that is cut off is all that HTTP has for it.
                (Some(Err(refusal)), _) => Err(refusal),
                (None, _) => {
                    // A reader that has gone away misses nothing.
                    let _ = sender.send(Ok(lines.rest().into())).await;
                    return;
                }
            };
            let is_last = bytes.is_err();
            let is_empty = bytes.as_ref().is_ok_and(Vec::is_empty);
            if !is_empty && (sender.send(bytes.map(Bytes::from)).await.is_err() || is_last) {
                return;
            }
        }
    });
    let body = Body::from_stream(ReceiverStream::new(receiver));
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// Lines of several streams that have not ended.
#[derive(Debug, Default)]
struct Lines {
    open: BTreeMap<(u32, i32), Vec<u8>>,
}

impl Lines {
    /// The lines that a part has ended, each with its rank before it.
    fn take(&mut self, part: &v1::LogsResponse) -> Vec<u8> {
        let open = self.open.entry((part.rank, part.stream)).or_default();
        let mut out = Vec::with_capacity(part.data.len() + 16);
        for piece in part.data.split_inclusive(|byte| *byte == b'\n') {
            open.extend_from_slice(piece);
            if piece.ends_with(b"\n") || open.len() >= LONGEST_LINE {
                line(&mut out, part.rank, open);
                open.clear();
            }
        }
        out
    }

    fn rest(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for ((rank, _), open) in std::mem::take(&mut self.open) {
            if !open.is_empty() {
                line(&mut out, rank, &open);
            }
        }
        out
    }
}

fn line(out: &mut Vec<u8>, rank: u32, text: &[u8]) {
    out.extend_from_slice(format!("{rank}: ").as_bytes());
    out.extend_from_slice(text);
    if !text.ends_with(b"\n") {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_ranks_stay_whole() {
        let mut lines = Lines::default();
        let part = |rank, text: &str| v1::LogsResponse { rank, data: text.into(), ..Default::default() };
        assert_eq!(lines.take(&part(0, "a\nb")), b"0: a\n");
        assert_eq!(lines.take(&part(1, "x\n")), b"1: x\n");
        assert_eq!(lines.take(&part(0, "c\n\n")), b"0: bc\n0: \n");
        assert_eq!(lines.take(&part(1, "end")), b"");
        assert_eq!(lines.rest(), b"1: end\n");
        assert_eq!(lines.take(&part(2, &"z".repeat(LONGEST_LINE))).len(), LONGEST_LINE + 4);
    }
}
