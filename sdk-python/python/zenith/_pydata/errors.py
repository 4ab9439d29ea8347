"""Errors of the Python path of the loader.

What is wrong with the user's own code (an exception in ``__getitem__``) is not here: it comes back as itself,
with the worker's traceback as its cause.
"""

from __future__ import annotations

from .._errors import LoaderClosedError, MachineError, SourceError, WorkerError, ZenithError


class PythonLoaderError(ZenithError, RuntimeError):
    """Base of everything that the Python path raises on its own behalf."""


class WorkerDiedError(PythonLoaderError, WorkerError):
    """A worker process ended without being asked to.

    Attributes:
        pid: process id of the worker.
        exitcode: exit status; negative is the number of the signal that killed it, as in
        :mod:`multiprocessing`.
        sample: the dataset index that it was working on, as text; None if it had not begun one.
    """

    def __init__(self, message: str, *, pid: int, exitcode: int | None, sample: str | None) -> None:
        super().__init__(message)
        self.pid = pid
        self.exitcode = exitcode
        self.sample = sample


class WorkerExceptionError(PythonLoaderError, WorkerError):
    """Stands for an exception that cannot be pickled; its text and traceback are in the message."""


class LoaderForkedError(PythonLoaderError, MachineError):
    """The loader was used in a forked copy of the process that owns it."""


class LoaderTimeoutError(PythonLoaderError, TimeoutError):
    """No batch came within ``timeout`` seconds."""


class LoaderBusyError(PythonLoaderError):
    """``next()`` was called within another ``next()`` of the same loader, as a signal handler can."""


class UnsupportedDatasetError(PythonLoaderError, SourceError, TypeError):
    """The source is not a map-style dataset (``__getitem__`` by index)."""


class WorkerTraceback(Exception):
    """The cause of an exception that crossed a process or thread: the text of the worker's traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


__all__ = [
    "LoaderBusyError",
    "LoaderClosedError",
    "LoaderForkedError",
    "LoaderTimeoutError",
    "PythonLoaderError",
    "UnsupportedDatasetError",
    "WorkerDiedError",
    "WorkerExceptionError",
    "WorkerTraceback",
]
