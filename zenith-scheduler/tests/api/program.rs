//! The program: how it starts, refuses to start, and stops.

use std::process::{Command, Output};

use crate::agent::{Agent, register, started};
use crate::http;
use crate::process::{Process, arguments, program};
use crate::server::{PATIENCE, State, refusal_in};

fn run(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

fn refused(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_it_in_good_order_and_the_state_stays() {
    let state = State::new();
    for signal in ["TERM", "INT"] {
        let mut process = Process::start(state.path(), &[]);
        let mut node = Agent::join(process.grpc, register("a", 1, &[])).await;
        let number = node.report(1, 1, 0, started()).await;
        node.acknowledged(number).await;
        let body = r#"{"resources": {"gpus": 1}, "command": ["x"], "held": true}"#;
        assert_eq!(http::post(process.rest, "/v1/jobs", body).await.status, 201);
        let events = http::open(process.rest, "GET /v1/events", &[], "").await;
        process.signal(signal);
        let status = tokio::task::spawn_blocking(move || {
            let status = process.wait();
            drop(process);
            status
        });
        let status = tokio::time::timeout(PATIENCE, status).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(0), "SIG{signal}");
        let ended = node.hear().await;
        assert_eq!(refusal_in(&ended.unwrap_err()).code, "stopping");
        drop(events);
    }
    let process = Process::start(state.path(), &[]);
    let jobs = http::get(process.rest, "/v1/jobs").await.json();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2);
}

#[test]
fn a_second_one_over_the_same_state_is_refused() {
    let state = State::new();
    let first = Process::start(state.path(), &[]);
    let arguments = arguments(state.path());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let text = refused(&run(&arguments));
    assert!(text.contains("another scheduler uses this state"), "{text}");
    drop(first);
    drop(Process::start(state.path(), &[]));
}

#[test]
fn it_opens_to_others_only_with_tokens_and_encryption() {
    let state = State::new();
    let folder = state.path().to_str().unwrap();
    let open = ["--state", folder, "--no-agent", "--grpc", "0.0.0.0:0", "--rest", "127.0.0.1:0"];
    let text = refused(&run(&open));
    assert!(text.contains("there are no tokens") && text.contains("token add"), "{text}");
    let added = run(&["token", "add", "ann", "--state", folder]);
    assert!(added.status.success());
    let text = refused(&run(&open));
    assert!(text.contains("--tls-cert"), "{text}");
    let mut command = Command::new(program());
    command.args(open).arg("--insecure");
    drop(Process::spawn(command));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_made_and_taken_away_while_it_runs() {
    let state = State::new();
    let folder = state.path().to_str().unwrap();
    let process = Process::start(state.path(), &[]);
    let made = run(&["token", "add", "ann", "--admin", "--state", folder]);
    let token = String::from_utf8(made.stdout).unwrap();
    let authorization = format!("Authorization: Bearer {}", token.trim());
    let body = r#"{"resources": {"gpus": 1}, "command": ["x"]}"#;
    let headers = [authorization.as_str(), "Content-Type: application/json"];
    assert_eq!(http::call(process.rest, "POST /v1/jobs", &headers, body).await.status, 201);
    let jobs = http::get(process.rest, "/v1/jobs?user=ann").await.json();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);
    let listed = run(&["token", "ls", "--state", folder]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["admin", "ann"]);
    assert!(run(&["token", "rm", "ann", "--state", folder]).status.success());
    assert_eq!(http::call(process.rest, "GET /v1/jobs", &headers, "").await.status, 401);
    let text = refused(&run(&["token", "rm", "ann", "--state", folder]));
    assert!(text.contains("there is no token"), "{text}");
}

#[test]
fn arguments_and_files_that_make_no_sense_are_refused() {
    let state = State::new();
    let folder = state.path().to_str().unwrap();
    assert_eq!(run(&["--colour"]).status.code(), Some(2));
    let text = refused(&run(&["--state", folder, "--silent-after", "0.5"]));
    assert!(text.contains("heartbeat"), "{text}");
    let file = state.path().join("config.toml");
    std::fs::write(&file, "colour = 1\n").unwrap();
    let text = refused(&run(&["--config", file.to_str().unwrap()]));
    assert!(text.contains("colour") && text.contains("config.toml"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_tokens_are_required_nobody_is_known_without_and_the_agent_within_joins() {
    let state = State::new();
    let folder = state.path().to_str().unwrap();
    let strict = ["--state", folder, "--grpc", "127.0.0.1:0", "--rest", "127.0.0.1:0", "--require-tokens"];
    let text = refused(&run(&strict));
    assert!(text.contains("there are none") && text.contains("token add"), "{text}");
    let made = run(&["token", "add", "ann", "--admin", "--state", folder]);
    let authorization = format!("Authorization: Bearer {}", String::from_utf8(made.stdout).unwrap().trim());
    let mut command = Command::new(program());
    command.args(strict);
    let process = Process::spawn(command);
    let bare = http::get(process.rest, "/v1/nodes").await;
    assert_eq!((bare.status, bare.refusal().as_str()), (401, "unauthenticated"));
    let joined = async {
        loop {
            let nodes = http::call(process.rest, "GET /v1/nodes", &[&authorization], "").await;
            assert_eq!(nodes.status, 200);
            if !nodes.json()["nodes"].as_array().unwrap().is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, joined).await.unwrap();
}

#[test]
fn a_folder_that_was_open_to_others_is_closed_at_the_start() {
    use std::os::unix::fs::PermissionsExt;
    let state = State::new();
    let mode = || std::fs::metadata(state.path()).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(Process::start(state.path(), &[]));
    assert_eq!(mode(), 0o700);
}
