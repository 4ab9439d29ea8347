"""``zenith.torch.DataLoader``: batches as torch tensors over Zenith's own memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.dlpack import from_dlpack

from . import _core
from ._loader import Loader
from ._sampling import WeightedSampler


class DataLoader(Loader):
    """Stands in for ``torch.utils.data.DataLoader``. Arguments: see :class:`zenith._loader.Loader`."""

    _module = "torch"

    @staticmethod
    def _batches(native: _core.Loader, pin: bool, channels_last: bool) -> Iterator[Any]:
        batches = native.tensors(_channels_last if channels_last else from_dlpack)
        return map(_pin, batches) if pin else batches

    def _can_pin(self) -> bool:
        return torch.cuda.is_available()


def _channels_last(capsule: Any) -> torch.Tensor:
    """The tensor of a capsule; of [B, H, W, C] pictures the [B, C, H, W] view over the same memory."""
    tensor = from_dlpack(capsule)
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor


def _pin(batch: Any) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.pin_memory()
    if isinstance(batch, dict):
        return {name: _pin(value) for name, value in batch.items()}
    return tuple(_pin(value) for value in batch)


__all__ = ["DataLoader", "WeightedSampler"]
