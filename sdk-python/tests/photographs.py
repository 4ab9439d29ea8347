"""Real pictures, from scikit-image, at the size a test wants."""

from pathlib import Path

import numpy as np
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
