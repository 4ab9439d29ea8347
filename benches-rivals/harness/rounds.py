"""Alternating rounds: every case once a round, the order rotated, so that drift of the machine spreads evenly."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from harness.process import RivalError, run_rival
from harness.record import Run
from harness.scenario import Case, Refused, Scenario


def order(cases: Sequence[Case], round_: int) -> list[Case]:
    """Turn every second round around, so that neighbours change too, and rotate by one after each such pair."""
    shift = round_ // 2 % len(cases)
    turned = [*cases[shift:], *cases[:shift]]
    return turned[::-1] if round_ % 2 else turned


def configure(scenario: Scenario, case: Case, round_: int) -> dict[str, Any]:
    """Put one run's configuration together: the scenario's, the case's, and the round as the seed."""
    both = {**scenario.settings, **case.config}
    options = {**scenario.settings.get("options", {}), **case.config.get("options", {})}
    return {"scenario": scenario.name, "rival": case.rival, "seed": round_, **both, "options": options}


def measure(
    scenario: Scenario,
    rounds: int,
    command: Callable[[Case], list[str]],
    timeout: float,
) -> list[Run]:
    """Run all rounds; a case that fails is recorded as failed and the others go on."""
    runs: list[Run] = []
    for round_ in range(rounds):
        for position, case in enumerate(order(scenario.cases, round_)):
            config = configure(scenario, case, round_)
            began = time.monotonic()
            result: dict[str, Any] = {}
            values: dict[str, float] = {}
            error = None
            try:
                result = run_rival(command(case), config, timeout)
                values = scenario.values(case, result)
            except (RivalError, Refused) as failure:
                error = str(failure)
            runs.append(Run(case.name, round_, position, values, error, result))
            _progress(scenario, runs[-1], rounds, time.monotonic() - began)
    for name, reason in scenario.compare([run for run in runs if run.error is None]).items():
        for run in runs:
            if run.case == name:
                run.error = reason
    return runs


def prepare(
    scenario: Scenario, command: Callable[[Case], list[str]], timeout: float
) -> tuple[dict[str, Any], dict[str, str]]:
    """Let every case convert the data set where it wants its own format; not timed as loading.

    Returns what each conversion said of itself, and the reasons of those that failed.
    """
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for case in scenario.cases:
        if not case.converts:
            continue
        config = configure(scenario, case, 0)
        config["options"]["prepare"] = True
        try:
            done[case.name] = run_rival(command(case), config, timeout)
        except RivalError as failure:
            failed[case.name] = f"conversion failed: {failure}"
    return done, failed


def _progress(scenario: Scenario, run: Run, rounds: int, seconds: float) -> None:
    shown = scenario.metrics[0]
    what = (
        f"{run.values[shown.name] / shown.scale:,.{shown.digits}f} {shown.unit}"
        if shown.name in run.values
        else f"FAILED: {(run.error or 'no value').splitlines()[0]}"
    )
    print(f"round {run.round + 1}/{rounds}  {run.case:<28} {what}  ({seconds:.1f} s)", file=sys.stderr)
