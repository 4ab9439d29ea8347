"""What a loader did, over all the engines it has had. Reading it starts nothing; how it is shown is the report's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import count

_SKIPPED_KEPT = 10_000


@dataclass
class PluginCounters:
    """What one plugin did.

    Attributes:
        samples: it was given.
        seconds: thread-seconds spent in it.
        dropped: samples it dropped.
        split: samples it made more than one of.
    """

    samples: int = 0
    seconds: float = 0.0
    dropped: int = 0
    split: int = 0

    def plus(self, more: PluginCounters) -> PluginCounters:
        """Both together."""
        return PluginCounters(
            self.samples + more.samples,
            self.seconds + more.seconds,
            self.dropped + more.dropped,
            self.split + more.split,
        )


@dataclass
class Counters:
    """What engines counted.

    Attributes:
        batches: handed out.
        samples: in them.
        bytes: that came from the source.
        wait: seconds in ``next()``.
        step: seconds between two calls of it.
        first_batch: seconds from the first beginning to the first batch.
        stages: thread-seconds by stage.
        skipped: bad samples left out, as (sample, reason); the first 10,000.
        skipped_count: how many there were.
        workers: threads or processes of the newest engine.
        notes: what engines did in another way than asked.
        plugins: what each plugin did, by its name; several of one name are numbered from the second on.
        plugins_of_all: whether ``plugins`` has in it what earlier engines counted, as where a native source counts.
        facts: of the newest engine, by name.
    """

    batches: int = 0
    samples: int = 0
    bytes: int = 0
    wait: float = 0.0
    step: float = 0.0
    first_batch: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    skipped: list[tuple[int, str]] = field(default_factory=list)
    skipped_count: int = 0
    workers: int = 0
    notes: list[str] = field(default_factory=list)
    plugins: dict[str, PluginCounters] = field(default_factory=dict)
    plugins_of_all: bool = True
    facts: dict[str, str] = field(default_factory=dict)

    def add(self, later: Counters) -> None:
        """Adds what a later engine counted."""
        self.batches += later.batches
        self.samples += later.samples
        self.bytes += later.bytes
        self.wait += later.wait
        self.step += later.step
        self.first_batch = self.first_batch or later.first_batch
        for name, seconds in later.stages.items():
            self.stages[name] = self.stages.get(name, 0.0) + seconds
        self.skipped += later.skipped[: max(0, _SKIPPED_KEPT - len(self.skipped))]
        self.skipped_count += later.skipped_count
        self.workers = later.workers
        self.notes += [note for note in later.notes if note not in self.notes]
        for name, plugin in later.plugins.items():
            before = self.plugins.get(name)
            self.plugins[name] = plugin if before is None or later.plugins_of_all else before.plus(plugin)
        self.facts |= later.facts


def plugin_counters(counted: Iterable[tuple[str, int, int, int, int]]) -> dict[str, PluginCounters]:
    """The plugins' counters by name, of rows (name, samples, nanoseconds, dropped, split) in the plugins' order."""
    plugins: dict[str, PluginCounters] = {}
    for name, samples, nanoseconds, dropped, split in counted:
        plugins[_numbered(name, plugins)] = PluginCounters(samples, nanoseconds / 1e9, dropped, split)
    return plugins


def _numbered(name: str, taken: Collection[str]) -> str:
    if name not in taken:
        return name
    return next(other for number in count(2) if (other := f"{name} {number}") not in taken)


class Account:
    """The counters of a loader's engines, past and present.

    Args:
        unstarted: what there is to say before the first engine.
    """

    def __init__(self, unstarted: Counters) -> None:
        self._past = unstarted
        self._open: list[Callable[[], Counters]] = []

    def follow(self, counters: Callable[[], Counters]) -> None:
        """Counts an engine in; ``counters`` is asked whenever the account is read, and must outlive the engine."""
        self._open.append(counters)

    def settle(self, counters: Callable[[], Counters]) -> None:
        """An engine has ended: what it counted is final."""
        if counters in self._open:
            self._open.remove(counters)
            self._past.add(counters())

    def total(self) -> Counters:
        """Everything so far."""
        total = Counters()
        total.add(self._past)
        for counters in list(self._open):
            total.add(counters())
        return total
