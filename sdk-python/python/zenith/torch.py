"""``zenith.torch.DataLoader``: batches as torch tensors over Zenith's own memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
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
    def _batches(native: _core.Loader, start: Start, pin: bool, channels_last: bool) -> Iterator[Any]:
        convert = _channels_last if channels_last else from_dlpack
        return native.tensors(partial(_pinned, convert) if pin else convert, *start)

    def _cannot_pin(self) -> str | None:
        if torch.cuda.is_available():
            return None
        return "pin_memory was asked for, but there is no CUDA device: batches are pageable"


def _channels_last(capsule: Any) -> torch.Tensor:
    """The tensor of a capsule; of [B, H, W, C] pictures the [B, C, H, W] view over the same memory."""
    tensor = from_dlpack(capsule)
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor


def _pinned(convert: Callable[[Any], torch.Tensor], capsule: Any) -> torch.Tensor:
    """A tensor copied into page-locked memory; the copy is a part of ``next()`` and counts as waiting."""
    return convert(capsule).pin_memory()


__all__ = ["DataLoader", "WeightedSampler"]
