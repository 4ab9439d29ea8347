"""The REST door does what its own description says, whatever it is sent.

``ZENITH_REST_EXAMPLES`` calls of each path are tried (30 take well below a minute), from the seed ``ZENITH_REST_SEED``; the same seed tries the
same calls.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
EXAMPLES = os.environ.get("ZENITH_REST_EXAMPLES", "30")
SEED = os.environ.get("ZENITH_REST_SEED", "1")
PROGRAM = Path(os.environ.get("ZENITH_SCHEDULER", ROOT / "target/debug/zenith-scheduler"))


@pytest.fixture
def rest(tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler of its own."""
    arguments = ["--state", tmp_path / "state", "--grpc", "127.0.0.1:0", "--rest", "127.0.0.1:0", "--no-agent"]
    environment = {**os.environ, "RUST_LOG": "info", "NO_COLOR": "1"}
    log = tmp_path / "log"
    # Into a file: a pipe that nobody reads would stop the program sooner or later.
    with log.open("w") as stderr:
        program = subprocess.Popen([PROGRAM, *arguments], stderr=stderr, env=environment)
    try:
        yield f"http://{address(program, log)}"
    finally:
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0, log.read_text()
        assert "panicked" not in log.read_text(), log.read_text()


def address(program: subprocess.Popen[bytes], log: Path) -> str:
    """Where it says that it serves REST."""
    deadline = time.monotonic() + 60
    while True:
        served = re.search(r"REST is served.* address=(\S+)", log.read_text())
        if served is not None:
            return served[1]
        assert program.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def submit(rest: str, **more: object) -> None:
    """Takes work in, so that calls about jobs find some."""
    work = {"resources": {"gpus": 1}, "command": ["true"], **more}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{rest}/v1/jobs", json.dumps(work).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 201


def test_the_description_is_kept(rest: str, tmp_path: Path) -> None:
    """All checks on all paths, but for the one whose answers have no end."""
    submit(rest, count=3)
    submit(rest, held=True)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"]
    options = [
        "--exclude-path=/v1/events",
        "--checks=all",
        f"--max-examples={EXAMPLES}",
        f"--seed={SEED}",
        "--request-timeout=20",
        "--generation-database=none",
        "--generation-unique-inputs",
        "--no-color",
        "--suppress-health-check=all",
        "--continue-on-failure",
    ]
    run = subprocess.run(
        [*command, *options, f"{rest}/openapi.json"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
