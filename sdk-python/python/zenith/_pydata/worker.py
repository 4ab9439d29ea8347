"""The worker process: takes tasks, fetches samples, writes them into the batch slab, reports.

Knows nothing of order, epochs' lengths or other workers.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import protocol, schema, transport
from .collate import default_collate, name_the_odd_sample
from .fetch import Fetched, Fetcher, PluginCalls, SampleFailure, added
from .protocol import Blob, Mismatch, Result, Rows, Stale, Task
from .slab import Arena

# Samples are written in groups of about this many bytes, while they are still in the cache.
_GROUP_BYTES = 256 * 1024
_MAPPINGS = 64


@dataclass
class WorkerSpec:
    """What every worker is told at its start. Picklable where the dataset and the functions are."""

    dataset: Any
    collate_fn: Callable[[list[Any]], Any] | None
    worker_init_fn: Callable[[int], Any] | None
    array_module: str
    seed: int
    skip: bool
    num_workers: int


class InheritedFd:
    """A descriptor that a started (not forked) process gets by pickling, while it starts."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> Any:
        from multiprocessing import reduction

        return _received, (reduction.DupFd(self._fd),)


def _received(passed: Any) -> int:
    return passed.detach()


def main(
    spec: WorkerSpec,
    number: int,
    parent: int,
    arena_fd: int,
    tasks: socket.socket,
    results: socket.socket,
    before: Callable[[], None] | None = None,
) -> None:
    """Serve until the parent hangs up. ``before`` runs first: it drops what the fork inherited."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if before is not None:
        before()
    # The parent's objects stay on shared pages: the collector must not write to their headers.
    gc.freeze()
    tasks.settimeout(None)
    seconds = int(protocol.ORPHAN_CHECK_S)
    tasks.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
    worker = _Worker(spec, number, Arena(arena_fd, keep=_MAPPINGS), results)
    worker.prepare()
    buffer = bytearray(2 * protocol.LONGEST)
    view = memoryview(buffer)
    while True:
        try:
            size = tasks.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            if os.getppid() != parent:
                return
            continue
        if size == 0:
            return
        try:
            worker.serve(view[:size])
        except (BrokenPipeError, ConnectionResetError):
            return


class _Worker:
    def __init__(self, spec: WorkerSpec, number: int, arena: Arena, results: socket.socket) -> None:
        self._spec = spec
        self._number = number
        self._arena = arena
        self._results = results
        self._control = protocol.Control(arena, spec.num_workers)
        self._fetcher: Fetcher | None = None
        self._broken: SampleFailure | None = None
        self._known: dict[schema.Node, int] = {}
        self._last: schema.Node | None = None
        self._plugins: PluginCalls = []

    def prepare(self) -> None:
        """Set the process up as torch would; a failure here is told with the first task."""
        spec = self._spec
        torch = sys.modules.get("torch")
        try:
            key = (spec.seed + self._number) & (1 << 63) - 1
            random.seed(key)
            numpy = sys.modules.get("numpy")
            if numpy is not None:
                numpy.random.seed(key & 0xFFFFFFFF)
            if torch is not None:
                torch.set_num_threads(1)
                torch.manual_seed(key)
                self._pose_as_torch_worker(key)
            if spec.worker_init_fn is not None:
                spec.worker_init_fn(self._number)
            self._fetcher = Fetcher(spec.dataset, seed=spec.seed, skip=spec.skip)
            share = getattr(spec.dataset, "zenith_share", None)
            if share is not None:
                share(spec.num_workers)
        except BaseException as error:
            self._broken = SampleFailure.here(error, None)

    def _pose_as_torch_worker(self, key: int) -> None:
        """Make ``torch.utils.data.get_worker_info()`` answer, for worker_init_fn and datasets that ask."""
        module: Any = sys.modules.get("torch.utils.data._utils.worker")
        info = getattr(module, "WorkerInfo", None)
        if info is not None:
            module._worker_info = info(
                id=self._number, num_workers=self._spec.num_workers, seed=key, dataset=self._spec.dataset
            )

    def serve(self, data: memoryview) -> None:
        """Do one task and send its result."""
        task: Task = protocol.decode(data, self._arena)
        self._control.report(self._number, task.number, -1)
        self._times = [0, 0]
        self._plugins = []
        try:
            body: Any = Stale() if self._control.given_up(task.run) else self._work(task)
        except BaseException as error:
            body = protocol.encode_failure(SampleFailure.here(error, None))
        self._control.report(self._number, 0, -1)
        draws = self._fetcher.draws if self._fetcher is not None else None
        fetch_ns, write_ns = self._times
        result = Result(
            task.number, self._number, body, fetch_ns, write_ns, len(task.indices), draws, self._plugins
        )
        try:
            message = protocol.encode(result, self._arena, task.spill)
        except Exception as error:
            body = protocol.encode_failure(SampleFailure.here(error, None))
            message = protocol.encode(result._replace(body=body), self._arena, task.spill)
        while True:
            try:
                self._results.send(message)
                return
            except InterruptedError:
                continue

    def _work(self, task: Task) -> Any:
        if self._broken is not None or self._fetcher is None:
            assert self._broken is not None
            return protocol.encode_failure(self._broken)
        return self._whole(self._fetcher, task) if task.whole else self._rows(self._fetcher, task)

    def _note(self, task: Task, offset: int = 0) -> Callable[[int], None]:
        report, worker, number = self._control.report, self._number, task.number
        return lambda at: report(worker, number, offset + at)

    def _rows(self, fetcher: Fetcher, task: Task) -> Any:
        indices = task.indices
        texts: list[list[Any]] = []
        skipped: list[Any] = []
        writer: schema.SlabWriter | None = None
        node: schema.Node | None = None
        row = task.row
        done = 0
        group = len(indices) if fetcher.batched else 1
        while done < len(indices):
            if done and self._control.given_up(task.run):
                return Stale()
            start = time.perf_counter_ns()
            part = indices[done : done + group]
            fetched = fetcher.fetch(task.epoch, part, self._note(task, done))
            done += len(part)
            self._plugins = added(self._plugins, fetched.plugins)
            self._times[0] += time.perf_counter_ns() - start
            if fetched.failure is not None:
                return protocol.encode_failure(fetched.failure)
            skipped.extend(fetched.skipped)
            samples = fetched.samples
            if not samples:
                continue
            start = time.perf_counter_ns()
            if node is None or writer is None:
                node = schema.learn(samples[0])
                if node is None:
                    return Mismatch()
                try:
                    writer = schema.SlabWriter(node, task.batch_len, self._addresser(task))
                except (AttributeError, TypeError):
                    return Mismatch()  # an element type that the array module has not
                size = max(1, sum(leaf.nbytes for leaf in schema.leaves(node)))
                group = max(1, min(len(indices), _GROUP_BYTES // size))
            try:
                writer.write(samples, row, texts)
            except schema.MismatchError:
                return Mismatch()
            row += len(samples)
            self._times[1] += time.perf_counter_ns() - start
        if node is None:
            return Rows(-1, None, [], 0, skipped)
        number = self._known.get(node)
        fresh = None
        if number is None:
            number = self._known[node] = len(self._known)
            fresh = node
        return Rows(number, fresh, texts, row - task.row, skipped)

    def _whole(self, fetcher: Fetcher, task: Task) -> Any:
        start = time.perf_counter_ns()
        fetched = fetcher.fetch(task.epoch, task.indices, self._note(task))
        middle = time.perf_counter_ns()
        self._times[0] = middle - start
        self._plugins = fetched.plugins
        if fetched.failure is not None:
            return protocol.encode_failure(fetched.failure)
        if not fetched.samples and task.indices:
            return Blob(b"", 0, 0, fetched.skipped)
        batch = self._collate(fetcher, task, fetched)
        pickled, nbytes = transport.pack(batch, self._addresser(task))
        self._times[1] = time.perf_counter_ns() - middle
        return Blob(pickled, nbytes, len(fetched.samples), fetched.skipped)

    def _collate(self, fetcher: Fetcher, task: Task, fetched: Fetched) -> Any:
        own = self._spec.collate_fn
        if own is not None:
            return fetcher.collate(task.epoch, task.indices, fetched, own)
        try:
            return _outside_worker(default_collate(self._spec.array_module), fetched.samples)
        except Exception as error:
            name_the_odd_sample(error, fetched.samples, fetched.kept)
            raise

    def _addresser(self, task: Task) -> Callable[[int], int]:
        return lambda nbytes: self._arena.address(task.slab, nbytes)


def _outside_worker(collate: Callable[[list[Any]], Any], samples: list[Any]) -> Any:
    """Run torch's default_collate without its own shared memory, which would only be copied from again."""
    module: Any = sys.modules.get("torch.utils.data._utils.worker")
    info = getattr(module, "_worker_info", None)
    if info is None:
        return collate(samples)
    module._worker_info = None
    try:
        return collate(samples)
    finally:
        module._worker_info = info
