"""Which datasets need no Python, and which only look like it."""

import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset
from torchvision.datasets import DatasetFolder, ImageFolder
from zenith._pydata import Images, Tensors, recognise


@pytest.fixture
def root(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("RGB", (4, 4)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_tensors_and_subsets_of_subsets():
    tensors = torch.arange(10.0), torch.arange(10)
    dataset = TensorDataset(*tensors)
    found = recognise(dataset)
    assert isinstance(found, Tensors) and found.tensors == tensors and found.indices is None
    nested = Subset(Subset(dataset, [9, 7, 5, 3]), [3, 0])
    found = recognise(nested)
    assert isinstance(found, Tensors) and found.indices == [3, 9]
    assert [nested[i][1] for i in range(2)] == [tensors[1][i] for i in found.indices]


def test_image_folder(root):
    dataset = ImageFolder(str(root), transform=str, target_transform=float)
    found = recognise(Subset(dataset, [2, 1]))
    assert isinstance(found, Images)
    assert found.samples == dataset.samples and found.indices == [2, 1] and found.classes == ["a", "b"]
    assert found.transform is str and found.target_transform is float


def test_never_a_guess(root):
    class Mine(ImageFolder):
        pass

    class Rows(TensorDataset):
        def __getitem__(self, index):
            return 0

    def opened(path):
        return path

    assert recognise(Mine(str(root))) is None
    assert recognise(ImageFolder(str(root), loader=opened)) is None
    assert recognise(DatasetFolder(str(root), opened, extensions=(".png",))) is None
    assert recognise(Rows(torch.zeros(3))) is None
    assert recognise(Subset(Rows(torch.zeros(3)), [0])) is None
    assert recognise([1, 2]) is None


def test_what_has_no_native_place_stays_python(root):
    for dtype in (torch.bfloat16, torch.complex64, torch.float8_e5m2):
        assert recognise(TensorDataset(torch.zeros(3), torch.zeros(3, dtype=dtype))) is None
    assert recognise(TensorDataset(torch.zeros(3, requires_grad=True))) is None
    dataset = TensorDataset(torch.arange(3))
    for indices in ([-1, 0], [0, 3]):
        assert recognise(Subset(dataset, indices)) is None
    assert recognise(Subset(Subset(dataset, [0, 1]), [2])) is None
    assert isinstance(recognise(Subset(dataset, [])), Tensors)
    pictures = ImageFolder(str(root))
    pictures.samples[1] = (pictures.samples[1][0], 0.5)
    assert recognise(pictures) is None
    Image.new("RGB", (4, 4)).save(root / "a" / "old.bmp")
    assert recognise(ImageFolder(str(root))) is None
