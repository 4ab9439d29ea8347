"""torch's DataLoader over ImageFolder, decoding with torchvision's own libjpeg-turbo binding."""

from typing import Any

from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image

from rivals.loader import TorchLoader, torch_transform, versions
from rivals.protocol import Config

VERSIONS = versions("torch", "torchvision")


def _decode(path: str) -> Any:
    return decode_image(path, mode=ImageReadMode.RGB)


def open_loader(config: Config) -> TorchLoader:
    """Keep workers from epoch to epoch, which is torch at its best."""
    return TorchLoader(
        DataLoader(
            ImageFolder(config.dataset, torch_transform(config.size, decoded=True), loader=_decode),
            batch_size=config.batch_size,
            shuffle=True,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
        )
    )
