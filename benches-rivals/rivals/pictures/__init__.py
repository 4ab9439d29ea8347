"""Pictures in class folders to normalised float32 crops: how every rival of this scenario is measured."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from rivals.protocol import Channel, Config
from rivals.timing import Watch, picture_sanity, timed_epoch


def measure(config: Config, rival: ModuleType, channel: Channel) -> dict[str, Any]:
    """Time the start, then whole epochs; look at the pixels afterwards."""
    classes = int(config.options["classes"])
    watch = Watch(channel)
    before = watch.since_process_start()
    loader = rival.open_loader(config)
    construct = watch.elapsed()
    epochs = [timed_epoch(loader, n, classes, config.max_seconds) for n in range(config.epochs)]
    channel.mark("measured")
    sanity = picture_sanity(loader, config.epochs, config.batch_size, config.size)
    extra = loader.extra() if hasattr(loader, "extra") else {}
    loader.close()
    return {
        "versions": rival.VERSIONS,
        "construct_seconds": construct,
        "first_batch_seconds": construct + epochs[0]["first_batch_seconds"],
        "before_construct_seconds": before,
        "imported_pss_bytes": watch.imported_pss_bytes,
        "epochs": epochs,
        "sanity": sanity,
        "extra": extra,
    }
