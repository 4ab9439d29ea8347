"""A record as text: one line a case, median with its extremes, and the ratio to the base."""

from __future__ import annotations

from typing import Any


def render(record: dict[str, Any]) -> str:
    """Draw the summary of a record."""
    metrics = record["metrics"]
    titles = {entry["case"]: entry["title"] for entry in record["cases"]}
    head = ["loader"]
    for metric in metrics:
        head.append(f"{metric['title']} ({metric['unit']})" if metric["unit"] else metric["title"])
    rows = [head]
    notes = []
    for entry in record["summary"]:
        case = entry["case"]
        row = [titles[case] + (" *" if case == record["base"] else "")]
        for metric in metrics:
            found = entry["metrics"].get(metric["name"])
            ratio = record["ratios"].get(case, {}).get(metric["name"])
            row.append("-" if found is None else _cell(found, ratio, metric))
        rows.append(row)
        if entry["failed"]:
            notes.append(f"{titles[case]}: {entry['failed']} of {entry['rounds']} rounds failed: {entry['reason']}")
    for name, reason in record["absent"].items():
        notes.append(f"{name}: not measured: {reason}")
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    machine = record["machine"]
    lines.append(
        f"\nmedian [min..max] xratio to {titles.get(record['base'], record['base'])} (*) in the same round; "
        f"{machine['cpus_usable']} x {machine['cpu']}, {machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"Linux {machine['kernel']}, load at start {machine['load_average'][0]:.2f}"
    )
    return "\n".join(lines + notes + record.get("conclusion", {}).get("lines", []))


def _cell(found: dict[str, Any], ratio: dict[str, Any] | None, metric: dict[str, Any]) -> str:
    def show(value: float) -> str:
        return f"{value / metric['scale']:,.{metric['digits']}f}"

    text = show(found["median"])
    if len(found["values"]) > 1:
        text += f" [{show(found['min'])}..{show(found['max'])}]"
    if ratio is not None:
        text += f" x{ratio['median']:.2f}"
    return text
