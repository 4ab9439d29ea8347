"""JPEG class folders to normalised float32 crops: images per second and per CPU-second, start, memory."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import datasets
from harness.context import Context
from harness.record import Metric, Run
from harness.scenario import Case, Refused, Scenario

METRICS = (
    Metric("images_per_second", "images/s", "", "higher"),
    Metric("images_per_cpu_second", "images/CPU-s", "", "higher"),
    Metric("cores_busy", "cores", "", "lower", 2),
    Metric("first_batch_seconds", "first batch", "s", "lower", 2),
    Metric("start_seconds", "with imports", "s", "lower", 2),
    Metric("first_epoch_seconds", "first epoch", "s", "lower", 1),
    Metric("peak_pss_bytes", "peak memory", "MB", "lower", 0, 1e6),
    Metric("loader_bytes", "of it loader", "MB", "lower", 0, 1e6),
)

CASES = (
    Case("torch_pil", "torch, Pillow", "torch", "torch_pil"),
    Case("torch_tv", "torch, torchvision decoder", "torch", "torch_tv"),
    Case("zenith", "Zenith", "zenith", "zenith"),
    Case("dali", "DALI (CPU)", "dali", "dali"),
    Case("tfdata", "tf.data", "tensorflow", "tfdata"),
    Case("spdl", "SPDL threads", "spdl", "spdl_threads"),
    Case("ffcv_jpeg", "FFCV, JPEG .beton", "ffcv", "ffcv_jpeg", converts=True),
    Case("ffcv_raw", "FFCV, raw .beton", "ffcv", "ffcv_raw", converts=True),
    Case("webdataset", "WebDataset, Pillow", "webdataset", "webdataset_pil", converts=True),
    Case("litdata", "LitData, Pillow", "litdata", "litdata_pil", converts=True),
    Case("bare", "bare loop (no loader)", "bare", "bare"),
)
BASE = "torch_pil"
SIZE = 224
CHANNEL_TOLERANCE = 0.25
"""How far a channel's mean may be from the data set's own, in deviations: crops differ, channel order must not."""


def values(dataset: dict[str, Any], size: int, result: dict[str, Any]) -> dict[str, float]:
    """Columns of one run; the steady figures are of all epochs after the first."""
    check(dataset, size, result)
    first, *steady = result["epochs"]
    wall = sum(epoch["wall_seconds"] for epoch in steady)
    cpu = sum(epoch["cpu_seconds"] for epoch in steady)
    images = sum(epoch["samples"] for epoch in steady)
    memory = result["memory"]
    return {
        "images_per_second": images / wall,
        "images_per_cpu_second": images / cpu,
        "cores_busy": cpu / wall,
        "first_batch_seconds": result["first_batch_seconds"],
        "start_seconds": result["before_construct_seconds"] + result["first_batch_seconds"],
        "first_epoch_seconds": result["construct_seconds"] + first["wall_seconds"],
        "peak_pss_bytes": float(memory["peak_pss_bytes"]),
        "loader_bytes": float(memory["peak_pss_bytes"] - result["imported_pss_bytes"]),
    }


def check(dataset: dict[str, Any], size: int, result: dict[str, Any]) -> None:
    """Refuse what is not the asked-for work: every sample once, of the right shape, type, colours, and varied."""
    for number, epoch in enumerate(result["epochs"]):
        if epoch["label_counts"] != dataset["label_counts"]:
            raise Refused(
                f"epoch {number} delivered {epoch['samples']} of {dataset['count']} samples, or with wrong labels"
            )
        if not math.isfinite(epoch["touched"]):
            raise Refused(f"epoch {number} holds values that are not finite")
    sanity = result["sanity"]
    shape = [3, size, size] if sanity["layout"] == "NCHW" else [size, size, 3]
    if sanity["shape"] != [shape]:
        raise Refused(f"samples of shape {sanity['shape']}, not {shape}")
    if sanity["dtype"] != ["float32"]:
        raise Refused(f"samples of type {sanity['dtype']}, not float32")
    if sanity["distinct_samples"] < 0.98 * sanity["samples"]:
        raise Refused(f"only {sanity['distinct_samples']} of {sanity['samples']} samples differ from each other")
    for mean, deviation in zip(sanity["channel_mean"], sanity["channel_deviation"], strict=True):
        if not (-2.2 < mean < 2.7 and 0.2 < deviation < 2.0):
            raise Refused(f"channel mean {mean:.2f}, deviation {deviation:.2f}: not normalised pictures")


def compare(runs: Sequence[Run]) -> dict[str, str]:
    """Compare the channel means of all rivals: who is far from the middle has other colours than the others."""
    means = {run.case: run.result["sanity"]["channel_mean"] for run in runs}
    if len(means) < 3:
        return {}
    middle = [statistics.median(each) for each in zip(*means.values(), strict=True)]
    return {
        case: f"channel means {_short(mine)}, the others have {_short(middle)}"
        for case, mine in means.items()
        if any(abs(a - b) > CHANNEL_TOLERANCE for a, b in zip(mine, middle, strict=True))
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this scenario's own options."""
    add_picture_options(parser)
    parser.add_argument("--epochs", type=int, default=1, help="steady epochs a run (default: %(default)s)")


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the pictures."""
    add = parser.add_argument
    add("--pictures", type=Path, metavar="FOLDER", help="JPEGs to repeat (default: generated ones)")
    add("--images", type=int, default=4000, help="files of the data set (default: %(default)s)")
    add("--classes", type=int, default=10, help="class folders (default: %(default)s)")


def plan(context: Context) -> Scenario:
    """Make the data set and the cases."""
    options = context.options
    dataset = datasets.pictures(
        context.data_root, options.images, options.classes, options.pictures, context.python_or_none("torch")
    )
    datasets.warm(Path(dataset["path"]))
    settings = {
        "dataset": dataset["path"],
        "work": str(Path(dataset["folder"]).with_suffix(".converted")),
        "batch_size": options.batch_size,
        "workers": options.workers,
        "epochs": 1 + options.epochs,
        "options": {"classes": dataset["classes"]},
    }
    return Scenario(
        name="pictures",
        metrics=METRICS,
        cases=CASES,
        base=BASE,
        dataset=dataset,
        settings=settings,
        values=lambda _, result: values(dataset, SIZE, result),
        compare=compare,
    )


def _short(means: Sequence[float]) -> str:
    return ", ".join(f"{mean:.2f}" for mean in means)
