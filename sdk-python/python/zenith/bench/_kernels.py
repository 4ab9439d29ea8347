"""Part ``kernels``: matrix products by ``zenith.kernels`` against torch's own, shape by shape.

The ratio says what choosing costs and gains where it is used: a choice must never be slower than the default.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import torch

from ._outcome import UnavailableError
from ._timing import median, rounds

_SHAPES = ((64, 64, 64), (256, 256, 256), (1024, 1024, 1024))


def run(device: str, seconds: float) -> dict[str, Any]:
    """Seconds per product of both, by shape and element type."""
    try:
        kernels = import_module("zenith.kernels")
    except ImportError as error:
        raise UnavailableError(f"zenith.kernels is not part of this package: {error}") from None
    chosen = torch.device(device)
    if chosen.type == "cuda":
        raise UnavailableError(
            "kernels are chosen for processors only: here it would be torch against itself"
        )
    each = seconds * 0.7 / len(_SHAPES)
    results: list[dict[str, Any]] = []
    for m, k, n in _SHAPES:
        a, b = torch.randn((m, k), device=chosen), torch.randn((k, n), device=chosen)
        # The first call may measure candidates, which is not what is timed here.
        kernels.matmul(a, b)
        contenders = {"torch": partial(torch.matmul, a, b), "zenith": partial(kernels.matmul, a, b)}
        times = rounds(chosen, contenders, each)
        ratio = median(times["torch"]) / median(times["zenith"])
        results.append(
            {"m": m, "k": k, "n": n, "dtype": str(a.dtype), "seconds": times, "speedup": round(ratio, 4)}
        )
    return {"products": results, "worst_speedup": min(result["speedup"] for result in results)}
