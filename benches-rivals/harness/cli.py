"""The command line of `run.py`: options, the walk through a scenario, the record and the table."""

from __future__ import annotations

import argparse
import datetime
import sys
from dataclasses import replace
from pathlib import Path

from harness import datasets, environments, machine, record, rounds, table
from harness.context import Context
from harness.scenario import Case, Scenario
from harness.scenarios import SCENARIOS

RECORDS = Path(__file__).resolve().parent.parent.parent / "benches" / "records"


def main() -> int:
    """Measure one scenario; 0 when every case that was meant to run did."""
    options = _parser().parse_args()
    started = datetime.datetime.now(datetime.timezone.utc)
    context = Context(
        options,
        options.env_root,
        options.data_root,
        dict(pair.split("=", 1) for pair in options.python),
    )
    facts = machine.facts()
    scenario = SCENARIOS[options.scenario].plan(context)
    scenario, absent = _choose(scenario, context)
    conversions, failed = rounds.prepare(scenario, lambda case: context.command(case.environment), options.timeout)
    scenario = replace(scenario, cases=[case for case in scenario.cases if case.name not in failed])
    absent |= failed
    if not scenario.cases:
        raise SystemExit("nothing to measure: " + "; ".join(f"{k}: {v}" for k, v in absent.items()))
    runs = rounds.measure(scenario, options.rounds, lambda case: context.command(case.environment), options.timeout)
    made = record.assemble(
        scenario=scenario.name,
        started=started.isoformat(timespec="seconds"),
        machine=facts,
        settings={"rounds": options.rounds, **scenario.settings},
        dataset={**scenario.dataset, "conversions": conversions},
        metrics=scenario.metrics,
        cases=[case.name for case in scenario.cases],
        titles={case.name: case.title for case in scenario.cases},
        absent=absent,
        base=scenario.base,
        runs=runs,
    )
    if scenario.conclude:
        made["conclusion"] = scenario.conclude(runs)
    out = options.out or RECORDS / f"rivals-{scenario.name}-{started:%Y%m%dT%H%M%SZ}.json"
    record.write(made, out)
    print(table.render(made))
    print(f"record: {out}", file=sys.stderr)
    return 1 if failed or any(run.error for run in runs) else 0


def _choose(scenario: Scenario, context: Context) -> tuple[Scenario, dict[str, str]]:
    """Keep the cases that were asked for and can run; name the others with the reason."""
    asked = context.options.rivals
    known = {case.name for case in scenario.cases} | {case.rival for case in scenario.cases}
    if unknown := set(asked or ()) - known:
        raise SystemExit(f"unknown rival: {' '.join(sorted(unknown))}; there are: {' '.join(sorted(known))}")
    kept: list[Case] = []
    absent: dict[str, str] = {}
    for case in scenario.cases:
        if asked and case.name not in asked and case.rival not in asked:
            continue
        reason = context.missing(case.environment)
        if reason is None:
            kept.append(case)
        elif asked:
            raise SystemExit(f"{case.name}: {reason}")
        else:
            absent[case.name] = reason
    base = context.options.base or scenario.base
    if kept and base not in {case.name for case in kept}:
        if context.options.base:
            raise SystemExit(f"--base {base} is not among what is measured")
        base = kept[0].name
    return replace(scenario, cases=kept, base=base), absent


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Measures data loaders against each other: alternating rounds, medians, ratios.",
    )
    shared = argparse.ArgumentParser(add_help=False)
    add = shared.add_argument
    add("--rounds", type=int, default=3, help="rounds of all rivals, in rotated order (default: %(default)s)")
    add("--rivals", type=lambda text: text.split(","), metavar="NAME,...", help="only these")
    add("--base", metavar="NAME", help="case that ratios are taken against")
    add("--workers", type=int, default=2, help="workers or threads of each rival (default: %(default)s)")
    add("--batch-size", type=int, default=64, help="(default: %(default)s)")
    add("--timeout", type=float, default=900, help="seconds one run may take (default: %(default)s)")
    add("--out", type=Path, help="record file (default: a new one in benches/records)")
    add(
        "--env-root",
        type=Path,
        default=environments.default_root(),
        help="environments (default: %(default)s)",
    )
    add("--data-root", type=Path, default=datasets.data_root(), help="data sets (default: %(default)s)")
    add("--python", action="append", default=[], metavar="ENV=PATH", help="use this Python for an environment")
    commands = parser.add_subparsers(dest="scenario", required=True, metavar="SCENARIO")
    for name, module in SCENARIOS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, parents=[shared], help=summary, description=module.__doc__)
        module.add_options(command)
    return parser
