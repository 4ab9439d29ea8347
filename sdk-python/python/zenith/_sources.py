"""From the user's arguments to a plan: what runs natively, what Python must do, and what to say about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from . import _core
from ._errors import ConfigError, SourceError
from ._native import SourceOptions, open_source, open_tensors
from ._pydata.fetch import check_dataset
from ._pydata.recognise import Images, Tensors, recognise
from ._transforms import Compiled, NativeOps, PythonTail, as_callable, compile_transform, plugins_in
from .transforms import Wasm, as_plugin


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
        filters: names of the plugins that may drop or split samples, where there are any.
    """

    native: _core.Source | None
    dataset: Any
    samples: int
    fingerprint: int
    classes: list[str] | None
    collate_fn: Callable[[list[Any]], Any] | None = None
    notes: list[str] = field(default_factory=list)
    filters: str | None = None


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

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Any:
        return self._sample(0, index)

    def zenith_at_epoch(self, epoch: int) -> Callable[[int], Any]:
        """What gives the samples as they are augmented in ``epoch``."""
        return partial(self._sample, epoch)

    def _sample(self, epoch: int, index: int) -> Any:
        arrays = [np.asarray(array)[0] for array in self._source.sample(index, self._seed, epoch)]
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
    plugins: Sequence[Any],
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
        PluginError: a plugin cannot be loaded, or fails on the first samples.
    """
    if isinstance(plugins, (str, bytes, bytearray, memoryview, Wasm)):
        raise ConfigError("plugins is a list of plugins; put the one into brackets")
    behind = _Behind(transform, [as_plugin(plugin) for plugin in plugins], target_transform, collate_fn)
    compiled = behind.compiled()
    options = SourceOptions(
        transform=compiled.native,
        channels_last=bool(compiled.links) and compiled.picture,
        columns=None if columns is None else [str(column) for column in columns],
        label=label,
        dtype=None if dtype is None else _dtype_name(dtype),
        on_error=on_error,
        memory_budget=memory_budget,
        cache=cache,
        threads=threads,
    )
    known = recognise(source)
    if isinstance(known, Tensors) and not (
        compiled.native or compiled.python or target_transform or collate_fn
    ):
        native = behind.staged(open_tensors(list(known.tensors), options), compiled)
        native = native if known.indices is None else native.subset(list(known.indices))
        return _native_plan(native, ["TensorDataset is read natively"], behind)
    if isinstance(known, Images):
        return _images_plan(known, options, behind, seed) or _python_plan(source, behind)
    native = open_source(source, options)
    if native is None:
        return _python_plan(source, behind)
    return _mixed_plan(behind.staged(native, compiled), compiled, behind, seed)


@dataclass(frozen=True)
class _Behind:
    """What the user wants behind the source."""

    transform: Any
    plugins: list[Wasm]
    target_transform: Callable[[Any], Any] | None
    collate_fn: Callable[[list[Any]], Any] | None

    def compiled(self) -> Compiled:
        """The transform, with all plugins in Python where anything else is."""
        compiled = compile_transform(self.transform)
        for name in ("target_transform", "collate_fn"):
            if getattr(self, name) is not None:
                return compiled.in_python(self.plugins, f"{name} is Python")
        if compiled.python is not None:
            return compiled.in_python(self.plugins, "a transform before them does")
        return compiled

    def staged(self, native: _core.Source, compiled: Compiled) -> _core.Source:
        """The source with the plugins and what stands between them."""
        if compiled.python is not None:
            self.refuse_filters("part of the transform runs in Python")
            return native
        links: list[_core.Wasm | tuple[str, bool]] = []
        for link in (*compiled.links, *self.plugins):
            if isinstance(link, NativeOps):
                links.append((json.dumps(link.ops), link.picture))
            else:
                links.append(link._native())
        return native.staged(links) if links else native

    def filters(self) -> str | None:
        """The names of the plugins that change the number of samples."""
        names = [
            f"plugin {p.name}" for p in (*plugins_in(self.transform), *self.plugins) if p.yields != "one"
        ]
        return ", ".join(names) or None

    def refuse_filters(self, why: str) -> None:
        """Refuses plugins that change the number of samples where they are called one sample at a time.

        Raises:
            ConfigError: there is one.
        """
        filters = self.filters()
        if filters is not None:
            raise ConfigError(
                f"{filters} may drop or split samples; that works where samples are made natively, but {why}"
            )


def _images_plan(known: Images, options: SourceOptions, behind: _Behind, seed: int) -> Plan | None:
    """The plan of an ImageFolder, where its folder is read natively as the same samples; else None."""
    if behind.transform is not None and known.transform is not None:
        return None
    behind = replace(
        behind,
        transform=behind.transform if known.transform is None else known.transform,
        target_transform=behind.target_transform or known.target_transform,
    )
    compiled = behind.compiled()
    if behind.transform is None or not (compiled.native or compiled.links or compiled.python):
        return None  # without a transform its samples are PIL pictures, which only Python can hand on
    options = replace(
        options, transform=compiled.native, channels_last=bool(compiled.links) and compiled.picture
    )
    native = open_source(known.root, options)
    if native is None or len(native) != len(known.samples) or native.classes != list(known.classes):
        return None
    native = behind.staged(native, compiled)
    native = native if known.indices is None else native.subset(list(known.indices))
    plan = _mixed_plan(native, compiled, behind, seed)
    plan.notes.insert(0, "ImageFolder is read natively")
    return plan


def _mixed_plan(native: _core.Source, compiled: Compiled, behind: _Behind, seed: int) -> Plan:
    """The plan of a native source with whatever Python stands behind it."""
    if compiled.python is None and behind.target_transform is None and behind.collate_fn is None:
        return _native_plan(native, compiled.notes, behind)
    _, dtype, shape = native.fields[0]
    samples = NativeSamples(
        native,
        seed=seed,
        tail=compiled.python,
        as_picture=compiled.python_takes == "image" and (dtype, len(shape)) == ("uint8", 3),
        target_transform=behind.target_transform,
    )
    plan = _native_plan(native, compiled.notes, behind)
    return replace(plan, native=None, dataset=samples, collate_fn=behind.collate_fn)


def _native_plan(native: _core.Source, notes: list[str], behind: _Behind) -> Plan:
    return Plan(
        native=native,
        dataset=None,
        samples=len(native),
        fingerprint=native.fingerprint,
        classes=native.classes,
        notes=list(notes),
        filters=behind.filters(),
    )


def _python_plan(source: Any, behind: _Behind) -> Plan:
    """The plan of a map-style dataset that only Python can read."""
    check_dataset(source)
    if not hasattr(source, "__len__"):
        raise SourceError(
            f"a source of type {type(source).__name__} cannot be read; paths, dictionaries of arrays, Arrow tables and "
            "map-style datasets (with __getitem__ and __len__) work"
        )
    behind.refuse_filters("the samples of this source are made by Python")
    dataset = source
    transform = as_callable(behind.transform)
    if behind.plugins:
        before = [] if transform is None else [transform]
        transform = PythonTail([*before, *behind.plugins])
    if transform is not None or behind.target_transform is not None:
        dataset = Transformed(source, transform, behind.target_transform)
    return Plan(
        native=None,
        dataset=dataset,
        samples=len(source),
        fingerprint=0,
        classes=list(source.classes) if hasattr(source, "classes") else None,
        collate_fn=behind.collate_fn,
    )


class Transformed:
    """A dataset of (inputs, label) with further callables behind it."""

    def __init__(
        self,
        dataset: Any,
        transform: Callable[[Any], Any] | None,
        target_transform: Callable[[Any], Any] | None,
    ) -> None:
        self._dataset = dataset
        self._transform = transform
        self._target_transform = target_transform

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        sample = self._dataset[index]
        if not isinstance(sample, tuple):
            return sample if self._transform is None else self._transform(sample)
        inputs, *rest = sample
        if self._transform is not None:
            inputs = self._transform(inputs)
        if self._target_transform is not None and rest:
            rest[-1] = self._target_transform(rest[-1])
        return (inputs, *rest)


def _dtype_name(dtype: Any) -> str:
    """NumPy's name of a dtype given as text, NumPy's or torch's."""
    text = str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype
    try:
        return np.dtype(text).name
    except TypeError:
        raise ConfigError(f"dtype {dtype!r} is not known") from None
