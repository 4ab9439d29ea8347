"""The parts of the GPU benchmark by name: what runs, and its share of the time. Imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple


class Part(NamedTuple):
    """A part.

    Attributes:
        module: where its ``run(device, seconds)`` is.
        seconds: what it may take of eight minutes, its start included.
        title: what it measures.
    """

    module: str
    seconds: float
    title: str


PARTS: dict[str, Part] = {
    "facts": Part("_facts", 30, "the machine and its devices"),
    "copies": Part("_copies", 70, "copies between host and device, by kind of memory"),
    "kernels": Part("_kernels", 70, "zenith.kernels against torch"),
    "activity": Part("_activity", 60, "performance counters against a known duty cycle"),
    "collective": Part("_collective", 50, "torch.distributed with one rank"),
    "starvation": Part("_starvation", 200, "a small model, torch's loader against Zenith's"),
}
"""All parts in their order; together they take eight minutes at most."""
ALL_SECONDS = sum(part.seconds for part in PARTS.values())


def measure(name: str, device: str, seconds: float) -> dict[str, Any]:
    """Runs a part in this process.

    Args:
        name: of the part.
        device: as torch names it.
        seconds: what it may take.
    """
    module = import_module(f".{PARTS[name].module}", __package__)
    return module.run(device, seconds)
