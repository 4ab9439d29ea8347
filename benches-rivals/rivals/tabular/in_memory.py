"""The table as tensors: how the torch rivals get the data that Zenith reads from Parquet itself."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import torch

from rivals.loader import TorchLoader


class TableLoader(TorchLoader):
    """Batches of rows, [batch, features]."""

    layout = "NF"


def tensors(path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Read a Parquet file into a float32 [rows, features] tensor and an int64 label tensor.

    Row group by row group into memory of the final size, so that loading does not set the memory peak.
    """
    source = pq.ParquetFile(path)
    names = [name for name in source.schema_arrow.names if name != "label"]
    inputs = np.empty((source.metadata.num_rows, len(names)), dtype=np.float32)
    labels = np.empty(source.metadata.num_rows, dtype=np.int64)
    start = 0
    for group in range(source.num_row_groups):
        part = source.read_row_group(group, use_threads=False)
        stop = start + part.num_rows
        for column, name in enumerate(names):
            inputs[start:stop, column] = part[name].to_numpy()
        labels[start:stop] = part["label"].to_numpy()
        start = stop
    return torch.from_numpy(inputs), torch.from_numpy(labels)
