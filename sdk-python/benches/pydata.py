"""Python datasets: Zenith's loader against torch's DataLoader, same Dataset, workers and order.

Both are built once, with persistent workers; epochs alternate; the ratio is torch's median time over
Zenith's. Run from sdk-python: ``python benches/pydata.py [--rounds N] [--workers N] [--only NAME]``. One JSON
record a line.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from zenith._pydata import PythonLoader


class Trivial(Dataset[Any]):
    """A row of a tensor and its label."""

    def __init__(self, rows: int) -> None:
        self.rows = torch.rand(rows, 16)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.rows[index], index


class Megabyte(Dataset[Any]):
    """NumPy work that ends in a sample of 1 MB."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.base = np.random.default_rng(0).random((512, 512), dtype=np.float32)

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> tuple[np.ndarray[Any, Any], int]:
        return np.sqrt(self.base * np.float32(index) + 1), index % 10


class Small(Dataset[Any]):
    """Some 60 us of Python and a few numbers: too dear for inline, too cheap to hide a loader's cost."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        total = 0
        for i in range(1200):
            total += i ^ index
        return {"x": torch.tensor([index, total]), "y": float(index), "name": f"row {index}"}


def folder(into: Path, pictures: int) -> ImageFolder:
    """Class folders of JPEGs of about 500 x 375, of smooth noise."""
    rng = np.random.default_rng(0)
    for at in range(pictures):
        path = into / f"class{at % 4}" / f"{at}.jpg"
        path.parent.mkdir(exist_ok=True)
        rough = Image.fromarray(rng.integers(0, 255, (47, 63, 3), dtype=np.uint8))
        out = io.BytesIO()
        rough.resize((500, 375), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        path.write_bytes(out.getvalue())
    return ImageFolder(
        str(into),
        v2.Compose(
            [
                v2.RandomResizedCrop(224),
                v2.RandomHorizontalFlip(),
                lambda image: image.convert("RGB"),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        ),
    )


class Order:
    """The same order for both loaders: a batch sampler and a function of the epoch."""

    def __init__(self, rows: int, batch: int) -> None:
        self.rows, self.batch = rows, batch
        self.epoch = 0

    def __call__(self, epoch: int) -> Iterator[list[int]]:
        order = list(range(self.rows))
        random.Random(epoch).shuffle(order)
        for at in range(0, self.rows, self.batch):
            yield order[at : at + self.batch]

    def __iter__(self) -> Iterator[list[int]]:
        self.epoch += 1
        return self(self.epoch)

    def __len__(self) -> int:
        return -(-self.rows // self.batch)


def drain(loader: Iterable[Any]) -> tuple[float, float, float]:
    """Seconds to the first batch, seconds of the epoch, CPU seconds of it."""
    cpu = cpu_seconds()
    start = time.perf_counter()
    first = 0.0
    for count, _ in enumerate(loader):
        if count == 0:
            first = time.perf_counter() - start
    return first, time.perf_counter() - start, cpu_seconds() - cpu


def cpu_seconds() -> float:
    """CPU time of this process, its children that live and those that have ended."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    tick = os.sysconf("SC_CLK_TCK")
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            fields = (Path("/proc") / child / "stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / tick
    return total


def compare(name: str, dataset: Any, rows: int, batch: int, workers: int, rounds: int) -> dict[str, Any]:
    """One record."""
    order = Order(rows, batch)
    extra: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 2} if workers else {}
    torch_loader = DataLoader(dataset, batch_sampler=order, num_workers=workers, **extra)
    times: dict[str, list[float]] = {"torch": [], "zenith": []}
    spent: dict[str, list[float]] = {"torch": [], "zenith": []}
    with PythonLoader(dataset, order, num_workers=workers, prefetch_factor=2, read_ahead=False) as ours:
        loaders: dict[str, Callable[[], Iterable[Any]]] = {"torch": lambda: torch_loader, "zenith": ours.iter}
        cold = {which: drain(make()) for which, make in loaders.items()}
        for turn in range(rounds):
            pair = ["torch", "zenith"] if turn % 2 else ["zenith", "torch"]
            for which in pair:
                _, wall, cpu = drain(loaders[which]())
                times[which].append(wall)
                spent[which].append(cpu)
        stats = ours.stats()
    median = {which: statistics.median(values) for which, values in times.items()}
    used = {which: statistics.median(values) for which, values in spent.items()}
    batches = len(order)
    return {
        "case": name,
        "workers": workers,
        "batch": batch,
        "ratio": round(median["torch"] / median["zenith"], 3),
        "cpu_ratio": round(used["torch"] / used["zenith"], 3),
        "torch_us_per_batch": round(median["torch"] / batches * 1e6, 1),
        "zenith_us_per_batch": round(median["zenith"] / batches * 1e6, 1),
        "first_epoch_ratio": round(cold["torch"][1] / cold["zenith"][1], 3),
        "first_batch_ms": {which: round(value[0] * 1e3, 1) for which, value in cold.items()},
        "worker": stats["worker"],
        "why": stats["why"],
        "rounds": rounds,
    }


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "torch": torch.__version__}
    print(json.dumps(machine))
    with tempfile.TemporaryDirectory() as scratch:
        cases: list[tuple[str, Callable[[], Any], int, int, int]] = [
            ("a-images", lambda: folder(Path(scratch), 512), 512, 32, given.workers),
            ("b-trivial", lambda: Trivial(50_000), 50_000, 64, given.workers),
            ("b-trivial-inline", lambda: Trivial(50_000), 50_000, 64, 0),
            ("c-megabyte", lambda: Megabyte(512), 512, 32, given.workers),
            ("d-small", lambda: Small(8_000), 8_000, 32, given.workers),
        ]
        for name, make, rows, batch, workers in cases:
            if given.only in name:
                print(json.dumps(compare(name, make(), rows, batch, workers, given.rounds)), flush=True)


if __name__ == "__main__":
    main()
