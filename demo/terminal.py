"""What the demonstration shows in a terminal: progress on stderr, one table on stdout."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from measure import Comparison, Measured

_WIDTH = 28
_BLOCKS = " ▏▎▍▌▋▊▉█"


class Bars:
    """Progress on stderr: one line that redraws itself in a terminal, a plain line per finished step elsewhere."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._title = ""
        self._begun = 0.0
        self._done = False

    def __call__(self, title: str, part: float) -> None:
        """Shows that ``part`` (0 to 1) of ``title`` is done."""
        if title != self._title:
            self._title, self._begun = title, time.monotonic()
        elif self._done:
            return
        self._done = part >= 1
        seconds = time.monotonic() - self._begun
        if self._live:
            full, rest = divmod(round(part * _WIDTH * 8), 8)
            bar = ("█" * full + (_BLOCKS[rest] if rest else "")).ljust(_WIDTH)
            end = "\n" if part >= 1 else ""
            line = f"\r\x1b[K  {title:<50} \x1b[36m{bar}\x1b[0m {part:4.0%} {seconds:5.1f} s{end}"
            self._stream.write(line)
        elif part >= 1:
            self._stream.write(f"{title}: done in {seconds:.1f} s\n")
        self._stream.flush()


class Paint:
    """Colours for a terminal; nothing at all elsewhere or where NO_COLOR is set."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._on = stream.isatty() and "NO_COLOR" not in os.environ

    def bold(self, text: str) -> str:
        """Emphasis."""
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        """What may be overlooked."""
        return self._wrap("2", text)

    def good(self, text: str) -> str:
        """What is better."""
        return self._wrap("32", text)

    def bad(self, text: str) -> str:
        """What is worse."""
        return self._wrap("33", text)

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text


Row = tuple[str, Callable[[Measured], float], Callable[[float], str], str]


def rows(comparison: Comparison) -> Sequence[Row]:
    """The measurements of a comparison: name, value, its text, and which direction is better.

    The direction is ``more``, ``less``, or empty where a ratio of the two would mislead.
    """
    unit = "rows/s" if comparison.task.kind == "table" else "pictures/s"
    step = comparison.stand_in_step_seconds * 1e3
    return [
        (f"loader alone, {unit}", lambda m: m.loader_samples_per_second, lambda v: f"{v:,.0f}", "more"),
        (
            f"training on this CPU, {unit}",
            lambda m: m.train_samples_per_second,
            lambda v: f"{v:,.0f}",
            "more",
        ),
        ("blocked in next() while training", lambda m: m.wait_fraction, lambda v: f"{v:.1%}", ""),
        ("oracle ratio, training on this CPU", lambda m: m.oracle_ratio, lambda v: f"{v:.2f}", ""),
        (
            f"oracle ratio, {step:.3g} ms accelerator step",
            lambda m: m.stand_in_oracle_ratio,
            lambda v: f"{v:.2f}",
            "",
        ),
        ("first batch", lambda m: m.first_batch_seconds, _seconds, "less"),
        ("memory of the loader", lambda m: m.memory_bytes, lambda v: f"{v / 1e6:,.0f} MB", "less"),
        (
            f"held-out accuracy after {comparison.task.epochs} epochs",
            lambda m: m.accuracy[-1],
            lambda v: f"{v:.1%}",
            "",
        ),
    ]


def ratio(row: Row, comparison: Comparison) -> tuple[str, bool] | None:
    """By how much Zenith is ahead in a row as text and whether it is ahead; None where a ratio means nothing."""
    _, value, _, better = row
    ours, theirs = value(comparison.sides["zenith"]), value(comparison.sides["torch"])
    if better not in ("more", "less") or ours <= 0 or theirs <= 0:
        return None
    factor = ours / theirs if better == "more" else theirs / ours
    return f"{factor:.1f}x", factor >= 1


def table(comparisons: Sequence[tuple[str, Comparison]], paint: Paint) -> str:
    """Everything side by side, for a fixed-width font."""
    lines = []
    names, left, right = 44, 18, 10
    rule = "─" * (names + left + left + right)
    lines.append(paint.bold(f"{'':<{names}}{'torch DataLoader':>{left}}{'Zenith':>{left}}{'Zenith is':>{right}}"))
    for title, comparison in comparisons:
        lines += [paint.dim(rule), paint.bold(title)]
        for row in rows(comparison):
            name, value, text, _ = row
            cells = [text(value(comparison.sides[side])) for side in ("torch", "zenith")]
            ahead = ratio(row, comparison)
            last = "" if ahead is None else (paint.good if ahead[1] else paint.bad)(f"{ahead[0]:>{right}}")
            lines.append(f"  {name:<{names - 2}}{cells[0]:>{left}}{cells[1]:>{left}}{last}")
    lines.append(paint.dim(rule))
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return f"{value * 1e3:,.0f} ms" if value < 1 else f"{value:.2f} s"
