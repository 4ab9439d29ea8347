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

_SHAPES = (
    (64, 64, 64),
    (256, 256, 256),
    (1024, 1024, 1024),
    (4096, 4096, 4096),
    (1, 4096, 4096),
    (16, 4096, 11008),
    (128, 4096, 11008),
    (2048, 4096, 4096),
    (8192, 1024, 1024),
    (333, 777, 555),
)


def run(device: str, seconds: float) -> dict[str, Any]:
    """Seconds per product of both, by shape and element type."""
    try:
        kernels = import_module("zenith.kernels")
    except ImportError as error:
        raise UnavailableError(f"zenith.kernels is not part of this package: {error}") from None
    chosen = torch.device(device)
    dtypes = (torch.bfloat16, torch.float32) if chosen.type == "cuda" else (torch.float32,)
    shapes = _SHAPES if chosen.type == "cuda" else _SHAPES[:3]
    each = seconds * 0.7 / len(dtypes) / len(shapes)
    results: list[dict[str, Any]] = []
    for dtype in dtypes:
        for m, k, n in shapes:
            a = torch.randn((m, k), dtype=dtype, device=chosen)
            b = torch.randn((k, n), dtype=dtype, device=chosen)
            # The first call may measure candidates, which is not what is timed here.
            kernels.matmul(a, b)
            contenders = {"torch": partial(torch.matmul, a, b), "zenith": partial(kernels.matmul, a, b)}
            times = rounds(chosen, contenders, each)
            ratio = median(times["torch"]) / median(times["zenith"])
            results.append(
                {"m": m, "k": k, "n": n, "dtype": str(dtype), "seconds": times, "speedup": round(ratio, 4)}
            )
    return {"products": results, "worst_speedup": min(result["speedup"] for result in results)}
