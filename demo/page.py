"""The page: one HTML file with its plots as inline SVG, for light and dark screens, without a request to anywhere."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

import terminal
from measure import NAMES, SIDES, Comparison

_STYLE = """
:root{--page:#f6f7f9;--card:#fff;--ink:#16191d;--soft:#5b6571;--line:#e2e6eb;--zenith:#0b62d6;--torch:#d2570f;
--good:#12733a;--bad:#a5480b;--warn:#fff4e0}
@media(prefers-color-scheme:dark){:root{--page:#0e1116;--card:#161b22;--ink:#e8ebef;--soft:#98a3b0;--line:#2a313b;
--zenith:#62a4ff;--torch:#ff9a57;--good:#5fd08a;--bad:#ffb06b;--warn:#2b2313}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:62rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .4rem;letter-spacing:-.015em}
h2{font-size:1.15rem;margin:2.6rem 0 .9rem}
h3{font-size:.92rem;margin:0 0 .1rem;font-weight:600}
p{margin:.3rem 0}.soft{color:var(--soft)}.small{font-size:.86rem}
.key{display:flex;gap:1.4rem;margin:1rem 0 0}.key span::before{content:"";display:inline-block;width:.75em;height:.75em;
border-radius:3px;margin-right:.45em;background:var(--c)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(12.5rem,1fr));gap:.9rem;margin-top:.9rem}
.cards.curves{grid-template-columns:repeat(auto-fit,minmax(20rem,1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1rem 1.1rem;min-width:0}
.card svg{display:block;width:100%;height:auto;margin-top:.5rem;overflow:visible}
.wide{overflow-x:auto;padding:.3rem 1.1rem .5rem;margin-top:.9rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{padding:.42rem 0 .42rem 1.2rem;text-align:right;border-top:1px solid var(--line);white-space:nowrap}
tr:first-child>*{border-top:0;color:var(--soft);font-weight:500;font-size:.86rem}
td:first-child,th:first-child{text-align:left;padding-left:0;white-space:normal}
@media(max-width:34rem){td,th{padding-left:.6rem;font-size:.86rem}}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
.note{background:var(--warn);border-radius:10px;padding:.7rem 1rem;margin-top:.9rem;font-size:.9rem}
.note ul{margin:.2rem 0 0;padding-left:1.1rem}
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--ink)}text.t{fill:var(--soft);font-size:12px}
.grid{stroke:var(--line);stroke-width:1}.zenith{--c:var(--zenith)}.torch{--c:var(--torch)}
rect.zenith,rect.torch,circle.zenith,circle.torch{fill:var(--c)}
path.zenith,path.torch{stroke:var(--c);fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}
text.zenith,text.torch{fill:var(--c);font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:4px}
pre{overflow-x:auto;font-size:.8rem;margin:.6rem 0 0}summary{cursor:pointer}
"""


def render(comparisons: Sequence[tuple[str, Comparison]], record: dict[str, Any]) -> str:
    """The page as text.

    Args:
        comparisons: (title, what was measured).
        record: the same with the machine's facts; it goes into the page as JSON.
    """
    machine, versions = record["machine"], record["versions"]
    facts = (
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"Linux {machine['kernel']}; Python {versions['python']}, torch {versions['torch']}, "
        f"torchvision {versions['torchvision']}, Zenith {versions['zenith-ai']}; {record['begun']}"
    )
    notes = ""
    if record["notes"]:
        items = "".join(f"<li>{html.escape(note)}</li>" for note in record["notes"])
        notes = f'<div class="note"><strong>Before you believe the numbers</strong><ul>{items}</ul></div>'
    key = "".join(f'<span class="{side}">{NAMES[side]}</span>' for side in SIDES)
    sections = "".join(_section(title, comparison) for title, comparison in comparisons)
    raw = html.escape(json.dumps(record, indent=1), quote=False)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Zenith and torch on the same training</title><style>{_STYLE}</style></head><body><main>"
        "<h1>The same training, fed by two loaders</h1>"
        '<p class="soft">Same files, same transforms, same model from the same weights, same code around the loader. '
        "Only the loader differs.</p>"
        f'<p class="soft small">{html.escape(facts)}</p><div class="key">{key}</div>{notes}{sections}'
        f"{_reading(comparisons[0][1])}"
        f'<details class="small soft"><summary>The record of this run</summary><pre>{raw}</pre></details>'
        "</main></body></html>\n"
    )


def _section(title: str, comparison: Comparison) -> str:
    table = comparison.task.kind == "table"
    unit = "rows per second" if table else "pictures per second"
    sides = comparison.sides
    step = comparison.stand_in_step_seconds * 1e3
    waits = {side: sides[side].wait_fraction for side in SIDES}
    ratios = {side: sides[side].stand_in_oracle_ratio for side in SIDES}
    bars = (
        _card("Loader alone", unit, _bars({s: sides[s].loader_samples_per_second for s in SIDES}, "{:,.0f}")),
        _card("Training on this CPU", unit, _bars({s: sides[s].train_samples_per_second for s in SIDES}, "{:,.0f}")),
        _card("Waiting for data", "share of training, in next()", _bars(waits, "{:.1%}", full=1.0)),
        _card("Oracle ratio", f"accelerator step of {step:.3g} ms", _bars(ratios, "{:.2f}", full=1.0)),
    )
    curves = (
        _card("Accuracy by epoch", "held-out samples", _curves(comparison, by_time=False)),
        _card("Accuracy by time", "held-out samples, seconds of training", _curves(comparison, by_time=True)),
    )
    return (
        f'<h2>{html.escape(title)}</h2><div class="cards">{"".join(bars)}</div>'
        f'<div class="cards curves">{"".join(curves)}</div>{_table(comparison)}'
    )


def _card(title: str, text: str, plot: str) -> str:
    return f'<div class="card"><h3>{title}</h3><p class="soft small">{html.escape(text)}</p>{plot}</div>'


def _table(comparison: Comparison) -> str:
    lines = [f"<tr><th></th>{''.join(f'<th>{NAMES[side]}</th>' for side in SIDES)}<th>Zenith is</th></tr>"]
    for row in terminal.rows(comparison):
        name, value, text, _ = row
        cells = "".join(f"<td>{text(value(comparison.sides[side]))}</td>" for side in SIDES)
        ahead = terminal.ratio(row, comparison)
        last = "" if ahead is None else f'<span class="{"good" if ahead[1] else "bad"}">{ahead[0]}</span>'
        lines.append(f"<tr><td>{html.escape(name)}</td>{cells}<td>{last}</td></tr>")
    return f'<div class="card wide"><table>{"".join(lines)}</table></div>'


def _bars(values: dict[str, float], form: str, full: float | None = None) -> str:
    """Horizontal bars, one per side, from 0 to the largest value (or to ``full``, drawn as a track)."""
    most = full or max(values.values()) or 1.0
    room = 156.0
    shapes = []
    for place, side in enumerate(SIDES):
        y = place * 42
        length = max(1.5, room * min(1.0, values[side] / most))
        track = f'<rect x="0" y="{y + 18}" width="{room}" height="14" rx="3" fill="var(--line)"/>' if full else ""
        shapes.append(
            f'<text class="t" x="0" y="{y + 12}">{NAMES[side]}</text>{track}'
            f'<rect class="{side}" x="0" y="{y + 18}" width="{length:.1f}" height="14" rx="3"/>'
            f'<text x="{(room if full else length) + 7:.1f}" y="{y + 29.5}">{form.format(values[side])}</text>'
        )
    return f'<svg viewBox="0 0 222 80" role="img">{"".join(shapes)}</svg>'


def _curves(comparison: Comparison, *, by_time: bool) -> str:
    """Accuracy of both sides over epochs or seconds, with the last values written beside the lines."""
    left, top, width, height = 34.0, 8.0, 360.0, 150.0
    series: dict[str, list[tuple[float, float]]] = {}
    for side in SIDES:
        measured = comparison.sides[side]
        xs: list[float] = []
        for number, seconds in enumerate(measured.epoch_seconds):
            xs.append((xs[-1] if xs else 0.0) + seconds if by_time else number + 1.0)
        series[side] = list(zip(xs, measured.accuracy, strict=True))
    last = max(points[-1][0] for points in series.values())
    first = 0.0 if by_time else 1.0
    lowest = min(accuracy for points in series.values() for _, accuracy in points)
    bottom = int(lowest * 5) / 5
    span = max(last - first, 1e-9)

    def at(point: tuple[float, float]) -> tuple[float, float]:
        x, y = point
        return left + width * (x - first) / span, top + height * (1 - (y - bottom) / (1 - bottom))

    shapes = []
    steps = 4
    for step in range(steps + 1):
        value = bottom + (1 - bottom) * step / steps
        y = at((first, value))[1]
        shapes.append(
            f'<path class="grid" d="M{left} {y:.1f}h{width}"/>'
            f'<text class="t" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.0%}</text>'
        )
    unit = "s" if by_time else ""
    for value in sorted({first, first + span / 2, last} if by_time else {1, (1 + int(last)) // 2, int(last)}):
        x = at((value, bottom))[0]
        label = f"{value:.0f}" if span >= 4 or not by_time else f"{value:.1f}"
        shapes.append(f'<text class="t" x="{x:.1f}" y="{top + height + 16}" text-anchor="middle">{label}{unit}</text>')
    for side, points in series.items():
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in map(at, points))
        shapes.append(f'<path class="{side}" d="M{path}"/>')
        for point in points:
            x, y = at(point)
            where = f"{point[0]:.1f} s" if by_time else f"epoch {point[0]:.0f}"
            shapes.append(
                f'<circle class="{side}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{NAMES[side]}, {where}: '
                f"{point[1]:.1%}</title></circle>"
            )
    shapes += _end_labels({side: (at(points[-1]), points[-1][1]) for side, points in series.items()})
    return f'<svg viewBox="0 0 440 180" role="img">{"".join(shapes)}</svg>'


def _end_labels(ends: dict[str, tuple[tuple[float, float], float]]) -> list[str]:
    """The curves' last values, moved apart where they would cover each other."""
    gap = 14.0
    (upper, lower) = sorted(ends, key=lambda side: ends[side][0][1])
    (x1, y1), (x2, y2) = ends[upper][0], ends[lower][0]
    if abs(x1 - x2) < 40 and y2 - y1 < gap:
        middle = (y1 + y2) / 2
        y1, y2 = middle - gap / 2, middle + gap / 2
    labels = []
    for side, x, y in ((upper, x1, y1), (lower, x2, y2)):
        labels.append(f'<text class="{side}" x="{x + 7:.1f}" y="{y + 4:.1f}">{ends[side][1]:.0%}</text>')
    return labels


def _reading(comparison: Comparison) -> str:
    """What the measurements mean and how they were made."""
    task = comparison.task
    threads = "1 thread" if task.threads == 1 else f"{task.threads} threads"
    terms = {
        "Loader alone": (
            f"batches are fetched and dropped; {task.rounds} rounds of {task.round_seconds:g} s each, in turn, with a "
            f"fresh loader each; median. Pictures have {task.workers} workers on either side. torch gets the table as "
            "tensors in memory and no workers, its faster setting there."
        ),
        "Training on this CPU": (
            f"the step runs on {threads} and shares the cores with the loader, so a loader that needs "
            "less of the CPU speeds up the step too. Epochs take turns; the first is left out of the rates."
        ),
        "Oracle ratio": (
            "time of the loop if every batch were there already, divided by its time. The bars show it with a stand-in "
            "for an accelerator: a step that only waits, 1.2 times as long as the faster loader takes for a batch (at "
            "least 1 ms)."
        ),
        "First batch": "from the loader's construction; scanning the folder or reading the table is part of it.",
        "Memory": "what the process and its workers grow by during the first round (proportional set size).",
        "Accuracy": (
            "one seed each. The sides shuffle and crop differently, so the curves agree only within the luck of a run."
        ),
    }
    paragraphs = "".join(
        f"<p><strong>{term}</strong>: {html.escape(text, quote=False)}</p>" for term, text in terms.items()
    )
    return f'<h2>How to read this</h2><div class="small soft">{paragraphs}</div>'
