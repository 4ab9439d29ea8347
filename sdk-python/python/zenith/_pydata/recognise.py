"""Datasets whose samples can be had without their Python code: pure descriptions, nothing is read.

Never a guess: a subclass, a loader of the user's own, or a replaced method is not recognised.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tensors:
    """A ``torch.utils.data.TensorDataset``: sample i is ``tuple(t[i] for t in tensors)``.

    indices: of the samples chosen by ``Subset``, in order; None: all.
    """

    tensors: tuple[Any, ...]
    indices: Sequence[int] | None


@dataclass(frozen=True)
class Images:
    """A torchvision ``ImageFolder`` or ``DatasetFolder`` with the default loader: RGB and class numbers.

    samples: (path, class number) of every picture, as the dataset lists them.
    transform, target_transform: the user's callables or None; not compiled here.
    indices: of the samples chosen by ``Subset``, in order; None: all.
    """

    root: str
    samples: Sequence[tuple[str, int]]
    classes: Sequence[str]
    class_to_idx: dict[str, int]
    transform: Callable[[Any], Any] | None
    target_transform: Callable[[Any], Any] | None
    indices: Sequence[int] | None


def recognise(dataset: Any) -> Tensors | Images | None:
    """What ``dataset`` is, if it is one of the known kinds, exactly; else None."""
    data: Any = sys.modules.get("torch.utils.data")
    if data is None:
        return None
    indices: Sequence[int] | None = None
    while type(dataset) is data.Subset:
        inner = dataset.indices
        try:
            chosen = [int(i) for i in inner]
        except (TypeError, ValueError):
            return None
        indices = chosen if indices is None else [chosen[i] for i in indices]
        dataset = dataset.dataset
    if type(dataset) is data.TensorDataset:
        return _tensors(dataset, indices)
    return _images(dataset, indices)


def _tensors(dataset: Any, indices: Sequence[int] | None) -> Tensors | None:
    torch: Any = sys.modules["torch"]
    tensors = tuple(dataset.tensors)
    for tensor in tensors:
        if (
            type(tensor) is not torch.Tensor
            or tensor.device.type != "cpu"
            or tensor.layout is not torch.strided
        ):
            return None
    return Tensors(tensors, indices)


def _images(dataset: Any, indices: Sequence[int] | None) -> Images | None:
    folder: Any = sys.modules.get("torchvision.datasets.folder")
    if folder is None or type(dataset) not in (folder.ImageFolder, folder.DatasetFolder):
        return None
    torchvision: Any = sys.modules["torchvision"]
    if dataset.loader is not folder.default_loader or torchvision.get_image_backend() != "PIL":
        return None
    return Images(
        root=str(dataset.root),
        samples=dataset.samples,
        classes=dataset.classes,
        class_to_idx=dict(dataset.class_to_idx),
        transform=dataset.transform,
        target_transform=dataset.target_transform,
        indices=indices,
    )
