"""Engines within this process: inline (in the caller's thread) and a pool of threads.

Threads pay where the dataset lets go of the GIL, or Python has none. They share the global random generators,
so randomness per sample is not to be had from them; the report says so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .batch import EMPTY, Batch, Totals
from .collate import default_collate, name_the_odd_sample
from .errors import LoaderClosedError, LoaderForkedError, LoaderTimeoutError
from .fetch import Fetched, Fetcher, SampleFailure, added, batched_fetch
from .pinning import pin_tree

Collate = Callable[[list[Any]], Any]


class InlineEngine:
    """Makes each batch when it is asked for, in the thread that asks."""

    def __init__(
        self, dataset: Any, *, collate_fn: Collate | None, array_module: str, seed: int, skip: bool, pin: bool
    ) -> None:
        self.mode = "inline"
        self.totals = Totals()
        self.last_batch_ns = 0
        self._fetcher = Fetcher(dataset, seed=seed, skip=skip, caller=True)
        self._own = collate_fn
        self._default = default_collate(array_module)
        self._pin = pin

    def depth(self, prefetch_factor: int) -> int:
        del prefetch_factor
        return 1

    def submit(self, batch: Batch) -> None:
        """Nothing is begun ahead of its time."""

    def wait(self, batch: Batch, deadline: float | None) -> None:
        del deadline  # nobody else could interrupt the work
        if batch.done:
            return
        start = time.perf_counter_ns()
        fetched = self._fetcher.fetch(batch.epoch, batch.indices)
        middle = time.perf_counter_ns()
        batch.failure, batch.skipped = fetched.failure, fetched.skipped
        batch.work = EMPTY
        if batch.failure is None and (fetched.samples or not batch.indices):
            try:
                batch.work = self._collate(batch, fetched)
            except Exception as error:
                batch.failure = SampleFailure.here(error, None)
        totals = self.totals
        totals.fetch_ns += middle - start
        totals.write_ns += time.perf_counter_ns() - middle
        self.last_batch_ns = time.perf_counter_ns() - start
        totals.wait_ns += self.last_batch_ns
        totals.samples += len(fetched.samples)
        totals.draws = self._fetcher.draws
        totals.plugins = added(totals.plugins, fetched.plugins)
        batch.done = True

    def _collate(self, batch: Batch, fetched: Fetched) -> Any:
        if self._own is not None:
            made = self._fetcher.collate(batch.epoch, batch.indices, fetched, self._own)
        else:
            made = collate_default(self._default, fetched)
        return pin_tree(made) if self._pin else made

    def finish(self, batch: Batch) -> Any:
        self.totals.batches += 1
        made, batch.work = batch.work, None
        return made

    def give_up(self, run: int, batches: Sequence[Batch]) -> None:
        """Nothing runs ahead."""

    def forget(self, run: int) -> None:
        """Nothing runs ahead."""

    def broken(self) -> str | None:
        return None

    def close(self) -> None:
        """Nothing is held."""


def collate_default(collate: Collate, fetched: Fetched) -> Any:
    """Collate; if it fails over one odd sample, the error says which."""
    try:
        return collate(fetched.samples)
    except Exception as error:
        if fetched.samples:
            name_the_odd_sample(error, fetched.samples, fetched.kept)
        raise


# How often a wait looks whether the loader was closed.
_LOOK_S = 0.5


def _within(deadline: float) -> float:
    return min(_LOOK_S, max(0.0, deadline - time.monotonic()))


class _Work:
    def __init__(self, pieces: int) -> None:
        self.ready = threading.Event()
        self.left = pieces
        self.parts: list[Fetched | None] = [None] * pieces
        self.made: Any = EMPTY


class ThreadEngine:
    """A pool of threads; a batch is cut into pieces, and whoever brings the last piece collates."""

    def __init__(
        self,
        dataset: Any,
        *,
        num_workers: int,
        collate_fn: Collate | None,
        array_module: str,
        seed: int,
        skip: bool,
        pin: bool,
        worker_init_fn: Callable[[int], Any] | None,
    ) -> None:
        self.mode = "thread"
        self.totals = Totals()
        self._dataset = dataset
        self._workers = num_workers
        self._own = collate_fn
        self._default = default_collate(array_module)
        self._seed, self._skip, self._pin = seed, skip, pin
        self._init = worker_init_fn
        self._init_failure: BaseException | None = None
        self._started = 0
        self._batched = batched_fetch(dataset) is not None
        self._lock = threading.Lock()
        self._local = threading.local()
        self._pid = os.getpid()
        self._closed = False
        self._pool = ThreadPoolExecutor(num_workers, "zenith-data", initializer=self._on_thread)

    def _on_thread(self) -> None:
        self._local.own = True
        with self._lock:
            number, self._started = self._started, self._started + 1
        if self._init is not None:
            try:
                self._init(number)
            except BaseException as error:
                self._init_failure = error

    def depth(self, prefetch_factor: int) -> int:
        return prefetch_factor * self._workers if self._batched else max(2, prefetch_factor)

    def submit(self, batch: Batch) -> None:
        self._check_usable()
        indices = list(batch.indices)
        size = len(indices) if self._batched else max(1, -(-len(indices) // (4 * self._workers)))
        starts = range(0, len(indices), max(1, size)) if indices else range(1)
        batch.work = _Work(len(starts))
        for number, row in enumerate(starts):
            self._pool.submit(self._piece, batch, number, indices[row : row + size])

    def _piece(self, batch: Batch, number: int, indices: list[Any]) -> None:
        work: _Work = batch.work
        start = time.perf_counter_ns()
        if batch.given_up or batch.failure is not None:
            fetched = Fetched()
        elif self._init_failure is not None:
            fetched = Fetched(failure=SampleFailure.here(self._init_failure, None))
        else:
            fetcher = getattr(self._local, "fetcher", None)
            if fetcher is None:
                fetcher = self._local.fetcher = Fetcher(
                    self._dataset, seed=self._seed, skip=self._skip, watch=False
                )
            fetched = fetcher.fetch(batch.epoch, indices)
        spent = time.perf_counter_ns() - start
        with self._lock:
            self.totals.fetch_ns += spent
            self.totals.samples += len(fetched.samples)
            self.totals.plugins = added(self.totals.plugins, fetched.plugins)
            work.parts[number] = fetched
            if fetched.failure is not None and batch.failure is None:
                batch.failure = fetched.failure
            work.left -= 1
            last = work.left == 0
        if last:
            self._complete(batch, work)

    def _complete(self, batch: Batch, work: _Work) -> None:
        start = time.perf_counter_ns()
        whole = Fetched()
        for part in work.parts:
            if part is not None:
                whole.samples.extend(part.samples)
                whole.kept.extend(part.kept)
                batch.skipped.extend(part.skipped)
        work.parts.clear()
        if batch.failure is None and not batch.given_up and (whole.samples or not batch.indices):
            try:
                made = (
                    self._own(whole.samples)
                    if self._own is not None
                    else collate_default(self._default, whole)
                )
                work.made = pin_tree(made) if self._pin else made
            except BaseException as error:
                batch.failure = SampleFailure.here(error, None)
        with self._lock:
            self.totals.write_ns += time.perf_counter_ns() - start
        batch.done = True
        work.ready.set()

    def wait(self, batch: Batch, deadline: float | None) -> None:
        if batch.done:
            return
        self._check_usable()
        start = time.perf_counter_ns()
        work: _Work = batch.work
        try:
            while not work.ready.wait(_LOOK_S if deadline is None else _within(deadline)):
                self._check_usable()  # a signal handler or another thread may have closed the loader
                if deadline is not None and time.monotonic() >= deadline:
                    raise LoaderTimeoutError("no batch came in time from the data threads")
        finally:
            self.totals.wait_ns += time.perf_counter_ns() - start

    def finish(self, batch: Batch) -> Any:
        self.totals.batches += 1
        made, batch.work = batch.work.made, None
        return made

    def give_up(self, run: int, batches: Sequence[Batch]) -> None:
        del run
        for batch in batches:
            batch.given_up = True

    def forget(self, run: int) -> None:
        """The pieces under way are few; `give_up` spares the rest."""

    def broken(self) -> str | None:
        return None

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if os.getpid() == self._pid:
            # The collector may end the loader on one of these threads, which cannot wait for itself.
            own = getattr(self._local, "own", False)
            self._pool.shutdown(wait=not own, cancel_futures=True)

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise LoaderForkedError(
                f"this loader belongs to process {self._pid} and cannot be used in its fork {os.getpid()}; "
                "build the loader after the fork"
            )
        if self._closed:
            raise LoaderClosedError("the loader is closed")
