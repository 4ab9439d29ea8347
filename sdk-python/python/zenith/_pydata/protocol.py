"""What parent and workers say to each other: one pickled tuple per datagram.

Tasks go down one SOCK_SEQPACKET pair that all workers read (whoever is free takes the next), results come up
another. A message that is too long for a datagram lies in a region of the arena, and the datagram says where.
Page 0 of the arena is the control page: plain 64-bit words that say which iterators were given up, and what
each worker is doing, so that its end can be explained.
"""

from __future__ import annotations

import ctypes
import pickle
from dataclasses import dataclass
from typing import Any, NamedTuple

from .fetch import PluginCalls, SampleFailure, Skipped
from .slab import Arena

LONGEST = 32 * 1024
CONTROL_REGION = 0

# How often an idle worker looks whether its parent still lives.
ORPHAN_CHECK_S = 5.0


class Task(NamedTuple):
    """A piece of a batch for one worker.

    whole: collate here and send it by `transport`, instead of into rows.
    """

    number: int
    run: int
    epoch: int
    whole: bool
    slab: int
    spill: int
    batch_len: int
    row: int
    indices: list[Any]


class Rows(NamedTuple):
    """Samples written into rows of the slab.

    schema: the worker's number for it; fresh: the schema itself, the first time.
    """

    schema: int
    fresh: Any
    texts: list[list[Any]]
    rows: int
    skipped: list[Skipped]


class Blob(NamedTuple):
    """A batch collated and packed by the worker; nbytes of the slab are used."""

    pickled: bytes
    nbytes: int
    kept: int
    skipped: list[Skipped]


class Failed(NamedTuple):
    """An exception, pickled where it can be. collate: it came from putting the batch together."""

    pickled: bytes | None
    kind: str
    message: str
    text: str
    sample: Any
    notes: list[str]


class Mismatch(NamedTuple):
    """The samples do not fit one schema."""


class Stale(NamedTuple):
    """The task's iterator was given up before the task was done."""


class Result(NamedTuple):
    number: int
    worker: int
    body: Rows | Blob | Failed | Mismatch | Stale
    fetch_ns: int
    write_ns: int
    samples: int
    draws: bool | None
    plugins: PluginCalls


def encode(message: Any, arena: Arena, spill: int) -> bytes:
    """The datagram of ``message``; a long one is put in region ``spill`` first."""
    data = pickle.dumps(message, 5)
    if len(data) <= LONGEST:
        return data
    arena.write(spill, data)
    return pickle.dumps((spill, len(data)), 5)


def decode(data: bytes | memoryview, arena: Arena) -> Any:
    """The message of a datagram.

    Raises:
        Exception: whatever unpickling it raises.
    """
    message = pickle.loads(data)
    if type(message) is tuple:
        region, nbytes = message
        message = pickle.loads(arena.read(region, nbytes))
    return message


def encode_failure(failure: SampleFailure) -> Failed:
    """Make ``failure`` fit to travel; an exception that does not survive pickling travels as text."""
    error = failure.error
    pickled: bytes | None = None
    try:
        pickled = pickle.dumps(error, 5)
        if type(pickle.loads(pickled)) is not type(error):
            pickled = None
    except Exception:
        pickled = None
    sample = failure.sample
    try:
        pickle.dumps(sample, 5)
    except Exception:
        sample = repr(sample)
    notes = [str(n) for n in getattr(error, "__notes__", ())]
    return Failed(pickled, type(error).__name__, str(error), failure.text, sample, notes)


@dataclass(frozen=True)
class WorkerState:
    """What a worker was last seen doing."""

    task: int
    at: int


class Control:
    """The control page."""

    _RUNS = 256
    _PER_WORKER = 8

    def __init__(self, arena: Arena, workers: int) -> None:
        words = self._RUNS + self._PER_WORKER * workers
        self._words = (ctypes.c_int64 * words).from_address(arena.address_for_good(CONTROL_REGION, words * 8))

    def give_up(self, run: int) -> None:
        """Say that nobody wants the results of ``run`` (a number above 0) any more."""
        self._words[run % self._RUNS] = run

    def given_up(self, run: int) -> bool:
        return self._words[run % self._RUNS] == run

    def report(self, worker: int, task: int, at: int) -> None:
        """A worker notes that it begins the sample at position ``at`` of ``task``; at = -1: none."""
        base = self._RUNS + self._PER_WORKER * worker
        self._words[base + 1] = at
        self._words[base] = task

    def state(self, worker: int) -> WorkerState:
        base = self._RUNS + self._PER_WORKER * worker
        return WorkerState(self._words[base], self._words[base + 1])
