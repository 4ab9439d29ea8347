"""Exceptions of Zenith, by cause. Each has ``.path`` where there is one."""

from __future__ import annotations

from collections.abc import Sequence


class ZenithError(Exception):
    """Base of everything Zenith raises on its own behalf.

    Attributes:
        path: the file or folder concerned, or None.
    """

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class SourceError(ZenithError):
    """The source cannot be read as data: missing, empty, of an unknown kind, or contradictory."""


class ReadError(ZenithError, OSError):
    """The operating system refused to give a file or folder."""


class DecodeError(ZenithError):
    """One sample cannot be delivered.

    Attributes:
        sample: index of the sample in the source.
        offset: byte (or row) in the file where the trouble was found, or None.
        reason: what was wrong, without the place.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        sample: int = -1,
        offset: int | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message, path=path)
        self.sample = sample
        self.offset = offset
        self.reason = reason or message


class PluginError(ZenithError):
    """A plugin cannot be loaded, or failed on a sample.

    Attributes:
        plugin: its name; empty where not even that is known.
        kind: the cause in a word, such as "deadline", "memory", "trap", "code" (the plugin's own), "not_wasm", "unfit"
            (what it gave is not what the loader can use).
        code: the plugin's own error code, or None.
        sample: index of the sample in the source; -1 where it was none.
        reason: what was wrong, without the place.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        plugin: str = "",
        kind: str = "",
        code: int | None = None,
        sample: int = -1,
        reason: str = "",
    ) -> None:
        super().__init__(message, path=path)
        self.plugin = plugin
        self.kind = kind
        self.code = code
        self.sample = sample
        self.reason = reason or message


class ConfigError(ZenithError, ValueError):
    """An argument, or a combination of arguments, makes no sense."""


class ResumeError(ZenithError):
    """A saved state does not belong to this loader; the message says what differs."""


class WorkerError(ZenithError, RuntimeError):
    """A worker broke; the message carries its own."""


class MachineError(ZenithError, RuntimeError):
    """The machine refused memory or threads, or the loader was used in a forked process."""


class LoaderClosedError(ZenithError, RuntimeError):
    """An iterator was used after its loader was closed. Iterating over the loader anew starts fresh workers."""


class CollectiveError(ZenithError, RuntimeError):
    """Ranks did not meet, or a collective did not come about. Afterwards the communicator is broken for good.

    Attributes:
        code: the cause as a word, which does not change: "deadline", "died", "left", "mismatch", "given_up", "broken",
            "meeting", "machine"; "torch" where torch.distributed is the transport.
        ranks: the ranks at fault, as far as they are known.
    """

    def __init__(
        self, message: str, *, path: str | None = None, code: str = "", ranks: Sequence[int] = ()
    ) -> None:
        super().__init__(message, path=path)
        self.code = code
        self.ranks = tuple(ranks)


class SchedulerError(ZenithError):
    """The scheduler refused a call, or gave no answer.

    Attributes:
        code: the cause as a word, which does not change: "no_such_job", "not_yours", "no_server" ...
        hint: what would work.
    """

    def __init__(self, message: str, *, path: str | None = None, code: str = "", hint: str = "") -> None:
        super().__init__(message, path=path)
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.hint})" if self.hint else message


class JobError(ZenithError, RuntimeError):
    """A job that was waited for has no result.

    Attributes:
        job: its number; 0 where it is not known.
        state: its state.
        exit_code: the status of the first process that ended badly, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        job: int = 0,
        state: str = "",
        exit_code: int | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.job = job
        self.state = state
        self.exit_code = exit_code


class KernelError(ZenithError, RuntimeError):
    """The kernel decision store refuses something, or cannot be read or written.

    Attributes:
        kind: the cause in a word: "key", "candidate", "op", "settings", "selection", "store", "import", "triton".
    """

    def __init__(self, message: str, *, path: str | None = None, kind: str = "") -> None:
        super().__init__(message, path=path)
        self.kind = kind


__all__ = [
    "CollectiveError",
    "ConfigError",
    "DecodeError",
    "JobError",
    "KernelError",
    "LoaderClosedError",
    "MachineError",
    "PluginError",
    "ReadError",
    "ResumeError",
    "SchedulerError",
    "SourceError",
    "WorkerError",
    "ZenithError",
]
