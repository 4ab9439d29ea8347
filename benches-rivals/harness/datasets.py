"""The data sets: made once, described by a manifest beside them, reused while the manifest still matches."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.process import run_rival

PHOTOGRAPH_QUALITY = 96
"""The shipped photographs are partly enlarged, so that only a high quality gives files of ImageNet's usual size."""
SUFFIXES = {".jpg", ".jpeg"}


def data_root() -> Path:
    """Where data sets are kept: ZENITH_RIVALS_DATA, else the user's cache."""
    chosen = os.environ.get("ZENITH_RIVALS_DATA")
    return Path(chosen) if chosen else Path.home() / ".cache" / "zenith" / "rivals-data"


def pictures(root: Path, count: int, classes: int, source: Path | None, python: str | None) -> dict[str, Any]:
    """Make class folders with `count` JPEG files, real copies of `source`'s pictures or of generated ones."""
    if source is None:
        source = _generated(root, python)
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SystemExit(f"{source}: no .jpg or .jpeg files below this folder")
    wanted = {"kind": "pictures", "count": count, "classes": classes, "source": _fingerprint(found)}

    def fill(folder: Path) -> dict[str, Any]:
        total = 0
        for label in range(classes):
            (folder / "train" / f"class_{label:03d}").mkdir(parents=True)
        for index in range(count):
            original = found[index % len(found)]
            # Each repetition of the source shifts by one class, so that a class is not one picture.
            label = (index + index // len(found)) % classes
            copy = folder / "train" / f"class_{label:03d}" / f"{index:07d}_{original.stem}.jpg"
            shutil.copyfile(original, copy)
            total += copy.stat().st_size
        counts = [len(list((folder / "train" / f"class_{label:03d}").iterdir())) for label in range(classes)]
        return {"bytes": total, "label_counts": counts, "distinct_pictures": min(len(found), count)}

    manifest = _once(root / f"pictures-{count}x{classes}-{wanted['source'][:8]}", wanted, fill)
    return {**manifest, "path": str(Path(manifest["folder"]) / "train")}


def table(root: Path, rows: int, features: int, python: str) -> dict[str, Any]:
    """Make a Parquet file of float32 features whose first column is the row's number, and a label made from it."""
    wanted = {"kind": "table", "rows": rows, "features": features}

    def fill(folder: Path) -> dict[str, Any]:
        return _make(python, "table", {"path": str(folder / "table.parquet"), "rows": rows, "features": features})

    manifest = _once(root / f"table-{rows}x{features}", wanted, fill)
    return {**manifest, "path": str(Path(manifest["folder"]) / "table.parquet")}


def learnable(root: Path, per_class: int, python: str) -> dict[str, Any]:
    """Make class folders for training and validation: which photograph does this crop come from."""
    wanted = {"kind": "learnable", "per_class": per_class}

    def fill(folder: Path) -> dict[str, Any]:
        return _make(python, "learnable", {"path": str(folder), "per_class": per_class})

    manifest = _once(root / f"learnable-{per_class}", wanted, fill)
    return {**manifest, "path": manifest["folder"]}


def warm(path: Path) -> None:
    """Read every file once, so that all rivals find the page cache in the same state."""
    files = [path] if path.is_file() else [entry for entry in path.rglob("*") if entry.is_file()]
    for entry in files:
        with entry.open("rb") as stream:
            while stream.read(1 << 20):
                pass


def _generated(root: Path, python: str | None) -> Path:
    if python is None:
        raise SystemExit("making pictures needs the torch environment (envs.py torch); or give --pictures FOLDER")
    wanted = {"kind": "photographs", "count": 400, "quality": PHOTOGRAPH_QUALITY}

    def fill(folder: Path) -> dict[str, Any]:
        return _make(python, "photographs", {"path": str(folder), **wanted})

    return Path(_once(root / "photographs-400", wanted, fill)["folder"])


def _make(python: str, maker: str, options: dict[str, Any]) -> dict[str, Any]:
    config = {"scenario": "make", "rival": maker, "options": {**options, "prepare": True}}
    made = run_rival([python, "-m", "rivals"], config, timeout=1800)
    made.pop("memory")
    return made


def _once(folder: Path, wanted: dict[str, Any], fill: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    manifest = folder.with_name(folder.name + ".json")
    if manifest.exists() and folder.is_dir():
        known = json.loads(manifest.read_text())
        if all(known.get(key) == value for key, value in wanted.items()):
            return known
    manifest.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = {**wanted, "folder": str(folder), **fill(folder)}
    manifest.write_text(json.dumps(made, indent=1) + "\n")
    return made


def _fingerprint(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()
