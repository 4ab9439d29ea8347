"""WebDataset: tar shards read in sequence, a shuffle buffer, Pillow and torchvision's transforms."""

from __future__ import annotations

import random
import tarfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import webdataset as wds

from rivals.loader import TorchLoader, torch_transform, versions
from rivals.protocol import Config, class_folders

VERSIONS = versions("webdataset", "torch", "torchvision", "pillow")
SHARDS = 8
SHUFFLE_BUFFER = 1000


def prepare(config: Config) -> dict[str, Any]:
    """Write the shards once, in shuffled order as WebDataset advises."""
    folder = Path(config.work) / "webdataset"
    if folder.is_dir():
        return {"file_bytes": sum(shard.stat().st_size for shard in folder.iterdir()), "seconds": None}
    draft = folder.with_suffix(".part")
    draft.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    paths, labels, _ = class_folders(config.dataset)
    samples = list(zip(paths, labels, strict=True))
    random.Random(0).shuffle(samples)
    for shard in range(SHARDS):
        with tarfile.open(draft / f"{shard:04d}.tar", "w") as tar:
            for index, (path, label) in enumerate(samples[shard::SHARDS]):
                _add(tar, f"{shard:02d}{index:07d}.jpg", Path(path).read_bytes())
                _add(tar, f"{shard:02d}{index:07d}.cls", str(label).encode())
    draft.rename(folder)
    total = sum(shard.stat().st_size for shard in folder.iterdir())
    return {"file_bytes": total, "seconds": time.perf_counter() - start}


def open_loader(config: Config) -> TorchLoader:
    """Batch inside the workers, as WebDataset advises."""
    shards = sorted(str(path) for path in (Path(config.work) / "webdataset").iterdir())
    transform = torch_transform(config.size, decoded=False)
    data = (
        wds.WebDataset(shards, shardshuffle=SHARDS, seed=config.seed)
        .shuffle(SHUFFLE_BUFFER)
        .decode("pil")
        .to_tuple("jpg", "cls")
        .map_tuple(transform, None)
        .batched(config.batch_size)
    )
    return TorchLoader(
        wds.WebLoader(
            data, batch_size=None, shuffle=False, num_workers=config.workers, persistent_workers=config.workers > 0
        )
    )


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, BytesIO(content))
