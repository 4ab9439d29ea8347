"""What a loader itself costs: samples so small that only the handing over is left."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from rivals.protocol import Channel, Config
from rivals.timing import Watch, light_epoch

FEATURES = 8


def measure(config: Config, rival: ModuleType, channel: Channel) -> dict[str, Any]:
    """Time several epochs, so that the gap between two of them is seen more than once."""
    watch = Watch(channel)
    loader = rival.open_loader(config)
    construct = watch.elapsed()
    epochs = [light_epoch(loader, n, config.max_seconds) for n in range(config.epochs)]
    channel.mark("measured")
    extra = loader.extra() if hasattr(loader, "extra") else {}
    loader.close()
    return {
        "versions": rival.VERSIONS,
        "construct_seconds": construct,
        "first_batch_seconds": construct + epochs[0]["first_batch_seconds"],
        "imported_pss_bytes": watch.imported_pss_bytes,
        "epochs": epochs,
        "extra": extra,
    }
