//! A disk that fills up while work comes in. The state is on a small file system in memory, which the test mounts in a
//! namespace of its own; the way into it is by the process that lives there.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use tonic::transport::Endpoint;
use zenith_proto::v1;
use zenith_proto::v1::scheduler_service_client::SchedulerServiceClient;

use crate::http;
use crate::process::{Process, arguments, program};
use crate::server::State;

const BODY: &str = r#"{"resources": {"gpus": 1}, "command": ["x"], "environment": {"FILL": "@"}}"#;

/// A scheduler whose state is on a file system of so many MiB, and the folder of that as it is seen from here.
fn start(state: &State, mib: u32) -> (Process, PathBuf) {
    let folder = state.path().to_str().unwrap();
    let config = state.path().with_extension("toml");
    fs::write(&config, "room-mib = 4\n").unwrap();
    let script = format!("mount -t tmpfs -o size={mib}m,mode=700 tmpfs {folder} && exec \"$@\"");
    let mut command = Command::new("unshare");
    let namespaces: &[&str] = match rustix::process::getuid().is_root() {
        true => &["--mount"],
        false => &["--map-root-user", "--mount"],
    };
    command.args(namespaces).args(["sh", "-c", &script, "sh"]).arg(program()).args(arguments(state.path()));
    command.arg("--config").arg(&config);
    let process = Process::spawn(command);
    let inside = format!("/proc/{}/root{folder}", process.child.id()).into();
    (process, inside)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_work_is_refused_and_nothing_is_lost() {
    let state = State::new();
    let (mut process, inside) = start(&state, 32);
    let store = inside.join("scheduler.redb");
    assert!(store.exists(), "no namespace for a small disk; allow user namespaces, or run as root");
    let small = BODY.replace('@', "x");
    let mut taken = 0;
    for _ in 0..10 {
        assert_eq!(http::post(process.rest, "/v1/jobs", &small).await.status, 201);
        taken += 1;
    }

    let filler = inside.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let block = vec![1; 64 << 10];
    while file.write_all(&block).is_ok() {}
    drop(file);
    // What is refused depends on when the disk is looked at, and on what the store has set aside; in the end all of it is.
    let large = BODY.replace('@', &"x".repeat(500_000));
    let mut refused = 0;
    while refused < 20 {
        let answer = http::post(process.rest, "/v1/jobs", &large).await;
        match answer.status {
            201 => taken += 1,
            507 => {
                assert_eq!(answer.refusal(), "disk_full");
                refused += 1;
            }
            other => panic!("{other}: {}", answer.body),
        }
        assert!(taken < 1000, "the disk does not fill");
    }
    let count = |answer: http::Answer| answer.json()["jobs"].as_array().unwrap().len();
    assert_eq!(count(http::get(process.rest, "/v1/jobs?limit=1000").await), taken);
    let changed = http::call(process.rest, "DELETE /v1/jobs/1", &[], "").await.status;
    assert!(changed == 204 || changed == 507, "{changed}");

    fs::remove_file(&filler).unwrap();
    loop {
        let answer = http::post(process.rest, "/v1/jobs", &small).await;
        if answer.status == 201 {
            break;
        }
        assert_eq!(answer.refusal(), "disk_full");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    taken += 1;
    assert_eq!(count(http::get(process.rest, "/v1/jobs?limit=1000").await), taken);
    process.signal("TERM");
    assert_eq!(tokio::task::spawn_blocking(move || process.wait().code()).await.unwrap(), Some(0));
    fs::remove_file(state.path().with_extension("toml")).unwrap();
}

/// Fills a file system but for so many MiB.
fn fill(inside: &Path, left_mib: usize) {
    let filler = inside.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let block = vec![1; 1 << 20];
    let mut written = 0;
    while file.write_all(&block).is_ok() {
        written += 1;
    }
    file.set_len((written - left_mib as u64) << 20).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_does_not_fit_refuses_nothing_and_leaves_nothing() {
    let state = State::new();
    let (mut process, inside) = start(&state, 128);
    let (snapshot, partial) =
        (inside.join("scheduler.redb.snapshot"), inside.join("scheduler.redb.snapshot-partial"));
    assert!(inside.join("scheduler.redb").exists(), "no namespace for a small disk");
    let endpoint = Endpoint::from_shared(format!("http://{}", process.grpc)).unwrap();
    let mut client = SchedulerServiceClient::new(endpoint.connect().await.unwrap());
    let mut call = async |jobs: Range<u64>, is_hold: bool| {
        for first in jobs.clone().step_by(1000) {
            let request = v1::JobsRequest { jobs: (first..jobs.end.min(first + 1000)).collect() };
            let answer = if is_hold { client.hold(request).await } else { client.release(request).await };
            assert!(answer.unwrap().into_inner().outcomes.iter().all(|outcome| outcome.refusal.is_none()));
        }
    };
    // Four events for each of so many jobs are a snapshot's due; the last of them come with a disk that has no room for one.
    let many = r#"{"resources": {"gpus": 1}, "command": ["x"], "count": 14000}"#;
    assert_eq!(http::post(process.rest, "/v1/jobs", many).await.status, 201);
    call(1..14_001, true).await;
    call(1..12_001, false).await;
    fill(&inside, 4);
    call(12_001..14_001, false).await;
    process.says("the snapshot was not written");
    for job in 1..200 {
        let changed = http::call(process.rest, &format!("DELETE /v1/jobs/{job}"), &[], "").await;
        assert_eq!(changed.status, 204, "job {job}: {}", changed.body);
    }
    assert!(!partial.exists() && !snapshot.exists());
    process.signal("TERM");
    assert_eq!(tokio::task::spawn_blocking(move || process.wait().code()).await.unwrap(), Some(0));
    fs::remove_file(state.path().with_extension("toml")).unwrap();
}
