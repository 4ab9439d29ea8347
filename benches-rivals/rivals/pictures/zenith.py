"""Zenith, given the same torchvision transform as its rivals."""

from typing import Any

import torchvision.transforms.v2  # noqa: F401 - as its rivals, before the clock starts
import zenith
import zenith.torch as zt

from rivals.loader import TorchLoader, torch_transform, versions
from rivals.protocol import Config

VERSIONS = {"zenith": zenith.__version__, **versions("torch", "torchvision")}


class _Reported(TorchLoader):
    def extra(self) -> dict[str, Any]:
        """Zenith's own report, for the reader of the record."""
        return {"report": self._batches.report().to_dict()}


def open_loader(config: Config) -> TorchLoader:
    """Construct it as a user of torch's DataLoader would."""
    return _Reported(
        zt.DataLoader(
            config.dataset,
            batch_size=config.batch_size,
            shuffle=True,
            num_workers=config.workers,
            seed=config.seed,
            transform=torch_transform(config.size, decoded=False),
        )
    )
