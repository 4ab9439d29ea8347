"""FFCV with raw pixels inside its own file."""

from typing import Any

from rivals.loader import TorchLoader
from rivals.pictures import ffcv_beton
from rivals.protocol import Config

VERSIONS = ffcv_beton.VERSIONS
MODE = "raw"


def prepare(config: Config) -> dict[str, Any]:
    """Convert the class folders."""
    return ffcv_beton.convert(config, MODE)


def open_loader(config: Config) -> TorchLoader:
    """Open the converted file; the first epoch compiles the pipeline."""
    return ffcv_beton.open_beton(config, MODE)
