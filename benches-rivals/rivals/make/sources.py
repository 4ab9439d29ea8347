"""The photographs that scikit-image and scikit-learn ship: ten, in colour, free to use."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from PIL import Image

_SKIMAGE = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
_SKLEARN = ("china.jpg", "flower.jpg")


def photographs() -> list[tuple[str, Image.Image]]:
    """Load them as (name, RGB picture), in a fixed order."""
    folder = Path(str(files("skimage"))) / "data"
    images = Path(str(files("sklearn"))) / "datasets" / "images"
    paths = [folder / name for name in _SKIMAGE] + [images / name for name in _SKLEARN]
    return [(path.stem, Image.open(path).convert("RGB")) for path in paths]
