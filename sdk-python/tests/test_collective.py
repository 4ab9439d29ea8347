"""``zenith.collective`` between real processes: arrays, deaths, decisions, and torch.distributed as the way."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
import zenith
from zenith import collective
from zenith.collective import Evidence, Row

PRELUDE = """
import json, os, sys, time
import numpy as np
import torch
import zenith
from zenith import collective
from zenith.collective import Evidence, Row

def say(*what):
    print(json.dumps(what), flush=True)
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Ranks:
    """Processes that run a script as ranks of one job."""

    def __init__(self, script, world, local=True):
        port = free_port()
        common = {
            **os.environ,
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world if local else 1),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "ZENITH_COLLECTIVE_PORT": str(free_port()),
        }
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", PRELUDE + script],
                env={**common, "RANK": str(rank)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(world)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdout.close()

    def hear(self, rank):
        line = self.processes[rank].stdout.readline()
        assert line, f"rank {rank} ended without a word"
        return json.loads(line)

    def end(self, rank):
        assert self.processes[rank].wait(120) == 0


@pytest.mark.parametrize("local", [True, False])
def test_arrays_of_numpy_and_torch(local):
    script = """
ranks = collective.init()
say(ranks.rank, ranks.world_size, ranks.backend)
sums = np.arange(100_003, dtype=np.float32) + ranks.rank
assert ranks.all_reduce(sums) is sums
say(bool((sums == 3 * np.arange(100_003, dtype=np.float32) + 3).all()))
means = torch.full((7, 3), float(ranks.rank), dtype=torch.bfloat16)
ranks.all_reduce(means, "avg")
say(means.flatten().tolist() == [1.0] * 21)
say(ranks.all_gather(torch.tensor([[ranks.rank, 9]])).tolist())
say(ranks.broadcast(np.full(3, ranks.rank), root=2).tolist())
say(ranks.gather_bytes(b"x" * ranks.rank) == [b"", b"x", b"xx"])
say(ranks.adopt(b"map" if ranks.rank == 0 else b"") == b"map")
say(ranks.commit(5), ranks.commit(6, ready=ranks.rank != 1), ranks.decide(ranks.rank != 2))
ranks.close()
"""
    with Ranks(script, 3, local) as ranks:
        for rank in range(3):
            assert ranks.hear(rank) == [rank, 3, "shared memory" if local else "TCP ring"]
            assert ranks.hear(rank) == [True]
            assert ranks.hear(rank) == [True]
            assert ranks.hear(rank) == [[[[0, 9]], [[1, 9]], [[2, 9]]]]
            assert ranks.hear(rank) == [[2, 2, 2]]
            assert ranks.hear(rank) == [True]
            assert ranks.hear(rank) == [True]
            assert ranks.hear(rank) == [None, [1], False]
            ranks.end(rank)


@pytest.mark.parametrize("local", [True, False])
def test_a_killed_rank_is_named(local):
    script = """
ranks = collective.init()
say("ready")
try:
    while True:
        ranks.all_reduce(np.ones(200_000))
except zenith.CollectiveError as error:
    say(error.code, error.ranks, str(error))
try:
    ranks.barrier()
except zenith.CollectiveError as error:
    say(error.code, error.ranks)
"""
    with Ranks(script, 3, local) as ranks:
        assert [ranks.hear(rank) for rank in range(3)] == [["ready"]] * 3
        ranks.processes[1].send_signal(signal.SIGKILL)
        for rank in (0, 2):
            code, culprits, message = ranks.hear(rank)
            assert (code, culprits) == ("died", [1]) and "rank 1 on " in message
            assert ranks.hear(rank) == ["broken", [1]]
            ranks.end(rank)


def test_a_stopped_rank_is_named_after_the_deadline():
    script = """
ranks = collective.init()
say("ready")
try:
    while True:
        ranks.all_reduce(np.ones(10), timeout=5)
except zenith.CollectiveError as error:
    say(error.code, error.ranks)
"""
    with Ranks(script, 3) as ranks:
        assert [ranks.hear(rank) for rank in range(3)] == [["ready"]] * 3
        ranks.processes[2].send_signal(signal.SIGSTOP)
        assert ranks.hear(0) == ["deadline", [2]]
        assert ranks.hear(1) == ["deadline", [2]]


@pytest.mark.parametrize("way", ["native", "torch"])
def test_choices_are_the_same_everywhere(way):
    script = (
        f"way = {way!r}"
        + """
if way == "torch":
    torch.distributed.init_process_group("gloo")
    ranks = collective.from_torch()
else:
    ranks = collective.init()
rng = np.random.default_rng(ranks.rank)
rows = {}
for key in range(20):
    times = 1000 * (1 + key % 3) * rng.uniform(0.95, 1.05, 3)
    rows[str(key)] = Row("a", {
        name: Evidence(int(rng.integers(1, 9)), int(time)) if rng.random() > 0.3 else None
        for name, time in zip("abc", times)
    })
if ranks.rank == 1:
    del rows["7"]
first = ranks.agree(rows)
say(bool(first), sorted((key, choice.candidate) for key, choice in first.choices.items()))
failed = ranks.agree(rows, failed="the cache is broken" if ranks.rank == 1 else None)
say(bool(failed), failed.code, failed.ranks, failed.reason)
nonsense = ranks.agree({"k": "no row"} if ranks.rank == 0 else rows)
say(bool(nonsense), nonsense.code, nonsense.ranks)
say(ranks.commit(1), ranks.adopt(b"m" * (1 - ranks.rank)) == b"m", ranks.gather_bytes(b"") == [b"", b""])
ranks.barrier()
"""
    )
    with Ranks(script, 2) as ranks:
        one, other = ranks.hear(0), ranks.hear(1)
        assert one == other and one[0]
        assert sorted(key for key, _ in one[1]) == sorted(str(key) for key in range(20) if key != 7)
        for rank in range(2):
            good, code, culprits, reason = ranks.hear(rank)
            assert (good, code, culprits) == (
                False,
                "failed",
                [1],
            ) and "rank 1: the cache is broken" in reason
            assert ranks.hear(rank) == [False, "failed", [0]]
            assert ranks.hear(rank) == [None, True, True]
            ranks.end(rank)


def test_one_rank_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with collective.init() as ranks:
        assert (ranks.rank, ranks.world_size, ranks.backend) == (0, 1, "solo")
        values = np.arange(4.0)
        assert ranks.all_reduce(values, "avg").tolist() == [0, 1, 2, 3]
        assert ranks.all_gather(values).shape == (1, 4)
        rows = {"k": Row("a", {"a": Evidence(3, 100), "b": Evidence(3, 50)})}
        assert ranks.agree(rows).choices["k"].candidate == "b"


def test_what_makes_no_sense_is_refused(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = collective.init()
    with pytest.raises(zenith.ConfigError, match="contiguous"):
        ranks.all_reduce(np.ones((4, 4))[:, 1])
    read_only = np.ones(3)
    read_only.flags.writeable = False
    with pytest.raises(zenith.ConfigError, match="writable"):
        ranks.all_reduce(read_only)
    with pytest.raises(ValueError, match="complex128"):
        ranks.all_reduce(np.ones(3, np.complex128))
    with pytest.raises(zenith.ConfigError, match="average of int64"):
        ranks.all_reduce(np.ones(3, np.int64), "avg")
    with pytest.raises(zenith.ConfigError, match="no rank 3"):
        ranks.broadcast(np.ones(3), root=3)
    with pytest.raises(zenith.ConfigError, match="list does not"):
        ranks.all_reduce([1, 2])
    ranks.close()
    with pytest.raises(ValueError, match="closed"):
        ranks.barrier()
    with pytest.raises(zenith.ConfigError, match="RANK"):
        collective.init(rank=4, world_size=2)


def test_a_group_that_nobody_joins(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(zenith.CollectiveError) as caught:
        collective.init(rank=0, world_size=2, timeout=0.3)
    assert caught.value.code == "meeting" and caught.value.ranks == (1,)


def test_other_threads_run_while_a_rank_waits(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    sums = []

    def rank_one():
        with collective.init(rank=1, world_size=2) as ranks:
            sums.append(ranks.all_reduce(torch.ones(5)).tolist())

    other = threading.Thread(target=rank_one)
    other.start()
    # Both would wait for ever if a waiting rank kept the interpreter to itself.
    with collective.init(rank=0, world_size=2) as ranks:
        sums.append(ranks.all_reduce(np.ones(5, np.float32)).tolist())
        other.join()
    assert sums == [[2.0] * 5] * 2
