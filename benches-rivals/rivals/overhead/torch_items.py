"""torch's DataLoader over a trivial map-style Dataset, with its own collation: what users have."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, Dataset

from rivals.loader import TorchLoader, versions
from rivals.overhead import FEATURES
from rivals.protocol import Config

VERSIONS = versions("torch")


class _Trivial(Dataset):
    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._sample = torch.zeros(FEATURES), 0

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self._sample


def open_loader(config: Config) -> TorchLoader:
    """Leave everything at its default but the workers' lives."""
    return TorchLoader(
        DataLoader(
            _Trivial(config.options["batches"] * config.batch_size),
            batch_size=config.batch_size,
            shuffle=True,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
        )
    )
