"""The record of a measurement: runs as they were, medians over rounds, ratios to a base of the same round.

The shape is a contract with whatever draws it later: `SCHEMA` changes when a key changes its meaning.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SCHEMA = "zenith-rivals/1"


@dataclass(frozen=True)
class Metric:
    """One column of figures."""

    name: str
    title: str
    unit: str
    better: str
    """"higher" or "lower"."""
    digits: int = 0
    scale: float = 1.0
    """Shown value = recorded value / scale."""


@dataclass
class Run:
    """One rival in one round."""

    case: str
    round: int
    position: int
    """Place in the round's order, from 0."""
    values: dict[str, float]
    error: str | None
    result: dict[str, Any]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and the values themselves."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def summarise(runs: Sequence[Run], metrics: Sequence[Metric], cases: Sequence[str]) -> list[dict[str, Any]]:
    """Gather each case's rounds; a case that failed once keeps its reason and shows it."""
    summary = []
    for case in cases:
        mine = [run for run in runs if run.case == case]
        good = [run for run in mine if run.error is None]
        summary.append(
            {
                "case": case,
                "rounds": len(mine),
                "failed": len(mine) - len(good),
                "reason": next((run.error for run in mine if run.error is not None), None),
                "metrics": {
                    metric.name: spread([run.values[metric.name] for run in good])
                    for metric in metrics
                    if good and all(metric.name in run.values for run in good)
                },
            }
        )
    return summary


def ratios(
    runs: Sequence[Run], metrics: Sequence[Metric], cases: Sequence[str], base: str
) -> dict[str, dict[str, Any]]:
    """Case ÷ base, round by round, so that a slow minute of the machine hits both sides of a ratio."""
    values = {(run.case, run.round): run.values for run in runs if run.error is None}
    table: dict[str, dict[str, Any]] = {}
    for case in cases:
        row = {}
        for metric in metrics:
            found = [
                mine[metric.name] / theirs[metric.name]
                for (name, round_), mine in values.items()
                if name == case
                and (theirs := values.get((base, round_))) is not None
                and metric.name in mine
                and theirs.get(metric.name)
            ]
            if found:
                row[metric.name] = spread(found)
        table[case] = row
    return table


def assemble(
    *,
    scenario: str,
    started: str,
    machine: dict[str, Any],
    settings: dict[str, Any],
    dataset: dict[str, Any],
    metrics: Sequence[Metric],
    cases: Sequence[str],
    titles: dict[str, str],
    absent: dict[str, str],
    base: str,
    runs: Sequence[Run],
) -> dict[str, Any]:
    """Put a whole record together."""
    return {
        "schema": SCHEMA,
        "scenario": scenario,
        "started": started,
        "machine": machine,
        "settings": settings,
        "dataset": dataset,
        "metrics": [asdict(metric) for metric in metrics],
        "cases": [{"case": case, "title": titles[case]} for case in cases],
        "absent": absent,
        "base": base,
        "summary": summarise(runs, metrics, cases),
        "ratios": ratios(runs, metrics, cases, base),
        "runs": [asdict(run) for run in runs],
    }


def write(record: dict[str, Any], path: Path) -> None:
    """Write a record, whole or not at all, with the user's folder as ``~``: records are published."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    text = json.dumps(record, indent=1).replace(f"{Path.home()}/", "~/")
    draft.write_text(text + "\n")
    draft.replace(path)
