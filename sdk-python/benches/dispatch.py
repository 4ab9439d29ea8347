"""What a call through the decision store adds to one of torch: against torch, and against dictionaries in Python.

Rounds alternate, and each is one loop in one thread; the figures are medians of rounds. Run it on a quiet machine::

    python sdk-python/benches/dispatch.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import zenith.kernels as zk


def by_dict(candidate: Callable[..., Any], a: torch.Tensor, b: torch.Tensor) -> Callable[..., Any]:
    """A careful dispatcher in Python: a dictionary by all that the store looks at but the modes."""

    def key(a: torch.Tensor, b: torch.Tensor) -> tuple[Any, ...]:
        return (
            *(a.shape, a.stride(), a.dtype, a.device, a.requires_grad),
            *(b.shape, b.stride(), b.dtype, b.device, b.requires_grad),
        )

    table = {key(a, b): candidate}

    def call(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return table[key(a, b)](a, b)

    return call


def by_small_dict(candidate: Callable[..., Any], a: torch.Tensor, b: torch.Tensor) -> Callable[..., Any]:
    """A careless one: shapes and types only."""
    table = {(a.shape, b.shape, a.dtype): candidate}

    def call(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return table[a.shape, b.shape, a.dtype](a, b)

    return call


def seconds(call: Callable[..., Any], a: torch.Tensor, b: torch.Tensor, calls: int) -> float:
    """Processor seconds of one call."""
    start = time.thread_time()
    for _ in range(calls):
        call(a, b)
    return (time.thread_time() - start) / calls


def main() -> None:
    """Measures and prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    a, b = torch.randn(4, 4), torch.randn(4, 4)
    zk.configure(budget_ms=50)
    zk.pin("matmul", "torch", a, b)
    operation = zk.find("matmul")
    ways = {
        "torch.matmul": torch.matmul,
        "zenith.kernels.matmul": zk.matmul,
        "the same as an object": operation,
        "dict by everything": by_dict(torch.matmul, a, b),
        "dict by shape and type": by_small_dict(torch.matmul, a, b),
    }
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        seconds(call, a, b, options.calls // 10)
    for _ in range(options.rounds):
        for name, call in ways.items():
            rounds[name].append(seconds(call, a, b, options.calls))
    zk.unpin("matmul", a, b)
    base = rounds["torch.matmul"]
    # Differences within a round: what slows all of a round down slows its yardstick down, too.
    added = {
        name: statistics.median(own - torch_own for own, torch_own in zip(times, base))
        for name, times in rounds.items()
    }
    if options.json:
        medians = {name: statistics.median(times) for name, times in rounds.items()}
        print(json.dumps({name: {"ns": medians[name] * 1e9, "added_ns": added[name] * 1e9} for name in ways}))
        return
    for name, times in rounds.items():
        print(f"{name:24} {statistics.median(times) * 1e9:8.0f} ns  {added[name] * 1e9:+8.0f} ns")


if __name__ == "__main__":
    main()
