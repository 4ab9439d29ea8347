//! Logs of real processes: followed while they are written, and cut while they grow.

use std::fs;
use std::os::unix::fs::MetadataExt;

use zenith_proto::v1;

use super::controller::shell;
use super::joined;

fn request(follow: bool) -> v1::ReadLog {
    v1::ReadLog { request: 1, job: 1, attempt: 1, follow, ..Default::default() }
}

#[tokio::test]
async fn logs_are_followed_to_the_end_of_the_attempt() {
    let (_controller, mut node, _agent, state) = joined(&[]).await;
    let go = state.path().join("go");
    let script =
        format!("echo one; while [ ! -e {} ]; do sleep 0.01; done; echo two; echo three >&2", go.display());
    node.start(shell(1, &script)).await;
    node.started(1).await;
    node.read_log(request(true)).await;
    let first = node.log_part().await.part.unwrap();
    assert_eq!((first.data.as_slice(), first.rank, first.dropped), (b"one\n".as_slice(), 0, 0));
    fs::write(go, "").unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match node.next().await {
            v1::agent_message::Kind::LogPart(part) => {
                let Some(answer) = part.part else { break };
                let text = if answer.stream() == v1::Stream::Stderr { &mut err } else { &mut out };
                text.extend(answer.data);
            }
            // Its end is not acknowledged, and its logs are read all the same.
            v1::agent_message::Kind::Report(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((out.as_slice(), err.as_slice()), (b"two\n".as_slice(), b"three\n".as_slice()));
}

#[tokio::test]
async fn a_reader_that_wants_no_more_gets_no_more() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    node.start(shell(1, "while :; do echo x; sleep 0.001; done")).await;
    node.started(1).await;
    node.read_log(request(true)).await;
    node.log_part().await;
    node.read_log(v1::ReadLog { stop: true, ..request(true) }).await;
    node.signal(1, true).await;
    // Parts that were under way may come; the end of the log does not, and nothing comes after the end of the attempt.
    loop {
        match node.next().await {
            v1::agent_message::Kind::LogPart(part) => assert!(!part.last),
            v1::agent_message::Kind::Report(report) => {
                if let Some(v1::report::What::Gone(_)) = report.what {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_log_that_grows_keeps_its_end() {
    let (_controller, mut node, agent, _state) = joined(&["--log-part", "1"]).await;
    // 16 MiB in lines of 16 bytes that say where they are.
    let script = "i=0; while [ $i -lt 16 ]; do seq -f '%015.0f' $((i * 65536)) $((i * 65536 + 65535)); i=$((i+1)); done";
    node.start(shell(1, script)).await;
    assert_eq!(node.life(1).await, ["0 started", "0 code 0", "gone"]);
    let log = fs::metadata(agent.state.join("runs/1.1/rank-0.out")).unwrap();
    assert_eq!(log.len(), 16 << 20);
    assert!(log.blocks() * 512 <= (2 << 20) + (64 << 10), "{} blocks", log.blocks());
    let (out, _, dropped) = node.logs(request(false)).await;
    assert_eq!(dropped + out.len() as u64, 16 << 20);
    let expected: String = (dropped / 16..1 << 20).map(|line| format!("{line:015}\n")).collect();
    assert!(out == expected);
}
