"""Python behind a source that is streamed: the native order, the native budget, and a note where that costs workers."""

import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import zenith
import zenith.torch as zt
from PIL import Image
from zenith._sources import NativeSamples

ROWS, BLOCK = 800, 50
BUDGET = 16 * 200
"""Bytes of 200 rows (a float32 and an int64 each): windows of 100 rows, two row groups."""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A Parquet file of 16 row groups; row i holds i."""
    rows = np.arange(ROWS)
    file = tmp_path_factory.mktemp("streamed") / "t.parquet"
    columns = {"a": rows.astype(np.float32), "label": rows}
    pq.write_table(pa.table(columns), file, row_group_size=BLOCK)
    return file


@pytest.fixture(scope="module")
def column(tmp_path_factory):
    """A Parquet column of 48 small pictures of noise in 12 row groups, and the bytes that two of them take."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(48):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(out, "PNG")
        pictures.append(out.getvalue())
    file = tmp_path_factory.mktemp("streamed") / "p.parquet"
    pq.write_table(pa.table({"image": pictures, "label": np.arange(48)}), file, row_group_size=4)
    return file, 8 * max(map(len, pictures)) + 4096


def labels(loader):
    return [labels.tolist() for _, labels in loader]


def same(label):
    return label


def decoded(loader):
    """Blocks that this process decoded for a loader."""
    return int(loader.report().facts["blocks decoded"])


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_the_order_is_the_native_one_for_any_number_of_workers(table, workers):
    options = {"shuffle": True, "seed": 3, "memory_budget": BUDGET}
    native = zt.DataLoader(table, 10, num_workers=1, **options)
    with zt.DataLoader(table, 10, num_workers=workers, target_transform=same, **options) as python:
        for _ in range(2):
            order = labels(python)
            assert order == labels(native)
            assert sorted(sum(order, [])) == list(range(ROWS))


def test_a_state_of_one_road_fits_the_other_and_another_window_does_not(table):
    options = {"shuffle": True, "memory_budget": BUDGET, "num_workers": 0}
    native = zt.DataLoader(table, 10, **options)
    batches = iter(native)
    next(batches)
    state, rest = native.state_dict(), labels(batches)
    python = zt.DataLoader(table, 10, target_transform=same, **options)
    python.load_state_dict(state)
    assert labels(python) == rest
    other = zt.DataLoader(table, 10, target_transform=same, **options | {"memory_budget": 2 * BUDGET})
    with pytest.raises(zenith.ResumeError, match="windows"):
        other.load_state_dict(state)


@pytest.mark.parametrize("behind", [{"target_transform": same}, {"collate_fn": len}])
def test_no_row_group_is_decoded_twice(table, behind):
    loader = zt.DataLoader(table, 10, True, num_workers=0, memory_budget=BUDGET, **behind)
    assert len(list(loader)) == ROWS // 10
    assert decoded(loader) == ROWS // BLOCK


def test_a_column_of_pictures_keeps_its_windows(column):
    file, budget = column
    options = {"num_workers": 0, "memory_budget": budget}
    native = labels(zt.DataLoader(file, 4, True, **options))
    python = zt.DataLoader(file, 4, True, transform=lambda picture: torch.ones(1), **options)
    assert labels(python) == native
    assert decoded(python) <= 13, "the first picture was looked at, too"


def test_workers_share_the_budget_and_no_more_are_started_than_it_serves(table, tmp_path, monkeypatch):
    shares = tmp_path / "shares"
    shares.touch()

    def noted(self, readers):
        with shares.open("a") as file:
            file.write(f"{os.getpid()} {readers}\n")
        self._source.share(readers)

    monkeypatch.setattr(NativeSamples, "zenith_share", noted)
    options = {"shuffle": True, "target_transform": same}
    with zt.DataLoader(table, 10, num_workers=4, memory_budget=BUDGET, **options) as loader:
        assert sorted(sum(labels(loader), [])) == list(range(ROWS))
        report = loader.report()
        assert report.workers == 2
        assert any("2 of 4 workers are used" in note and "memory_budget" in note for note in report.notes)
        assert any("(process:" in note for note in report.notes), "and not one process more, inline"
    told = [line.split() for line in shares.read_text().splitlines()]
    assert len({process for process, _ in told}) == 2 and {readers for _, readers in told} == {"2"}
    # Where all rows are held, nothing is shared out.
    with zt.DataLoader(table, 10, num_workers=4, memory_budget=10**6, **options) as loader:
        list(loader)
        assert loader.report().workers == 4
        assert not any("workers are used" in note for note in loader.report().notes)


def test_an_order_that_the_row_groups_cannot_follow_is_noted_here_too(table):
    options = {"memory_budget": BUDGET, "target_transform": same}
    for sampler in (zenith.WeightedSampler(np.ones(ROWS)), [5, 700, 3]):
        loader = zt.DataLoader(table, 10, sampler=sampler, **options)
        assert any("row groups" in note for note in loader.notes)
    assert not any("nearly every row" in note for note in zt.DataLoader(table, 10, True, **options).notes)
