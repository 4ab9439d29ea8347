"""The machine as Python sees it: topology and devices."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from . import _core

_VENDORS = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel"}


@dataclass(frozen=True)
class DeviceInstance:
    """A part of a GPU that is cut into instances (MIG).

    Attributes:
        uuid: what ``CUDA_VISIBLE_DEVICES`` takes.
        model: name with the profile in it, or None if the driver does not say.
        memory_bytes: memory in bytes, or None if the driver does not say.
        multiprocessors: number of multiprocessors, or None if the driver does not say.
    """

    uuid: str
    model: str | None
    memory_bytes: int | None
    multiprocessors: int | None


@dataclass(frozen=True)
class Device:
    """The processors of the machine, or a GPU. What the machine does not tell is None.

    Attributes:
        address: PCI address of a GPU, such as ``0000:65:00.0``.
        vendor: name of the vendor, or its PCI id.
        numa_node: NUMA node a GPU is attached to.
        kind: ``"cpu"`` (all processors of the machine) or ``"gpu"``.
        model: name of the model.
        index: number at the driver; NVIDIA's is CUDA's with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``.
        uuid: identity that stays with a GPU.
        has_driver: whether work can run on it; False for a GPU that is only on the PCI bus.
        processors: processors online, of the CPU.
        memory_bytes: memory in bytes.
        free_memory_bytes: memory in bytes that nobody has taken, of a GPU.
        compute_capability: NVIDIA's (major, minor).
        gfx: AMD's instruction set, such as ``gfx942``.
        instances: the parts of a GPU that is cut; work goes to them then.
        details: everything else that the driver tells of a GPU: clocks, ECC counters, remapped rows, MIG mode.
    """

    address: str | None
    vendor: str | None
    numa_node: int | None
    kind: Literal["cpu", "gpu"] = "gpu"
    model: str | None = None
    index: int | None = None
    uuid: str | None = None
    has_driver: bool = True
    processors: int | None = None
    memory_bytes: int | None = None
    free_memory_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    gfx: str | None = None
    instances: tuple[DeviceInstance, ...] = ()
    details: dict[str, Any] | None = None


@dataclass(frozen=True)
class DeviceFinding:
    """What came of asking a source for GPUs.

    Attributes:
        source: ``"nvml"`` (NVIDIA's library), ``"amdgpu"`` (AMD's driver) or ``"pci"`` (the PCI bus).
        kind: ``"answered"``, ``"absent"``, or what is wrong, such as ``"not_a_library"``, ``"symbols_missing"``,
            ``"driver_not_loaded"``, ``"driver_mismatch"``, ``"gpu_lost"``.
        hint: what would help; None if nothing is wrong or nothing is known to help.
        details: what else belongs to the kind, such as ``{"gpus": 8}`` or ``{"reason": "..."}``.
    """

    source: str
    kind: str
    hint: str | None
    details: dict[str, Any]


class Devices(list[Device]):
    """The devices of a machine, the CPU first, and how they were found.

    Attributes:
        findings: what came of asking each source, so that "no GPU" can be told from "a broken driver".
        groups: GPUs that NVLink, NVSwitch or Infinity Fabric joins, a tuple for each group.
        driver: versions of NVIDIA's driver, ``{"version", "nvml", "cuda"}``; None where NVML does not work.
    """

    findings: tuple[DeviceFinding, ...]
    groups: tuple[tuple[Device, ...], ...]
    driver: dict[str, str | None] | None

    def __init__(
        self,
        devices: Iterable[Device],
        findings: Iterable[DeviceFinding] = (),
        groups: Iterable[tuple[Device, ...]] = (),
        driver: dict[str, str | None] | None = None,
    ) -> None:
        super().__init__(devices)
        self.findings = tuple(findings)
        self.groups = tuple(groups)
        self.driver = driver


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


def devices() -> Devices:
    """The devices of this machine: its processors, and its GPUs.

    GPUs are those that NVIDIA's management library and AMD's kernel driver tell of, and those of known vendors that
    are only on the PCI bus. Nothing is started on them, and no CUDA is needed. A driver that is absent or broken is no
    error: ``devices().findings`` says what came of it. The environment variable ``ZENITH_NVML`` names another file
    than ``libnvidia-ml.so.1``.

    Returns:
        A list of ``Device``, the CPU first, then NVIDIA's GPUs in the order of their numbers, AMD's, and others.
    """
    found = json.loads(_core.devices())
    gpus = [_gpu(gpu) for gpu in found["gpus"]]
    groups = [tuple(gpus[place] for place in group) for group in found["interconnect"]["groups"]]
    return Devices([_cpu(), *gpus], map(_finding, found["sources"]), groups, found["driver"])


def _cpu() -> Device:
    told = topology()
    memory = sum(node["memory_bytes"] for node in told["numa_nodes"])
    vendor, model = _processor()
    return Device(
        address=None,
        vendor=vendor,
        numa_node=None,
        kind="cpu",
        model=model,
        processors=len(told["cpus"]),
        memory_bytes=memory or None,
    )


def _processor() -> tuple[str | None, str | None]:
    """Vendor and model of the first processor, as far as the kernel says."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return None, None
    # A block for each processor; the first one tells of all.
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    facts = {name.strip(): value.strip() or None for name, _, value in lines}
    return facts.get("vendor_id"), facts.get("model name")


def _gpu(told: dict[str, Any]) -> Device:
    vendor = told["vendor"]
    memory = told["memory"] or {}
    capability = told["compute_capability"]
    return Device(
        address=told["pci"],
        vendor=vendor["other"] if isinstance(vendor, dict) else _VENDORS[vendor],
        numa_node=told["numa_node"],
        model=told["model"],
        index=told["index"],
        uuid=told["uuid"],
        has_driver=told["source"] != "pci",
        memory_bytes=memory.get("total_bytes"),
        free_memory_bytes=memory.get("free_bytes"),
        compute_capability=capability and (capability["major"], capability["minor"]),
        gfx=told["gfx"],
        instances=tuple(
            DeviceInstance(part["uuid"], part["model"], part["memory_bytes"], part["multiprocessors"])
            for part in (told["mig"] or {}).get("instances", ())
        ),
        details={name: told[name] for name in ("clocks", "ecc", "remapped_rows", "mig", "nvlinks")},
    )


def _finding(told: dict[str, Any]) -> DeviceFinding:
    rest = {name: value for name, value in told.items() if name not in ("source", "kind", "hint")}
    return DeviceFinding(told["source"], told["kind"], told["hint"], rest)


def is_available() -> bool:
    """Whether the native extension works on this machine."""
    return bool(topology()["cpus"])
