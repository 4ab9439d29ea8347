"""From the user's ``source`` to a native source: paths, arrays, Arrow tables and the datasets that need no Python."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _core
from ._errors import ConfigError
from ._pydata.recognise import Images


@dataclass
class SourceOptions:
    """What the user said about how to read the source; see :class:`zenith.DataLoader`."""

    transform: list[dict[str, Any]] = field(default_factory=list)
    columns: list[str] | None = None
    label: str | bool | None = None
    dtype: str | None = None
    on_error: str = "raise"
    memory_budget: int | None = None
    cache: str | None = None
    threads: int = 1
    apply_exif_orientation: bool = False
    decode: str = "exact"

    def as_json(self) -> str:
        """The options as the extension reads them."""
        return json.dumps(self.__dict__)


def open_source(source: Any, options: SourceOptions) -> _core.Source | None:
    """Opens ``source`` natively.

    Returns:
        The source, or None where ``source`` is a Python object that only Python can read.

    Raises:
        SourceError: a path, glob or array that cannot be read as data.
        ConfigError: arguments that do not fit the source.
    """
    paths = _paths(source)
    if paths is not None:
        return _core.open_paths(paths, options.as_json())
    if isinstance(source, Mapping):
        return _core.open_columns(_columns(source), options.as_json())
    if hasattr(source, "__arrow_c_stream__"):
        return _core.open_arrow(source, options.as_json())
    torch = sys.modules.get("torch")
    if (torch is not None and type(source) is torch.Tensor) or (
        hasattr(source, "__array_interface__") and hasattr(source, "shape")
    ):
        return _core.open_columns(_columns({"inputs": source}), options.as_json())
    return None


def open_tensors(tensors: list[Any], options: SourceOptions) -> _core.Source:
    """Opens the tensors of a TensorDataset: the last is the label, as in ``for inputs, labels in loader``."""
    names = [f"field_{i}" for i in range(len(tensors))]
    return _core.open_columns(_columns(dict(zip(names, tensors, strict=True))), options.as_json(), True)


def open_images(images: Images, options: SourceOptions) -> _core.Source | None:
    """Opens the pictures of an ImageFolder as the dataset lists them: its paths, its labels, its order.

    Returns:
        The source of all of them (``images.indices`` are left to the caller), or None where the dataset lists nothing.
    """
    if not images.samples:
        return None
    paths, labels = zip(*images.samples, strict=True)
    return _core.open_labelled(list(paths), list(labels), list(images.classes), options.as_json())


def names_files(source: Any) -> bool:
    """Whether ``source`` is a path, a pattern or a list of them."""
    return _paths(source) is not None


def _paths(source: Any) -> list[str] | None:
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        if isinstance(text, bytes):
            text = os.fsdecode(text)
        return [text]
    if (
        isinstance(source, (list, tuple))
        and source
        and all(isinstance(p, (str, os.PathLike)) for p in source)
    ):
        return [str(os.fspath(path)) for path in source]
    return None


def _columns(source: Mapping[str, Any]) -> list[tuple[str, str, list[int], int, int, int, Any]]:
    """Describes arrays to the extension: (name, dtype, shape of a row, rows, address, row stride, owner)."""
    import numpy as np

    columns = []
    for name, given in source.items():
        array = given
        if hasattr(given, "detach"):
            if given.device.type != "cpu":
                raise ConfigError(
                    f"column {name!r} is on {given.device}; in-memory sources must be on the CPU"
                )
            try:
                array = given.detach().numpy()
            except TypeError:
                raise ConfigError(
                    f"column {name!r} has dtype {given.dtype}, which has no place in a batch; "
                    "float32 or float16 would work"
                ) from None
        array = np.asarray(array)
        if array.ndim == 0:
            raise ConfigError(f"column {name!r} is a single value; every column needs a row dimension")
        if array.dtype.kind in "OUSMmVc":
            raise ConfigError(f"column {name!r} has dtype {array.dtype}; columns must be numbers or bools")
        row = array[0] if len(array) else array.reshape(-1)
        if not array.dtype.isnative or not row.flags.c_contiguous or array.strides[0] < 0:
            array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        columns.append(
            (
                str(name),
                array.dtype.name,
                list(array.shape[1:]),
                len(array),
                array.__array_interface__["data"][0],
                array.strides[0],
                array,
            )
        )
    if not columns:
        raise ConfigError("the source is an empty dict; give at least one array")
    return columns
