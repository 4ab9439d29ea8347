"""``zenith.torch.DataLoader``: batches as torch tensors over Zenith's own memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.dlpack import from_dlpack

from . import _core
from ._engines import Start
from ._loader import Loader
from ._sampling import WeightedSampler


class DataLoader(Loader):
    """Stands in for ``torch.utils.data.DataLoader``. Arguments: see :class:`zenith._loader.Loader`."""

    _module = "torch"

    @staticmethod
    def _batches(native: _core.Loader, start: Start, pin: bool) -> Iterator[Any]:
        return native.tensors(_pinned if pin else from_dlpack, *start)

    def _cannot_pin(self) -> str | None:
        if torch.cuda.is_available():
            return None
        return "pin_memory was asked for, but there is no CUDA device: batches are pageable"


def _pinned(capsule: Any) -> torch.Tensor:
    """A tensor copied into page-locked memory; the copy is a part of ``next()`` and counts as waiting."""
    return from_dlpack(capsule).pin_memory()


__all__ = ["DataLoader", "WeightedSampler"]
