"""torch's DataLoader over a TensorDataset that lies in memory already."""

from torch.utils.data import DataLoader, TensorDataset

from rivals.loader import versions
from rivals.protocol import Config
from rivals.tabular.in_memory import TableLoader, tensors

VERSIONS = versions("torch", "pyarrow")


def open_loader(config: Config) -> TableLoader:
    """Without workers torch is fastest here; both are measured."""
    return TableLoader(
        DataLoader(
            TensorDataset(*tensors(config.dataset)),
            batch_size=config.batch_size,
            shuffle=True,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
        )
    )
