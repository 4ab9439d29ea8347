"""Oracle ratio: time of the same loop on one resident batch / time on real data, at a step that Zenith can feed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from harness import datasets
from harness.context import Context
from harness.process import RivalError, run_rival
from harness.record import Metric
from harness.scenario import Case, Refused, Scenario
from harness.scenarios.pictures import add_picture_options

METRICS = (
    Metric("oracle_ratio", "oracle ratio", "", "higher", 3),
    Metric("blocked_fraction", "blocked in next()", "", "lower", 3),
    Metric("step_milliseconds", "step", "ms", "lower", 2),
    Metric("load_milliseconds", "load alone", "ms/batch", "lower", 2),
    Metric("peak_pss_bytes", "peak memory", "MB", "lower", 0, 1e6),
)
LOADERS = (
    ("torch_pil", "torch, Pillow", "torch"),
    ("torch_tv", "torch, torchvision decoder", "torch"),
    ("zenith", "Zenith", "zenith"),
)
KINDS = {"sleep": "step off the CPU", "compute": "step on the CPU"}


def values(dataset: dict[str, Any], result: dict[str, Any]) -> dict[str, float]:
    """Columns of one run."""
    warm = result["warm_epoch"]
    if warm["label_counts"] != dataset["label_counts"] or result["real_steps"] != result["steps"]:
        raise Refused(f"delivered {warm['samples']} of {dataset['count']} samples, {result['real_steps']} steps")
    resident = sum(result["resident_seconds"]) / len(result["resident_seconds"])
    return {
        "oracle_ratio": resident / result["real_seconds"],
        "blocked_fraction": result["blocked_seconds"] / result["real_seconds"],
        "step_milliseconds": resident / result["steps"] * 1e3,
        "load_milliseconds": warm["wall_seconds"] / warm["batches"] * 1e3,
        "peak_pss_bytes": float(result["memory"]["peak_pss_bytes"]),
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this scenario's own options."""
    add_picture_options(parser)
    add = parser.add_argument
    add("--step-ms", type=float, help="length of the step (default: --factor x Zenith's load time, measured first)")
    add("--factor", type=float, default=1.2, help="step / Zenith's load time of a batch (default: %(default)s)")
    add("--kinds", default=",".join(KINDS), help="kinds of step, of: %(default)s")


def plan(context: Context) -> Scenario:
    """Make the data set, find the step's length, and make a case for every loader and kind of step."""
    options = context.options
    kinds = options.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        raise SystemExit(f"unknown kind of step: {' '.join(sorted(unknown))}")
    dataset = datasets.pictures(
        context.data_root, options.images, options.classes, options.pictures, context.python_or_none("torch")
    )
    datasets.warm(Path(dataset["path"]))
    settings = {
        "dataset": dataset["path"],
        "batch_size": options.batch_size,
        "workers": options.workers,
        "options": {"classes": dataset["classes"]},
    }
    step = options.step_ms / 1e3 if options.step_ms else options.factor * _zenith_seconds(context, settings)
    settings["options"]["step_seconds"] = step
    cases = [
        Case(f"{rival}@{kind}", f"{title}, {KINDS[kind]}", environment, rival, {"options": {"kind": kind}})
        for kind in kinds
        for rival, title, environment in LOADERS
    ]
    return Scenario(
        name="starve",
        metrics=METRICS,
        cases=cases,
        base=cases[0].name,
        dataset=dataset,
        settings=settings,
        values=lambda _, result: values(dataset, result),
    )


def _zenith_seconds(context: Context, settings: dict[str, Any]) -> float:
    if reason := context.missing("zenith"):
        raise SystemExit(f"the step's length follows Zenith's load time, but zenith has {reason}; or give --step-ms")
    config = {"scenario": "pictures", "rival": "zenith", "epochs": 3, **settings}
    try:
        result = run_rival(context.command("zenith"), config, context.options.timeout)
    except RivalError as failure:
        raise SystemExit(f"Zenith's own load time could not be measured: {failure}") from failure
    steady = result["epochs"][1:]
    seconds = min(epoch["wall_seconds"] / epoch["batches"] for epoch in steady)
    print(f"Zenith loads a batch in {seconds * 1e3:.2f} ms", file=sys.stderr)
    return seconds
