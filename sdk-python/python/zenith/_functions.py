"""`submit` and `job`: Python functions as work for the scheduler, and their results.

The function, its arguments and its result cross by files in a folder below ``ZENITH_SPOOL`` (default
``$XDG_DATA_HOME/zenith/functions``). Submitter and nodes have to share that folder, the Python interpreter and the
modules. `_run_function` is the other side.
"""

from __future__ import annotations

import functools
import os
import pickle
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from . import _run_function
from ._errors import ConfigError, JobError, SchedulerError
from ._run_function import CALL, NO_FOLDER, Outcome, read_outcome
from ._scheduler import Job, SchedulerClient

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._resources import Resources

_P = ParamSpec("_P")
_R = TypeVar("_R")
# What the job runs with the folder as its argument.
_PROGRAM = "zenith._job_process"
# How long a file of another machine may take to be seen here, in seconds.
_SEEN_WITHIN = 10.0
# Failures after which the scheduler may have taken the job in, and the pauses before it is asked again, in seconds.
_UNCERTAIN = frozenset({"no_answer", "broken_connection", "no_server", "busy", "stopping"})
_PAUSES = (0.2, 1.0, 3.0)


class RemoteTraceback(Exception):
    """The traceback of a job's exception, as text: the cause of the exception that :meth:`Job.result` raises."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def submit(
    fn: Callable[..., Any],
    /,
    *args: Any,
    client: SchedulerClient | None = None,
    **resources: Unpack[Resources],
) -> Job:
    """Runs ``fn(*args)`` as a job.

    Keyword arguments are for the scheduler; ``functools.partial`` carries those of ``fn``.

    The function, its arguments and its result travel by pickle (by cloudpickle where that is installed: then also
    lambdas, closures and what a notebook defines) through files in ``ZENITH_SPOOL``. A node that does not share that
    folder fails the job with a message that says so. A script that submits its own functions has to do so below
    ``if __name__ == "__main__":``, as with ``multiprocessing``. With several GPUs the function runs in every rank, in
    torchrun's environment, and the result is that of rank 0.

    Args:
        fn: the function.
        *args: its arguments.
        client: the scheduler; the default one if None.
        **resources: what it asks for: :class:`zenith.Resources`.

    Returns:
        The job; its ``result()`` gives what the function returned, or raises what it raised.

    Raises:
        ConfigError: a function or an argument that cannot be pickled; an argument that makes no sense.
        SchedulerError: a refusal, with ``.code`` and ``.hint``.

    Example::

        job = zenith.submit(train, "imagenet", 90, gpus=8, time="12:00:00")
        accuracy = job.result()
    """
    return _submit(fn, args, {}, client, dict(resources))


class Task(Generic[_P, _R]):
    """A function that also runs as a job: what :func:`zenith.job` makes. Calling it runs the function here."""

    def __init__(
        self, function: Callable[_P, _R], resources: dict[str, Any], client: SchedulerClient | None
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.resources = resources
        self._client = client

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return self.function(*args, **kwargs)

    def submit(self, *args: _P.args, **kwargs: _P.kwargs) -> Job:
        """Runs the function as a job; all arguments are the function's.

        Raises:
            ConfigError: a function or an argument that cannot be pickled.
            SchedulerError: a refusal, with ``.code`` and ``.hint``.
        """
        return _submit(self, args, kwargs, self._client, self.resources)

    def options(
        self, *, client: SchedulerClient | None = None, **resources: Unpack[Resources]
    ) -> Task[_P, _R]:
        """The same function with other resources; what is not named stays as it is."""
        other = Task(self.function, {**self.resources, **resources}, client or self._client)
        # Its name means the original, under which it is found where the job runs.
        other.__dict__["original"] = getattr(self, "original", self)
        return other

    def __reduce__(self) -> str:
        # By name, as functions are: the name means this object, not the function in it.
        return self.__qualname__  # pyright: ignore[reportAttributeAccessIssue]

    def __repr__(self) -> str:
        return f"<zenith.job {getattr(self, '__qualname__', self.function)!s}>"


@overload
def job(fn: Callable[_P, _R], /) -> Task[_P, _R]: ...
@overload
def job(
    *, client: SchedulerClient | None = None, **resources: Unpack[Resources]
) -> Callable[[Callable[_P, _R]], Task[_P, _R]]: ...
def job(fn: Any = None, /, *, client: SchedulerClient | None = None, **resources: Any) -> Any:
    """Turns a function into one with ``.submit(...)``, which runs it as a job with these resources.

    The function can be called as before, which runs it here. ``.options(gpus=4)`` gives the same function with other
    resources. See :func:`zenith.submit` for what travels how.

    Args:
        fn: the function, where the decorator stands without parentheses.
        client: the scheduler; the default one if None.
        **resources: what it asks for: :class:`zenith.Resources`.

    Example::

        @zenith.job(gpus=2, time="1:00:00")
        def train(rate, epochs=3): ...

        job = train.submit(0.1, epochs=5)
        job.result()
    """
    if fn is not None:
        return Task(fn, {}, client)
    return lambda function: Task(function, resources, client)


def spool() -> Path:
    """The folder through which functions and results travel: ``ZENITH_SPOOL``, or one below the user's data."""
    named = os.environ.get("ZENITH_SPOOL")
    if named:
        return Path(named).absolute()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(data).absolute() / "zenith/functions"


def _submit(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    client: SchedulerClient | None,
    resources: dict[str, Any],
) -> Job:
    if _run_function.preparing:
        raise ConfigError(
            "a job was submitted while its script was being imported for another one; "
            'submit below `if __name__ == "__main__":`'
        )
    target = client or SchedulerClient()
    call = _pickled(function, args, kwargs)
    # What a task asks for every time is not to be changed by one submission.
    resources = {"name": getattr(function, "__name__", type(function).__name__), **resources}
    folder = spool() / uuid.uuid4().hex
    folder.mkdir(parents=True, mode=0o700)
    try:
        (folder / CALL).write_bytes(call)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not resources.get("key"):
        resources["key"] = uuid.uuid4().hex
    return _handed_over(target, folder, resources)


def _handed_over(target: SchedulerClient, folder: Path, resources: dict[str, Any]) -> Job:
    """The job that runs what is in the folder, which goes only with a refusal: else a job may be there and need it."""
    command = [sys.executable, "-m", _PROGRAM, folder]
    was_sent = False
    for pause in (*_PAUSES, None):
        try:
            return target.submit(command, **resources)
        except SchedulerError as error:
            # Where nobody was there from the start nobody has taken it in.
            if error.code not in _UNCERTAIN or (error.code == "no_server" and not was_sent):
                if not was_sent:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            if pause is None:
                raise
            was_sent = True
            time.sleep(pause)
        except ConfigError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    raise AssertionError("the last try returns or raises")


def _pickled(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """The call and what is needed to unpickle it, as the other side reads it."""
    main: tuple[str, str] | None = None
    try:
        try:
            import cloudpickle  # pyright: ignore[reportMissingImports]
        except ImportError:
            original = getattr(function, "original", function)
            payload = pickle.dumps((original, args, kwargs))
            if b"__main__" in payload:
                main = _main()
        else:
            payload = cloudpickle.dumps((getattr(function, "function", function), args, kwargs))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the call cannot be pickled: {error}; with cloudpickle installed, lambdas, closures and what a "
            "notebook defines can be, too"
        ) from error
    here = str(Path.cwd())
    return pickle.dumps({"path": [path or here for path in sys.path], "main": main, "payload": payload})


def _main() -> tuple[str, str]:
    """How the other side gets at what the main program defines."""
    module = sys.modules["__main__"]
    name = getattr(getattr(module, "__spec__", None), "name", None)
    if name:
        return "module", name
    file = getattr(module, "__file__", None)
    if file:
        return "file", str(Path(file).absolute())
    raise ConfigError(
        "what is defined at a prompt or in a notebook can only be submitted with cloudpickle installed"
    )


def result_of(job: Job, command: list[str], attempt: int) -> Any:
    """What a job that has ended came to in its last attempt.

    Raises:
        Exception: what the function raised.
        JobError: there is no result.
    """
    if len(command) != 4 or command[1:3] != ["-m", _PROGRAM]:
        if job.state == "completed":
            return None
        raise _failed(job)
    folder = Path(command[3])
    if job.state == "cancelled":
        raise _failed(job)
    outcome = _outcome(folder, attempt, job.state == "completed")
    if outcome is None:
        where = f"it left no result in {folder}"
        if job.exit_code == NO_FOLDER or not folder.is_dir():
            where = f"{folder} is not shared: let ZENITH_SPOOL name a folder that submitter and nodes share"
        raise _failed(job, where)
    if outcome.error is None:
        return outcome.value
    raise outcome.error from RemoteTraceback(outcome.traceback)


def _failed(job: Job, where: str = "") -> JobError:
    parts = [f"job {job.id} ({job.name}) {job.state}"]
    if job.state == "completed":
        parts = [f"job {job.id} ({job.name}) completed, but its result is not to be had"]
    if job.cause:
        parts.append(job.cause)
    if where:
        parts.append(where)
    return JobError(": ".join(parts), job=job.id, state=job.state, exit_code=job.exit_code)


def _outcome(folder: Path, attempt: int, completed: bool) -> Outcome | None:
    """What an attempt left: rank 0's value, or the error of the first rank that has one; None if nothing.

    What an earlier attempt left is no answer: this one may have ended in another way.
    """
    deadline = time.monotonic() + (_SEEN_WITHIN if folder.is_dir() else 0.0)
    while True:
        found = [outcome for path in folder.glob("result-*") if (outcome := read_outcome(path)) is not None]
        found = sorted(
            (outcome for outcome in found if outcome.attempt == attempt), key=lambda outcome: outcome.rank
        )
        wanted = [
            outcome for outcome in found if (outcome.rank == 0 if completed else outcome.error is not None)
        ]
        if wanted:
            return wanted[0]
        # A job that failed without a trace, by a signal perhaps, is not waited for.
        if not completed or time.monotonic() >= deadline:
            return None
        time.sleep(0.1)


__all__ = ["RemoteTraceback", "Task", "job", "spool", "submit"]
