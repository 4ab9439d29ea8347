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

#: Two-sided 95 % points of Student's t, from one degree of freedom on; the last serves for more.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


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


def _margin(differences: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of a mean; None for fewer than two values, which have none."""
    count = len(differences)
    if count < 2:
        return None
    quantile = _T95[min(count, len(_T95) + 1) - 2]
    return quantile * statistics.stdev(differences) / count**0.5


def conclude(runs: Sequence[Run]) -> dict[str, Any]:
    """Compare curves and final accuracies.

    The loaders agree when their means differ by less than the seeds do, and the differences of seed and seed by no
    more than chance: their 95 % interval by Student's t holds 0.
    """
    curves = {
        case: [run.result["accuracy"] for run in runs if run.case == case and run.error is None]
        for case in dict.fromkeys(run.case for run in runs)
    }
    finals: dict[int, dict[str, float]] = {}
    for run in runs:
        if run.error is None:
            finals.setdefault(run.round, {})[run.case] = run.result["accuracy"][-1]
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
        margin = _margin([final[case] - final[BASE] for final in finals.values() if case in final and BASE in final])
        if margin is None:
            verdict = "too few seeds"
        else:
            verdict = "same" if abs(difference) <= min(spread, margin) else "different"
        verdicts[case] = {
            "difference": difference,
            "margin": margin,
            "spread": spread,
            "seeds": seeds,
            "verdict": verdict,
        }
    lines = [
        f"{case}: final accuracy {100 * v['difference']:+.2f} points against {BASE}"
        + ("" if v["margin"] is None else f", give or take {100 * v['margin']:.2f} (95 %)")
        + f", seeds spread over {100 * v['spread']:.2f} points ({v['seeds']} seeds): {v['verdict']}"
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
