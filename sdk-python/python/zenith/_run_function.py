"""A call made in a job's process: read from a folder, its outcome left there. `_functions` is the other side."""

from __future__ import annotations

import os
import pickle
import runpy
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

CALL = "call"
# Exit statuses: the folder is not here; the outcome is in the folder, and it is an error.
NO_FOLDER = 97
FAILED = 1

preparing = False


@dataclass(frozen=True)
class Outcome:
    """What became of a call: a value, or an error with its traceback."""

    rank: int
    attempt: int
    value: Any = None
    error: BaseException | None = None
    traceback: str = ""


def read_outcome(path: Path) -> Outcome | None:
    """The outcome in a file; None where the file is gone.

    What it holds is unpickled in a second step, so that a value of unknown type still is an outcome.
    """
    from ._errors import JobError

    # Names the submitter's main program as the other side names it.
    sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
    try:
        head = pickle.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    outcome = Outcome(head["rank"], head["attempt"], traceback=head["traceback"])
    try:
        held = pickle.loads(head["held"])
    except Exception as error:
        held = JobError(f"what the function gave or raised cannot be unpickled here: {error}")
        return Outcome(outcome.rank, outcome.attempt, error=held, traceback=head["traceback"])
    if head["good"]:
        return Outcome(outcome.rank, outcome.attempt, value=held)
    return Outcome(outcome.rank, outcome.attempt, error=held, traceback=head["traceback"])


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Leaves the outcome in the folder, whole or not at all."""
    good = outcome.error is None
    head = {"rank": outcome.rank, "attempt": outcome.attempt, "good": good, "traceback": outcome.traceback}
    try:
        head["held"] = _dumps(outcome.value if good else outcome.error)
        if not good:
            # Some exceptions pickle well and cannot be made again from what they say of themselves.
            pickle.loads(head["held"])
    except Exception as error:
        from ._errors import JobError

        what = "what the function returned" if good else f"{type(outcome.error).__name__}: {outcome.error}"
        head["good"] = False
        head["held"] = pickle.dumps(JobError(f"{what} (it cannot be pickled: {error})"))
        head["traceback"] = head["traceback"] or traceback.format_exc()
        good = False
    path = folder / f"result-{outcome.rank}"
    part = path.with_name(f".{path.name}-{os.getpid()}")
    with part.open("wb") as file:
        pickle.dump(head, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    if not good and outcome.error is None:
        sys.exit(FAILED)


def _dumps(value: Any) -> bytes:
    try:
        import cloudpickle  # pyright: ignore[reportMissingImports]
    except ImportError:
        return pickle.dumps(value)
    return cloudpickle.dumps(value)


def _prepare(head: dict[str, Any]) -> None:
    """Lets what the call names be found: modules, and what the submitter's main program defines."""
    global preparing  # noqa: PLW0603
    sys.path[:] = [*head["path"], *(path for path in sys.path if path not in head["path"])]
    if head["main"] is None:
        return
    kind, name = head["main"]
    preparing = True
    try:
        run = runpy.run_module if kind == "module" else runpy.run_path
        found = run(name, run_name="__mp_main__")
    finally:
        preparing = False
    module = ModuleType("__mp_main__")
    module.__dict__.update(found)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def main(folder: Path) -> int:
    """Makes the call in the folder; the exit status."""
    try:
        head = pickle.loads((folder / CALL).read_bytes())
    except FileNotFoundError:
        node = os.environ.get("ZENITH_NODE_NAME", "this node")
        print(
            f"zenith: {folder} is not on {node}: submitter and nodes have to share it; "
            "let ZENITH_SPOOL name a folder that they do",
            file=sys.stderr,
        )
        return NO_FOLDER
    rank, attempt = (int(os.environ.get(name) or 0) for name in ("RANK", "ZENITH_ATTEMPT"))
    try:
        _prepare(head)
        function, args, kwargs = pickle.loads(head["payload"])
        outcome = Outcome(rank, attempt, value=function(*args, **kwargs))
    except Exception as error:
        traceback.print_exc()
        outcome = Outcome(rank, attempt, error=error, traceback=traceback.format_exc())
    write_outcome(folder, outcome)
    return 0 if outcome.error is None else FAILED
