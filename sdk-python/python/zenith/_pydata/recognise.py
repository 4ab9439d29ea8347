"""Datasets whose samples can be had without their Python code: pure descriptions, nothing is read.

Never a guess: a subclass, a loader of the user's own, or a replaced method is not recognised; nor is what has no
place in a native batch (bfloat16 or complex tensors, kinds of pictures that only Pillow reads, indices counted from
the end): such datasets work as any other does, by their Python code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_NATIVE_DTYPES = frozenset(
    (
        "bool",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "uint32",
        "int32",
        "uint64",
        "int64",
        "float16",
        "float32",
        "float64",
    )
)
_NATIVE_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


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

    samples: (path, label) of every picture, as the dataset lists them, which its folder need not any more.
    transform, target_transform: the user's callables or None; not compiled here.
    indices: of the samples chosen by ``Subset``, in order; None: all.
    """

    samples: Sequence[tuple[str, int]]
    classes: Sequence[str]
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
        try:
            indices = chosen if indices is None else [chosen[i] for i in indices]
        except IndexError:
            return None
        dataset = dataset.dataset
    known = _tensors(dataset, indices) if type(dataset) is data.TensorDataset else _images(dataset, indices)
    if known is None or (indices and not 0 <= min(indices) <= max(indices) < len(dataset)):
        return None
    return known


def _tensors(dataset: Any, indices: Sequence[int] | None) -> Tensors | None:
    torch: Any = sys.modules["torch"]
    tensors = tuple(dataset.tensors)
    for tensor in tensors:
        if (
            type(tensor) is not torch.Tensor
            or tensor.device.type != "cpu"
            or tensor.layout is not torch.strided
            or str(tensor.dtype).removeprefix("torch.") not in _NATIVE_DTYPES
            or tensor.requires_grad
            or tensor.is_neg()
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
    for path, label in dataset.samples:
        if type(path) is not str or type(label) is not int or not path.lower().endswith(_NATIVE_PICTURES):
            return None
    return Images(
        samples=dataset.samples,
        classes=dataset.classes,
        transform=dataset.transform,
        target_transform=dataset.target_transform,
        indices=indices,
    )
