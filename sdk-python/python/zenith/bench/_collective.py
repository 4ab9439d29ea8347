"""Part ``collective``: torch.distributed with one rank: that NCCL loads, starts and reduces on this machine."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.cuda import nccl

from ._outcome import UnavailableError
from ._timing import median, rounds

_BYTES = 64 << 20


def run(device: str, seconds: float) -> dict[str, Any]:
    """Seconds of an all-reduce over one rank, and whether it gives what it was given."""
    chosen = torch.device(device)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    if not dist.is_available() or not dist.is_backend_available(backend):
        raise UnavailableError(f"this torch has no {backend}")
    with tempfile.TemporaryDirectory() as folder:
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        dist.init_process_group(
            backend,
            init_method=f"file://{folder}/store",
            rank=0,
            world_size=1,
            timeout=timedelta(seconds=max(10.0, seconds / 2)),
        )
        try:
            return _measure(chosen, backend, seconds)
        finally:
            dist.destroy_process_group()


def _measure(device: torch.device, backend: str, seconds: float) -> dict[str, Any]:
    data = torch.arange(_BYTES // 4, dtype=torch.float32, device=device)
    expected = data.clone()
    times = rounds(device, {"all_reduce": lambda: dist.all_reduce(data)}, seconds * 0.4)
    # A sum over one rank is what was there.
    if not torch.equal(data, expected):
        raise AssertionError("an all-reduce over one rank changed its data")
    version = ".".join(map(str, nccl.version())) if backend == "nccl" else None
    return {
        "backend": backend,
        "version": version,
        "bytes": _BYTES,
        "seconds": times,
        "median_seconds": median(times["all_reduce"]),
    }
