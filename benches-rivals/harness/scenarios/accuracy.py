"""The same training run with torch's loader and with Zenith, one seed a round: accuracy curves and a verdict."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import datasets
from harness.context import Context
from harness.record import Metric, Run
from harness.scenario import Case, Refused, Scenario

METRICS = (
    Metric("final_accuracy", "final accuracy", "%", "higher", 2, 0.01),
    Metric("mean_accuracy", "mean over epochs", "%", "higher", 2, 0.01),
    Metric("final_loss", "final training loss", "", "lower", 4),
    Metric("train_seconds", "training", "s", "lower", 1),
)
CASES = (
    Case("torch_pil", "torch + torchvision", "torch", "torch_pil"),
    Case("zenith", "Zenith", "zenith", "zenith"),
)
BASE = "torch_pil"
SIZE = 64


def values(dataset: dict[str, Any], epochs: int, batch_size: int, result: dict[str, Any]) -> dict[str, float]:
    """Columns of one run; refuses one that trained on fewer samples."""
    count = dataset["per_class"] * len(dataset["classes"])
    expected = epochs * (count // batch_size) * batch_size
    if result["samples"] != expected:
        raise Refused(f"trained on {result['samples']} samples, not {expected}")
    return {
        "final_accuracy": result["accuracy"][-1],
        "mean_accuracy": statistics.fmean(result["accuracy"]),
        "final_loss": result["loss"][-1],
        "train_seconds": result["seconds"],
    }


def conclude(runs: Sequence[Run]) -> dict[str, Any]:
    """Compare curves and final accuracies: the loaders agree when their means differ by less than the seeds do."""
    curves = {
        case: [run.result["accuracy"] for run in runs if run.case == case and run.error is None]
        for case in dict.fromkeys(run.case for run in runs)
    }
    summary = {
        case: {
            "curves": found,
            "mean_curve": [statistics.fmean(epoch) for epoch in zip(*found, strict=True)],
            "final_spread": max(c[-1] for c in found) - min(c[-1] for c in found),
        }
        for case, found in curves.items()
        if found
    }
    base = summary.get(BASE)
    verdicts = {}
    for case, entry in summary.items():
        if base is None or case == BASE:
            continue
        difference = entry["mean_curve"][-1] - base["mean_curve"][-1]
        spread = max(entry["final_spread"], base["final_spread"])
        seeds = min(len(entry["curves"]), len(base["curves"]))
        verdict = "too few seeds" if seeds < 2 else "same" if abs(difference) <= spread else "different"
        verdicts[case] = {"difference": difference, "spread": spread, "seeds": seeds, "verdict": verdict}
    lines = [
        f"{case}: final accuracy {100 * v['difference']:+.2f} points against {BASE}, "
        f"seeds spread over {100 * v['spread']:.2f} points ({v['seeds']} seeds): {v['verdict']}"
        for case, v in verdicts.items()
    ]
    lines += [
        f"{case}: mean accuracy by epoch, %: {' '.join(f'{100 * value:.1f}' for value in entry['mean_curve'])}"
        for case, entry in summary.items()
    ]
    return {"cases": summary, "verdicts": verdicts, "lines": lines}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this scenario's own options."""
    add = parser.add_argument
    add("--per-class", type=int, default=200, help="training pictures of each of ten classes (default: %(default)s)")
    add("--epochs", type=int, default=10, help="epochs of training (default: %(default)s)")


def plan(context: Context) -> Scenario:
    """Make the learnable pictures and a case for each loader."""
    options = context.options
    dataset = datasets.learnable(context.data_root, options.per_class, context.python("torch"))
    datasets.warm(Path(dataset["path"]))
    settings = {
        "dataset": dataset["path"],
        "batch_size": options.batch_size,
        "workers": options.workers,
        "epochs": options.epochs,
        "size": SIZE,
    }
    return Scenario(
        name="accuracy",
        metrics=METRICS,
        cases=CASES,
        base=BASE,
        dataset=dataset,
        settings=settings,
        values=lambda _, result: values(dataset, options.epochs, options.batch_size, result),
        conclude=conclude,
    )
