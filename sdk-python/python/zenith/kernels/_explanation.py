"""What is known about a choice, for programs and as a table for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Standing:
    """A candidate, and what is known of it for one key.

    Attributes:
        name: its name.
        verdict: ``chosen``, ``tied``, ``slower``, ``rejected``, ``unsupported`` or ``unmeasured``.
        reason: why it is rejected or unsupported; empty otherwise.
        seconds: median time of a call, or None.
        samples: how many measurements there are.
        ratio: its time as a multiple of the fastest's, or None.
        default: whether it is the default.
    """

    name: str
    verdict: str
    reason: str
    seconds: float | None
    samples: int
    ratio: float | None
    default: bool


@dataclass(frozen=True)
class Explanation:
    """Why a call is done by the candidate that does it. ``print`` shows a table.

    Attributes:
        op: the operation.
        key: the key that the call shares with calls of like speed; None where nothing can be chosen.
        chosen: the candidate's name.
        source: ``pinned``, ``stored``, ``measured``, ``neighbour`` or ``default``.
        standings: all candidates, the default first.
        notes: what is unusual.
        text: the table.
    """

    op: str
    key: str | None
    chosen: str
    source: str
    standings: tuple[Standing, ...]
    notes: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<{self.op}: {self.chosen}, {self.source}>"

    def __getitem__(self, name: str) -> Standing:
        return next(standing for standing in self.standings if standing.name == name)


def undecided(op: str, default: str, reason: str) -> Explanation:
    """The explanation of a call that always goes to the default."""
    standing = Standing(default, "chosen", "", None, 0, None, True)
    text = f"{op}\n{default}: the default: {reason}\n"
    return Explanation(op, None, default, "default", (standing,), (reason,), text)


def decided(op: str, told: str, text: str) -> Explanation:
    """The explanation that the extension gives as JSON and as text."""
    said: dict[str, Any] = json.loads(told)
    standings = tuple(_standing(one) for one in said["standings"])
    choice = said["choice"]
    notes = tuple(said["notes"])
    return Explanation(
        op, said["key"], choice["candidate"]["name"], choice["source"]["from"], standings, notes, text
    )


def _standing(told: dict[str, Any]) -> Standing:
    verdict, estimate = told["verdict"], told["estimate"]
    return Standing(
        name=told["candidate"]["name"],
        verdict=verdict["is"],
        reason=_reason(verdict),
        seconds=estimate["ns"] / 1e9 if estimate else None,
        samples=estimate["samples"] if estimate else 0,
        ratio=told["ratio"],
        default=told["default"],
    )


def _reason(verdict: dict[str, Any]) -> str:
    if verdict["is"] == "unsupported":
        return verdict["reason"]
    if verdict["is"] != "rejected":
        return ""
    rest = [f"{value}" for name, value in verdict.items() if name not in ("is", "kind")]
    return ": ".join([verdict["kind"], *rest])
