"""Traps of plugins beside a handler of fatal signals, Python's own faulthandler, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import ctypes, faulthandler, sys
import zenith
from wasm_modules import TRAPS

moment, end = sys.argv[1:]
if moment == "before":
    faulthandler.enable()
engines = {}
for name, (module, kind) in TRAPS.items():
    engines[name] = zenith.Engine(), kind
    engines[name][0].load_plugin(module, name=name)
if moment == "after":
    faulthandler.enable()
for name, (engine, kind) in engines.items():
    for _ in range(2):
        try:
            engine.process(b"x")
        except zenith.PluginError as error:
            assert (error.plugin, error.kind) == (name, kind), error
        else:
            raise AssertionError(f"{name} did not trap")
if end == "fault":
    ctypes.string_at(0)
print("alive")
"""


def run(moment: str, end: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, moment, end],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("moment", ["never", "before", "after"])
def test_a_trap_is_an_exception(moment: str) -> None:
    done = run(moment, "alive")
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_faults_of_the_program_reach_its_handler(moment: str) -> None:
    done = run(moment, "fault")
    assert done.returncode < 0
    assert "Segmentation fault" in done.stderr
    assert "alive" not in done.stdout
