"""Put a list of samples together without a slab: torch's ``default_collate``, or its NumPy twin."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

from . import schema

Collate = Callable[[list[Any]], Any]


def default_collate(array_module: str) -> Collate:
    """The collate function that ``array_module`` ("torch" or "numpy") stands for.

    Raises:
        ValueError: another name.
        ImportError: torch or NumPy is not installed.
    """
    if array_module == "torch":
        return _torch_collate()
    if array_module == "numpy":
        import numpy  # noqa: F401 - the error belongs here, not in the first batch

        return numpy_collate
    raise ValueError(f'array_module must be "torch" or "numpy", not {array_module!r}')


def _torch_collate() -> Collate:
    """Torch's ``default_collate``, with a short way for the commonest samples."""
    import torch
    from torch.utils.data import default_collate
    from torch.utils.data._utils.collate import default_collate_fn_map as rules

    general: Any = default_collate
    stack, tensor, tensor_type = torch.stack, torch.tensor, torch.Tensor
    known = dict(rules)

    def column(values: Sequence[Any]) -> Any:
        kind = type(values[0])
        if kind is tensor_type and values[0].layout is torch.strided and not values[0].is_nested:
            return stack(tuple(values))
        if kind is int:
            return tensor(values)
        return general(values)

    def collate(samples: list[Any]) -> Any:
        first = samples[0]
        if rules != known:
            return general(samples)  # the user has registered rules of their own
        kind = type(first)
        if kind is tuple:
            try:
                columns = list(zip(*samples, strict=True))
            except (TypeError, ValueError):
                return general(samples)  # which says what is wrong
            return [column(values) for values in columns]
        elif kind is tensor_type or kind is int:
            return column(samples)
        return general(samples)

    return collate


def numpy_collate(samples: Sequence[Any]) -> Any:
    """Collate as torch does, into NumPy arrays: floats to float64, ints to int64, strings to a list.

    Raises:
        TypeError: a part is of a kind that has no array.
        ValueError: arrays of unequal shape.
        RuntimeError: sequences of unequal length.
    """
    import numpy

    first = samples[0]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(first, torch.Tensor):
        return numpy.stack([sample.numpy() for sample in samples])
    if isinstance(first, (numpy.ndarray, numpy.generic)):
        if first.dtype.kind in "OSU":
            raise TypeError(f"cannot collate an array of {first.dtype}")
        return numpy.stack(list(samples))
    if isinstance(first, bool):
        return numpy.array(samples, dtype=numpy.bool_)
    if isinstance(first, int):
        return numpy.array(samples, dtype=numpy.int64)
    if isinstance(first, float):
        return numpy.array(samples, dtype=numpy.float64)
    if isinstance(first, (str, bytes)):
        return samples
    return _collate_container(first, samples)


def _collate_container(first: Any, samples: Sequence[Any]) -> Any:
    if isinstance(first, Mapping):
        columns = {key: numpy_collate([sample[key] for sample in samples]) for key in first}
        if type(first) is dict:
            return columns
        try:
            if isinstance(first, MutableMapping):
                clone = copy.copy(first)
                clone.update(columns)
                return clone
            return type(first)(columns)  # type: ignore[call-arg]
        except TypeError:
            return columns
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(numpy_collate(column) for column in zip(*samples, strict=True)))
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in samples):
            raise RuntimeError("each element in list of batch should be of equal size")
        return [numpy_collate(column) for column in zip(*samples, strict=True)]
    raise TypeError(
        f"cannot collate {type(first).__name__}: a batch is made of arrays, tensors, numbers, strings, "
        "dicts, tuples or lists; give collate_fn= for anything else"
    )


def name_the_odd_sample(error: Exception, samples: Sequence[Any], indices: Sequence[Any]) -> None:
    """If a sample is not built like the first of its batch, say which in a note on ``error``."""
    for index, sample in zip(indices, samples, strict=False):
        found = schema.difference(samples[0], sample)
        if found:
            note(error, f"sample {index!r} {found}, as sample {indices[0]!r} of the same batch has")
            return


def note(error: BaseException, text: str) -> None:
    """Attach a line to ``error`` (PEP 678; Python 3.10 keeps it without printing it)."""
    notes = getattr(error, "__notes__", None)
    if notes is None:
        notes = []
        try:
            error.__notes__ = notes  # type: ignore[attr-defined]
        except AttributeError:
            return
    notes.append(text)
