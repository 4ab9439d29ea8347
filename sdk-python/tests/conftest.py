"""Data that the tests make for themselves, small and real."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data


def photograph(name, size):
    """One of scikit-image's pictures, RGB, at ``size`` (width, height)."""
    picture = Image.fromarray(np.ascontiguousarray(getattr(data, name)()[..., :3]))
    return picture.resize(size, Image.Resampling.LANCZOS)


def write_folder(root, per_class=6, size=(60, 48)):
    """Two class folders of JPEGs, every picture different."""
    for label, name in enumerate(("astronaut", "chelsea")):
        folder = Path(root) / ("zebra", "ant")[label]
        folder.mkdir(parents=True)
        picture = np.asarray(photograph(name, size))
        for i in range(per_class):
            Image.fromarray(np.roll(picture, 7 * i, axis=1)).save(folder / f"{i:02}.jpg", quality=95)
    return Path(root)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Class folders ``ant`` and ``zebra`` of six JPEGs each, 60 x 48."""
    return write_folder(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture
def table():
    """Columns of 53 rows: two of floats, one of whole numbers, a label; row i holds i."""
    rows = np.arange(53)
    return {
        "a": rows.astype(np.float32),
        "b": rows.astype(np.float64) * 2,
        "c": rows.astype(np.int16) + 1000,
        "label": rows.astype(np.int64) % 7,
    }


def threads():
    return len(os.listdir("/proc/self/task"))


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def resident():
    """Resident bytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
