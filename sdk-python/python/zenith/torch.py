"""``zenith.torch.DataLoader``: batches as torch tensors, over Zenith's own memory or on a CUDA device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.dlpack import from_dlpack

from . import _core
from ._device import Copies, DeviceBatches
from ._engines import DeviceWanted, OnDevice, Start
from ._errors import ConfigError
from ._loader import Loader
from ._sampling import WeightedSampler


class DataLoader(Loader):
    """Stands in for ``torch.utils.data.DataLoader``. Arguments: see :class:`zenith._loader.Loader`."""

    _module = "torch"

    @staticmethod
    def _checked_device(device: Any, normalize: Any) -> DeviceWanted | None:
        checked = _device_of(device)
        normal = _normal_of(normalize, checked)
        return None if checked is None else DeviceWanted(checked.index, partial(_copies, checked, normal))

    @staticmethod
    def _batches(native: _core.Loader, start: Start, pin: bool, channels_last: bool) -> _core.Batches:
        convert = _channels_last if channels_last else from_dlpack
        return native.tensors(partial(_pinned, convert) if pin else convert, *start)

    def _cannot_pin(self) -> str | None:
        if torch.cuda.is_available():
            return None
        return "pin_memory was asked for, but there is no CUDA device: batches are pageable"


def _copies(device: torch.device, normal: tuple[list[float], list[float]] | None) -> OnDevice:
    copies = Copies(device, normal)
    return partial(DeviceBatches, copies=copies)


def _device_of(device: Any) -> torch.device | None:
    """The CUDA device that was asked for, with its number; None for host memory."""
    if device is None:
        return None
    try:
        asked = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device={device!r} is no device: {error}") from None
    if asked.type == "cpu":
        return None
    if asked.type != "cuda":
        raise ConfigError(f'device={device!r}: batches can go to "cuda" devices, or stay on "cpu"')
    if not torch.cuda.is_available():
        why = (
            "this torch is built without CUDA" if torch.version.cuda is None else "torch finds no CUDA device"
        )
        raise ConfigError(f'device={device!r}, but {why}; leave device out, or give device="cpu"')
    index = torch.cuda.current_device() if asked.index is None else asked.index
    if index >= torch.cuda.device_count():
        raise ConfigError(
            f"device={device!r}, but there are {torch.cuda.device_count()} CUDA devices, from 0 on"
        )
    return torch.device("cuda", index)


def _normal_of(normalize: Any, device: torch.device | None) -> tuple[list[float], list[float]] | None:
    if normalize is None:
        return None
    if device is None:
        raise ConfigError(
            "normalize is done on a CUDA device: give device, or put torchvision's Normalize into transform"
        )
    try:
        mean, std = ([float(value) for value in values] for values in normalize)
    except (TypeError, ValueError):
        raise ConfigError(f"normalize={normalize!r} is not (mean, std), a number per channel each") from None
    if not mean or len(mean) != len(std) or 0.0 in std:
        raise ConfigError("normalize takes as many means as standard deviations, and none of these is 0")
    return mean, std


def _channels_last(capsule: Any) -> torch.Tensor:
    """The tensor of a capsule; of [B, H, W, C] pictures the [B, C, H, W] view over the same memory."""
    tensor = from_dlpack(capsule)
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor


def _pinned(convert: Callable[[Any], torch.Tensor], capsule: Any) -> torch.Tensor:
    """A tensor copied into page-locked memory; the copy is a part of ``next()`` and counts as waiting."""
    return convert(capsule).pin_memory()


__all__ = ["DataLoader", "WeightedSampler"]
