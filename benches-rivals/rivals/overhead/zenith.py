"""Zenith over arrays in memory; unlike the torch variant it really gathers the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import zenith
import zenith.torch as zt

from rivals.loader import TorchLoader, versions
from rivals.overhead import FEATURES
from rivals.protocol import Config

VERSIONS = {"zenith": zenith.__version__, **versions("torch")}


class ZenithLoader(TorchLoader):
    """A loader with a report of its own."""

    def extra(self) -> dict[str, Any]:
        """Zenith's own report, which says how many threads the workers were."""
        return {"report": self._batches.report().to_dict()}


def open_loader(config: Config) -> ZenithLoader:
    """Give it a dict of arrays."""
    rows = config.options["batches"] * config.batch_size
    arrays = {"inputs": np.zeros((rows, FEATURES), dtype=np.float32), "labels": np.zeros(rows, dtype=np.int64)}
    return ZenithLoader(
        zt.DataLoader(
            arrays, batch_size=config.batch_size, shuffle=True, num_workers=config.workers, seed=config.seed
        )
    )
