"""What a sample looks like, learned from one: where its parts go in the slab, what the batch looks like.

The rules (which types, which dtypes, a tuple becomes a list) are those of torch's ``default_collate``. A
sample of any other kind has no schema; such batches take the general way (collate in the worker, then
`transport`).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

ALIGN = 64

_ARRAY_DTYPES = frozenset(
    (
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    )
)


@dataclass(frozen=True)
class Leaf:
    """One array of the batch.

    kind: ``tensor`` (torch), ``array`` (NumPy), ``scalar`` (NumPy scalar), ``float``, ``int``, ``bool`` or
    ``text``.
    dtype: name of the batch's element type. shape: of one sample. nbytes: of one sample; 0 for text.
    in_tuple: text only; whether torch would hand its strings out as a tuple rather than a list.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    in_tuple: bool = False


@dataclass(frozen=True)
class Branch:
    """A container.

    kind is ``tuple``, ``list``, ``named`` or ``dict``; keys only for dict, cls only for named.
    """

    kind: str
    children: tuple[Node, ...]
    keys: tuple[Any, ...] = ()
    cls: type | None = None


Node = Leaf | Branch


class MismatchError(Exception):
    """A sample does not fit the schema of its batch. Internal: the batch takes the general way."""


def _torch() -> Any:
    return sys.modules.get("torch")


def learn(sample: Any, *, in_tuple: bool = False) -> Node | None:
    """The schema of ``sample``, or None where only the general way will do."""
    kind = type(sample)
    if kind is float:
        return Leaf("float", "float64", (), 8)
    if kind is bool:
        return Leaf("bool", "bool", (), 1)
    if kind is int:
        return Leaf("int", "int64", (), 8)
    if kind is str or kind is bytes:
        return Leaf("text", kind.__name__, (), 0, in_tuple)
    torch = _torch()
    if torch is not None and isinstance(sample, torch.Tensor):
        return _tensor_leaf(torch, sample)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if kind is numpy.ndarray or kind is numpy.memmap:
            if sample.dtype.name not in _ARRAY_DTYPES or not sample.dtype.isnative:
                return None
            return Leaf("array", sample.dtype.name, tuple(sample.shape), int(sample.nbytes))
        if isinstance(sample, numpy.generic):
            if sample.dtype.name not in _ARRAY_DTYPES or isinstance(sample, float):
                # numpy.float64 is a Python float, and torch treats it as one.
                return Leaf("float", "float64", (), 8) if kind is numpy.float64 else None
            return Leaf("scalar", sample.dtype.name, (), sample.dtype.itemsize)
    return _learn_branch(sample)


def _tensor_leaf(torch: Any, sample: Any) -> Leaf | None:
    kind = type(sample)
    if kind is not torch.Tensor and not kind.__module__.startswith("torchvision.tv_tensors"):
        return None
    if sample.layout is not torch.strided or sample.device.type != "cpu" or sample.requires_grad:
        return None
    if sample.is_quantized or sample.is_conj() or sample.is_neg() or sample.is_nested:
        return None
    shape = tuple(sample.shape)
    return Leaf(
        "tensor", str(sample.dtype).removeprefix("torch."), shape, sample.numel() * sample.element_size()
    )


def _learn_branch(sample: Any) -> Branch | None:
    kind = type(sample)
    children: list[Node] = []
    if kind is dict:
        for value in sample.values():
            child = learn(value)
            if child is None:
                return None
            children.append(child)
        return Branch("dict", tuple(children), keys=tuple(sample))
    named = isinstance(sample, tuple) and hasattr(sample, "_fields")
    if kind is not tuple and kind is not list and not named:
        return None
    for value in sample:
        child = learn(value, in_tuple=True)
        if child is None:
            return None
        children.append(child)
    return Branch("named" if named else kind.__name__, tuple(children), cls=kind if named else None)


def leaves(node: Node) -> list[Leaf]:
    """The leaves, depth first: the order of `layout` and `assemble`."""
    if isinstance(node, Leaf):
        return [node]
    return [leaf for child in node.children for leaf in leaves(child)]


def layout(parts: Sequence[Leaf], batch_len: int) -> tuple[list[int], int]:
    """Byte offset of every leaf in the slab of a batch, and the slab's size.

    A pure function: parent and workers need not tell each other.
    """
    offsets: list[int] = []
    at = 0
    for leaf in parts:
        offsets.append(at)
        at += (leaf.nbytes * batch_len + ALIGN - 1) // ALIGN * ALIGN
    return offsets, at


def typed_view(leaf: Leaf, buffer: Any, offset: int, batch_len: int, *, as_torch: bool) -> Any:
    """The ``[batch_len, *shape]`` tensor or array of one leaf over ``buffer``, without a copy."""
    shape = (batch_len, *leaf.shape)
    count = batch_len
    for size in leaf.shape:
        count *= size
    if as_torch:
        torch: Any = _torch()
        dtype = getattr(torch, leaf.dtype)
        if count == 0:
            return torch.empty(shape, dtype=dtype)
        flat = torch.frombuffer(buffer, dtype=dtype, count=count, offset=offset)
        return flat if len(shape) == 1 else flat.view(shape)
    import numpy

    if count == 0:
        return numpy.empty(shape, dtype=leaf.dtype)
    return numpy.frombuffer(buffer, dtype=leaf.dtype, count=count, offset=offset).reshape(shape)


class SlabWriter:
    """Writes samples of one schema into the rows of one batch's slab."""

    def __init__(self, node: Node, batch_len: int, address: Callable[[int], int]) -> None:
        """``address``: given the slab's size in bytes, where it is mapped."""
        parts = leaves(node)
        offsets, total = layout(parts, batch_len)
        self._node = node
        self._views: list[Any] = []
        if total:
            buffer = (ctypes.c_char * total).from_address(address(total))
            for leaf, offset in zip(parts, offsets, strict=True):
                if leaf.kind == "text":
                    self._views.append(None)
                else:
                    self._views.append(
                        typed_view(leaf, buffer, offset, batch_len, as_torch=leaf.kind == "tensor")
                    )
        else:
            self._views = [None] * len(parts)

    def write(self, samples: Sequence[Any], row: int, texts: list[list[Any]]) -> None:
        """Put ``samples`` at rows ``row..``; strings are appended to ``texts``, one list per text leaf.

        Raises:
            MismatchError: a sample is not of this schema; rows may be half written.
        """
        self._leaf = 0
        self._text = 0
        self._write(self._node, samples, row, texts)

    def _write(self, node: Node, column: Sequence[Any], row: int, texts: list[list[Any]]) -> None:
        if isinstance(node, Leaf):
            view = self._views[self._leaf]
            self._leaf += 1
            if node.kind == "text":
                if self._text == len(texts):
                    texts.append([])
                texts[self._text].extend(_exactly(column, str if node.dtype == "str" else bytes))
                self._text += 1
            else:
                _write_leaf(node, view, column, row)
            return
        if node.kind == "dict":
            keys = node.keys
            for value in column:
                if type(value) is not dict or tuple(value) != keys:
                    raise MismatchError
            for key, child in zip(keys, node.children, strict=True):
                self._write(child, [value[key] for value in column], row, texts)
            return
        kind = node.cls or (tuple if node.kind == "tuple" else list)
        width = len(node.children)
        for value in column:
            if type(value) is not kind or len(value) != width:
                raise MismatchError
        for child, values in zip(node.children, zip(*column, strict=True), strict=True):
            self._write(child, values, row, texts)


def _exactly(column: Sequence[Any], kind: type) -> Sequence[Any]:
    for value in column:
        if type(value) is not kind:
            raise MismatchError
    return column


_SCALARS: dict[str, type] = {"float": float, "int": int, "bool": bool}


def _write_leaf(leaf: Leaf, view: Any, column: Sequence[Any], row: int) -> None:
    end = row + len(column)
    if leaf.kind == "tensor":
        _write_tensors(leaf, view, column, row)
        return
    if leaf.kind == "array":
        dtype, shape = view.dtype, leaf.shape
        ndarray = sys.modules["numpy"].ndarray
        for value in column:
            if not isinstance(value, ndarray) or value.dtype != dtype or value.shape != shape:
                raise MismatchError
        if len(column) == 1:
            view[row] = column[0]
        else:
            sys.modules["numpy"].stack(column, out=view[row:end])
        return
    if leaf.kind == "scalar":
        dtype = view.dtype
        for value in column:
            if getattr(value, "dtype", None) != dtype or value.shape != ():
                raise MismatchError
    elif leaf.kind == "float":
        for value in column:
            if not isinstance(value, float):
                raise MismatchError
    else:
        _exactly(column, _SCALARS[leaf.kind])
    try:
        view[row:end] = column
    except OverflowError:
        raise MismatchError from None


def _write_tensors(leaf: Leaf, view: Any, column: Sequence[Any], row: int) -> None:
    if leaf.nbytes == 0:
        for value in column:
            if _tensor_leaf(_torch(), value) != leaf:
                raise MismatchError
        return
    torch: Any = _torch()
    plain = torch.Tensor
    dtype, shape = view.dtype, view.shape[1:]
    values = column
    for value in column:
        if not isinstance(value, plain) or value.dtype is not dtype or value.shape != shape:
            raise MismatchError
        if value.requires_grad or value.device.type != "cpu" or value.layout is not torch.strided:
            raise MismatchError
        if type(value) is not plain:
            if not type(value).__module__.startswith("torchvision.tv_tensors"):
                raise MismatchError
            values = [v.as_subclass(plain) for v in column]
    torch.stack(tuple(values), out=view[row : row + len(column)])


def assemble(node: Node, arrays: Sequence[Any], texts: Sequence[Sequence[Any]]) -> Any:
    """The batch, in the structure that ``default_collate`` gives.

    Args:
        node: the schema.
        arrays: one per leaf that is not text, depth first.
        texts: one list of strings per text leaf, depth first.
    """
    return _build(node, iter(arrays), iter(texts))


# Not a closure: one that calls itself is a reference cycle, which would hold the batch until the next
# collection.
def _build(part: Node, arrays: Iterator[Any], texts: Iterator[Sequence[Any]]) -> Any:
    if isinstance(part, Leaf):
        if part.kind != "text":
            return next(arrays)
        return tuple(next(texts)) if part.in_tuple else list(next(texts))
    children = [_build(child, arrays, texts) for child in part.children]
    if part.kind == "dict":
        return dict(zip(part.keys, children, strict=True))
    if part.cls is not None:
        return part.cls(*children)
    return children


def difference(first: Any, other: Any, path: str = "") -> str | None:
    """In words, where ``other`` is not built like ``first``; None if no difference is visible."""
    here = f"at {path}" if path else "as a whole"
    a, b = getattr(first, "shape", None), getattr(other, "shape", None)
    if a is not None and b is not None:
        return None if tuple(a) == tuple(b) else f"has shape {list(b)} instead of {list(a)} {here}"
    if isinstance(first, dict) and isinstance(other, dict):
        for key in first:
            if key not in other:
                return f"lacks the key {key!r} {here}"
            found = difference(first[key], other[key], f"{path}[{key!r}]")
            if found:
                return found
        return None
    if isinstance(first, (tuple, list)) and isinstance(other, (tuple, list)):
        if len(first) != len(other):
            return f"has {len(other)} parts instead of {len(first)} {here}"
        for at, (x, y) in enumerate(zip(first, other, strict=True)):
            found = difference(x, y, f"{path}[{at}]")
            if found:
                return found
        return None
    if type(first) is not type(other):
        return f"is a {type(other).__name__} instead of a {type(first).__name__} {here}"
    return None
