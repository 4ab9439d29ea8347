"""Leads both sides through the same measurements in turn, and reads their memory from outside."""

from __future__ import annotations

import json
import os
import selectors
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SIDES = ("torch", "zenith")
NAMES = {"torch": "torch DataLoader", "zenith": "Zenith"}
Progress = Callable[[str, float], None]

_MEMORY_INTERVAL = 0.25
# A sleeping process cannot keep to less.
_SHORTEST_STEP = 0.001
# Below this a result says more about the moment than about the loader.
_SHORT_SECONDS = 2.0
_NOISY_SPREAD = 0.3
_IMPOSSIBLE_RATIO = 1.05


@dataclass(frozen=True)
class Task:
    """What both sides do.

    Attributes:
        kind: ``pictures`` or ``table``.
        train: folder or file to train on.
        test: folder or file that is held out.
        batch: samples in a batch.
        workers: worker processes or threads of the loader.
        threads: threads of the training step.
        epochs: epochs of training.
        rate: peak of the learning rate.
        seed: of the model and of the shuffles.
        rounds: rounds of loading without a step.
        round_seconds: seconds of each.
    """

    kind: str
    train: str
    test: str
    batch: int
    workers: int
    threads: int
    epochs: int
    rate: float
    seed: int
    rounds: int
    round_seconds: float


@dataclass
class Measured:
    """What one side did; times in seconds, memory in bytes, the rest as its name says.

    Attributes:
        loader_samples_per_second: without a training step; median of the rounds.
        first_batch_seconds: from the loader's construction; median of the rounds.
        memory_bytes: what the process and its workers grew by; the largest of the first round (PSS).
        train_samples_per_second: of the median epoch, the first one left out.
        wait_fraction: part of the epochs' time that the loop was blocked in ``next()``, the first epoch left out.
        oracle_ratio: the epochs' time if every batch had been there already, divided by their time.
        stand_in_oracle_ratio: the same for a step that waits as for an accelerator.
        accuracy: on the held-out samples, after each epoch.
        epoch_seconds: of training, without the evaluation.
        raw: what the numbers above were made of.
    """

    loader_samples_per_second: float
    first_batch_seconds: float
    memory_bytes: int
    train_samples_per_second: float
    wait_fraction: float
    oracle_ratio: float
    stand_in_oracle_ratio: float
    accuracy: list[float]
    epoch_seconds: list[float]
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass
class Comparison:
    """Both sides on one task.

    Attributes:
        task: what they did.
        sides: what each measured, by name.
        stand_in_step_seconds: how long the stand-in's step waits: 1.2 times the faster loader's time for a batch, at
            least 1 ms.
        notes: what a reader should know before believing the numbers.
    """

    task: Task
    sides: dict[str, Measured]
    stand_in_step_seconds: float
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers, strings, lists and dictionaries."""
        return asdict(self)


def compare(task: Task, progress: Progress) -> Comparison:
    """Measures both sides in turn, the order reversed every round.

    Args:
        task: what to do.
        progress: called with what is being done and how much of it is done, 0 to 1.
    """
    with Process("torch", task) as torch_side, Process("zenith", task) as zenith_side:
        processes = {"torch": torch_side, "zenith": zenith_side}
        loads: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        memory: dict[str, int] = {}
        for number in range(task.rounds):
            for side in _turn(number):
                title = f"{NAMES[side]}: loading, round {number + 1} of {task.rounds}"
                result, grown = processes[side].order(title, progress, do="load", seconds=task.round_seconds)
                loads[side].append(result)
                memory.setdefault(side, grown)
        pace = {side: statistics.median(r["samples"] / r["seconds"] for r in loads[side]) for side in SIDES}
        step = max(_SHORTEST_STEP, 1.2 * task.batch / max(pace.values()))
        stand_ins: dict[str, dict[str, Any]] = {}
        for side in SIDES:
            title = f"{NAMES[side]}: a step that waits {step * 1e3:.1f} ms"
            order = {"do": "stand_in", "step_seconds": step, "seconds": task.round_seconds}
            stand_ins[side], _ = processes[side].order(title, progress, **order)
        epochs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for number in range(task.epochs):
            for side in _turn(number):
                title = f"{NAMES[side]}: training, epoch {number + 1} of {task.epochs}"
                result, _ = processes[side].order(title, progress, do="epoch")
                epochs[side].append(result)
    sides = {side: _measured(loads[side], memory[side], stand_ins[side], epochs[side]) for side in SIDES}
    notes = _doubts(task, loads, stand_ins, epochs)
    notes += [
        f"{task.kind}, {NAMES[side]}: an oracle ratio of {measured.oracle_ratio:.2f} is impossible; the machine "
        "was slower while the resident batch was measured"
        for side, measured in sides.items()
        if measured.oracle_ratio > _IMPOSSIBLE_RATIO
    ]
    return Comparison(task, sides, step, notes)


def _turn(number: int) -> tuple[str, ...]:
    return SIDES if number % 2 == 0 else SIDES[::-1]


def _measured(
    loads: list[dict[str, Any]], memory: int, stand_in: dict[str, Any], epochs: list[dict[str, Any]]
) -> Measured:
    steady = epochs[1:] or epochs
    seconds = sum(epoch["seconds"] for epoch in steady)
    resident = statistics.median(epoch["resident_step_s"] for epoch in steady)
    return Measured(
        loader_samples_per_second=statistics.median(r["samples"] / r["seconds"] for r in loads),
        first_batch_seconds=statistics.median(r["first_batch_s"] for r in loads),
        memory_bytes=memory,
        train_samples_per_second=statistics.median(e["samples"] / e["seconds"] for e in steady),
        wait_fraction=sum(epoch["wait_s"] for epoch in steady) / seconds,
        oracle_ratio=resident * sum(epoch["batches"] for epoch in steady) / seconds,
        stand_in_oracle_ratio=stand_in["resident_seconds"] / stand_in["seconds"],
        accuracy=[epoch["accuracy"] for epoch in epochs],
        epoch_seconds=[epoch["seconds"] for epoch in epochs],
        raw={"load": loads, "stand_in": stand_in, "epochs": epochs},
    )


def _doubts(
    task: Task,
    loads: dict[str, list[dict[str, Any]]],
    stand_ins: dict[str, dict[str, Any]],
    epochs: dict[str, list[dict[str, Any]]],
) -> list[str]:
    """Why a reader should not lean on a number: measured too briefly, or not repeatable here."""
    notes = []
    for side in SIDES:
        who = f"{task.kind}, {NAMES[side]}"
        training = sum(epoch["seconds"] for epoch in epochs[side][1:])
        for what, seconds in (
            ("loading", sum(r["seconds"] for r in loads[side])),
            ("training after the first epoch", training),
            ("stand-in", stand_ins[side]["seconds"]),
        ):
            if seconds < _SHORT_SECONDS:
                notes.append(f"{who}: {what} was measured for only {seconds:.1f} s, too short to lean on")
        paces = [r["samples"] / r["seconds"] for r in loads[side]]
        spread = (max(paces) - min(paces)) / statistics.median(paces)
        if spread > _NOISY_SPREAD:
            notes.append(f"{who}: rounds of loading differ by {spread:.0%}; other programs used the machine")
    return notes


# -- a side from outside


class Process:
    """A side's process: takes one order at a time."""

    def __init__(self, side: str, task: Task) -> None:
        command = [sys.executable, str(Path(__file__).with_name("side.py")), side, json.dumps(asdict(task))]
        self._side = side
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._selector = selectors.DefaultSelector()
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._rest = b""
        self._ready = False

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._selector.close()

    def order(self, title: str, progress: Progress, **order: Any) -> tuple[dict[str, Any], int]:
        """Gives an order and waits for its result.

        Returns:
            The result, and by how many bytes the memory of the process and its children grew at most.

        Raises:
            RuntimeError: the process ended instead; it has said why on stderr.
        """
        while not self._ready:
            self._ready = any("ready" in message for message in self._messages(1.0))
        before = most = tree_memory(self._process.pid)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        progress(title, 0.0)
        looked = time.monotonic()
        while True:
            for message in self._messages(_MEMORY_INTERVAL):
                if "tick" in message:
                    progress(title, message["tick"])
                if "result" in message:
                    progress(title, 1.0)
                    return message["result"], most - before
            if time.monotonic() - looked >= _MEMORY_INTERVAL:
                most = max(most, tree_memory(self._process.pid))
                looked = time.monotonic()

    def _messages(self, timeout: float) -> list[dict[str, Any]]:
        """The messages that have come, after waiting for one for at most ``timeout`` seconds."""
        if not self._selector.select(timeout):
            return []
        assert self._process.stdout is not None
        piece = self._process.stdout.read()
        if piece == b"":
            status = self._process.wait()
            raise RuntimeError(f"the process of {NAMES[self._side]} ended early with status {status}")
        *lines, self._rest = (self._rest + (piece or b"")).split(b"\n")
        return [json.loads(line) for line in lines]


def tree_memory(root: int) -> int:
    """Memory of a process and its descendants in bytes; what they share is counted once (PSS)."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat[stat.rindex(")") + 2 :].split()[1])
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(_proportional_size(pid) for pid in family)


def _proportional_size(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
