"""A Parquet table of float32, exactly shuffled into batches: rows per second, and memory against the data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness import datasets
from harness.context import Context
from harness.record import Metric
from harness.scenario import Case, Refused, Scenario

METRICS = (
    Metric("rows_per_second", "rows/s", "thousand", "higher", 0, 1e3),
    Metric("rows_per_cpu_second", "rows/CPU-s", "thousand", "higher", 0, 1e3),
    Metric("first_batch_seconds", "first batch", "s", "lower", 2),
    Metric("peak_pss_bytes", "peak memory", "MB", "lower", 0, 1e6),
    Metric("memory_per_data", "memory / data", "", "lower", 2),
)
LOADERS = (
    ("torch_0", "torch TensorDataset, no workers", "torch", "torch_tensor", 0),
    ("torch_2", "torch TensorDataset, 2 workers", "torch", "torch_tensor", 2),
    ("index_select", "index_select by hand", "torch", "index_select", None),
    ("zenith", "Zenith, from Parquet", "zenith", "zenith", None),
)
UNIFORM_SPREAD = 0.2887
"""Standard deviation of row numbers in a batch drawn from the whole table, in units of the table's length."""


def values(dataset: dict[str, Any], case: Case, result: dict[str, Any]) -> dict[str, float]:
    """Columns of one run; the steady figures are of all epochs after the first."""
    check(dataset, case.config["batch_size"], result)
    steady = result["epochs"][1:]
    rows = sum(epoch["samples"] for epoch in steady)
    peak = result["memory"]["peak_pss_bytes"]
    return {
        "rows_per_second": rows / sum(epoch["wall_seconds"] for epoch in steady),
        "rows_per_cpu_second": rows / sum(epoch["cpu_seconds"] for epoch in steady),
        "first_batch_seconds": result["first_batch_seconds"],
        "peak_pss_bytes": float(peak),
        "memory_per_data": (peak - result["imported_pss_bytes"]) / dataset["data_bytes"],
    }


def check(dataset: dict[str, Any], batch_size: int, result: dict[str, Any]) -> None:
    """Refuse lost or repeated rows, wrong labels, and a shuffle that only reaches its neighbourhood."""
    for number, epoch in enumerate(result["epochs"]):
        if epoch["complete"] and epoch["samples"] != dataset["rows"]:
            raise Refused(f"epoch {number} delivered {epoch['samples']} of {dataset['rows']} rows")
    sanity = result["sanity"]
    if sanity["repeated"] or sanity["wrong_labels"]:
        raise Refused(f"{sanity['repeated']} rows repeated, {sanity['wrong_labels']} with another row's label")
    if sanity["shape"] != [[dataset["features"]]] or sanity["dtype"] != ["float32"]:
        raise Refused(f"rows of shape {sanity['shape']} and type {sanity['dtype']}")
    spread = sanity["batch_spread"]
    if spread is None or abs(spread / UNIFORM_SPREAD - 1) > 0.05:
        raise Refused(f"batches of {batch_size} spread over {spread} of the table: not an exact shuffle")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this scenario's own options."""
    add = parser.add_argument
    add("--rows", type=int, default=2_000_000, help="rows of the table (default: %(default)s)")
    add("--features", type=int, default=100, help="float32 columns (default: %(default)s)")
    add("--batch-sizes", type=_sizes, default=[64, 1024], metavar="N,...", help="(default: 64,1024)")
    add("--epochs", type=int, default=1, help="steady epochs a run (default: %(default)s)")
    add("--max-seconds", type=float, default=10, help="cut a slow rival's epoch off (default: %(default)s)")


def plan(context: Context) -> Scenario:
    """Make the table and a case for every loader and batch size."""
    options = context.options
    dataset = datasets.table(context.data_root, options.rows, options.features, context.python("torch"))
    datasets.warm(Path(dataset["path"]))
    cases = [
        Case(
            f"{name}@{size}",
            f"{title}, batch {size}",
            environment,
            rival,
            {"batch_size": size, "workers": options.workers if workers is None else workers},
        )
        for size in options.batch_sizes
        for name, title, environment, rival, workers in LOADERS
    ]
    settings = {
        "dataset": dataset["path"],
        "epochs": 1 + options.epochs,
        "max_seconds": options.max_seconds,
        "options": {"rows": dataset["rows"]},
    }
    return Scenario(
        name="tabular",
        metrics=METRICS,
        cases=cases,
        base=cases[0].name,
        dataset=dataset,
        settings=settings,
        values=lambda case, result: values(dataset, case, result),
    )


def _sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]
