"""SPDL's thread pipeline around libraries that release the GIL: simplejpeg decodes, OpenCV resizes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from spdl.pipeline import PipelineBuilder

from rivals import crop
from rivals.loader import IMAGENET_MEAN, IMAGENET_STD, versions
from rivals.protocol import Config, class_folders

VERSIONS = versions("spdl", "simplejpeg", "opencv-python-headless")
_SCALE = [1 / (255 * deviation) for deviation in IMAGENET_STD]
_SHIFT = [-mean / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]


class _Spdl:
    layout = "NCHW"

    def __init__(self, config: Config) -> None:
        cv2.setNumThreads(1)
        self._config = config
        paths, labels, _ = class_folders(config.dataset)
        self._samples = list(zip(paths, labels, strict=True))
        self._rng = random.Random(config.seed)

    def _load(self, sample: tuple[str, int]) -> tuple[np.ndarray, int]:
        path, label = sample
        size = self._config.size
        picture = simplejpeg.decode_jpeg(Path(path).read_bytes(), colorspace="RGB")
        left, top, width, height = crop.window(picture.shape[1], picture.shape[0], self._rng)
        # Area averaging is OpenCV's antialiased way down; it has none for the way up, where bilinear is right.
        way = cv2.INTER_AREA if width > size or height > size else cv2.INTER_LINEAR
        small = cv2.resize(picture[top : top + height, left : left + width], (size, size), interpolation=way)
        if self._rng.random() < 0.5:
            small = cv2.flip(small, 1)
        out = np.empty((3, size, size), dtype=np.float32)
        for channel in range(3):
            np.multiply(small[:, :, channel], np.float32(_SCALE[channel]), out=out[channel])
            out[channel] += np.float32(_SHIFT[channel])
        return out, label

    @staticmethod
    def _collate(samples: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([picture for picture, _ in samples]), np.array([label for _, label in samples])

    def epoch(self, number: int) -> Iterator[tuple[Any, Any]]:
        """Build a pipeline for one epoch, which is SPDL's way to shuffle anew."""
        order = random.Random(self._config.seed + number).sample(self._samples, len(self._samples))
        pipeline = (
            PipelineBuilder()
            .add_source(order)
            .pipe(self._load, concurrency=self._config.workers)
            .aggregate(self._config.batch_size)
            .pipe(self._collate)
            .add_sink(2)
            .build(num_threads=self._config.workers)
        )
        with pipeline.auto_stop():
            yield from pipeline.get_iterator(timeout=60)

    def inputs(self, batch: Any) -> np.ndarray:
        return batch

    def labels(self, batch: Any) -> np.ndarray:
        return batch

    def close(self) -> None:
        self._samples = []


def open_loader(config: Config) -> _Spdl:
    """List the files; threads start with an epoch."""
    return _Spdl(config)
