"""Trains the same models on the same data with Zenith and with torch's DataLoader, and shows both side by side.

Run by ``make demo``. Needs no accelerator and no network; takes about three minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dataset
import page
import terminal
from measure import Comparison, Task, compare

_SEED = 7


def main() -> None:
    """Makes the data, measures, prints the table, writes the page and the record."""
    arguments = _arguments()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    begun, busy = time.time(), os.getloadavg()[0]
    bars, paint = terminal.Bars(), terminal.Paint()
    scale = dataset.Scale(100, 30, 240_000, 20_000) if not arguments.small else dataset.Scale(12, 4, 20_000, 4_000)
    data = dataset.make(out / "data", scale, lambda done, of: bars("making the data", done / of))
    comparisons = []
    for task in _tasks(data, arguments.small):
        title = _title(task, scale, data)
        print(f"\n{title}", file=sys.stderr)
        comparisons.append((title, compare(task, bars)))
    record = _record(comparisons, scale, begun, busy)
    (out / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / "index.html").write_text(page.render(comparisons, record), encoding="utf-8")
    print(f"\n{terminal.table(comparisons, paint)}")
    for note in record["notes"]:
        print(paint.bad(f"  note: {note}"))
    for line in _LEGEND:
        print(paint.dim(f"  {line}"))
    print(f"\n  page    {paint.bold(str(out / 'index.html'))}\n  record  {out / 'record.json'}")


_LEGEND = (
    "oracle ratio: time of the loop if every batch were there already / its time; 1: no loader could do better.",
    "accelerator step: a step that only waits, 1.2x as long as the faster loader takes for a batch (at least 1 ms). It",
    "leaves the CPU to the loader. Training on this CPU does not: step and loader share its cores.",
    "accuracy: one seed each; the sides shuffle and crop differently.",
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for data, page and record")
    parser.add_argument("--small", action="store_true", help="a few seconds of everything; proves nothing about speed")
    return parser.parse_args()


def _tasks(data: dataset.Data, small: bool) -> list[Task]:
    cores = len(os.sched_getaffinity(0))
    both: dict[str, Any] = {
        "workers": 2,
        "threads": max(1, cores - 1),
        "seed": _SEED,
        "rounds": 2 if small else 3,
        "round_seconds": 1.0 if small else 3.0,
    }
    pictures = Task(
        kind="pictures",
        train=str(data.train_pictures),
        test=str(data.test_pictures),
        batch=32,
        epochs=3 if small else 8,
        rate=0.01,
        **both,
    )
    table = Task(
        kind="table",
        train=str(data.train_table),
        test=str(data.test_table),
        batch=256,
        epochs=3 if small else 5,
        rate=0.003,
        **both,
    )
    return [pictures, table]


def _title(task: Task, scale: dataset.Scale, data: dataset.Data) -> str:
    if task.kind == "table":
        return f"Table: {scale.train_rows:,} rows of 64 numbers in Parquet, batch {task.batch}"
    count = scale.train_pictures * len(dataset.CLASSES)
    kilobytes = data.bytes_of_pictures / count / 1e3
    return f"Pictures: {count:,} JPEGs of about 500 x 375 and {kilobytes:.0f} KB, crop 224, batch {task.batch}"


def _record(
    comparisons: list[tuple[str, Comparison]], scale: dataset.Scale, begun: float, busy: float
) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0))
    notes = [note for _, comparison in comparisons for note in comparison.notes]
    if busy > cores / 2:
        notes.insert(0, f"the machine was busy before this began: load {busy:.1f} on {cores} cores")
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "begun": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun)),
        "seconds": round(time.time() - begun, 1),
        "machine": {
            "processor": next((line.split(": ")[1] for line in processors if line.startswith("model name")), "unknown"),
            "cores": cores,
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "kernel": platform.release(),
            "load_average_before": busy,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": version("torch"),
            "torchvision": version("torchvision"),
            "zenith-ai": _zenith_version(),
        },
        "scale": vars(scale),
        "comparisons": [{"title": title, **comparison.to_dict()} for title, comparison in comparisons],
        "notes": notes,
    }


def _zenith_version() -> str:
    import zenith

    return zenith.__version__


if __name__ == "__main__":
    main()
