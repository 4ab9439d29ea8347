"""Who a process is among the ranks: arguments, torch.distributed, environment."""

import os
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import zenith


def labels(**arguments):
    loader = zenith.DataLoader({"x": np.zeros(24), "label": np.arange(24)}, 4, num_workers=0, **arguments)
    return np.concatenate([y for _, y in loader]).tolist()


def test_the_environment_tells_the_rank(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert labels() == labels(rank=1, world_size=3) == [4, 5, 6, 7, 16, 17, 18, 19]
    assert labels(rank=0, world_size=1) == list(range(24))
    monkeypatch.setenv("RANK", "three")
    with pytest.raises(zenith.ConfigError, match="three"):
        labels()
    monkeypatch.delenv("WORLD_SIZE")
    assert labels() == list(range(24))


def test_a_users_sampler_is_not_divided_again(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert labels(sampler=[5, 3, 1]) == [5, 3, 1]


def test_torch_distributed_tells_the_rank():
    program = textwrap.dedent(
        """
        import os, sys, numpy as np, torch.distributed as distributed, zenith.torch as zt
        rank, port = int(sys.argv[1]), sys.argv[2]
        distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
        loader = zt.DataLoader({"x": np.zeros(24), "label": np.arange(24)}, 4, num_workers=1)
        print(*[i for _, y in loader for i in y.tolist()])
        distributed.barrier()
        distributed.destroy_process_group()
        """
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), port],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    seen = [list(map(int, out.split())) for out, _ in said]
    assert seen[0] == labels(rank=0, world_size=2) and seen[1] == labels(rank=1, world_size=2)
