"""Who am I among the training processes: from arguments, from torch.distributed, or from RANK and WORLD_SIZE."""

from __future__ import annotations

import os
import sys

from ._errors import ConfigError
from ._numbers import whole_number


def rank_and_world(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Finds this process's rank and the number of ranks.

    Args:
        rank: the rank given by the user, or None.
        world_size: the number of ranks given by the user, or None.

    Returns:
        (rank, world size); (0, 1) outside distributed training.

    Raises:
        ConfigError: only one of the two is given, or they contradict each other.
    """
    if (rank is None) != (world_size is None):
        raise ConfigError("rank and world_size belong together: give both or neither")
    if rank is None or world_size is None:
        rank, world_size = _ambient()
    rank, world_size = whole_number("rank", rank), whole_number("world_size", world_size, 1)
    if rank >= world_size:
        raise ConfigError(f"rank {rank} of world_size {world_size} does not exist")
    return rank, world_size


def _ambient() -> tuple[int, int]:
    # A script that uses torch.distributed has imported it; importing torch here would only cost those who do not.
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    rank, world = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None or world is None:
        return 0, 1
    try:
        return int(rank), int(world)
    except ValueError:
        raise ConfigError(f"RANK={rank!r} and WORLD_SIZE={world!r} must be whole numbers") from None
