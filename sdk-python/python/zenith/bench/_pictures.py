"""Class folders of JPEG pictures to work on: smooth colours with noise, which cost about what photographs cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ._outcome import UnavailableError

WIDTH, HEIGHT, CLASSES = 500, 375, 8


def make(folder: Path, count: int) -> int:
    """Writes ``count`` pictures; the bytes of all of them.

    Raises:
        UnavailableError: there is no Pillow to write them with.
    """
    try:
        from PIL import Image
    except ImportError:
        raise UnavailableError(
            "the pictures are written and read with Pillow: pip install torchvision"
        ) from None
    rng = np.random.default_rng(7)
    total = 0
    for number in range(count):
        coarse = rng.integers(0, 256, (10, 13, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth, dtype=np.int16) + rng.normal(0, 12, (HEIGHT, WIDTH, 1)).astype(np.int16)
        path = folder / f"class{number % CLASSES}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        total += path.stat().st_size
    return total
