"""The two ways to make batches, behind one face: natively, or by Python code in workers of Python's own.

An engine has no place and no report: its iterators leave their places on the loader's track, and its counters outlive
it. So the loader may close an engine, or exchange it, at any time.
"""

from __future__ import annotations

import atexit
import json
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from . import _core
from ._account import Counters, plugin_counters
from ._errors import MachineError
from ._order import OrderOptions, Place
from ._pydata import PythonLoader
from ._sampling import ListedOrder, WeightedSampler

Start = tuple[Place, Sequence[int] | None, list[int] | None]
"""Where an iteration begins: the place, then the user's own order of its epoch and the ends of his batches."""


class HostBatches(Protocol):
    """An iterator over batches in host memory that knows its place."""

    @property
    def place(self) -> tuple[int, int, int]:
        """The place behind the last batch."""
        ...

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...


OnDevice = Callable[[HostBatches, _core.Track, Place], Iterator[Any]]
"""Makes an iterator over batches on a device of one over host memory; marks places on the track."""


@dataclass(frozen=True)
class DeviceWanted:
    """A device that batches are to go to.

    Attributes:
        index: its number.
        copies: begins to use it.
    """

    index: int
    copies: Callable[[], OnDevice]


class Engine(Protocol):
    """What a loader needs of whatever makes its batches."""

    counters: Callable[[], Counters]
    """What was done so far; may be called after the engine's end, and does not keep the engine."""

    def begin(self, place: Place, listed: ListedOrder | None) -> HostBatches:
        """The batches from a place to the end of its epoch. Earlier iterators go on independently."""
        ...

    def steps_from(self, place: Place) -> int:
        """Batches from a place to the end of its epoch; not asked for where plugins change the number of samples."""
        ...

    def close(self) -> None:
        """Stops the workers and frees what nobody holds. Iterators in use raise ``LoaderClosedError``."""
        ...


_running: weakref.WeakSet[NativeEngine] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Stops the threads of loaders that are alive at the interpreter's end, while everything they use is."""
    for engine in list(_running):
        engine.close()


class NativeEngine:
    """Batches made by the extension's threads.

    Iterators hold the native loader and not the engine: its threads end with the last of them.
    """

    def __init__(
        self,
        source: _core.Source,
        order: OrderOptions,
        track: _core.Track,
        *,
        workers: int,
        prefetch: int,
        skip: bool,
        largest_batch: int | None,
        weights: WeightedSampler | None,
        iterate: Callable[[_core.Loader, Start], HostBatches],
        locked_for: int | None = None,
    ) -> None:
        run = {"workers": workers, "prefetch": prefetch, "skip": skip, "largest_batch": largest_batch}
        table = None if weights is None else weights.weights
        unlocked = ""
        if locked_for is None:
            self._loader = source.loader(order.as_json(), json.dumps(run), track, table)
        else:
            try:
                locked = json.dumps(run | {"locked_for": locked_for})
                self._loader = source.loader(order.as_json(), locked, track, table)
            except MachineError as refused:
                unlocked = f"batches are pageable, and their copies slower, since they cannot be page-locked: {refused}"
                self._loader = source.loader(order.as_json(), json.dumps(run), track, table)
        self._iterate = iterate
        self.counters = partial(_native_counters, self._loader.meter(), unlocked)
        _running.add(self)

    def begin(self, place: Place, listed: ListedOrder | None) -> HostBatches:
        """See :class:`Engine`."""
        start = (place, None, None) if listed is None else (place, listed.drawn.order, listed.drawn.ends)
        return self._iterate(self._loader, start)

    def steps_from(self, place: Place) -> int:
        """See :class:`Engine`."""
        return self._loader.steps_from(place)

    def close(self) -> None:
        """See :class:`Engine`."""
        self._loader.close()


def _native_counters(meter: _core.Meter, unlocked: str) -> Counters:
    counted = meter.counters()
    seconds = {name: counted[f"{name}_ns"] / 1e9 for name in ("read", "decode", "transform")}
    taken_back = counted["taken_back"]
    turns = (
        f"iterators of one loader took turns {taken_back} times: "
        "what was made ahead for one was made again for the other"
    )
    return Counters(
        batches=counted["batches"],
        samples=counted["samples"],
        bytes=counted["bytes"],
        wait=counted["wait_ns"] / 1e9,
        step=counted["step_ns"] / 1e9,
        first_batch=counted["first_batch_ns"] / 1e9,
        stages=seconds | {"room": counted["worker_wait_ns"] / 1e9},
        skipped=[
            (sample, f"{path}: {reason}" if path else reason) for sample, path, reason in meter.skipped()
        ],
        skipped_count=counted["skipped"],
        workers=counted["workers"],
        notes=[turns] * bool(taken_back) + [unlocked] * bool(unlocked) + counted["notes"],
        plugins=plugin_counters(counted["plugins"]),
        facts=dict(counted["facts"]),
    )


class _Order:
    """The order of batches as the native sampler gives it: what iterators need, and all they hold of it."""

    def __init__(self, order: _core.Order) -> None:
        self._order = order

    def __call__(self, epoch: int, cursor: int = 0) -> Iterator[list[int]]:
        while (step := self._order.batch(epoch, cursor)) is not None:
            yield step[0]
            cursor = step[1]

    def after(self, epoch: int, cursor: int, steps: int) -> int:
        """The cursor ``steps`` batches behind ``cursor``, or that of the epoch's end."""
        for _ in range(steps):
            next_cursor = self._order.after(epoch, cursor)
            if next_cursor is None:
                break
            cursor = next_cursor
        return cursor


class _Clock:
    """Seconds in ``next()``, and seconds between two calls of it."""

    def __init__(self) -> None:
        self.wait = self.step = 0.0


class PythonEngine:
    """Batches made by Python code; the order is the native sampler's.

    Nothing below refers back to the engine: it, and with it the workers, goes with the last reference from outside.
    """

    def __init__(
        self,
        dataset: Any,
        samples: int,
        order: OrderOptions,
        track: _core.Track,
        *,
        weights: WeightedSampler | None,
        beneath: _core.Source | None,
        **options: Any,
    ) -> None:
        table = None if weights is None else weights.weights
        self._base = _core.Order(samples, order.as_json(), table, beneath)
        self._track = track
        self._clock = _Clock()
        self._loader = PythonLoader(
            dataset, _Order(self._base), seed=order.seed, world_size=order.world_size, **options
        )
        self.counters = partial(_python_counters, self._loader.stats_reader(), self._clock, beneath)

    def begin(self, place: Place, listed: ListedOrder | None) -> HostBatches:
        """See :class:`Engine`."""
        epoch, cursor, _ = place
        order = _Order(
            self._base if listed is None else self._base.listed(listed.drawn.order, listed.drawn.ends)
        )
        ahead = listed is None and cursor == 0
        batches = self._loader.iter(epoch, None if ahead else order(epoch, cursor))
        return _Counted(batches, order, self._track, self._clock, place)

    def steps_from(self, place: Place) -> int:
        """See :class:`Engine`."""
        return self._base.steps_from(place.epoch, place.cursor)

    def close(self) -> None:
        """See :class:`Engine`."""
        self._loader.close()


def _python_counters(
    read: Callable[[], dict[str, Any]], clock: _Clock, beneath: _core.Source | None
) -> Counters:
    stats = read()
    plugins = plugin_counters((*counted, 0, 0) for counted in stats["plugins"])
    in_plugins = sum(plugin.seconds for plugin in plugins.values())
    return Counters(
        batches=stats["batches"],
        samples=stats["samples"],
        bytes=stats["bytes"],
        wait=clock.wait,
        step=clock.step,
        first_batch=stats["first_batch_s"] or 0.0,
        stages={"python": max(0.0, stats["fetch_s"] - in_plugins), "transform": stats["collate_s"]},
        skipped=list(stats["skipped"]),
        skipped_count=len(stats["skipped"]),
        workers=stats["num_workers"],
        notes=[
            f"slow path: Python code makes the samples ({stats['worker']}: {stats['why']})",
            *stats["notes"],
            *([] if beneath is None else beneath.notes),
        ],
        plugins=plugins,
        plugins_of_all=False,
        # Of what processes of its own read, the source here knows nothing.
        facts={} if beneath is None or stats["worker"] == "process" else dict(beneath.facts),
    )


class _Counted:
    """An iteration of a :class:`PythonEngine` that marks its place and its time.

    After an exception it can be taken up again.
    """

    def __init__(self, iterator: Any, order: _Order, track: _core.Track, clock: _Clock, place: Place) -> None:
        self._iterator = iterator
        self._order = order
        self._clock = clock
        self._epoch, self._cursor, _ = place
        self._position = 0
        self._ended = False
        self._returned: float | None = None
        self._track = track
        self._number = track.begin(place)

    def __iter__(self) -> _Counted:
        return self

    @property
    def place(self) -> Place:
        """The place behind the last batch."""
        return Place(self._epoch, self._cursor)

    def __next__(self) -> Any:
        called = time.perf_counter()
        try:
            return next(self._iterator)
        except StopIteration:
            self._ended = True
            raise
        finally:
            now = time.perf_counter()
            self._clock.wait += now - called
            if self._returned is not None:
                self._clock.step += called - self._returned
            self._returned = None if self._ended else now
            steps = self._iterator.position - self._position
            self._position += steps
            self._cursor = self._order.after(self._epoch, self._cursor, steps)
            if self._ended:
                self._track.end(self._number)
            else:
                self._track.reach(self._number, Place(self._epoch, self._cursor))

    def __del__(self) -> None:
        # Runs wherever the last reference dies. The track is locked only while it is written, by no Python code.
        if hasattr(self, "_number"):
            self._track.leave(self._number)
