"""What a loader did and what limits it: numbers, a table to print, a dictionary, a page."""

from __future__ import annotations

import html
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import _core
from ._account import Counters, PluginCounters

STEP_LIMITS_BELOW = 0.05
"""Part of the time waited for data below which the training step is what limits."""
STEP_ADVICE = "the training step is the limit: the data is there before it is asked for"

_PYTHON_ADVICE = "samples are made by Python code; native sources and transforms need no Python per sample"


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline.

    Attributes:
        name: ``read``, ``decode``, ``transform``, ``plugin`` and a name, ``python`` or ``room`` (workers waiting for
            the consumer).
        seconds: thread-seconds spent in it, over all workers.
        share: part of all thread-seconds, 0 to 1.
    """

    name: str
    seconds: float
    share: float


@dataclass
class Report:
    """A loader's account of itself, from its construction to the moment it was asked.

    Attributes:
        samples: samples handed out.
        batches: batches handed out.
        samples_per_second: samples per second of wall time in iteration, steps included.
        data_wait_seconds: seconds the training loop was blocked in ``next()``.
        data_wait_fraction: that, as a part of the time in iteration; 0 means the data was always there.
        first_batch_seconds: seconds from the first ``iter()`` to its first batch.
        oracle_ratio: time of the same loop on one resident batch divided by its time on real data; None until
            ``report(oracle=step)`` was asked. 1.0 means that perfect data would not make the loop faster.
        bottleneck: ``step`` (the training loop itself), ``read``, ``decode``, ``transform``, ``plugin`` and a name, or
            ``python``.
        advice: what to change, in one sentence.
        stages: thread-seconds by stage; those of plugins are in no other one.
        skipped: bad samples left out with ``on_error="skip"``, as (sample, reason).
        skipped_count: how many; ``skipped`` holds the first 10,000.
        bytes_read: bytes that came from the source.
        workers: worker threads or processes.
        notes: everything that was done in another way than asked or than is fastest.
        facts: further facts by name.
    """

    samples: int = 0
    batches: int = 0
    samples_per_second: float = 0.0
    data_wait_seconds: float = 0.0
    data_wait_fraction: float = 0.0
    first_batch_seconds: float = 0.0
    oracle_ratio: float | None = None
    bottleneck: str = "step"
    advice: str = ""
    stages: list[Stage] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)
    skipped_count: int = 0
    bytes_read: int = 0
    workers: int = 0
    notes: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, counted: Counters, notes: list[str]) -> Report:
        """Builds the report of a loader.

        Args:
            counted: what its engines counted.
            notes: what the loader itself did in another way than asked.
        """
        iteration = counted.wait + counted.step
        waiting = counted.wait / iteration if iteration > 0 else 0.0
        seconds = dict(counted.stages)
        room = {"room": seconds.pop("room")} if "room" in seconds else {}
        seconds |= {f"plugin {name}": plugin.seconds for name, plugin in counted.plugins.items()} | room
        total = sum(seconds.values()) or 1.0
        bottleneck, advice = _diagnose(waiting, seconds, counted.workers)
        return cls(
            samples=counted.samples,
            batches=counted.batches,
            samples_per_second=counted.samples / iteration if iteration > 0 else 0.0,
            data_wait_seconds=counted.wait,
            data_wait_fraction=waiting,
            first_batch_seconds=counted.first_batch,
            bottleneck=bottleneck,
            advice=advice,
            stages=[Stage(name, value, value / total) for name, value in seconds.items()],
            skipped=list(counted.skipped),
            skipped_count=counted.skipped_count,
            bytes_read=counted.bytes,
            workers=counted.workers,
            # What a source says of itself, the loader has noted when it was built, and engines say it again.
            notes=list(dict.fromkeys([*notes, *counted.notes])),
            facts=counted.facts
            | {f"plugin {name}": _account(plugin) for name, plugin in counted.plugins.items()},
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as plain numbers, strings, lists and dictionaries."""
        return asdict(self)

    def __str__(self) -> str:
        oracle = (
            "not measured; ask report(oracle=step)"
            if self.oracle_ratio is None
            else f"{self.oracle_ratio:.3f}"
        )
        rows = [
            ("samples", f"{self.samples:,} in {self.batches:,} batches"),
            ("samples/s", f"{self.samples_per_second:,.0f}"),
            ("data wait", f"{self.data_wait_fraction:.1%} ({self.data_wait_seconds:.2f} s in next())"),
            ("first batch", f"{self.first_batch_seconds * 1e3:.0f} ms"),
            ("oracle ratio", oracle),
            ("bottleneck", self.bottleneck),
            ("advice", self.advice),
            ("workers", str(self.workers)),
            ("read", f"{self.bytes_read / 1e6:,.1f} MB"),
            ("skipped", f"{self.skipped_count:,}"),
        ]
        rows += [(f"  {s.name}", f"{s.seconds:8.2f} thread-s  {s.share:6.1%}") for s in self.stages]
        rows += [("note", note) for note in self.notes]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Writes the report as one self-contained page.

        Args:
            path: where to; overwritten.
        """
        Path(path).write_text(_page(self), encoding="utf-8")


def _account(plugin: PluginCounters) -> str:
    """What a plugin did, in words."""
    each = plugin.seconds * 1e6 / max(plugin.samples, 1)
    parts = [f"{plugin.samples:,} samples", f"{each:,.1f} us each"]
    parts += [
        f"{count:,} {what}" for count, what in ((plugin.dropped, "dropped"), (plugin.split, "split")) if count
    ]
    return ", ".join(parts)


def _diagnose(wait: float, seconds: dict[str, float], workers: int) -> tuple[str, str]:
    if wait < STEP_LIMITS_BELOW:
        return "step", STEP_ADVICE
    stage = max((name for name in seconds if name != "room"), key=lambda name: seconds[name])
    if "python" in seconds and not stage.startswith("plugin "):
        return "python", _PYTHON_ADVICE
    cores = _core.processors()
    if workers < cores:
        return (
            stage,
            f"{stage} limits: raise num_workers from {workers} to {cores} (cores this process may use)",
        )
    if stage.startswith("plugin "):
        return stage, f"{stage} limits: make it faster, or give it less (resize or crop before it)"
    return stage, {
        "read": "storage limits: keep the data on a faster disk, or pass cache='memory' if it fits",
        "decode": "decoding limits: cache='index' skips what crops leave out; store pictures nearer to the size used",
        "transform": "transforming limits: crop or resize to a smaller size, or move float conversion to the device",
    }[stage]


_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:54rem;padding:0 1rem;color:#1b1f24}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}
td,th{padding:.25rem .8rem .25rem 0;text-align:left;vertical-align:top}th{font-weight:500;color:#57606a}
svg{display:block;width:100%;height:2.2rem}.key i{display:inline-block;width:.8em;height:.8em;margin:0 .35em 0 1em}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th{color:#9198a1}}"""
_COLOURS = {
    "read": "#3b82c4",
    "decode": "#c2571a",
    "transform": "#3f8f4f",
    "python": "#8a5fbf",
    "room": "#9aa4b0",
    "wait": "#c2571a",
    "step": "#3f8f4f",
}


def _bar(parts: list[tuple[str, float]]) -> str:
    """A horizontal stacked bar with a key, widths in proportion."""
    total = sum(value for _, value in parts) or 1.0
    x, shapes, key = 0.0, [], []
    for name, value in parts:
        width = 100 * value / total
        colour = _COLOURS.get(name, "#57606a")
        shapes.append(
            f'<rect x="{x:.3f}" y="0" width="{width:.3f}" height="10" fill="{colour}">'
            f"<title>{html.escape(name)}: {value:.2f} s</title></rect>"
        )
        key.append(f'<i style="background:{colour}"></i>{html.escape(name)} {width:.1f} %')
        x += width
    return (
        f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img">{"".join(shapes)}</svg>'
        f'<p class="key">{"".join(key)}</p>'
    )


def _page(report: Report) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, _, value in (line.partition("  ") for line in str(report).splitlines())
        if not name.startswith(" ") and name
    )
    iteration = report.data_wait_seconds / report.data_wait_fraction if report.data_wait_fraction else 0.0
    loop = [("step", iteration - report.data_wait_seconds), ("wait", report.data_wait_seconds)]
    skipped = "".join(
        f"<tr><td>{sample}</td><td>{html.escape(reason)}</td></tr>" for sample, reason in report.skipped[:100]
    )
    skipped_table = f"<h2>Skipped samples</h2><table>{skipped}</table>" if skipped else ""
    # Inside a script nothing is unescaped; only "<" could end it early.
    data = json.dumps(report.to_dict()).replace("<", "\\u003c")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>Zenith loader report</title><style>{_STYLE}</style><h1>Zenith loader report</h1>"
        f"<table>{rows}</table>"
        f"<h2>The training loop: step and wait for data</h2>{_bar(loop)}"
        f"<h2>The workers: thread-seconds by stage</h2>{_bar([(s.name, s.seconds) for s in report.stages])}"
        f"{skipped_table}<script type='application/json' id=report>{data}</script></html>\n"
    )
