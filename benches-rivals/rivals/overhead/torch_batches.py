"""torch's DataLoader at its very best: the Dataset answers a whole batch of indices with a batch that exists."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from rivals.loader import TorchLoader, versions
from rivals.overhead import FEATURES
from rivals.protocol import Config

VERSIONS = versions("torch")


class _Resident(Dataset):
    def __init__(self, rows: int, batch_size: int) -> None:
        self._rows = rows
        self._batch = torch.zeros(batch_size, FEATURES), torch.zeros(batch_size, dtype=torch.int64)

    def __len__(self) -> int:
        return self._rows

    def __getitems__(self, rows: list[int]) -> Any:
        return self._batch


def _as_it_is(batch: Any) -> Any:
    return batch


def open_loader(config: Config) -> TorchLoader:
    """Neither a sample nor a collation is left to pay for."""
    return TorchLoader(
        DataLoader(
            _Resident(config.options["batches"] * config.batch_size, config.batch_size),
            batch_size=config.batch_size,
            shuffle=True,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            collate_fn=_as_it_is,
        )
    )
