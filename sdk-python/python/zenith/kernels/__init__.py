"""The right kernel: implementations of an operation are measured, the fastest is remembered and called.

``matmul(a, b)`` comes with candidates; ``zenith.kernel`` makes operations of one's own.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from .._errors import ConfigError, KernelError
from . import _process
from ._candidate import Candidate
from ._explanation import Explanation, Standing
from ._kernel import Kernel, KernelWarning, kernel
from ._matmul import operation as _matmul
from ._process import Counts, configure, counts, freeze, is_frozen, store_folder, unfreeze
from ._triton import install

matmul = _matmul.function(
    "matmul",
    "matmul(a, b)\n--\n\nThe product of two matrices, by whatever is the fastest for their sizes and layouts.\n\n"
    "Takes tensors of torch or arrays of NumPy, and gives what torch.matmul or numpy.matmul gives, within the\n"
    "element type's precision. Other operands than two matrices of one type go there directly.",
)


@dataclass(frozen=True)
class Imported:
    """What came of taking a document in.

    Attributes:
        rows: measurements that are new.
        known: measurements of which the store had its own, which stay.
        unsound: measurements that cannot be, such as times below zero; they are left out.
        pins: fixed choices; they replace those for the same.
    """

    rows: int
    known: int
    unsound: int
    pins: int


def find(op: Any) -> Kernel:
    """The operation that is meant: by itself, by its function, or by its name.

    Raises:
        KernelError: there is none.
    """
    if isinstance(op, Kernel):
        return op
    owner = getattr(op, "__self__", None)
    if isinstance(owner, Kernel):
        return owner
    found = _process.named(op) if isinstance(op, str) else None
    if found is None:
        raise KernelError(
            f"{op!r} is no operation of this process: one that zenith.kernel made, or its name, would work",
            kind="op",
        )
    return found


def explain(op: Any, *args: Any, **kwargs: Any) -> Explanation:
    """Why a call is done by the candidate that does it. Measures nothing; ``print`` it for a table.

    Args:
        op: an operation or its name, such as ``"matmul"``.
        args: the arguments of the call.
        kwargs: its named arguments.

    Raises:
        KernelError: there is no such operation, or no candidate can do the call.
    """
    return find(op).explain(*args, **kwargs)


def pin(op: Any, candidate: str, *args: Any, note: str = "", **kwargs: Any) -> None:
    """Fixes the choice for an operation, or with arguments for calls like that one. It is kept in the store.

    Args:
        op: an operation or its name.
        candidate: the candidate's name. One that cannot do a call, or was rejected, is not taken for it.
        args: the arguments of a call; without any, the choice is fixed for all calls.
        note: why; ``explain`` shows it.
        kwargs: named arguments of that call.

    Raises:
        KernelError: there is no such operation or candidate, nothing can be chosen for the call, or the store cannot be
            written.
    """
    found = find(op)
    if all(known.name != candidate for known in found.candidates):
        names = ", ".join(known.name for known in found.candidates)
        raise KernelError(
            f"{found.name} has no candidate {candidate!r}: {names} would work", kind="candidate"
        )
    _process.selector().pin(candidate, note, *_scope(found, args, kwargs))
    _process.forget()


def unpin(op: Any, *args: Any, **kwargs: Any) -> bool:
    """Takes a fixed choice back: of an operation, or with arguments of calls like that one; whether there was one.

    Raises:
        KernelError: as for ``pin``.
    """
    was = _process.selector().unpin(*_scope(find(op), args, kwargs))
    _process.forget()
    return was


def _scope(found: Kernel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str | None, str | None]:
    if not args and not kwargs:
        return found.name, None
    key = found.key(*args, **kwargs)
    if key is None:
        raise KernelError(f"{found.name}: {found.explain(*args, **kwargs).notes[0]}", kind="key")
    return None, key


def export(path: str | os.PathLike[str]) -> int:
    """Writes all measurements and fixed choices of the store into a JSON document; how many measurements there are.

    Raises:
        KernelError: there is no store, or the file cannot be written.
    """
    return _process.selector().export(os.fspath(path))[0]


def import_(path: str | os.PathLike[str]) -> Imported:
    """Takes a document of ``export`` into the store. Measurements that are there already stay as they are.

    Raises:
        KernelError: the file is no such document, or the store cannot be written.
    """
    told = Imported(**json.loads(_process.selector().import_(os.fspath(path))))
    _process.forget()
    return told


def refresh() -> None:
    """Reads the store again: takes over what other processes have measured or fixed meanwhile."""
    _process.selector().refresh()
    _process.forget()


__all__ = [
    "Candidate",
    "ConfigError",
    "Counts",
    "Explanation",
    "Imported",
    "Kernel",
    "KernelError",
    "KernelWarning",
    "Standing",
    "configure",
    "counts",
    "explain",
    "export",
    "find",
    "freeze",
    "import_",
    "install",
    "is_frozen",
    "kernel",
    "matmul",
    "pin",
    "refresh",
    "store_folder",
    "unfreeze",
    "unpin",
]
