"""Trying a risky candidate in a process of its own: ``python -m zenith.kernels._trial FILE``.

The file holds the candidate and its arguments; the verdict is the last line on stdout. Both sides are here.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._errors import ConfigError
from ._candidate import Candidate
from ._operands import Expected, Judged, Operands

_PROTOCOL = 1

Command = tuple[list[str], list[tuple[str, str]]]


@dataclass(frozen=True)
class Described:
    """A candidate as the extension takes it."""

    name: str
    version: str
    source: str
    libraries: list[tuple[str, str]]
    refusal: str | None
    probe: tuple[Callable[[], Command], float] | None


@dataclass
class _Tried:
    """An operation with one candidate: the one on trial."""

    name: str
    reference: Callable[..., Any] | None
    tol: float | None
    candidates: tuple[Candidate, ...]

    def default(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        """The candidate itself; what a result has to be like is known."""
        return self.candidates[0].direct(args, kwargs)


def refusal(candidate: Candidate) -> str | None:
    """Why a candidate cannot be sent to another process; None if it can."""
    from .._functions import _pickled

    try:
        _pickled(candidate.call, (candidate.out,), {})
    except ConfigError as error:
        return f"it is risky, and cannot be tried in a process of its own: {error}"
    return None


def command(kernel: Judged, candidate: Candidate, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Command:
    """The command that tries a candidate on copies of these arguments."""
    from .._functions import _pickled

    args = tuple(_detached(value) for value in args)
    kwargs = {name: _detached(value) for name, value in kwargs.items()}
    expected = Operands(kernel, args, kwargs).expected()
    packed = _pickled(
        _try, (candidate.name, candidate.call, candidate.out, kernel.tol, args, kwargs, expected), {}
    )
    handle, path = tempfile.mkstemp(prefix="zenith-trial-")
    with os.fdopen(handle, "wb") as file:
        file.write(packed)
    return [sys.executable, "-m", "zenith.kernels._trial", path], []


def _detached(value: Any) -> Any:
    return value.detach() if hasattr(value, "detach") else value


def _try(
    name: str,
    call: Callable[..., Any],
    out: Callable[..., Any] | None,
    tol: float | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    expected: Expected,
) -> tuple[str, str] | None:
    tried = _Tried(name, None, tol, (Candidate(name, call, out=out),))
    operands = Operands(tried, args, kwargs, expected=expected)
    judged, _ = operands.prepare(name)
    operands.poison()
    operands.keep(judged())
    return operands.judge()


def main(path: Path) -> int:
    """Tries the candidate in the file; the exit status."""
    from .. import _run_function

    packed = pickle.loads(path.read_bytes())
    path.unlink()
    try:
        _run_function._prepare(packed)
        function, args, kwargs = pickle.loads(packed["payload"])
        fault = function(*args, **kwargs)
    except Exception as error:
        traceback.print_exc()
        fault = ("failed", f"{type(error).__name__}: {error}")
    verdict: dict[str, Any] = {"protocol": _PROTOCOL, "verdict": "passed"}
    if fault is not None:
        verdict = {"protocol": _PROTOCOL, "verdict": "rejected", "kind": fault[0], "detail": fault[1]}
    print(json.dumps(verdict), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
