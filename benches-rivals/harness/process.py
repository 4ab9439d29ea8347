"""Starts one rival, speaks the exchange with it, and never leaves one behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.watcher import Watcher

HERE = Path(__file__).resolve().parent.parent


class RivalError(Exception):
    """A rival did not answer with a usable result; the text says why, with the end of its own output."""


def run_rival(command: Sequence[str], config: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Run `command` with `config` on its standard input; return its result with the memory peaks added."""
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            command,
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env=_environment(),
        )
        watcher = Watcher(child.pid)
        overdue = threading.Event()

        def give_up() -> None:
            overdue.set()
            _kill_group(child.pid)

        timer = threading.Timer(timeout, give_up)
        timer.start()
        try:
            result = _converse(child, config, watcher)
            code = child.wait()
        finally:
            timer.cancel()
            watcher.freeze()
            _kill_group(child.pid)
            child.wait()
        errors.seek(0)
        tail = "\n".join(errors.read().strip().splitlines()[-12:])
    if overdue.is_set():
        raise RivalError(f"no answer within {timeout:.0f} s\n{tail}")
    if code != 0:
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise RivalError(f"{cause}\n{tail}")
    if result is None:
        raise RivalError(f"ended without a result\n{tail}")
    return {**result, "memory": watcher.facts()}


def _converse(child: subprocess.Popen[str], config: dict[str, Any], watcher: Watcher) -> dict[str, Any] | None:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(config))
        child.stdin.close()
    except BrokenPipeError:
        return None
    watcher.start()
    result = None
    for line in child.stdout:
        try:
            message = json.loads(line)
        except json.JSONDecodeError as error:
            raise RivalError(f"not part of the exchange: {line.strip()[:200]}") from error
        if message.get("mark") == "measured":
            watcher.freeze()
        if "result" in message:
            result = message["result"]
    return result


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """Our own environment without what would leak another interpreter's packages into the rival."""
    kept = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
