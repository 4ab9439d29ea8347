"""What a scenario brings: its cases, its columns, how a result becomes values, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.record import Metric, Run


class Refused(Exception):
    """A rival delivered something else than it was asked for; its figures must not be shown."""


@dataclass(frozen=True)
class Case:
    """One line of the table: a rival with a configuration."""

    name: str
    title: str
    environment: str
    rival: str
    config: dict[str, Any] = field(default_factory=dict)
    converts: bool = False
    """The rival first writes the data set in its own format."""


@dataclass(frozen=True)
class Scenario:
    """A question that is put to several loaders."""

    name: str
    metrics: Sequence[Metric]
    cases: Sequence[Case]
    base: str
    dataset: dict[str, Any]
    settings: dict[str, Any]
    """Configuration that all cases share."""
    values: Callable[[Case, dict[str, Any]], dict[str, float]]
    """Turns a result into the columns; raises `Refused` for a wrong delivery."""
    compare: Callable[[Sequence[Run]], dict[str, str]] = lambda runs: {}
    """Looks at all runs together; returns the cases to refuse, with the reason."""
    conclude: Callable[[Sequence[Run]], dict[str, Any]] | None = None
    """What the runs say together, beyond medians; goes into the record as `conclusion`."""
