"""Makes the demonstration's data: class folders of JPEGs, and a table in a Parquet file.

The pictures are crops of photographs that scikit-image and scikit-learn bring along, each crop of another size, place,
brightness and colour; the class is the photograph. The rows are scikit-learn's scanned digits under noise. Everything
is a pure function of the numbers in ``Scale``; nothing is downloaded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_SKIMAGE = (
    "astronaut",
    "brick",
    "chelsea",
    "coffee",
    "grass",
    "gravel",
    "hubble_deep_field",
    "ihc",
    "rocket",
)
_SKLEARN = ("china", "flower")
_MOTORCYCLE = "motorcycle_left"
CLASSES = tuple(sorted((*_SKIMAGE, *_SKLEARN, _MOTORCYCLE)))

# Sizes as photographs of the web have them; (width, height).
_SIZES = ((500, 375), (500, 375), (500, 333), (375, 500), (480, 360), (500, 400))
_QUALITY = 92
_VERSION = 1


@dataclass(frozen=True)
class Scale:
    """How much data there is.

    Attributes:
        train_pictures: JPEGs per class to train on.
        test_pictures: JPEGs per class that are held out.
        train_rows: rows of the table to train on.
        test_rows: rows that are held out; they come from other scans than the training rows.
    """

    train_pictures: int
    test_pictures: int
    train_rows: int
    test_rows: int


@dataclass(frozen=True)
class Data:
    """Where the data lies."""

    train_pictures: Path
    test_pictures: Path
    train_table: Path
    test_table: Path
    bytes_of_pictures: int


def make(root: Path, scale: Scale, progress: Callable[[int, int], None]) -> Data:
    """Makes the data below ``root``, unless it is there already.

    Args:
        root: folder that belongs to this program; another scale's data in it are replaced.
        scale: how much.
        progress: called with (pictures done, pictures in all).
    """
    data = Data(root / "train", root / "test", root / "train.parquet", root / "test.parquet", 0)
    stamp = root / "complete.json"
    wanted = {"version": _VERSION, **asdict(scale)}
    if not (stamp.exists() and json.loads(stamp.read_text()) == wanted):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        _make_pictures(data, scale, progress)
        _make_tables(data, scale)
        stamp.write_text(json.dumps(wanted))
    size = sum(path.stat().st_size for path in data.train_pictures.rglob("*.jpg"))
    return Data(data.train_pictures, data.test_pictures, data.train_table, data.test_table, size)


# -- pictures


def _make_pictures(data: Data, scale: Scale, progress: Callable[[int, int], None]) -> None:
    parts = [(data.train_pictures, scale.train_pictures, 0), (data.test_pictures, scale.test_pictures, 1)]
    total = len(CLASSES) * sum(count for _, count, _ in parts)
    done = 0
    progress(done, total)
    with ProcessPoolExecutor() as pool:
        jobs = {
            pool.submit(_make_class, folder / name, number, count, split): count
            for number, name in enumerate(CLASSES)
            for folder, count, split in parts
        }
        for job in as_completed(jobs):
            job.result()
            done += jobs[job]
            progress(done, total)


def _make_class(folder: Path, number: int, count: int, split: int) -> None:
    folder.mkdir(parents=True)
    photograph = _photograph(CLASSES[number])
    for index in range(count):
        rng = np.random.default_rng((_VERSION, split, number, index))
        _crop(photograph, rng).save(folder / f"{index:05}.jpg", quality=_QUALITY)


def _photograph(name: str) -> Image.Image:
    """One of the photographs inside the two packages, as RGB."""
    if name in _SKLEARN:
        import sklearn.datasets

        path = Path(sklearn.datasets.__file__).parent / "images" / f"{name}.jpg"
    else:
        import skimage

        suffix = "jpg" if name in ("hubble_deep_field", "rocket") else "png"
        path = Path(skimage.__file__).parent / "data" / f"{name}.{suffix}"
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _crop(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A piece of the photograph in another light, with the noise of a small sensor."""
    width, height = _SIZES[rng.integers(len(_SIZES))]
    largest = min(photograph.width / width, photograph.height / height)
    zoom = largest * rng.uniform(0.25, 0.8)
    left = rng.uniform(0, photograph.width - width * zoom)
    top = rng.uniform(0, photograph.height - height * zoom)
    piece = photograph.resize(
        (width, height), Image.Resampling.BICUBIC, box=(left, top, left + width * zoom, top + height * zoom)
    )
    pixels = np.asarray(piece, np.float32) / 255
    if rng.random() < 0.3:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    pixels = pixels ** rng.uniform(0.6, 1.7) * rng.uniform(0.5, 1.2) * rng.uniform(0.75, 1.25, 3).astype(np.float32)
    pixels += rng.standard_normal(pixels.shape, np.float32) * 0.03
    return Image.fromarray((pixels * 255).clip(0, 255).astype(np.uint8))


# -- the table


def _make_tables(data: Data, scale: Scale) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    rng = np.random.default_rng(_VERSION)
    scans = rng.permutation(len(digits.data))
    cut = len(scans) * 3 // 4
    _write_table(data.train_table, digits, scans[:cut], scale.train_rows, rng)
    _write_table(data.test_table, digits, scans[cut:], scale.test_rows, rng)


def _write_table(path: Path, digits: object, scans: np.ndarray, rows: int, rng: np.random.Generator) -> None:
    import pyarrow
    import pyarrow.parquet

    chosen = rng.choice(scans, rows)
    pixels = digits.data[chosen].astype(np.float32)  # type: ignore[attr-defined]
    pixels += rng.standard_normal(pixels.shape, np.float32) * 6
    columns = {f"pixel_{i:02}": pixels[:, i] for i in range(pixels.shape[1])}
    table = pyarrow.table({**columns, "label": digits.target[chosen].astype(np.int64)})  # type: ignore[attr-defined]
    pyarrow.parquet.write_table(table, path, row_group_size=16_384)
