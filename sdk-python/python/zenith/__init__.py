"""Zenith: a performance layer under PyTorch. ``zenith.torch.DataLoader`` for torch, ``zenith.DataLoader`` for NumPy."""

from __future__ import annotations

from . import transforms
from ._core import __version__
from ._engine import Engine
from ._errors import (
    ConfigError,
    DecodeError,
    LoaderClosedError,
    MachineError,
    PluginError,
    ReadError,
    ResumeError,
    SourceError,
    WorkerError,
    ZenithError,
)
from ._machine import Device, DeviceFinding, DeviceInstance, Devices, devices, is_available, topology
from ._numpy import DataLoader
from ._report import Report, Stage
from ._sampling import WeightedSampler

__all__ = [
    "ConfigError",
    "DataLoader",
    "DecodeError",
    "Device",
    "DeviceFinding",
    "DeviceInstance",
    "Devices",
    "Engine",
    "LoaderClosedError",
    "MachineError",
    "PluginError",
    "ReadError",
    "Report",
    "ResumeError",
    "SourceError",
    "Stage",
    "WeightedSampler",
    "WorkerError",
    "ZenithError",
    "__version__",
    "devices",
    "is_available",
    "topology",
    "transforms",
]
