"""From the arguments of a call to the text of its problem: what decides which candidate is fastest. Keeps nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import _frameworks
from ._frameworks import Facts

_MOST_ALIGNMENT = 64
_CPU = (1, 0)


@dataclass(frozen=True)
class Situation:
    """A call that something can be chosen for.

    Attributes:
        problem: its text.
        gradient: whether autograd records it.
    """

    problem: str
    gradient: bool


@dataclass(frozen=True)
class Undecidable:
    """A call that goes to the default.

    Attributes:
        reason: why.
        lasting: whether calls that look alike do, too.
    """

    reason: str
    lasting: bool = True


def situation(
    op: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: Callable[..., dict[str, Any] | str] | None,
    meaning: str = "",
) -> Situation | Undecidable:
    """What a call is to the store. ``meaning`` stands for what the operation computes, where its name does not say."""
    values = [*args, *kwargs.values()]
    arrays: list[tuple[str, Facts]] = []
    plain: dict[str, Any] = {}
    for place, value in [*((str(place), value) for place, value in enumerate(args)), *kwargs.items()]:
        told = _frameworks.facts(value)
        if told is not None:
            arrays.append((place, told))
        elif (reason := _frameworks.why_unknown(value)) is not None:
            return Undecidable(reason)
        elif value is None or isinstance(value, bool | int | float | str):
            plain[place] = value
        elif key is None:
            return Undecidable(f"an argument is {type(value).__name__}; `key=` can say what matters of it")
    if not arrays:
        return Undecidable("no argument is an array")
    if any(told.device != _CPU for _, told in arrays):
        return Undecidable("candidates are measured on processors only, and an argument lies elsewhere")
    if _frameworks.is_autocast() and any(told.dtype.startswith("torch.") for _, told in arrays):
        return Undecidable("under autocast torch changes the types of operands by itself", lasting=False)
    if (seen := _frameworks.why_watched(values)) is not None:
        return Undecidable(seen, lasting=False)
    if key is None:
        dims = {f"{place}.{axis}": size for place, told in arrays for axis, size in enumerate(told.shape)}
        words = plain
    else:
        said = key(*args, **kwargs)
        if isinstance(said, str):
            return Undecidable(said)
        dims = {name: size for name, size in said.items() if type(size) is int and size >= 0}
        words = {name: word for name, word in said.items() if name not in dims}
    if meaning:
        words["meaning"] = meaning
    return Situation(text(op, [told for _, told in arrays], dims, words), _frameworks.wants_gradient(values))


def text(op: str, arrays: list[Facts], dims: dict[str, int], words: dict[str, Any]) -> str:
    """The text of a problem, as the store reads it."""
    dtypes = [told.dtype for told in arrays]
    math = next((mode for mode in map(_frameworks.math_mode, dtypes) if mode != "ieee"), "ieee")
    required = any(_frameworks.determinism(dtype) == "required" for dtype in dtypes)
    sizes = ",".join(f"{name}={size}" for name, size in dims.items())
    return (
        f"{op}@1({sizes});{','.join(dtypes)};math={math};layout={','.join(told.layout for told in arrays)};"
        f"align={alignment(arrays)};epilogue={_word(words)};"
        f"deterministic={'required' if required else 'any'};mode=eager"
    )


def alignment(arrays: list[Facts]) -> int:
    """The greatest power of two that divides all addresses and all distances between rows."""
    all_bits = _MOST_ALIGNMENT
    for told in arrays:
        all_bits |= told.address
        for size, distance in zip(told.shape[:-1], told.distances[:-1], strict=True):
            if size > 1:
                all_bits |= abs(distance)
    return all_bits & -all_bits


def _word(words: dict[str, Any]) -> str:
    """Plain arguments as one word."""
    if not words:
        return "none"
    said = "+".join(f"{name}:{value}" for name, value in words.items())
    fits = all(character.isascii() and (character.isalnum() or character in "_.+:/-") for character in said)
    return (
        said
        if fits and len(said) <= 128
        else hashlib.sha256(repr(sorted(words.items())).encode()).hexdigest()[:32]
    )
