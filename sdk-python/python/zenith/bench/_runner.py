"""Runs the parts one behind another, each in a process with a deadline, and writes the record after each of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from .. import _core
from ._outcome import UnavailableError
from ._parts import ALL_SECONDS, PARTS, measure

_FORMAT = 1
_MOST_ERROR = 4000
"""Characters of a failed part's error that the record keeps."""
_QUICK = 0.05
"""The part of its time that a part works for when the program is only tried."""


class Plan(NamedTuple):
    """What to measure.

    Attributes:
        names: parts in their order.
        device: as torch names it.
        seconds: for all parts together.
        out: where the record goes.
        quick: work for a twentieth of the time only, to try the program.
    """

    names: list[str]
    device: str
    seconds: float
    out: Path
    quick: bool = False


def run(plan: Plan) -> int:
    """Measures and writes the record; the exit status."""
    missing = _missing(plan.device)
    if missing is not None:
        print(missing, file=sys.stderr)
        return 2
    record: dict[str, Any] = {
        "format": _FORMAT,
        "program": f"zenith.bench gpu {_core.__version__}",
        "device": plan.device,
        "quick": plan.quick,
        "begun": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "parts": {},
    }
    begun = time.monotonic()
    for name in plan.names:
        share = plan.seconds * PARTS[name].seconds / ALL_SECONDS
        print(f"{name}: {PARTS[name].title}, at most {share:.0f} s", file=sys.stderr)
        part_begun = time.monotonic()
        outcome = _child(name, plan.device, share, share * (_QUICK if plan.quick else 1.0))
        outcome["seconds"] = round(time.monotonic() - part_begun, 2)
        record["parts"][name] = outcome
        record["seconds"] = round(time.monotonic() - begun, 2)
        # After each part, so that whoever ends the program keeps what was measured.
        _write(plan.out, record)
        print(f"  {outcome['status']}{_because(outcome)}", file=sys.stderr)
    print(f"the record is in {plan.out}", file=sys.stderr)
    return int(any(outcome["status"] == "failed" for outcome in record["parts"].values()))


def run_part(name: str, device: str, seconds: float) -> dict[str, Any]:
    """Measures one part in this process: its numbers, or why there are none."""
    try:
        return {"status": "measured", "result": measure(name, device, seconds)}
    except UnavailableError as missing:
        return {"status": "unavailable", "reason": str(missing)}
    except Exception:
        return {"status": "failed", "error": traceback.format_exc()[-_MOST_ERROR:]}


def _missing(device: str) -> str | None:
    """Why nothing can be measured here, in a sentence; None where it can."""
    try:
        import torch
    except ImportError:
        return "the GPU benchmark needs torch: pip install torch"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        return f"--device {device}: {error}"
    if kind == "cpu":
        return None
    if kind != "cuda":
        return f"--device {device}: cuda and cpu can be measured"
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return "this torch is built without CUDA: install one that has it (pytorch.org), or try with --device cpu"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device here: nvidia-smi says what there is; --device cpu tries the program without"
    return None


def _child(name: str, device: str, share: float, work: float) -> dict[str, Any]:
    """A part's outcome from a process that works for about ``work`` seconds and is ended after ``share``."""
    command = [sys.executable, "-m", __package__ or "", "part", name, device, f"{work:.3f}"]
    # A group of its own, so that the workers of a part that is ended go with it.
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = child.communicate(timeout=share)
    except subprocess.TimeoutExpired:
        _end(child)
        return {
            "status": "failed",
            "error": f"it was not done within {share:.0f} s, and was ended",
        }
    except BaseException:
        _end(child)
        raise
    lines = out.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        return {"status": "failed", "error": f"it ended with status {child.returncode}: {err[-_MOST_ERROR:]}"}


def _end(child: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


def _because(outcome: dict[str, Any]) -> str:
    text = outcome.get("reason") or outcome.get("error", "").strip().rpartition("\n")[2]
    return f": {text}" if text else ""


def _write(path: Path, record: dict[str, Any]) -> None:
    half = path.with_name(path.name + ".half")
    half.write_text(json.dumps(record, indent=1), encoding="utf-8")
    half.replace(path)
