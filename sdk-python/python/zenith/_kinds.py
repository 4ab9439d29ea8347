"""What data may be, for plugins: bytes, arrays, tensors, Arrow and containers, taken apart and put together again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ._errors import PluginError

#: NumPy's names of the element types that plugins know.
DTYPES = frozenset(
    (
        "bool",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
    )
)

#: Names of the NumPy dtypes that were met: NumPy puts a name together anew each time it is asked.
_NAMES: dict[Any, str] = {}


class Dropped:
    """Stands for data that a plugin dropped."""


class Several(list[Any]):
    """What a plugin made of data that it split."""


@dataclass(slots=True)
class Leaf:
    """One array inside of the data.

    dtype, shape: NumPy's name of the element type, and elements along each axis.
    pointer, nbytes: its memory, row-major without gaps.
    keep: what keeps that memory alive.
    wrap: makes the user's kind of a result (anything that ``numpy.asarray`` takes).
    like: where results of the same type and shape can be made cheaply: gives one and its pointer.
    """

    dtype: str
    shape: tuple[int, ...]
    pointer: int
    nbytes: int
    keep: Any
    wrap: Callable[[Any], Any]
    like: Callable[[], tuple[Any, int]] | None = None


def back(wrap: Callable[[Any], Any], results: list[Any]) -> Any:
    """The results of one call as the user's kind."""
    if len(results) == 1:
        return wrap(results[0])
    return Several(map(wrap, results)) if results else Dropped


@dataclass(slots=True)
class Skeleton:
    """What is left when the leaves are taken out of the data."""

    build: Callable[[list[Any]], Any] | None
    leaves: int

    def rebuild(self, values: list[Any]) -> Any:
        """Put values where the leaves were; None where a plugin dropped one of them.

        Raises:
            PluginError: a plugin split a part of a container.
        """
        if any(value is Dropped for value in values):
            return None
        if self.build is None:
            return values[0]
        if any(type(value) is Several for value in values):
            raise PluginError(
                "a plugin split one of the arrays of a container; there is no place for its parts"
            )
        return self.build(values)


_ONE = Skeleton(None, 1)


def take_apart(data: Any) -> tuple[Skeleton, list[Leaf]]:
    """Find the arrays in data.

    Raises:
        TypeError: something in it is of a kind that plugins do not take; the message says where.
    """
    leaf = _leaf(data, "")
    if leaf is not None:
        return _ONE, [leaf]
    leaves: list[Leaf] = []
    build = _container(data, leaves, "")
    return Skeleton(build, len(leaves)), leaves


def _container(data: Any, leaves: list[Leaf], place: str) -> Callable[[list[Any]], Any]:
    """Collect the leaves below ``data``; what puts them together again takes all values and picks its own."""
    leaf = _leaf(data, place)
    if leaf is not None:
        leaves.append(leaf)
        at = len(leaves) - 1
        return lambda values: values[at]
    if isinstance(data, Mapping):
        builds = {key: _container(value, leaves, f"{place}[{key!r}]") for key, value in data.items()}
        return lambda values: {key: build(values) for key, build in builds.items()}
    if isinstance(data, (list, tuple)):
        parts = [_container(value, leaves, f"{place}[{at}]") for at, value in enumerate(data)]
        kind: Any = type(data)
        if hasattr(kind, "_fields"):
            return lambda values: kind(*(build(values) for build in parts))
        return lambda values: kind(build(values) for build in parts)
    arrow: Any = sys.modules.get("pyarrow")
    if arrow is not None and isinstance(data, (arrow.RecordBatch, arrow.Table)):
        names = data.schema.names
        columns = [_container(data.column(at), leaves, f"{place}.{name}") for at, name in enumerate(names)]
        kind, schema = type(data), data.schema

        def build(values: list[Any]) -> Any:
            made = [column(values) for column in columns]
            if [column.type for column in made] == schema.types:
                return kind.from_arrays(made, schema=schema)
            return kind.from_arrays(made, names=names)

        return build
    raise TypeError(
        f"plugins take bytes, NumPy arrays, torch tensors, Arrow arrays and dicts, lists and tuples of them; "
        f"{f'at {place} there is' if place else 'this is'} {type(data).__name__}"
    )


def _leaf(data: Any, place: str) -> Leaf | None:
    kind = type(data)
    if kind is bytes or kind is bytearray:
        return _of_bytes(data, kind)
    if kind is memoryview:
        return _of_array(_numpy().asarray(data), place, lambda result: memoryview(_numpy().asarray(result)))
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(data, (numpy.ndarray, numpy.generic)):
        if isinstance(data, numpy.ma.MaskedArray):
            raise TypeError(f"plugins know no masks; fill those of {place or 'this'} first (filled())")
        return _of_array(data, place, numpy.asarray, reuse=True)
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.Tensor):
        return _of_tensor(data, torch, place)
    arrow: Any = sys.modules.get("pyarrow")
    if arrow is not None and isinstance(data, (arrow.Array, arrow.ChunkedArray)):
        return _of_arrow(data, arrow, place)
    return None


def _numpy() -> Any:
    import numpy

    return numpy


def _of_bytes(data: bytes | bytearray, kind: type) -> Leaf:
    array = _numpy().frombuffer(data, "uint8")
    pointer = array.__array_interface__["data"][0]
    return Leaf(
        "uint8",
        array.shape,
        pointer,
        len(data),
        array,
        lambda result: kind(_numpy().asarray(result).tobytes()),
    )


def _of_array(data: Any, place: str, wrap: Callable[[Any], Any], *, reuse: bool = False) -> Leaf:
    numpy = _numpy()
    name = _NAMES.get(data.dtype)
    if name is None:
        name = data.dtype.name
        if name not in DTYPES:
            raise TypeError(_dtype(data.dtype, place))
        _NAMES[data.dtype] = name
    array = data
    if not (isinstance(data, numpy.ndarray) and data.flags.c_contiguous and data.dtype.isnative):
        array = numpy.array(data, data.dtype.newbyteorder("="), order="C")
    pointer = array.__array_interface__["data"][0]

    def like() -> tuple[Any, int]:
        out = numpy.empty(array.shape, array.dtype)
        return out, out.__array_interface__["data"][0]

    return Leaf(name, array.shape, pointer, array.nbytes, array, wrap, like if reuse else None)


def _of_tensor(data: Any, torch: Any, place: str) -> Leaf:
    if data.device.type != "cpu" or data.layout is not torch.strided:
        raise TypeError(
            f"plugins take dense tensors on the CPU; {place or 'this'} is on {data.device}, {data.layout}"
        )
    name = str(data.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise TypeError(_dtype(name, place))
    tensor = data.detach().contiguous().resolve_conj().resolve_neg()

    def like() -> tuple[Any, int]:
        # Whatever device is the default: it is written to from here.
        out = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
        return out, out.data_ptr()

    nbytes = tensor.numel() * tensor.element_size()
    return Leaf(
        name,
        tuple(tensor.shape),
        tensor.data_ptr(),
        nbytes,
        tensor,
        lambda result: torch.from_numpy(_numpy().asarray(result)),
        like,
    )


def _of_arrow(data: Any, arrow: Any, place: str) -> Leaf:
    where = place or "this"
    if data.null_count:
        raise TypeError(f"plugins know no nulls; {where} has {data.null_count}: fill them first (fill_null)")
    chunked = isinstance(data, arrow.ChunkedArray)
    flat = data.combine_chunks() if chunked else data
    width = None
    if arrow.types.is_fixed_size_list(flat.type):
        width = flat.type.list_size
        flat = flat.flatten()
        if flat.null_count:
            raise TypeError(f"plugins know no nulls; {where} has some in its lists: fill them first")
    if not (
        arrow.types.is_integer(flat.type)
        or arrow.types.is_floating(flat.type)
        or arrow.types.is_boolean(flat.type)
    ):
        raise TypeError(
            f"plugins take Arrow arrays of numbers or of fixed-size lists of them; {where} is {data.type}"
        )
    array = flat.to_numpy(zero_copy_only=False)
    if width is not None:
        array = array.reshape(-1, width)

    def wrap(result: Any) -> Any:
        made = _numpy().asarray(result)
        if made.ndim == 1:
            out = arrow.array(made)
        elif made.ndim == 2:
            out = arrow.FixedSizeListArray.from_arrays(arrow.array(made.reshape(-1)), made.shape[1])
        else:
            raise PluginError(
                f"a result of shape {list(made.shape)} has no Arrow array; one or two axes have"
            )
        return arrow.chunked_array([out]) if chunked else out

    return _of_array(array, place, wrap)


def _dtype(dtype: Any, place: str) -> str:
    return f"plugins know the element types {', '.join(sorted(DTYPES))}; {place or 'this'} is of {dtype}"
