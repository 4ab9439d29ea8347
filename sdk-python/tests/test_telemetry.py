"""The account of a training loop: what is counted, what is left unknown with a reason, and how it is shown."""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
import time
import weakref

import numpy as np
import pytest
import torch
import zenith
import zenith.torch as zt
from fakenvml import install
from zenith import _core, telemetry
from zenith._oracle import oracle_ratio
from zenith.telemetry import PENDING, Steps


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


class Timed:
    """Batches each of which takes its time."""

    def __init__(self, clock, waits) -> None:
        self.clock, self.waits = clock, waits

    def __iter__(self):
        for number, wait in enumerate(self.waits):
            self.clock.now += wait
            yield number


class Marks:
    """A device whose clock is told, and which answers as far as it is told."""

    name = "a device that is told"

    def __init__(self) -> None:
        self.now = 0
        self.answers = 0

    def mark(self):
        return self.now

    def is_reached(self, mark) -> bool:
        return mark <= self.answers

    def wait(self, mark) -> None:
        self.answers = max(self.answers, mark)

    def nanoseconds(self, earlier, later) -> int:
        return later - earlier


def test_waits_and_steps_are_what_the_clock_says():
    clock = Clock()
    with Steps(Timed(clock, [700, 100, 300]), device="cpu", clock=clock) as steps:
        for _ in steps:
            clock.now += 100
    report = zenith.report()
    assert (report.steps, report.first_wait_seconds) == (3, 700e-9)
    assert report.wait.seconds == pytest.approx(400e-9) and report.seconds == pytest.approx(700e-9)
    assert report.wait_fraction == pytest.approx(400 / 700)
    assert [step[:4] for step in report.timeline.steps] == [
        (0, 0, 700, 100),
        (1, 800, 100, 100),
        (2, 1000, 300, 100),
    ]


def test_what_there_is_no_number_for_is_none_with_a_reason():
    clock = Clock()
    with Steps(Timed(clock, [1, 1]), device="cpu", clock=clock) as steps:
        list(steps)
    report = zenith.report()
    assert (report.gap, report.activity, report.mfu, report.oracle_ratio, report.device) == (None,) * 5
    assert "processor" in report.reasons["gap"] and "processor" in report.reasons["activity"]
    assert report.reasons["mfu"] == "give flops_per_step and peak_flops"
    assert "report(oracle=step)" in report.reasons["oracle_ratio"]
    for reason in report.reasons.values():
        assert reason in str(report)


def test_gaps_are_the_devices_and_come_late():
    clock, marks = Clock(), Marks()
    with Steps(Timed(clock, [1] * 4), marks=marks, clock=clock) as steps:
        for _ in steps:
            marks.now += 90
            assert steps.report().gap is None
        assert steps.report().device_step is None
    report = zenith.report()
    assert (report.device_step.count, report.gap.count) == (4, 3)
    assert (report.gap_fraction, report.device) == (0.0, "a device that is told")


def test_a_device_that_idles_between_steps_has_gaps():
    clock, marks = Clock(), Marks()

    class Idle(Timed):
        def __iter__(self):
            for number in super().__iter__():
                marks.now += 10
                yield number

    with Steps(Idle(clock, [1] * 5), marks=marks, clock=clock) as steps:
        for _ in steps:
            marks.now += 30
        # Another pass: the time between two passes is no gap between steps.
        marks.now += 1_000_000
        for _ in steps:
            marks.now += 30
    report = zenith.report()
    assert (report.gap.count, report.gap.seconds) == (8, pytest.approx(80e-9))
    assert report.gap_fraction == pytest.approx(80 / (80 + 300))


def test_a_device_that_does_not_answer_is_not_waited_for_and_not_counted():
    clock, marks = Clock(), Marks()
    with (
        pytest.raises(KeyError),
        Steps(Timed(clock, [1] * (PENDING + 10)), marks=marks, clock=clock) as steps,
    ):
        for _ in steps:
            marks.now += 5
        assert len(steps._pending) == PENDING
        raise KeyError
    report = zenith.report()
    assert report.device_step is None
    assert "10 steps unanswered" in report.reasons["unanswered"] and "10 steps unanswered" in str(report)


def test_a_loop_that_is_left_counts_its_last_step():
    clock = Clock()
    with Steps(Timed(clock, [1] * 9), device="cpu", clock=clock) as steps:
        for number in steps:
            clock.now += 50
            if number == 2:
                break
        gc.collect()
    assert zenith.report().steps == 3
    with pytest.raises(RuntimeError), Steps(Timed(clock, [1] * 9), device="cpu", clock=clock) as steps:
        for _ in steps:
            raise RuntimeError
    gc.collect()


def test_mfu_is_the_part_of_what_could_have_been_done():
    clock = Clock()
    with Steps(Timed(clock, [0, 0]), device="cpu", clock=clock, flops_per_step=1e9, peak_flops=4e12) as steps:
        for _ in steps:
            clock.now += 1_000_000
    # Two steps of 1 GFLOP in 2 ms, of 8 GFLOP that could have been.
    assert zenith.report().mfu == pytest.approx(0.25)
    for wrong in (0, -1, float("inf"), float("nan")):
        with pytest.raises(zenith.ConfigError, match="flops_per_step"):
            telemetry.steps([], flops_per_step=wrong)


def test_mfu_goes_by_the_time_of_the_device():
    clock, marks = Clock(), Marks()
    known = {"flops_per_step": 1e9, "peak_flops": 4e12}
    with Steps(Timed(clock, [0, 0]), marks=marks, clock=clock, **known) as steps:
        for _ in steps:
            # The host goes on at once; the device takes a millisecond.
            clock.now += 10
            marks.now += 1_000_000
        assert steps.report().mfu is None
    assert zenith.report().mfu == pytest.approx(0.25)


def test_a_real_loop_has_the_loaders_report_and_an_oracle_ratio():
    rows = {"x": np.ones((256, 4), np.float32), "label": np.arange(256)}
    loader = zt.DataLoader(rows, 16, num_workers=0)
    with telemetry.steps(loader, device="cpu") as steps:
        seen = sum(len(y) for _, y in steps)
    report = zenith.report(oracle=lambda batch: time.sleep(0.005))
    assert (seen, report.steps, report.loader.samples) == (256, 16, 256)
    assert 0 < report.oracle_ratio < 5
    assert "oracle_ratio" not in report.reasons
    assert "the loader" in str(report) and "samples/s" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["steps"] == 16


def test_the_oracle_waits_for_the_device_before_it_looks_at_the_clock(monkeypatch):
    happened = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: happened.append("finished"))
    loader = zt.DataLoader({"x": np.arange(64), "label": np.arange(64)}, 8, num_workers=0)
    oracle_ratio(loader, lambda batch: happened.append("step"))
    before, after = happened.index("finished"), len(happened) - 1
    assert happened[:before] == ["step"] * before and before > 0
    assert happened[after] == "finished" and happened.count("finished") == 3


def test_the_account_keeps_no_loader_and_stays_bounded():
    loader = zt.DataLoader({"x": np.arange(64), "label": np.arange(64)}, 8, num_workers=0)
    with telemetry.steps(loader, device="cpu") as steps:
        for _ in steps:
            pass
    gone = weakref.ref(loader)
    del loader, steps
    gc.collect()
    assert gone() is None
    assert zenith.report().loader.batches == 8
    with pytest.raises(zenith.ConfigError, match="gone"):
        zenith.report(oracle=lambda batch: None)
    account = _core.Steps()
    for number in range(_core.Steps.KEPT + 100):
        account.add(number, 1, 1)
    assert len(account.newest()) == _core.Steps.KEPT == 4096


def test_steps_that_have_ended_say_so():
    with telemetry.steps([1], device="cpu") as steps:
        assert list(steps) == [1]
    with pytest.raises(zenith.ConfigError, match="anew"):
        list(steps)


def test_without_steps_the_report_says_what_to_do():
    code = "import zenith\ntry:\n    zenith.report()\nexcept zenith.ConfigError as e:\n    print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "zenith.telemetry.steps(loader)" in done.stdout


def report_of_three(tmp_path):
    del tmp_path
    clock = Clock()
    with Steps(Timed(clock, [9, 4000, 6000]), marks=Marks(), clock=clock) as steps:
        for _ in steps:
            clock.now += 2000
    return zenith.report()


def test_the_trace_is_one_that_viewers_read(tmp_path):
    path = tmp_path / "trace.json"
    report_of_three(tmp_path).to_chrome_trace(path)
    trace = json.loads(path.read_text())
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"}
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [event["name"] for event in spans] == ["wait for data", "step"] * 3
    for event in trace["traceEvents"]:
        assert {"ph", "name", "pid"} <= set(event) and event["ph"] in "MXC"
        if event["ph"] == "X":
            # Microseconds; complete events have a duration and a thread.
            assert {"ts", "dur", "tid", "args"} <= set(event) and event["dur"] >= 0
        if event["ph"] == "C":
            assert all(isinstance(value, float) for value in event["args"].values())
    # One behind the other on one thread: viewers refuse spans that overlap without nesting.
    for one, other in itertools.pairwise(spans):
        assert one["ts"] + one["dur"] <= other["ts"] + 1e-9
    assert [event["dur"] for event in spans] == [0.009, 2.0, 4.0, 2.0, 6.0, 2.0]


def test_the_page_is_self_contained_and_has_a_timeline(tmp_path):
    path = tmp_path / "report.html"
    report_of_three(tmp_path).to_html(path)
    page = path.read_text()
    assert page.count("<rect") == 4 and "step 2: waiting 0.01 ms" in page
    assert "http" not in page.replace("http-equiv", "")
    data = page.split("id=report>")[1].split("</script>")[0]
    assert json.loads(data)["steps"] == 3


GPM = {"uuid": "GPU-0", "busy": [{"sm": 80.0, "tensor": 50.0}, {"sm": 40.0}]}


def test_activity_comes_from_the_gpus_own_counters(tmp_path):
    library = install(tmp_path, {"gpus": [GPM]})
    activity = _core.Activity(None, 0.1, str(library))
    while True:
        seen = json.loads(activity.seen())
        if seen["intervals"] >= 2:
            break
        time.sleep(0.01)
    told = telemetry.Activity.of(seen)
    assert told.newest[0][2:] == (0.8, 0.5) and told.newest[1][2:] == (0.4, None)
    assert told.tensor == 0.5 and told.memory is None and told.ended is None
    activity.stop()
    assert activity.seen() is None


def test_no_counters_is_an_error_with_the_reason(tmp_path):
    library = install(tmp_path, {"gpus": [{"uuid": "GPU-0"}]})
    with pytest.raises(zenith.MachineError, match="Hopper"):
        _core.Activity(None, 0.1, str(library))
    with pytest.raises(zenith.MachineError, match="not on this machine"):
        _core.Activity(None, 0.1, "/nonexistent/libnvidia-ml.so.1")
    with pytest.raises(zenith.ConfigError, match="seconds"):
        _core.Activity(None, -1.0, str(library))


def test_torch_without_a_device_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with telemetry.steps([1, 2]) as steps:
        list(steps)
    assert zenith.report().reasons["gap"] == "torch finds no CUDA device"
