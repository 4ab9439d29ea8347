"""Torch's side of ``zenith data bench``: samples per second of torch's DataLoader on the same data, on stdout."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any


def _dataset(path: str) -> Any:
    """Class folders as ImageFolder with the usual transform; one Parquet file as tensors in memory."""
    import torch

    if Path(path).is_dir():
        from torchvision import datasets, transforms

        usual = transforms.Compose(
            [
                transforms.RandomResizedCrop(224),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )
        return datasets.ImageFolder(path, usual)
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    columns = [torch.from_numpy(column.to_numpy().copy()) for column in table.columns]
    inputs = torch.stack([column.float() for column in columns[:-1]], dim=1)
    return torch.utils.data.TensorDataset(inputs, columns[-1])


def main() -> None:
    """Arguments: path, batch size, workers, seconds."""
    from torch.utils.data import DataLoader

    path, batch_size, workers, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    loader = DataLoader(
        _dataset(path), batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    iterator = iter(loader)
    next(iterator)
    samples, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for batch in iterator:
            samples += len(batch[0])
            if time.perf_counter() - start >= seconds:
                break
        else:
            iterator = iter(loader)
    print(samples / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
