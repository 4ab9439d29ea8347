"""NVIDIA DALI on the CPU: its file reader, region-of-interest decoder and fused normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from rivals.loader import IMAGENET_MEAN, IMAGENET_STD, versions
from rivals.protocol import Config, class_folders

VERSIONS = versions("nvidia-dali-cuda120")


@pipeline_def
def _pictures(root: str, size: int) -> Any:
    encoded, labels = fn.readers.file(file_root=root, shuffle_after_epoch=True, name="files", pad_last_batch=False)
    crops = fn.decoders.image_random_crop(encoded, device="cpu", output_type=types.RGB)
    small = fn.resize(crops, size=[size, size], interp_type=types.INTERP_LINEAR, antialias=True)
    batch = fn.crop_mirror_normalize(
        small,
        dtype=types.FLOAT,
        output_layout="CHW",
        mean=[255 * value for value in IMAGENET_MEAN],
        std=[255 * value for value in IMAGENET_STD],
        mirror=fn.random.coin_flip(probability=0.5),
    )
    return batch, labels


class _Dali:
    layout = "NCHW"

    def __init__(self, config: Config) -> None:
        self._pipeline = _pictures(
            root=config.dataset,
            size=config.size,
            batch_size=config.batch_size,
            num_threads=config.workers,
            device_id=None,
            seed=config.seed + 1,
            prefetch_queue_depth=2,
        )
        self._pipeline.build()
        self._samples = len(class_folders(config.dataset)[0])
        self._held: tuple[np.ndarray, np.ndarray] | None = None

    def epoch(self, number: int) -> Iterator[tuple[Any, Any]]:
        """Cut the endless stream into epochs of whole samples; a batch that spans two is split."""
        missing = self._samples
        while missing > 0:
            inputs, labels = self._held or self._next()
            self._held = None
            if len(labels) > missing:
                self._held = inputs[missing:], labels[missing:]
                inputs, labels = inputs[:missing], labels[:missing]
            missing -= len(labels)
            yield inputs, labels

    def _next(self) -> tuple[np.ndarray, np.ndarray]:
        inputs, labels = self._pipeline.run()
        # The views live until the next run, which is how DALI's own iterators hand batches out before copying.
        return np.asarray(inputs.as_tensor()), np.asarray(labels.as_tensor()).reshape(-1)

    def inputs(self, batch: Any) -> np.ndarray:
        return batch

    def labels(self, batch: Any) -> np.ndarray:
        return batch

    def close(self) -> None:
        del self._pipeline


def open_loader(config: Config) -> _Dali:
    """Build the graph; the first batch is computed by the first `run`."""
    return _Dali(config)
