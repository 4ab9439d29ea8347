"""Plugins in the loader: among native transforms, as filters and splitters, with errors, state and a report."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import wasm_modules as wasm
import zenith
import zenith.torch as zt
from photographs import photograph, write_folder
from PIL import Image
from plugins import guest
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from zenith.transforms import Wasm

FLOATS = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]


class Numbers(Dataset):
    """A dataset that only Python can read: sample i is uint8 [i, i + 1]."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return torch.tensor([index, index + 1], dtype=torch.uint8), index


def rows(count=203):
    """Inputs of uint8 [2] = [i, i + 1] and labels i."""
    numbers = np.arange(count)
    return {"inputs": np.stack([numbers, numbers + 1], 1).astype(np.uint8), "label": numbers}


def pairs(count=150, seed=0):
    """Inputs for `PAIRS`: each becomes 0 to 3 samples [i, part]."""
    parts = np.random.default_rng(seed).integers(0, 4, count)
    parts[0] = 2
    inputs = np.zeros((count, 7), np.uint8)
    inputs[:, 0] = parts
    inputs[:, 1::2] = np.arange(count)[:, None]
    inputs[:, 2::2] = np.arange(3)
    return {"inputs": inputs, "label": np.arange(count)}, parts


def seen(loader):
    return [(np.asarray(inputs).tolist(), np.asarray(labels).tolist()) for inputs, labels in loader]


# ---- what a plugin sees and gives


@pytest.mark.parametrize("given", ["bytes", "path", "Wasm"])
def test_the_tutorials_plugin_through_the_loader(given, tmp_path):
    path = tmp_path / "add_one.wasm"
    path.write_bytes(wasm.ADD_ONE)
    plugin = {"bytes": wasm.ADD_ONE, "path": path, "Wasm": Wasm(path)}[given]
    source = {"inputs": np.array([[1, 2, 3], [255, 0, 254]], np.uint8), "label": np.array([4, 5])}
    inputs, labels = next(iter(zt.DataLoader(source, 2, plugins=[plugin])))
    assert inputs.tolist() == [[2, 3, 4], [255, 1, 255]] and labels.tolist() == [4, 5]
    assert inputs.dtype == torch.uint8


def test_plugins_run_in_their_order_behind_the_transform(pictures):
    plain = next(iter(zt.DataLoader(pictures, 12, transform=v2.Resize((8, 8)))))[0]
    both = next(
        iter(zt.DataLoader(pictures, 12, transform=v2.Resize((8, 8)), plugins=[wasm.ADD_ONE, wasm.ADD_ONE]))
    )[0]
    assert torch.equal(both, plain.int().add(2).clamp(max=255).to(torch.uint8))


def test_a_plugin_sees_a_picture_before_to_image_and_a_tensor_behind_it(pictures):
    def shape(*transform, **options):
        return next(iter(zt.DataLoader(pictures, transform=list(transform), **options)))[0][0].tolist()

    assert shape(v2.Resize((8, 10)), Wasm(wasm.SHAPE)) == [8, 10, 3]
    assert shape(v2.Compose([v2.Resize((8, 10)), v2.ToImage(), Wasm(wasm.SHAPE)])) == [3, 8, 10]
    assert shape(v2.Resize((8, 10)), plugins=[wasm.SHAPE]) == [3, 8, 10]
    assert shape(Wasm(wasm.ADD_ONE), v2.RandomHorizontalFlip(), Wasm(wasm.SHAPE)) == [48, 60, 3]
    assert shape(Wasm(wasm.ADD_ONE), v2.ToImage(), Wasm(wasm.SHAPE)) == [3, 48, 60]


@pytest.mark.parametrize("before", [[v2.Resize((16, 20))], [v2.Resize((16, 20)), v2.ToImage()], []])
@pytest.mark.parametrize("nested", [False, True])
def test_between_native_operations(pictures, before, nested):
    behind = [v2.CenterCrop(12), *FLOATS] if not before or len(before) == 1 else [*FLOATS[1:]]
    transform = [*before, Wasm(wasm.ADD_ONE), *behind]
    loader = zt.DataLoader(
        pictures, 12, num_workers=2, transform=v2.Compose(transform) if nested else transform
    )
    inputs, labels = next(iter(loader))
    assert not any("Python" in note for note in loader.report().notes)
    # The same by hand: torchvision's operations on pictures, the plugin called as a function.
    files = sorted(pictures.glob("*/*.jpg"))
    expected = torch.stack([v2.Compose(transform)(Image.open(file).convert("RGB")) for file in files])
    assert inputs.shape == expected.shape and inputs.dtype == torch.float32
    assert (inputs - expected).abs().max() <= 4 / 255 / 0.25
    assert (inputs - expected).abs().mean() <= 1 / 255 / 0.25
    assert labels.tolist() == [0] * 6 + [1] * 6


def test_operations_that_do_not_fit_name_themselves_and_the_plugin(pictures):
    with pytest.raises(zenith.ConfigError, match=r"Resize behind shape has no native form for uint32 \[3\]"):
        zt.DataLoader(pictures, transform=[Wasm(wasm.SHAPE), v2.Resize(4)])


def test_one_python_operation_takes_everything_from_the_plugin_on_to_python(pictures):
    transform = [v2.Resize((8, 8)), v2.ToImage(), Wasm(wasm.ADD_ONE), v2.GaussianBlur(3, sigma=(1.0, 1.0))]
    loader = zt.DataLoader(pictures, 12, num_workers=0, transform=transform)
    inputs, _ = next(iter(loader))
    resized = next(iter(zt.DataLoader(pictures, 12, transform=transform[:2])))[0]
    expected = torch.stack(
        [transform[3](picture.int().add(1).clamp(max=255).to(torch.uint8)) for picture in resized]
    )
    assert torch.equal(inputs, expected)
    assert any("everything from plugin" in note for note in loader.report().notes)


def test_randomness_belongs_to_sample_epoch_and_seed():
    def bits(seed=0, epoch=0, workers=2, shuffle=False, plugins=1):
        loader = zt.DataLoader(
            rows(40), 8, shuffle, seed=seed, num_workers=workers, plugins=[Wasm(wasm.RANDOM)] * plugins
        )
        loader.set_epoch(epoch)
        found = {}
        for inputs, labels in loader:
            found |= dict(zip(labels.tolist(), (row.tobytes() for row in inputs.numpy()), strict=True))
        return found

    first = bits()
    assert len(set(first.values())) == 40
    assert first == bits(workers=0) == bits(shuffle=True)
    for other in (bits(seed=1), bits(epoch=1), bits(plugins=2)):
        assert not set(first.values()) & set(other.values())


def test_randomness_in_a_subset_is_that_of_the_whole(pictures):
    folder = ImageFolder(pictures, v2.Compose([v2.Resize((8, 8)), Wasm(wasm.RANDOM)]))
    whole = next(iter(zt.DataLoader(folder, 12)))[0]
    some = zt.DataLoader(Subset(folder, [7, 2]), 2)
    assert torch.equal(next(iter(some))[0], whole[[7, 2]]) and len(whole.unique(dim=0)) == 12
    assert any("ImageFolder is read natively" in note for note in some.notes)


# ---- the example plugins


def test_the_example_that_resizes_equals_the_native_resize(tmp_path):
    folder = write_folder(tmp_path / "pictures")
    for width, height in ((90, 70), (33, 64), (24, 24)):
        photograph("coffee", (width, height)).save(folder / "ant" / f"other-{width}.png")
    native = next(iter(zt.DataLoader(folder, 15, transform=v2.Resize((24, 32)))))[0]
    # The pictures have different sizes: only the plugin makes them one size.
    resize = Wasm(guest("image_resize"), "24x32")
    plugin = next(iter(zt.DataLoader(folder, 15, transform=[resize, v2.ToImage()])))[0]
    assert plugin.shape == native.shape and len(native) == 15
    assert (plugin.float() - native.float()).abs().mean() <= 1


def test_the_example_that_normalises_takes_whole_batches_of_rows():
    inputs = np.random.default_rng(1).integers(0, 256, (100, 3, 4, 5), dtype=np.uint8)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    plugin = Wasm(guest("normalize"), "mean=0.5,0.4,0.3; std=0.2,0.3,0.25")
    loader = zt.DataLoader(
        {"inputs": inputs, "label": np.arange(100)}, 50, True, num_workers=2, plugins=[plugin]
    )
    expected = v2.Normalize(mean, std)(torch.from_numpy(inputs) / 255)
    for given, labels in loader:
        assert given.dtype == torch.float32
        assert (given - expected[labels]).abs().max() < 1e-5
    assert not [fact for fact in loader.report().facts if "refused" in fact]


def test_the_example_that_filters_leaves_batches_full(pictures):
    means = next(iter(zt.DataLoader(pictures, 12, transform=v2.Resize((16, 16)))))[0].float().mean((1, 2, 3))
    # The six pictures of a class are one, turned by some pixels.
    threshold = float((means[0] + means[-1]) / 2)
    plugin = Wasm(guest("filter"), f"min_brightness={threshold}")
    loader = zt.DataLoader(pictures, 2, num_workers=2, transform=[v2.Resize((16, 16)), plugin, *FLOATS])
    batches = [inputs for inputs, _ in loader]
    assert [len(inputs) for inputs in batches] == [2, 2, 2]
    means = (torch.cat(batches) * 0.25 + 0.5).mean((1, 2, 3)) * 255
    assert means.min() >= threshold - 1


# ---- filters and splitters


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
@pytest.mark.parametrize("drop_last", [False, True])
def test_filters_leave_batches_full_and_the_order_the_same(workers, drop_last):
    loader = zt.DataLoader(
        rows(), 16, True, seed=3, num_workers=workers, drop_last=drop_last, plugins=[wasm.BELOW_100]
    )
    for epoch in range(2):
        plain = zt.DataLoader(rows(), 1, True, seed=3)
        plain.set_epoch(epoch)
        order = [int(label) for _, label in plain if int(label) < 100]
        found = seen(loader)
        sizes = [len(labels) for _, labels in found]
        assert sizes == [16] * (len(order) // 16) + ([len(order) % 16] if not drop_last else [])
        expected = order if not drop_last else order[: len(order) // 16 * 16]
        assert [label for _, labels in found for label in labels] == expected
        assert all(inputs == [[label, label + 1] for label in labels] for inputs, labels in found)


@pytest.mark.parametrize("workers", [0, 2])
def test_splitters_and_resume_behind_any_batch(workers):
    source, parts = pairs()
    options = {"shuffle": True, "seed": 4, "num_workers": workers, "plugins": [wasm.PAIRS]}
    loader = zt.DataLoader(source, 9, **options)
    found, states = [], [loader.state_dict()]
    for inputs, labels in loader:
        found.append((inputs.tolist(), labels.tolist()))
        states.append(json.loads(json.dumps(loader.state_dict())))
    order = [int(label) for _, label in zt.DataLoader(source, 1, True, seed=4)]
    expected = [[i, part] for i in order for part in range(parts[i])]
    assert [row for inputs, _ in found for row in inputs] == expected
    assert all([row[0] for row in inputs] == labels for inputs, labels in found)
    assert any("part" in state for state in states), "no batch ended inside of a sample"
    for at, state in enumerate(states[:-1]):
        again = zt.DataLoader(source, 9, **options)
        again.load_state_dict(state)
        assert seen(again) == found[at:]


def test_the_place_inside_of_a_sample_belongs_to_the_plugins_that_split_it(pictures):
    def loader(size=48, tile="16", plugin="tiles"):
        plugins = [Wasm(guest(plugin), tile)] if plugin else []
        return zt.DataLoader(pictures, 5, num_workers=0, transform=[v2.Resize((size, size))], plugins=plugins)

    batches = iter(whole := loader())
    next(batches)
    state = json.loads(json.dumps(whole.state_dict()))
    assert state["part"] == 5 and state["cursor"] == 0
    again = loader()
    again.load_state_dict(state)
    assert len(list(again)) == len(list(batches))
    others = {
        "configuration": loader(tile="8"),
        "module": loader(tile="16x16", plugin="image_resize"),
        "transform": loader(size=32),
        "none": loader(plugin=None),
    }
    for other in others.values():
        with pytest.raises(zenith.ResumeError, match="split sample: the plugins have changed") as raised:
            other.load_state_dict(state)
        assert "dataset" not in str(raised.value)
    # Between two samples it makes no difference how they are split.
    others["configuration"].load_state_dict({name: state[name] for name in state if name != "part"})


def test_a_filtered_loader_has_no_length_and_needs_one_rank(monkeypatch):
    loader = zt.DataLoader(rows(), 16, plugins=[wasm.BELOW_100])
    with pytest.raises(TypeError, match="plugin below_100 may drop or split"):
        len(loader)
    assert len(zt.DataLoader(rows(), 16, plugins=[wasm.ADD_ONE])) == 13
    with pytest.raises(zenith.ConfigError, match=r"2 ranks.*unequal"):
        zt.DataLoader(rows(), 16, rank=0, world_size=2, plugins=[wasm.BELOW_100])
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(zenith.ConfigError, match="4 ranks"):
        zt.DataLoader(rows(), 16, sampler=range(100), plugins=[wasm.BELOW_100])
    assert len(seen(zt.DataLoader(rows(), 50, rank=0, world_size=1, plugins=[wasm.BELOW_100]))) == 2
    monkeypatch.undo()
    with pytest.raises(zenith.ConfigError, match="batch_sampler"):
        zt.DataLoader(rows(), batch_sampler=[[1, 2], [3]], plugins=[wasm.BELOW_100])
    with pytest.raises(zenith.PluginError, match="samples that were tried are dropped"):
        zt.DataLoader({"inputs": np.full((50, 2), 200, np.uint8)}, plugins=[wasm.BELOW_100])
    listed = zt.DataLoader(rows(), 2, sampler=[120, 5, 130, 7, 3], plugins=[wasm.BELOW_100])
    assert [labels for _, labels in seen(listed)] == [[5, 7], [3]]


def test_a_filter_needs_the_native_road():
    with pytest.raises(zenith.ConfigError, match="made by Python"):
        zt.DataLoader(Numbers(), 4, plugins=[wasm.BELOW_100])
    with pytest.raises(zenith.ConfigError, match="runs in Python"):
        zt.DataLoader(rows(), 4, target_transform=lambda label: label, plugins=[wasm.BELOW_100])
    with pytest.raises(zenith.PluginError, match="drops this sample"):
        Wasm(wasm.BELOW_100)(np.array([100, 0], np.uint8))


# ---- errors


def test_errors_of_a_plugin_are_its_own():
    loader = zt.DataLoader(rows(10), 5, num_workers=1, plugins=[Wasm(wasm.NO_THREE)])
    batches = iter(loader)
    with pytest.raises(zenith.PluginError) as raised:
        next(batches)
    error = raised.value
    assert isinstance(error, zenith.ZenithError) and not isinstance(error, zenith.DecodeError)
    assert (error.plugin, error.sample) == ("plugin", 3) and "7" in error.reason
    assert str(error).count("plugin:") == 1
    assert next(batches)[1].tolist() == [0, 1, 2, 4]


def test_samples_that_a_plugin_refuses_can_be_skipped(tmp_path):
    path = tmp_path / "no_three.wasm"
    path.write_bytes(wasm.NO_THREE)
    loader = zt.DataLoader(rows(10), 5, on_error="skip", plugins=[path])
    assert [labels for _, labels in seen(loader)] == [[0, 1, 2, 4], [5, 6, 7, 8, 9]]
    report = loader.report()
    assert report.skipped_count == 1 and report.skipped[0][0] == 3
    assert report.skipped[0][1].startswith("no_three: ")


def test_a_skipped_sample_leaves_no_hole_behind_a_filter():
    loader = zt.DataLoader(rows(10), 3, on_error="skip", plugins=[wasm.NO_THREE, wasm.BELOW_100])
    assert [labels for _, labels in seen(loader)] == [[0, 1, 2], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize(
    ("plugin", "error", "text"),
    [
        ("nowhere.wasm", zenith.PluginError, "nowhere.wasm"),
        (b"\x00ELF", zenith.PluginError, "WebAssembly"),
        (wasm.module({"other": (0, 0, "const 1")}), zenith.PluginError, "process"),
        (3, zenith.ConfigError, "a plugin is a path"),
    ],
)
def test_what_is_no_plugin_is_refused(plugin, error, text):
    with pytest.raises(error, match=text) as raised:
        zt.DataLoader(rows(), plugins=[plugin])
    if plugin == "nowhere.wasm":
        assert raised.value.path == "nowhere.wasm" and raised.value.plugin == "nowhere"


def test_arguments_that_make_no_sense():
    with pytest.raises(zenith.ConfigError, match="brackets"):
        zt.DataLoader(rows(), plugins=wasm.ADD_ONE)
    with pytest.raises(zenith.ConfigError, match="no limit memory"):
        Wasm(wasm.ADD_ONE, memory=3)
    with pytest.raises(zenith.ConfigError, match="stack"):
        Wasm(wasm.ADD_ONE, stack=1)
    with pytest.raises(zenith.ConfigError, match="inputs"):
        source = {"a": np.zeros((4, 2), np.float32), "b": np.zeros((4, 3), np.uint8)}
        zt.DataLoader(source, label=False, plugins=[wasm.ADD_ONE])


# ---- Python's road


@pytest.mark.parametrize("workers", [0, 2])
def test_python_datasets_go_through_the_host_as_well(workers):
    loader = zt.DataLoader(Numbers(), 5, num_workers=workers, plugins=[wasm.ADD_ONE])
    inputs = torch.cat([inputs for inputs, _ in loader])
    assert inputs.tolist() == [[i + 1, i + 2] for i in range(20)]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_randomness_in_python_belongs_to_the_sample(workers):
    def bits(workers, epoch=0):
        loader = zt.DataLoader(Numbers(), 5, seed=2, num_workers=workers, plugins=[wasm.RANDOM])
        loader.set_epoch(epoch)
        return [row.numpy().tobytes() for inputs, _ in loader for row in inputs]

    assert bits(workers) == bits(0) and len(set(bits(0))) == 20
    assert bits(workers) != bits(workers, epoch=1)


def test_tensor_datasets_stay_native():
    data = TensorDataset(torch.arange(12, dtype=torch.uint8).reshape(6, 2), torch.arange(6))
    loader = zt.DataLoader(data, 4, plugins=[wasm.ADD_ONE])
    assert [inputs.tolist() for inputs, _ in loader] == [
        [[1, 2], [3, 4], [5, 6], [7, 8]],
        [[9, 10], [11, 12]],
    ]
    assert not any("slow path" in note for note in loader.report().notes)


def test_a_plugin_can_be_called_and_pickled():
    plugin = Wasm(wasm.ADD_ONE)
    assert (plugin.name, plugin.abi, plugin.yields) == ("plugin", 0, "one")
    assert plugin(b"\x01\xff") == b"\x02\xff" and plugin(bytearray(b"\x07")) == bytearray(b"\x08")
    assert plugin(b"") == b""
    given = torch.tensor([[1, 2], [254, 255]], dtype=torch.uint8)
    assert plugin(given).tolist() == [[2, 3], [255, 255]] and given[0, 0] == 1
    assert plugin(np.uint8([[1], [2]])[:, ::-1]).tolist() == [[2], [3]]
    again = pickle.loads(pickle.dumps(plugin))
    assert again(b"\x01") == b"\x02" and repr(again) == repr(plugin)
    with pytest.raises(TypeError, match="list"):
        plugin([1, 2])
    loader = pickle.loads(pickle.dumps(zt.DataLoader(rows(4), 4, plugins=[plugin])))
    assert next(iter(loader))[0][0].tolist() == [1, 2]


# ---- account


def test_the_report_tells_what_each_plugin_did():
    source, parts = pairs()
    loader = zt.DataLoader(source, 9, num_workers=1, plugins=[wasm.PAIRS, wasm.ADD_ONE])
    given = sum(len(labels) for _, labels in loader)
    assert given == parts.sum()
    report = loader.report()
    stages = {stage.name: stage for stage in report.stages}
    assert stages["plugin pairs"].seconds > 0 and stages["plugin plugin"].seconds > 0
    assert sum(stage.share for stage in report.stages) == pytest.approx(1)
    fact = report.facts["plugin pairs"]
    assert "samples" in fact and "dropped" in fact and "split" in fact
    # The next epoch may have begun.
    assert int(fact.split()[0].replace(",", "")) >= len(parts)
    assert "plugin pairs" in str(report)


def test_every_engine_of_a_loader_counts_into_one_account():
    loader = zt.DataLoader(rows(20), 5, num_workers=0, plugins=[wasm.BELOW_100])
    assert loader.report().facts["plugin below_100"].startswith("0 samples")
    for epochs in (1, 2):
        assert len(seen(loader)) == 4
        loader.close()
        assert loader.report().facts["plugin below_100"].startswith(f"{20 * epochs} samples")
    assert loader.report().samples == 40


# ---- with the other arguments


def test_channels_last_is_for_what_zenith_writes(pictures):
    behind = {"transform": [v2.Resize((8, 10)), Wasm(wasm.ADD_ONE), v2.ToImage()], "batch_size": 12}
    plain, last = (
        next(iter(zt.DataLoader(pictures, channels_last=wish, **behind)))[0] for wish in (False, True)
    )
    assert torch.equal(plain, last) and last.shape == (12, 3, 8, 10)
    assert last.is_contiguous(memory_format=torch.channels_last) and not last.is_contiguous()
    arrays, _ = next(iter(zenith.DataLoader(pictures, channels_last=True, **behind)))
    assert np.array_equal(arrays, last.permute(0, 2, 3, 1))
    for transform, plugins in (([v2.Resize(8), Wasm(wasm.ADD_ONE)], None), (v2.Resize(8), [wasm.ADD_ONE])):
        with pytest.raises(zenith.ConfigError, match=r"channels_last.*plugin plugin"):
            zt.DataLoader(pictures, transform=transform, plugins=plugins, channels_last=True)


def test_rows_that_go_through_plugins_only_stay_native():
    loader = zt.DataLoader(rows(8), 8, transform=[v2.Identity(), Wasm(wasm.ADD_ONE)])
    assert next(iter(loader))[0][0].tolist() == [1, 2]
    assert not any("Python" in note for note in loader.report().notes)
    mixed = zt.DataLoader(
        rows(8),
        8,
        num_workers=0,
        transform=[v2.ToDtype(torch.uint8), Wasm(wasm.ADD_ONE)],
        plugins=[wasm.ADD_ONE],
    )
    assert next(iter(mixed))[0][0].tolist() == [2, 3]
    assert any("the source holds no pictures" in note for note in mixed.report().notes)


def test_plugins_in_python_need_no_torch():
    code = "import sys, numpy as np, zenith\nfrom wasm_modules import ADD_ONE\n"
    code += "source = {'inputs': np.uint8([[1], [2]]), 'label': np.arange(2)}\n"
    code += "loader = zenith.DataLoader(source, 2, num_workers=0, target_transform=abs, plugins=[ADD_ONE])\n"
    code += "assert next(iter(loader))[0].tolist() == [[2], [3]] and 'torch' not in sys.modules"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_named_fields_and_python_do_not_go_together():
    source = {"inputs": np.zeros((4, 2), np.uint8), "other": np.zeros((4, 3), np.float32)}
    loader = zt.DataLoader(source, 4, label=False, plugins=[wasm.ADD_ONE])
    assert next(iter(loader))["inputs"].tolist() == [[1, 1]] * 4
    with pytest.raises(zenith.ConfigError, match='field "inputs"'):
        zt.DataLoader(source, 4, label=False, plugins=[wasm.ADD_ONE], collate_fn=list)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_splitters_place_is_kept_by_iterators_that_take_turns(workers):
    source, _ = pairs()
    options = {"shuffle": True, "seed": 4, "num_workers": workers, "plugins": [wasm.PAIRS]}
    found = seen(zt.DataLoader(source, 9, **options))
    loader = zt.DataLoader(source, 9, **options)
    first = iter(loader)
    taken = [next(first) for _ in range(3)]
    loader.set_epoch(0)
    second = iter(loader)
    both = [(next(second), next(first)) for _ in range(3)]
    assert seen([*taken, *(batch for _, batch in both)]) == found[:6]
    assert seen([batch for batch, _ in both]) == found[:3]
