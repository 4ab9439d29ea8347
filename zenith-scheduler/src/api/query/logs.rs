//! What a job's processes wrote, from all its nodes in one stream. Parts of one node stay in order.

use tokio::sync::mpsc;
use zenith_proto::v1;

use crate::controller::Handle;
use crate::controller::logs::Wanted;
use crate::controller::ops::Caller;
use crate::refusal::Refusal;

/// Parts that wait for the reader before nodes wait.
const AHEAD: usize = 16;

/// Begins to read. Dropping the receiver ends it; an error is the last that comes from a node.
///
/// # Errors
/// Somebody else's job, and what [`Handle::logs`] refuses.
pub async fn read_logs(
    handle: &Handle,
    caller: Caller,
    wanted: Wanted,
) -> Result<mpsc::Receiver<Result<v1::LogsResponse, Refusal>>, Refusal> {
    handle.call(move |turn| turn.own(&caller, wanted.job).map(|_| ())).await?;
    let streams = handle.logs(wanted).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    for mut parts in streams {
        let sender = sender.clone();
        tokio::spawn(async move {
            loop {
                let part = tokio::select! {
                    part = parts.next() => part.transpose(),
                    () = sender.closed() => None,
                };
                let Some(part) = part else { return };
                let is_last = part.is_err();
                if sender.send(part).await.is_err() || is_last {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}
