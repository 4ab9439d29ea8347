"""Part ``activity``: what the GPU's performance counters say while it is busy for a known part of the time.

A matrix product that fills the device runs for a part of each period, and nothing for the rest. The part that the
device's own events measured is set against the activity of its multiprocessors.
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch

from .. import _core
from .._errors import MachineError
from ..telemetry import cuda_address
from ._outcome import UnavailableError
from ._timing import enough

_DUTIES = (0.25, 0.5, 0.75, 1.0)
_PERIOD = 0.05
_SIZE = 4096


def run(device: str, seconds: float) -> dict[str, Any]:
    """Counted against known, for each duty cycle."""
    chosen = torch.device(device)
    if chosen.type != "cuda":
        raise UnavailableError("performance counters are a GPU's: NVIDIA's have them from Hopper on")
    try:
        _core.Activity(cuda_address(chosen), 0.2).stop()
    except MachineError as error:
        raise UnavailableError(str(error)) from None
    each = max(2.0, seconds * 0.7 / len(_DUTIES))
    results = [_duty(chosen, duty, each) for duty in _DUTIES]
    told = [abs(one["sm"] - one["known"]) for one in results if one["sm"] is not None]
    return {"duty_cycles": results, "largest_difference": max(told) if told else None}


def _duty(device: torch.device, duty: float, seconds: float) -> dict[str, Any]:
    a = torch.randn((_SIZE, _SIZE), dtype=torch.bfloat16, device=device)
    products = enough(device, lambda: a @ a, _PERIOD * duty)
    activity = _core.Activity(cuda_address(device), 0.2)
    busy, begun = 0.0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        period = time.perf_counter()
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        for _ in range(products):
            a @ a
        last.record()
        last.synchronize()
        busy += first.elapsed_time(last) / 1e3
        if duty < 1.0:
            time.sleep(max(0.0, _PERIOD - (time.perf_counter() - period)))
    known = busy / (time.perf_counter() - begun)
    seen = json.loads(activity.seen() or "{}")
    activity.stop()
    mean = seen.get("mean", {})
    return {
        "asked": duty,
        "known": round(known, 4),
        "sm": mean.get("sm"),
        "tensor": mean.get("tensor"),
        "seen": seen,
    }
