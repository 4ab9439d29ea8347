#!/usr/bin/env python3
"""The tables of README's "Measured", drawn from the records in benches/records, so that they cannot drift apart.

python benches-rivals/results.py            # prints them
python benches-rivals/results.py --write    # puts them between the markers in README.md
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results:begin -->\n", "<!-- results:end -->\n"

Column = tuple[str, str, Callable[[float], str]]


def thousands(scale: float = 1.0, digits: int = 0, unit: str = "") -> Callable[[float], str]:
    """Show numbers in units of ``scale``."""
    return lambda value: f"{value / scale:,.{digits}f}{unit}"


PICTURES: list[Column] = [
    ("images/s", "images_per_second", thousands()),
    ("images per CPU-second", "images_per_cpu_second", thousands()),
    ("first batch", "first_batch_seconds", thousands(digits=2, unit=" s")),
    ("memory of the loader", "loader_bytes", thousands(1e6, unit=" MB")),
]
TABULAR: list[Column] = [
    ("million rows/s", "rows_per_second", thousands(1e6, 2)),
    ("million rows per CPU-second", "rows_per_cpu_second", thousands(1e6, 2)),
    ("first batch", "first_batch_seconds", thousands(digits=2, unit=" s")),
    ("peak memory / data", "memory_per_data", thousands(digits=2)),
]
STARVE: list[Column] = [
    ("oracle ratio", "oracle_ratio", thousands(digits=2)),
    ("blocked in `next()`", "blocked_fraction", thousands(0.01, 0, " %")),
]
OVERHEAD: list[Column] = [
    ("microseconds a batch", "batch_microseconds", thousands(digits=1)),
    ("start of an epoch", "epoch_gap_microseconds", thousands(1000, 1, " ms")),
    ("peak memory", "peak_pss_bytes", thousands(1e6, unit=" MB")),
]


def record(scenario: str) -> tuple[Path, dict[str, Any]]:
    """Find the newest record of a scenario."""
    found = sorted((ROOT / "benches/records").glob(f"{scenario}-*.json"))
    if not found:
        raise SystemExit(f"no record of {scenario} in benches/records")
    return found[-1], json.loads(found[-1].read_text())


def table(found: dict[str, Any], columns: list[Column], keep: Callable[[str], object]) -> list[str]:
    """Give a row to each case, medians of its rounds, in the order of the first column's figure."""
    titles = {case["case"]: case["title"] for case in found["cases"]}
    rows = [row for row in found["summary"] if keep(row["case"]) and columns[0][1] in row["metrics"]]
    up = next(metric["better"] for metric in found["metrics"] if metric["name"] == columns[0][1]) == "higher"
    rows.sort(key=lambda row: row["metrics"][columns[0][1]]["median"], reverse=up)
    lines = ["| loader | " + " | ".join(title for title, _, _ in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [show(row["metrics"][name]["median"]) for _, name, show in columns]
        ours = row["case"].startswith("zenith")
        cells = [titles[row["case"]], *cells]
        lines.append("| " + " | ".join(f"**{cell}**" if ours else cell for cell in cells) + " |")
    return lines


def rounds(found: dict[str, Any]) -> str:
    """Say how often everything was measured."""
    count = found["settings"]["rounds"]
    return f"{count} alternating rounds" if count > 1 else "one round"


PAGE = """\
On {cpus} cores of an {cpu}, {gigabytes} GiB, two workers or threads each, medians. Make the rivals' environments
first: `python benches-rivals/envs.py all`, then
`python benches-rivals/envs.py zenith --zenith target/wheels/zenith_ai-*.whl`.

**Pictures.** {count:,} JPEGs ({distinct_pictures} distinct photographs, repeated) of about 0.19 megapixels,
random-resized-crop 224 (antialiased), flip, normalise, float32 tensors, batch 64;
{pictures_about}, `python benches-rivals/run.py pictures --pictures FOLDER_OF_JPEGS`:

{pictures}

"First batch" counts from construction; FFCV's includes compiling its kernels. "Memory" is the process tree's peak
above its imports, three batches of 38.5 MB included. tf.data's resize is not antialiased.

**An accelerator that waits.** Time of a loop on one resident batch divided by its time on real data (1 is a loader
that nobody notices), with a step of 1.2 times Zenith's own load time that leaves the CPU alone, same pictures;
{starve_about}, `python benches-rivals/run.py starve --pictures FOLDER_OF_JPEGS`:

{starve}

**Tables.** 2 million rows of 100 float32 and a label, exactly shuffled; Zenith reads Parquet, the others have tensors
in memory; {tabular_about}, `python benches-rivals/run.py tabular`:

{tabular}

**Overhead.** Trivial samples in ready batches; {overhead_about}, `python benches-rivals/run.py overhead`.
torch starts a process for each worker, Zenith a thread, but no more than there are cores, here {overhead_cpus}:

{overhead}

**Accuracy.** The same small network trained on the same pictures, a seed a round; final accuracy with torch's loader
{accuracy_torch}, with Zenith {accuracy_zenith}; {accuracy_about}, `python benches-rivals/run.py accuracy`.
"""


def draw() -> str:
    """Draw everything between the markers."""
    pictures = record("pictures")[1]
    machine = pictures["machine"]
    words: dict[str, Any] = {
        "cpus": machine["cpus_usable"],
        "cpu": machine["cpu"],
        "gigabytes": round(machine["memory_bytes"] / 2**30),
        "count": pictures["dataset"]["count"],
        "distinct_pictures": pictures["dataset"]["distinct_pictures"],
    }
    sections: dict[str, tuple[list[Column], Callable[[str], object]]] = {
        "pictures": (PICTURES, lambda _: True),
        "starve": (STARVE, lambda case: case.endswith("@sleep")),
        "tabular": (TABULAR, lambda _: True),
        "overhead": (OVERHEAD, re.compile(r"(zenith|torch_batches)@(1|4|16)").fullmatch),
    }
    for name, (columns, keep) in sections.items():
        path, found = record(name)
        words[f"{name}_cpus"] = found["machine"]["cpus_usable"]
        words[name] = "\n".join(table(found, columns, keep))
        words[f"{name}_about"] = f"{rounds(found)}, [record]({path.relative_to(ROOT)})"
    path, found = record("accuracy")
    words["accuracy_about"] = f"{rounds(found)}, [record]({path.relative_to(ROOT)})"
    for case, word in (("torch_pil", "accuracy_torch"), ("zenith", "accuracy_zenith")):
        finals = [curve[-1] for curve in found["conclusion"]["cases"][case]["curves"]]
        words[word] = ", ".join(f"{100 * final:.1f} %" for final in finals)
    return PAGE.format(**words)


def block(readme: str) -> str:
    """Cut out the present text between the markers."""
    return readme[readme.index(BEGIN) + len(BEGIN) : readme.index(END)]


def main() -> None:
    """Print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write them into README.md")
    if not parser.parse_args().write:
        print(draw())
        return
    path = ROOT / "README.md"
    text = path.read_text()
    path.write_text(text.replace(block(text), draw()))


if __name__ == "__main__":
    main()
