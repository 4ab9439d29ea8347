"""Training batches by Zenith from the same folder with the same transform."""

from pathlib import Path

import zenith
import zenith.torch as zt

from rivals import accuracy
from rivals.loader import TorchLoader
from rivals.protocol import Config

VERSIONS = {"zenith": zenith.__version__, **accuracy.VERSIONS}


def open_loader(config: Config) -> TorchLoader:
    """Change the constructor and nothing else."""
    return TorchLoader(
        zt.DataLoader(
            str(Path(config.dataset) / "train"),
            batch_size=config.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=config.workers,
            seed=config.seed,
            transform=accuracy.train_transform(config.size, decoded=False),
        )
    )
