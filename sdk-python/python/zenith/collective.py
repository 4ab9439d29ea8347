"""Ranks that speak to each other: sums, copies and common decisions across the processes of a job.

:func:`init` joins the ranks that a launcher (``torchrun``, Zenith's scheduler) has started: through memory
on one machine, in a ring of TCP connections on several. :func:`from_torch` lets an existing process group
carry the decisions.
"""

from __future__ import annotations

import atexit
import json
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TypeVar

import numpy as np

from . import _core
from ._errors import CollectiveError, ConfigError

Op = Literal["sum", "min", "max", "avg"]
Array = TypeVar("Array")

#: Seconds that a call waits for the other ranks where nothing else is said.
DEFAULT_TIMEOUT = 300.0


@dataclass(frozen=True)
class Evidence:
    """What a rank has measured of a candidate.

    Attributes:
        samples: how often.
        median_ns: the median in nanoseconds.
    """

    samples: int
    median_ns: int


@dataclass(frozen=True)
class Row:
    """What a rank knows under a key.

    Attributes:
        default: what is used where nothing is chosen.
        candidates: what this rank could use, with what it has measured of it, or None.
    """

    default: str
    candidates: Mapping[str, Evidence | None]


@dataclass(frozen=True)
class Choice:
    """What was chosen under a key.

    Attributes:
        candidate: the candidate.
        median_ns: what its time is taken to be, in nanoseconds; None for a default that nobody has
        measured. samples: samples behind it, of all ranks.
    """

    candidate: str
    median_ns: int | None
    samples: int


@dataclass(frozen=True)
class Agreement:
    """What came of :meth:`Communicator.agree`; the same on all ranks.

    Attributes:
        choices: by key. A key that is missing keeps its default: no candidate of it is known to all ranks.
        reason: None, or why everybody keeps to the defaults; then there are no choices.
        code: the cause as a word: "failed", "unconfirmed", or that of a :class:`zenith.CollectiveError`.
        ranks: the ranks at fault, as far as they are known.
    """

    choices: Mapping[str, Choice] = field(default_factory=dict)
    reason: str | None = None
    code: str = ""
    ranks: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        """Whether there are common choices."""
        return self.reason is None


class Communicator(ABC):
    """One rank's end of a group of ranks.

    All ranks make the same calls in the same order. A call raises :class:`zenith.CollectiveError` when
    ranks die, are late or call something else, with them in ``.ranks``; then the contents of the array are
    unspecified and the group is broken for good. ``timeout`` is in seconds. Arrays are NumPy arrays or
    torch tensors on the CPU: contiguous, writable, of float16, bfloat16 (torch), float32, float64, int32,
    int64 or uint8.
    """

    rank: int
    world_size: int
    backend: str

    @abstractmethod
    def all_reduce(self, array: Array, op: Op = "sum", *, timeout: float = DEFAULT_TIMEOUT) -> Array:
        """Combines the elements of all ranks in place, bit-equal everywhere; returns the array.

        Sums of integers wrap around; averages are for floating point only; a NaN anywhere is the least and
        the greatest.
        """

    @abstractmethod
    def broadcast(self, array: Array, root: int = 0, *, timeout: float = DEFAULT_TIMEOUT) -> Array:
        """Fills the array with that of rank ``root``; returns it."""

    @abstractmethod
    def all_gather(self, array: Array, *, timeout: float = DEFAULT_TIMEOUT) -> Array:
        """A new array of shape ``(world_size, *array.shape)`` with every rank's; all are of one shape and type."""

    @abstractmethod
    def barrier(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Waits until all ranks are here."""

    @abstractmethod
    def gather_bytes(self, mine: bytes, *, timeout: float = DEFAULT_TIMEOUT) -> list[bytes]:
        """Everybody's bytes, by rank; of any length up to 64 MiB."""

    @abstractmethod
    def decide(self, yes: bool, *, timeout: float = DEFAULT_TIMEOUT) -> bool:
        """Whether all ranks say yes."""

    @abstractmethod
    def adopt(self, mine: bytes = b"", *, timeout: float = DEFAULT_TIMEOUT) -> bytes:
        """Rank 0's bytes on all ranks, such as a map of shards; or an error, and then nobody has them."""

    @abstractmethod
    def commit(
        self, step: int, ready: bool = True, *, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[int, ...] | None:
        """None if every rank is ready to commit a checkpoint of ``step``; else nobody commits.

        Returns:
            None, or the ranks that are not ready or at another step.
        """

    @abstractmethod
    def agree(
        self, rows: Mapping[str, Row], *, failed: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Agreement:
        """The same choice on all ranks for each key, from what each of them knows.

        Only candidates that all ranks list are chosen. A candidate's time is the median of the ranks'
        medians, each counted as often as it has samples; the least wins, but rank 0's default does if it is
        at most two percent slower. The number of collectives does not depend on the rows. Raises nothing
        when ranks are lost: everybody then keeps to the defaults.

        Args:
            rows: what this rank knows, by key.
            failed: why this rank knows nothing; then everybody keeps to the defaults.
            timeout: in seconds.
        """

    @abstractmethod
    def close(self) -> None:
        """Leaves the group. Ranks that still call are told."""

    def __enter__(self) -> Communicator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def init(
    name: str = "default",
    *,
    rank: int | None = None,
    world_size: int | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Communicator:
    """Joins the ranks of this job, as rank ``RANK`` of ``WORLD_SIZE``; without these there is one rank.

    With ``LOCAL_WORLD_SIZE`` equal to ``WORLD_SIZE`` ranks speak through memory. Otherwise they speak by
    TCP and meet at ``MASTER_ADDR``, port ``MASTER_PORT`` + 20000 or ``ZENITH_COLLECTIVE_PORT``; there
    ``ZENITH_COLLECTIVE_TOKEN`` keeps strangers out.

    Args:
        name: tells apart groups of one job that exist at the same time.
        rank: instead of ``RANK``.
        world_size: instead of ``WORLD_SIZE``.
        timeout: seconds within which all ranks have to come.

    Raises:
        zenith.ConfigError: a variable is missing or makes no sense.
        zenith.CollectiveError: ranks did not come; those known to be missing are in ``.ranks``.
    """
    environment = dict(os.environ)
    if rank is not None:
        environment["RANK"] = str(rank)
    if world_size is not None:
        environment["WORLD_SIZE"] = str(world_size)
    return _Native(_core.Communicator.meet(environment, name, timeout))


def from_torch(group: Any = None) -> Communicator:
    """A communicator over a process group of torch.distributed, which stays the caller's.

    Deadlines are the group's own, except for its barrier; who is late is not known (``.ranks`` is empty). A
    rank that is lost in the very last step of a decision can leave the others undecided, where those of
    :func:`init` come to one end.

    Args:
        group: the group; None is the default group.
    """
    from ._collective_torch import TorchCommunicator

    return TorchCommunicator(group)


@dataclass(frozen=True)
class _Lent:
    """Memory of an array that is held by the caller."""

    address: int
    bytes: int
    dtype: str

    @classmethod
    def of(cls, array: Any) -> _Lent:
        if isinstance(array, np.ndarray):
            if not (array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative):
                msg = "the array has to be contiguous, writable and of the machine's byte order"
                raise ConfigError(msg)
            return cls(array.ctypes.data, array.nbytes, array.dtype.name)
        if type(array).__module__.startswith("torch") and hasattr(array, "data_ptr"):
            if array.device.type != "cpu" or not array.is_contiguous():
                msg = f"the tensor has to be contiguous and on the CPU, and is on {array.device}"
                raise ConfigError(msg)
            size = array.numel() * array.element_size()
            return cls(array.data_ptr(), size, str(array.dtype).removeprefix("torch."))
        msg = f"NumPy arrays and torch tensors work, and a {type(array).__name__} does not"
        raise ConfigError(msg)


def _new_like(array: Any, count: int) -> Any:
    shape = (count, *array.shape)
    return np.empty(shape, array.dtype) if isinstance(array, np.ndarray) else array.new_empty(shape)


class _Native(Communicator):
    """The native communicator."""

    def __init__(self, ranks: _core.Communicator) -> None:
        self._ranks = ranks
        self.rank, self.world_size, self.backend = ranks.rank, ranks.world_size, ranks.backend
        _open.add(self)

    def all_reduce(self, array: Array, op: Op = "sum", *, timeout: float = DEFAULT_TIMEOUT) -> Array:
        lent = _Lent.of(array)
        self._ranks.all_reduce(lent.address, lent.bytes, lent.dtype, op, timeout)
        return array

    def broadcast(self, array: Array, root: int = 0, *, timeout: float = DEFAULT_TIMEOUT) -> Array:
        lent = _Lent.of(array)
        self._ranks.broadcast(lent.address, lent.bytes, root, timeout)
        return array

    def all_gather(self, array: Array, *, timeout: float = DEFAULT_TIMEOUT) -> Array:
        _Lent.of(array)
        gathered: Any = _new_like(array, self.world_size)
        gathered[self.rank] = array
        lent = _Lent.of(gathered)
        self._ranks.all_gather(lent.address, lent.bytes, lent.dtype, timeout)
        return gathered

    def barrier(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._ranks.barrier(timeout)

    def gather_bytes(self, mine: bytes, *, timeout: float = DEFAULT_TIMEOUT) -> list[bytes]:
        return self._ranks.gather(mine, timeout)

    def decide(self, yes: bool, *, timeout: float = DEFAULT_TIMEOUT) -> bool:
        return self._ranks.decide(yes, timeout)

    def adopt(self, mine: bytes = b"", *, timeout: float = DEFAULT_TIMEOUT) -> bytes:
        return self._ranks.adopt(mine, timeout)

    def commit(
        self, step: int, ready: bool = True, *, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[int, ...] | None:
        late = self._ranks.commit(step, ready, timeout)
        return None if late is None else tuple(late)

    def agree(
        self, rows: Mapping[str, Row], *, failed: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Agreement:
        return _agreement(self._ranks.agree(*_written(rows, failed), timeout))

    def close(self) -> None:
        self._ranks.close()


_open: weakref.WeakSet[_Native] = weakref.WeakSet()


@atexit.register
def _leave() -> None:
    """Says goodbye, so that ranks that go on can tell an end from a death."""
    for ranks in list(_open):
        ranks.close()


def _written(rows: Mapping[str, Row], failed: str | None) -> tuple[str, str | None]:
    """Rows as JSON, or why there are none: raising here would leave the other ranks waiting."""

    def evidence(one: Evidence | None) -> dict[str, int] | None:
        return None if one is None else {"samples": one.samples, "median_ns": one.median_ns}

    if failed is not None:
        return "[]", failed
    try:
        written = [
            {
                "key": key,
                "default": row.default,
                "candidates": [
                    {"id": name, "evidence": evidence(one)} for name, one in row.candidates.items()
                ],
            }
            for key, row in rows.items()
        ]
        return json.dumps(written), None
    except Exception as error:
        return "[]", f"its rows make no sense: {error!r}"


def _agreement(told: str) -> Agreement:
    outcome = json.loads(told)
    if "choices" in outcome:
        return Agreement({key: Choice(**choice) for key, choice in outcome["choices"].items()})
    return Agreement({}, outcome["reason"], outcome["code"], tuple(outcome["ranks"]))


__all__ = [
    "DEFAULT_TIMEOUT",
    "Agreement",
    "Choice",
    "CollectiveError",
    "Communicator",
    "Evidence",
    "Row",
    "from_torch",
    "init",
]
