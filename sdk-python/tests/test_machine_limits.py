"""What environment and limits change: how files are read, how many workers there are, what a memory budget says."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zenith
from zenith import _core


def facts_of(loader):
    for _ in loader:
        pass
    return loader.report().to_dict()["facts"]


def test_the_environment_chooses_how_files_are_read(pictures, monkeypatch):
    monkeypatch.setenv("ZENITH_IO", "pread")
    assert facts_of(zenith.DataLoader(pictures, batch_size=4))["files read by"] == "pread"
    monkeypatch.setenv("ZENITH_IO", "aio")
    with pytest.raises(zenith.ConfigError, match="io_uring"):
        zenith.DataLoader(pictures, batch_size=4)


def test_workers_by_default_are_those_that_can_run_at_once(table, monkeypatch):
    assert 1 <= _core.processors() <= len(os.sched_getaffinity(0))
    assert zenith.DataLoader(table).num_workers == _core.processors()
    monkeypatch.setattr(_core, "processors", lambda: 3)
    assert zenith.DataLoader(table).num_workers == 3
    assert zenith.DataLoader(table, num_workers=5).num_workers == 5


def test_a_process_on_one_processor_has_one_worker():
    code = "import os, zenith; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    code += "print(zenith.DataLoader({'a': [1.0, 2.0]}).num_workers)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stdout.strip() == "1", run.stderr


def test_an_order_that_a_streamed_table_cannot_follow_cheaply_is_noted(tmp_path):
    file = tmp_path / "t.parquet"
    rows = np.arange(400)
    pq.write_table(pa.table({"a": rows * 1.0, "label": rows}), file, row_group_size=50)
    sampler = zenith.WeightedSampler(np.ones(400))
    streamed = zenith.DataLoader(file, batch_size=8, sampler=sampler, memory_budget=2000)
    assert any("row groups" in note for note in streamed.notes)
    assert any("row groups" in note for note in streamed.report().notes)
    for quiet in (
        zenith.DataLoader(file, batch_size=8, sampler=sampler),
        zenith.DataLoader(file, batch_size=8, shuffle=True, memory_budget=2000),
    ):
        assert not any("row groups" in note for note in quiet.notes)


def test_a_budget_says_what_it_does_not_count(table):
    rows = np.ones((100, 4), np.float32)
    facts = facts_of(zenith.DataLoader({"x": rows, "label": np.arange(100)}, batch_size=10, memory_budget=0))
    assert facts["rows held in memory"] == "0 bytes"
    assert "memory_budget does not count" in facts["rows in the caller's memory"]
    with pytest.raises(zenith.ConfigError, match="memory_budget=10"):
        zenith.DataLoader(table, memory_budget=10)


def test_an_array_that_is_cut_off_while_it_is_streamed_is_named(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((100_000, 4), np.float32))
    path = tmp_path / "x.npy"
    held = zenith.DataLoader(path, batch_size=1000)
    streamed = zenith.DataLoader(path, batch_size=1000, memory_budget=100_000)
    os.truncate(path, 1000)
    assert sum(len(batch) for batch in held) == 100_000
    with pytest.raises(zenith.ZenithError, match="shrank") as failed:
        for _ in streamed:
            pass
    assert failed.value.path == str(path)
