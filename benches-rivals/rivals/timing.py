"""The loop that all loaders are timed by, and the checks that keep a wrong loader out of the table."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from rivals import meter
from rivals.loader import Loader
from rivals.protocol import Channel

CHECKED_BATCHES = 10


def timed_epoch(loader: Loader, number: int, classes: int, max_seconds: float) -> dict[str, Any]:
    """Read one epoch as fast as it comes and count what came.

    The inputs are touched (one value a batch), so that a lazily filled batch cannot pass for a finished one.
    """
    counts = np.zeros(classes, dtype=np.int64)
    samples = batches = 0
    touched = 0.0
    complete = True
    first = None
    cpu = meter.cpu_seconds()
    start = time.perf_counter()
    deadline = start + max_seconds if max_seconds > 0 else float("inf")
    for inputs, labels in loader.epoch(number):
        now = time.perf_counter()
        if first is None:
            first = now - start
        flat = loader.labels(labels)
        counts += np.bincount(flat, minlength=classes)
        samples += len(flat)
        batches += 1
        touched += float(loader.inputs(inputs)[(-1,) * len(inputs.shape)])
        if now > deadline:
            complete = False
            break
    wall = time.perf_counter() - start
    return {
        "samples": samples,
        "batches": batches,
        "wall_seconds": wall,
        "cpu_seconds": meter.cpu_seconds() - cpu,
        "first_batch_seconds": first,
        "complete": complete,
        "label_counts": counts.tolist(),
        "touched": touched,
    }


def light_epoch(loader: Loader, number: int, max_seconds: float) -> dict[str, Any]:
    """Read one epoch and only count, for loaders whose batch takes about as long as looking at it would.

    What was delivered is checked elsewhere, outside the timing; here only the last batch is touched.
    """
    samples = batches = 0
    complete = True
    batch: Any = None
    first = None
    clock = time.perf_counter
    cpu = meter.cpu_seconds()
    start = clock()
    deadline = start + max_seconds if max_seconds > 0 else float("inf")
    for batch in loader.epoch(number):
        now = clock()
        if first is None:
            first = now - start
        samples += len(batch[1])
        batches += 1
        if now > deadline:
            complete = False
            break
    wall = clock() - start
    return {
        "samples": samples,
        "batches": batches,
        "wall_seconds": wall,
        "cpu_seconds": meter.cpu_seconds() - cpu,
        "first_batch_seconds": first,
        "complete": complete,
        "touched": float(loader.inputs(batch[0]).reshape(-1)[-1]),
    }


def picture_sanity(loader: Loader, number: int, batch_size: int, size: int) -> dict[str, Any]:
    """Look at a few batches, outside all timing: shape, type, channel statistics, distinct samples."""
    axes = (1, 2) if loader.layout == "NCHW" else (0, 1)
    means, deviations, prints = [], [], []
    shapes: set[tuple[int, ...]] = set()
    dtypes: set[str] = set()
    for index, (inputs, _) in enumerate(loader.epoch(number)):
        array = loader.inputs(inputs)
        if len(array) == batch_size:
            shapes.add(array.shape[1:])
        dtypes.add(str(array.dtype))
        for sample in array:
            means.append(sample.mean(axis=axes, dtype=np.float64))
            deviations.append(sample.std(axis=axes, dtype=np.float64))
            prints.append(hash(sample[..., :: size // 8].tobytes()))
        if index + 1 >= CHECKED_BATCHES:
            break
    return {
        "shape": [list(shape) for shape in sorted(shapes)],
        "dtype": sorted(dtypes),
        "layout": loader.layout,
        "channel_mean": np.mean(means, axis=0).tolist(),
        "channel_deviation": np.mean(deviations, axis=0).tolist(),
        "samples": len(prints),
        "distinct_samples": len(set(prints)),
    }


class Watch:
    """Times the start of a loader and remembers the memory before it existed."""

    def __init__(self, channel: Channel) -> None:
        """Take the memory of the bare imports, then start the clock."""
        self._channel = channel
        self.imported_pss_bytes = meter.pss_bytes()
        channel.mark("construct")
        self._start = time.perf_counter()

    @staticmethod
    def since_process_start() -> float:
        """Seconds since this process was started, imports and all; in clock ticks."""
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")

    def elapsed(self) -> float:
        """Seconds since the loader's construction began."""
        return time.perf_counter() - self._start
