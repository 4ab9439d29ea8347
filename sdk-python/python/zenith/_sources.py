"""From the user's arguments to a plan: what runs natively, what Python must do, and what to say about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from . import _core
from ._errors import ConfigError, SourceError
from ._native import SourceOptions, names_files, open_images, open_source, open_tensors
from ._pydata.fetch import check_dataset
from ._pydata.recognise import Images, Tensors, recognise
from ._transforms import (
    CHANNELS_LAST,
    Compiled,
    PythonTail,
    as_callable,
    compile_transform,
    plugins_in,
    row_transform,
    turns_too_late,
)
from .transforms import Wasm


@dataclass
class Plan:
    """How samples are made.

    Attributes:
        native: the native source, where no sample needs Python.
        dataset: the map-style object that Python workers read, where one does.
        beneath: the native source that Python's samples are made of, where they are.
        samples: how many samples there are.
        fingerprint: changes when the data changes; 0 for Python datasets, which have none.
        classes: names of the label's classes.
        window: samples that a shuffle's window may hold, where the source is streamed; None where a shuffle is exact.
        collate_fn: the user's, for Python workers.
        notes: what was done in another way than asked or than is fastest.
        filters: names of the plugins that may drop or split samples, where there are any.
        splitting: changes when what samples are split into may be something else; None where none is split.
    """

    native: _core.Source | None
    dataset: Any
    samples: int
    fingerprint: int
    classes: list[str] | None
    window: int | None = None
    collate_fn: Callable[[list[Any]], Any] | None = None
    notes: list[str] = field(default_factory=list)
    filters: str | None = None
    splitting: str | None = None
    beneath: _core.Source | None = None


class NativeSamples:
    """A native source as a map-style dataset, with the Python that the user wants behind it.

    Numbers that are no arrays keep their element type: int64, float64 and bool as the numbers of Python that become
    them again in a batch, others as 0-d tensors or as scalars of NumPy's.
    """

    def __init__(
        self,
        source: _core.Source,
        *,
        seed: int,
        tail: Callable[[Any], Any] | None,
        takes: str | None,
        target_transform: Callable[[Any], Any] | None,
        array_module: str,
        plugins: Sequence[Wasm] = (),
    ) -> None:
        self._source = source
        self.zenith_plugins = _different(plugins)
        self.zenith_readers = source.readers
        self._seed = seed
        self._tail = tail
        self._as_picture = takes == "image"
        self._inputs_as_tensor = takes == "tensor" or array_module == "torch"
        self._as_tensor = array_module == "torch"
        self._target_transform = target_transform
        self._names = [name for name, _, _ in source.fields] if source.shape == "dict" else None

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Any:
        return self._sample(0, index)

    def zenith_share(self, readers: int) -> None:
        """From here on this process is one of ``readers`` that share the source's memory budget."""
        self._source.share(readers)

    def zenith_at_epoch(self, epoch: int) -> Callable[[int], Any]:
        """What gives the samples as they are augmented in ``epoch``."""
        return partial(self._sample, epoch)

    def _sample(self, epoch: int, index: int) -> Any:
        arrays = [np.asarray(array)[0] for array in self._source.sample(index, self._seed, epoch)]
        if self._names is not None:
            parts = [_value(array, self._inputs_as_tensor) for array in arrays]
            sample = dict(zip(self._names, parts, strict=True))
            return sample if self._tail is None else self._tail(sample)
        inputs = _picture(arrays[0]) if self._as_picture else _value(arrays[0], self._inputs_as_tensor)
        if self._tail is not None:
            inputs = self._tail(inputs)
        if len(arrays) == 1:
            return inputs
        rest = [_value(array, self._as_tensor) for array in arrays[1:]]
        if self._target_transform is not None:
            rest[-1] = self._target_transform(rest[-1])
        return (inputs, *rest)


def _different(plugins: Sequence[Wasm]) -> list[Wasm]:
    """Each plugin once, however often it is called."""
    return list({id(plugin): plugin for plugin in plugins}.values())


def _picture(array: Any) -> Any:
    """A PIL picture of [C, H, W] bytes."""
    from PIL import Image

    array = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
    return Image.fromarray(np.ascontiguousarray(array))


def _value(array: Any, as_tensor: bool) -> Any:
    if array.ndim == 0 and array.dtype in (np.int64, np.float64, np.bool_):
        return array.item()
    if not as_tensor:
        return array[()]
    import torch

    return torch.from_numpy(array) if array.ndim else torch.as_tensor(array)


@dataclass(frozen=True)
class Behind:
    """What the user wants behind the source.

    Attributes:
        transform: of a sample's inputs; compiled where it can be.
        plugins: behind it.
        target_transform: of its label.
        collate_fn: of a list of samples.
        array_module: "torch" or "numpy": what batches are made of.
        channels_last: whether pictures are to be written height, width, channel.
        seed: key of augmentation.
    """

    transform: Any
    plugins: list[Wasm]
    target_transform: Callable[[Any], Any] | None
    collate_fn: Callable[[list[Any]], Any] | None
    array_module: str
    channels_last: bool
    seed: int

    def compiled(self) -> Compiled:
        """The transform of pictures, with all plugins in Python where anything else is."""
        return self._placed(compile_transform(self.transform))

    def of_rows(self, compiled: Compiled) -> Compiled:
        """The same where :meth:`compiled` turns out to be for samples that are no pictures."""
        return compiled if self.transform is None else self._placed(row_transform(self.transform))

    def _placed(self, compiled: Compiled) -> Compiled:
        for name in ("target_transform", "collate_fn"):
            if getattr(self, name) is not None:
                return compiled.in_python(self.plugins, f"{name} is Python")
        if compiled.python is not None:
            return compiled.in_python(self.plugins, "a transform before them does")
        return compiled

    def staged(self, native: _core.Source, compiled: Compiled) -> _core.Source:
        """The source with the plugins and what stands between them.

        Raises:
            ConfigError: what it is to be cannot be had with these plugins.
        """
        if compiled.python is not None:
            self.refuse_filters("part of the transform runs in Python")
            if native.shape == "dict" and self.all_plugins():
                raise ConfigError(
                    'plugins are applied to the field "inputs", which works where samples are made natively, but part '
                    "of the transform runs in Python and gets the whole sample"
                )
            return native
        stages = [*compiled.links, *self.plugins]
        if not stages:
            return native
        last = stages[-1]
        if self.channels_last and isinstance(last, Wasm):
            raise ConfigError(
                f"channels_last is for pictures that Zenith writes; what plugin {last.name} gives stays as it is: in "
                "transform=, put ToImage() behind it"
            )
        links: list[_core.Wasm | tuple[str, bool]] = []
        for stage in stages:
            if isinstance(stage, Wasm):
                links.append(stage._native())
            else:
                ops = [*stage.ops, *(self.last_op() if stage is last else ())]
                links.append((json.dumps(ops), stage.picture))
        return native.staged(links)

    def last_op(self) -> list[dict[str, Any]]:
        """The operation that writes a picture's channels last, where the user wants them so."""
        return [CHANNELS_LAST] if self.channels_last else []

    def all_plugins(self) -> list[Wasm]:
        """The plugins of the transform, then those behind it."""
        return plugins_in(self.transform, self.plugins)

    def filters(self) -> str | None:
        """The names of the plugins that change the number of samples."""
        filters = [plugin for plugin in self.all_plugins() if plugin.yields != "one"]
        return ", ".join(f"plugin {plugin.name}" for plugin in filters) or None

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


def plan_source(source: Any, options: SourceOptions, behind: Behind) -> Plan:
    """Decides how the samples of ``source`` are made.

    Args:
        source: what the user gave.
        options: how to read it; ``options.transform`` is decided here.
        behind: what the user wants done with it.

    Raises:
        SourceError: the source cannot be read as data.
        ConfigError: arguments that do not fit the source.
        PluginError: a plugin cannot be loaded, or fails on the first samples.
    """
    compiled = behind.compiled()
    known = recognise(source)
    if isinstance(known, Tensors) and not (
        compiled.native or compiled.python or behind.target_transform or behind.collate_fn
    ):
        _refuse(source, _given(options, behind))
        if compiled.links:
            compiled = behind.of_rows(compiled)
        native = behind.staged(open_tensors(list(known.tensors), options), compiled)
        native = _at(native, known.indices)
        return _native_plan(native, ["TensorDataset is read natively"], behind, compiled)
    if isinstance(known, Images):
        return _images_plan(known, options, behind) or _python_plan(source, options, behind)
    native = open_source(source, _compiled_options(options, compiled, behind))
    if native is None:
        return _python_plan(source, options, behind)
    plan = _mixed_plan(native, compiled, options, behind)
    # Columns that have to be laid out as rows count.
    held = dict(native.facts).get("rows held in memory") != "0 bytes"
    if options.memory_budget is not None and not held and not names_files(source):
        plan.notes.append("memory_budget has no effect: the source lies in memory already")
    return plan


def _compiled_options(options: SourceOptions, compiled: Compiled, behind: Behind) -> SourceOptions:
    """The options with what the native plan is to do."""
    if compiled.links:
        # A plugin sees a picture as PIL and NumPy have it, and a tensor as torch has it.
        last = [CHANNELS_LAST] if compiled.picture else []
    else:
        last = [] if behind.plugins else behind.last_op()
    return replace(
        options, transform=[*compiled.native, *last], apply_exif_orientation=compiled.exif_transpose
    )


def _images_plan(known: Images, options: SourceOptions, behind: Behind) -> Plan | None:
    """The plan of an ImageFolder, where its pictures are read natively as the same samples; else None."""
    if behind.transform is not None and known.transform is not None:
        return None
    if known.transform is not None:
        behind = replace(behind, transform=known.transform)
    own, further = known.target_transform, behind.target_transform
    if own is not None:
        behind = replace(behind, target_transform=own if further is None else PythonTail((own, further)))
    compiled = behind.compiled()
    if behind.transform is None or not (compiled.native or compiled.links or compiled.python):
        return None  # without a transform its samples are PIL pictures, which only Python can hand on
    native = open_images(known, _compiled_options(options, compiled, behind))
    if native is None:
        return None
    plan = _mixed_plan(native, compiled, options, behind, known.indices)
    plan.notes.insert(0, "ImageFolder is read natively")
    return plan


def _mixed_plan(
    native: _core.Source,
    compiled: Compiled,
    options: SourceOptions,
    behind: Behind,
    indices: Sequence[int] | None = None,
) -> Plan:
    """The plan of a native source, or of its samples at ``indices``, with whatever Python stands behind it."""
    if not native.pictures:
        compiled = _for_rows(native, compiled, options, behind)
    elif turns_too_late(compiled.python):
        raise ConfigError(
            "ImageOps.exif_transpose must be the first of the transforms: pictures that come to Python are decoded, "
            "and their EXIF data are gone"
        )
    if behind.target_transform is not None and native.shape != "tuple":
        raise ConfigError("target_transform is for labels, and this source has none")
    # Behind the plugins: their randomness is that of the whole source's sample.
    native = _at(behind.staged(native, compiled), indices)
    plan = _native_plan(native, compiled.notes, behind, compiled)
    if compiled.python is None and behind.target_transform is None and behind.collate_fn is None:
        return plan
    if behind.channels_last:
        raise ConfigError(
            "channels_last is for batches that are made natively; behind Python, use "
            "inputs.to(memory_format=torch.channels_last)"
        )
    samples = NativeSamples(
        native,
        seed=behind.seed,
        tail=compiled.python,
        takes=compiled.python_takes,
        target_transform=behind.target_transform,
        array_module=behind.array_module,
        plugins=behind.all_plugins(),
    )
    return replace(plan, native=None, dataset=samples, beneath=native, collate_fn=behind.collate_fn)


def _at(native: _core.Source, indices: Sequence[int] | None) -> _core.Source:
    return native if indices is None else native.subset(list(indices))


def _for_rows(native: _core.Source, compiled: Compiled, options: SourceOptions, behind: Behind) -> Compiled:
    """What the user's transform is for a source without pictures."""
    only_pictures = [
        name
        for name, given in (("channels_last", behind.channels_last), ("decode", options.decode != "exact"))
        if given
    ]
    if only_pictures:
        raise ConfigError(f"{' and '.join(only_pictures)}: this is for pictures, but the source holds none")
    if behind.transform is None:
        return compiled
    _, _, shape = native.fields[0]
    of_pictures = compiled.exif_transpose or any(op["op"] != "to_dtype" for op in compiled.native)
    if of_pictures and native.shape != "dict" and len(shape) < 2:
        raise ConfigError("a transform of pictures was given, but the source holds none")
    return behind.of_rows(compiled)


def _given(options: SourceOptions, behind: Behind) -> list[str]:
    """The arguments given by the user that only sources of Zenith's own can follow."""
    names = [
        name
        for name in ("columns", "label", "dtype", "memory_budget", "cache")
        if getattr(options, name) is not None
    ]
    names += ["decode"] if options.decode != "exact" else []
    return [*names, "channels_last"] if behind.channels_last else names


def _refuse(source: Any, names: list[str]) -> None:
    if names:
        raise ConfigError(
            f"{', '.join(names)}: this has no meaning here, because the samples of a {type(source).__name__} are what "
            "its own code makes them; it works for files, arrays and tables"
        )


def _native_plan(native: _core.Source, notes: list[str], behind: Behind, compiled: Compiled) -> Plan:
    return Plan(
        native=native,
        dataset=None,
        samples=len(native),
        fingerprint=native.fingerprint,
        classes=native.classes,
        window=native.window,
        notes=[*notes, *native.notes],
        filters=behind.filters(),
        splitting=_splitting(native, compiled),
    )


def _splitting(native: _core.Source, compiled: Compiled) -> str | None:
    """A digest of what decides the parts of a split sample: the plugins, and what the first of them is given."""
    if native.splitting is None:
        return None
    decides = json.dumps([native.splitting, compiled.native, compiled.exif_transpose])
    return hashlib.sha256(decides.encode()).hexdigest()[:16]


def _python_plan(source: Any, options: SourceOptions, behind: Behind) -> Plan:
    """The plan of a map-style dataset that only Python can read."""
    check_dataset(source)
    if not hasattr(source, "__len__"):
        raise SourceError(
            f"a source of type {type(source).__name__} cannot be read; paths, dictionaries of arrays, Arrow tables and "
            "map-style datasets (with __getitem__ and __len__) work"
        )
    behind.refuse_filters("the samples of this source are made by Python")
    _refuse(source, _given(options, behind))
    dataset = source
    transform = as_callable(behind.transform)
    if behind.plugins:
        transform = PythonTail([*([] if transform is None else [transform]), *behind.plugins])
    if transform is not None or behind.target_transform is not None:
        dataset = Transformed(source, transform, behind.target_transform, behind.all_plugins())
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
        plugins: Sequence[Wasm] = (),
    ) -> None:
        self.zenith_plugins = _different(plugins)
        self._dataset = dataset
        self._transform = transform
        self._target_transform = target_transform

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        sample = self._dataset[index]
        if self._target_transform is not None and not (isinstance(sample, tuple) and len(sample) > 1):
            raise ConfigError(
                f"target_transform is for samples (inputs, label), and sample {index} is a {type(sample).__name__}"
            )
        if not isinstance(sample, tuple):
            return sample if self._transform is None else self._transform(sample)
        inputs, *rest = sample
        if self._transform is not None:
            inputs = self._transform(inputs)
        if self._target_transform is not None:
            rest[-1] = self._target_transform(rest[-1])
        return (inputs, *rest)


def dtype_name(dtype: Any) -> str:
    """NumPy's name of a dtype given as text, NumPy's or torch's."""
    text = str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype
    try:
        return np.dtype(text).name
    except TypeError:
        raise ConfigError(f"dtype {dtype!r} is not known") from None
