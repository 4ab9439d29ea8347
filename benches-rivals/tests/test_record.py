"""Orders, medians, ratios and the table."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from harness import record, rounds, table
from harness.record import Metric, Run
from harness.scenario import Case

METRICS = (Metric("speed", "speed", "x/s", "higher"), Metric("memory", "memory", "MB", "lower", 1, 1e6))


def run(case: str, round_: int, speed: float, error: str | None = None) -> Run:
    return Run(case, round_, 0, {} if error else {"speed": speed, "memory": 2e6}, error, {})


def made(runs: list[Run]) -> dict[str, object]:
    return record.assemble(
        scenario="test",
        started="2026-01-01T00:00:00+00:00",
        machine={"cpus_usable": 2, "cpu": "some", "memory_bytes": 2**30, "kernel": "6", "load_average": [0.0]},
        settings={},
        dataset={},
        metrics=METRICS,
        cases=["a", "b"],
        titles={"a": "Loader A", "b": "Loader B"},
        absent={"c": "no environment"},
        base="a",
        runs=runs,
    )


def test_every_case_takes_every_place() -> None:
    cases = [Case(name, name, "torch", name) for name in "abcd"]
    orders = [rounds.order(cases, number) for number in range(8)]
    for order in orders:
        assert sorted(case.name for case in order) == list("abcd")
    for name in "abcd":
        assert {[case.name for case in order].index(name) for order in orders} == {0, 1, 2, 3}
    followers = {(a.name, b.name) for order in orders for a, b in pairwise(order)}
    assert ("a", "b") in followers
    assert ("b", "a") in followers


def test_ratios_pair_runs_of_the_same_round() -> None:
    # The machine halves its speed in every round; the ratio must not notice.
    runs = [run("a", number, 100 / 2**number) for number in range(3)]
    runs += [run("b", number, 300 / 2**number) for number in range(3)]
    ratio = made(runs)["ratios"]["b"]["speed"]  # type: ignore[index]
    assert ratio == {"median": 3.0, "min": 3.0, "max": 3.0, "values": [3.0, 3.0, 3.0]}


def test_failed_round_is_counted_and_left_out_of_the_median() -> None:
    runs = [run("a", 0, 1.0), run("a", 1, 3.0), run("b", 0, 5.0), run("b", 1, 0.0, "it broke")]
    whole = made(runs)
    entry = whole["summary"][1]  # type: ignore[index]
    assert (entry["rounds"], entry["failed"], entry["reason"]) == (2, 1, "it broke")
    assert entry["metrics"]["speed"]["values"] == [5.0]
    text = table.render(whole)  # type: ignore[arg-type]
    assert "Loader B: 1 of 2 rounds failed: it broke" in text
    assert "c: not measured: no environment" in text


def test_case_without_a_good_round_has_no_figures() -> None:
    whole = made([run("a", 0, 1.0), run("b", 0, 0.0, "it broke")])
    assert whole["summary"][1]["metrics"] == {}  # type: ignore[index]
    line = next(line for line in table.render(whole).splitlines() if line.startswith("Loader B"))  # type: ignore[arg-type]
    assert line.split()[2:] == ["-", "-"]


def test_record_survives_the_disk(tmp_path: Path) -> None:
    whole = made([run("a", 0, 1.0), run("b", 0, 2.0)])
    path = tmp_path / "deep" / "record.json"
    record.write(whole, path)
    assert json.loads(path.read_text()) == whole
    assert list(path.parent.iterdir()) == [path]
    assert set(whole) == {
        "schema", "scenario", "started", "machine", "settings", "dataset", "metrics", "cases", "absent", "base",
        "summary", "ratios", "runs",
    }  # fmt: skip


def test_a_record_names_no_users_folder(tmp_path: Path) -> None:
    """It is published; where the data lay in it is enough."""
    data = Path.home() / "data" / "train"
    record.write({"folder": str(data), "error": f"no file in {data}"}, tmp_path / "record.json")
    written = json.loads((tmp_path / "record.json").read_text())
    assert written == {"folder": "~/data/train", "error": "no file in ~/data/train"}
