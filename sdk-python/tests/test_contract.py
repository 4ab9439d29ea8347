"""What users type: arguments, the sources it takes, the batches it gives."""

import inspect
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import torch
import zenith
import zenith.torch as zt
from torch.utils.data import IterableDataset, Subset, TensorDataset
from torchvision import datasets, transforms
from torchvision.transforms import v2

NAMED = {
    "num_workers": None,
    "pin_memory": False,
    "drop_last": False,
    "prefetch_factor": 2,
    "sampler": None,
    "batch_sampler": None,
    "collate_fn": None,
    "seed": 0,
    "transform": None,
    "target_transform": None,
    "columns": None,
    "label": None,
    "dtype": None,
    "rank": None,
    "world_size": None,
    "on_error": "raise",
    "memory_budget": None,
    "cache": None,
}


def rows(table):
    """What a loader over the four columns of ``table`` must give: inputs and labels."""
    columns = [table["a"], table["b"], table["c"]]
    return np.stack([column.astype(np.float32) for column in columns], 1), table["label"]


def assert_gives(loader, inputs, labels):
    got = list(loader)
    np.testing.assert_array_equal(np.concatenate([np.asarray(x) for x, _ in got]), inputs)
    np.testing.assert_array_equal(np.concatenate([np.asarray(y) for _, y in got]), labels)


@pytest.mark.parametrize("kind", [zenith.DataLoader, zt.DataLoader])
def test_names_and_defaults_are_those_that_scripts_use(kind):
    parameters = inspect.signature(kind).parameters
    assert list(parameters)[:3] == ["source", "batch_size", "shuffle"]
    assert (parameters["batch_size"].default, parameters["shuffle"].default) == (1, False)
    for name, default in NAMED.items():
        assert parameters[name].default == default, name
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY


def test_columns_become_inputs_and_labels(table):
    loader = zt.DataLoader(table, 8, num_workers=1)
    first = next(iter(loader))
    assert type(first) is tuple
    inputs, labels = first
    assert isinstance(inputs, torch.Tensor) and inputs.shape == (8, 3) and inputs.dtype == torch.float32
    assert labels.shape == (8,) and labels.dtype == torch.int64
    assert_gives(loader, *rows(table))
    assert [len(labels) for _, labels in loader] == [8] * 6 + [5]
    assert [len(y) for _, y in zt.DataLoader(table, 8, num_workers=1, drop_last=True)] == [8] * 6


def test_numpy_loader_gives_the_same_as_arrays(table):
    batches = list(zenith.DataLoader(table, 10, num_workers=1))
    assert all(type(part) is np.ndarray for batch in batches for part in batch)
    assert_gives(batches, *rows(table))


def test_columns_label_and_dtype_choose(table):
    inputs, labels = next(iter(zenith.DataLoader(table, 4, num_workers=0, columns=["c", "a"], label="b")))
    np.testing.assert_array_equal(inputs, np.stack([table["c"], table["a"]], 1)[:4])
    np.testing.assert_array_equal(labels, table["b"][:4])
    only = next(iter(zenith.DataLoader(table, 4, num_workers=0, columns=["a", "b"], label=False)))
    np.testing.assert_array_equal(only, np.stack([table["a"], table["b"]], 1)[:4])
    for dtype in ("float64", np.float64, torch.float64):
        inputs, _ = next(iter(zt.DataLoader(table, 4, num_workers=0, dtype=dtype)))
        assert inputs.dtype == torch.float64
    with pytest.raises(zenith.ConfigError, match="dtype"):
        zenith.DataLoader(table, dtype="floaty")
    with pytest.raises(zenith.ZenithError, match="nowhere"):
        zenith.DataLoader(table, label="nowhere")
    with pytest.raises(zenith.ZenithError, match="nowhere"):
        zenith.DataLoader(table, columns=["nowhere"])


def test_arrays_of_more_dimensions_come_as_a_dict():
    source = {
        "image": np.arange(48, dtype=np.uint8).reshape(4, 3, 4),
        "size": np.arange(4.0),
        "flag": np.arange(4) > 1,
    }
    batch = next(iter(zenith.DataLoader(source, 3, num_workers=0, label=False)))
    assert isinstance(batch, dict) and set(batch) == set(source)
    for name, column in source.items():
        np.testing.assert_array_equal(batch[name], column[:3])
        assert batch[name].dtype == column.dtype


def test_a_single_array_gives_single_tensors():
    array = np.arange(20, dtype=np.float32).reshape(10, 2)
    for source in (array, torch.from_numpy(array)):
        loader = zt.DataLoader(source, 4, num_workers=0, label=False)
        batches = list(loader)
        assert all(isinstance(batch, torch.Tensor) for batch in batches)
        np.testing.assert_array_equal(torch.cat(batches), array)
        assert not any("slow path" in note for note in loader.report().notes)


def test_strided_reversed_and_foreign_endian_arrays(table):
    base = np.arange(40, dtype=np.float32)
    for view in (base[::2], base[::-1], base.astype(">f4"), base.reshape(20, 2)[:, 1]):
        got = np.concatenate(list(zenith.DataLoader(view, 7, num_workers=0, label=False)))
        np.testing.assert_array_equal(got.ravel(), view)


def test_tensor_dataset_and_subset_are_read_natively():
    inputs, labels = torch.rand(30, 4), torch.arange(30)
    dataset = TensorDataset(inputs, labels)
    for source, chosen in (
        (dataset, range(30)),
        (Subset(Subset(dataset, range(3, 25)), [9, 0, 9, 4]), [12, 3, 12, 7]),
    ):
        loader = zt.DataLoader(source, 7, num_workers=1)
        assert_gives(loader, inputs[list(chosen)], labels[list(chosen)])
        assert any("natively" in note for note in loader.report().notes)
    for dtype in (torch.bfloat16, torch.complex64):
        odd = TensorDataset(inputs.to(dtype), labels)
        x, y = next(iter(zt.DataLoader(odd, 4, num_workers=0)))
        assert x.dtype == dtype and torch.equal(x, odd.tensors[0][:4]) and torch.equal(y, labels[:4])
    (_, last) = next(iter(zt.DataLoader(Subset(dataset, [-1, 0]), 2, num_workers=0)))
    assert last.tolist() == [29, 0]
    with pytest.raises(zenith.ConfigError, match="bfloat16"):
        zt.DataLoader({"x": inputs.to(torch.bfloat16)})
    three = next(iter(zt.DataLoader(TensorDataset(inputs, labels, labels * 2), 4, num_workers=0)))
    assert len(three) == 3 and torch.equal(three[2], torch.arange(4) * 2)
    (one,) = next(iter(zt.DataLoader(TensorDataset(inputs), 4, num_workers=0)))
    assert torch.equal(one, inputs[:4])


def test_files_of_every_kind_hold_the_same(table, tmp_path):
    arrow = pa.table(table)
    pq.write_table(arrow, tmp_path / "t.parquet", row_group_size=20)
    pa.feather.write_feather(arrow, tmp_path / "t.feather")
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, arrow.schema) as writer:
        writer.write_table(arrow, max_chunksize=17)
    pa.csv.write_csv(arrow, tmp_path / "t.csv")
    np.savez(tmp_path / "t.npz", **table)
    for name in ("t.parquet", "t.feather", "t.arrow", "t.csv", "t.npz"):
        for workers in (0, 2):
            assert_gives(zenith.DataLoader(tmp_path / name, 9, num_workers=workers), *rows(table))
    assert_gives(zenith.DataLoader(arrow, 9, num_workers=0), *rows(table))
    np.save(tmp_path / "t.npy", rows(table)[0])
    got = list(zenith.DataLoader(tmp_path / "t.npy", 9, num_workers=0, label=False))
    np.testing.assert_array_equal(np.concatenate(got), rows(table)[0])


def test_kinds_are_told_from_content_not_from_names(table, tmp_path):
    pq.write_table(pa.table(table), tmp_path / "table.csv")
    assert_gives(zenith.DataLoader(tmp_path / "table.csv", 9, num_workers=0), *rows(table))


def test_several_files_directories_and_globs(table, tmp_path):
    whole = pa.table(table)
    for i, (at, n) in enumerate(((0, 20), (20, 1), (21, 32))):
        pq.write_table(whole.slice(at, n), tmp_path / f"part-{i}.parquet")
    parts = sorted(str(path) for path in tmp_path.iterdir())
    for source in (tmp_path, str(tmp_path / "part-*.parquet"), parts, [Path(part) for part in parts]):
        assert_gives(zenith.DataLoader(source, 9, num_workers=1), *rows(table))


def test_list_columns_and_pictures_in_parquet(pictures, tmp_path):
    files = sorted(pictures.glob("*/*.jpg"))
    columns = {"image": [file.read_bytes() for file in files], "label": list(range(len(files)))}
    pq.write_table(pa.table(columns), tmp_path / "pictures.parquet")
    images, labels = next(iter(zenith.DataLoader(tmp_path / "pictures.parquet", 12, num_workers=1)))
    folder = next(iter(zenith.DataLoader(pictures, 12, num_workers=1)))[0]
    np.testing.assert_array_equal(images, folder)
    np.testing.assert_array_equal(labels, np.arange(12))
    tokens = pa.array([[i, i + 1, i + 2] for i in range(5)], pa.list_(pa.int32()))
    inputs, _ = next(
        iter(zenith.DataLoader(pa.table({"ids": tokens, "y": list(range(5))}), 5, num_workers=0))
    )
    assert inputs.shape == (5, 3) and inputs[4].tolist() == [4, 5, 6]


def test_class_folders_are_numbered_as_imagefolder_does(pictures):
    loader = zt.DataLoader(pictures, 5, num_workers=2)
    folder = datasets.ImageFolder(pictures)
    assert loader.classes == folder.classes == ["ant", "zebra"]
    batches = list(loader)
    assert torch.cat([labels for _, labels in batches]).tolist() == folder.targets
    inputs = torch.cat([inputs for inputs, _ in batches])
    assert inputs.dtype == torch.uint8 and inputs.shape == (12, 3, 48, 60)
    for i, (picture, _) in enumerate(folder):
        difference = np.abs(np.asarray(picture).transpose(2, 0, 1).astype(int) - inputs[i].numpy())
        assert difference.max() <= 4 and difference.mean() <= 1


def test_imagefolder_is_read_natively_with_the_same_samples(pictures):
    folder = datasets.ImageFolder(
        pictures, transforms.Compose([transforms.Resize(20), transforms.ToTensor()])
    )
    loader = zt.DataLoader(folder, 4, num_workers=1)
    for source, chosen in ((folder, range(12)), (Subset(folder, [7, 2, 2]), [7, 2, 2])):
        loader = zt.DataLoader(source, 4, num_workers=1)
        assert any("natively" in note for note in loader.report().notes)
        got = list(loader)
        inputs, labels = torch.cat([x for x, _ in got]), torch.cat([y for _, y in got])
        assert labels.tolist() == [folder.targets[i] for i in chosen]
        for i, row in zip(chosen, inputs, strict=True):
            assert (row - folder[i][0]).abs().max() <= 4 / 255
    assert zt.DataLoader(folder, num_workers=1).classes == ["ant", "zebra"]


def test_imagefolder_is_read_as_it_lists_its_samples(pictures):
    transform = transforms.Compose([transforms.Resize((20, 24)), transforms.ToTensor()])
    relabelled, reordered, other = (datasets.ImageFolder(pictures, transform) for _ in range(3))
    relabelled.samples = [(path, 7 - 3 * i) for i, (path, _) in enumerate(relabelled.samples)]
    reordered.samples.reverse()
    other.samples[5] = reordered.samples[0]
    for folder in (relabelled, reordered, other):
        loader = zt.DataLoader(folder, 5, num_workers=1)
        assert any("natively" in note for note in loader.report().notes)
        got = list(loader)
        assert torch.cat([y for _, y in got]).tolist() == [label for _, label in folder.samples]
        for row, (wanted, _) in zip(torch.cat([x for x, _ in got]), folder, strict=True):
            assert (row - wanted).abs().max() <= 4 / 255
    states = {zt.DataLoader(folder).state_dict()["fingerprint"] for folder in (relabelled, reordered, other)}
    assert len(states) == 3


def test_kinds_of_pictures_that_only_pillow_reads_are_left_to_it(tmp_path):
    from photographs import photograph, write_folder

    folder = write_folder(tmp_path / "mixed", per_class=2)
    photograph("coffee", (60, 48)).save(folder / "ant" / "old.bmp")
    dataset = datasets.ImageFolder(folder, transforms.ToTensor())
    inputs, labels = next(iter(zt.DataLoader(dataset, 5, num_workers=0)))
    assert labels.tolist() == [0, 0, 0, 1, 1] and torch.equal(inputs[2], dataset[2][0])


def test_pictures_of_unequal_size_show_the_line_to_add(pictures, tmp_path):
    from photographs import photograph, write_folder

    write_folder(tmp_path / "mixed", per_class=2)
    photograph("coffee", (40, 30)).save(tmp_path / "mixed/ant/odd.png")
    with pytest.raises(zenith.ZenithError, match=r"transform=.*(Resize|Crop)") as caught:
        list(zt.DataLoader(tmp_path / "mixed", 4, num_workers=1))
    assert caught.value.path is None or "mixed" in caught.value.path


class Rows:
    """Map-style, with class names."""

    classes = ("no", "yes")

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return float(index), index % 2


def test_classes_and_length_are_known_before_data(table):
    assert zt.DataLoader(Rows(), 2, num_workers=0).classes == ["no", "yes"]
    assert zt.DataLoader(table).classes is None
    for source, size in ((table, 53), (Rows(), 5)):
        for drop_last in (False, True):
            loader = zt.DataLoader(source, 2, num_workers=0, drop_last=drop_last)
            assert len(loader) == (size // 2 if drop_last else -(-size // 2)) == len(list(loader))
    assert len(zt.DataLoader(table, 5, num_workers=0, sampler=range(12))) == 3
    assert len(zt.DataLoader(table, num_workers=0, batch_sampler=[[1, 2], [3]])) == 2


class Stream(IterableDataset):
    def __iter__(self):
        yield from range(5)


def test_what_cannot_be_a_source_is_told(tmp_path):
    with pytest.raises(zenith.SourceError, match="IterableDataset"):
        zt.DataLoader(Stream())
    with pytest.raises(zenith.SourceError, match="map-style"):
        zt.DataLoader(object())
    with pytest.raises(zenith.ZenithError, match="nothing-here") as caught:
        zt.DataLoader(tmp_path / "nothing-here")
    assert caught.value.path == str(tmp_path / "nothing-here")
    with pytest.raises(zenith.ZenithError):
        zt.DataLoader(tmp_path)
    (tmp_path / "notes.txt").write_text("Dear diary")
    with pytest.raises(zenith.SourceError):
        zt.DataLoader(tmp_path)
    with pytest.raises(zenith.SourceError):
        zt.DataLoader(str(tmp_path / "*.parquet"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 0},
        {"batch_size": True},
        {"num_workers": -1},
        {"prefetch_factor": 0},
        {"on_error": "ignore"},
        {"cache": "everywhere"},
        {"rank": 0},
        {"rank": 2, "world_size": 2},
        {"shuffle": True, "sampler": [1]},
        {"batch_size": 2, "batch_sampler": [[1]]},
        {"batch_size": 2.0},
        {"sampler": zenith.WeightedSampler([1.0] * 52)},
        {"sampler": 7},
        {"sampler": [1], "rank": 0, "world_size": 2},
        {"batch_sampler": [[1]], "rank": 0, "world_size": 1},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": 0.5},
        {"rank": "0", "world_size": 2},
        {"rank": 0, "world_size": 2.0},
        {"rank": -1, "world_size": 2},
        {"memory_budget": -1},
        {"timeout": -1},
        {"timeout": 10**400},
        {"memory_budget": 2**64},
        {"columns": "a"},
        {"columns": ["a", 1]},
        {"label": 3},
        {"transform": 1},
        {"transform": [1]},
        {"transform": [abs, [None, 1]]},
        {"plugins": 1},
        {"target_transform": 1},
        {"collate_fn": []},
        {"worker_init_fn": "seed"},
        {"decode": "approximately"},
        {"decode": "fast"},
        {"channels_last": True},
        {"label": False, "target_transform": abs},
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(table, arguments):
    with pytest.raises(ValueError) as caught:
        zenith.DataLoader(table, **arguments)
    assert type(caught.value) is zenith.ConfigError
    message = str(caught.value)
    assert "line 1 column" not in message and any(name in message for name in [*arguments, "weights"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"columns": ["a"]},
        {"label": "y"},
        {"dtype": "float64"},
        {"cache": "memory"},
        {"memory_budget": 10**9},
        {"channels_last": True},
        {"decode": "fast"},
    ],
)
def test_arguments_without_a_meaning_for_the_source_are_refused(arguments, pictures):
    tensors = TensorDataset(torch.rand(4, 2), torch.arange(4))
    transform = transforms.Compose([transforms.Resize(20), transforms.ToTensor()])
    python_folder = datasets.ImageFolder(pictures, transforms.Lambda(lambda image: image.size))
    (name,) = arguments
    for source in (Rows(), tensors):
        with pytest.raises(zenith.ConfigError, match=name):
            zt.DataLoader(source, **arguments)
    if name in ("columns", "label", "dtype"):
        for source in (pictures, datasets.ImageFolder(pictures, transform)):
            with pytest.raises(zenith.ConfigError, match=name):
                zt.DataLoader(source, **arguments)
    if name == "channels_last":
        with pytest.raises(zenith.ConfigError, match=name):
            zt.DataLoader(python_folder, **arguments)


def test_arguments_that_change_nothing_are_noted(table, pictures):
    def notes(source, **arguments):
        return " ".join(zt.DataLoader(source, **arguments).notes)

    assert "worker_init_fn has no effect" in notes(table, worker_init_fn=print)
    assert "timeout has no effect" in notes(table, timeout=5)
    where_they_lie = {"inputs": np.ones((8, 3), np.float32), "label": np.arange(8)}
    assert "memory_budget has no effect" in notes(where_they_lie, memory_budget=100)
    assert "no effect" not in notes(table, memory_budget=10**6), "columns are laid out as rows, which counts"
    assert "memory_budget has no effect" in notes(pictures, memory_budget=10**6)
    for quiet in (notes(table), notes(Rows(), timeout=5, worker_init_fn=print, num_workers=0)):
        assert "no effect" not in quiet
    assert "no effect" not in notes(pictures, memory_budget=10**6, cache="memory")


def test_what_a_column_of_pictures_makes_of_cache_and_budget_is_noted(pictures, tmp_path):
    files = sorted(pictures.glob("*/*.jpg"))
    rows = pa.table({"image": [file.read_bytes() for file in files], "label": list(range(len(files)))})
    path = tmp_path / "pictures.parquet"
    pq.write_table(rows, path)

    def notes(source, **arguments):
        transform = transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])
        loader = zt.DataLoader(source, 4, num_workers=0, transform=transform, **arguments)
        list(loader)
        return [note for note in loader.report().notes if "no effect" in note]

    assert notes(path, memory_budget=10**8) == [], "its blocks are kept within it"
    [note] = notes(path, memory_budget=10**8, cache="memory")
    assert note.startswith('cache="memory" has no effect')
    [note] = notes(rows, memory_budget=10**8)
    assert note == "memory_budget has no effect: the source lies in memory already"


def test_numbers_of_numpy_are_numbers(table):
    loader = zenith.DataLoader(table, np.int64(4), np.True_, seed=np.uint8(3), num_workers=np.int8(0))
    plain = zenith.DataLoader(table, 4, True, seed=3, num_workers=0)
    for (_, ours), (_, theirs) in zip(loader, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(zenith.DataLoader(table, 4, None, num_workers=0)) == 14


def test_sources_that_contradict_themselves():
    with pytest.raises(zenith.ZenithError, match=r"rows|length"):
        zenith.DataLoader({"a": np.zeros(3), "b": np.zeros(4)})
    with pytest.raises(zenith.ConfigError, match="empty"):
        zenith.DataLoader({})
    with pytest.raises(zenith.ConfigError, match="single value"):
        zenith.DataLoader({"a": np.float32(1)})
    with pytest.raises(zenith.ConfigError, match="numbers"):
        zenith.DataLoader({"a": np.array(["x", "y"])})


def test_samplers_decide_the_order(table):
    order = [5, 0, 52, 5, 7]
    labels = table["label"]
    got = np.concatenate([y for _, y in zenith.DataLoader(table, 2, num_workers=1, sampler=order)])
    np.testing.assert_array_equal(got, labels[order])
    cut = [[1], [2, 3, 4, 5, 6], [], [0, 0]]
    batches = [y.tolist() for _, y in zenith.DataLoader(table, num_workers=1, batch_sampler=cut)]
    assert batches == [labels[part].tolist() for part in cut if part]
    with pytest.raises(zenith.ConfigError, match="53"):
        list(zenith.DataLoader(table, 2, num_workers=1, sampler=[1, 53]))


class Growing:
    """A batch_sampler whose batches are larger in each epoch."""

    def __init__(self):
        self.asked = 0

    def __iter__(self):
        self.asked += 1
        yield list(range(3 * self.asked))


def test_batches_may_grow_from_epoch_to_epoch(table):
    sampler = Growing()
    loader = zenith.DataLoader(table, num_workers=1, batch_sampler=sampler)
    for epoch in range(1, 4):
        ((_, labels),) = loader
        np.testing.assert_array_equal(labels, table["label"][: 3 * epoch])
    assert sampler.asked == 3


def test_weighted_sampling_follows_the_weights(table):
    weights = np.zeros(53)
    weights[[3, 40]] = 1, 3
    loader = zenith.DataLoader(table, 50, num_workers=1, sampler=zenith.WeightedSampler(weights, 2000))
    first = np.concatenate([x[:, 0] for x, _ in loader])
    second = np.concatenate([x[:, 0] for x, _ in loader])
    assert set(first) == {3, 40} and not np.array_equal(first, second)
    assert 0.7 < np.mean(first == 40) < 0.8
    for wrong in ([-1.0] * 53, [0.0] * 53, [float("nan")] * 53, [[1.0] * 53], ["a"] * 53, []):
        with pytest.raises(zenith.ConfigError, match="weight"):
            zenith.WeightedSampler(wrong)
    with pytest.raises(zenith.ConfigError, match="num_samples"):
        zenith.WeightedSampler([1.0], 0)


def endless(value):
    while True:
        yield value


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"sampler": endless(3)}, "sampler gave more"),
        ({"batch_sampler": endless([1, 2])}, "batch_sampler gave more"),
        ({"batch_sampler": endless([])}, "batch_sampler gave more"),
        ({"batch_sampler": [endless(1)]}, "batch_sampler gave more"),
        ({"sampler": [1, -1]}, "index -1"),
        ({"sampler": [2**64]}, "64 bits"),
    ],
)
def test_samplers_that_do_not_end_or_count_otherwise_are_refused(table, arguments, what, monkeypatch):
    monkeypatch.setattr("zenith._sampling.MOST_DRAWN", 5000)
    for source in (table, Rows()):
        with pytest.raises(zenith.ConfigError, match=what):
            iter(zenith.DataLoader(source, num_workers=0, **arguments))


def test_a_long_epoch_with_a_length_is_drawn(table, monkeypatch):
    monkeypatch.setattr("zenith._sampling.MOST_DRAWN", 50)
    for arguments in ({"sampler": [3] * 2000}, {"batch_sampler": [[3] * 20] * 100}):
        batches = zenith.DataLoader(table, num_workers=0, **arguments)
        assert sum(len(labels) for _, labels in batches) == 2000


def test_numbers_that_no_memory_holds_are_refused(pictures, table):
    transform = v2.Compose([v2.Resize((16, 16)), v2.ToImage()])
    with pytest.raises(zenith.ConfigError, match="larger than any memory"):
        next(iter(zt.DataLoader(pictures, 2**62, transform=transform)))
    with pytest.raises(zenith.ConfigError, match="larger than any memory"):
        next(iter(zt.DataLoader(table, 2**62)))
    with pytest.raises(zenith.ConfigError, match="at most 65536 batches can be made ahead"):
        next(iter(zt.DataLoader(table, 4, prefetch_factor=10**12)))
