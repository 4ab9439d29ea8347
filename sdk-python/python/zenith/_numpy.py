"""``zenith.DataLoader``: batches as NumPy arrays; needs no torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from ._engines import Start
from ._errors import ConfigError
from ._loader import Loader


class DataLoader(Loader):
    """Iterates over a source in batches of NumPy arrays. Arguments: see :class:`zenith._loader.Loader`."""

    _module = "numpy"

    @staticmethod
    def _batches(native: _core.Loader, start: Start, pin: bool, channels_last: bool) -> _core.Batches:
        del pin  # NumPy has no page-locked arrays, and says so
        del channels_last  # the arrays are what they are in memory
        return native.arrays(np.asarray, *start)

    @staticmethod
    def _checked_device(device: Any, normalize: Any) -> None:
        if device not in (None, "cpu") or normalize is not None:
            raise ConfigError(
                "NumPy arrays are in host memory: device and normalize are arguments of zenith.torch.DataLoader"
            )

    def _cannot_pin(self) -> str | None:
        return "pin_memory has no meaning for NumPy arrays: batches are pageable"
