"""tf.data with its fused decode-and-crop, bilinear resize WITHOUT antialiasing: what TensorFlow scripts use.

Its antialiased resize takes several times as long; this is the favourable variant, so its pixels are not the
ones that the others deliver.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from rivals.loader import IMAGENET_MEAN, IMAGENET_STD, versions
from rivals.protocol import Config, class_folders

VERSIONS = versions("tensorflow-cpu")
_MEAN = np.array([255 * value for value in IMAGENET_MEAN], dtype=np.float32)
_STD = np.array([255 * value for value in IMAGENET_STD], dtype=np.float32)


def _sample(path: tf.Tensor, label: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    encoded = tf.io.read_file(path)
    begin, extent, _ = tf.image.sample_distorted_bounding_box(
        tf.io.extract_jpeg_shape(encoded),
        bounding_boxes=tf.zeros([0, 0, 4]),
        area_range=(0.08, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    window = tf.stack([begin[0], begin[1], extent[0], extent[1]])
    crop = tf.image.decode_and_crop_jpeg(encoded, window, channels=3)
    small = tf.image.random_flip_left_right(tf.image.resize(crop, [size, size]))
    return (small - _MEAN) / _STD, label


class _TfData:
    layout = "NHWC"

    def __init__(self, config: Config) -> None:
        tf.config.threading.set_inter_op_parallelism_threads(config.workers)
        tf.config.threading.set_intra_op_parallelism_threads(config.workers)
        paths, labels, _ = class_folders(config.dataset)
        options = tf.data.Options()
        options.threading.private_threadpool_size = config.workers
        self._data = (
            tf.data.Dataset.from_tensor_slices((paths, labels))
            .shuffle(len(paths), seed=config.seed)
            .map(lambda path, label: _sample(path, label, config.size), num_parallel_calls=config.workers)
            .batch(config.batch_size)
            .prefetch(2)
            .with_options(options)
        )

    def epoch(self, number: int) -> Iterator[tuple[Any, Any]]:
        return iter(self._data)

    def inputs(self, batch: Any) -> np.ndarray:
        return batch.numpy()

    def labels(self, batch: Any) -> np.ndarray:
        return batch.numpy()

    def close(self) -> None:
        del self._data


def open_loader(config: Config) -> _TfData:
    """Trace and start nothing yet: the first `iter` does."""
    return _TfData(config)
