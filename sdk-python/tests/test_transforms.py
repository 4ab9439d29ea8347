"""torchvision transforms to native operations, and what stays Python."""

import json

import pytest
import torch
from PIL import Image, ImageOps
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2
from zenith._transforms import compile_transform, turns_too_late


def test_the_usual_pipeline_is_wholly_native():
    for kind in (v1, v2):
        made = compile_transform(
            kind.Compose(
                [
                    kind.RandomResizedCrop(224, interpolation=kind.InterpolationMode.BICUBIC),
                    nn.Sequential(kind.RandomHorizontalFlip(), nn.Identity()),
                    kind.ColorJitter(0.4, hue=0.1),
                    kind.Compose([kind.ToTensor()]),
                    kind.Normalize([0.5, 0.4, 0.3], [0.2, 0.2, 0.1]),
                ]
            )
        )
        assert made.python is None and made.python_takes is None and made.notes == []
        jitter = {"brightness": [0.6, 1.4], "contrast": None, "saturation": None, "hue": [-0.1, 0.1]}
        crop = made.native[0]
        assert crop["size"] in ([224], [224, 224])
        assert json.loads(json.dumps(made.native)) == [
            {
                "op": "random_resized_crop",
                "size": crop["size"],
                "scale": [0.08, 1.0],
                "ratio": [3 / 4, 4 / 3],
                "interpolation": "bicubic",
                "antialias": True,
            },
            {"op": "random_horizontal_flip", "p": 0.5},
            {"op": "color_jitter", **jitter},
            {"op": "to_tensor"},
            {"op": "normalize", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]},
        ]


@pytest.mark.parametrize(
    ("operation", "native"),
    [
        (
            v2.Resize(32, max_size=64, antialias=False),
            {"op": "resize", "size": [32], "interpolation": "bilinear", "max_size": 64, "antialias": False},
        ),
        (v1.CenterCrop((8, 6)), {"op": "center_crop", "size": [8, 6]}),
        (
            v1.RandomCrop(32, padding=(1, 2, 3, 4)),
            {
                "op": "random_crop",
                "size": [32, 32],
                "padding": [1, 2, 3, 4],
                "pad_if_needed": False,
                "fill": 0,
            },
        ),
        (
            v2.RandomCrop(32, padding=(1, 2, 3, 4), fill=7),
            {
                "op": "random_crop",
                "size": [32, 32],
                "padding": [1, 2, 3, 4],
                "pad_if_needed": False,
                "fill": 7,
            },
        ),
        (v2.RandomVerticalFlip(0.2), {"op": "random_vertical_flip", "p": 0.2}),
        (v2.Grayscale(3), {"op": "grayscale", "num_output_channels": 3}),
        (v2.RandomGrayscale(0.3), {"op": "random_grayscale", "p": 0.3}),
        (v2.ToImage(), {"op": "to_image"}),
        (v1.PILToTensor(), {"op": "to_image"}),
        (v2.ToDtype(torch.float32, scale=True), {"op": "to_dtype", "dtype": "float32", "scale": True}),
        (v1.ConvertImageDtype(torch.float16), {"op": "to_dtype", "dtype": "float16", "scale": True}),
    ],
)
def test_single_operations(operation, native):
    assert compile_transform(operation).native == [native]


def test_the_first_without_a_twin_takes_the_rest_along():
    def brighten(image):
        return image.point(lambda v: v + 1)

    made = compile_transform(v2.Compose([v2.Resize(8), brighten, v2.ToImage(), v2.ToPureTensor()]))
    assert [op["op"] for op in made.native] == ["resize"] and made.python_takes == "image"
    assert made.notes == [
        "brighten runs in Python: it has no native twin",
        "so do the operations after it: ToImage, ToPureTensor",
    ]
    assert made.python is not None
    assert made.python(Image.new("RGB", (2, 2), (4, 4, 4))).unique().tolist() == [5]
    after = compile_transform(v2.Compose([v2.ToImage(), v2.GaussianBlur(3)]))
    assert after.python_takes == "tensor" and type(after.python) is v2.GaussianBlur


def test_exif_transpose_is_known_only_at_the_head():
    at_head = compile_transform(v2.Compose([v2.Lambda(ImageOps.exif_transpose), v2.Resize(8)]))
    assert at_head.exif_transpose and len(at_head.native) == 1 and at_head.python is None
    alone = compile_transform(ImageOps.exif_transpose)
    assert alone.exif_transpose and alone.native == [] and alone.python is None
    late = compile_transform(v2.Compose([v2.Resize(8), ImageOps.exif_transpose]))
    assert not late.exif_transpose and turns_too_late(late.python)
    tensors_only = v2.Lambda(ImageOps.exif_transpose, torch.Tensor)
    assert not compile_transform(tensors_only).exif_transpose
    assert not compile_transform(v2.Resize(8)).exif_transpose


def test_nothing_is_guessed():
    class Mine(v2.Resize):
        pass

    replaced = v2.CenterCrop(4)
    replaced.forward = lambda image: image  # type: ignore[method-assign]
    hooked = v1.CenterCrop(4)
    hooked.register_forward_hook(lambda *_: None)
    odd = [
        Mine(4),
        replaced,
        hooked,
        v2.ToDtype({torch.Tensor: torch.float32}, scale=True),
        v2.RandomCrop(4, padding=1, padding_mode="reflect"),
        v2.RandomCrop(4, padding=1, fill=(1, 2, 3)),
        v2.Resize(None, max_size=9),
        v2.RandomApply([v2.CenterCrop(4)]),
        lambda image: image,
    ]
    for operation in odd:
        made = compile_transform(operation)
        assert made.native == [] and made.python is operation and len(made.notes) == 1
    assert compile_transform(None).native == [] and compile_transform(None).python is None
