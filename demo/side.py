"""One side of the comparison as a process of its own: loads, trains and evaluates with one loader, as it is told.

Orders come as JSON lines on stdin, answers leave as JSON lines on stdout. Both sides run this very code; the only
difference between them is the entry of ``LOADERS`` that builds their loader. Memory is measured from outside.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import model

_TICK = 0.2
# At least so many steps and seconds on the resident batch, after each epoch.
_RESIDENT_STEPS, _RESIDENT_SECONDS = 8, 0.4


# -- the two loaders


def torch_pictures(folder: Path, train: bool, batch: int, workers: int, seed: int) -> Any:
    """torch's DataLoader over torchvision's ImageFolder, as torch's own tutorials build it."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    return DataLoader(
        ImageFolder(str(folder), model.transforms(train)),
        batch,
        shuffle=train,
        num_workers=workers,
        persistent_workers=True,
        generator=torch.Generator().manual_seed(seed),
    )


def zenith_pictures(folder: Path, train: bool, batch: int, workers: int, seed: int) -> Any:
    """Zenith's DataLoader over the folder, with the same transforms."""
    import zenith.torch as zt

    transform = model.transforms(train)
    return zt.DataLoader(folder, batch, shuffle=train, num_workers=workers, transform=transform, seed=seed)


def torch_table(file: Path, train: bool, batch: int, workers: int, seed: int) -> Any:
    """torch's DataLoader over tensors in memory; without workers, which only slow a TensorDataset down."""
    import pyarrow.parquet
    from torch.utils.data import DataLoader, TensorDataset

    del workers
    table = pyarrow.parquet.read_table(file)
    labels = torch.from_numpy(table["label"].to_numpy().copy())
    names = [name for name in table.column_names if name != "label"]
    inputs = torch.stack([torch.from_numpy(table[name].to_numpy().copy()) for name in names], dim=1)
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(TensorDataset(inputs, labels), batch, shuffle=train, generator=generator)


def zenith_table(file: Path, train: bool, batch: int, workers: int, seed: int) -> Any:
    """Zenith's DataLoader over the file."""
    import zenith.torch as zt

    return zt.DataLoader(file, batch, shuffle=train, num_workers=workers, seed=seed)


LOADERS: dict[tuple[str, str], Callable[[Path, bool, int, int, int], Any]] = {
    ("torch", "pictures"): torch_pictures,
    ("zenith", "pictures"): zenith_pictures,
    ("torch", "table"): torch_table,
    ("zenith", "table"): zenith_table,
}
MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "pictures": lambda: model.picture_model(12),
    "table": lambda: model.table_model(64, 10),
}


# -- what is measured


class Side:
    """A loader and the model that it feeds."""

    def __init__(self, side: str, task: dict[str, Any]) -> None:
        self._build = LOADERS[side, task["kind"]]
        self._task = task
        self._train: Any = None
        self._test: Any = None
        self._trainer: model.Trainer | None = None
        torch.set_num_threads(task["threads"])

    def _loader(self, train: bool) -> Any:
        task = self._task
        return self._build(
            Path(task["train" if train else "test"]), train, task["batch"], task["workers"], task["seed"]
        )

    def load(self, seconds: float) -> dict[str, Any]:
        """A fresh loader without a training step: the time to its first batch, then its pace."""
        begun = time.perf_counter()
        loader = self._loader(train=True)
        batches = endless(loader)
        next(batches)
        first = time.perf_counter()
        samples = 0
        tick = Ticker(1.0)
        while (passed := time.perf_counter() - first) < seconds:
            samples += len(next(batches)[1])
            tick(passed / seconds)
        passed = time.perf_counter() - first
        batches.close()
        close(loader)
        return {"first_batch_s": first - begun, "samples": samples, "seconds": passed}

    def stand_in(self, step_seconds: float, seconds: float) -> dict[str, Any]:
        """The loop with a step that only waits, as for an accelerator; on the loader's data, then on one batch."""
        loader = self._loader(train=True)
        batches = endless(loader)
        next(batches)
        tick = Ticker(1.0)
        steps = 0
        begun = time.perf_counter()
        while (real := time.perf_counter() - begun) < seconds:
            next(batches)
            time.sleep(step_seconds)
            steps += 1
            tick(real / seconds)
        batches.close()
        close(loader)
        begun = time.perf_counter()
        for _ in range(steps):
            time.sleep(step_seconds)
        return {"seconds": real, "resident_seconds": time.perf_counter() - begun, "steps": steps}

    def epoch(self) -> dict[str, Any]:
        """Trains for an epoch, then asks the model about the held-out samples."""
        if self._trainer is None:
            self._train, self._test = self._loader(train=True), self._loader(train=False)
            torch.manual_seed(self._task["seed"])
            steps = self._task["epochs"] * len(self._train)
            self._trainer = model.Trainer(MODELS[self._task["kind"]](), steps, self._task["rate"])
        samples = batches = 0
        wait = 0.0
        resident: Any = None
        tick = Ticker(len(self._train))
        begun = time.perf_counter()
        iterator = iter(self._train)
        while True:
            asked = time.perf_counter()
            batch = next(iterator, None)
            wait += time.perf_counter() - asked
            if batch is None:
                break
            self._trainer.step(batch)
            samples, batches = samples + len(batch[1]), batches + 1
            if batches == 1:
                resident = [part.clone() for part in batch]
            tick(batches)
        seconds = time.perf_counter() - begun
        return {
            "seconds": seconds,
            "wait_s": wait,
            "samples": samples,
            "batches": batches,
            "resident_step_s": self._resident_step(resident),
            "accuracy": self._trainer.accuracy(self._test),
        }

    def _resident_step(self, batch: Any) -> float:
        """Seconds of a step whose data are there already; the trained model is left as it is."""
        trainer = copy.deepcopy(self._trainer)
        assert trainer is not None
        trainer.step(batch)
        steps = 0
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < _RESIDENT_SECONDS or steps < _RESIDENT_STEPS:
            trainer.step(batch)
            steps += 1
        return passed / steps


def endless(loader: Any) -> Iterator[Any]:
    """The loader's batches, epoch after epoch."""
    while True:
        yield from loader


def close(loader: Any) -> None:
    """Ends a loader's workers; torch's end with their iterator."""
    if hasattr(loader, "close"):
        loader.close()


class Ticker:
    """Reports progress a few times a second."""

    def __init__(self, total: float) -> None:
        self._total = total
        self._last = time.perf_counter()

    def __call__(self, done: float) -> None:
        """Reports that ``done`` of the total is done, unless it has just reported."""
        now = time.perf_counter()
        if now - self._last > _TICK:
            self._last = now
            answer({"tick": min(1.0, done / self._total)})


def answer(message: dict[str, Any]) -> None:
    """Sends one line to whoever gives the orders."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Obeys until stdin ends."""
    side = Side(sys.argv[1], json.loads(sys.argv[2]))
    import torchvision  # noqa: F401  # what both sides import anyway is no loader's memory

    if sys.argv[1] == "zenith":
        import zenith.torch  # noqa: F401
    answer({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        answer({"result": getattr(side, order.pop("do"))(**order)})


if __name__ == "__main__":
    main()
