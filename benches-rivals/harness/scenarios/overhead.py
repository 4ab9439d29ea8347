"""Trivial samples: microseconds a batch, gap between epochs, memory and /dev/shm, by number of workers.

Zenith starts at most one thread for each processor the process may use, whatever number of workers it is asked for;
where that makes a difference the title of its case says how many, and a result of another number is refused.
"""

from __future__ import annotations

import argparse
import os
import statistics
from typing import Any

from harness.context import Context
from harness.record import Metric
from harness.scenario import Case, Refused, Scenario

METRICS = (
    Metric("batch_microseconds", "a batch", "us", "lower", 1),
    Metric("batch_cpu_microseconds", "CPU a batch", "us", "lower", 1),
    Metric("epoch_gap_microseconds", "start of an epoch", "us", "lower", 0),
    Metric("first_batch_seconds", "first batch", "s", "lower", 3),
    Metric("peak_pss_bytes", "peak memory", "MB", "lower", 0, 1e6),
    Metric("loader_bytes", "of it loader", "MB", "lower", 1, 1e6),
    Metric("peak_shm_bytes", "/dev/shm", "MB", "lower", 2, 1e6),
)
LOADERS = (
    ("torch_batches", "torch, ready batches", "torch"),
    ("torch_items", "torch, items", "torch"),
    ("zenith", "Zenith", "zenith"),
)


def values(batches: int, result: dict[str, Any], threads: int | None = None) -> dict[str, float]:
    """Columns of one run; a batch's time leaves the start of its epoch out, which has its own column.

    `threads` is how many the title says.
    """
    if threads is not None and (used := result["extra"]["report"]["workers"]) != threads:
        raise Refused(f"{used} threads, not {threads}")
    first, *steady = result["epochs"]
    for epoch in (first, *steady):
        if epoch["complete"] and epoch["batches"] != batches:
            raise Refused(f"an epoch of {epoch['batches']} batches, not {batches}")
    count = sum(epoch["batches"] - 1 for epoch in steady)
    wall = sum(epoch["wall_seconds"] - epoch["first_batch_seconds"] for epoch in steady)
    memory = result["memory"]
    return {
        "batch_microseconds": wall / count * 1e6,
        "batch_cpu_microseconds": sum(e["cpu_seconds"] for e in steady) / sum(e["batches"] for e in steady) * 1e6,
        "epoch_gap_microseconds": statistics.median(epoch["first_batch_seconds"] for epoch in steady) * 1e6,
        "first_batch_seconds": result["first_batch_seconds"],
        "peak_pss_bytes": float(memory["peak_pss_bytes"]),
        "loader_bytes": float(memory["peak_pss_bytes"] - result["imported_pss_bytes"]),
        "peak_shm_bytes": float(memory["peak_shm_bytes"]),
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this scenario's own options."""
    add = parser.add_argument
    add("--worker-counts", type=_counts, default=[1, 2, 4, 8, 16], metavar="N,...", help="(default: 1,2,4,8,16)")
    add("--batches", type=int, default=20_000, help="batches of an epoch (default: %(default)s)")
    add("--epochs", type=int, default=3, help="steady epochs a run (default: %(default)s)")
    add("--max-seconds", type=float, default=3, help="cut a slow rival's epoch off (default: %(default)s)")


def plan(context: Context) -> Scenario:
    """Make a case for every loader and number of workers."""
    options = context.options
    cases = [
        Case(f"{rival}@{workers}", f"{title}, {workers_of(rival, workers)}", environment, rival, {"workers": workers})
        for workers in options.worker_counts
        for rival, title, environment in LOADERS
    ]
    settings = {
        "batch_size": options.batch_size,
        "epochs": 1 + options.epochs,
        "max_seconds": options.max_seconds,
        "options": {"batches": options.batches},
    }
    return Scenario(
        name="overhead",
        metrics=METRICS,
        cases=cases,
        base=cases[0].name,
        dataset={"kind": "trivial", "rows": options.batches * options.batch_size},
        settings=settings,
        values=lambda case, result: values(
            options.batches, result, threads_of(case.config["workers"]) if case.rival == "zenith" else None
        ),
    )


def threads_of(workers: int) -> int:
    """Count the threads of Zenith's that so many workers are here."""
    return min(workers, len(os.sched_getaffinity(0)))


def workers_of(rival: str, workers: int) -> str:
    """Count workers in words, and say where they are fewer threads."""
    threads = threads_of(workers) if rival == "zenith" else workers
    return f"{workers} workers" if threads == workers else f"{workers} workers ({threads} threads)"


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]
