"""A stand-in for NVIDIA's management library, built from ``zenith-device/fake``, telling what a test's script says."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any


@functools.cache
def _built() -> Path:
    run = subprocess.run(
        ["cargo", "build", "--quiet", "--package", "zenith-fakenvml", "--message-format", "json"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    files = [file for line in run.stdout.splitlines() for file in json.loads(line).get("filenames", ())]
    return next(Path(file) for file in files if file.endswith("libzenith_fakenvml.so"))


def install(folder: Path, script: dict[str, Any]) -> Path:
    """The library in ``folder``, telling what ``script`` says; what it leaves out is as with a GPU in good health."""
    library = folder / "libzenith_fakenvml.so"
    shutil.copy(_built(), library)
    library.with_name(library.name + ".json").write_text(json.dumps(script))
    return library


def gpu(number: int, **facts: Any) -> dict[str, Any]:
    """A GPU of a script."""
    return {"uuid": f"GPU-{number}", "bus": 16 + number, **facts}
