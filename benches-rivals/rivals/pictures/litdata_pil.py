"""LitData: the pictures packed into its chunks, streamed from local disk, Pillow and torchvision's transforms."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import litdata
from PIL import Image

from rivals.loader import TorchLoader, torch_transform, versions
from rivals.protocol import Config, class_folders

VERSIONS = versions("litdata", "torch", "torchvision", "pillow")


def _read(sample: tuple[str, int]) -> dict[str, Any]:
    path, label = sample
    return {"image": Path(path).read_bytes(), "label": label}


def prepare(config: Config) -> dict[str, Any]:
    """Pack the encoded files once."""
    folder = Path(config.work) / "litdata"
    if (folder / "index.json").exists():
        return {"file_bytes": sum(chunk.stat().st_size for chunk in folder.iterdir()), "seconds": None}
    start = time.perf_counter()
    paths, labels, _ = class_folders(config.dataset)
    litdata.optimize(
        fn=_read,
        inputs=list(zip(paths, labels, strict=True)),
        output_dir=str(folder),
        chunk_bytes="64MB",
        num_workers=config.workers,
    )
    total = sum(chunk.stat().st_size for chunk in folder.iterdir())
    return {"file_bytes": total, "seconds": time.perf_counter() - start}


def _sample(sample: dict[str, Any], transform: Any) -> tuple[Any, int]:
    from io import BytesIO

    return transform(Image.open(BytesIO(sample["image"])).convert("RGB")), sample["label"]


def open_loader(config: Config) -> TorchLoader:
    """Keep workers from epoch to epoch."""
    transform = torch_transform(config.size, decoded=False)
    data = litdata.StreamingDataset(
        str(Path(config.work) / "litdata"),
        shuffle=True,
        seed=config.seed,
        drop_last=False,
        transform=partial(_sample, transform=transform),
    )
    return TorchLoader(
        litdata.StreamingDataLoader(
            data,
            batch_size=config.batch_size,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
        )
    )
