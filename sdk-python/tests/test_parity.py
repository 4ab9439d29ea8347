"""The same pixels as torchvision, on real pictures of every kind."""

import warnings

import numpy as np
import pytest
import torch
import zenith
import zenith.torch as zt
from photographs import photograph
from PIL import Image, ImageOps
from torchvision import datasets
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import transforms as v1


def to_float(kind):
    if kind is v1:
        return [v1.ToTensor()]
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]


def pipelines(kind):
    """Without randomness, or with every draw forced."""
    normal = kind.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    jitter = {"brightness": (1.2, 1.2), "contrast": (0.8, 0.8), "saturation": (1.3, 1.3)}
    return {
        "evaluation": [kind.Resize(72), kind.CenterCrop(64), *to_float(kind)],
        "normalised": [kind.Resize((50, 70)), *to_float(kind), normal],
        "upscaled": [kind.Resize((333, 222)), *to_float(kind)],
        "bicubic": [
            kind.Resize(60, interpolation=InterpolationMode.BICUBIC),
            kind.CenterCrop(60),
            *to_float(kind),
        ],
        "flipped": [
            kind.RandomHorizontalFlip(1.0),
            kind.Resize((40, 64)),
            kind.RandomVerticalFlip(1.0),
            *to_float(kind),
        ],
        "brightness": [kind.Resize((64, 64)), kind.ColorJitter(brightness=(1.4, 1.4)), *to_float(kind)],
        "contrast": [kind.Resize((64, 64)), kind.ColorJitter(contrast=(0.6, 0.6)), *to_float(kind)],
        "saturation": [kind.Resize((64, 64)), kind.ColorJitter(saturation=(1.5, 1.5)), *to_float(kind)],
        "gray": [kind.Resize((64, 64)), kind.RandomGrayscale(1.0), *to_float(kind)],
        "one gray": [kind.Resize((64, 64)), kind.Grayscale(1), *to_float(kind)],
        "padded crop": [kind.CenterCrop(300), kind.Resize((64, 64)), *to_float(kind)],
        "jitter at rest": [
            kind.Resize((64, 64)),
            kind.ColorJitter(**{name: (1.0, 1.0) for name in jitter}),
            *to_float(kind),
        ],
    }


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """One picture each of the kinds that datasets hold."""
    folder = tmp_path_factory.mktemp("parity") / "data"
    folder.mkdir()
    (folder / "only").mkdir()
    at = folder / "only"
    astronaut, chelsea = photograph("astronaut", (160, 140)), photograph("chelsea", (170, 120))
    coffee = photograph("coffee", (151, 101))
    astronaut.save(at / "0.jpg", quality=90)
    chelsea.save(at / "1-progressive.jpg", quality=85, progressive=True)
    coffee.save(at / "2-444.jpg", quality=95, subsampling=0)
    astronaut.convert("L").save(at / "3-gray.jpg", quality=90)
    coffee.save(at / "4.png")
    chelsea.save(at / "5-lossless.webp", lossless=True)
    chelsea.convert("L").save(at / "6-gray.png")
    coffee.quantize(64).save(at / "7-palette.png")
    return folder


PLAN = [(kind, name) for kind in (v1, v2) for name in pipelines(v1)]


@pytest.mark.parametrize(
    ("kind", "name"), PLAN, ids=lambda x: x if isinstance(x, str) else x.__name__.split(".")[2]
)
def test_pixels_are_torchvisions(photographs, kind, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transform = kind.Compose(pipelines(kind)[name])
    loader = zt.DataLoader(photographs, 3, num_workers=1, transform=transform)
    assert not any("Python" in note for note in loader.report().notes)
    made = torch.cat([inputs for inputs, _ in loader])
    scale = torch.tensor([0.229, 0.224, 0.225])[:, None, None] if name == "normalised" else 1.0
    folder = datasets.ImageFolder(photographs, transform)
    for (path, _), got, (wanted, _) in zip(folder.samples, made, folder, strict=True):
        assert got.shape == wanted.shape and got.dtype == wanted.dtype
        difference = ((got - wanted) * scale).abs() * 255
        assert difference.mean() <= 1 and difference.max() <= 4.01, (
            path,
            difference.mean(),
            difference.max(),
        )


@pytest.mark.parametrize("kind", [v1, v2])
def test_the_whole_picture_as_a_random_crop_is_a_resize(tmp_path, kind):
    (tmp_path / "only").mkdir()
    photograph("coffee", (150, 100)).save(tmp_path / "only/0.png")
    crop = kind.RandomResizedCrop((48, 72), scale=(1, 1), ratio=(1.5, 1.5))
    (made, _) = next(
        iter(zt.DataLoader(tmp_path, num_workers=0, transform=kind.Compose([crop, *to_float(kind)])))
    )
    plain = kind.Compose([kind.Resize((48, 72)), *to_float(kind)])
    wanted = plain(Image.open(tmp_path / "only/0.png"))
    assert (made[0] - wanted).abs().max() <= 4 / 255


def test_colour_spaces_of_four_channels(tmp_path):
    (tmp_path / "only").mkdir()
    picture = photograph("astronaut", (96, 80))
    picture.convert("CMYK").save(tmp_path / "only/0.jpg", quality=95)
    opaque = picture.convert("RGBA")
    opaque.putalpha(77)
    opaque.save(tmp_path / "only/1.png")
    made = next(iter(zt.DataLoader(tmp_path, 2, num_workers=0)))[0]
    for i, (wanted, _) in enumerate(datasets.ImageFolder(tmp_path)):
        difference = np.abs(np.asarray(wanted).transpose(2, 0, 1).astype(int) - made[i].numpy())
        assert difference.mean() <= 1 and difference.max() <= 4


def test_orientation_is_that_of_torchvision(tmp_path):
    """ImageFolder opens with PIL, which leaves the EXIF orientation alone."""
    (tmp_path / "only").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph("chelsea", (96, 64)).save(tmp_path / "only/0.jpg", quality=95, exif=exif)
    made = next(iter(zt.DataLoader(tmp_path, 1, num_workers=0)))[0][0]
    wanted = np.asarray(datasets.ImageFolder(tmp_path)[0][0]).transpose(2, 0, 1)
    assert made.shape == wanted.shape
    assert np.abs(wanted.astype(int) - made.numpy()).max() <= 4


def turned(folder, orientation, kind="jpg"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = photograph("chelsea", (96, 64))
    picture.save(folder / f"only/{orientation}.{kind}", quality=95, exif=exif)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
@pytest.mark.parametrize("cache", [None, "index"])
def test_exif_transpose_turns_pictures_upright(tmp_path, monkeypatch, kind, cache):
    monkeypatch.setenv("ZENITH_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "data" / "only").mkdir(parents=True)
    for orientation in range(1, 9):
        turned(tmp_path / "data", orientation, kind)
    head = [ImageOps.exif_transpose, v2.Lambda(ImageOps.exif_transpose), v1.Lambda(ImageOps.exif_transpose)]
    for first in head:
        transform = v2.Compose([first, v2.Resize(40), v2.CenterCrop((30, 30)), *to_float(v2)])
        folder = datasets.ImageFolder(tmp_path / "data", transform)
        wanted = torch.stack([inputs for inputs, _ in folder])
        for source, given in ((folder, None), (tmp_path / "data", transform)):
            loader = zt.DataLoader(source, 8, num_workers=1, transform=given, cache=cache)
            assert not any("Python" in note for note in loader.notes)
            for _ in range(2 if cache else 1):
                difference = (next(iter(loader))[0] - wanted).abs() * 255
                assert difference.mean() <= 1 and difference.max() <= 4.01
    sizes = {
        tuple(inputs.shape) for inputs, _ in zt.DataLoader(tmp_path / "data", transform=head[0], sampler=[0])
    }
    assert sizes == {(1, 3, 64, 96)}


def test_exif_transpose_after_another_operation_is_refused(tmp_path):
    (tmp_path / "only").mkdir()
    turned(tmp_path, 6)
    late = v2.Compose([v2.Resize(40), ImageOps.exif_transpose, *to_float(v2)])
    with pytest.raises(zenith.ConfigError, match="exif_transpose must be the first"):
        zt.DataLoader(tmp_path, transform=late)


def test_channels_last_are_the_same_pictures(photographs):
    for transform in (
        v2.Compose([v2.Resize((20, 31)), v2.ToImage()]),
        v2.Compose([v2.RandomResizedCrop((20, 31)), *to_float(v2), v2.Normalize([0.5] * 3, [0.2] * 3)]),
        v2.Compose([v2.Resize((20, 31)), *to_float(v2)[:1], v2.ToDtype(torch.float16, scale=True)]),
    ):
        plain, labels = next(iter(zt.DataLoader(photographs, 8, num_workers=1, transform=transform)))
        loader = zt.DataLoader(photographs, 8, num_workers=1, transform=transform, channels_last=True)
        inputs, same = next(iter(loader))
        assert inputs.shape == plain.shape and torch.equal(labels, same)
        assert inputs.is_contiguous(memory_format=torch.channels_last) and not inputs.is_contiguous()
        assert torch.equal(inputs, plain)
        arrays, _ = next(iter(zenith.DataLoader(photographs, 8, transform=transform, channels_last=True)))
        assert arrays.flags.c_contiguous and arrays.shape == (8, 20, 31, 3)
        np.testing.assert_array_equal(arrays, plain.permute(0, 2, 3, 1))
    with pytest.raises(zenith.ConfigError, match="channels_last"):
        zt.DataLoader(photographs, transform=transform, channels_last=True, collate_fn=list)


def test_fast_decoding_is_close_where_it_shrinks_and_exact_where_not(tmp_path):
    (tmp_path / "only").mkdir()
    for i, name in enumerate(("astronaut", "chelsea", "coffee")):
        photograph(name, (448, 300)).save(tmp_path / f"only/{i}.jpg", quality=90)

    def pixels(edge, decode):
        transform = v2.Compose([v2.Resize((edge, edge)), v2.ToImage()])
        return next(iter(zt.DataLoader(tmp_path, 3, num_workers=1, transform=transform, decode=decode)))[
            0
        ].int()

    off = (pixels(64, "fast") - pixels(64, "exact")).abs().double()
    assert 0 < off.mean() <= 3
    assert torch.equal(pixels(280, "fast"), pixels(280, "exact"))


def test_random_operations_draw_as_they_say(photographs):
    flip = v2.Compose([v2.Resize((8, 8)), v2.RandomHorizontalFlip(0.3), v2.ToImage()])
    loader = zt.DataLoader(photographs, 8, num_workers=1, transform=flip)
    plain = next(iter(zt.DataLoader(photographs, 8, num_workers=0, transform=flip.transforms[0])))[0]
    flipped = 0
    for _ in range(60):
        for i, row in enumerate(next(iter(loader))[0]):
            same = torch.equal(row, plain[i])
            assert same or torch.equal(row, plain[i].flip(-1))
            flipped += not same
    assert 0.22 < flipped / 480 < 0.38
