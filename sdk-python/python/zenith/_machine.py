"""The machine as Python sees it: topology and devices."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from . import _core

_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}


@dataclass(frozen=True)
class Device:
    """An accelerator on the PCI bus.

    Attributes:
        address: PCI address, such as ``0000:65:00.0``.
        vendor: name of the vendor, or its PCI id.
        numa_node: NUMA node it is attached to, or None if the machine does not say.
    """

    address: str
    vendor: str
    numa_node: int | None


def topology(root: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """The processors, memory nodes and PCI devices of a machine.

    Args:
        root: folder that holds another machine's ``sys``; this machine if None.

    Returns:
        A dictionary with ``cpus`` (ids online), ``packages`` [{id, cpus}], ``numa_nodes`` [{id, cpus, memory_bytes,
        distances}], ``pci`` [{address, class, vendor, numa_node}] and more detail under further keys.

    Raises:
        MachineError: the folder holds no processor.
    """
    return json.loads(_core.topology(None if root is None else os.fspath(root)))


def devices() -> list[Device]:
    """The accelerators on this machine's PCI bus (display and processing classes of known accelerator vendors)."""
    found = []
    for device in topology()["pci"]:
        name = _VENDORS.get(device["vendor"])
        if name is not None and device["class"].startswith(("0x0302", "0x0300", "0x1200")):
            found.append(Device(device["address"], name, device["numa_node"]))
    return found


def is_available() -> bool:
    """Whether the native extension works on this machine."""
    return bool(topology()["cpus"])
