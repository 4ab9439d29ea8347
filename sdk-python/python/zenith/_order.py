"""What decides the order of samples, in the form the extension takes it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """A place between two samples, the same on every rank.

    Attributes:
        epoch: the epoch.
        cursor: position in the epoch's global sequence.
        part: how many of the samples that the one at ``cursor`` is split into come before.
    """

    epoch: int
    cursor: int
    part: int = 0


@dataclass(frozen=True)
class OrderOptions:
    """How samples become batches.

    Attributes:
        batch_size: samples in a batch of one rank.
        shuffle: whether each epoch has its own random order.
        seed: key of all randomness.
        rank: this process among `world_size`.
        world_size: number of ranks that share each global batch.
        drop_last: whether an incomplete last global batch is left out.
        draws: draws per epoch with weighted sampling.
    """

    batch_size: int
    shuffle: bool
    seed: int
    rank: int
    world_size: int
    drop_last: bool
    draws: int | None = None

    def as_json(self) -> str:
        """The options as the extension reads them."""
        return json.dumps(asdict(self))
