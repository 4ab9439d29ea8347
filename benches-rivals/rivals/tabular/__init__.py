"""A table of numbers, shuffled row by row into batches: how every rival of this scenario is measured."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from rivals import meter
from rivals.loader import Loader
from rivals.make.row import row_label
from rivals.protocol import Channel, Config
from rivals.timing import Watch, light_epoch

CHECKED_ROWS = 1 << 18


def measure(config: Config, rival: ModuleType, channel: Channel) -> dict[str, Any]:
    """Time the start and the epochs; afterwards follow the row numbers through one more."""
    watch = Watch(channel)
    before = watch.since_process_start()
    loader = rival.open_loader(config)
    construct = watch.elapsed()
    opened = meter.pss_bytes()
    epochs = [light_epoch(loader, n, config.max_seconds) for n in range(config.epochs)]
    channel.mark("measured")
    sanity = follow_rows(loader, config)
    extra = loader.extra() if hasattr(loader, "extra") else {}
    loader.close()
    return {
        "versions": rival.VERSIONS,
        "before_construct_seconds": before,
        "construct_seconds": construct,
        "first_batch_seconds": construct + epochs[0]["first_batch_seconds"],
        "imported_pss_bytes": watch.imported_pss_bytes,
        "opened_pss_bytes": opened,
        "epochs": epochs,
        "sanity": sanity,
        "extra": extra,
    }


def follow_rows(loader: Loader, config: Config) -> dict[str, Any]:
    """Check rows outside all timing: none twice, each with its own label, and spread over the whole table."""
    rows = int(config.options["rows"])
    seen = np.zeros(rows, dtype=bool)
    repeated = wrong = taken = 0
    spreads = []
    shapes: set[tuple[int, ...]] = set()
    dtypes: set[str] = set()
    for inputs, labels in loader.epoch(config.epochs):
        array, flat = loader.inputs(inputs), loader.labels(labels)
        numbers = array[:, 0].astype(np.int64)
        repeated += int(seen[numbers].sum()) + len(numbers) - len(np.unique(numbers))
        seen[numbers] = True
        wrong += int((flat != row_label(numbers)).sum())
        taken += len(numbers)
        dtypes.add(str(array.dtype))
        if len(numbers) == config.batch_size:
            shapes.add(array.shape[1:])
            spreads.append(float(numbers.std()) / rows)
        if taken >= CHECKED_ROWS:
            break
    return {
        "rows": taken,
        "repeated": repeated,
        "wrong_labels": wrong,
        "shape": [list(shape) for shape in sorted(shapes)],
        "dtype": sorted(dtypes),
        "layout": loader.layout,
        "batch_spread": float(np.mean(spreads)) if spreads else None,
    }
