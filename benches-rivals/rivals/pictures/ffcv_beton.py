"""FFCV over its own file format; the data set is converted beforehand and that time is reported apart."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, Squeeze, ToTensor, ToTorchImage
from ffcv.writer import DatasetWriter
from torchvision.datasets import ImageFolder

from rivals.loader import IMAGENET_MEAN, IMAGENET_STD, TorchLoader, versions
from rivals.protocol import Config

VERSIONS = versions("ffcv", "torch", "numba")
JPEG_QUALITY = 92


def convert(config: Config, mode: str) -> dict[str, Any]:
    """Write the .beton once; `mode` is FFCV's own word, "jpg" or "raw"."""
    target = _target(config, mode)
    if target.exists():
        return {"file_bytes": target.stat().st_size, "seconds": None}
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".part")
    start = time.perf_counter()
    fields = {"image": RGBImageField(write_mode=mode, jpeg_quality=JPEG_QUALITY), "label": IntField()}
    DatasetWriter(str(draft), fields, num_workers=config.workers).from_indexed_dataset(ImageFolder(config.dataset))
    draft.replace(target)
    return {"file_bytes": target.stat().st_size, "seconds": time.perf_counter() - start}


def open_beton(config: Config, mode: str) -> TorchLoader:
    """Open with the operating system's page cache, FFCV's advice for data that fits into memory."""
    mean = np.array([255 * value for value in IMAGENET_MEAN])
    std = np.array([255 * value for value in IMAGENET_STD])
    pictures = [
        RandomResizedCropRGBImageDecoder((config.size, config.size)),
        RandomHorizontalFlip(),
        NormalizeImage(mean, std, np.float32),
        ToTensor(),
        ToTorchImage(channels_last=False),
    ]
    return TorchLoader(
        Loader(
            str(_target(config, mode)),
            batch_size=config.batch_size,
            num_workers=config.workers,
            order=OrderOption.RANDOM,
            os_cache=True,
            drop_last=False,
            seed=config.seed + 1,
            pipelines={"image": pictures, "label": [IntDecoder(), ToTensor(), Squeeze()]},
        )
    )


def _target(config: Config, mode: str) -> Path:
    return Path(config.work) / f"ffcv-{mode}.beton"
