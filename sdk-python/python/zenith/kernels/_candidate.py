"""A candidate: a function with an identity, the libraries it depends on, and what it may be used for."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from .._errors import KernelError
from . import _frameworks

# Seconds that a risky candidate may take in its own process, that process's start included.
DEADLINE = 60.0


@dataclass(frozen=True)
class Candidate:
    """An implementation of an operation.

    Attributes:
        name: its name among the operation's candidates.
        call: what is called; it returns the result.
        version: as its author counts.
        source: a hash of its source: what has another source is measured anew.
        libraries: names of libraries whose versions its measurements depend on, or the versions themselves.
        when: whether it can do a call; it may look at shapes, types, layouts and plain values, not into arrays.
        differentiable: whether autograd sees through it.
        risky: whether it is tried in a process of its own before it runs in this one.
        deadline: seconds that this trial may take.
        out: makes the array that the result is to be written into, which ``call`` takes as ``out=``; None if
            ``call`` makes it.
        resolve: gives, for arguments, the function that ``call`` comes to, so that it is called directly.
    """

    name: str
    call: Callable[..., Any]
    version: str = "0"
    source: str = "0"
    libraries: Mapping[str, str] | Sequence[str] = ()
    when: Callable[..., Any] | None = None
    differentiable: bool = False
    risky: bool = False
    deadline: float = DEADLINE
    out: Callable[..., Any] | None = None
    resolve: Callable[..., Callable[..., Any]] | None = None
    target: Callable[..., Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", self.call if self.out is None else _writing(self.call, self.out))

    def direct(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        """What a call with these arguments, or any that look like them, is handed to."""
        return self.target if self.resolve is None else self.resolve(*args, **kwargs)

    def versions(self) -> list[tuple[str, str]]:
        """The libraries it depends on, with the versions that are loaded."""
        if isinstance(self.libraries, Mapping):
            return sorted(self.libraries.items())
        told = ((name, _frameworks.version(name)) for name in self.libraries)
        return sorted((name, version) for name, version in told if version is not None)

    def refusal(self, args: tuple[Any, ...], kwargs: dict[str, Any], gradient: bool) -> str | None:
        """Why it cannot do a call; None if it can."""
        if gradient and not self.differentiable:
            return "autograd does not see through it, and a gradient is wanted"
        if self.when is None:
            return None
        try:
            told = self.when(*args, **kwargs)
        except Exception as error:
            return f"its `when` failed: {error}"
        if isinstance(told, str):
            return told
        return None if told else "its `when` says no"


def _writing(call: Callable[..., Any], out: Callable[..., Any]) -> Callable[..., Any]:
    def target(*args: Any, **kwargs: Any) -> Any:
        made = out(*args, **kwargs)
        call(*args, **kwargs, out=made)
        return made

    return target


def source_hash(function: Callable[..., Any]) -> str:
    """A hash of a function's source, or its name where there is none to read, and the plain values it was made with."""
    return hashlib.sha256(_source(function).encode()).hexdigest()[:32]


def _source(function: Callable[..., Any]) -> str:
    if isinstance(function, functools.partial):
        return f"{_source(function.func)} {_plain(function.args)} {_plain(tuple(sorted(function.keywords.items())))}"
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = (
            f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(type(function)))}"
        )
    cells = tuple(_held(cell) for cell in getattr(function, "__closure__", None) or ())
    named = tuple(sorted((getattr(function, "__kwdefaults__", None) or {}).items()))
    return f"{text} {_plain(getattr(function, '__defaults__', None) or ())} {_plain(named)} {_plain(cells)}"


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _plain(value: Any) -> str:
    """A value where that is the same in all processes, else its type."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_plain, value))})"
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    return f"<{type(value).__qualname__}>"


def libraries_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The libraries that a function names: those of its own module for a builtin, those of its globals for others."""
    code = getattr(function, "__code__", None)
    if code is None:
        return tuple(_top(getattr(function, "__module__", None) or type(function).__module__))
    known = getattr(function, "__globals__", {})
    found: set[str] = set()
    for name in code.co_names:
        value = known.get(name)
        if isinstance(value, ModuleType):
            found.update(_top(value.__name__))
        elif value is not None and callable(value):
            found.update(_top(getattr(value, "__module__", None)))
    return tuple(sorted(found))


def _top(module: str | None) -> list[str]:
    top = (module or "").partition(".")[0]
    versioned = isinstance(getattr(sys.modules.get(top), "__version__", None), str)
    return [top] if versioned else []


def check_name(name: str) -> None:
    """Refuses names that the store cannot keep.

    Raises:
        KernelError: the name has other characters than letters, digits and ``_ . + : / -``.
    """
    fits = name.isascii() and all(character.isalnum() or character in "_.+:/-" for character in name)
    if not (0 < len(name) <= 128 and fits):
        raise KernelError(
            f"{name!r} is no name: 1 to 128 letters, digits and _ . + : / - would work", kind="key"
        )
