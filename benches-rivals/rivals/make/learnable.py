"""A small picture classification task that a small network learns in minutes: which photograph is this from.

Training and validation come from different halves of each photograph, so that memorising does not pay; colour
and brightness vary, so that the mean colour alone does not answer.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance

from rivals.make.sources import photographs
from rivals.protocol import Config

SIZE = 96
QUALITY = 90


def prepare(config: Config) -> dict[str, Any]:
    """Write train/CLASS/*.jpg (`per_class` each) and val/CLASS/*.jpg (a quarter of that)."""
    folder, per_class = Path(config.options["path"]), int(config.options["per_class"])
    rng = random.Random(0)
    sources = photographs()
    for name, picture in sources:
        middle = picture.width // 2
        halves = {
            "train": (picture.crop((0, 0, middle, picture.height)), per_class),
            "val": (picture.crop((middle, 0, picture.width, picture.height)), per_class // 4),
        }
        for split, (half, count) in halves.items():
            target = folder / split / name
            target.mkdir(parents=True)
            for index in range(count):
                _cut(half, rng).save(target / f"{index:05d}.jpg", quality=QUALITY)
    return {"classes": [name for name, _ in sorted(sources)], "side": SIZE}


def _cut(picture: Image.Image, rng: random.Random) -> Image.Image:
    side = min(picture.size) * rng.uniform(0.25, 0.6)
    left = rng.uniform(0, picture.width - side)
    top = rng.uniform(0, picture.height - side)
    box = (left, top, left + side, top + side)
    cut = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
    cut = cut.rotate(rng.choice((0, 90, 180, 270)))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        cut = enhance(cut).enhance(rng.uniform(0.4, 1.6))
    return cut
