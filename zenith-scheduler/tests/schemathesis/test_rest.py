"""The REST door does what its own description says, whatever it is sent."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PROGRAM = Path(os.environ.get("ZENITH_SCHEDULER", ROOT / "target/debug/zenith-scheduler"))


@pytest.fixture
def rest(tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler of its own."""
    arguments = ["--state", tmp_path, "--grpc", "127.0.0.1:0", "--rest", "127.0.0.1:0", "--no-agent"]
    environment = {**os.environ, "RUST_LOG": "info", "NO_COLOR": "1"}
    program = subprocess.Popen([PROGRAM, *arguments], stderr=subprocess.PIPE, text=True, env=environment)
    assert program.stderr is not None
    heard: list[str] = []
    for line in program.stderr:
        heard.append(line)
        if "REST is served" in line:
            break
    served = re.search(r"address=(\S+)", heard[-1]) if heard else None
    assert served is not None, heard
    try:
        yield f"http://{served[1]}"
    finally:
        program.send_signal(signal.SIGTERM)
        rest = program.stderr.read()
        assert program.wait(60) == 0, rest
        assert "panicked" not in rest, rest


def test_the_description_is_kept(rest: str, tmp_path: Path) -> None:
    """All checks on all paths, but for the one whose answers have no end."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"]
    options = [
        "--exclude-path=/v1/events",
        "--checks=all",
        "--max-examples=60",
        "--seed=1",
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
