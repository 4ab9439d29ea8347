"""One batch on its way, and what every engine (inline, threads, processes) offers to the iterator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .fetch import PluginCalls, SampleFailure, Skipped


@dataclass(eq=False)
class Batch:
    """What was asked for, and what is known of it so far. The engines keep their own parts in ``work``."""

    run: int
    epoch: int
    number: int
    indices: Sequence[Any]
    engine: Engine | None = None
    work: Any = None
    done: bool = False
    failure: SampleFailure | None = None
    skipped: list[Skipped] = field(default_factory=list)
    given_up: bool = False


@dataclass
class Totals:
    """Sums over the engine's life. Times in nanoseconds, over all workers."""

    batches: int = 0
    samples: int = 0
    bytes: int = 0
    fetch_ns: int = 0
    write_ns: int = 0
    wait_ns: int = 0
    assemble_ns: int = 0
    general: int = 0
    draws: bool | None = None
    plugins: PluginCalls = field(default_factory=list)


EMPTY = object()
"""What `Engine.finish` gives for a batch whose every sample was skipped."""


class Engine(Protocol):
    """Makes batches. Calls may come from several threads of one process."""

    totals: Totals
    mode: str

    def depth(self, prefetch_factor: int) -> int:
        """How many batches may be under way for one iterator."""
        ...

    def submit(self, batch: Batch) -> None:
        """Begin ``batch``; must not block."""
        ...

    def wait(self, batch: Batch, deadline: float | None) -> None:
        """Return when ``batch`` is done or failed.

        Raises:
            LoaderTimeoutError: ``deadline`` (of time.monotonic) has passed.
            WorkerDiedError: a worker ended.
        """
        ...

    def finish(self, batch: Batch) -> Any:
        """The collated batch, or `EMPTY`. Only after `wait`, once."""
        ...

    def give_up(self, run: int, batches: Sequence[Batch]) -> None:
        """Nobody wants ``batches`` (all of one iterator, number ``run``) any more."""
        ...

    def forget(self, run: int) -> None:
        """As `give_up`, which follows, but takes no lock: called by a finalizer, inside any other call."""
        ...

    def broken(self) -> str | None:
        """What makes this engine useless for a new pass, if something does."""
        ...

    def close(self) -> None:
        """Stop and free everything except what the user holds. May be called twice, and in a forked copy."""
        ...
