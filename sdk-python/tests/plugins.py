"""Where the tests find the example plugins."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("ZENITH_PLUGINS", ROOT / "target/plugins"))


def guest(name: str) -> Path:
    """The example plugin ``name``; all of them are built where it is not there."""
    path = FOLDER / f"{name}.wasm"
    if not path.exists():
        script = subprocess.run(
            ["sh", ROOT / "scripts/plugins"],
            env={**os.environ, "ZENITH_PLUGINS": str(FOLDER.absolute())},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        # It stops at the first that it cannot build, and those before it are there.
        assert path.exists(), f"{path} is missing, and scripts/plugins says\n{script.stderr}"
    return path
