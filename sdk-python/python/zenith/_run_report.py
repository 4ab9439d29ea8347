"""What a training loop spent its time on, as it is told: text, a dictionary, a page with a timeline, a Chrome trace."""

from __future__ import annotations

import html
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ._report import Report

_BARS = 240
"""Bars of the timeline at most: of more steps, neighbours are drawn as one."""

StepRow = tuple[int, int, int, int, "int | None", "int | None"]
"""Number, start, wait, work, gap and device time of a step in nanoseconds."""


@dataclass(frozen=True)
class Spread:
    """A distribution of times.

    Attributes:
        count: how many there are.
        seconds: their sum.
        p50_ms: the middle one in milliseconds, to within a sixteenth.
        p90_ms: nine of ten are not above it.
        p99_ms: 99 of a hundred are not above it.
    """

    count: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float

    @classmethod
    def of(cls, told: dict[str, int] | None) -> Spread | None:
        """From the extension's nanoseconds; None of nothing."""
        if told is None:
            return None
        return cls(told["count"], told["sum"] / 1e9, told["p50"] / 1e6, told["p90"] / 1e6, told["p99"] / 1e6)

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:,.2f} ms, p90 {self.p90_ms:,.2f} ms, p99 {self.p99_ms:,.2f} ms"


@dataclass(frozen=True)
class Activity:
    """How busy the parts of a GPU were, by its own counters (NVML's GPM), as a mean over the run; 0 to 1.

    Attributes:
        sm: multiprocessors that had work.
        occupancy: warps that were resident, of those that could be.
        tensor: time in which tensor cores worked.
        memory: bandwidth of its memory that was used.
        pcie_bytes_per_second: what came over PCIe.
        intervals: samples that the mean is over.
        ended: why sampling ended before the run, or None.
        newest: (start in seconds, length in seconds, sm, tensor) of the newest 4,096 samples.
    """

    sm: float | None
    occupancy: float | None
    tensor: float | None
    memory: float | None
    pcie_bytes_per_second: float | None
    intervals: int
    ended: str | None
    newest: list[tuple[float, float, float | None, float | None]] = field(repr=False)

    @classmethod
    def of(cls, seen: dict[str, Any]) -> Activity:
        """From what the extension tells."""
        mean = seen["mean"]
        return cls(
            mean["sm"],
            mean["occupancy"],
            mean["tensor"],
            mean["memory"],
            mean["pcie_bytes"],
            seen["intervals"],
            seen["ended"],
            [(one["start"], one["seconds"], one["sm"], one["tensor"]) for one in seen["newest"]],
        )


@dataclass(frozen=True)
class Timeline:
    """The newest steps one by one.

    Attributes:
        steps: number, start, wait, work, gap on the device and device time, in nanoseconds from the run's beginning.
        activity_offset: nanoseconds from the run's beginning to that of the activity's samples.
    """

    steps: list[StepRow] = field(repr=False)
    activity_offset: int = 0


@dataclass
class RunReport:
    """Where the time of a training loop went. What is None has its reason in ``reasons``.

    Attributes:
        steps: steps so far.
        seconds: their time, without the wait for the very first batch.
        first_wait_seconds: that wait: workers start, the first batch is made.
        wait_fraction: (1) the part of the loop's time that was blocked in ``next()``.
        wait: its distribution over the steps.
        step: of whole steps, from asking for a batch to asking for the next.
        gap_fraction: (2) the part of the device's time in which it had nothing to do between two steps.
        gap: its distribution.
        device_step: of the device's time for a step.
        activity: (3) how busy the device's parts were.
        mfu: (4) operations that the model needs, as a part of what the device could have done.
        oracle_ratio: (5) time of the same loop on one resident batch divided by its time on real data; 1.0 means that
            perfect data would not make it faster.
        device: the device whose numbers these are, or None.
        reasons: why a number is None, or what is to be known of it, by its name.
        loader: the loader's own report, or None where the batches were not of a loader of Zenith's.
        timeline: the newest steps one by one.
    """

    steps: int
    seconds: float
    first_wait_seconds: float
    wait_fraction: float | None
    wait: Spread | None
    step: Spread | None
    gap_fraction: float | None
    gap: Spread | None
    device_step: Spread | None
    activity: Activity | None
    mfu: float | None
    oracle_ratio: float | None
    device: str | None
    reasons: dict[str, str]
    loader: Report | None
    timeline: Timeline = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain numbers, strings, lists and dictionaries."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """The report as names and what there is to say of each, without the loader's own."""
        busy = self.activity
        first = f"the first batch after {self.first_wait_seconds:.2f} s"
        rows = [
            ("steps", f"{self.steps:,} in {self.seconds:,.2f} s; {first}"),
            ("step", str(self.step) if self.step else "no step has ended"),
            ("1 waiting in next()", self._number("wait", self.wait_fraction, self.wait)),
            ("2 gaps on the device", self._number("gap", self.gap_fraction, self.gap)),
            ("3 multiprocessors", self._number("activity", busy.sm if busy else None)),
            ("  tensor cores", self._number("activity", busy.tensor if busy else None)),
            ("4 MFU", self._number("mfu", self.mfu)),
            ("5 oracle ratio", self._number("oracle_ratio", self.oracle_ratio, ratio=True)),
            ("device", self.device or "none"),
        ]
        notes = ("unanswered",)
        return rows + [("note", self.reasons[name]) for name in notes if name in self.reasons]

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len(name) for name, _ in rows)
        text = "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
        return text if self.loader is None else f"{text}\n\nthe loader\n{self.loader}"

    def _number(
        self, name: str, value: float | None, spread: Spread | None = None, *, ratio: bool = False
    ) -> str:
        if value is None:
            return f"unknown: {self.reasons.get(name, 'the device does not tell')}"
        shown = f"{value:.3f}" if ratio else f"{value:.1%}"
        return shown if spread is None else f"{shown} ({spread})"

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Writes the report as one self-contained page with a timeline.

        Args:
            path: where to; overwritten.
        """
        Path(path).write_text(_page(self), encoding="utf-8")

    def to_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Writes the newest steps as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing show.

        Args:
            path: where to; overwritten.
        """
        Path(path).write_text(json.dumps(_trace(self)), encoding="utf-8")


def _trace(report: RunReport) -> dict[str, Any]:
    """The Trace Event Format's object: complete events (X) and counters (C) with times in microseconds."""
    pid, loop = os.getpid(), 1
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": "Zenith"}},
        {"ph": "M", "name": "thread_name", "pid": pid, "tid": loop, "args": {"name": "training loop"}},
    ]

    def span(name: str, start: int, length: int, arguments: dict[str, Any]) -> None:
        times = {"ts": start / 1e3, "dur": length / 1e3}
        events.append(
            {"ph": "X", "cat": "step", "name": name, "pid": pid, "tid": loop, **times, "args": arguments}
        )

    def counter(name: str, at: float, values: dict[str, float]) -> None:
        events.append({"ph": "C", "name": name, "pid": pid, "ts": at, "args": values})

    for number, start, wait, work, gap, device in report.timeline.steps:
        told = {"device_ms": device, "gap_ms": gap}
        arguments = {"step": number} | {name: ns / 1e6 for name, ns in told.items() if ns is not None}
        span("wait for data", start, wait, {"step": number})
        span("step", start + wait, work, arguments)
        if gap is not None:
            counter("gap on the device (ms)", (start + wait) / 1e3, {"gap": gap / 1e6})
    if report.activity is not None:
        offset = report.timeline.activity_offset / 1e3
        for start, _, sm, tensor in report.activity.newest:
            values = {
                name: value * 100 for name, value in (("SM", sm), ("tensor", tensor)) if value is not None
            }
            if values:
                counter("busy (%)", offset + start * 1e6, values)
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"steps": report.steps}}


_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}pre{overflow-x:auto}
td,th{padding:.25rem .8rem .25rem 0;text-align:left;vertical-align:top}
th{font-weight:500;color:#57606a;white-space:nowrap}
svg{display:block;width:100%;height:11rem;background:#f6f8fa}
.key i{display:inline-block;width:.8em;height:.8em;margin:0 .35em 0 1em}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th{color:#9198a1}svg{background:#161b22}}"""
_WAIT, _WORK, _SM = "#c2571a", "#3f8f4f", "#3b82c4"


def _bars(steps: list[StepRow]) -> list[tuple[str, float, float]]:
    """Label, wait and work in milliseconds: a mean over neighbours where there are more steps than bars."""
    each = -(-len(steps) // _BARS) or 1
    bars: list[tuple[str, float, float]] = []
    for at in range(0, len(steps), each):
        group = steps[at : at + each]
        first, last = group[0][0], group[-1][0]
        label = f"step {first}" if first == last else f"steps {first} to {last}"
        bars.append(
            (label, sum(s[2] for s in group) / len(group) / 1e6, sum(s[3] for s in group) / len(group) / 1e6)
        )
    return bars


def _timeline(report: RunReport) -> str:
    # The very first wait is told apart, and would leave the others no height.
    steps = [step for step in report.timeline.steps if step[0] > 0]
    bars = _bars(steps)
    if not bars:
        return "<p>There were too few steps to draw.</p>"
    highest = max(wait + work for _, wait, work in bars) or 1.0
    width = 100 / len(bars)
    shapes: list[str] = []
    for at, (label, wait, work) in enumerate(bars):
        low, high = 100 * work / highest, 100 * wait / highest
        title = f"<title>{html.escape(label)}: waiting {wait:.2f} ms, working {work:.2f} ms</title>"
        for y, height, colour in ((100 - low, low, _WORK), (100 - low - high, high, _WAIT)):
            box = f'x="{at * width:.3f}" y="{y:.3f}" width="{width * 0.92:.3f}" height="{height:.3f}"'
            shapes.append(f'<rect {box} fill="{colour}">{title}</rect>')
    key = "".join(
        f'<i style="background:{colour}"></i>{name}'
        for name, colour in (("waiting", _WAIT), ("working", _WORK))
    )
    return (
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img">{"".join(shapes)}</svg>'
        f'<p class="key">{key}; the highest bar is {highest:,.2f} ms</p>'
    )


def _busy(report: RunReport) -> str:
    """Activity of the multiprocessors over time, where there are samples."""
    told = [] if report.activity is None else report.activity.newest
    points = [(start, sm) for start, _, sm, _ in told if sm is not None]
    if len(points) < 2:
        return ""
    first, last = points[0][0], points[-1][0]
    line = " ".join(
        f"{100 * (at - first) / ((last - first) or 1):.2f},{100 - 100 * sm:.2f}" for at, sm in points
    )
    return (
        "<h2>Multiprocessors that had work, 0 to 100 %</h2>"
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img">'
        f'<polyline points="{line}" fill="none" stroke="{_SM}" stroke-width="2" '
        'vector-effect="non-scaling-stroke"/></svg>'
    )


def _page(report: RunReport) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name.strip())}</th><td>{html.escape(value)}</td></tr>"
        for name, value in report.rows()
    )
    # Inside a script nothing is unescaped; only "<" could end it early.
    data = json.dumps(report.to_dict()).replace("<", "\\u003c")
    loader = "" if report.loader is None else html.escape(str(report.loader))
    loader_part = f"<h2>The loader</h2><pre>{loader}</pre>" if loader else ""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>Zenith run report</title><style>{_STYLE}</style><h1>Zenith run report</h1><table>{rows}</table>"
        f"<h2>The newest steps</h2>{_timeline(report)}{_busy(report)}{loader_part}"
        f"<script type='application/json' id=report>{data}</script></html>\n"
    )
