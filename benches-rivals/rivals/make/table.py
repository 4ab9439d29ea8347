"""A Parquet table whose rows can be recognised after any shuffle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rivals.make.row import row_label
from rivals.protocol import Config

ROW_GROUP = 1 << 16


def prepare(config: Config) -> dict[str, Any]:
    """Write `rows` of `features` float32 columns and a label, row group by row group."""
    path, rows, features = (config.options[key] for key in ("path", "rows", "features"))
    names = [f"f{index:03d}" for index in range(features)]
    schema = pa.schema([*((name, pa.float32()) for name in names), ("label", pa.int64())])
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=False) as writer:
        for start in range(0, rows, ROW_GROUP):
            numbers = np.arange(start, min(start + ROW_GROUP, rows))
            columns = [numbers.astype(np.float32)]
            columns += [rng.standard_normal(len(numbers), dtype=np.float32) for _ in names[1:]]
            columns.append(row_label(numbers))
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROW_GROUP)
    return {"file_bytes": Path(path).stat().st_size, "data_bytes": rows * (features * 4 + 8)}
