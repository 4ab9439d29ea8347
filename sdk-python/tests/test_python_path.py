"""Python datasets and callables: equal to torch's DataLoader, in order and in content."""

import collections

import numpy as np
import pytest
import torch
import zenith
import zenith.torch as zt
from PIL import ImageOps
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms
from torchvision.transforms import v2

Row = collections.namedtuple("Row", "x y")


class Several(Dataset):
    """Samples of one of several kinds."""

    def __init__(self, kind):
        self.kind = kind

    def __len__(self):
        return 11

    def __getitem__(self, i):
        x = torch.arange(4) + i
        return {
            "tuple": lambda: (x, i),
            "list": lambda: [x, float(i)],
            "dict": lambda: {"x": x, "name": f"row {i}", "nested": {"y": np.float32(i)}},
            "namedtuple": lambda: Row(x.numpy(), i % 2 == 0),
            "scalar": lambda: i,
            "array": lambda: np.full((2, 3), i, dtype=np.uint8),
        }[self.kind]()


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            assert_same(a[name], b[name])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            assert_same(left, right)
    else:
        assert a == b


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "namedtuple", "scalar", "array"])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_torchs(kind, workers):
    with zt.DataLoader(Several(kind), 4, num_workers=workers) as loader:
        for _ in range(2):
            ours, theirs = list(loader), list(DataLoader(Several(kind), 4))
            assert len(ours) == len(theirs) == len(loader)
            for left, right in zip(ours, theirs, strict=True):
                assert_same(left, right)


def join(samples):
    return [index for _, index in samples], torch.stack([x for x, _ in samples]).sum(0)


@pytest.mark.parametrize("workers", [0, 2])
def test_collate_fn_and_target_transform(workers, pictures):
    with zt.DataLoader(Several("tuple"), 4, num_workers=workers, collate_fn=join) as loader:
        for left, right in zip(loader, DataLoader(Several("tuple"), 4, collate_fn=join), strict=True):
            assert_same(left, right)
    with zt.DataLoader(
        Several("tuple"), 4, num_workers=workers, transform=torch.neg, target_transform=lambda y: y + 100
    ) as loader:
        x, y = next(iter(loader))
        assert x[1].tolist() == [-1, -2, -3, -4] and y.tolist() == [100, 101, 102, 103]
    resize = v2.Compose([v2.Resize((8, 8)), v2.ToImage()])
    with zt.DataLoader(
        pictures, 12, num_workers=workers, transform=resize, target_transform=lambda y: y * 10
    ) as loader:
        x, y = next(iter(loader))
        assert y.tolist() == [0] * 6 + [10] * 6 and x.shape == (12, 3, 8, 8)
        native = next(iter(zt.DataLoader(pictures, 12, num_workers=0, transform=resize)))[0]
        assert torch.equal(x.as_subclass(torch.Tensor), native)
    with zt.DataLoader(pictures, 4, num_workers=workers, transform=resize, collate_fn=len) as loader:
        assert list(loader) == [4, 4, 4]


def plus_one(x):
    return x + 1


PIPELINES = {
    "at the end": [transforms.Resize((8, 8)), transforms.ToTensor(), transforms.Lambda(plus_one)],
    "in the middle": [transforms.Resize((8, 8)), transforms.Lambda(ImageOps.invert), transforms.ToTensor()],
    "at the head": [transforms.Lambda(ImageOps.mirror), transforms.Resize((8, 8)), transforms.ToTensor()],
    "after bytes": [transforms.Resize((8, 8)), transforms.PILToTensor(), torch.neg],
}


@pytest.mark.parametrize("where", PIPELINES)
def test_callables_among_the_transforms(pictures, where):
    transform = transforms.Compose(PIPELINES[where])
    wanted = torch.stack([x for x, _ in datasets.ImageFolder(pictures, transform)])
    for workers in (0, 2):
        with zt.DataLoader(pictures, 5, num_workers=workers, transform=transform) as loader:
            got = list(loader)
            assert any("Python" in note for note in loader.report().notes)
        made = torch.cat([x for x, _ in got])
        assert made.dtype == wanted.dtype and made.shape == wanted.shape
        largest = 4 if wanted.dtype == torch.uint8 else 4 / 255
        off = (made.double() - wanted.double()).abs()
        # Bytes wrap around at zero.
        assert torch.minimum(off, 256 - off if largest == 4 else off).max() <= largest
        assert torch.cat([y for _, y in got]).tolist() == [0] * 6 + [1] * 6


def test_a_bare_callable_gets_a_pil_picture(pictures):
    loader = zt.DataLoader(pictures, 2, num_workers=0, transform=lambda image: torch.tensor(image.size))
    assert next(iter(loader))[0].tolist() == [[60, 48], [60, 48]]


def doubled(row):
    return row * 2


def test_transforms_of_rows_get_what_batches_are_made_of():
    table = {"x": np.arange(6.0).reshape(3, 2), "label": np.arange(3)}
    for transform in (doubled, transforms.Compose([doubled])):
        inputs, labels = next(iter(zenith.DataLoader(table, 3, num_workers=0, transform=transform)))
        np.testing.assert_array_equal(inputs, 2 * table["x"])
        assert type(inputs) is np.ndarray and inputs.dtype == np.float32 and labels.tolist() == [0, 1, 2]
    seen = []
    list(zenith.DataLoader(table, 3, num_workers=0, transform=lambda row: (seen.append(type(row)), row)[1]))
    list(zt.DataLoader(table, 3, num_workers=0, transform=lambda row: (seen.append(type(row)), row)[1]))
    assert seen == [np.ndarray] * 3 + [torch.Tensor] * 3
    loader = zt.DataLoader(table, 3, num_workers=0, transform=doubled)
    assert any("doubled runs in Python: the source holds no pictures" in note for note in loader.notes)


def test_torchvision_on_rows_runs_on_tensors():
    table = {"x": np.arange(96, dtype=np.uint8).reshape(2, 3, 4, 4), "label": np.arange(2)}
    transform = v2.Compose([v2.RandomHorizontalFlip(1.0), v2.ToDtype(torch.float32, scale=True)])
    for kind in (zt.DataLoader, zenith.DataLoader):
        inputs, _ = next(iter(kind(table, 2, num_workers=0, transform=transform)))
        wanted = table["x"][..., ::-1].astype(np.float32) / np.float32(255)
        np.testing.assert_allclose(np.asarray(inputs), wanted, rtol=1e-6)
    with pytest.raises(zenith.ConfigError, match="pictures"):
        zt.DataLoader({"x": np.zeros((3, 2)), "label": np.zeros(3)}, transform=v2.Resize(4))


def test_samples_keep_their_names_and_types():
    table = {
        "token": np.arange(6).reshape(3, 2),
        "weight": np.arange(3, dtype=np.float32),
        "flag": np.array([True, False, True]),
    }
    for kind, arrays in ((zt.DataLoader, torch.Tensor), (zenith.DataLoader, np.ndarray)):
        native = next(iter(kind(table, 3, num_workers=0, label=False)))
        samples = next(iter(kind(table, 3, num_workers=0, label=False, collate_fn=list)))
        assert all(type(sample) is dict and list(sample) == list(table) for sample in samples)
        assert all(type(sample["token"]) is arrays for sample in samples)
        renamed = kind(table, 3, num_workers=0, label=False, transform=lambda row: {**row, "more": 1})
        batch = next(iter(renamed))
        assert batch.pop("more").tolist() == [1, 1, 1] and batch.keys() == native.keys()
        for name, column in native.items():
            assert type(batch[name]) is type(column) and batch[name].dtype == column.dtype
            assert batch[name].tolist() == column.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_labels_keep_their_type_behind_python(workers):
    for dtype in (np.float32, np.float64, np.int64):
        table = {"x": np.ones((5, 2)), "label": np.arange(5).astype(dtype)}
        for kind in (zt.DataLoader, zenith.DataLoader):
            with kind(table, 5, num_workers=0) as loader:
                native = next(iter(loader))[1]
            with kind(table, 5, num_workers=workers, target_transform=doubled) as loader:
                labels = next(iter(loader))[1]
            assert labels.dtype == native.dtype and labels.tolist() == (native * 2).tolist()


def test_gray_pictures_come_to_python_as_pil_has_them(pictures):
    transform = transforms.Compose(
        [transforms.Grayscale(), transforms.Lambda(lambda image: image.mode == "L")]
    )
    inputs, _ = next(iter(zt.DataLoader(pictures, 3, num_workers=0, transform=transform)))
    assert inputs.tolist() == [True] * 3


def test_both_target_transforms_are_applied(pictures):
    folder = datasets.ImageFolder(
        pictures,
        transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()]),
        target_transform=lambda label: label + 10,
    )
    for arguments, wanted in (({}, 11), ({"target_transform": doubled}, 22)):
        with zt.DataLoader(folder, 12, num_workers=0, **arguments) as loader:
            assert any("natively" in note for note in loader.notes)
            assert int(next(iter(loader))[1][-1]) == wanted


def test_target_transform_without_a_label_is_an_error():
    with pytest.raises(zenith.ConfigError, match="target_transform"):
        next(iter(zt.DataLoader(Several("scalar"), 2, num_workers=0, target_transform=doubled)))


def test_numpy_batches_of_python_samples():
    x, y = next(iter(zenith.DataLoader(Several("tuple"), 4, num_workers=0)))
    assert type(x) is type(y) is np.ndarray and x.shape == (4, 4) and y.tolist() == [0, 1, 2, 3]


def test_a_recognised_dataset_with_a_callable_of_its_own(pictures):
    folder = datasets.ImageFolder(
        pictures, transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor(), plus_one])
    )
    made = torch.cat([x for x, _ in zt.DataLoader(folder, 5, num_workers=0)])
    wanted = torch.stack([x for x, _ in folder])
    assert (made - wanted).abs().max() <= 4 / 255


def test_a_pictures_dataset_without_transform_says_what_torch_says(pictures):
    with pytest.raises(TypeError, match="PIL"):
        next(iter(zt.DataLoader(datasets.ImageFolder(pictures), 2, num_workers=0)))


class Mapping:
    """A dataset whose indices are words."""

    rows = {"a": 1.0, "b": 2.0, "c": 3.0}

    def __len__(self):
        return 3

    def __getitem__(self, key):
        return self.rows["abc"[key]]


def test_samplers_over_python_datasets():
    with zt.DataLoader(Mapping(), 2, num_workers=0, sampler=[2, 0, 1]) as loader:
        assert [batch.tolist() for batch in loader] == [[3.0, 1.0], [2.0]]
    with zt.DataLoader(Mapping(), num_workers=2, batch_sampler=[[2], [0, 1]]) as loader:
        assert [batch.tolist() for batch in loader] == [[3.0], [1.0, 2.0]]
