"""The scheduler from Python and by the command: a real one, with a node of its own."""

import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections import Counter
from datetime import timedelta

import pytest
import zenith
from schedulers import Scheduler, free_port
from schedulers import scheduler as running_scheduler
from test_command import zenith_command

WAIT = 60


def run(client, *command, **resources):
    job = client.submit(list(command), **resources)
    assert job.wait(WAIT) == "completed", (job.cause, job.logs())
    return job


def shell(client, script, **resources):
    return run(client, "sh", "-c", script, **resources)


# What jobs run, and what they get.


def test_a_job_runs_and_its_output_comes_back(client, tmp_path):
    job = shell(client, "echo out; echo err >&2; pwd", directory=tmp_path, name="speak")
    assert job.logs(stream="stdout") == f"out\n{tmp_path}\n" and job.logs(stream="stderr") == "err\n"
    assert job.logs(tail=4, stream="stderr") == "err\n"
    assert (job.name, job.exit_code, job.done, job.result()) == ("speak", 0, True, None)
    assert [part.data for part in job.follow() if part.stream == "stderr"] == [b"err\n"]


def test_following_begins_before_the_job_and_goes_on_with_its_next_attempt(client, tmp_path):
    job = client.submit(
        ["sh", "-c", f"echo try $ZENITH_ATTEMPT; test -e {tmp_path}/go || sleep 600"], hold=True
    )
    said = []
    thread = threading.Thread(target=lambda: said.extend(part.data for part in job.follow()))
    thread.start()
    job.release()
    deadline = time.monotonic() + WAIT
    while not said:
        assert time.monotonic() < deadline, job.refresh()
        time.sleep(0.02)
    (tmp_path / "go").touch()
    job.requeue()
    thread.join(WAIT)
    assert b"".join(said) == b"try 1\ntry 2\n"


def test_the_environment_goes_along_but_no_token(client, monkeypatch):
    monkeypatch.setenv("COLOUR", "green")
    monkeypatch.setenv("ZENITH_TOKEN", "")
    script = 'echo "$COLOUR,$SHAPE,${ZENITH_TOKEN-none},$ZENITH_JOB_ID"'
    job = shell(client, script, env={"SHAPE": "round"})
    assert job.logs() == f"green,round,none,{job.id}\n"
    job = shell(client, script, export=False, env={"SHAPE": "round", "ZENITH_TOKEN": "given"})
    assert job.logs() == f",round,given,{job.id}\n"


def test_ranks_find_each_other_and_their_gpus(client):
    job = shell(client, 'echo "$RANK/$WORLD_SIZE $CUDA_VISIBLE_DEVICES"', gpus=2)
    assert sorted(job.logs().splitlines()) == ["0/2 0", "1/2 1"]
    assert job.logs(rank=1) == "1/2 1\n"
    job = shell(client, 'echo "$RANK/$WORLD_SIZE $CUDA_VISIBLE_DEVICES"', gpus=2, ranks_per="node")
    assert job.logs() == "0/1 0,1\n"


def test_an_array_and_what_comes_after_it(client):
    jobs = client.submit_array(["sh", "-c", "echo $ZENITH_ARRAY_INDEX"], 3)
    after = client.submit(["true"], after=jobs[0])
    assert [job.id - jobs[0].id for job in jobs] == [0, 1, 2]
    assert after.wait(WAIT) == "completed"
    for number, job in enumerate(jobs):
        assert job.refresh().state == "completed" and job.logs() == f"{number}\n"


def test_what_work_asks_for_is_what_the_scheduler_knows(client):
    job = client.submit(
        ["true"],
        gpus_per_node=2,
        nodes=(1, 3),
        cpus=1,
        mem="16M",
        time=timedelta(hours=1.5),
        topology="nvlink:required",
        priority=-3,
        preemptible=True,
        retries=2,
        hold=True,
        name="wants",
    )
    asked = job.details()["submission"]
    wanted = {
        "gpus": None,
        "nodes_min": 1,
        "nodes_max": 3,
        "gpus_per_node": 2,
        "cpus": 1,
        "memory_mib": 16,
        "topology": "nvlink",
        "topology_required": True,
        "ranks_per": "gpu",
    }
    assert asked["resources"] == wanted
    assert (asked["time_limit_ms"], asked["priority"], asked["preemptible"]) == (5_400_000, -3, True)
    assert (asked["retries"], asked["held"], asked["name"]) == (2, True, "wants")
    job.cancel()
    assert job.state == "cancelled"


def test_a_key_is_taken_in_once(client):
    first = client.submit(["true"], key="once")
    assert client.submit(["true"], key="once") == first
    assert client.submit(["true"], key="twice") != first


# What is done to jobs, and what is seen of them.


def test_holding_releasing_and_cancelling(client):
    job = client.submit(["sleep", "600"], hold=True)
    assert job.state == "held" and not job.done
    job.release()
    deadline = time.monotonic() + WAIT
    while job.refresh().state != "running":
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    with pytest.raises(TimeoutError, match=f"job {job.id} is running"):
        job.wait(0.1)
    job.cancel()
    assert job.wait(WAIT) == "cancelled"
    with pytest.raises(zenith.JobError, match="cancelled") as raised:
        job.result()
    assert (raised.value.job, raised.value.state) == (job.id, "cancelled")


def test_a_requeued_job_begins_again(client, tmp_path):
    job = client.submit(["sh", "-c", f"echo x >> {tmp_path}/attempts; test -e {tmp_path}/go || sleep 600"])
    deadline = time.monotonic() + WAIT
    while not (tmp_path / "attempts").exists():
        assert time.monotonic() < deadline, job.refresh()
        time.sleep(0.02)
    (tmp_path / "go").touch()
    job.requeue()
    assert job.wait(WAIT) == "completed"
    assert (tmp_path / "attempts").read_text() == "x\nx\n"


def test_why_a_job_waits(client):
    job = client.submit(["true"], gpus=64)
    why = job.why()
    assert why.job == job.id and why.state == "queued" and why.code and why.reason
    text = zenith_command("job", "why", job.id).stdout
    assert f"job {job.id} is queued" in text and why.reason in text
    job.cancel()


def test_the_cluster_is_seen(client):
    cluster = client.cluster()
    node = next(node for node in client.nodes() if node.name == "here")
    assert (len(node.gpus), node.cpus, node.contact, node.drained) == (2, 4, "up", False)
    assert (
        cluster.gpus == 2
        and cluster.version == zenith.__version__
        and cluster.started_ms <= time.time() * 1000
    )
    assert "default" in {queue.name for queue in client.queues()}
    client.drain("here")
    assert client.nodes()[0].drained
    client.drain("here", False)
    assert not client.nodes()[0].drained


def test_lists(client):
    held = client.submit_array(["true"], 3, hold=True, name="listed")
    ids = [job.id for job in held]
    assert [job.id for job in client.jobs(states=["held"]) if job.name == "listed"] == ids
    assert [job.id for job in client.jobs(states=["held"], limit=2, newest_first=True)] == ids[:0:-1]
    assert not client.jobs(user="nobody-of-this-name")
    with pytest.raises(zenith.ConfigError, match="sleeping"):
        client.jobs(states=["sleeping"])
    for job in held:
        job.cancel()


def as_json(shown):
    return json.loads(json.dumps(dataclasses.asdict(shown)))


def test_every_door_shows_the_same(tmp_path, monkeypatch):
    """REST, the command and Python, which both speak gRPC. What gRPC says itself is compared with REST in Rust."""
    monkeypatch.delenv("ZENITH_TOKEN", raising=False)
    with running_scheduler(tmp_path) as running:
        monkeypatch.setenv("ZENITH_CONTROLLER", running.endpoint)
        client = zenith.SchedulerClient(running.endpoint)
        jobs = {
            "running": client.submit(["sleep", "600"], gpus=1, time="1:00:00", name="a running one"),
            "queued": client.submit(["true"], gpus_per_node=64, nodes="2..3", topology="rack", priority=-2),
            "completed": client.submit(["sh", "-c", "echo done"], cpus=1, mem="16M", env={"A": "b"}),
            "failed": client.submit(["sh", "-c", "exit 7"], retries=0),
            "held": client.submit(["true"], hold=True, preemptible=True),
        }
        jobs["waiting"] = client.submit(["true"], after=[jobs["held"], f"{jobs['running'].id}:any"])
        jobs["cancelled"] = client.submit(["true"], hold=True)
        jobs["cancelled"].cancel()
        array = client.submit_array(["sh", "-c", "exit $ZENITH_ARRAY_INDEX"], 3, gpus=1)
        for job in (jobs["completed"], jobs["failed"], *array):
            job.wait(WAIT)
        deadline = time.monotonic() + WAIT
        while jobs["running"].refresh().state != "running":
            assert time.monotonic() < deadline, jobs["running"]
            time.sleep(0.02)
        client.drain("here")

        def rest(path):
            with urllib.request.urlopen(f"http://{running.rest}/v1/{path}", timeout=WAIT) as answer:
                return json.load(answer)

        def command(*words):
            return json.loads(zenith_command(*words, "--json").stdout)

        listed = rest("jobs")["jobs"]
        assert len(listed) == 10 and listed == command("job", "ls", "--all")
        known = client.jobs(states=[])
        assert listed == [job.record for job in known]
        for job, record in zip(known, listed, strict=True):
            for name in set(record) - {"priority", "attempt", "restarts"}:
                shown = getattr(job, name)
                assert (list(shown) if name == "nodes" else shown) == record[name], name
            detail = rest(f"jobs/{job.id}")
            assert detail["job"] == record and detail == job.details()
            why = rest(f"jobs/{job.id}/why")
            assert why == as_json(job.why())
            assert (why["job"], why["state"]) == (job.id, record["state"])
            # One of each state, since each command is a process.
            if job in jobs.values():
                assert detail == command("job", "show", job.id) and why == command("job", "why", job.id)
        for state, job in jobs.items():
            assert listed[job.id - listed[0]["id"]]["state"] == state
        assert [(listed[job.id - 1]["state"], listed[job.id - 1]["exit_code"]) for job in array] == [
            ("completed", 0),
            ("failed", 1),
            ("failed", 2),
        ]
        assert {record["first"] for record in listed[-3:]} == {array[0].id}

        nodes = rest("nodes")["nodes"]
        assert nodes == command("node", "ls") == [as_json(node) for node in client.nodes()]
        assert [(node["name"], node["drained"], node["contact"]) for node in nodes] == [("here", True, "up")]
        assert nodes[0]["gpus_used"] == [0] and nodes[0]["jobs"] == [jobs["running"].id]
        cluster = rest("cluster")
        assert cluster == command("cluster", "status") == as_json(client.cluster())
        assert cluster["nodes"] == nodes and cluster["counts"] == dict(
            Counter(record["state"] for record in listed)
        )
        # Before the job it waits for, whose end would be its end too.
        jobs["waiting"].cancel()


# Signals.


def test_a_signal_is_heard_and_the_job_goes_on(client, tmp_path):
    script = f"trap 'echo usr1' USR1; trap 'echo winch' WINCH; touch {tmp_path}/ready; "
    job = client.submit(["sh", "-c", script + f"while ! test -e {tmp_path}/go; do sleep 0.02; done"])
    deadline = time.monotonic() + WAIT
    while not (tmp_path / "ready").exists() or job.refresh().state != "running":
        assert time.monotonic() < deadline, job.refresh()
        time.sleep(0.02)

    def heard(said):
        while said not in job.logs():
            assert time.monotonic() < deadline, job.logs()
            time.sleep(0.02)

    client.signal(job, "USR1")
    heard("usr1")
    job.signal(signal.SIGWINCH)
    heard("winch")
    sent = zenith_command("job", "signal", job.id, "sigusr1")
    assert sent.stdout == f"sent SIGUSR1 to {job.id}\n"
    heard("usr1\nwinch\nusr1")
    (tmp_path / "go").touch()
    assert job.wait(WAIT) == "completed" and job.record["attempt"] == 1


def test_a_signal_that_cannot_be_sent_is_refused(client):
    job = run(client, "true")
    with pytest.raises(zenith.SchedulerError) as raised:
        client.signal(job.id, 10)
    assert raised.value.code == "not_running" and raised.value.hint
    with pytest.raises(zenith.SchedulerError) as raised:
        client.signal(10**12, 10)
    assert raised.value.code == "no_such_job"
    for wrong in ("USR3", 0, 32):
        with pytest.raises(zenith.ConfigError, match="SIGUSR1"):
            client.signal(job, wrong)
    refused = zenith_command("job", "signal", job.id, "TERM", status=1)
    assert "a signal needs one that runs" in refused.stderr and "hint" in refused.stderr
    assert "SIGUSR1" in zenith_command("job", "signal", job.id, "USR3", status=2).stderr
    helped = zenith_command("job", "signal", "--help").stdout
    assert "scancel --signal" in helped and "sbatch --signal" in helped


# Refusals.


def test_refusals_have_a_word_and_a_hint(client):
    with pytest.raises(zenith.SchedulerError) as raised:
        client.job(10**12)
    assert raised.value.code == "no_such_job" and raised.value.hint
    job = run(client, "true")
    with pytest.raises(zenith.SchedulerError) as raised:
        job.hold()
    assert raised.value.code == "forbidden_transition"
    with pytest.raises(zenith.SchedulerError) as raised:
        client.submit(["true"], queue="no-such-queue")
    assert raised.value.code == "no_such_queue"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"time": "soon"}, "soon"),
        ({"time": 0}, "above zero"),
        ({"mem": "much"}, "much"),
        ({"gpus": -1}, "-1"),
        ({"gpus": "two"}, "two"),
        ({"nodes": "some"}, "some"),
        ({"topology": "room"}, "room"),
        ({"after": "7:never"}, "never"),
        ({"ranks_per": "rack"}, "rack"),
        ({"speed": 9}, "speed"),
    ],
)
def test_arguments_that_make_no_sense_are_named(wrong, named):
    client = zenith.SchedulerClient(f"127.0.0.1:{free_port()}")
    with pytest.raises(zenith.ConfigError, match=named):
        client.submit(["true"], **wrong)
    with pytest.raises(zenith.ConfigError, match="list of words"):
        client.submit("true")


def test_a_scheduler_that_is_not_there_says_how_to_start_one():
    client = zenith.SchedulerClient(f"127.0.0.1:{free_port()}")
    with pytest.raises(zenith.SchedulerError, match="zenith-scheduler") as raised:
        client.jobs()
    assert raised.value.code == "no_server" and isinstance(raised.value, zenith.ZenithError)
    with pytest.raises(zenith.SchedulerError, match="port") as raised:
        zenith.SchedulerClient("somewhere")
    assert raised.value.code == "bad_address"
    with pytest.raises(zenith.SchedulerError, match="/nothing/here"):
        zenith.SchedulerClient(token_file="/nothing/here")
    with pytest.raises(zenith.SchedulerError, match="in the clear") as raised:
        zenith.SchedulerClient("head:50051", "sesame")
    assert raised.value.code == "token_in_the_clear"
    assert zenith.SchedulerClient("head:50051", "sesame", insecure=True).endpoint == "http://head:50051"


# Functions.


def scale(numbers, by=1):
    return [number * by for number in numbers]


class Oops(Exception):
    def __init__(self, number):
        super().__init__(f"oops {number}")
        self.number = number

    def __reduce__(self):
        return Oops, (self.number,)


def fail(number):
    raise Oops(number)


def give_up(status):
    os._exit(status)


def where_am_i():
    return int(os.environ["RANK"]), os.environ["CUDA_VISIBLE_DEVICES"]


def something_strange():
    return threading.Lock()


@zenith.job(cpus=1, name="decorated")
def total(*numbers, start=0):
    return sum(numbers, start)


def test_a_function_and_its_result_travel(client):
    job = zenith.submit(scale, [1, 2, 3])
    assert job.result(WAIT) == [1, 2, 3] and job.name == "scale"
    assert zenith.submit(functools.partial(scale, by=3), [1, 2]).result(WAIT) == [3, 6]
    assert client.job(job.id).result() == [1, 2, 3]


def test_what_a_function_raises_comes_back(client):
    job = zenith.submit(fail, 7)
    with pytest.raises(Oops, match="oops 7") as raised:
        job.result(WAIT)
    assert raised.value.number == 7
    assert "in fail" in str(raised.value.__cause__) and "raise Oops(number)" in str(raised.value.__cause__)
    assert job.state == "failed" and job.exit_code == 1 and "oops 7" in job.logs(stream="stderr")


def test_a_function_that_leaves_nothing_is_an_error(client):
    with pytest.raises(zenith.JobError, match="no result") as raised:
        zenith.submit(give_up, 41).result(WAIT)
    assert raised.value.exit_code == 41
    with pytest.raises(zenith.JobError, match="cannot be pickled"):
        zenith.submit(something_strange).result(WAIT)


def fail_and_die():
    if os.environ["ZENITH_ATTEMPT"] == "1":
        raise Oops(1)
    os._exit(41)


def test_what_an_earlier_attempt_raised_is_not_the_result_of_the_last(client):
    job = zenith.submit(fail_and_die, retries=1)
    with pytest.raises(zenith.JobError, match="no result") as raised:
        job.result(WAIT)
    assert raised.value.exit_code == 41


class Scripted:
    """A client whose submissions end like this, one after the other."""

    def __init__(self, *ends):
        self.ends, self.keys = list(ends), []

    def submit(self, _, **resources):
        self.keys.append(resources["key"])
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end


def failure(code):
    return zenith.SchedulerError(code, code=code)


@pytest.mark.parametrize(
    ("ends", "stays"),
    [
        ([failure("no_answer"), failure("no_server"), "a job"], True),
        ([failure("broken_connection")] * 3, True),
        ([failure("broken_connection"), failure("disk_full")], True),
        ([KeyboardInterrupt()], True),
        ([failure("no_such_queue")], False),
        ([failure("no_server")], False),
        ([zenith.ConfigError("nonsense")], False),
    ],
)
def test_the_folder_of_a_call_goes_only_where_no_job_can_need_it(ends, stays, monkeypatch, tmp_path):
    monkeypatch.setenv("ZENITH_SPOOL", str(tmp_path))
    monkeypatch.setattr("zenith._functions._PAUSES", (0, 0))
    client, last = Scripted(*ends), ends[-1]
    if isinstance(last, str):
        assert zenith.submit(scale, [1], client=client) == last
    else:
        with pytest.raises(type(last)):
            zenith.submit(scale, [1], client=client)
    assert not client.ends and len(set(client.keys)) == 1 and client.keys[0]
    assert len(list(tmp_path.iterdir())) == stays


def test_with_several_ranks_the_result_is_that_of_the_first(client):
    assert zenith.submit(where_am_i, gpus=2).result(WAIT) == (0, "0")


def test_a_decorated_function_is_still_a_function(client):
    assert total(1, 2, start=4) == 7 and total.__name__ == "total"
    assert total.submit(1, 2, start=4).result(WAIT) == 7
    job = total.options(name="other", priority=2).submit(5)
    assert job.result(WAIT) == 5
    assert job.name == "other" and job.details()["submission"]["priority"] == 2
    assert total.submit(1).name == "decorated"


def test_a_script_submits_its_own_functions(client, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import zenith
        from dataclasses import dataclass

        @dataclass
        class Pair:
            first: int
            second: int

        @zenith.job
        def pair(a, b):
            return Pair(a, b)

        if __name__ == "__main__":
            assert zenith.submit(Pair, 1, 2).result(60) == Pair(1, 2)
            assert pair.submit(3, 4).result(60) == Pair(3, 4)
            print("good")
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "good\n", done.stderr
    plain = "import sys, zenith\nsys.modules['cloudpickle'] = None\n"
    script.write_text(plain + "def f(): pass\nprint(repr(zenith.submit(f).result(60)))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "__main__" in done.stderr, (done.stdout, done.stderr)


def test_a_folder_that_is_not_shared_is_said_to_be(client, tmp_path):
    job = zenith.submit(scale, [1], hold=True)
    # As a node sees it that has another file system.
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    job.release()
    with pytest.raises(zenith.JobError, match="ZENITH_SPOOL"):
        job.result(WAIT)
    assert "ZENITH_SPOOL" in job.logs(stream="stderr") and job.exit_code == 97


def test_what_cannot_be_pickled_is_refused_at_once(client, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(zenith.ConfigError, match="cloudpickle"):
        zenith.submit(lambda: 1)
    with pytest.raises(zenith.ConfigError, match="pickled"):
        zenith.submit(scale, threading.Lock())
    assert not (tmp_path / "spool").exists()


# The connection.


def test_waiting_lets_threads_run_and_ctrl_c_through(client):
    job = client.submit(["sleep", "600"], hold=True)
    beats = []

    def interrupt():
        for _ in range(5):
            beats.append(time.monotonic())
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        job.wait(WAIT)
    thread.join()
    assert len(beats) == 5
    job.cancel()


def test_a_forked_process_has_a_connection_of_its_own(client):
    client.cluster()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(len(client.nodes())).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"1"
    os.waitpid(child, 0)
    assert len(client.nodes()) == 1


def test_threads_share_a_client(client):
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(len(client.nodes()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 8


def test_waiting_outlasts_the_scheduler(tmp_path, monkeypatch):
    monkeypatch.delenv("ZENITH_TOKEN", raising=False)
    other = Scheduler(tmp_path, "--cpus", "2", "--name", "other").start()
    try:
        client = zenith.SchedulerClient(other.endpoint)
        job = client.submit(["sh", "-c", f"while ! test -e {tmp_path}/go; do sleep 0.05; done"])
        waited = []
        thread = threading.Thread(target=lambda: waited.append(job.wait(WAIT)))
        thread.start()
        other.kill()
        (tmp_path / "go").touch()
        other.start()
        thread.join()
        assert waited == ["completed"]
    finally:
        other.stop()


# The command.


def test_submitting_by_the_command(client, tmp_path):
    submit = ("job", "submit", "--dir", tmp_path)
    done = zenith_command(*submit, "--wait", "--", "true")
    job = client.job(int(done.stdout))
    assert job.state == "completed" and job.name == "true"
    done = zenith_command(*submit, "--wait", "--name", "bad", "--", "sh", "-c", "exit 7", status=7)
    assert f"job {done.stdout.strip()} failed" in done.stderr
    done = zenith_command(
        *submit, "--follow", "--env", "A=1", "--export", "none", "--", "/bin/sh", "-c", "echo $A; pwd"
    )
    assert done.stdout.splitlines()[1:] == ["1", str(tmp_path)]
    told = json.loads(zenith_command(*submit, "--json", "--array", "3", "--hold", "--", "true").stdout)
    assert told["count"] == 3 and not told["known"]
    zenith_command("job", "cancel", "--array", told["job"])
    assert client.job(told["job"] + 2).state == "cancelled"


def test_logs_by_the_command(client):
    job = shell(client, 'echo "out $RANK"; echo "err $RANK" >&2', gpus=2)
    done = zenith_command("job", "logs", job.id)
    assert sorted(done.stdout.splitlines()) == ["0: out 0", "1: out 1"]
    assert sorted(done.stderr.splitlines()) == ["0: err 0", "1: err 1"]
    assert zenith_command("job", "logs", job.id, "--rank", "1", "-f").stdout == "out 1\n"


def test_the_views_for_people(client):
    job = shell(client, "echo shown", name="a-job-to-show", gpus=1)
    table = zenith_command("job", "ls", "--all").stdout
    head, *lines = table.splitlines()
    assert head.split()[:3] == ["ID", "STATE", "NAME"]
    assert any(line.split()[:3] == [str(job.id), "completed", "a-job-to-show"] for line in lines)
    assert "a-job-to-show" not in zenith_command("job", "ls").stdout
    text = zenith_command("job", "show", job.id).stdout
    assert "a-job-to-show" in text and "sh -c 'echo shown'" in text and "1 GPUs" in text
    assert "here" in zenith_command("node", "ls").stdout
    assert "0 of 2 in use" in zenith_command("cluster", "status").stdout
    held = client.submit(["true"], hold=True, name="seen-on-top")
    frame = zenith_command("top", "--once", "--width", "100", "--height", "30").stdout
    assert "seen-on-top" in frame and "here" in frame and len(frame.splitlines()) == 30
    held.cancel()


def test_a_long_list_is_cut_where_that_is_asked_for(client):
    jobs = [client.submit(["true"], hold=True, name=f"one-of-{number}") for number in range(5)]
    everything = json.loads(zenith_command("job", "ls", "--json").stdout)
    done = zenith_command("job", "ls", "--json", "--limit", "2")
    assert json.loads(done.stdout) == everything[-2:]
    assert f"and {len(everything) - 2} more" in done.stderr
    done = zenith_command("job", "ls", "-n", len(everything))
    assert len(done.stdout.splitlines()) == len(everything) + 1 and not done.stderr
    zenith_command("job", "ls", "--limit", "0", status=2)
    for job in jobs:
        job.cancel()


def test_the_commands_refusals(client, monkeypatch):
    done = zenith_command("job", "show", 10**12, status=1)
    assert "hint: " in done.stderr and not done.stdout
    done = zenith_command("job", "cancel", 10**12, status=1)
    assert "hint: " in done.stderr
    zenith_command("job", "submit", "--time", "soon", "--", "true", status=2)
    zenith_command("job", "submit", status=2)
    zenith_command("job", "cancel", "9-1", status=2)
    monkeypatch.setenv("ZENITH_CONTROLLER", f"127.0.0.1:{free_port()}")
    done = zenith_command("job", "ls", status=1)
    assert "zenith-scheduler" in done.stderr and "Traceback" not in done.stderr


def test_every_flag_names_its_twin():
    text = zenith_command("job", "submit", "--help").stdout
    for twin in ("--gpus", "--nodes", "--cpus-per-gpu", "--mem-per-gpu", "--time", "--partition", "--array"):
        assert twin in text, twin
    for twin in ("--dependency", "--requeue", "--hold", "--chdir", "--export", "--wait", "--job-name"):
        assert twin in text, twin
