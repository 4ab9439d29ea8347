"""Does the step wait for data: the same loop on one resident batch and on real batches (the oracle ratio)."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any

from rivals.protocol import Channel, Config
from rivals.starve.step import make_step
from rivals.timing import Watch, timed_epoch


def measure(config: Config, rival: ModuleType, channel: Channel) -> dict[str, Any]:
    """Load one epoch alone (it also warms up), then resident, real, resident again."""
    watch = Watch(channel)
    loader = rival.open_loader(config)
    warm = timed_epoch(loader, 0, int(config.options["classes"]), 0)
    step = make_step(config.options["kind"], float(config.options["step_seconds"]))
    # A copy: holding on to a loader's own batch could keep one of its buffers from going round.
    resident = next(iter(loader.epoch(1)))[0].clone()

    steps = warm["batches"]
    before = _resident(step, resident, steps)
    blocked, real, seen = 0.0, time.perf_counter(), 0
    batches = iter(loader.epoch(2))
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        blocked += time.perf_counter() - asked
        if batch is None:
            break
        step(batch[0])
        seen += 1
    real = time.perf_counter() - real
    after = _resident(step, resident, steps)
    channel.mark("measured")
    loader.close()
    return {
        "versions": rival.VERSIONS,
        "imported_pss_bytes": watch.imported_pss_bytes,
        "warm_epoch": warm,
        "steps": steps,
        "real_steps": seen,
        "resident_seconds": [before, after],
        "real_seconds": real,
        "blocked_seconds": blocked,
    }


def _resident(step: Any, batch: Any, steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        step(batch)
    return time.perf_counter() - start
