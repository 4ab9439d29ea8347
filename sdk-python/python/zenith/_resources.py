"""What work may ask of the scheduler: the keyword arguments, and how they are written for the extension."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ._errors import ConfigError

if TYPE_CHECKING:
    from ._scheduler import Job

    After = int | str | Job


class Resources(TypedDict, total=False):
    """What work asks for. Everything may be left out; work that asks for no GPUs gets one processor.

    Attributes:
        gpus: GPUs in all.
        nodes: nodes: a number, or ``(fewest, most)``, or ``"2..4"``.
        gpus_per_node: GPUs on each node.
        cpus: processors for each GPU, or for each node of work without GPUs.
        mem: memory for each GPU, or for each node of work without GPUs: ``"16G"``, or a number of MiB.
        time: how long an attempt may take: ``"1-12:00:00"``, ``"90m"``, a number of seconds, or a ``timedelta``.
        topology: how near each other GPUs have to be: ``"nvlink"``, ``"numa"``, ``"node"``, ``"rack"``; a wish, or a
            condition with ``":required"``.
        ranks_per: what one process has: ``"gpu"`` (default), or ``"node"``.
        priority: urgency within the queue; larger is more urgent.
        queue: the queue.
        after: jobs that have to end well before; ``"12:any"`` for one that only has to end.
        preemptible: more urgent work may end it; it begins again later.
        retries: how often it begins again after it has failed.
        hold: it waits until it is released.
        name: a name for lists.
        env: variables of the job, beside what ``export`` gives.
        export: this process's environment goes along, except for tokens (default True).
        directory: where it runs; the working directory if left out.
        user: whose it is; for administrators.
        key: work with the same key is taken in once.
    """

    gpus: int
    nodes: int | str | tuple[int, int]
    gpus_per_node: int
    cpus: int
    mem: int | str
    time: float | str | timedelta
    topology: str
    ranks_per: Literal["gpu", "node"]
    priority: int
    queue: str
    after: After | Iterable[After]
    preemptible: bool
    retries: int
    hold: bool
    name: str
    env: Mapping[str, str]
    export: bool
    directory: str | os.PathLike[str]
    user: str
    key: str


_PLAIN = {
    "gpus": int,
    "gpus_per_node": int,
    "cpus": int,
    "topology": str,
    "ranks_per": str,
    "priority": int,
    "queue": str,
    "preemptible": bool,
    "retries": int,
    "hold": bool,
    "name": str,
    "user": str,
}


def written(resources: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments as the extension reads them; those that are None are left out.

    Raises:
        ConfigError: an argument that is none of them, or of a wrong kind.
    """
    work: dict[str, Any] = {"directory": str(Path(resources.get("directory") or ".").absolute())}
    if resources.get("export", True):
        work["exported"] = dict(os.environ)
    for name, value in resources.items():
        if value is None or name in {"directory", "export", "key"}:
            continue
        if name in _PLAIN:
            work[name] = _plain(name, value, _PLAIN[name])
        elif name == "nodes":
            work[name] = "..".join(map(str, value)) if isinstance(value, tuple) else str(value)
        elif name == "mem":
            work[name] = str(value)
        elif name == "time":
            work[name] = _span(value)
        elif name == "after":
            several = not isinstance(value, str) and isinstance(value, Iterable)
            work[name] = [_dependency(job) for job in (value if several else [value])]
        elif name == "env":
            work["environment"] = {str(key): str(text) for key, text in value.items()}
        else:
            raise ConfigError(f"work cannot ask for {name!r}; see zenith.Resources for what it can")
    return work


def _plain(name: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{name} must be {kind.__name__}, not {value!r}")
    if kind is int and name != "priority" and value < 0:
        raise ConfigError(f"{name} must not be negative, got {value}")
    return value


def _span(value: Any) -> str:
    if isinstance(value, str):
        return value
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not seconds > 0:
        raise ConfigError(f"time must be above zero, got {value!r}")
    return f"{max(1, round(seconds * 1000))}ms"


def _dependency(job: Any) -> str:
    return job if isinstance(job, str) else str(getattr(job, "id", job))
