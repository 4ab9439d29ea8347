//! A session beside the node's own for each log that is read, over a connection of its own: whoever reads slowly holds up
//! what they read, and nothing else that this node has to say.

use tokio::sync::{mpsc, watch};
use zenith_proto::v1;

use super::layout::Layout;
use super::logs::{self, Phase};
use super::session::Door;

/// Answers one request to read. Where the controller takes no session beside the node's own, `own` carries the answers.
pub(crate) async fn serve(
    door: Door,
    layout: Layout,
    request: v1::ReadLog,
    phase: watch::Receiver<Phase>,
    own: mpsc::Sender<v1::AgentMessage>,
) {
    let (out, mut inbound) = match door.beside(request.request).await {
        Ok(session) => session,
        Err(reason) => {
            tracing::debug!(reason, "no session for a log; it goes with everything else");
            return logs::serve(layout, request, phase, own).await;
        }
    };
    let mut until = phase.clone();
    tokio::select! {
        () = logs::serve(layout, request, phase, out) => {}
        // It says nothing but that nobody reads any more.
        _ = inbound.message() => return,
    }
    // What was sent last is on its way for as long as the reader takes. The controller ends the session after it.
    tokio::select! {
        _ = inbound.message() => {}
        _ = until.wait_for(|phase| *phase == Phase::Unwanted) => {}
    }
}
