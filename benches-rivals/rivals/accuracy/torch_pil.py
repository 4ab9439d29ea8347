"""Training batches by torch's DataLoader, ImageFolder, Pillow and torchvision's transforms."""

from pathlib import Path

from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from rivals.accuracy import VERSIONS, train_transform
from rivals.loader import TorchLoader
from rivals.protocol import Config

__all__ = ["VERSIONS", "open_loader"]


def open_loader(config: Config) -> TorchLoader:
    """Shuffle with torch's own generator, seeded by the run."""
    return TorchLoader(
        DataLoader(
            ImageFolder(str(Path(config.dataset) / "train"), train_transform(config.size, decoded=False)),
            batch_size=config.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
        )
    )
