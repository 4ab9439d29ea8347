"""A loader that delivers something else than asked must not reach the table."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from harness.record import Run
from harness.scenario import Case, Refused
from harness.scenarios import accuracy, overhead, pictures, starve, tabular

PICTURES = {"count": 6, "label_counts": [4, 2]}
EPOCH = {
    "samples": 6,
    "batches": 1,
    "wall_seconds": 2.0,
    "cpu_seconds": 3.0,
    "first_batch_seconds": 0.5,
    "complete": True,
    "label_counts": [4, 2],
    "touched": 0.1,
}
GOOD: dict[str, Any] = {
    "epochs": [EPOCH, EPOCH],
    "before_construct_seconds": 1.0,
    "construct_seconds": 0.25,
    "first_batch_seconds": 0.75,
    "imported_pss_bytes": 10,
    "memory": {"peak_pss_bytes": 110, "peak_shm_bytes": 0},
    "sanity": {
        "shape": [[3, 224, 224]],
        "dtype": ["float32"],
        "layout": "NCHW",
        "channel_mean": [0.1, 0.0, -0.1],
        "channel_deviation": [0.9, 0.9, 0.9],
        "samples": 6,
        "distinct_samples": 6,
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    target: Any = result
    for key in parents:
        target = target[int(key)] if key.isdigit() else target[key]
    target[last] = value
    return result


def test_good_pictures_pass() -> None:
    values = pictures.values(PICTURES, 224, GOOD)
    assert values["images_per_second"] == 3.0
    assert values["images_per_cpu_second"] == 2.0
    assert values["first_epoch_seconds"] == 2.25
    assert values["loader_bytes"] == 100


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("epochs.1.label_counts", [4, 1], "wrong labels"),
        ("epochs.0.label_counts", [3, 3], "wrong labels"),
        ("epochs.1.touched", float("nan"), "not finite"),
        ("sanity.shape", [[3, 256, 256]], "shape"),
        ("sanity.layout", "NHWC", "shape"),
        ("sanity.dtype", ["uint8"], "type"),
        ("sanity.distinct_samples", 1, "differ"),
        ("sanity.channel_mean", [100.0, 100.0, 100.0], "not normalised"),
        ("sanity.channel_deviation", [0.0, 0.0, 0.0], "not normalised"),
    ],
)
def test_wrong_pictures_are_refused(path: str, value: Any, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        pictures.values(PICTURES, 224, changed(path, value))


def test_swapped_channels_stand_out() -> None:
    def run(case: str, means: list[float]) -> Run:
        return Run(case, 0, 0, {}, None, {"sanity": {"channel_mean": means}})

    right = [0.1, 0.0, -0.2]
    runs = [run("a", right), run("b", right), run("c", [-0.44, 0.0, 0.35])]
    assert set(pictures.compare(runs)) == {"c"}
    assert pictures.compare(runs[:2]) == {}


TABLE = {"rows": 6, "features": 3, "data_bytes": 100}
ROWS = {"repeated": 0, "wrong_labels": 0, "shape": [[3]], "dtype": ["float32"], "batch_spread": 0.2887}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("repeated", 1, "repeated"),
        ("wrong_labels", 2, "another row's label"),
        ("shape", [[4]], "shape"),
        ("dtype", ["float64"], "type"),
        ("batch_spread", 0.05, "not an exact shuffle"),
        ("batch_spread", None, "not an exact shuffle"),
    ],
)
def test_wrong_rows_are_refused(key: str, value: Any, reason: str) -> None:
    case = Case("zenith@2", "", "zenith", "zenith", {"batch_size": 2})
    assert tabular.values(TABLE, case, {**GOOD, "sanity": ROWS})["memory_per_data"] == 1.0
    with pytest.raises(Refused, match=reason):
        tabular.values(TABLE, case, {**GOOD, "sanity": {**ROWS, key: value}})


def test_lost_rows_are_refused_only_in_whole_epochs() -> None:
    case = Case("zenith@2", "", "zenith", "zenith", {"batch_size": 2})
    short = {**GOOD, "sanity": ROWS, "epochs": [EPOCH, {**EPOCH, "samples": 5}]}
    with pytest.raises(Refused, match="5 of 6 rows"):
        tabular.values(TABLE, case, short)
    short["epochs"][1]["complete"] = False
    assert tabular.values(TABLE, case, short)["rows_per_second"] == 2.5


def test_missing_batches_are_refused() -> None:
    epoch = {**EPOCH, "batches": 11, "wall_seconds": 0.6}
    result = {**GOOD, "epochs": [epoch, epoch]}
    assert overhead.values(11, result)["batch_microseconds"] == pytest.approx(1e4)
    with pytest.raises(Refused, match="11 batches, not 12"):
        overhead.values(12, result)


def test_other_threads_than_the_row_says_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead.os, "sched_getaffinity", lambda _: {0, 1})
    assert overhead.workers_of("zenith", 2) == "2 workers"
    assert overhead.workers_of("zenith", 16) == "16 workers (2 threads)"
    assert overhead.workers_of("torch_items", 16) == "16 workers"
    epoch = {**EPOCH, "batches": 11, "wall_seconds": 0.6}
    result = {**GOOD, "epochs": [epoch, epoch], "extra": {"report": {"workers": 2}}}
    assert overhead.values(11, result, overhead.threads_of(16))["batch_microseconds"] == pytest.approx(1e4)
    with pytest.raises(Refused, match="2 threads, not 1"):
        overhead.values(11, result, overhead.threads_of(1))


def test_starving_step_is_seen() -> None:
    result = {
        "warm_epoch": EPOCH,
        "steps": 10,
        "real_steps": 10,
        "resident_seconds": [0.9, 1.1],
        "real_seconds": 2.0,
        "blocked_seconds": 0.9,
        "memory": {"peak_pss_bytes": 1},
    }
    values = starve.values(PICTURES, result)
    assert values["oracle_ratio"] == 0.5
    assert values["blocked_fraction"] == 0.45
    with pytest.raises(Refused, match="9 steps"):
        starve.values(PICTURES, {**result, "real_steps": 9})


def test_verdict_needs_seeds_and_tells_same_from_different() -> None:
    def runs(finals: dict[str, list[float]]) -> list[Run]:
        return [
            Run(case, seed, 0, {}, None, {"accuracy": [0.1, final]})
            for case, found in finals.items()
            for seed, final in enumerate(found)
        ]

    def verdict(torch: list[float], zenith: list[float]) -> str:
        conclusion = accuracy.conclude(runs({"torch_pil": torch, "zenith": zenith}))
        return conclusion["verdicts"]["zenith"]["verdict"]

    assert verdict([0.80, 0.84, 0.82], [0.81, 0.83, 0.82]) == "same"
    assert verdict([0.80, 0.84, 0.82], [0.60, 0.62, 0.61]) == "different"
    assert verdict([0.80], [0.80]) == "too few seeds"
