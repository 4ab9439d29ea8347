"""Time on a device: work takes as long as the device's own events say, on the processor as long as its clock says."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def finish(device: torch.device) -> None:
    """Waits for everything that was asked of a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(device: torch.device, work: Callable[[], Any], repeats: int) -> float:
    """Seconds that one of ``repeats`` calls takes, as a mean, measured around all of them."""
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(repeats):
            work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / repeats
    begun = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - begun) / repeats


def enough(device: torch.device, work: Callable[[], Any], seconds: float) -> int:
    """How many calls take about so many seconds; at least one. Warms up on the way."""
    work()
    once = seconds_of(device, work, 1)
    return max(1, min(10_000, round(seconds / max(once, 1e-7))))


def rounds(
    device: torch.device, contenders: dict[str, Callable[[], Any]], seconds: float, count: int = 5
) -> dict[str, list[float]]:
    """Seconds per call of each contender in alternating rounds.

    Args:
        device: whose time it is.
        contenders: by name.
        seconds: for all of it.
        count: rounds.
    """
    each = seconds / (count + 1) / len(contenders)
    repeats = {name: enough(device, work, each) for name, work in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(count):
        order = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        for name in order:
            times[name].append(seconds_of(device, contenders[name], repeats[name]))
    return times


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)
