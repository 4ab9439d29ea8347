"""torchvision transforms, compiled to the native plan's vocabulary.

An operation is taken only by its exact type, with nothing of its own attached; the first one that has no
native twin, and everything behind it, stays Python. torchvision is never imported here: a transform that uses
it has done so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .transforms import Wasm

Op = dict[str, Any]

_V1 = "torchvision.transforms.transforms"
_V2 = "torchvision.transforms.v2"


CHANNELS_LAST: Op = {"op": "channels_last"}
"""Has no twin in torchvision: pictures are written as [H, W, C]."""


class _NotNativeError(Exception):
    """Why an operation stays Python."""


@dataclass
class NativeOps:
    """Native operations behind a plugin; ``picture`` says that torchvision would have a picture there."""

    ops: list[Op]
    picture: bool


Link = Wasm | NativeOps


@dataclass
class Compiled:
    """A transform in two parts, to be run one after the other.

    native: operations as the native plan reads them (JSON-able, ``{"op": "resize", ...}``).
    python: the rest, or None.
    python_takes: what ``python`` expects: "image" (a PIL image: no native operation has made a tensor yet),
        "tensor" (of torch; a picture is uint8 or float, CHW), "array" (of whatever the loader's batches are made),
        or None where there is no rest.
    exif_transpose: whether the picture is first turned upright as its EXIF data say.
    notes: for the report: which operations stay Python, and why.
    links: what stands behind ``native`` from the first plugin on; empty where something behind it is Python.
    picture: whether what reaches the first plugin is a picture in torchvision's sense, and not yet a tensor.
    all_python: what ``links`` mean, as a callable.
    """

    exif_transpose: bool = False
    native: list[Op] = field(default_factory=list)
    python: Callable[[Any], Any] | None = None
    python_takes: str | None = None
    notes: list[str] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    picture: bool = False
    all_python: Callable[[Any], Any] | None = None

    def in_python(self, plugins: Sequence[Wasm], why: str) -> Compiled:
        """The same transform with everything from its first plugin on, and ``plugins``, in Python.

        Args:
            plugins: those behind the transform.
            why: what runs in Python, so that they have to.
        """
        stages = [link for link in self.links if isinstance(link, Wasm)]
        if not stages and not plugins:
            return self
        rest = self.all_python if self.links else self.python
        tail = PythonTail([*([] if rest is None else [rest]), *plugins])
        names = ", ".join(f"plugin {wasm.name}" for wasm in (*stages, *plugins))
        takes = self.python_takes
        if self.links and self.picture:
            takes = "image"
        elif takes is None:
            # Plugins take arrays of any kind, and some loaders have no torch.
            takes = "array" if all(isinstance(operation, Wasm) for operation in tail.operations) else "tensor"
        return replace(
            self,
            python=tail.operations[0] if len(tail.operations) == 1 else tail,
            python_takes=takes,
            notes=[*self.notes, f"{names} and what follows run in Python: {why}"],
            links=[],
            all_python=None,
        )


class PythonTail:
    """The operations that stay Python, one after the other; pickles if they do."""

    def __init__(self, operations: Sequence[Callable[[Any], Any]]) -> None:
        self.operations: tuple[Callable[[Any], Any], ...] = tuple(
            inner
            for operation in operations
            for inner in (operation.operations if isinstance(operation, PythonTail) else (operation,))
        )

    def __call__(self, sample: Any) -> Any:
        for operation in self.operations:
            sample = operation(sample)
        return sample

    def __repr__(self) -> str:
        return f"PythonTail({', '.join(_name(operation) for operation in self.operations)})"


def compile_transform(transform: Any) -> Compiled:
    """Split ``transform`` into what the native plan does and what stays Python.

    Args:
        transform: a ``Compose`` of torchvision's (v1 or v2), an ``nn.Sequential``, one operation, a plugin, any
            callable, a list of these, or None.

    Returns:
        Native operations and Python tail; together they mean what ``transform`` means on a PIL image.
    """
    out = Compiled()
    if transform is None:
        return out
    operations = list(_flatten(transform))
    if operations and _is_exif_transpose(operations[0]):
        out.exif_transpose = True
        operations = operations[1:]
    first = _first_plugin(operations)
    for at, operation in enumerate(operations[:first]):
        try:
            native = _compile(operation)
        except _NotNativeError as reason:
            tail = operations[at:]
            out.python = tail[0] if len(tail) == 1 else PythonTail(tail)
            out.python_takes = "image" if _is_picture(out.native) else "tensor"
            out.notes.append(f"{_name(operation)} runs in Python: {reason}")
            behind = ", ".join(_name(rest) for rest in tail[1:])
            if behind:
                out.notes.append(f"so do the operations after it: {behind}")
            return out
        if native is not None:
            out.native.append(native)
    if first is not None:
        out.picture = _is_picture(out.native)
        out.all_python = PythonTail(operations[first:])
        _link(out, operations[first:])
    return out


def _is_picture(ops: Iterable[Op]) -> bool:
    """Whether torchvision would have a picture behind ``ops``, and not a tensor."""
    return not any(op["op"] in ("to_image", "to_tensor", "to_dtype", "normalize") for op in ops)


def _link(out: Compiled, operations: Sequence[Any]) -> None:
    """Compiles what begins with a plugin; all of it stays Python where a part of it does."""
    picture = out.picture
    ops: list[Op] = []
    for at, operation in enumerate(operations):
        if isinstance(operation, Wasm):
            if ops:
                # The next plugin sees a picture with its channels last, as the first one does.
                last = [CHANNELS_LAST] if picture and _is_picture(ops) else []
                out.links.append(NativeOps(ops + last, picture))
                picture, ops = picture and _is_picture(ops), []
            out.links.append(operation)
            continue
        try:
            native = _compile(operation)
        except _NotNativeError as reason:
            plugins = ", ".join(f"plugin {wasm.name}" for wasm in operations[:at] if isinstance(wasm, Wasm))
            out.notes.append(f"{_name(operation)} runs in Python: {reason}")
            out.notes.append(f"so does everything from {plugins} on")
            out.python, out.all_python, out.links = out.all_python, None, []
            out.python_takes = "image" if out.picture else "tensor"
            return
        if native is not None:
            ops.append(native)
    if ops:
        out.links.append(NativeOps(ops, picture))


def as_callable(transform: Any) -> Callable[[Any], Any] | None:
    """A transform of any kind that :func:`compile_transform` takes, as one callable."""
    return PythonTail(list(_flatten(transform))) if isinstance(transform, (list, tuple)) else transform


def plugins_in(*transforms: Any) -> list[Wasm]:
    """The plugins among the operations of ``transforms``."""
    given = [transform for transform in transforms if transform is not None]
    return [operation for operation in _flatten(given) if isinstance(operation, Wasm)]


def row_transform(transform: Any) -> Compiled:
    """The same for samples that are no pictures: there all of ``transform`` stays Python, unless a plugin is its first.

    torch's and torchvision's operations do nothing to a NumPy array, so they get tensors from any loader.
    """
    operations = list(_flatten(transform))
    first = _first_plugin(operations)
    if first is not None and all(_does_nothing(operation) for operation in operations[:first]):
        out = Compiled(all_python=PythonTail(operations[first:]))
        _link(out, operations[first:])
        if out.links:
            return out
    kinds = {type(operation).__module__.partition(".")[0] for operation in operations}
    name = ", ".join(map(_name, transform)) if isinstance(transform, (list, tuple)) else _name(transform)
    return Compiled(
        python=as_callable(transform),
        python_takes="tensor" if kinds & {"torch", "torchvision"} else "array",
        notes=[f"{name} runs in Python: the source holds no pictures"],
    )


def _first_plugin(operations: Sequence[Any]) -> int | None:
    return next((at for at, operation in enumerate(operations) if isinstance(operation, Wasm)), None)


def _does_nothing(operation: Any) -> bool:
    try:
        return _compile(operation) is None
    except _NotNativeError:
        return False


def turns_too_late(python: Any) -> bool:
    """Whether a Python rest would turn the picture by EXIF data, which a decoded picture does not have any more."""
    operations = python.operations if isinstance(python, PythonTail) else (python,)
    return any(_is_exif_transpose(operation) for operation in operations)


def _is_exif_transpose(operation: Any) -> bool:
    """Whether this is ``PIL.ImageOps.exif_transpose``, bare or in a ``Lambda`` of torchvision's."""
    known: Any = sys.modules.get("PIL.ImageOps")
    if known is None:
        return False
    if _is(operation, *_either("Lambda")) and not _altered(operation):
        picture = sys.modules["PIL.Image"].Image
        if not issubclass(picture, getattr(operation, "types", object)):
            return False
        operation = operation.lambd
    return operation is known.exif_transpose


def _name(operation: Any) -> str:
    if isinstance(operation, Wasm):
        return f"plugin {operation.name}"
    return getattr(operation, "__name__", None) or type(operation).__name__


def _is(operation: Any, *places: tuple[str, str]) -> bool:
    """Whether the type is exactly one of (module, class)."""
    kind = type(operation)
    return any(kind is getattr(sys.modules.get(module), name, ()) for module, name in places)


def _either(name: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (_V1, name), (_V2, name)


def _flatten(transform: Any) -> Iterable[Any]:
    if isinstance(transform, (list, tuple)):
        for inner in transform:
            yield from _flatten(inner)
    elif _is(transform, *_either("Compose")) and not _altered(transform):
        for inner in transform.transforms:
            yield from _flatten(inner)
    elif _is(transform, ("torch.nn", "Sequential")) and not _altered(transform):
        for inner in transform:
            yield from _flatten(inner)
    else:
        yield transform


def _altered(operation: Any) -> str | None:
    """What the instance has that its class has not: then its meaning is not the class's."""
    own = vars(operation)
    for method in ("forward", "transform", "make_params", "get_params", "_call_kernel", "__call__"):
        if method in own:
            return f"its {method} was replaced"
    if any(value for name, value in own.items() if name.endswith("_hooks") and isinstance(value, dict)):
        return "it has hooks"
    return None


def _compile(operation: Any) -> Op | None:
    """The native twin; None for an operation that does nothing here."""
    for names, build in _TABLE:
        if _is(operation, *names):
            reason = _altered(operation)
            if reason is not None:
                raise _NotNativeError(reason)
            return build(operation)
    raise _NotNativeError("it has no native twin")


# ---- parameters


def _size(value: Any) -> list[int]:
    sizes = [value] if isinstance(value, int) else list(value) if isinstance(value, (list, tuple)) else []
    if len(sizes) not in (1, 2) or not all(type(edge) is int and edge > 0 for edge in sizes):
        raise _NotNativeError(f"size={value!r} is neither an edge nor (height, width)")
    return sizes


def _interpolation(value: Any) -> str:
    name = getattr(value, "value", value)
    if name not in ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos"):
        raise _NotNativeError(f"interpolation={value!r} is not known")
    return name


def _antialias(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _NotNativeError(f"antialias={value!r} is neither True nor False")
    return value


def _bounds(value: Any, name: str) -> list[float] | None:
    if value is None:
        return None
    pair = [float(bound) for bound in value]
    if len(pair) != 2:
        raise _NotNativeError(f"{name}={value!r} is not a pair")
    return pair


def _dtype(value: Any) -> str:
    torch: Any = sys.modules["torch"]
    names = {torch.uint8: "uint8", torch.float16: "float16", torch.float32: "float32"}
    if not isinstance(value, torch.dtype) or value not in names:
        raise _NotNativeError(f"dtype={value!r} has no native conversion")
    return names[value]


def _floats(value: Any, name: str) -> list[float]:
    try:
        return [float(part) for part in value]
    except TypeError:
        raise _NotNativeError(f"{name}={value!r} is not a list of numbers") from None


# ---- operations


def _resize(op: Any) -> Op:
    max_size = op.max_size
    if max_size is not None and type(max_size) is not int:
        raise _NotNativeError(f"max_size={max_size!r} is not a number of pixels")
    return {
        "op": "resize",
        "size": _size(op.size),
        "interpolation": _interpolation(op.interpolation),
        "max_size": max_size,
        "antialias": _antialias(op.antialias),
    }


def _random_crop(op: Any) -> Op:
    if op.padding_mode != "constant":
        raise _NotNativeError(f"padding_mode={op.padding_mode!r} is not native")
    padding = op.padding
    if padding is not None:
        padding = [padding] if isinstance(padding, int) else list(padding)
        if _is(op, (_V2, "RandomCrop")):
            left, right, top, bottom = padding
            padding = [left, top, right, bottom]
        if len(padding) not in (1, 2, 4) or not all(type(edge) is int and edge >= 0 for edge in padding):
            raise _NotNativeError(f"padding={op.padding!r} is not native")
    fill = op.fill
    if padding is None and not op.pad_if_needed:
        fill = 0
    if type(fill) is not int or not 0 <= fill <= 255:
        raise _NotNativeError(f"fill={fill!r} is not a whole number from 0 to 255")
    return {
        "op": "random_crop",
        "size": _size(op.size),
        "padding": padding,
        "pad_if_needed": bool(op.pad_if_needed),
        "fill": fill,
    }


def _random_resized_crop(op: Any) -> Op:
    return {
        "op": "random_resized_crop",
        "size": _size(op.size),
        "scale": _bounds(op.scale, "scale"),
        "ratio": _bounds(op.ratio, "ratio"),
        "interpolation": _interpolation(op.interpolation),
        "antialias": _antialias(op.antialias),
    }


def _color_jitter(op: Any) -> Op:
    names = ("brightness", "contrast", "saturation", "hue")
    return {"op": "color_jitter", **{name: _bounds(getattr(op, name), name) for name in names}}


def _grayscale(op: Any) -> Op:
    if op.num_output_channels not in (1, 3):
        raise _NotNativeError(f"num_output_channels={op.num_output_channels!r} is neither 1 nor 3")
    return {"op": "grayscale", "num_output_channels": op.num_output_channels}


def _normalize(op: Any) -> Op:
    return {"op": "normalize", "mean": _floats(op.mean, "mean"), "std": _floats(op.std, "std")}


def _to_dtype(op: Any) -> Op:
    return {"op": "to_dtype", "dtype": _dtype(op.dtype), "scale": bool(op.scale)}


def _convert(op: Any) -> Op:
    return {"op": "to_dtype", "dtype": _dtype(op.dtype), "scale": True}


def _with_p(name: str) -> Callable[[Any], Op]:
    return lambda op: {"op": name, "p": float(op.p)}


def _bare(name: str) -> Callable[[Any], Op]:
    return lambda op: {"op": name}


def _nothing(op: Any) -> None:
    del op


_TABLE: list[tuple[tuple[tuple[str, str], ...], Callable[[Any], Op | None]]] = [
    (_either("Resize"), _resize),
    (_either("CenterCrop"), lambda op: {"op": "center_crop", "size": _size(op.size)}),
    (_either("RandomCrop"), _random_crop),
    (_either("RandomResizedCrop"), _random_resized_crop),
    (_either("RandomHorizontalFlip"), _with_p("random_horizontal_flip")),
    (_either("RandomVerticalFlip"), _with_p("random_vertical_flip")),
    (_either("ColorJitter"), _color_jitter),
    (_either("Grayscale"), _grayscale),
    (_either("RandomGrayscale"), _with_p("random_grayscale")),
    (_either("Normalize"), _normalize),
    (_either("ToTensor"), _bare("to_tensor")),
    (_either("PILToTensor"), _bare("to_image")),
    (((_V2, "ToImage"),), _bare("to_image")),
    (((_V2, "ToDtype"),), _to_dtype),
    (_either("ConvertImageDtype"), _convert),
    (((_V2, "Identity"), (_V2, "ToPureTensor"), ("torch.nn", "Identity")), _nothing),
]
