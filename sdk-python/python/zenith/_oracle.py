"""The oracle ratio: how much faster the same loop would be if its data were always there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ._errors import ConfigError

# Steps that let the loader reach its steady state, then enough for a mean, within a bound of time.
_WARM_UP, _STEPS, _SECONDS = 4, 200, 5.0


def oracle_ratio(loader: Any, step: Callable[[Any], Any]) -> float:
    """Time of the loop on one resident batch, divided by its time on the loader's batches.

    Args:
        loader: gives batches; iterated as far as needed, over several epochs where one is too short.
        step: the training step, called with a batch.

    Returns:
        1.0 where perfect data would not be faster; 0.6 where the loop waits 40 % of its time.

    Raises:
        ConfigError: the loader gives no batch.
    """
    with loader:
        batches = _endless(loader)
        resident = next(batches)
        for _ in range(_WARM_UP):
            step(next(batches))
        _finish()
        begun = time.perf_counter()
        steps = 0
        while steps < _STEPS and (steps == 0 or time.perf_counter() - begun < _SECONDS):
            step(next(batches))
            steps += 1
        _finish()
        real = time.perf_counter() - begun
    begun = time.perf_counter()
    for _ in range(steps):
        step(resident)
    _finish()
    return (time.perf_counter() - begun) / real


def _finish() -> None:
    """Wait for what torch's CUDA device was told to do: the host runs ahead of it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        given = 0
        for batch in loader:
            given += 1
            yield batch
        if given == 0:
            raise ConfigError("the oracle ratio needs at least one batch in an epoch; the loader gives none")
