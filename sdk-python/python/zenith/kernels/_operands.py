"""Operands on which candidates run while they are measured, and the judge of what they give.

Arguments are copied into memory between guard zones, byte for byte and with the same layout and alignment, so that a
candidate that writes where it must not is found, and nothing of the caller's is touched. What a candidate is to write
into is filled with NaN first, and so is memory that was just freed: who does not write gets no credit for what lay
there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from . import _frameworks
from ._candidate import Candidate

GUARD = 4096
ALIGNMENT = 64
_FILL = 0xA5
# Blocks of freed memory that are poisoned before a candidate is judged.
_FREED = 4
# How far a result may be from the reference, as a part of its largest value, where nothing is said.
_TOLERANCES = {"float64": 1e-10, "complex128": 1e-10, "float32": 1e-4, "complex64": 1e-4, "float16": 1e-2}
_OTHER_TOLERANCE = 4e-2


# Results that have the right types and shapes, and the reference's values in the widest type.
Expected = tuple[tuple[Any, ...], list[np.ndarray[Any, Any]]]


class Judged(Protocol):
    """What operands have to know of an operation."""

    name: str
    reference: Callable[..., Any] | None
    tol: float | None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates, the default first."""
        ...

    def default(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        """What does a call that nothing is chosen for."""
        ...


class Copy:
    """A copy of an array between guard zones, in memory of its own."""

    def __init__(self, original: Any, fill: bool = True) -> None:
        told = _frameworks.facts(original)
        assert told is not None, "only arrays that are known are copied"
        width = original.itemsize
        reaches = [distance * (size - 1) for size, distance in zip(told.shape, told.distances, strict=True)]
        low = sum(reach for reach in reaches if reach < 0)
        span = 0 if 0 in told.shape else sum(reach for reach in reaches if reach > 0) - low + width
        self.block = np.empty(span + 2 * GUARD + ALIGNMENT, np.uint8)
        # The first byte is as far beyond a multiple of the alignment as the original's.
        base = self.block.ctypes.data + GUARD
        start = GUARD + (told.address + low - base) % ALIGNMENT
        self.start, self.end = start, start + span
        if fill and span:
            ctypes.memmove(self.block.ctypes.data + start, told.address + low, span)
        self.bytes = self.block[start : self.end].copy()
        if isinstance(original, np.ndarray):
            shape, strides = original.shape, original.strides
            self.array: Any = np.ndarray(shape, original.dtype, self.block, start - low, strides)
        else:
            torch: Any = _frameworks.torch()
            memory = torch.from_numpy(self.block)[start : self.end].view(original.dtype)
            self.array = memory.as_strided(original.shape, original.stride())
        self.renew()

    def renew(self) -> None:
        """Restores the bytes of the array and of the guard zones."""
        self.block[: self.start] = _FILL
        self.block[self.end :] = _FILL
        self.block[self.start : self.end] = self.bytes

    def damage(self) -> str | None:
        """Where somebody has written outside of the array; None if nobody has."""
        before = np.flatnonzero(self.block[: self.start] != _FILL)
        if before.size:
            return f"memory {self.start - before[-1]} bytes before its begin was changed"
        behind = np.flatnonzero(self.block[self.end :] != _FILL)
        return f"memory {behind[0] + 1} bytes behind its end was changed" if behind.size else None

    def is_changed(self) -> bool:
        """Whether the array itself was written to."""
        return not np.array_equal(self.block[self.start : self.end], self.bytes)


class Operands:
    """The operands of one call. The extension calls ``prepare``, ``poison``, ``keep`` and ``judge``."""

    def __init__(
        self,
        kernel: Judged,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        prepared: Callable[[], None] = lambda: None,
        expected: Expected | None = None,
    ) -> None:
        self._kernel = kernel
        self._prepared = prepared
        self._copies: list[tuple[str, Copy]] = []
        self.args = tuple(self._own(f"argument {place}", value) for place, value in enumerate(args))
        self.kwargs = {name: self._own(f"argument {name!r}", value) for name, value in kwargs.items()}
        self._result: Any = None
        self._out: Copy | None = None
        self._reference: list[np.ndarray[Any, Any]] | None = None
        if expected is not None:
            self._like, self._reference = expected
        else:
            self._like = _tuple(kernel.default(self.args, self.kwargs)(*self.args, **self.kwargs))

    def _own(self, name: str, value: Any) -> Any:
        if _frameworks.facts(value) is None:
            return value
        copy = Copy(value.detach() if hasattr(value, "detach") else value)
        self._copies.append((name, copy))
        return copy.array

    def prepare(self, name: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """What is called once to be judged, and what is called to be timed."""
        self._prepared()
        candidate = next(one for one in self._kernel.candidates if one.name == name)
        timed = partial(candidate.direct(self.args, self.kwargs), *self.args, **self.kwargs)
        if candidate.out is None:
            return timed, timed
        self._out = Copy(candidate.out(*self.args, **self.kwargs), fill=False)
        _fill_with_nan(self._out.array)
        self._out.bytes = self._out.block[self._out.start : self._out.end].copy()
        return partial(self._write, candidate.call, self._out.array), timed

    def _write(self, call: Callable[..., Any], out: Any) -> Any:
        call(*self.args, **self.kwargs, out=out)
        return out

    def poison(self) -> None:
        """Restores arguments and guard zones, and leaves NaN where results may come to lie."""
        for _, copy in self._copies:
            copy.renew()
        if self._out is not None:
            self._out.renew()
        for like in self._like:
            freed = [_empty_like(like) for _ in range(_FREED)]
            for one in freed:
                _fill_with_nan(one)

    def keep(self, result: Any) -> None:
        """Takes the result that is to be judged."""
        self._result = result

    def judge(self) -> tuple[str, str] | None:
        """What is wrong with the result, as a word and a sentence; None if nothing is."""
        out, self._out = self._out, None
        result, self._result = self._result, None
        for name, copy in self._copies:
            if (damage := copy.damage()) is not None:
                return "out-of-bounds", f"{name}: {damage}"
            if copy.is_changed():
                return "wrong", f"it wrote into {name}"
        if out is not None and (damage := out.damage()) is not None:
            return "out-of-bounds", f"the result: {damage}"
        return self._compare(_tuple(result))

    def _compare(self, results: tuple[Any, ...]) -> tuple[str, str] | None:
        if len(results) != len(self._like):
            return "wrong", f"it gives {len(results)} results instead of {len(self._like)}"
        for number, (got, like, want) in enumerate(zip(results, *self.expected(), strict=True)):
            which = "the result" if len(results) == 1 else f"result {number}"
            if type(got) is not type(like):
                return "wrong", f"{which} is a {type(got).__name__} instead of a {type(like).__name__}"
            if _is_array(like):
                if tuple(got.shape) != tuple(like.shape):
                    return "wrong", f"{which} has shape {tuple(got.shape)} instead of {tuple(like.shape)}"
                if got.dtype != like.dtype:
                    return "wrong", f"{which} is {got.dtype} instead of {like.dtype}"
            if (fault := self._difference(_numbers(got), want, like)) is not None:
                return "wrong", f"{which}: {fault}"
        return None

    def expected(self) -> Expected:
        """What a result has to be like, and what the reference gives."""
        if self._reference is None:
            self._reference = self._refer()
        return self._like, self._reference

    def _refer(self) -> list[np.ndarray[Any, Any]]:
        args = tuple(map(_upcast, self.args))
        kwargs = {name: _upcast(value) for name, value in self.kwargs.items()}
        reference = self._kernel.reference or self._kernel.default(args, kwargs)
        return [_numbers(result) for result in _tuple(reference(*args, **kwargs))]

    def _difference(self, got: np.ndarray[Any, Any], want: np.ndarray[Any, Any], like: Any) -> str | None:
        if got.shape != want.shape:
            return f"the reference has shape {want.shape}, not {got.shape}"
        tolerance = self._kernel.tol
        if tolerance is None:
            exact = got.dtype.kind in "iub"
            name = str(getattr(like, "dtype", "float64")).removeprefix("torch.")
            tolerance = 0.0 if exact else _TOLERANCES.get(name, _OTHER_TOLERANCE)
        same, room = got == want, 0.0
        if want.dtype.kind in "fc":
            finite = np.abs(want[np.isfinite(want)])
            room = tolerance * float(finite.max()) if finite.size else 0.0
            with np.errstate(invalid="ignore"):
                same = same | (np.isnan(got) & np.isnan(want)) | (np.abs(got - want) <= room)
        wrong = np.argwhere(~same)
        if not len(wrong):
            return None
        place = tuple(int(index) for index in wrong[0])
        blank = " (not written, or not a number)" if got.dtype.kind in "fc" and np.isnan(got[place]) else ""
        return (
            f"element {list(place)} is {got[place]}{blank} instead of {want[place]}; "
            f"{len(wrong)} of {got.size} differ by more than {room:.3g}"
        )


def _tuple(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _numbers(value: Any) -> np.ndarray[Any, Any]:
    """An array's values in NumPy's widest type of their kind."""
    if hasattr(value, "detach"):
        torch: Any = _frameworks.torch()
        value = value.detach().resolve_conj().resolve_neg()
        wide = (
            torch.complex128 if value.is_complex() else torch.float64 if value.is_floating_point() else None
        )
        value = (value if wide is None else value.to(wide)).numpy()
    value = np.asarray(value)
    return (
        value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)
        if value.dtype.kind in "fc"
        else value
    )


def _upcast(value: Any) -> Any:
    """An array in higher precision."""
    if hasattr(value, "detach"):
        torch: Any = _frameworks.torch()
        if value.is_floating_point():
            return value.detach().to(torch.float64)
        return value.detach().to(torch.complex128) if value.is_complex() else value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fc":
        return value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)
    return value


def _empty_like(value: Any) -> Any:
    if hasattr(value, "new_empty"):
        return value.new_empty(value.shape)
    return np.empty_like(value) if isinstance(value, np.ndarray) else None


def _fill_with_nan(value: Any) -> None:
    if value is None:
        return
    floating = value.is_floating_point() if hasattr(value, "is_floating_point") else value.dtype.kind in "fc"
    if hasattr(value, "fill_"):
        value.fill_(float("nan") if floating or value.is_complex() else 85)
    elif value.dtype.kind != "b":
        value.fill(float("nan") if floating else 85)
