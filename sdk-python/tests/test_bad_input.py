"""Bad input: a named error or a counted skip, as asked; never a hang, never a wrong label."""

import os
import shutil
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zenith
import zenith.torch as zt
from torchvision.transforms import v2

TRANSFORM = v2.Compose([v2.Resize((16, 16)), v2.ToImage()])


def bomb(path):
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def truncated(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


BREAK = {
    "truncated": truncated,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("I am no picture, whatever my name says"),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
    "header only": lambda path: path.write_bytes(path.read_bytes()[:30]),
    "bomb": bomb,
}


@pytest.fixture
def folder(pictures, tmp_path):
    return shutil.copytree(pictures, tmp_path / "pictures")


@pytest.mark.parametrize("kind", BREAK)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_is_named_and_the_rest_follows(folder, kind, workers):
    bad = folder / "ant" / "04.jpg"
    BREAK[kind](bad)
    loader = zt.DataLoader(folder, 3, num_workers=workers, transform=TRANSFORM)
    for _ in range(2):
        batches, labels = iter(loader), []
        labels += next(batches)[1].tolist()
        with pytest.raises(zenith.DecodeError) as caught:
            next(batches)
        error = caught.value
        assert error.path == str(bad) and str(bad) in str(error)
        assert error.sample == 4 and error.reason
        for _, more in batches:
            labels += more.tolist()
        assert labels == [0] * 5 + [1] * 6
        state = loader.state_dict()
        assert (state["epoch"], state["cursor"]) in ((1, 0), (2, 0))


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_pictures_are_skipped_and_counted(folder, workers):
    bad = sorted(folder.glob("ant/*.jpg"))
    for path, kind in zip(bad[:5], BREAK, strict=False):
        BREAK[kind](path)
    loader = zt.DataLoader(folder, 3, num_workers=workers, transform=TRANSFORM, on_error="skip")
    labels = [label for _, part in loader for label in part.tolist()]
    assert labels == [0] + [1] * 6
    report = loader.report()
    assert report.skipped_count == 5 and [sample for sample, _ in report.skipped] == [0, 1, 2, 3, 4]
    for (_, reason), path in zip(report.skipped, bad, strict=False):
        assert str(path) in reason and len(reason) > len(str(path)) + 5
    assert "skipped" in str(report) and report.samples == 7


def test_every_sample_bad_ends_the_epoch(folder):
    for path in folder.glob("*/*.jpg"):
        path.write_bytes(b"")
    loader = zt.DataLoader(folder, 4, num_workers=2, transform=TRANSFORM, on_error="skip")
    assert list(loader) == []
    assert loader.report().skipped_count == 12


def test_links_to_nowhere_pipes_and_forbidden_names(folder):
    (folder / "ant" / "nowhere.jpg").symlink_to(folder / "gone.jpg")
    os.mkfifo(folder / "ant" / "pipe.jpg")
    (folder / "ant" / "folder.jpg").mkdir()
    loader = zt.DataLoader(folder, 5, num_workers=2, transform=TRANSFORM, on_error="skip")
    labels = [label for _, part in loader for label in part.tolist()]
    assert labels == [0] * 6 + [1] * 6
    bad = [str(folder / "ant" / name) for name in ("nowhere.jpg", "pipe.jpg")]
    assert [sample for sample, _ in loader.report().skipped] == [6, 7]
    assert all(
        reason.startswith(f"{path}: ") for path, (_, reason) in zip(bad, loader.report().skipped, strict=True)
    )
    strict = zt.DataLoader(folder, 1, num_workers=1, transform=TRANSFORM)
    errors, good = [], 0
    batches = iter(strict)
    while True:
        try:
            next(batches)
            good += 1
        except StopIteration:
            break
        except zenith.ZenithError as error:
            errors.append(error.path)
    assert good == 12 and errors == bad


def test_a_folder_that_changes_while_it_is_read(folder):
    loader = zt.DataLoader(folder, 1, num_workers=0, transform=TRANSFORM)
    batches = iter(loader)
    next(batches)
    (folder / "ant" / "03.jpg").unlink()
    (folder / "ant" / "04.jpg").write_bytes(b"replaced by nonsense")
    labels, errors = [0], []
    while True:
        try:
            labels += next(batches)[1].tolist()
        except StopIteration:
            break
        except zenith.ZenithError as error:
            errors.append(os.path.basename(error.path))
    assert errors == ["03.jpg", "04.jpg"] and labels == [0] * 4 + [1] * 6


def test_python_samples_over_a_bad_picture(folder):
    (folder / "zebra" / "02.jpg").write_bytes(b"")
    tail = v2.Compose([TRANSFORM, v2.Lambda(lambda x: x + 1)])
    for workers in (0, 2):
        with zt.DataLoader(folder, 4, num_workers=workers, transform=tail) as loader:
            batches = iter(loader)
            assert len(next(batches)[0]) == len(next(batches)[0]) == 4
            with pytest.raises(zenith.DecodeError) as caught:
                next(batches)
            assert caught.value.path == str(folder / "zebra" / "02.jpg")
            assert list(batches) == []
        with zt.DataLoader(folder, 4, num_workers=workers, transform=tail, on_error="skip") as loader:
            assert sum(len(y) for _, y in loader) == 11
            ((sample, reason),) = loader.report().skipped
            assert sample == 8 and "02.jpg" in reason


class Half:
    """A dataset of which a third of the samples are broken."""

    def __len__(self):
        return 9

    def __getitem__(self, index):
        if index % 3 == 1:
            raise KeyError(f"row {index} is gone")
        return float(index), index


@pytest.mark.parametrize("workers", [0, 2])
def test_a_users_own_exception_comes_back_as_itself(workers):
    with zt.DataLoader(Half(), 3, num_workers=workers) as loader:
        for _ in range(2):
            with pytest.raises(KeyError, match="row 1"):
                next(iter(loader))
    with zt.DataLoader(Half(), 3, num_workers=workers, on_error="skip") as loader:
        assert [y.tolist() for _, y in loader] == [[0, 2], [3, 5], [6, 8]]
        assert [sample for sample, _ in loader.report().skipped] == [1, 4, 7]


def parquet(path, rows=3000):
    columns = {"x": np.arange(rows, dtype=np.float64), "label": np.arange(rows)}
    pq.write_table(pa.table(columns), path, row_group_size=1000, compression="zstd", use_dictionary=False)
    return path


def corrupt(path, row_group):
    """Overwrites the middle of a column of one row group."""
    column = pq.ParquetFile(path).metadata.row_group(row_group).column(0)
    with path.open("r+b") as file:
        file.seek(column.data_page_offset + 40)
        file.write(b"\xff" * (column.total_compressed_size // 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_page_is_named_or_skipped(tmp_path, workers):
    path = parquet(tmp_path / "t.parquet")
    corrupt(path, 1)
    with pytest.raises(zenith.ZenithError) as caught:
        list(zenith.DataLoader(path, 500, num_workers=workers))
    assert caught.value.path == str(path)
    loader = zenith.DataLoader(path, 500, num_workers=workers, on_error="skip")
    labels = np.concatenate([y for _, y in loader])
    np.testing.assert_array_equal(labels, np.r_[0:1000, 2000:3000])
    assert loader.report().skipped_count == 1000


@pytest.mark.parametrize("ending", ["parquet", "feather", "npy", "npz", "csv"])
def test_broken_tables_are_source_errors(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    columns = {"x": np.arange(500.0), "label": np.arange(500)}
    if ending == "parquet":
        parquet(path)
    elif ending == "feather":
        import pyarrow.feather

        pyarrow.feather.write_feather(pa.table(columns), path)
    elif ending == "npy":
        np.save(path, columns["x"])
    elif ending == "npz":
        np.savez(path, **columns)
    else:
        path.write_text("x,label\n" + "1,2\n" * 40 + "3,4,5,6\n")
    if ending != "csv":
        truncated(path)
    with pytest.raises(zenith.ZenithError) as caught:
        list(zenith.DataLoader(path, 10, num_workers=1, label=False))
    assert caught.value.path == str(path)
    path.write_bytes(b"")
    with pytest.raises(zenith.ZenithError) as caught:
        list(zenith.DataLoader(path, 10, num_workers=1))
    assert caught.value.path == str(path)


def test_errors_survive_a_pickle():
    import pickle

    error = zenith.DecodeError("bad", path="/a", sample=3, offset=9, reason="why")
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.path, twin.sample, twin.offset, twin.reason, str(twin)) == ("/a", 3, 9, "why", "bad")
    for kind in (zenith.SourceError, zenith.ReadError, zenith.ConfigError, zenith.WorkerError):
        twin = pickle.loads(pickle.dumps(kind("text", path="/b")))
        assert type(twin) is kind and twin.path == "/b" and str(twin) == "text"
