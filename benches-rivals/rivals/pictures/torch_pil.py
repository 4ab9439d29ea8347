"""torch's DataLoader over torchvision's ImageFolder, decoding with Pillow: what most scripts use."""

from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from rivals.loader import TorchLoader, torch_transform, versions
from rivals.protocol import Config

VERSIONS = versions("torch", "torchvision", "pillow")


def open_loader(config: Config) -> TorchLoader:
    """Keep workers from epoch to epoch, which is torch at its best."""
    return TorchLoader(
        DataLoader(
            ImageFolder(config.dataset, torch_transform(config.size, decoded=False)),
            batch_size=config.batch_size,
            shuffle=True,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
        )
    )
