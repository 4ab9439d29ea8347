"""The communicator over a process group of torch.distributed. Imported only where one is asked for."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from . import _core
from ._errors import CollectiveError
from .collective import (
    DEFAULT_TIMEOUT,
    Agreement,
    Array,
    Communicator,
    Op,
    Row,
    _agreement,
    _Lent,
    _new_like,
    _written,
)

_OPS = {"sum": "SUM", "min": "MIN", "max": "MAX", "avg": "SUM"}


@contextmanager
def _as_ours() -> Iterator[None]:
    """Errors of torch as ours."""
    try:
        yield
    except CollectiveError:
        raise
    except RuntimeError as error:
        raise CollectiveError(f"torch.distributed: {error}", code="torch") from error


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else array


class TorchCommunicator(Communicator):
    """A group of torch.distributed behind Zenith's face."""

    def __init__(self, group: Any = None) -> None:
        with _as_ours():
            self._group: Any = group if group is not None else dist.group.WORLD
            self.rank, self.world_size = dist.get_rank(group), dist.get_world_size(group)
            name = dist.get_backend(group)
        self.backend = f"torch.distributed ({name})"
        self._device = torch.device("cuda") if name == "nccl" else torch.device("cpu")

    def _global(self, rank: int) -> int:
        return dist.get_global_rank(self._group, rank) if self._group is not dist.group.WORLD else rank

    def all_reduce(self, array: Array, op: Op = "sum", *, timeout: float = DEFAULT_TIMEOUT) -> Array:
        _Lent.of(array)
        here = _tensor(array)
        there = here.to(self._device)
        with _as_ours():
            dist.all_reduce(there, getattr(dist.ReduceOp, _OPS[op]), group=self._group)
        if op == "avg":
            there /= self.world_size
        if there is not here:
            here.copy_(there)
        return array

    def broadcast(self, array: Array, root: int = 0, *, timeout: float = DEFAULT_TIMEOUT) -> Array:
        _Lent.of(array)
        here = _tensor(array)
        there = here.to(self._device)
        with _as_ours():
            dist.broadcast(there, self._global(root), group=self._group)
        if there is not here:
            here.copy_(there)
        return array

    def all_gather(self, array: Array, *, timeout: float = DEFAULT_TIMEOUT) -> Array:
        _Lent.of(array)
        gathered: Any = _new_like(array, self.world_size)
        mine = _tensor(array).to(self._device)
        parts = [torch.empty_like(mine) for _ in range(self.world_size)]
        with _as_ours():
            dist.all_gather(parts, mine, group=self._group)
        for place, part in zip(_tensor(gathered), parts, strict=True):
            place.copy_(part)
        return gathered

    def barrier(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        with _as_ours():
            if dist.get_backend(self._group) == "gloo":
                # The one call of torch that says who is missing.
                dist.monitored_barrier(self._group, datetime.timedelta(seconds=timeout))
            else:
                dist.barrier(self._group)

    def gather_bytes(self, mine: bytes, *, timeout: float = DEFAULT_TIMEOUT) -> list[bytes]:
        lengths: list[int] = self.all_gather(np.array([len(mine)], np.int64))[:, 0].tolist()
        padded = np.zeros(max(1, *lengths), np.uint8)
        padded[: len(mine)] = np.frombuffer(mine, np.uint8)
        everybody: Any = self.all_gather(padded)
        return [part[:length].tobytes() for part, length in zip(everybody, lengths, strict=True)]

    def decide(self, yes: bool, *, timeout: float = DEFAULT_TIMEOUT) -> bool:
        return bool(self.all_reduce(np.array([yes], np.int32), "min")[0])

    def adopt(self, mine: bytes = b"", *, timeout: float = DEFAULT_TIMEOUT) -> bytes:
        length = self.broadcast(np.array([len(mine)], np.int64))
        whole = np.zeros(max(1, int(length[0])), np.uint8)
        if self.rank == 0:
            whole[: len(mine)] = np.frombuffer(mine, np.uint8)
        self.broadcast(whole)
        self.decide(True)
        return whole[: length[0]].tobytes()

    def commit(
        self, step: int, ready: bool = True, *, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[int, ...] | None:
        states = self.all_gather(np.array([step, ready], np.int64))
        late = np.flatnonzero((states[:, 0] != states[0, 0]) | (states[:, 1] == 0))
        return None if self.decide(late.size == 0) else tuple(int(rank) for rank in late)

    def agree(
        self, rows: Mapping[str, Row], *, failed: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Agreement:
        mine = _core.encode_rows(*_written(rows, failed))
        try:
            agreement = _agreement(_core.choose_rows(self.gather_bytes(mine)))
            unanimous = self.decide(bool(agreement))
        except CollectiveError as error:
            return Agreement({}, str(error), error.code, error.ranks)
        if agreement and not unanimous:
            return Agreement({}, "not every rank has confirmed the choices", "unconfirmed")
        return agreement

    def close(self) -> None:
        """Leaves the process group alone: it is the caller's."""
