"""Pictures of ImageNet's usual size, cut from shipped photographs: for throughput, where content hardly matters."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from PIL import Image

from rivals.make.sources import photographs
from rivals.protocol import Config

SIZES = ((500, 375), (375, 500), (500, 333), (333, 500), (500, 500), (400, 300))


def prepare(config: Config) -> dict[str, Any]:
    """Write `count` JPEG files of photographic detail into `path`."""
    folder, count, quality = Path(config.options["path"]), config.options["count"], config.options["quality"]
    rng = random.Random(0)
    sources = photographs()
    for index in range(count):
        name, picture = sources[index % len(sources)]
        width, height = rng.choice(SIZES)
        side = rng.uniform(0.5, 1.0)
        scale = min(picture.width / width, picture.height / height) * side
        box_width, box_height = width * scale, height * scale
        left = rng.uniform(0, picture.width - box_width)
        top = rng.uniform(0, picture.height - box_height)
        box = (left, top, left + box_width, top + box_height)
        cut = picture.resize((width, height), Image.Resampling.BICUBIC, box=box)
        cut.save(folder / f"{index:04d}_{name}.jpg", quality=quality)
    return {"pictures": count}
