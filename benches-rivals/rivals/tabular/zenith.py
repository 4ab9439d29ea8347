"""Zenith from the Parquet file itself."""

from typing import Any

import zenith
import zenith.torch as zt

from rivals.loader import versions
from rivals.protocol import Config
from rivals.tabular.in_memory import TableLoader

VERSIONS = {"zenith": zenith.__version__, **versions("torch")}


class _Reported(TableLoader):
    def extra(self) -> dict[str, Any]:
        """Zenith's own report, for the reader of the record."""
        return {"report": self._batches.report().to_dict()}


def open_loader(config: Config) -> TableLoader:
    """Let the label column be found by its name."""
    return _Reported(
        zt.DataLoader(
            config.dataset,
            batch_size=config.batch_size,
            shuffle=True,
            num_workers=config.workers,
            seed=config.seed,
        )
    )
