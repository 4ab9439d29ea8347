"""Randomness per sample: the global generators as a function of (seed, epoch, sample).

Seeding three generators costs about 7 us, more than many a sample. So a dataset that draws nothing from them
is run unseeded, and the generators are looked at afterwards: had one moved, the chunk is run again with
seeds, and every later one too. Private generators (``numpy.random.default_rng`` kept in the dataset) are the
dataset's own affair.
"""

from __future__ import annotations

import ctypes
import hashlib
import operator
import pickle
import random
import sys
from collections.abc import Callable
from typing import Any

_MASK = (1 << 64) - 1


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def epoch_key(seed: int, epoch: int) -> int:
    """The part of the key that all samples of an epoch share (64 bits)."""
    key = _mix((seed ^ 0x5A656E6974680001) & _MASK)
    return _mix((key + epoch * 0x9E3779B97F4A7C15) & _MASK)


def sample_key(key: int, index: Any) -> int:
    """The seed of one sample (64 bits). ``index``: anything that pickles; integers of all kinds are one."""
    try:
        number = operator.index(index)
    except TypeError:
        number = int.from_bytes(hashlib.blake2b(pickle.dumps(index, 4), digest_size=8).digest(), "little")
    return _mix(key ^ (number * 0xD1B54A32D192ED03 & _MASK))


def seed_generators(value: int) -> None:
    """Seed what is loaded of ``random``, ``numpy.random`` and torch's CPU generator."""
    random.seed(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(value >> 32)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.manual_seed(value & (1 << 63) - 1)


def _python_mark() -> Callable[[], Any]:
    """A cheap look at the state of ``random``.

    Position and two words are read in place where CPython's layout is as known.

    The layout is put to the test here; where it fails, the whole state is compared instead.
    """
    instance: Any = getattr(random, "_inst", None)
    if instance is None or sys.implementation.name != "cpython":
        return random.getstate
    header = object.__basicsize__
    words = (ctypes.c_uint32 * 3).from_address(id(instance) + header)

    def mark() -> Any:
        return (words[0], words[1], words[2], instance.gauss_next)

    before = random.getstate()
    try:
        for seed in (1, 2):
            random.seed(seed)
            for _ in range(3):
                state = random.getstate()[1]
                if (state[-1], state[0], state[1]) != mark()[:3]:
                    return random.getstate
                random.random()
    finally:
        random.setstate(before)
    return mark


def _numpy_mark(numpy: Any) -> Callable[[], Any]:
    def whole() -> Any:
        state = numpy.random.get_state()
        return (state[2], state[3], state[1].tobytes())

    try:
        bits = numpy.random.get_bit_generator()
        state = bits.state["state"]
        words = (ctypes.c_uint32 * 625).from_address(bits.ctypes.state_address)
        if words[624] != state["pos"] or any(words[i] != int(state["key"][i]) for i in range(624)):
            return whole
    except (AttributeError, KeyError, TypeError):
        return whole
    get = numpy.random.get_bit_generator
    # `bits` is held by the closure, so the words stay readable even after the global generator is replaced.
    return lambda: (get() is bits, words[624], words[0], words[1])


class Watch:
    """Sees whether any of the global generators moved."""

    def __init__(self) -> None:
        self._python = _python_mark()
        self._numpy: Callable[[], Any] | None = None

    def mark(self) -> tuple[Any, ...]:
        """Something that compares equal as long as no generator has moved and none has been loaded."""
        numpy = sys.modules.get("numpy")
        if self._numpy is None and numpy is not None and hasattr(numpy, "random"):
            self._numpy = _numpy_mark(numpy)
        torch = sys.modules.get("torch")
        drawn: Any = None
        if torch is not None and hasattr(torch, "default_generator"):
            drawn = torch.default_generator.get_state().numpy().tobytes()
        return (self._python(), None if self._numpy is None else self._numpy(), drawn)


class Keeper:
    """Keeps the caller's own random state while samples are made in the caller's process."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._mark: tuple[Any, ...] | None = None
        self._python: Any = None
        self._numpy: Any = None
        self._torch: Any = None

    def save(self) -> tuple[Any, ...]:
        """Remember the state as it is; cheap where it is still the one remembered.

        Returns:
            The watch's mark.
        """
        mark = self._watch.mark()
        known = self._mark or (None, None, None)
        if mark[0] != known[0]:
            self._python = random.getstate()
        if mark[1] is not None and mark[1] != known[1]:
            self._numpy = sys.modules["numpy"].random.get_state()
        if mark[2] is not None and mark[2] != known[2]:
            self._torch = sys.modules["torch"].default_generator.get_state()
        self._mark = mark
        return mark

    def restore(self) -> None:
        """Put back what `save` remembered."""
        if self._mark is None:
            return
        random.setstate(self._python)
        if self._mark[1] is not None:
            sys.modules["numpy"].random.set_state(self._numpy)
        if self._mark[2] is not None:
            sys.modules["torch"].default_generator.set_state(self._torch)
