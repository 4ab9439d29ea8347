"""NumPy and torch as the decision store sees them: how their arrays become known, their modes, their versions.

torch is never imported here: who has a tensor has imported it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .. import _core

# DLPack's codes: signed, unsigned, floating, complex, boolean.
_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_KINDS = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128"

_state = {"numpy": False, "torch": False}


class Facts(NamedTuple):
    """What a key has to know of an array.

    Attributes:
        dtype: library and element type, such as ``torch.float32``.
        shape: its sizes.
        layout: the class of its layout, such as ``rows``.
        address: where its first element lies.
        distances: bytes between neighbours in each dimension.
        device: DLPack's type and number of the device; (1, 0) is the processor.
    """

    dtype: str
    shape: list[int]
    layout: str
    address: int
    distances: list[int]
    device: tuple[int, int]


def torch() -> ModuleType | None:
    """torch, if this process uses it."""
    return sys.modules.get("torch")


def facts(value: Any) -> Facts | None:
    """The facts of an array of NumPy or of torch; None for anything else."""
    told = _core.array_facts(value)
    if told is None and know(value):
        told = _core.array_facts(value)
    return None if told is None else Facts(*told)


def know(value: Any) -> bool:
    """Makes the library of ``value`` known to the extension; whether that is new."""
    if type(value) is np.ndarray and not _state["numpy"]:
        _know_numpy()
        return True
    module = torch()
    if module is not None and not _state["torch"] and isinstance(value, getattr(module, "Tensor", ())):
        return _know_torch(module)
    return False


def why_unknown(value: Any) -> str | None:
    """Why nothing can be chosen for a tensor or an array like ``value``; None if it is neither."""
    module = torch()
    if module is not None and isinstance(value, getattr(module, "Tensor", ())):
        if type(value) not in (module.Tensor, module.nn.Parameter):
            return f"{type(value).__name__} is a subclass of torch.Tensor, which may mean anything"
        if not hasattr(module.Tensor, "__dlpack_c_exchange_api__"):
            return f"torch {module.__version__} has no DLPack exchange interface; 2.10 would work"
        return "this tensor does not lie in plain memory"
    if isinstance(value, np.ndarray):
        return f"arrays of {type(value).__name__} with elements of type {value.dtype} are not looked at"
    return None


def _know_numpy() -> None:
    kinds = [np.dtype(name) for name in _KINDS.split()]
    dtypes = [(dtype, _CODES[dtype.kind], dtype.itemsize * 8) for dtype in kinds]
    probe = np.zeros(6, np.int16)[::2]
    _core.know_numpy(np.ndarray, dtypes, probe, probe.__array_interface__["data"][0])
    _state["numpy"] = True


def _know_torch(module: Any) -> bool:
    _state["torch"] = True
    interface = getattr(module.Tensor, "__dlpack_c_exchange_api__", None)
    if interface is None:
        return False
    native = module._C
    modes = [
        native._get_deterministic_algorithms,
        native._get_float32_matmul_precision,
    ]
    # Autocast is slow to ask for, and operations of torch heed it by themselves.
    interceptors = [
        native._is_any_autocast_enabled,
        native._len_torch_function_stack,
        native._len_torch_dispatch_stack,
        native._functorch.maybe_current_level,
        native._get_tracing_state,
        _is_forward_differentiated,
    ]
    return _core.know_torch(
        module.Tensor, module.nn.Parameter, interface, module.is_grad_enabled, modes, interceptors
    )


def _is_forward_differentiated() -> bool:
    module = sys.modules.get("torch.autograd.forward_ad")
    return getattr(module, "_current_level", -1) >= 0


def wants_gradient(values: list[Any]) -> bool:
    """Whether autograd records what is done with these values."""
    module = torch()
    if module is None:
        return False
    tensors = [value for value in values if isinstance(value, module.Tensor)]
    return any(tensor.requires_grad for tensor in tensors) and module.is_grad_enabled()


def is_autocast() -> bool:
    """Whether torch changes the types of operands by itself."""
    module = torch()
    if module is None:
        return False
    return bool(module._C._is_any_autocast_enabled())


def why_watched(values: list[Any]) -> str | None:
    """Why only torch's own operations would do now: something wants to see them, or memory is not what is read."""
    module = torch()
    tensors = [] if module is None else [value for value in values if isinstance(value, module.Tensor)]
    if module is None or not tensors:
        return None
    native = module._C
    if native._len_torch_function_stack() or native._len_torch_dispatch_stack():
        return "a mode of torch wants to see every operation"
    if native._functorch.maybe_current_level() is not None or _is_forward_differentiated():
        return "a transform of torch wants to see every operation"
    if module.jit.is_tracing():
        return "torch traces every operation"
    if any(tensor.is_neg() or tensor.is_conj() for tensor in tensors):
        return "a tensor is negated or conjugated once it is read"
    return None


def math_mode(dtype: str) -> str:
    """What arithmetic is allowed for operands of ``dtype``: ``ieee``, or torch's word for less."""
    module = torch()
    if module is None or dtype != "torch.float32":
        return "ieee"
    precision = module.get_float32_matmul_precision()
    return "ieee" if precision == "highest" else precision


def determinism(dtype: str) -> str:
    """``required`` if torch was told so, else ``any``."""
    module = torch()
    if module is None or not dtype.startswith("torch."):
        return "any"
    return "required" if module.are_deterministic_algorithms_enabled() else "any"


def version(library: str) -> str | None:
    """The version of a library that is imported, with what else changes its speed; None if it has none."""
    module = sys.modules.get(library)
    told = getattr(module, "__version__", None)
    if not isinstance(told, str):
        return None
    if library == "torch" and module is not None:
        return f"{told} threads={module.get_num_threads()}"
    return told
