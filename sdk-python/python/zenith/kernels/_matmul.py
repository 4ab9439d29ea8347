"""The product of two matrices: the operation that comes with candidates.

For tensors the default is ``torch.matmul``, for arrays ``numpy.matmul``; whatever is not two matrices of one type goes
there directly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import _core
from . import _frameworks
from ._candidate import Candidate
from ._kernel import Kernel

_BLAS = ("float32", "float64", "complex64", "complex128")
_NATIVE = ("float32", "float64")
_PARALLEL = ("gemm", "faer")


class MatMul(Kernel):
    """``matmul(a, b)``: the product of two matrices, or what ``torch.matmul`` and ``numpy.matmul`` make of others."""

    def __init__(self) -> None:
        torch = Candidate(
            "torch",
            _torch,
            libraries=("torch",),
            when=_when_torch,
            differentiable=True,
            resolve=_resolve_torch,
        )
        super().__init__("matmul", torch, key=_sizes)
        self.add(
            Candidate(
                "torch.mm",
                _torch_mm,
                libraries=("torch",),
                when=_when_torch,
                differentiable=True,
                resolve=_resolve_mm,
            )
        )
        self.add(Candidate("numpy", _numpy, libraries=("numpy",), when=_when_numpy, resolve=_resolve_numpy))
        for backend, libraries in _core.matmul_backends():
            self.add(
                Candidate(
                    backend,
                    partial(_native, backend),
                    libraries=dict(libraries),
                    when=partial(_when_native, backend),
                    out=_result,
                )
            )

    def default(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        """What does a call that nothing is chosen for."""
        values = [*args, *kwargs.values()]
        if any(map(_is_tensor, values)):
            module: Any = _frameworks.torch()
            return module.matmul
        return np.matmul


def _is_tensor(value: Any) -> bool:
    module = _frameworks.torch()
    return module is not None and isinstance(value, module.Tensor)


def _sizes(a: Any, b: Any) -> dict[str, int] | str:
    if _is_tensor(a) != _is_tensor(b):
        return "the operands are of different libraries"
    if a.ndim != 2 or b.ndim != 2:
        return "the operands are not two matrices"
    if a.dtype != b.dtype:
        return f"the operands are of different types: {a.dtype} and {b.dtype}"
    if a.shape[1] != b.shape[0]:
        return f"the sizes {tuple(a.shape)} and {tuple(b.shape)} do not fit"
    sizes = {"m": a.shape[0], "n": b.shape[1], "k": a.shape[1]}
    return sizes if all(sizes.values()) else "there is nothing to multiply"


def _torch(a: Any, b: Any) -> Any:
    return _resolve_torch(a, b)(a, b)


def _torch_mm(a: Any, b: Any) -> Any:
    return _resolve_mm(a, b)(a, b)


def _numpy(a: Any, b: Any) -> Any:
    return _resolve_numpy(a, b)(a, b)


def _resolve_torch(a: Any, b: Any) -> Callable[..., Any]:
    module: Any = _frameworks.torch()
    return module.matmul


def _resolve_mm(a: Any, b: Any) -> Callable[..., Any]:
    module: Any = _frameworks.torch()
    return module.mm


def _resolve_numpy(a: Any, b: Any) -> Callable[..., Any]:
    return _numpy_of_tensors if _is_tensor(a) else np.matmul


def _numpy_of_tensors(a: Any, b: Any) -> Any:
    module: Any = _frameworks.torch()
    return module.from_numpy(np.matmul(a.detach().numpy(), b.detach().numpy()))


def _dtype(a: Any) -> str:
    return str(a.dtype).removeprefix("torch.")


def _when_torch(a: Any, b: Any) -> bool | str:
    return _is_tensor(a) or "these are no tensors"


def _when_numpy(a: Any, b: Any) -> bool | str:
    return not _is_tensor(a) or _dtype(a) in _BLAS or f"NumPy's BLAS has no {a.dtype}"


def _when_native(backend: str, a: Any, b: Any) -> bool | str:
    if _frameworks.determinism(str(a.dtype)) == "required" and backend in _PARALLEL:
        return "on several processors it does not promise equal bits"
    return _dtype(a) in _NATIVE or f"it multiplies float32 and float64, not {a.dtype}"


def _result(a: Any, b: Any) -> Any:
    shape = (a.shape[0], b.shape[1])
    return a.new_empty(shape) if _is_tensor(a) else np.empty(shape, a.dtype)


def _native(backend: str, a: Any, b: Any, out: Any) -> None:
    _core.matmul_into(backend, a, b, out)


operation = MatMul()
