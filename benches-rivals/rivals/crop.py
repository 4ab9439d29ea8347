"""The window of RandomResizedCrop, for rivals that bring no such transform of their own."""

from __future__ import annotations

import math
import random

ATTEMPTS = 10
SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)


def window(width: int, height: int, rng: random.Random) -> tuple[int, int, int, int]:
    """Draw (left, top, width, height) as torchvision does: area and log aspect uniform, else the middle."""
    log_ratio = (math.log(RATIO[0]), math.log(RATIO[1]))
    for _ in range(ATTEMPTS):
        area = width * height * rng.uniform(*SCALE)
        aspect = math.exp(rng.uniform(*log_ratio))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return rng.randint(0, width - w), rng.randint(0, height - h), w, h
    if width < height * RATIO[0]:
        w, h = width, min(height, round(width / RATIO[0]))
    elif width > height * RATIO[1]:
        w, h = min(width, round(height * RATIO[1])), height
    else:
        w, h = width, height
    return (width - w) // 2, (height - h) // 2, w, h
