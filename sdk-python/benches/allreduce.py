"""All-reduce of a float32 tensor between two processes of this machine: shared memory against torch's gloo.

Both ways are open at once and take turns, a barrier before each; a round's time is the slower rank's. The
ratio is gloo's median time over Zenith's. Run from sdk-python: ``python benches/allreduce.py [--mib N]
[--rounds N] [--ranks N] [--tcp]``. One JSON record.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from zenith import collective


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def play(mib: int, rounds: int) -> None:
    """One rank; rank 0 prints the record."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ranks = collective.init()
    ones = torch.ones(mib << 18)
    ways: dict[str, Callable[[torch.Tensor], object]] = {
        "zenith": ranks.all_reduce,
        "gloo": dist.all_reduce,
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, reduce in ways.items():
            tensor = ones.clone()
            ranks.barrier()
            start, spent = time.perf_counter(), time.process_time()
            reduce(tensor)
            times = torch.tensor(
                [time.perf_counter() - start, time.process_time() - spent], dtype=torch.float64
            )
            assert bool((tensor == ranks.world_size).all())
            gathered = ranks.all_gather(times)
            if number >= 2:
                wall[name].append(float(gathered[:, 0].max()))
                processor[name].append(float(gathered[:, 1].sum()))
    if ranks.rank == 0:
        seconds = {name: statistics.median(times) for name, times in wall.items()}
        record = {
            "scenario": "all_reduce",
            "mib": mib,
            "ranks": ranks.world_size,
            "rounds": rounds,
            "backend": ranks.backend,
            "seconds": seconds,
            "spread": {name: [min(times), max(times)] for name, times in wall.items()},
            "processor_seconds": {name: statistics.median(times) for name, times in processor.items()},
            "ratio": seconds["gloo"] / seconds["zenith"],
            "processors": os.cpu_count(),
            "machine": platform.machine(),
            "torch": torch.__version__,
        }
        print(json.dumps(record))
    ranks.close()
    dist.destroy_process_group()


def main() -> int:
    """Starts the ranks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--tcp", action="store_true", help="Zenith's ring instead of its shared memory")
    options = parser.parse_args()
    if "RANK" in os.environ:
        play(options.mib, options.rounds)
        return 0
    common = {
        **os.environ,
        "WORLD_SIZE": str(options.ranks),
        "LOCAL_WORLD_SIZE": "1" if options.tcp else str(options.ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "ZENITH_COLLECTIVE_PORT": str(free_port()),
    }
    ranks = [
        subprocess.Popen([sys.executable, *sys.argv], env={**common, "RANK": str(rank)})
        for rank in range(options.ranks)
    ]
    return max(rank.wait() for rank in ranks)


if __name__ == "__main__":
    sys.exit(main())
