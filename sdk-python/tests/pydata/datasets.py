"""Datasets that the tests share; at module level, so that they pickle."""

import os
import random
import signal
import time
from collections import namedtuple

import numpy as np
import torch

Pair = namedtuple("Pair", "image label")


class Mixed:
    """Every kind of part, nested, with random numbers from all three generators."""

    def __init__(self, rows=60, pause=0.0005):
        self.rows, self.pause = rows, pause

    def __len__(self):
        return self.rows

    def __getitem__(self, i):
        time.sleep(self.pause)
        return {
            "image": torch.full((3, 64, 64), float(i)) + torch.rand(1),
            "array": np.full((5,), i, dtype=np.int16),
            "pair": Pair(random.random(), i % 2 == 0),
            "list": [np.float32(i), float(np.random.rand())],
            "tuple": (f"row {i}", b"x" * (i % 3), i),
        }


class Plain:
    """(tensor, index), dear enough for worker processes to stay."""

    def __init__(self, rows=40, size=8, pause=0.0003):
        self.rows, self.size, self.pause = rows, size, pause

    def __len__(self):
        return self.rows

    def __getitem__(self, i):
        time.sleep(self.pause)
        return torch.full((self.size,), float(i)), i


class CustomError(Exception):
    def __init__(self, code, detail):  # two arguments: the usual unpickling of an exception would fail
        super().__init__(f"{code}: {detail}")
        self.code = code

    def __reduce__(self):
        return CustomError, (self.code, "again")


class Unpicklable(Exception):
    def __init__(self, code, detail):
        super().__init__(f"{code}: {detail}")


class Bad(Plain):
    """Raises at the indices in ``bad``."""

    def __init__(self, bad, error=None, rows=40):
        super().__init__(rows)
        self.bad, self.error = set(bad), error or ValueError("bad sample")

    def __getitem__(self, i):
        if i in self.bad:
            raise self.error
        return super().__getitem__(i)


class Killed(Plain):
    """Its process is killed at index ``at``."""

    def __init__(self, at, how=signal.SIGKILL):
        super().__init__()
        self.at, self.how = at, how

    def __getitem__(self, i):
        if i == self.at:
            if self.how is None:
                os._exit(3)
            os.kill(os.getpid(), self.how)
            time.sleep(10)
        return super().__getitem__(i)


class Ragged(Plain):
    """Sample ``odd`` has another shape than the rest."""

    def __init__(self, odd):
        super().__init__()
        self.odd = odd

    def __getitem__(self, i):
        if i == self.odd:
            return torch.zeros(3), i
        return super().__getitem__(i)


class PerBatchSize(Plain):
    """Index (i, size): the shape is the sampler's wish, as in multi-scale training."""

    def __getitem__(self, index):
        i, size = index
        time.sleep(0.0003)
        return torch.full((size,), float(i)), i


class Batched(Plain):
    """Fetches whole batches."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def __getitems__(self, indices):
        self.calls += 1
        time.sleep(0.002)
        return [(torch.full((self.size,), float(i)), torch.tensor(self.calls > 0)) for i in indices]


class Rarely(Plain):
    """Uses a generator for one index only, long after the loader has taken it for one that uses none."""

    def __getitem__(self, i):
        noise = torch.rand(2) if i == self.rows - 1 else torch.zeros(2)
        return torch.full((2,), float(i)) + noise, i


class Slow(Plain):
    def __getitem__(self, i):
        time.sleep(30)
        return i


def in_rows(rows, size):
    """Batches of consecutive indices, the same for every epoch."""
    return [list(range(at, min(rows, at + size))) for at in range(0, rows, size)]


def shuffled(rows, size):
    def batches(epoch):
        order = list(range(rows))
        random.Random(epoch).shuffle(order)
        return iter([order[at : at + size] for at in range(0, rows, size)])

    return batches


def join_with_noise(samples):
    """A collate_fn that draws: its randomness belongs to the batch."""
    images, labels = zip(*samples)
    return {"x": torch.stack(images) + torch.rand(1), "ids": list(labels), "r": random.random()}


def note_worker(number):
    info = torch.utils.data.get_worker_info()
    assert info is not None and info.id == number
    info.dataset.size = 100 + info.num_workers


def fail_init(number):
    raise KeyError("no licence")
