"""The two ways to make batches, behind one face: natively, or by Python code in workers of Python's own."""

from __future__ import annotations

import atexit
import json
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from . import _core
from ._order import OrderOptions, Place
from ._pydata import PythonLoader
from ._report import STEP_ADVICE, STEP_LIMITS_BELOW, Report, Stage
from ._sampling import ListedOrder, WeightedSampler


class Engine(Protocol):
    """What a loader needs of whatever makes its batches."""

    def begin(self, place: Place, listed: ListedOrder | None) -> Iterator[Any]:
        """The batches from a place to the end of its epoch."""
        ...

    def place(self) -> Place:
        """The place behind the last batch handed out."""
        ...

    def steps_from(self, place: Place) -> int:
        """Batches from a place to the end of its epoch; not asked for where plugins change the number of samples."""
        ...

    def report(self, notes: list[str]) -> Report:
        """An account of everything so far."""
        ...

    def close(self) -> None:
        """Stops the workers and frees what nobody holds."""
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
        *,
        workers: int,
        prefetch: int,
        skip: bool,
        largest_batch: int | None,
        weights: WeightedSampler | None,
        iterate: Callable[[_core.Loader], Iterator[Any]],
    ) -> None:
        run = {"workers": workers, "prefetch": prefetch, "skip": skip, "largest_batch": largest_batch}
        table = None if weights is None else weights.weights
        self._loader = source.loader(order.as_json(), json.dumps(run), table)
        self._iterate = iterate
        _running.add(self)

    def begin(self, place: Place, listed: ListedOrder | None) -> Iterator[Any]:
        """See :class:`Engine`."""
        if listed is None:
            self._loader.begin(place)
        else:
            self._loader.begin_listed(place, listed.order, listed.ends)
        return self._iterate(self._loader)

    def place(self) -> Place:
        """See :class:`Engine`."""
        return Place(*self._loader.place())

    def steps_from(self, place: Place) -> int:
        """See :class:`Engine`."""
        return self._loader.steps_from(place)

    def report(self, notes: list[str]) -> Report:
        """See :class:`Engine`."""
        skipped = [
            (sample, f"{path}: {reason}" if path else reason)
            for sample, path, reason in self._loader.skipped()
        ]
        return Report.from_counters(self._loader.counters(), skipped, notes)

    def close(self) -> None:
        """See :class:`Engine`."""
        self._loader.close()


class PythonEngine:
    """Batches made by Python code; the order is the native sampler's."""

    def __init__(
        self,
        dataset: Any,
        samples: int,
        order: OrderOptions,
        *,
        weights: WeightedSampler | None,
        **options: Any,
    ) -> None:
        self._order = _core.Order(samples, order.as_json(), None if weights is None else weights.weights)
        self._base = self._order
        self._place = Place(0, 0)
        self._wait = self._step = 0.0
        self._loader = PythonLoader(dataset, self._epoch, seed=order.seed, **options)

    def _epoch(self, epoch: int) -> Iterator[list[int]]:
        return (indices for indices, _ in self._steps(epoch, 0))

    def _steps(self, epoch: int, cursor: int) -> Iterator[tuple[list[int], int]]:
        while (step := self._order.batch(epoch, cursor)) is not None:
            yield step
            cursor = step[1]

    def begin(self, place: Place, listed: ListedOrder | None) -> Iterator[Any]:
        """See :class:`Engine`."""
        epoch, cursor, _ = self._place = place
        self._order = self._base if listed is None else self._base.listed(listed.order, listed.ends)
        if listed is None and cursor == 0:
            return self._count(self._loader.iter(epoch), epoch, cursor)
        batches = (indices for indices, _ in self._steps(epoch, cursor))
        return self._count(self._loader.iter(epoch, batches), epoch, cursor)

    def _count(self, iterator: Any, epoch: int, cursor: int) -> Iterator[Any]:
        """Passes batches on and keeps the place; a pass that an exception interrupted can be taken up again."""
        return _Counted(self, iterator, epoch, cursor)

    def advance(self, epoch: int, cursor: int, steps: int) -> int:
        """The cursor behind ``steps`` batches from ``cursor``; also notes it as the engine's place."""
        for _ in range(steps):
            step = self._order.batch(epoch, cursor)
            if step is None:
                break
            cursor = step[1]
        self._place = Place(epoch, cursor)
        return cursor

    def spent(self, wait: float, step: float) -> None:
        """Adds seconds in ``next()`` and seconds between two calls of it."""
        self._wait += wait
        self._step += step

    def finish(self, epoch: int) -> None:
        """Notes the end of an epoch."""
        self._place = Place(epoch + 1, 0)

    def place(self) -> Place:
        """See :class:`Engine`."""
        return self._place

    def steps_from(self, place: Place) -> int:
        """See :class:`Engine`."""
        return self._order.steps_from(place.epoch, place.cursor)

    def report(self, notes: list[str]) -> Report:
        """See :class:`Engine`."""
        stats = self._loader.stats()
        busy = {"python": stats["fetch_s"], "transform": stats["collate_s"]}
        total = sum(busy.values()) or 1.0
        iteration = self._wait + self._step
        waiting = self._wait / iteration if iteration > 0 else 0.0
        limits = "python" if waiting >= STEP_LIMITS_BELOW else "step"
        return Report(
            samples=stats["samples"],
            batches=stats["batches"],
            samples_per_second=stats["samples"] / iteration if iteration > 0 else 0.0,
            data_wait_seconds=self._wait,
            data_wait_fraction=waiting,
            first_batch_seconds=stats["first_batch_s"] or 0.0,
            bottleneck=limits,
            advice={
                "python": "samples are made by Python code; native sources and transforms need no Python per sample",
                "step": STEP_ADVICE,
            }[limits],
            stages=[Stage(name, seconds, seconds / total) for name, seconds in busy.items()],
            skipped=list(stats["skipped"]),
            skipped_count=len(stats["skipped"]),
            bytes_read=stats["bytes"],
            workers=stats["num_workers"],
            notes=[
                *notes,
                f"slow path: Python code makes the samples ({stats['worker']}: {stats['why']})",
                *list(stats["notes"]),
            ],
        )

    def close(self) -> None:
        """See :class:`Engine`."""
        self._loader.close()


class _Counted:
    """An epoch of a :class:`PythonEngine` that tells the engine its place."""

    def __init__(self, engine: PythonEngine, iterator: Any, epoch: int, cursor: int) -> None:
        self._engine = engine
        self._iterator = iterator
        self._epoch = epoch
        self._cursor = cursor
        self._position = 0
        self._ended = False
        self._returned: float | None = None

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> Any:
        called = time.perf_counter()
        try:
            return next(self._iterator)
        except StopIteration:
            self._ended = True
            raise
        finally:
            now = time.perf_counter()
            self._engine.spent(now - called, 0.0 if self._returned is None else called - self._returned)
            self._returned = None if self._ended else now
            steps = self._iterator.position - self._position
            self._position += steps
            self._cursor = self._engine.advance(self._epoch, self._cursor, steps)
            if self._ended:
                self._engine.finish(self._epoch)
