"""`SchedulerClient` and `Job`: work for the scheduler, and what became of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _core
from ._cluster import Cluster, Node, Queue, cluster_of
from ._errors import ConfigError, JobError, SchedulerError
from ._resources import written

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._resources import Resources

_FINISHED = ("completed", "failed", "cancelled")
_UNFINISHED = ("held", "waiting", "queued", "starting", "running", "stopping")
# How long the scheduler may be away while somebody waits for a job, in seconds, and how often it is looked for then.
_PATIENCE = 120.0
_AGAIN = 0.5
# What is over once the scheduler is back.
_PASSING = {"no_server", "broken_connection", "no_answer", "stopping"}


@dataclass(frozen=True)
class Why:
    """Why a job does not run.

    Attributes:
        job: the job.
        state: its state.
        code: the kind of the reason, as a word.
        reason: the one reason that matters most.
        unblocked_by: what will unblock it.
        predicted_start_ms: when it may start, in milliseconds since 1970, or None.
    """

    job: int
    state: str
    code: str
    reason: str
    unblocked_by: str
    predicted_start_ms: int | None


@dataclass(frozen=True)
class LogPart:
    """Something that a process wrote.

    Attributes:
        rank: which process.
        stream: ``"stdout"`` or ``"stderr"``.
        data: the bytes.
        dropped: bytes before them that rotation has dropped.
    """

    rank: int
    stream: str
    data: bytes
    dropped: int


class Job:
    """A job of a scheduler. What is known of it is as of the last :meth:`refresh` or :meth:`wait`."""

    def __init__(self, client: SchedulerClient, record: dict[str, Any]) -> None:
        self._client = client
        self._record = record

    @property
    def id(self) -> int:
        """Its number."""
        return self._record["id"]

    @property
    def first(self) -> int:
        """The first job of its array; its own number where it is in none."""
        return self._record["first"]

    @property
    def state(self) -> str:
        """Where it is in its life.

        ``"held"``, ``"waiting"``, ``"queued"``, ``"starting"``, ``"running"``, ``"stopping"``, ``"completed"``,
        ``"failed"`` or ``"cancelled"``; ``"unknown"`` where a newer scheduler tells of another one.
        """
        return self._record["state"] or "unknown"

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.state in _FINISHED

    @property
    def name(self) -> str:
        """Its name."""
        return self._record["name"]

    @property
    def user(self) -> str:
        """Whose it is."""
        return self._record["user"]

    @property
    def queue(self) -> str:
        """Its queue."""
        return self._record["queue"]

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self._record["gpus"]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes it is on, or was on when it ended."""
        return tuple(self._record["nodes"])

    @property
    def submitted_ms(self) -> int:
        """When it was submitted, in milliseconds since 1970."""
        return self._record["submitted_ms"]

    @property
    def started_ms(self) -> int | None:
        """When its present or last attempt got its place, in milliseconds since 1970; None before."""
        return self._record["started_ms"]

    @property
    def ended_ms(self) -> int | None:
        """When it ended, in milliseconds since 1970; None before."""
        return self._record["ended_ms"]

    @property
    def exit_code(self) -> int | None:
        """The status of the first process that ended badly; 0 once completed; None before."""
        return self._record["exit_code"]

    @property
    def cause(self) -> str:
        """Why it is not running, where that was not its own good end."""
        return self._record["cause"]

    @property
    def record(self) -> dict[str, Any]:
        """Everything that lists show, as ``zenith job ls --json`` and REST show it: the fields above and a few more."""
        return dict(self._record)

    def refresh(self) -> Job:
        """Asks the scheduler how the job is; the job itself.

        Raises:
            SchedulerError: the job is not kept any more, or the scheduler does not answer.
        """
        self._record = self.details()["job"]
        return self

    def details(self) -> dict[str, Any]:
        """Everything that is known of it: ``job``, ``submission``, ``ranks``, ``slices``, ``usage`` and more.

        Raises:
            SchedulerError: the job is not kept any more, or the scheduler does not answer.
        """
        return json.loads(self._client._core.get(self.id))

    def wait(self, timeout: float | None = None) -> str:
        """Waits until the job has ended; its state. The scheduler may be started anew meanwhile.

        Args:
            timeout: seconds to wait at most; None: for ever.

        Raises:
            TimeoutError: it has not ended in time.
            SchedulerError: the scheduler was away for two minutes.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        away: float | None = None
        while not self.done:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                for page in self._client._core.watch([self.id], left):
                    away = None
                    for record in json.loads(page):
                        self._record = record
                if not self.done:
                    self.refresh()
            except TimeoutError:
                raise TimeoutError(f"job {self.id} is {self.state} after {timeout} seconds") from None
            except SchedulerError as error:
                now = time.monotonic()
                away = now if away is None else away
                if error.code not in _PASSING or now - away > _PATIENCE:
                    raise
                time.sleep(_AGAIN if left is None else min(_AGAIN, left))
        return self.state

    def result(self, timeout: float | None = None) -> Any:
        """Waits, and gives what the job came to.

        Args:
            timeout: seconds to wait at most; None: for ever.

        Returns:
            For a function what it returned (in rank 0, where there are several); for a command None.

        Raises:
            Exception: what the function raised, with its traceback as the cause.
            JobError: the job failed or was cancelled, or its result is not to be had here.
            TimeoutError: it has not ended in time.
        """
        self.wait(timeout)
        details = self.details()
        from ._functions import result_of

        return result_of(self, details["submission"]["command"], details["job"]["attempt"])

    def logs(
        self, rank: int | None = None, *, attempt: int = 0, stream: str | None = None, tail: int | None = None
    ) -> str:
        """What the job has written so far, as text.

        Args:
            rank: of one process; of all one after another if None.
            attempt: of an earlier attempt, counted from 1; 0: of the last.
            stream: ``"stdout"`` or ``"stderr"``; both if None.
            tail: only the last so many bytes of each stream.

        Raises:
            SchedulerError: nothing is kept, or the node is away.
        """
        parts = _log_parts(self._client._core.logs(self.id, rank, attempt, tail))
        taken = b"".join(part.data for part in parts if stream in {None, part.stream})
        return taken.decode("utf-8", "replace")

    def follow(self, rank: int | None = None) -> Iterator[LogPart]:
        """What the job writes, as it does, until it has ended; through waiting, and from one attempt to the next."""
        return _log_parts(self._client._core.follow(self.id, rank))

    def why(self) -> Why:
        """Why it does not run, what will unblock it, and when it may start."""
        return Why(**json.loads(self._client._core.why(self.id)))

    def cancel(self) -> None:
        """Ends it for good."""
        self._act("cancel")

    def hold(self) -> None:
        """Puts it aside until :meth:`release`."""
        self._act("hold")

    def release(self) -> None:
        """Lets it queue."""
        self._act("release")

    def requeue(self) -> None:
        """Ends its present attempt and queues it again."""
        self._act("requeue")

    def signal(self, signal: int | str) -> None:
        """Sends a signal to each of its processes: :meth:`SchedulerClient.signal`."""
        self._client.signal(self.id, signal)

    def _act(self, what: str) -> None:
        for outcome in json.loads(self._client._core.act(what, [self.id])):
            refusal = outcome["refusal"]
            if refusal is not None:
                raise SchedulerError(refusal["message"], code=refusal["code"], hint=refusal["hint"])
        self.refresh()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and (self.id, self._client.endpoint) == (
            other.id,
            other._client.endpoint,
        )

    def __hash__(self) -> int:
        return hash((self.id, self._client.endpoint))

    def __repr__(self) -> str:
        return f"Job({self.id}, {self.name!r}, {self.state})"


class SchedulerClient:
    """A connection to a scheduler. Threads may share it; a forked process makes a connection of its own.

    Args:
        endpoint: ``"HOST:PORT"`` or ``"https://HOST:PORT"``; if None, what ``ZENITH_CONTROLLER`` says, or
            127.0.0.1:50051.
        token: the token that shows who calls; if None, what ``ZENITH_TOKEN`` says, or the file that
            ``ZENITH_TOKEN_FILE`` names.
        token_file: a file with the token.
        tls_ca: a file of certificates (PEM) by which the scheduler's is known; if None, what ``ZENITH_TLS_CA`` names.
        insecure: the token may go to another machine without encryption, as it may where ``ZENITH_INSECURE`` is 1.

    Raises:
        SchedulerError: an address that is none, a file that cannot be read, a token that everybody on the way could
            read. Nothing is connected before the first call.

    Example::

        client = zenith.SchedulerClient()
        job = client.submit(["python", "train.py"], gpus=8, time="12:00:00")
        print(job.why().reason)
        job.wait()
    """

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | None = None,
        *,
        token_file: str | os.PathLike[str] | None = None,
        tls_ca: str | os.PathLike[str] | None = None,
        insecure: bool = False,
    ) -> None:
        file, ca = (None if path is None else os.fspath(path) for path in (token_file, tls_ca))
        self._core = _core.Scheduler(endpoint, token, file, ca, insecure)

    @property
    def endpoint(self) -> str:
        """Where the scheduler is, as a URL."""
        return self._core.endpoint

    def submit(self, command: Sequence[str | os.PathLike[str]], **resources: Unpack[Resources]) -> Job:
        """Hands a command to the scheduler. When this returns, the job is on its disk.

        Args:
            command: the program and its arguments; no shell reads them.
            **resources: what it asks for: :class:`zenith.Resources`.

        Raises:
            ConfigError: an argument that makes no sense.
            SchedulerError: a refusal, with ``.code`` and ``.hint``.
        """
        first, _ = self._submit(command, 1, dict(resources))
        return self.job(first)

    def submit_array(
        self, command: Sequence[str | os.PathLike[str]], count: int, **resources: Unpack[Resources]
    ) -> list[Job]:
        """Hands the same command to the scheduler ``count`` times; each job finds its number in ``ZENITH_ARRAY_INDEX``.

        Args:
            command: the program and its arguments; no shell reads them.
            count: how many jobs.
            **resources: what each asks for: :class:`zenith.Resources`.

        Raises:
            ConfigError: an argument that makes no sense.
            SchedulerError: a refusal, with ``.code`` and ``.hint``.
        """
        first, count = self._submit(command, count, dict(resources))
        whole = json.loads(self._core.get(first))["job"]
        return [Job(self, {**whole, "id": first + number}) for number in range(count)]

    def _submit(
        self, command: Sequence[str | os.PathLike[str]], count: int, resources: dict[str, Any]
    ) -> tuple[int, int]:
        if isinstance(command, (str, bytes)):
            raise ConfigError(
                "a command is a list of words, such as ['python', 'train.py']; no shell reads it"
            )
        work = {**written(resources), "command": [os.fspath(word) for word in command], "array": count}
        first, taken, _ = self._core.submit(json.dumps(work), str(resources.get("key") or ""))
        return first, taken

    def job(self, id: int) -> Job:
        """The job of a number.

        Raises:
            SchedulerError: there is none, or it is not kept any more.
        """
        return Job(self, json.loads(self._core.get(id))["job"])

    def jobs(
        self,
        *,
        states: Iterable[str] | None = None,
        user: str = "",
        queue: str = "",
        limit: int = 0,
        newest_first: bool = False,
    ) -> list[Job]:
        """Jobs, the oldest first.

        Args:
            states: only jobs in these states; those that have not ended if None; all if empty.
            user: only this user's.
            queue: only this queue's.
            limit: at most so many; 0: all.
            newest_first: the newest first.

        Raises:
            ConfigError: a state that is none.
            SchedulerError: a refusal.
        """
        states = list(_UNFINISHED if states is None else states)
        return [
            Job(self, record)
            for record in json.loads(self._core.list(states, user, queue, limit, newest_first))
        ]

    def signal(self, job: int | Job, signal: int | str) -> None:
        """Sends a signal to every process of a running job; its attempt goes on, unless they end because of it.

        Args:
            job: the job, or its number.
            signal: a name such as ``"USR1"`` or ``"SIGUSR1"``, a number from 1 to 31, or one of
                :class:`signal.Signals`.

        Raises:
            ConfigError: a signal that is none.
            SchedulerError: a refusal, with ``.code``: ``"not_running"``, ``"not_yours"``, ``"no_such_job"`` among
                others.
        """
        number = job.id if isinstance(job, Job) else job
        self._core.signal(number, signal if isinstance(signal, str) else str(int(signal)))

    def cluster(self) -> Cluster:
        """Nodes, queues, users and counts at this moment."""
        return cluster_of(json.loads(self._core.cluster()))

    def nodes(self) -> list[Node]:
        """The nodes at this moment."""
        return list(self.cluster().nodes)

    def queues(self) -> list[Queue]:
        """The queues at this moment."""
        return list(self.cluster().queues)

    def drain(self, node: str, drained: bool = True) -> None:
        """Closes a node for new work, or opens it again. For administrators."""
        self._core.drain(node, drained)

    def __repr__(self) -> str:
        return f"SchedulerClient({self.endpoint!r})"


def _log_parts(parts: _core.LogParts) -> Iterator[LogPart]:
    for rank, is_stderr, data, dropped in parts:
        yield LogPart(rank, "stderr" if is_stderr else "stdout", data, dropped)


__all__ = [
    "Job",
    "JobError",
    "LogPart",
    "SchedulerClient",
    "SchedulerError",
    "Why",
]
