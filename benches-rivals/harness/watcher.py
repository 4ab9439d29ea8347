"""Memory of a rival's whole process tree, sampled from outside while it runs.

Resident pages are summed often and cheaply; the proportional size, which counts shared pages once, is read
when that sum has grown or half a second has passed, because the kernel walks the page tables for it.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from rivals import meter

_PAGE = os.sysconf("SC_PAGE_SIZE")
RESIDENT_EVERY = 0.1
PROPORTIONAL_EVERY = 0.5
GROWTH = 1.05


class Watcher:
    """Follows one process tree from `start` until `freeze` or its end."""

    def __init__(self, pid: int) -> None:
        """Watch the tree below `pid`."""
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._shm_before = shm_bytes()
        self.peak_resident_bytes = 0
        self.peak_proportional_bytes = 0
        self.peak_shm_bytes = 0
        self.peak_processes = 0

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def freeze(self) -> None:
        """Take a last sample and count nothing after it."""
        if not self._stop.is_set():
            self._stop.set()
            self._proportional(meter.descendants(self._pid))

    def facts(self) -> dict[str, int]:
        """Peaks in bytes."""
        return {
            "peak_resident_bytes": self.peak_resident_bytes,
            "peak_pss_bytes": self.peak_proportional_bytes,
            "peak_shm_bytes": self.peak_shm_bytes,
            "peak_processes": self.peak_processes,
        }

    def _run(self) -> None:
        due = 0.0
        settled = 0
        while not self._stop.wait(RESIDENT_EVERY):
            tree = meter.descendants(self._pid)
            self.peak_processes = max(self.peak_processes, len(tree))
            resident = sum(map(_resident, tree))
            self.peak_resident_bytes = max(self.peak_resident_bytes, resident)
            self.peak_shm_bytes = max(self.peak_shm_bytes, shm_bytes() - self._shm_before)
            if time.monotonic() >= due or resident > GROWTH * settled:
                self._proportional(tree)
                settled = resident
                due = time.monotonic() + PROPORTIONAL_EVERY

    def _proportional(self, tree: list[int]) -> None:
        total = sum(map(meter.process_pss_bytes, tree))
        self.peak_proportional_bytes = max(self.peak_proportional_bytes, total)


def shm_bytes() -> int:
    """Bytes in use on /dev/shm, 0 where there is none."""
    try:
        usage = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
