"""Part ``facts``: the machine, its devices as Zenith and as torch see them, and versions."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .. import __version__, _core, devices


def run(device: str, seconds: float) -> dict[str, Any]:
    """What figures depend on."""
    del seconds
    chosen = torch.device(device)
    facts: dict[str, Any] = {
        "processor": _cpu_model(),
        "processors": os.cpu_count(),
        "processors_allowed": _core.processors(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "zenith": __version__,
        "torch_threads": torch.get_num_threads(),
    }
    found = devices()
    facts["devices"] = [asdict(one) for one in found]
    facts["device_findings"] = [asdict(finding) for finding in found.findings]
    if chosen.type == "cuda":
        properties = torch.cuda.get_device_properties(chosen)
        facts["chosen"] = {
            "name": properties.name,
            "capability": [properties.major, properties.minor],
            "memory_bytes": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "count": torch.cuda.device_count(),
            "cudnn": torch.backends.cudnn.version(),
        }
    return facts


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
