"""Where the tests find the example plugins."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(os.environ.get("ZENITH_PLUGINS", Path(__file__).parents[2] / "target/plugins"))


def guest(name: str) -> Path:
    """The example plugin ``name``."""
    path = FOLDER / f"{name}.wasm"
    assert path.exists(), (
        f"{path} is missing: run `make plugins`, or name the folder of the plugins in ZENITH_PLUGINS"
    )
    return path
