"""Zenith: a performance layer under PyTorch.

``zenith.torch.DataLoader`` for torch, ``zenith.DataLoader`` for NumPy, ``zenith.SchedulerClient`` for the cluster.
"""

from __future__ import annotations

from . import transforms
from ._cluster import Cluster, Gpu, IllGpu, Node, NodeSpec, Queue, User
from ._core import __version__
from ._engine import Engine
from ._errors import (
    ConfigError,
    DecodeError,
    JobError,
    LoaderClosedError,
    MachineError,
    PluginError,
    ReadError,
    ResumeError,
    SchedulerError,
    SourceError,
    WorkerError,
    ZenithError,
)
from ._functions import Task, job, submit
from ._machine import Device, DeviceFinding, DeviceInstance, Devices, devices, is_available, topology
from ._numpy import DataLoader
from ._report import Report, Stage
from ._resources import Resources
from ._sampling import WeightedSampler
from ._scheduler import Job, LogPart, SchedulerClient, Why

__all__ = [
    "Cluster",
    "ConfigError",
    "DataLoader",
    "DecodeError",
    "Device",
    "DeviceFinding",
    "DeviceInstance",
    "Devices",
    "Engine",
    "Gpu",
    "IllGpu",
    "Job",
    "JobError",
    "LoaderClosedError",
    "LogPart",
    "MachineError",
    "Node",
    "NodeSpec",
    "PluginError",
    "Queue",
    "ReadError",
    "Report",
    "Resources",
    "ResumeError",
    "SchedulerClient",
    "SchedulerError",
    "SourceError",
    "Stage",
    "Task",
    "User",
    "WeightedSampler",
    "Why",
    "WorkerError",
    "ZenithError",
    "__version__",
    "devices",
    "is_available",
    "job",
    "submit",
    "topology",
    "transforms",
]
