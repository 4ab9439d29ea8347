"""Part ``starvation``: a small model on pictures, torch's loader against Zenith's, with the same cores and transforms.

How hungry the step is decides everything, so it is sized, and the record says how: a step takes a tenth longer than
Zenith needs for a batch on these cores. That is the demand which Zenith should be able to meet; both loaders' own
speeds are in the record too. What is compared is the oracle ratio: time of the loop on one resident batch by its time
on real data.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from .. import _core
from .. import torch as zt
from .._errors import MachineError
from ..telemetry import cuda_address
from . import _pictures
from ._outcome import UnavailableError
from ._timing import finish, median, seconds_of

_BATCH = 64
_ROUNDS = 3
_HUNGER = 1.1
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Loop = Callable[[], Iterator[Any]]


def run(device: str, seconds: float) -> dict[str, Any]:
    """Oracle ratios, pictures per second and activity of both sides, in alternating rounds."""
    try:
        from torchvision import datasets
        from torchvision.transforms import v2
    except ImportError:
        raise UnavailableError("the rival is torchvision's ImageFolder: pip install torchvision") from None
    chosen = torch.device(device)
    workers = _core.processors()
    count = 1024 if chosen.type == "cuda" else 256
    crops = [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()]
    scaled = v2.Compose(
        [*crops, v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(_MEAN, _STD)]
    )
    with tempfile.TemporaryDirectory() as folder:
        size = _pictures.make(Path(folder), count)
        rival = torch.utils.data.DataLoader(
            datasets.ImageFolder(folder, scaled),
            batch_size=_BATCH,
            shuffle=True,
            num_workers=workers,
            pin_memory=chosen.type == "cuda",
            persistent_workers=True,
            drop_last=True,
        )
        ours = zt.DataLoader(
            folder,
            _BATCH,
            shuffle=True,
            num_workers=workers,
            transform=scaled,
            drop_last=True,
            device=device if chosen.type == "cuda" else None,
        )
        loops: dict[str, Loop] = {"torch": lambda: _moved(rival, chosen), "zenith": lambda: _endless(ours)}
        result = _compare(chosen, loops, seconds * 0.65)
        result |= {"pictures": count, "bytes": size, "batch": _BATCH, "workers": workers}
        result["zenith_report"] = ours.report().to_dict()
        ours.close()
        return result


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _moved(loader: Any, device: torch.device) -> Iterator[Any]:
    for inputs, labels in _endless(loader):
        yield inputs.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def _compare(device: torch.device, loops: dict[str, Loop], seconds: float) -> dict[str, Any]:
    batches = {name: loop() for name, loop in loops.items()}
    resident = next(batches["zenith"])
    # Workers start and the first batches are made before anything is timed.
    for one in batches.values():
        for _ in range(4):
            next(one)
    each = seconds / (2 + 2 * _ROUNDS * len(loops))
    alone = {name: _loop(device, one, lambda batch: None, each) for name, one in batches.items()}
    step, repeats, step_seconds = _step(device, resident, _HUNGER * alone["zenith"]["seconds_per_step"])
    sides: dict[str, list[dict[str, Any]]] = {name: [] for name in loops}
    for number in range(_ROUNDS):
        for name in list(loops) if number % 2 == 0 else list(loops)[::-1]:
            sides[name].append(_round(device, batches[name], step, resident, each))
    middle = {name: median([one["oracle_ratio"] for one in told]) for name, told in sides.items()}
    return {
        "loader_alone_pictures_per_second": {name: one["pictures_per_second"] for name, one in alone.items()},
        "step": {
            "sized_by": f"{_HUNGER} times Zenith's time for a batch",
            "repeats": repeats,
            "seconds": step_seconds,
        },
        "rounds": sides,
        "oracle_ratio": middle,
    }


def _round(
    device: torch.device, batches: Iterator[Any], step: Callable[[Any], Any], resident: Any, seconds: float
) -> dict[str, Any]:
    activity = _activity(device)
    real = _loop(device, batches, step, seconds)
    seen = None if isinstance(activity, str) else json.loads(activity.seen() or "null")
    if not isinstance(activity, str):
        activity.stop()
    finish(device)
    begun = time.perf_counter()
    for _ in range(real["steps"]):
        step(resident)
    finish(device)
    oracle = (time.perf_counter() - begun) / real["steps"] / real["seconds_per_step"]
    busy = {"sm": seen["mean"]["sm"], "tensor": seen["mean"]["tensor"]} if seen else {"reason": str(activity)}
    return real | {"oracle_ratio": oracle, "activity": busy}


def _loop(
    device: torch.device, batches: Iterator[Any], step: Callable[[Any], Any], seconds: float
) -> dict[str, Any]:
    """Steps on real data for so many seconds."""
    finish(device)
    steps, waited, begun = 0, 0.0, time.perf_counter()
    while steps == 0 or time.perf_counter() - begun < seconds:
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        step(batch)
        steps += 1
    finish(device)
    took = time.perf_counter() - begun
    return {
        "steps": steps,
        "seconds_per_step": took / steps,
        "pictures_per_second": steps * _BATCH / took,
        "wait_fraction": waited / took,
    }


def _step(device: torch.device, resident: Any, seconds: float) -> tuple[Callable[[Any], Any], int, float]:
    """A training step of about so many seconds: a small network, trained on a batch as often as it takes."""
    torch.manual_seed(7)
    layers: list[torch.nn.Module] = []
    for inner, outer in ((3, 16), (16, 32), (32, 64)):
        layers += [torch.nn.Conv2d(inner, outer, 3, stride=2, padding=1), torch.nn.ReLU()]
    head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, _pictures.CLASSES)]
    model = torch.nn.Sequential(*layers, *head).to(device)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    repeats = 1

    def step(batch: Any) -> None:
        inputs, labels = batch
        for _ in range(repeats):
            optimiser.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(inputs), labels).backward()
            optimiser.step()

    for _ in range(3):
        step(resident)
    once = seconds_of(device, lambda: step(resident), 5)
    repeats = max(1, round(seconds / once))
    return step, repeats, seconds_of(device, lambda: step(resident), 3)


def _activity(device: torch.device) -> _core.Activity | str:
    """What samples the device, or why nothing does."""
    if device.type != "cuda":
        return "the processor has no such counters"
    try:
        return _core.Activity(cuda_address(device), 0.2)
    except MachineError as error:
        return str(error)
