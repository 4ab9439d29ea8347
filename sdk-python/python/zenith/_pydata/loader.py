"""The loader over a Python dataset: order of batches, choice of engine, epochs.

What a batch holds is decided elsewhere (``batches``); here it is only made sure that batches come in that
order, whoever makes them.
"""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from . import pinning, slab
from .batch import Batch, Engine, Totals
from .errors import LoaderClosedError
from .fetch import added, check_dataset
from .iteration import PythonIterator
from .local_engines import InlineEngine, ThreadEngine
from .process_pool import RECENT_PIECES, ProcessPool
from .worker import WorkerSpec

Batches = Callable[[int], Iterator[Sequence[Any]]] | Iterable[Sequence[Any]]

# Below this much work in a batch, workers cost the caller about as much time as they take off it.
INLINE_BATCH_NS = 250_000
# A single sample above this is never taken for trivial.
INLINE_SAMPLE_NS = 20_000
# So many pieces of work in a row must be cheap, by their median, before workers are given up.
INLINE_PIECES = 16
# Each return to workers makes the next time harder by this factor, so that a dataset of both kinds settles.
INLINE_PIECES_GROWTH = 4
# What inline batches may take beyond twice `INLINE_BATCH_NS`, all in all: about what starting workers costs.
INLINE_EXCESS_NS = 10_000_000


class Core:
    """What loader and iterators share; the loader's end closes it."""

    def __init__(
        self,
        dataset: Any,
        batches: Batches,
        *,
        num_workers: int,
        prefetch_factor: int,
        collate_fn: Callable[[list[Any]], Any] | None,
        pin_memory: bool,
        on_error: str,
        worker: str,
        seed: int,
        timeout: float | None,
        worker_init_fn: Callable[[int], Any] | None,
        array_module: str,
        start_method: str | None,
        read_ahead: bool,
        world_size: int,
    ) -> None:
        self.dataset = dataset
        self.batches = batches
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.collate_fn = collate_fn
        self.skip = on_error == "skip"
        self.seed = seed
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.array_module = array_module
        self.read_ahead = read_ahead
        self.world_size = world_size
        self.notes: list[str] = []
        self.pin = self._can_pin(pin_memory)
        self.mode, self.why = self._choose(worker)
        readers: int | None = getattr(dataset, "zenith_readers", None)
        if readers is not None and self.mode == "process":
            self._limit(readers)
        self.may_choose = worker == "auto" and worker_init_fn is None
        # This process has no part of what workers share.
        self.may_inline = self.may_choose and self.mode == "process" and readers is None
        self.may_return = False
        self.inline_pieces = INLINE_PIECES
        self.inline_excess_ns = 0
        self.start_method = start_method or ("fork" if sys.platform == "linux" else "spawn")
        self.runs = itertools.count(1)
        self.engine: Engine | None = None
        self.retired: list[Engine] = []
        self.past = Totals()
        self.live: dict[int, int] = {}
        self.skipped: list[tuple[Any, str]] = []
        self.first_batch_s: float | None = None
        self.ahead: PythonIterator | None = None
        self.dropped: deque[tuple[int, deque[Batch]]] = deque()
        self.closed = False
        self.inside: set[int] = set()
        """Threads that are in a ``next()``."""

    def source(self, epoch: int) -> Iterator[Sequence[Any]]:
        """The index lists of ``epoch``."""
        return iter(self.batches(epoch)) if callable(self.batches) else iter(self.batches)

    def _can_pin(self, wanted: bool) -> bool:
        if not wanted:
            return False
        if self.array_module != "torch":
            self.notes.append("pin_memory has no meaning for NumPy batches")
            return False
        if not pinning.cuda_ready():
            self.notes.append(
                "pin_memory was asked for, but torch finds no CUDA device: batches are pageable"
            )
            return False
        return True

    def _limit(self, readers: int) -> None:
        """Starts no more processes than can share the dataset's memory budget."""
        if self.num_workers <= readers:
            return
        self.notes.append(
            f"{readers} of {self.num_workers} workers are used: the source is streamed, and each worker process "
            "decodes its row groups for itself, within its part of the budget; with a memory_budget that holds the "
            "source, or where no Python makes the samples, all are"
        )
        self.num_workers = readers

    def _choose(self, worker: str) -> tuple[str, str]:
        if self.num_workers == 0 or worker == "inline":
            return "inline", "num_workers=0" if self.num_workers == 0 else 'worker="inline"'
        if worker != "auto":
            return worker, f'worker="{worker}"'
        if not slab.available():
            return "thread", "this system has no memfd, which the worker processes need"
        if multiprocessing.current_process().daemon:
            return "thread", "a daemonic process may not have children"
        return "process", "Python code in the dataset holds the GIL"

    def current(self) -> Engine:
        """The engine for new batches; started here."""
        if self.closed:
            raise LoaderClosedError("the loader is closed")
        if self.engine is None:
            self.engine = self._build()
        return self.engine

    def _build(self) -> Engine:
        common: Any = {
            "collate_fn": self.collate_fn,
            "array_module": self.array_module,
            "seed": self.seed,
            "skip": self.skip,
            "pin": self.pin,
        }
        if self.mode == "inline":
            return InlineEngine(self.dataset, **common)
        if self.mode == "thread":
            if "randomness" not in "".join(self.notes):
                self.notes.append(
                    "threads share the random generators: randomness is not a function of the sample"
                )
            return ThreadEngine(
                self.dataset, num_workers=self.num_workers, worker_init_fn=self.worker_init_fn, **common
            )
        spec = WorkerSpec(
            self.dataset,
            self.collate_fn,
            self.worker_init_fn,
            self.array_module,
            self.seed,
            self.skip,
            self.num_workers,
        )
        return ProcessPool(spec, method=self.start_method, pin=self.pin, prefetch_factor=self.prefetch_factor)

    def switch(self, mode: str, why: str) -> None:
        """Make new batches by another engine; the present one ends when its last batch is delivered."""
        if self.engine is not None:
            self.retired.append(self.engine)
            self.engine = None
        self.mode, self.why = mode, why
        self.may_inline = self.may_return = False
        self.sweep()

    def reconsider(self, engine: Engine, batch_len: int) -> None:
        """Go on inline if the samples turn out so cheap that workers are not worth their cost, and back if not."""
        if engine is not self.engine:
            return
        if self.may_inline and isinstance(engine, ProcessPool):
            recent = engine.recent_sample_ns
            if len(recent) < self.inline_pieces or recent[-1] > INLINE_SAMPLE_NS:
                return
            each = statistics.median(recent)
            if each <= INLINE_SAMPLE_NS and each * batch_len <= INLINE_BATCH_NS:
                self.switch("inline", f"a sample takes {each / 1000:.1f} us, less than workers cost")
                self.may_return = True
                self.inline_excess_ns = 0
        elif self.may_return and isinstance(engine, InlineEngine):
            excess = self.inline_excess_ns + engine.last_batch_ns - 2 * INLINE_BATCH_NS
            self.inline_excess_ns = max(0, excess)
            if excess > INLINE_EXCESS_NS:
                self.switch(
                    "process", f"a batch takes {engine.last_batch_ns / 1e6:.1f} ms of the caller's time"
                )
                self.may_inline = True
                self.inline_pieces = min(RECENT_PIECES, self.inline_pieces * INLINE_PIECES_GROWTH)

    def replace_broken(self) -> None:
        """Before a pass: fresh workers where some of the present ones have died."""
        why = None if self.engine is None else self.engine.broken()
        if why is None or self.engine is None:
            return
        self.notes.append(f"{why}; fresh workers were started")
        if self.ahead is not None:
            self.ahead.close()
            self.ahead = None
        self.engine.close()  # a pass still on it is told of the death
        self.retired.append(self.engine)
        self.engine = None
        self.sweep()

    def drop(self, run: int, queue: deque[Batch]) -> None:
        """A pass was dropped, perhaps by the garbage collector within a call of this package: nothing may be locked.

        What is to be done waits for the next call.
        """
        for engine in {id(batch.engine): batch.engine for batch in queue}.values():
            assert engine is not None
            engine.forget(run)
        self.dropped.append((run, queue))

    def settle(self) -> None:
        """Does what collected passes have left to do."""
        while self.dropped:
            self.give_up(*self.dropped.popleft())

    def give_up(self, run: int, queue: deque[Batch]) -> None:
        """Nobody wants the batches of ``run`` any more."""
        by_engine: dict[int, list[Batch]] = {}
        for batch in queue:
            by_engine.setdefault(id(batch.engine), []).append(batch)
        for batches in by_engine.values():
            engine = batches[0].engine
            assert engine is not None
            engine.give_up(run, batches)
            self.count(engine, -len(batches))
        self.sweep()

    def count(self, engine: Engine, change: int) -> None:
        self.live[id(engine)] = self.live.get(id(engine), 0) + change

    def sweep(self) -> None:
        """Close retired engines that owe nothing any more."""
        for engine in list(self.retired):
            if self.live.get(id(engine), 0) == 0:
                self.retired.remove(engine)
                self._close(engine)

    def _close(self, engine: Engine) -> None:
        self.live.pop(id(engine), None)
        engine.close()
        _add(self.past, engine.totals)

    def totals(self) -> Totals:
        total = Totals()
        _add(total, self.past)
        for engine in [*self.retired, *([self.engine] if self.engine is not None else [])]:
            _add(total, engine.totals)
        return total

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self.ahead is not None:
            self.ahead.close()
            self.ahead = None
        engines = [*self.retired, *([self.engine] if self.engine is not None else [])]
        self.retired.clear()
        self.engine = None
        self.dropped.clear()
        for engine in engines:
            self._close(engine)

    def _plugins(self, totals: Totals) -> list[tuple[str, int, int]]:
        names = [plugin.name for plugin in getattr(self.dataset, "zenith_plugins", None) or ()]
        spent = totals.plugins or [(0, 0)] * len(names)
        return [(name, *calls) for name, calls in zip(names, spent, strict=True)]

    def stats(self) -> dict[str, Any]:
        """See `PythonLoader.stats`."""
        totals = self.totals()
        return {
            "worker": self.mode,
            "why": self.why,
            "num_workers": self.num_workers,
            "batches": totals.batches,
            "samples": totals.samples,
            "bytes": totals.bytes,
            "general_batches": totals.general,
            "fetch_s": totals.fetch_ns / 1e9,
            "collate_s": totals.write_ns / 1e9,
            "wait_s": totals.wait_ns / 1e9,
            "assemble_s": totals.assemble_ns / 1e9,
            "first_batch_s": self.first_batch_s,
            "uses_random": totals.draws,
            "plugins": self._plugins(totals),
            "skipped": list(self.skipped),
            "notes": list(self.notes),
        }


def _add(into: Totals, more: Totals) -> None:
    for name in ("batches", "samples", "bytes", "fetch_ns", "write_ns", "wait_ns", "assemble_ns", "general"):
        setattr(into, name, getattr(into, name) + getattr(more, name))
    into.plugins = added(into.plugins, more.plugins)
    if more.draws is not None:
        into.draws = more.draws or bool(into.draws)


class PythonLoader:
    """Collated batches of a map-style dataset, made by worker processes, threads or inline.

    Workers start with the first batch and stay until `close` (also: ``with``, garbage collection, end of the
    interpreter).

    Args:
        dataset: anything with ``__getitem__``; ``__getitems__`` is used where there is one.
        batches: called with the epoch, gives the index lists of that epoch; or an iterable of index lists,
        the same
            for every epoch. What the indices are is the dataset's affair.
        num_workers: processes or threads; 0 works inline.
        prefetch_factor: batches made ahead; per worker where a batch is one worker's work (``collate_fn``,
            ``__getitems__``, cheap samples), in all where a batch is shared among the workers.
        collate_fn: makes a batch of a list of samples, in the worker. None: as torch's ``default_collate``.
        pin_memory: page-lock the batches where CUDA is there; `stats` says so where it is not.
        on_error: "raise", or "skip" a sample whose ``__getitem__`` raises, and list it.
        worker: "auto", "process", "thread" or "inline". "auto" takes processes, and goes on inline where
        samples turn
            out to be trivial.
        seed: with epoch and index, decides what ``random``, ``numpy.random`` and torch's CPU generator give
        within a
            sample, whoever makes it (not with threads, which share them).
        epoch: the first to be iterated.
        timeout: seconds to wait for a batch; None or 0: for ever. Has no effect inline.
        worker_init_fn: called with the worker's number when it starts.
        array_module: "torch" or "numpy".
        start_method: "fork" (default on Linux), "forkserver" or "spawn"; the latter two need everything
        picklable.
        world_size: ranks that take equal numbers of batches; where there are several, a batch of which every
        sample was skipped
            is an error.
        read_ahead: at the end of an epoch begin the next one's first batches (needs ``batches`` to be a
        function).

    Raises:
        UnsupportedDatasetError: the dataset is not map-style.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        dataset: Any,
        batches: Batches,
        *,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        on_error: str = "raise",
        worker: str = "auto",
        seed: int = 0,
        epoch: int = 0,
        timeout: float | None = None,
        worker_init_fn: Callable[[int], Any] | None = None,
        array_module: str = "torch",
        start_method: str | None = None,
        read_ahead: bool = True,
        world_size: int = 1,
    ) -> None:
        check_dataset(dataset)
        if num_workers < 0:
            raise ValueError(f"num_workers must be 0 or more, not {num_workers}")
        if prefetch_factor < 1:
            raise ValueError(f"prefetch_factor must be 1 or more, not {prefetch_factor}")
        if on_error not in ("raise", "skip"):
            raise ValueError(f'on_error must be "raise" or "skip", not {on_error!r}')
        if worker not in ("auto", "process", "thread", "inline"):
            raise ValueError(f'worker must be "auto", "process", "thread" or "inline", not {worker!r}')
        if array_module not in ("torch", "numpy"):
            raise ValueError(f'array_module must be "torch" or "numpy", not {array_module!r}')
        if timeout is not None and timeout < 0:
            raise ValueError(f"timeout must be 0 or more seconds, not {timeout}")
        self.epoch = epoch
        self._core = Core(
            dataset,
            batches,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor,
            collate_fn=collate_fn,
            pin_memory=pin_memory,
            on_error=on_error,
            worker=worker,
            seed=seed,
            timeout=timeout or None,
            worker_init_fn=worker_init_fn,
            array_module=array_module,
            start_method=start_method,
            read_ahead=read_ahead and callable(batches),
            world_size=world_size,
        )
        self._finalizer = weakref.finalize(self, self._core.close)

    def iter(
        self, epoch: int | None = None, batches: Iterable[Sequence[Any]] | None = None
    ) -> PythonIterator:
        """The batches of one epoch, in order.

        Args:
            epoch: None takes `epoch`, which then moves on by one.
            batches: index lists to use for this epoch in place of the loader's own (for a resume in
            mid-epoch).

        Raises:
            LoaderClosedError: after `close`.
        """
        core = self._core
        if core.closed:
            raise LoaderClosedError("the loader is closed")
        core.settle()
        core.replace_broken()
        if epoch is None:
            epoch = self.epoch
        self.epoch = epoch + 1
        ahead, core.ahead = core.ahead, None
        if ahead is not None:
            if batches is None and ahead.epoch == epoch:
                ahead.adopt(self)
                return ahead
            ahead.close()
        source = core.source(epoch) if batches is None else iter(batches)
        follow = core.source if core.read_ahead and batches is None else None
        iterator = PythonIterator(core, epoch, source, follow)
        iterator.adopt(self)
        return iterator

    def __iter__(self) -> PythonIterator:
        return self.iter()

    def stats(self) -> dict[str, Any]:
        """What happened so far.

        Returns:
            ``worker``: "process", "thread" or "inline"; ``why``: its reason; ``num_workers``; ``batches``,
            ``samples``, ``bytes`` (through shared memory); ``general_batches`` (of those, how many went the
            general, pickled way); ``fetch_s`` and ``collate_s`` (summed over workers), ``wait_s`` (the
            caller, blocked), ``assemble_s`` (the caller, making arrays of a slab); ``first_batch_s``;
            ``uses_random`` (None: unknown); ``plugins``: [(name, calls, nanoseconds)];
            ``skipped``: [(index, reason)]; ``notes``: what the user should know.
        """
        return self._core.stats()

    def stats_reader(self) -> Callable[[], dict[str, Any]]:
        """What gives `stats` without keeping the loader, also after its end."""
        return self._core.stats

    def close(self) -> None:
        """End the workers and free what the user does not hold. Batches already given out stay valid."""
        self._finalizer()

    def __enter__(self) -> PythonLoader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
