"""Two stand-ins for a training step: an accelerator that leaves the CPU alone, and real computing on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

SIDE = 384
CALIBRATIONS = 15


def make_step(kind: str, seconds: float) -> Callable[[Any], None]:
    """Return a step of about `seconds`; "sleep" waits as for a GPU, "compute" multiplies on one thread."""
    if kind == "sleep":
        return _sleeping(seconds)
    if kind == "compute":
        return _computing(seconds)
    raise ValueError(f"no such kind of step: {kind}")


def _sleeping(seconds: float) -> Callable[[Any], None]:
    def step(batch: Any) -> None:
        deadline = time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            time.sleep(left)

    return step


def _computing(seconds: float) -> Callable[[Any], None]:
    torch.set_num_threads(1)
    weights = torch.randn(SIDE, SIDE) / SIDE**0.5
    values = torch.randn(SIDE, SIDE)

    def multiply(times: int) -> float:
        start = time.perf_counter()
        result = values
        for _ in range(times):
            result = result @ weights
        return time.perf_counter() - start

    multiply(3)
    once = min(multiply(4) / 4 for _ in range(CALIBRATIONS))
    times = max(1, round(seconds / once))

    def step(batch: Any) -> None:
        float(batch[(0,) * batch.dim()])
        multiply(times)

    return step
