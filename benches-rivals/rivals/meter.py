"""CPU time and memory of this process and everything below it, as the kernel accounts for them.

Not a profiler: two readings around a phase, so that worker processes count as much as threads do.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def descendants(root: int) -> list[int]:
    """List `root` and every live process below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    tree, queue = [], [root]
    while queue:
        pid = queue.pop()
        tree.append(pid)
        queue.extend(children.get(pid, []))
    return tree


def cpu_seconds() -> float:
    """CPU seconds used so far by this process tree, with the children already waited for.

    Live processes are read from their own nanosecond clock; only reaped ones come in clock ticks.
    """
    total = 0.0
    for pid in descendants(os.getpid()):
        try:
            total += time.clock_gettime((~pid << 3) | 2)  # CPUCLOCK_SCHED of another process
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[13]) + int(fields[14])) / _TICKS
    return total


def pss_bytes() -> int:
    """Proportional set size of this process tree in bytes: shared pages count once."""
    total = 0
    for pid in descendants(os.getpid()):
        total += process_pss_bytes(pid)
    return total


def process_pss_bytes(pid: int) -> int:
    """Proportional set size of one process in bytes, 0 when it has gone."""
    try:
        with Path(f"/proc/{pid}/smaps_rollup").open() as lines:
            for line in lines:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
