"""What an expert writes by hand: a permutation and `index_select` on tensors in memory, no loader at all."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from rivals.loader import versions
from rivals.protocol import Config
from rivals.tabular.in_memory import TableLoader, tensors

VERSIONS = versions("torch", "pyarrow")


class _Loop:
    def __init__(self, config: Config) -> None:
        torch.set_num_threads(max(config.workers, 1))
        self._inputs, self._labels = tensors(config.dataset)
        self._batch = config.batch_size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(self._labels))
        for rows in order.split(self._batch):
            yield self._inputs.index_select(0, rows), self._labels.index_select(0, rows)


def open_loader(config: Config) -> TableLoader:
    """Read the table; nothing else is to be set up."""
    return TableLoader(_Loop(config))
