"""The parent's side of the worker processes: hands out pieces of batches, gathers results, watches."""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import multiprocessing.process as multiprocessing_process
import os
import pickle
import select
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from . import protocol, schema, transport
from .batch import EMPTY, Batch, Totals
from .errors import (
    LoaderClosedError,
    LoaderForkedError,
    LoaderTimeoutError,
    WorkerDiedError,
    WorkerExceptionError,
)
from .fetch import SampleFailure, added, batched_fetch
from .pinning import Pinner
from .protocol import Blob, Failed, Mismatch, Result, Rows, Stale, Task
from .slab import Arena, SlabPool
from .worker import InheritedFd, WorkerSpec, main

# A piece should keep a worker busy for about this long: messages then cost below 1 %.
_PIECE_NS = 10_000_000
_PIECES_PER_WORKER = 4
# Work that should lie ready for each worker, within prefetch_factor batches a worker.
_RESERVE_NS = 100_000_000
# Parts of a batch up to this size are copied out, so that a kept label does not keep its pictures.
_COPY_BYTES = 32 * 1024
_COPY_SHARE = 8
_STOP_S = 2.0
# How often a wait looks whether the loader was closed, by a signal handler or another thread.
_LOOK_MS = 500
RECENT_PIECES = 256
"""Pieces whose time per sample is remembered."""

_open: weakref.WeakSet[ProcessPool] = weakref.WeakSet()


def _forget_in_child() -> None:
    """In a copy made by a bare os.fork: multiprocessing's exit would else end the owner's workers."""
    children: Any = getattr(multiprocessing_process, "_children", None)
    for pool in list(_open):
        if isinstance(children, set):
            children.difference_update(pool.processes)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _drop_inherited() -> None:
    """In a forked worker: close every parent's end, or other workers would never see their parent hang up."""
    for pool in list(_open):
        pool.drop_ends()


class _Work:
    """The pool's own part of a batch."""

    def __init__(self, slab: int) -> None:
        self.slab = slab
        self.pending = 0
        self.pieces: list[tuple[int, int, Rows]] = []
        self.blob: Blob | None = None
        self.whole = False
        self.retry = False


class ProcessPool:
    """Engine on worker processes."""

    def __init__(self, spec: WorkerSpec, *, method: str, pin: bool, prefetch_factor: int) -> None:
        """Make the shared memory and start the workers.

        Args:
            spec: what the workers are told.
            method: start method of multiprocessing: "fork", "forkserver" or "spawn".
            pin: page-lock the slabs for CUDA.
            prefetch_factor: as in torch; bounds the free slabs that stay warm.

        Raises:
            OSError: no shared memory, descriptors or processes to be had.
            Exception: pickling the dataset failed (not with fork).
        """
        self.mode = "process"
        self.totals = Totals()
        self.processes: list[Any] = []
        self._spec = spec
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        self._dead: Callable[[], WorkerDiedError] | None = None
        self._tasks: dict[int, tuple[Batch, int, list[Any], int]] = {}
        self._next_task = 1
        self._unsent: collections.deque[bytes] = collections.deque()
        self._schemas: dict[tuple[int, int], schema.Node] = {}
        self._sample_ns = 0.0
        self._batch_ns = 0.0
        self.recent_sample_ns: collections.deque[float] = collections.deque(maxlen=RECENT_PIECES)
        self._pieces = spec.num_workers
        self._whole_only = spec.collate_fn is not None
        self._one_piece = self._whole_only or batched_fetch(spec.dataset) is not None
        self._misfits = 0
        arena = Arena()
        self._arena = arena
        self._slabs = SlabPool(arena, spare=prefetch_factor + 2)
        self._control = protocol.Control(arena, spec.num_workers)
        if pin:
            self._slabs.pinner = Pinner()
        self._send, worker_tasks = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._receive, worker_results = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._send.setblocking(False)
        self._receive.setblocking(False)
        self._buffer = bytearray(2 * protocol.LONGEST)
        self._poll = select.poll()
        self._poll.register(self._receive, select.POLLIN)
        _open.add(self)
        try:
            self._start(method, worker_tasks, worker_results)
        except BaseException:
            self.close()
            raise
        finally:
            worker_tasks.close()
            worker_results.close()

    def _start(self, method: str, tasks: socket.socket, results: socket.socket) -> None:
        context: Any = multiprocessing.get_context(method)
        for number in range(self._spec.num_workers):
            fd: Any = self._arena.fd if method == "fork" else InheritedFd(self._arena.fd)
            before = _drop_inherited if method == "fork" else None
            process = context.Process(
                target=main,
                args=(self._spec, number, self._pid, fd, tasks, results, before),
                name=f"zenith-data-{number}",
                daemon=True,
            )
            process.start()
            self.processes.append(process)
            self._poll.register(process.sentinel, select.POLLIN)

    def drop_ends(self) -> None:
        """Close the parent's ends of the sockets (in a forked worker)."""
        self._send.close()
        self._receive.close()

    # ---- handing out

    def depth(self, prefetch_factor: int) -> int:
        workers = self._spec.num_workers
        most = prefetch_factor * workers
        pieces = -(-most // max(1, self._pieces))
        # Cheap batches lie ready in greater number, so that a moment without the processor does not stop the
        # workers.
        reserve = int(workers * _RESERVE_NS / self._batch_ns) + 1 if self._batch_ns else 1
        return max(prefetch_factor, pieces, min(most, reserve))

    def submit(self, batch: Batch) -> None:
        self._check_usable()
        with self._lock:
            whole = self._whole_only or self._misfits >= 2
            batch.work = work = _Work(self._slabs.take())
            if whole:
                work.whole = True
                self._pieces = 1
                self._hand_out(batch, 0, list(batch.indices))
            else:
                indices = list(batch.indices)
                size = len(indices) if self._one_piece else self._piece_size(len(indices))
                for row in range(0, len(indices), size):
                    self._hand_out(batch, row, indices[row : row + size])
                self._pieces = max(1, work.pending)
            self._batch_ns = self._sample_ns * len(batch.indices)
            self._flush()
        if not batch.indices:
            batch.done = True

    def _piece_size(self, batch_len: int) -> int:
        workers = self._spec.num_workers
        if self._sample_ns == 0.0:
            return max(1, -(-batch_len // workers))
        # More pieces than these balance no better, and each one wakes the caller.
        least = -(-batch_len // (_PIECES_PER_WORKER * workers))
        size = max(1, least, min(batch_len, int(_PIECE_NS / self._sample_ns)))
        # Pieces of one size: 64 samples as 22+21+21 rather than 30+30+4.
        pieces = -(-batch_len // size)
        return max(1, -(-batch_len // pieces))

    def _hand_out(self, batch: Batch, row: int, indices: list[Any]) -> None:
        work: _Work = batch.work
        number = self._next_task
        self._next_task += 1
        spill = self._slabs.take_spill()
        task = Task(
            number, batch.run, batch.epoch, work.whole, work.slab, spill, len(batch.indices), row, indices
        )
        self._tasks[number] = (batch, row, indices, spill)
        work.pending += 1
        self._unsent.append(protocol.encode(task, self._arena, spill))

    def _flush(self) -> None:
        while self._unsent:
            try:
                self._send.send(self._unsent[0])
            except (BlockingIOError, InterruptedError):
                return
            except (BrokenPipeError, ConnectionResetError):
                return  # the sentinels tell why
            self._unsent.popleft()

    # ---- gathering

    def wait(self, batch: Batch, deadline: float | None) -> None:
        start = time.perf_counter_ns()
        try:
            while not batch.done:
                self._check_usable()
                with self._lock:
                    self._take_results()
                    if not batch.done:
                        self._sleep(deadline)
        finally:
            self.totals.wait_ns += time.perf_counter_ns() - start

    def _take_results(self) -> None:
        while True:
            try:
                size = self._receive.recv_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return
            if size == 0:
                return  # every worker is gone; the sentinels tell why
            result: Result = protocol.decode(memoryview(self._buffer)[:size], self._arena)
            self._on_result(result)
            self._flush()

    def _sleep(self, deadline: float | None) -> None:
        if self._dead is not None:
            raise self._dead()
        if self._unsent:
            self._poll.register(self._send, select.POLLOUT)
        try:
            if deadline is None:
                events = self._poll.poll(_LOOK_MS)
            else:
                left = deadline - time.monotonic()
                events = self._poll.poll(max(0, min(_LOOK_MS, int(left * 1000))))
                if not events and left <= 0:
                    raise LoaderTimeoutError("no batch came in time: " + self._doing())
        finally:
            if self._unsent and not self._closed:
                self._poll.unregister(self._send)
        self._check_usable()
        self._flush()
        mine = {self._receive.fileno(), self._send.fileno()}
        ended = {fd for fd, _ in events} - mine
        if ended:
            self._take_results()
            self._on_death(ended)

    def _on_death(self, sentinels: set[int]) -> None:
        for number, process in enumerate(self.processes):
            if process.sentinel not in sentinels:
                continue
            process.join(1.0)
            # Made anew for each raise: an exception that is kept keeps the frames it passed through, loader and all.
            self._dead = dead = self._explain(number, process)
            for pool_process in self.processes:
                if pool_process.sentinel in sentinels:
                    self._poll.unregister(pool_process.sentinel)
            raise dead()

    def _explain(self, number: int, process: Any) -> Callable[[], WorkerDiedError]:
        code = process.exitcode
        if code is not None and code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = f"signal {-code}"
            how = f"was killed by {name}"
            if -code == signal.SIGKILL:
                how += " (the system's out-of-memory killer does that)"
            elif -code == signal.SIGBUS:
                how += " (out of memory for batches, or a mapped file was truncated)"
        else:
            how = f"exited with status {code}"
        index = self._sample_of(number)
        where = f"while it was on sample {index}" if index is not None else "between samples"
        return partial(
            WorkerDiedError,
            f"data worker {number} (pid {process.pid}) {how} {where}",
            pid=process.pid,
            exitcode=code,
            sample=index,
        )

    def _sample_of(self, number: int) -> str | None:
        state = self._control.state(number)
        found = self._tasks.get(state.task)
        if found is None or not 0 <= state.at < len(found[2]):
            return None
        return repr(found[2][state.at])

    def _doing(self) -> str:
        busy = [
            f"worker {n} is on sample {self._sample_of(n)}"
            for n in range(len(self.processes))
            if self._sample_of(n)
        ]
        return "; ".join(busy) or "no worker is on a sample"

    def _on_result(self, result: Result) -> None:
        batch, row, indices, spill = self._tasks.pop(result.number)
        work: _Work = batch.work
        body = result.body
        totals = self.totals
        totals.fetch_ns += result.fetch_ns
        totals.write_ns += result.write_ns
        totals.plugins = added(totals.plugins, result.plugins)
        if result.draws is not None:
            totals.draws = result.draws or bool(totals.draws)
        if isinstance(body, (Rows, Blob)) and result.samples:
            each = (result.fetch_ns + result.write_ns) / result.samples
            self._sample_ns = each if self._sample_ns == 0.0 else 0.8 * self._sample_ns + 0.2 * each
            self.recent_sample_ns.append(each)
        work.pending -= 1
        if isinstance(body, Rows):
            if body.fresh is not None:
                self._schemas[result.worker, body.schema] = body.fresh
            work.pieces.append((row, result.worker, body))
            batch.skipped.extend(body.skipped)
        elif isinstance(body, Blob):
            work.blob = body
            batch.skipped.extend(body.skipped)
        elif isinstance(body, Failed):
            if batch.failure is None:
                batch.failure = _decode_failure(body, indices)
        elif isinstance(body, Mismatch):
            work.retry = True
        else:
            assert isinstance(body, Stale)
        self._slabs.give_back_spill(spill)
        if work.pending == 0:
            self._on_batch(batch)

    def _on_batch(self, batch: Batch) -> None:
        work: _Work = batch.work
        if batch.given_up:
            self._slabs.give_back(work.slab)
            batch.done = True
            return
        if batch.failure is None and not work.whole and (work.retry or not self._one_schema(work)):
            # Not one kind of row throughout: the whole batch again, by one worker, the general way.
            self._misfits += 1
            work.whole, work.retry = True, False
            work.pieces.clear()
            batch.skipped.clear()
            self._hand_out(batch, 0, list(batch.indices))
            return
        batch.done = True

    def _one_schema(self, work: _Work) -> bool:
        found = {self._schemas[w, rows.schema] for _, w, rows in work.pieces if rows.schema >= 0}
        return len(found) <= 1

    # ---- giving to the user

    def finish(self, batch: Batch) -> Any:
        self._check_usable()
        start = time.perf_counter_ns()
        with self._lock:
            work: _Work = batch.work
            try:
                if batch.failure is not None or not batch.indices:
                    self._slabs.give_back(work.slab)
                    return EMPTY
                if work.blob is not None:
                    return self._open_blob(work, work.blob)
                return self._open_rows(work, len(batch.indices))
            finally:
                self.totals.batches += 1
                self.totals.assemble_ns += time.perf_counter_ns() - start

    def _open_rows(self, work: _Work, batch_len: int) -> Any:
        work.pieces.sort(key=lambda piece: piece[0])
        filled = [(row, worker, rows) for row, worker, rows in work.pieces if rows.rows]
        if not filled:
            self._slabs.give_back(work.slab)
            return EMPTY
        node = self._schemas[filled[0][1], filled[0][2].schema]
        parts = schema.leaves(node)
        offsets, total = schema.layout(parts, batch_len)
        kept = sum(rows.rows for _, _, rows in filled)
        self.totals.samples += kept
        self.totals.bytes += total
        texts = [
            [text for _, _, rows in filled for text in rows.texts[at]]
            for at in range(len(filled[0][2].texts))
        ]
        opened = _Opened(self._slabs, work.slab, total, as_torch=self._spec.array_module == "torch")
        arrays: list[Any] = []
        for leaf, offset in zip(parts, offsets, strict=True):
            if leaf.kind == "text":
                continue
            if kept == batch_len:
                arrays.append(opened.array(leaf, offset, batch_len))
            else:
                arrays.append(opened.picked(leaf, offset, batch_len, [(row, r.rows) for row, _, r in filled]))
        opened.done()
        return schema.assemble(node, arrays, texts)

    def _open_blob(self, work: _Work, blob: Blob) -> Any:
        self.totals.general += 1
        self.totals.samples += blob.kept
        self.totals.bytes += blob.nbytes + len(blob.pickled)
        if not blob.pickled:
            self._slabs.give_back(work.slab)
            return EMPTY
        opened = _Opened(self._slabs, work.slab, blob.nbytes, as_torch=None)
        try:
            return transport.unpack(blob.pickled, opened.single)
        finally:
            opened.done()

    # ---- stopping

    def give_up(self, run: int, batches: Sequence[Batch]) -> None:
        if self._closed or os.getpid() != self._pid:
            return
        self._control.give_up(run)
        with self._lock:
            for batch in batches:
                batch.given_up = True
                if batch.done and batch.work is not None:
                    self._slabs.give_back(batch.work.slab)
            self._take_results()

    def forget(self, run: int) -> None:
        """Workers skip what is left of ``run``; a plain write into the control page."""
        if not self._closed and os.getpid() == self._pid:
            self._control.give_up(run)

    def broken(self) -> str | None:
        if self._closed or os.getpid() != self._pid:
            return None
        with self._lock:
            if self._dead is None:
                ended = {p.sentinel for p in self.processes if p.exitcode is not None}
                with contextlib.suppress(WorkerDiedError):
                    self._on_death(ended)
        return None if self._dead is None else str(self._dead())

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.drop_ends()
        if os.getpid() == self._pid:
            self._stop_workers()
        self.processes.clear()
        self._slabs.close()
        _open.discard(self)

    def _stop_workers(self) -> None:
        for end in (None, "terminate", "kill"):
            if end is not None:
                for process in self.processes:
                    getattr(process, end)()
            limit = time.monotonic() + (_STOP_S if end is None else 1.0)
            for process in self.processes:
                process.join(max(0.0, limit - time.monotonic()))
            if all(process.exitcode is not None for process in self.processes):
                break
        for process in self.processes:
            process.close()

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise LoaderForkedError(
                f"this loader belongs to process {self._pid} and cannot be used in its fork {os.getpid()}; "
                "build the loader after the fork"
            )
        if self._dead is not None and self._closed:
            raise self._dead()
        if self._closed:
            raise LoaderClosedError("the loader is closed")


class _Opened:
    """The slab of one finished batch while its arrays are made.

    What is large is not copied, the rest is.
    """

    def __init__(self, slabs: SlabPool, slab: int, total: int, *, as_torch: bool | None) -> None:
        self._slabs = slabs
        self._slab = slab
        self._as_torch = as_torch
        self._limit = max(_COPY_BYTES, total // _COPY_SHARE)
        self._pin = slabs.pinner
        self._owner: Any = slabs.lease(slab, total) if total else None
        if not total:
            slabs.give_back(slab)

    def array(self, leaf: schema.Leaf, offset: int, batch_len: int) -> Any:
        as_torch = leaf.kind == "tensor" if self._as_torch is None else self._as_torch
        view = schema.typed_view(leaf, self._owner, offset, batch_len, as_torch=as_torch)
        if leaf.nbytes * batch_len <= self._limit:
            return self._copy(view, as_torch)
        return view

    def single(self, leaf: schema.Leaf, offset: int) -> Any:
        return self.array(leaf, offset, 1)[0]

    def picked(self, leaf: schema.Leaf, offset: int, batch_len: int, runs: list[tuple[int, int]]) -> Any:
        """Only the rows that were filled: (first row, rows) of each piece; a copy."""
        as_torch = bool(self._as_torch)
        view = schema.typed_view(leaf, self._owner, offset, batch_len, as_torch=as_torch)
        rows = [row + i for row, count in runs for i in range(count)]
        picked = view[rows]
        return self._pin.pinned(picked) if self._pin is not None and as_torch else picked

    def _copy(self, view: Any, as_torch: bool) -> Any:
        if not as_torch:
            return view.copy()
        return view.clone() if self._pin is None else self._pin.pinned(view)

    def done(self) -> None:
        """Let go; from here on only the user's arrays hold the slab."""
        self._owner = None


def _decode_failure(body: Failed, indices: list[Any]) -> SampleFailure:
    error: BaseException | None = None
    if body.pickled is not None:
        try:
            error = pickle.loads(body.pickled)
        except Exception:
            error = None
    if not isinstance(error, BaseException):
        error = WorkerExceptionError(f"{body.kind}: {body.message}")
    from .collate import note

    if not getattr(error, "__notes__", None):
        for text in body.notes:
            note(error, text)
    return SampleFailure(error, body.sample, body.text)
