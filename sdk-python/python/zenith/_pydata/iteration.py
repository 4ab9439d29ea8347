"""One pass over one epoch of a Python dataset: batches in order, errors in their place.

Who makes the batches, and with whom it is shared, is the loader's; passes of one loader do not disturb each other.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .._errors import ConfigError, ZenithError
from .batch import EMPTY, Batch, Engine
from .collate import note
from .errors import LoaderBusyError, LoaderClosedError, WorkerTraceback
from .fetch import SampleFailure

if TYPE_CHECKING:
    from .loader import Core, PythonLoader

_FORKED_CUDA = "Cannot re-initialize CUDA in forked subprocess"


class PythonIterator:
    """One pass over one epoch. After an exception from a sample, ``next`` goes on with the batch after it.

    Attributes:
        epoch: of this pass.
        position: how many index lists are dealt with, those that became no batch included.
    """

    def __init__(
        self,
        core: Core,
        epoch: int,
        source: Iterator[Sequence[Any]],
        follow: Callable[[int], Iterator[Sequence[Any]]] | None,
    ) -> None:
        self.epoch = epoch
        self.position = 0
        self._core = core
        self._run = next(core.runs)
        self._source: Iterator[Sequence[Any]] | None = source
        self._source_error: BaseException | None = None
        self._follow = follow
        self._queue: deque[Batch] = deque()
        self._next_number = 0
        self._closed = False
        self._loader: PythonLoader | None = None

    def adopt(self, loader: PythonLoader) -> None:
        """Keep ``loader`` alive as long as this pass."""
        self._loader = loader

    def __iter__(self) -> PythonIterator:
        return self

    def __next__(self) -> Any:
        if self._closed:
            raise StopIteration
        here, inside = threading.get_ident(), self._core.inside
        if here in inside:
            # It would wait for what only the interrupted call can receive.
            raise LoaderBusyError(
                "next() was called within another next() of the same loader, as by a signal handler: "
                "take batches where the loop does"
            )
        inside.add(here)
        try:
            return self._next()
        except (OSError, ValueError):
            if (
                self._core.closed
            ):  # a signal handler or another thread did; what is left of the workers says anything
                raise LoaderClosedError("the loader is closed") from None
            raise
        finally:
            inside.discard(here)

    def _next(self) -> Any:
        core = self._core
        core.settle()
        start = time.perf_counter()
        deadline = None if core.timeout is None else time.monotonic() + core.timeout
        while True:
            self._fill()
            if not self._queue:
                error, self._source_error = self._source_error, None
                self._finish_pass()
                if error is not None:
                    raise error
                raise StopIteration
            batch = self._queue[0]
            engine = batch.engine
            assert engine is not None
            engine.wait(batch, deadline)
            if batch.failure is not None and self._move_off_processes(batch.failure):
                continue
            self._queue.popleft()
            core.count(engine, -1)
            self.position += 1
            core.reconsider(engine, len(batch.indices))
            if batch.failure is None:
                self._fill()  # the workers go on while this batch is put together and used
            made = engine.finish(batch)
            core.sweep()
            if batch.skipped:
                core.skipped.extend((s.sample, s.reason) for s in batch.skipped)
            if batch.failure is not None:
                error = _told(batch.failure, batch.epoch)
                # Its traceback holds this frame: with a way back to the error, only the collector would free the pass.
                batch.failure = None
                try:
                    raise error
                finally:
                    del error
            if made is EMPTY:
                if core.world_size > 1 and batch.skipped:
                    raise ConfigError(
                        f"all {len(batch.indices)} samples of this rank's batch were skipped; without it the ranks "
                        "would have unequal numbers of batches"
                    )
                continue
            if core.first_batch_s is None:
                core.first_batch_s = time.perf_counter() - start
            return made

    def _fill(self) -> None:
        core = self._core
        engine = core.current()
        depth = engine.depth(core.prefetch_factor)
        while self._source is not None and len(self._queue) < depth:
            self._pull(engine)
        if self._source is None and self._follow is not None and engine.mode != "inline":
            self._begin_next(engine, depth)

    def _pull(self, engine: Engine) -> None:
        assert self._source is not None
        try:
            indices = next(self._source)
        except StopIteration:
            self._source = None
            return
        except Exception as error:
            # Told in its place: after the batches before it.
            self._source, self._source_error = None, error
            self._follow = None
            return
        batch = Batch(self._run, self.epoch, self._next_number, indices, engine)
        self._next_number += 1
        engine.submit(batch)
        self._core.count(engine, 1)
        self._queue.append(batch)

    def _begin_next(self, engine: Engine, depth: int) -> None:
        core, follow = self._core, self._follow
        if follow is None:
            return
        if core.ahead is None:
            if self._loader is None:
                return
            core.ahead = PythonIterator(core, self.epoch + 1, follow(self.epoch + 1), follow)
        if core.ahead.epoch == self.epoch + 1:
            while core.ahead._source is not None and len(self._queue) + len(core.ahead._queue) < depth:
                core.ahead._pull(engine)

    def _move_off_processes(self, failure: SampleFailure) -> bool:
        """A dataset that wants CUDA cannot be had in a fork: if the choice was ours, go on with threads."""
        core = self._core
        if core.mode != "process" or not core.may_choose or _FORKED_CUDA not in str(failure.error):
            return False
        old = self._queue[0].engine
        assert old is not None
        waiting = [*self._queue, *(core.ahead._queue if core.ahead is not None else ())]
        old.give_up(self._run, [b for b in waiting if b.engine is old])
        core.live[id(old)] = 0
        core.switch("thread", "the dataset uses CUDA, which a forked worker cannot")
        engine = core.current()
        for queue in (self._queue, core.ahead._queue if core.ahead is not None else ()):
            for at, batch in enumerate(queue):
                again = Batch(batch.run, batch.epoch, batch.number, batch.indices, engine)
                engine.submit(again)
                core.count(engine, 1)
                queue[at] = again  # type: ignore[index]
        return True

    def _finish_pass(self) -> None:
        self._closed = True
        self._loader = None

    def close(self) -> None:
        """Give up what is under way; the workers stay for the next pass."""
        if self._closed:
            return
        self._closed = True
        self._source = None
        queue, self._queue = self._queue, deque()
        self._core.give_up(self._run, queue)
        self._loader = None

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self._closed = True
            self._core.drop(self._run, self._queue)


def _told(failure: SampleFailure, epoch: int) -> BaseException:
    """The user's exception, with the sample it belongs to."""
    error = failure.error
    if failure.sample is not None:
        note(error, f"raised by sample {failure.sample!r} of the dataset, epoch {epoch}")
        with contextlib.suppress(AttributeError):  # an exception type with slots
            error.zenith_sample = failure.sample  # type: ignore[attr-defined]
        if isinstance(error, ZenithError) and getattr(error, "sample", None) == -1:
            error.sample = failure.sample  # type: ignore[attr-defined]
    if failure.text and error.__traceback__ is None:
        error.__cause__ = WorkerTraceback(failure.text)
    return error
