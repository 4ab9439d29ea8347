"""Zenith: a performance layer under PyTorch.

``zenith.torch.DataLoader`` for torch, ``zenith.DataLoader`` for NumPy, ``zenith.SchedulerClient`` for the cluster,
``zenith.kernels`` for the fastest implementation of an operation.
"""

from __future__ import annotations

from . import collective, kernels, telemetry, transforms
from ._cluster import Cluster, Gpu, IllGpu, Node, NodeSpec, Queue, User
from ._core import __version__
from ._engine import Engine
from ._errors import (
    CollectiveError,
    ConfigError,
    DecodeError,
    JobError,
    KernelError,
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
from ._run_report import RunReport
from ._sampling import WeightedSampler
from ._scheduler import Job, LogPart, SchedulerClient, Why
from .kernels import kernel
from .telemetry import report

__all__ = [
    "Cluster",
    "CollectiveError",
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
    "KernelError",
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
    "RunReport",
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
    "collective",
    "devices",
    "is_available",
    "job",
    "kernel",
    "kernels",
    "report",
    "submit",
    "telemetry",
    "topology",
    "transforms",
]
