"""What environment and limits change: how files are read, how many workers there are, what a memory budget says."""

import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zenith
from zenith import _core
from zenith._engines import _native_counters
from zenith._report import Report


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


def test_workers_beyond_the_processors_are_noted(table):
    processors = len(os.sched_getaffinity(0))
    loader = zenith.DataLoader(table, batch_size=8, num_workers=processors + 3)
    [note] = [note for note in loader.notes if "num_workers" in note]
    assert note.startswith(f"num_workers={processors + 3}: {processors} thread")
    assert loader.report().workers == processors
    for _ in loader:
        pass
    report = loader.report()
    assert report.workers == processors and report.notes.count(note) == 1
    assert not any("num_workers" in note for note in zenith.DataLoader(table, num_workers=processors).notes)


def test_what_memory_was_got_and_what_was_refused_is_said_in_words():
    rows = {"x": np.zeros((1 << 13, 128), np.float32), "label": np.arange(1 << 13)}
    loader = zenith.DataLoader(rows, batch_size=1 << 13, num_workers=1)  # slabs of 4 MiB and a little
    slabs = facts_of(loader)["slabs"]
    assert re.fullmatch(
        r"\d+ of \d+ bytes in [\w ]*pages( on node \d+)?, \d+ in use and \d+ free; used again \d+ times",
        slabs,
    )
    report = loader.report()
    refused = [note for note in report.notes if note.startswith("batches lie in")]
    assert len(refused) >= 1, "two of 2 MiB are too few for it, and a third would be wasted"
    assert all(note in str(report) for note in refused)
    small = zenith.DataLoader({"x": np.zeros(8), "label": np.arange(8)}, batch_size=4, num_workers=1)
    assert "ordinary pages" in facts_of(small)["slabs"]
    assert not any("pages" in note for note in small.report().notes), "nothing better was meant for them"


def test_a_source_says_how_it_is_read_in_its_notes(pictures, monkeypatch):
    class Meter:
        def counters(self):
            return {**of_loader.counters(), "notes": ["reading files: slowly", "and again: slowly"]}

        def skipped(self):
            return []

    monkeypatch.setenv("ZENITH_IO", "pread")
    loader = zenith.DataLoader(pictures, batch_size=4, num_workers=0)
    facts_of(loader)
    assert not any("reading files" in note for note in loader.report().notes), "as asked"
    of_loader = loader._engine._loader.meter()
    counted = _native_counters(Meter(), "")
    assert Report.of(counted, ["and again: slowly"]).notes == ["and again: slowly", "reading files: slowly"]


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
