"""What this process has of the decision store: one selection for its processors, counters, and its operations."""

from __future__ import annotations

import json
import os
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _core
from .._errors import ConfigError

if TYPE_CHECKING:
    from ._kernel import Kernel

_lock = threading.RLock()
_kernels: weakref.WeakSet[Kernel] = weakref.WeakSet()
_named: dict[str, weakref.ref[Kernel]] = {}


@dataclass
class Counts:
    """What was measured in this process.

    Attributes:
        keys: keys for which something was measured.
        benchmarks: candidates that were measured, each counted once for each key.
    """

    keys: int = 0
    benchmarks: int = 0


class _Process:
    def __init__(self) -> None:
        self.selector: _core.KernelSelector | None = None
        self.pid = 0
        self.folder: str | None = None
        self.settings: dict[str, float] = {}
        self.counts = Counts()


_process = _Process()


def selector() -> _core.KernelSelector:
    """The selection of this process; a forked child has its own."""
    made = _process.selector
    if made is not None and _process.pid == os.getpid():
        return made
    with _lock:
        frozen = made is not None and made.is_frozen
        made = _core.KernelSelector(_process.folder, None, json.dumps(_process.settings))
        if frozen:
            made.freeze()
        _process.selector, _process.pid = made, os.getpid()
        return made


def configure(
    folder: str | os.PathLike[str] | None = None,
    *,
    delta: float | None = None,
    budget_ms: float | None = None,
    reach: float | None = None,
    near: float | None = None,
) -> None:
    """Changes how this process chooses; what is None is as it is by default.

    Args:
        folder: where the store lies; None for ``$ZENITH_KERNEL_STORE``, else ``zenith/kernels`` in the user's cache.
        delta: the part by which times have to differ for it to matter (0.02).
        budget_ms: milliseconds that measuring a key may take (500).
        reach: how many doublings of sizes away a measured key may be for its choice to be taken while frozen (4).
        near: how few doublings away it has to be for a new key not to be measured at all (0: every key is measured).

    Raises:
        ConfigError: a number that makes no sense.
    """
    said = {"delta": delta, "budget_ms": budget_ms, "reach": reach, "near": near}
    settings = {name: float(value) for name, value in said.items() if value is not None}
    for name, value in settings.items():
        if not 0 <= value < 1e9:
            raise ConfigError(f"{name}={value}: a number that is not negative would work")
    with _lock:
        _process.folder = None if folder is None else os.fspath(folder)
        _process.settings = settings
        _process.selector = None
    forget()


def store_folder() -> Path | None:
    """Where measurements are kept; None where that is nowhere, so that every process measures anew."""
    folder = selector().folder
    return None if folder is None else Path(folder)


def counts() -> Counts:
    """What was measured in this process so far."""
    return Counts(_process.counts.keys, _process.counts.benchmarks)


def count(*, keys: int = 0, benchmarks: int = 0) -> None:
    """Notes what is measured."""
    _process.counts.keys += keys
    _process.counts.benchmarks += benchmarks


def enroll(kernel: Kernel) -> None:
    """Lets an operation be found by its name, and be told when choices change."""
    with _lock:
        _kernels.add(kernel)
        _named[kernel.name] = weakref.ref(kernel)


def named(name: str) -> Kernel | None:
    """The operation of a name."""
    with _lock:
        found = _named.get(name)
        return None if found is None else found()


def forget() -> None:
    """Lets every operation ask again: choices may be others now."""
    with _lock:
        kernels = list(_kernels)
    for kernel in kernels:
        kernel.forget()


def freeze() -> None:
    """Forbids measuring in this process from now on: no call is ever held up by it.

    What was not measured gets the choice of the nearest sizes that were, else the default.
    """
    selector().freeze()
    forget()


def unfreeze() -> None:
    """Allows measuring again."""
    selector().thaw()
    forget()


def is_frozen() -> bool:
    """Whether measuring is forbidden."""
    return selector().is_frozen
