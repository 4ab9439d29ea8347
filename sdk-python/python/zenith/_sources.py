"""From the user's arguments to a plan: what runs natively, what Python must do, and what to say about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _core
from ._errors import ConfigError
from ._native import SourceOptions, open_source, open_tensors
from ._pydata.recognise import recognise
from ._transforms import compile_transform


@dataclass
class Plan:
    """How samples are made.

    Attributes:
        native: the native source, where no sample needs Python.
        dataset: the map-style object that Python workers read, where one does.
        samples: how many samples there are.
        fingerprint: changes when the data changes; 0 for Python datasets, which have none.
        classes: names of the label's classes.
        collate_fn: the user's, for Python workers.
        notes: what was done in another way than asked or than is fastest.
    """

    native: _core.Source | None
    dataset: Any
    samples: int
    fingerprint: int
    classes: list[str] | None
    collate_fn: Callable[[list[Any]], Any] | None = None
    notes: list[str] = field(default_factory=list)


class NativeSamples:
    """A native source as a map-style dataset, with the Python that the user wants behind it."""

    def __init__(
        self,
        source: _core.Source,
        *,
        seed: int,
        tail: Callable[[Any], Any] | None,
        as_picture: bool,
        target_transform: Callable[[Any], Any] | None,
    ) -> None:
        self._source = source
        self._seed = seed
        self._tail = tail
        self._as_picture = as_picture
        self._target_transform = target_transform
        self._names = [name for name, _, _ in source.fields]
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Any:
        arrays = [np.asarray(array)[0] for array in self._source.sample(index, self._seed, self.epoch)]
        inputs: Any = arrays[0]
        if self._as_picture:
            from PIL import Image

            inputs = Image.fromarray(np.ascontiguousarray(np.moveaxis(inputs, 0, -1)))
        elif _torch() is not None:
            inputs = _torch().from_numpy(inputs)
        if self._tail is not None:
            inputs = self._tail(inputs)
        if len(arrays) == 1:
            return inputs
        rest: list[Any] = [array.item() if array.ndim == 0 else array for array in arrays[1:]]
        if self._target_transform is not None:
            rest[-1] = self._target_transform(rest[-1])
        return (inputs, *rest)


def _torch() -> Any:
    import sys

    return sys.modules.get("torch")


def plan_source(
    source: Any,
    *,
    transform: Any,
    target_transform: Callable[[Any], Any] | None,
    collate_fn: Callable[[list[Any]], Any] | None,
    columns: Sequence[str] | None,
    label: str | bool | None,
    dtype: Any,
    on_error: str,
    memory_budget: int | None,
    cache: str | None,
    threads: int,
    seed: int,
) -> Plan:
    """Decides how the samples of ``source`` are made.

    Raises:
        SourceError: the source cannot be read as data.
        ConfigError: arguments that do not fit the source.
    """
    compiled = compile_transform(transform)
    options = SourceOptions(
        transform=compiled.native,
        columns=None if columns is None else [str(column) for column in columns],
        label=label,
        dtype=None if dtype is None else _dtype_name(dtype),
        on_error=on_error,
        memory_budget=memory_budget,
        cache=cache,
        threads=threads,
    )
    known = recognise(source)
    if known is not None and known.kind == "tensors" and transform is None and target_transform is None:
        native = open_tensors(known.tensors, options)
        return _finish(native, known.indices, compiled.notes, None, collate_fn, None, seed, False)
    native = open_source(source, options)
    if native is None:
        return _python_plan(source, transform, target_transform, collate_fn)
    as_picture = compiled.python is not None and not compiled.tensor
    return _finish(
        native, None, compiled.notes, compiled.python, collate_fn, target_transform, seed, as_picture
    )
