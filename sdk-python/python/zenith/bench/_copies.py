"""Part ``copies``: bytes per second between host and device, from pageable, page-locked and Zenith's own memory.

On the processor's device there is only a copy from memory to memory, which is what the program is tried with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .. import torch as zt
from .._order import Place
from ._timing import median, rounds

_SIZES = (1 << 20, 16 << 20, 128 << 20)


def run(device: str, seconds: float) -> dict[str, Any]:
    """Gigabytes per second by size, kind of memory and direction; medians of alternating rounds."""
    chosen = torch.device(device)
    sizes = _SIZES if chosen.type == "cuda" else _SIZES[:2]
    return {str(size): _size(chosen, size, seconds * 0.7 / len(sizes)) for size in sizes}


def _size(device: torch.device, size: int, seconds: float) -> dict[str, Any]:
    there = torch.empty(size, dtype=torch.uint8, device=device)
    hosts = {"pageable": torch.ones(size, dtype=torch.uint8)}
    notes: dict[str, str] = {}
    slab, keep = _slab(device, size)
    hosts["zenith"] = slab
    if device.type == "cuda":
        hosts["pinned"] = torch.ones(size, dtype=torch.uint8).pin_memory()
        notes["zenith_is_pinned"] = str(slab.is_pinned())
    else:
        notes["pinned"] = "there is no page-locked memory without a CUDA device"
    contenders: dict[str, Callable[[], Any]] = {}
    for name, host in hosts.items():
        contenders[f"{name} to device"] = _copy(there, host)
        contenders[f"{name} from device"] = _copy(host, there)
    times = rounds(device, contenders, seconds)
    del keep
    speeds = {name: round(size / median(values) / 1e9, 3) for name, values in times.items()}
    return {"gigabytes_per_second": speeds, "seconds": times, "notes": notes}


def _copy(to: torch.Tensor, source: torch.Tensor) -> Callable[[], Any]:
    return lambda: to.copy_(source, non_blocking=True)


def _slab(device: torch.device, size: int) -> tuple[torch.Tensor, Any]:
    """A batch as the loader makes it, still in host memory, and what keeps it."""
    rows = {"x": torch.ones((2, size), dtype=torch.uint8).numpy()}
    target = str(device) if device.type == "cuda" else None
    loader = zt.DataLoader(rows, 1, num_workers=1, label=False, device=target)
    batches = loader._started().begin(Place(0, 0), None)
    batch = next(batches)
    return (batch["x"] if isinstance(batch, dict) else batch).view(-1), (loader, batches)
