"""``zenith.DataLoader``: batches as NumPy arrays; needs no torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from ._loader import Loader


class DataLoader(Loader):
    """Iterates over a source in batches of NumPy arrays. Arguments: see :class:`zenith._loader.Loader`."""

    _module = "numpy"

    def _batches(self, native: _core.Loader) -> Any:
        return native.arrays(np.asarray)
