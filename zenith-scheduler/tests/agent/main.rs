//! An agent as a process of its own, driven by a controller that does what each test says: what is started, how it ends, and
//! what becomes of it when agents, nurseries and supervisors are killed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod controller;
mod deaths;
mod gpus;
mod logs;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use controller::{Agent, Controller, shell, text, until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::Status;
use zenith_proto::v1;

/// A controller and an agent that has registered.
async fn joined(options: &[&str]) -> (Controller, controller::Node, Agent, TempDir) {
    let state = tempfile::tempdir().unwrap();
    let controller = Controller::new().await;
    let agent = Agent::new(&controller, state.path(), options);
    let node = controller.node().await;
    (controller, node, agent, state)
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Whether a process is there and is no zombie.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[tokio::test]
async fn a_node_says_what_it_is() {
    let options = ["--gpus", "2", "--rack", "r7", "--cpus", "5", "--memory", "77", "--gpu-numa", "0,1"];
    let (_controller, mut node, _agent, _state) = joined(&options).await;
    let spec = node.register.spec.clone().unwrap();
    assert_eq!((spec.name.as_str(), spec.rack.as_str(), spec.cpus, spec.memory_mib), ("node", "r7", 5, 77));
    assert_eq!(spec.gpus.iter().map(|gpu| gpu.numa).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(node.register.address, "127.0.0.1");
    assert_eq!(node.register.known, []);
    assert_eq!(node.register.identity.len(), 32);
    assert_eq!(node.token.as_deref(), Some("Bearer opensesame"));
    for _ in 0..3 {
        node.heartbeat().await;
    }
    assert!(node.gpus.iter().all(|gpu| gpu.healthy), "{:?}", node.gpus);
}

#[tokio::test]
async fn a_refusal_is_said_with_its_reason() {
    let state = tempfile::tempdir().unwrap();
    let controller = Controller::refusing(Status::already_exists("the name node is in use")).await;
    let mut agent = Agent::new(&controller, state.path(), &[]);
    let line = tokio::task::spawn_blocking(move || agent.line_with("refuses")).await.unwrap();
    assert!(line.contains("the name node is in use") && !line.contains("opensesame"), "{line}");
}

#[tokio::test]
async fn an_agent_with_another_state_is_another_machine() {
    let (controller, node, _agent, _state) = joined(&[]).await;
    let state = tempfile::tempdir().unwrap();
    let _second = Agent::new(&controller, state.path(), &[]);
    let other = controller.node().await;
    assert_eq!(node.register.spec, other.register.spec);
    assert_ne!(node.register.identity, other.register.identity);
}

#[tokio::test]
async fn two_agents_do_not_share_a_state() {
    let (controller, _node, _agent, state) = joined(&[]).await;
    let mut second = Agent::new(&controller, state.path(), &[]);
    let line = tokio::task::spawn_blocking(move || second.line_with("another agent")).await.unwrap();
    assert!(line.contains("--state"), "{line}");
}

#[tokio::test]
async fn an_agent_stays_until_a_signal_ends_it_whatever_it_logs() {
    for filter in ["info", "warn", "off"] {
        let (state, controller) = (tempfile::tempdir().unwrap(), Controller::new().await);
        let mut agent = Agent::logging(filter, &controller, state.path(), &[]);
        let mut node = controller.node().await;
        node.heartbeat().await;
        node.start(shell(1, "exit 0")).await;
        node.life(1).await;
        kill_process(Pid::from_raw(agent.pid()).unwrap(), Signal::TERM).unwrap();
        let status = tokio::task::spawn_blocking(move || agent.wait()).await.unwrap();
        assert_eq!(status, Some(0), "{filter}");
    }
}

#[tokio::test]
async fn a_process_ends_as_it_ends() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    for (job, script, end) in
        [(1, "exit 0", "0 code 0"), (2, "exit 3", "0 code 3"), (3, "kill -9 $$", "0 signal 9")]
    {
        node.start(shell(job, script)).await;
        assert_eq!(node.life(job).await, ["0 started", end, "gone"]);
    }
}

#[tokio::test]
async fn what_a_process_used_is_counted() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    node.start(shell(1, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")).await;
    node.started(1).await;
    let Some(v1::report::What::Exited(exited)) = node.report().await.what else {
        panic!("it should have ended")
    };
    let usage = exited.usage.unwrap();
    assert!(usage.user_ms > 0 && usage.max_rss_kib > 100, "{usage:?}");
}

#[tokio::test]
async fn a_gang_finds_its_places_in_the_environment() {
    let (_controller, mut node, agent, _state) = joined(&["--gpus", "4"]).await;
    let slice = v1::Slice { gpus: vec![1, 3], ..Default::default() };
    let environment = [("MINE".to_owned(), "a b".to_owned())].into();
    let script = "echo $RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $NODE_RANK $MASTER_ADDR \
                  $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS $ZENITH_ARRAY_INDEX $ZENITH_RESTART_COUNT $ZENITH_NODE_NAME \
                  $MINE ${ZENITH_AGENT_TOKEN-none}; pwd; test -d $ZENITH_CHECKPOINT_DIR && echo $ZENITH_CHECKPOINT_DIR";
    let start = v1::Start {
        first: 5,
        restarts: 2,
        environment,
        directory: "/usr".to_owned(),
        rank_offset: 6,
        local_ranks: 2,
        world_size: 8,
        node_rank: 3,
        nodes: 4,
        master_address: "10.1.2.3".to_owned(),
        master_port: 1_234,
        slice: Some(slice),
        ..shell(9, script)
    };
    node.start(start).await;
    let mut life = node.life(9).await;
    life.sort();
    assert_eq!(life, ["6 code 0", "6 started", "7 code 0", "7 started", "gone"]);
    let checkpoints = agent.state.join("checkpoints/9");
    for (rank, place) in [(6, "6 0 8 2 3 10.1.2.3 1"), (7, "7 1 8 2 3 10.1.2.3 3")] {
        let request = v1::ReadLog { request: 1, job: 9, attempt: 1, rank: Some(rank), ..Default::default() };
        let (out, err, _) = node.logs(request).await;
        assert_eq!(out, format!("{place} 1 4 2 node a b none\n/usr\n{}\n", checkpoints.display()));
        assert_eq!(err, "");
    }
    assert!(!checkpoints.exists(), "an empty one is not kept");
}

#[tokio::test]
async fn a_checkpoint_is_kept_for_the_next_attempt() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    node.start(shell(1, "echo 7 > $ZENITH_CHECKPOINT_DIR/step")).await;
    node.life(1).await;
    let again = v1::Start { attempt: 2, ..shell(1, "exit $(cat $ZENITH_CHECKPOINT_DIR/step)") };
    node.start(again).await;
    assert_eq!(node.life(1).await[1], "0 code 7");
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let (_controller, mut node, _agent, state) = joined(&[]).await;
    let file = state.path().join("plain");
    fs::write(&file, "text").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let file = file.to_str().unwrap();
    let run = |job, command: &str| v1::Start { command: vec![command.to_owned()], ..shell(job, "") };
    let cases = [
        (run(1, "no-such-program"), "there is no program no-such-program on PATH".to_owned()),
        (run(2, "/no/such/program"), "/no/such/program: No such file or directory".to_owned()),
        (run(3, file), format!("{file}: Permission denied")),
        (
            v1::Start { directory: "/no/such/place".to_owned(), ..shell(4, "true") },
            "directory /no/such/place: No such file or directory".to_owned(),
        ),
        (v1::Start { command: vec![], ..shell(5, "") }, "there is no command".to_owned()),
    ];
    for (start, why) in cases {
        let job = start.job;
        node.start(start).await;
        let life = node.life(job).await;
        assert!(life[0].starts_with("0 not started: ") && life[0].contains(&why), "{life:?}");
        assert_eq!(life[1..], ["gone"]);
    }
}

#[tokio::test]
async fn whose_fault_it_is_that_nothing_runs_is_said() {
    let (_controller, mut node, _agent, state) = joined(&[]).await;
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let master_port = u32::from(taken.local_addr().unwrap().port());
    // Where its logs would be there is a file.
    fs::write(state.path().join("runs/4.1"), "").unwrap();
    let cases = [
        (v1::Start { command: vec!["no-such-program".to_owned()], ..shell(1, "") }, v1::Fault::Job),
        (v1::Start { directory: "/no/such/place".to_owned(), ..shell(2, "true") }, v1::Fault::Unspecified),
        (v1::Start { master_port, ..shell(3, "true") }, v1::Fault::Port),
        (shell(4, "true"), v1::Fault::Node),
    ];
    for (start, fault) in cases {
        node.start(start).await;
        let report = node.report().await;
        let Some(v1::report::What::Exited(exited)) = report.what else { panic!("{report:?} is no end") };
        assert_eq!(exited.fault(), fault, "{exited:?}");
        assert_eq!(text(&node.report().await), "gone");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_before_anything_starts() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let master_port = u32::from(taken.local_addr().unwrap().port());
    let start = |job, node_rank| v1::Start { master_port, node_rank, ..shell(job, "true") };
    node.start(start(1, 0)).await;
    assert_eq!(
        node.life(1).await,
        [format!("0 not started: port {master_port} is in use"), "gone".to_owned()]
    );
    node.start(start(2, 1)).await;
    assert_eq!(node.life(2).await[0], "0 started", "the port is another node's");
}

#[tokio::test]
async fn a_process_is_asked_and_then_killed() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    let ready = |job| v1::ReadLog { request: job, job, attempt: 1, follow: true, ..Default::default() };
    node.start(shell(1, "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.01; done")).await;
    node.started(1).await;
    node.read_log(ready(1)).await;
    assert_eq!(node.log_part().await.part.unwrap().data, b"ready\n");
    node.say(v1::controller_message::Kind::ReadLog(v1::ReadLog { stop: true, ..ready(1) })).await;
    node.signal(1, false).await;
    assert_eq!(node.life(1).await, ["0 code 5", "gone"]);

    node.start(shell(2, "trap '' TERM; echo ready; while :; do sleep 0.01; done")).await;
    node.started(2).await;
    node.read_log(ready(2)).await;
    assert_eq!(node.log_part().await.part.unwrap().data, b"ready\n");
    node.say(v1::controller_message::Kind::ReadLog(v1::ReadLog { stop: true, ..ready(2) })).await;
    node.signal(2, false).await;
    node.signal(2, true).await;
    assert_eq!(node.life(2).await, ["0 signal 9", "gone"]);
}

#[tokio::test]
async fn a_signal_is_passed_on_and_the_attempt_goes_on() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    let signal = |number| v1::Signal { job: 1, attempt: 1, kill: false, number: Some(number) };
    let read = v1::ReadLog { request: 1, job: 1, attempt: 1, follow: true, ..Default::default() };
    let script = "exec 2>/dev/null; trap 'echo usr1' USR1; trap 'echo winch' WINCH; echo ready; while :; do sleep 0.01; done";
    node.start(shell(1, script)).await;
    node.started(1).await;
    node.read_log(read).await;
    assert_eq!(node.log_part().await.part.unwrap().data, b"ready\n");
    for (number, said) in [(10, b"usr1\n".as_slice()), (28, b"winch\n"), (10, b"usr1\n")] {
        node.say(v1::controller_message::Kind::Signal(signal(number))).await;
        assert_eq!(node.log_part().await.part.unwrap().data, said);
    }
    node.say(v1::controller_message::Kind::ReadLog(v1::ReadLog { stop: true, ..read })).await;
    node.say(v1::controller_message::Kind::Signal(signal(2))).await;
    assert_eq!(node.life(1).await, ["0 signal 2", "gone"]);
}

#[tokio::test]
async fn a_signal_that_comes_before_its_attempt_waits_for_it() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    node.start(shell(1, "sleep 600")).await;
    let early = v1::Signal { job: 1, attempt: 1, kill: false, number: Some(12) };
    node.say(v1::controller_message::Kind::Signal(early)).await;
    assert_eq!(node.life(1).await, ["0 started", "0 signal 12", "gone"]);
}

#[tokio::test]
async fn an_attempt_that_nobody_knows_is_gone() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    node.signal(77, true).await;
    assert_eq!(node.life(77).await, ["gone"]);
}

#[tokio::test]
async fn an_attempt_is_killed_however_soon_it_is_asked() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    node.start(shell(1, "sleep 600")).await;
    node.signal(1, true).await;
    assert_eq!(node.life(1).await.last().unwrap(), "gone");
}

#[tokio::test]
async fn a_start_that_is_said_twice_starts_once() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    for _ in 0..3 {
        node.start(shell(1, "echo once")).await;
    }
    assert_eq!(node.life(1).await, ["0 started", "0 code 0", "gone"]);
    node.start(shell(2, "true")).await;
    assert_eq!(node.life(2).await[0], "0 started");
    let request = v1::ReadLog { request: 1, job: 1, attempt: 1, ..Default::default() };
    assert_eq!(node.logs(request).await.0, "once\n");
    node.start(shell(1, "echo again")).await;
    assert_eq!(node.life(1).await, ["gone"], "it is over, and stays over");
}

#[tokio::test]
async fn starts_may_be_large_and_many() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    let variable = |number| (format!("LARGE_{number}"), "x".repeat(100_000));
    let environment: std::collections::BTreeMap<String, String> = (0..8).map(variable).collect();
    for job in 1..=20 {
        let environment = environment.clone();
        node.start(v1::Start { environment, ..shell(job, "test ${#LARGE_7} = 100000") }).await;
    }
    let mut ends = 0;
    while ends < 20 {
        match text(&node.report().await).as_str() {
            "0 started" | "gone" => {}
            end => {
                assert_eq!(end, "0 code 0");
                ends += 1;
            }
        }
    }
}

#[tokio::test]
async fn reports_are_repeated_until_they_are_acknowledged() {
    let (controller, mut node, _agent, _state) = joined(&[]).await;
    node.start(shell(1, "exit 4")).await;
    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(node.report().await);
    }
    assert_eq!(first.iter().map(|report| report.number).collect::<Vec<_>>(), [1, 2, 3]);
    node.ack(1).await;
    // The acknowledgement is heard: what follows it is answered.
    node.signal(50, true).await;
    assert_eq!(text(&node.report().await), "gone");
    drop(node);

    let mut node = controller.node().await;
    assert_eq!(node.register.known.len(), 1);
    let again: Vec<String> = [node.report().await, node.report().await].iter().map(text).collect();
    assert_eq!(again, ["0 code 4", "gone"]);
    node.ack(2).await;
    node.signal(51, true).await;
    while node.report().await.job != 51 {}
    drop(node);

    let node = controller.node().await;
    assert_eq!(node.register.known, []);
}

#[tokio::test]
async fn what_ranks_leave_behind_ends_with_the_last_of_them() {
    let (_controller, mut node, _agent, state) = joined(&[]).await;
    let pids = state.path().join("pids");
    let script = format!("setsid sleep 600 & echo $! > {}; sleep 600 & exit 0", pids.display());
    node.start(shell(1, &script)).await;
    assert_eq!(node.life(1).await, ["0 started", "0 code 0", "gone"]);
    let pid = fs::read_to_string(pids).unwrap().trim().parse().unwrap();
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn grandchildren_die_with_a_kill() {
    let (_controller, mut node, _agent, state) = joined(&[]).await;
    let pids = state.path().join("pids");
    let inner =
        format!("(setsid sh -c 'echo $$ >> {0}; sleep 600' & echo $! >> {0}) & sleep 600", pids.display());
    node.start(shell(1, &format!("setsid sh -c \"{}\" & sleep 600", inner.replace('$', "\\$")))).await;
    node.started(1).await;
    let written = || {
        let pids: Vec<i32> =
            fs::read_to_string(&pids).ok()?.lines().filter_map(|pid| pid.parse().ok()).collect();
        (pids.len() == 2).then_some(pids)
    };
    let pids = until(written).await;
    assert!(pids.iter().any(|pid| is_alive(*pid)));
    node.signal(1, true).await;
    assert_eq!(node.life(1).await, ["0 signal 9", "gone"]);
    assert!(!pids.into_iter().any(is_alive));
}

#[tokio::test]
async fn a_rank_is_bound_to_the_processors_of_its_gpu() {
    let numa = tempfile::tempdir().unwrap();
    for (node, cpus) in [("node0", "0"), ("node1", "1")] {
        fs::create_dir(numa.path().join(node)).unwrap();
        fs::write(numa.path().join(node).join("cpulist"), cpus).unwrap();
    }
    let numa = numa.path().to_str().unwrap();
    let (_controller, mut node, _agent, _state) = joined(&["--gpus", "2", "--numa", numa]).await;
    let slice = v1::Slice { gpus: vec![0, 1], cpus: 8, ..Default::default() };
    let script = "grep Cpus_allowed_list /proc/self/status; echo $OMP_NUM_THREADS";
    node.start(v1::Start { local_ranks: 2, world_size: 2, slice: Some(slice), ..shell(1, script) }).await;
    let mut notes = Vec::new();
    loop {
        let report = node.report().await;
        node.ack(report.number).await;
        match report.what.unwrap() {
            v1::report::What::Started(started) => notes.extend(started.notes),
            v1::report::What::Gone(_) => break,
            v1::report::What::Exited(_) => {}
        }
    }
    for rank in [0, 1] {
        let request = v1::ReadLog { request: 1, job: 1, attempt: 1, rank: Some(rank), ..Default::default() };
        // Four of the processors are its own, and it can use the one of its node.
        assert_eq!(node.logs(request).await.0, format!("Cpus_allowed_list:\t{rank}\n1\n"));
    }
    let unbound =
        notes.iter().any(|note| note.starts_with("its memory could not be bound to NUMA node [1]: "));
    let is_there = Path::new("/sys/devices/system/node/node1").exists();
    assert_eq!(unbound, !is_there, "what this machine does not have is said: {notes:?}");
}

#[tokio::test]
async fn memory_is_limited_or_the_record_says_that_it_is_not() {
    let (_controller, mut node, _agent, _state) = joined(&[]).await;
    let slice = v1::Slice { memory_mib: 32, cpus: 1, ..Default::default() };
    // A shell variable of 128 MiB.
    let script = "x=$(head -c 134217728 /dev/zero | tr '\\0' x); echo ${#x}";
    node.start(v1::Start { slice: Some(slice), ..shell(1, script) }).await;
    let notes = node.started(1).await;
    let mut late = Vec::new();
    let (end, fault) = loop {
        let report = node.report().await;
        match &report.what {
            Some(v1::report::What::Started(started)) => late.extend(started.notes.clone()),
            Some(v1::report::What::Exited(exited)) => break (text(&report), exited.fault()),
            other => panic!("{other:?} is no end"),
        }
    };
    if notes.iter().any(|note| note.starts_with("memory is not limited: ")) {
        assert_eq!(end, "0 code 0");
    } else {
        assert_ne!(end, "0 code 0", "{notes:?}");
        if end == "0 signal 9" {
            assert_eq!(late, ["rank 0 was killed: the limit of 32 MiB of memory was reached"]);
            assert_eq!(fault, v1::Fault::Job);
        }
    }
}
