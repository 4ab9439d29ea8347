"""The one shape that every rival's loader is brought to, so that all are timed by the same loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Loader(Protocol):
    """A loader that is ready to be read, whatever library is behind it."""

    layout: str
    """Order of a batch's axes, "NCHW" or "NHWC"; tables have "NF"."""

    def epoch(self, number: int) -> Iterator[tuple[Any, Any]]:
        """Yield every (inputs, labels) of one epoch, in the library's own types."""
        ...

    def inputs(self, batch: Any) -> np.ndarray:
        """View a batch's inputs as an array."""
        ...

    def labels(self, batch: Any) -> np.ndarray:
        """View a batch's labels as a flat array of integers."""
        ...

    def close(self) -> None:
        """Stop what runs in the background."""
        ...


class TorchLoader:
    """Anything whose batches are pairs of torch tensors and that starts over at every `iter`."""

    layout = "NCHW"

    def __init__(self, batches: Any) -> None:
        """Wrap an iterable of (inputs, labels) tensors."""
        self._batches: Any = batches

    def epoch(self, number: int) -> Iterator[tuple[Any, Any]]:
        """Start over; `set_epoch` is called where the loader has it."""
        if hasattr(self._batches, "set_epoch"):
            self._batches.set_epoch(number)
        return iter(self._batches)

    def inputs(self, batch: Any) -> np.ndarray:
        """View the tensor as an array, without a copy."""
        return batch.numpy()

    def labels(self, batch: Any) -> np.ndarray:
        """View the labels as a flat array."""
        return batch.numpy().reshape(-1)

    def close(self) -> None:
        """Drop the loader, which ends its workers."""
        del self._batches


def torch_transform(size: int, *, decoded: bool) -> Any:
    """Random-resized-crop, flip and normalise to float32 in torchvision's words.

    `decoded` says that samples are uint8 tensors already; otherwise they are PIL pictures and stay so
    until the crop is small, which is the faster order.
    """
    import torch
    from torchvision.transforms import v2

    to_tensor = [] if decoded else [v2.PILToTensor()]
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(),
            *to_tensor,
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


def versions(*packages: str) -> dict[str, str]:
    """Versions of the named distributions as installed here."""
    from importlib.metadata import version

    return {name: version(name) for name in packages}
