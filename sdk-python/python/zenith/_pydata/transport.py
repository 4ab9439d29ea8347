"""Carrying any collated batch from a worker to the parent: arrays in the slab, the rest pickled.

For what `schema` does not describe: the user's own ``collate_fn``, containers of unusual kinds. Tensors and
arrays are found at any depth, because it is the pickler that meets them.
"""

from __future__ import annotations

import ctypes
import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

from .schema import ALIGN, Leaf, typed_view

_INLINE = 256


class _Packer(pickle.Pickler):
    def __init__(self, out: io.BytesIO) -> None:
        super().__init__(out, protocol=5)
        self.found: list[Any] = []
        self.ids: dict[int, tuple[Any, ...]] = {}
        self.nbytes = 0
        self._torch = sys.modules.get("torch")
        self._numpy = sys.modules.get("numpy")

    def persistent_id(self, obj: Any) -> Any:
        torch, numpy = self._torch, self._numpy
        if torch is not None and type(obj) is torch.Tensor:
            if (
                obj.layout is not torch.strided
                or obj.device.type != "cpu"
                or obj.requires_grad
                or obj.is_quantized
                or obj.is_conj()
                or obj.is_neg()
                or obj.is_nested
            ):
                return None
            size = obj.numel() * obj.element_size()
            dtype, kind = str(obj.dtype).removeprefix("torch."), "tensor"
        elif numpy is not None and type(obj) is numpy.ndarray:
            if obj.dtype.kind not in "biufc" or not obj.dtype.isnative:
                return None
            size, dtype, kind = obj.nbytes, obj.dtype.name, "array"
        else:
            return None
        if size < _INLINE:
            return None
        known = self.ids.get(id(obj))
        if known is None:
            known = (kind, dtype, tuple(obj.shape), size, self.nbytes)
            self.ids[id(obj)] = known
            self.found.append(obj)
            self.nbytes += (size + ALIGN - 1) // ALIGN * ALIGN
        return known


def pack(batch: Any, address: Callable[[int], int]) -> tuple[bytes, int]:
    """Pickle ``batch`` with its tensors and arrays put in the slab.

    Args:
        batch: anything that pickles.
        address: given a size in bytes, where the slab is mapped.

    Returns:
        The pickle, and how many bytes of the slab are used.

    Raises:
        Exception: whatever pickling ``batch`` raises.
    """
    out = io.BytesIO()
    packer = _Packer(out)
    packer.dump(batch)
    if packer.nbytes:
        buffer = (ctypes.c_char * packer.nbytes).from_address(address(packer.nbytes))
        for obj in packer.found:
            kind, dtype, shape, size, offset = packer.ids[id(obj)]
            view = typed_view(Leaf(kind, dtype, shape, size), buffer, offset, 1, as_torch=kind == "tensor")
            if kind == "tensor":
                view[0].copy_(obj)
            else:
                view[0] = obj
    return out.getvalue(), packer.nbytes


class _Unpacker(pickle.Unpickler):
    def __init__(self, blob: bytes, render: Callable[[Leaf, int], Any]) -> None:
        super().__init__(io.BytesIO(blob))
        self._render = render
        self._made: dict[int, Any] = {}

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, shape, size, offset = pid
        made = self._made.get(offset)
        if made is None:
            made = self._made[offset] = self._render(Leaf(kind, dtype, shape, size), offset)
        return made


def unpack(blob: bytes, render: Callable[[Leaf, int], Any]) -> Any:
    """The batch that `pack` took; ``render`` makes the array of a leaf at an offset."""
    return _Unpacker(blob, render).load()
