"""The GPU benchmark as a program: what it says without a GPU, and that a part's end is never the program's."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from zenith.bench import _parts, _runner


def bench(*arguments, cwd):
    command = [sys.executable, "-m", "zenith.bench", "gpu", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_ends_with_status_2_and_a_sentence(tmp_path):
    done = bench(cwd=tmp_path)
    assert done.returncode == 2
    assert "--device cpu" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_nonsense_is_refused_with_what_there_is(tmp_path):
    for arguments in (
        ["--parts", "copies,flying"],
        ["--parts", ","],
        ["--minutes", "0"],
        ["--device", "warp"],
    ):
        done = bench(*arguments, cwd=tmp_path)
        assert done.returncode == 2, arguments
    assert list(tmp_path.iterdir()) == []


def test_all_parts_fit_into_eight_minutes():
    assert _parts.ALL_SECONDS <= 480


def test_on_the_processor_it_measures_what_there_is(tmp_path):
    out = tmp_path / "record.json"
    parts = "facts,copies,activity,collective"
    done = bench(
        "--device", "cpu", "--quick", "--minutes", "40", "--out", out, "--parts", parts, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    told = record["parts"]
    assert {name: part["status"] for name, part in told.items()} == {
        "facts": "measured",
        "copies": "measured",
        "activity": "unavailable",
        "collective": "measured",
    }
    assert told["facts"]["result"]["torch"] == torch.__version__
    for size in told["copies"]["result"].values():
        assert min(size["gigabytes_per_second"].values()) > 0
        assert "zenith to device" in size["gigabytes_per_second"]
    assert told["collective"]["result"]["backend"] == "gloo"
    assert "Hopper" in told["activity"]["reason"]


def test_starvation_compares_both_loaders(tmp_path):
    pytest.importorskip("torchvision")
    out = tmp_path / "record.json"
    done = bench(
        "--device", "cpu", "--quick", "--minutes", "40", "--out", out, "--parts", "starvation", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())["parts"]["starvation"]["result"]
    for side in ("torch", "zenith"):
        assert result["oracle_ratio"][side] > 0
        assert len(result["rounds"][side]) == 3
        assert all(one["steps"] > 0 and 0 <= one["wait_fraction"] <= 1 for one in result["rounds"][side])
    assert result["zenith_report"]["samples"] > 0


def a_part(tmp_path, monkeypatch, code):
    """Makes ``facts`` another program's part: that of a folder in front of the package."""
    script = tmp_path / "part.py"
    script.write_text(code)
    real = subprocess.Popen

    def popen(command, **options):
        return real([sys.executable, str(script)], **options)

    monkeypatch.setattr(_runner.subprocess, "Popen", popen)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "status -11"),
        ("print('no record')", "status 0"),
        (
            "import json; print(json.dumps({'status': 'failed', 'error': 'Traceback\\nValueError: of its own'}))",
            "own",
        ),
    ],
)
def test_a_part_that_dies_or_raises_is_recorded_and_the_rest_goes_on(tmp_path, monkeypatch, code, word):
    a_part(tmp_path, monkeypatch, code)
    out = tmp_path / "record.json"
    assert _runner.run(_runner.Plan(["facts", "copies"], "cpu", 4800.0, out)) == 1
    parts = json.loads(out.read_text())["parts"]
    assert [part["status"] for part in parts.values()] == ["failed", "failed"]
    assert all(word in part["error"] for part in parts.values())


def test_a_part_that_hangs_is_ended_with_its_children(tmp_path, monkeypatch):
    # Its child holds the output open: only the end of the whole group ends the reading.
    a_part(
        tmp_path, monkeypatch, "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    )
    out = tmp_path / "record.json"
    assert _runner.run(_runner.Plan(["facts"], "cpu", 16.0, out)) == 1
    assert "was ended" in json.loads(out.read_text())["parts"]["facts"]["error"]
