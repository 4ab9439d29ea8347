"""What comes out: order, structure, dtypes, randomness; the same from every engine."""

import os
import random
import time

import numpy as np
import pytest
import torch
from datasets import (
    Batched,
    Mixed,
    PerBatchSize,
    Plain,
    Rarely,
    in_rows,
    join_with_noise,
    note_worker,
    shuffled,
)
from torch.utils.data import DataLoader
from zenith._pydata import PythonLoader


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            same(x, y)
    else:
        assert a == b


def run(dataset, batches, epochs=1, **how):
    with PythonLoader(dataset, batches, **how) as loader:
        return [batch for _ in range(epochs) for batch in loader], loader.stats()


def test_structure_is_that_of_default_collate():
    batches = in_rows(60, 16)
    dataset = Mixed()

    def frozen(i):
        torch.manual_seed(i)
        random.seed(i)
        np.random.seed(i)
        return Mixed.__getitem__(dataset, i)

    class Frozen(Mixed):
        def __getitem__(self, i):
            return frozen(i)

    theirs = list(DataLoader(Frozen(), batch_sampler=batches))
    for workers, kind in ((0, "inline"), (2, "process"), (2, "thread")):
        if kind == "thread":
            continue  # shares the generators that `frozen` seeds
        ours, stats = run(Frozen(), batches, num_workers=workers, worker=kind)
        assert stats["worker"] == kind and stats["general_batches"] == 0
        same(ours, theirs)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_randomness_does_not_depend_on_workers(workers):
    inline, _ = run(Mixed(), shuffled(60, 7), epochs=2, num_workers=0, seed=3)
    ours, stats = run(Mixed(), shuffled(60, 7), epochs=2, num_workers=workers, worker="process", seed=3)
    assert stats["uses_random"] is True
    same(ours, inline)
    other, _ = run(Mixed(), shuffled(60, 7), epochs=1, num_workers=0, seed=4)
    assert not torch.equal(other[0]["image"], inline[0]["image"])
    second = {int(i): x for b in inline[9:] for i, x in zip(b["tuple"][2], b["pair"].image)}
    first = {int(i): x for b in inline[:9] for i, x in zip(b["tuple"][2], b["pair"].image)}
    assert all(first[i] != second[i] for i in first)


def test_late_use_of_a_generator_is_noticed():
    results = [
        run(Rarely(), in_rows(40, 4), num_workers=n, worker=w, seed=9)[0]
        for n, w in ((0, "inline"), (1, "process"), (3, "process"))
    ]
    assert results[0][-1][0][-1, 0] != 39.0
    same(results[0], results[1])
    same(results[0], results[2])


def test_the_callers_own_randomness_is_left_alone():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    expected = (torch.rand(1).item(), random.random(), np.random.rand())
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    run(Mixed(20), in_rows(20, 5), num_workers=0)
    run(Rarely(), in_rows(40, 4), num_workers=0)
    run(Plain(), in_rows(40, 8), num_workers=0, collate_fn=join_with_noise)
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected


def test_collate_fn_runs_in_the_worker_with_the_batchs_randomness():
    how = {"collate_fn": join_with_noise, "seed": 2}
    inline, _ = run(Plain(), in_rows(40, 8), num_workers=0, **how)
    ours, stats = run(Plain(), in_rows(40, 8), num_workers=3, worker="process", **how)
    assert stats["general_batches"] == 5
    same(ours, inline)
    assert ours[0]["r"] != ours[1]["r"]


def test_numpy_needs_no_torch_types():
    class Arrays(Plain):
        def __getitem__(self, i):
            return {"x": np.full((2, 3), i, np.float32), "y": i, "z": float(i), "s": "a"}

    inline, _ = run(Arrays(), in_rows(10, 4), num_workers=0, array_module="numpy")
    ours, _ = run(Arrays(), in_rows(10, 4), num_workers=2, worker="process", array_module="numpy")
    same(ours, inline)
    assert (
        ours[0]["x"].dtype == np.float32
        and ours[0]["y"].dtype == np.int64
        and ours[0]["z"].dtype == np.float64
    )


def test_batches_of_different_shapes_need_no_second_try():
    batches = [[(i, 4 + at) for i in range(8)] for at in range(6)]
    ours, stats = run(PerBatchSize(), batches, num_workers=2, worker="process")
    assert stats["general_batches"] == 0
    assert [b[0].shape for b in ours] == [(8, 4 + at) for at in range(6)]


def test_getitems_is_called_once_a_batch():
    dataset = Batched()
    inline, _ = run(dataset, in_rows(40, 8), num_workers=0)
    assert dataset.calls == 5
    ours, _ = run(Batched(), in_rows(40, 8), num_workers=2, worker="process")
    same(ours, inline)


def test_worker_init_fn_sees_torchs_worker_info():
    ours, _ = run(Plain(), in_rows(16, 8), num_workers=2, worker_init_fn=note_worker)
    assert ours[0][0].shape == (8, 102)


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_long_batches_of_text_arrive_whole(kind):
    class Text(Plain):
        def __getitem__(self, i):
            return "x" * 5000 + str(i), b"y" * i

    ours, _ = run(Text(), in_rows(40, 20), num_workers=2, worker=kind)
    assert ours[1][0] == tuple("x" * 5000 + str(i) for i in range(20, 40))
    long_index = [[("key" * 20_000, i) for i in range(3)]]

    class Keyed(Plain):
        def __getitem__(self, key):
            return len(key[0]) + key[1]

    keyed, _ = run(Keyed(), long_index, num_workers=2, worker=kind)
    assert keyed[0].tolist() == [60_000, 60_001, 60_002]


def test_large_parts_are_not_copied_and_small_ones_do_not_hold_them():
    class Wide(Plain):
        def __getitem__(self, i):
            return torch.full((200_000,), float(i)), i

    with PythonLoader(Wide(), in_rows(40, 4), num_workers=2, worker="process") as loader:
        labels = [batch[1] for batch in loader]
        pool = loader._core.engine
        assert pool._slabs.live() == 0 and pool._slabs._next < 12
        held = [batch[0] for batch in loader.iter(5)]
        assert pool._slabs.live() == 10
    assert torch.equal(torch.cat(labels), torch.arange(40))
    assert [float(x[0, 0]) for x in held] == [float(4 * i) for i in range(10)]  # still there after the end


def test_memory_does_not_grow_over_epochs():
    with PythonLoader(Plain(size=50_000), in_rows(40, 4), num_workers=2, worker="process") as loader:
        for _ in range(2):
            for _batch in loader:
                pass
        slabs = loader._core.engine._slabs._next
        for _ in range(4):
            for _batch in loader:
                pass
        assert loader._core.engine._slabs._next == slabs < 12
        del _batch


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(method):
    ours, _ = run(Plain(), in_rows(16, 8), num_workers=1, worker="process", start_method=method)
    assert ours[1][1].tolist() == list(range(8, 16))
    if method == "forkserver":
        from multiprocessing import forkserver, resource_tracker

        forkserver._forkserver._stop()
    else:
        from multiprocessing import resource_tracker
    resource_tracker._resource_tracker._stop()


def test_trivial_samples_go_inline_and_the_report_says_why(monkeypatch):
    # Whatever the machine takes for a sample is little.
    monkeypatch.setattr("zenith._pydata.loader.INLINE_SAMPLE_NS", 10**12)
    monkeypatch.setattr("zenith._pydata.loader.INLINE_BATCH_NS", 10**12)

    class Row(Plain):
        def __getitem__(self, i):
            return self.table[i], i

    dataset = Row(400)
    dataset.table = torch.arange(400.0)
    ours, stats = run(dataset, in_rows(400, 8), epochs=3, num_workers=2)
    assert stats["worker"] == "inline" and "less than workers cost" in stats["why"]
    assert torch.equal(torch.cat([b[1] for b in ours]), torch.arange(400).repeat(3))


class Turning(Plain):
    """Samples say which process made them; some take long."""

    def __init__(self, n, slow):
        super().__init__(n)
        self.slow = slow

    def __getitem__(self, i):
        if i in self.slow:
            time.sleep(0.004)
        return os.getpid()


def made_by_caller(dataset, batches, **how):
    ours, stats = run(dataset, batches, num_workers=2, **how)
    return [int((batch == os.getpid()).sum()) for batch in ours], stats


def test_a_few_cheap_samples_do_not_move_the_work_to_the_caller():
    made, stats = made_by_caller(Turning(160, range(32, 160)), in_rows(160, 16))
    assert made == [0] * 10 and stats["worker"] == "process"


def test_samples_that_become_slow_go_back_to_the_workers(monkeypatch):
    # Between what a busy machine takes for a cheap sample, and a slow one.
    monkeypatch.setattr("zenith._pydata.loader.INLINE_SAMPLE_NS", 2_000_000)
    monkeypatch.setattr("zenith._pydata.loader.INLINE_BATCH_NS", 10_000_000)
    made, stats = made_by_caller(Turning(600, range(400, 600)), in_rows(600, 8))
    assert sum(made[:50]) > 0, "cheap samples are made by the caller"
    assert sum(made[50:]) <= 16 and stats["worker"] == "process"
    assert "ms of the caller's time" in stats["why"]


def test_two_passes_at_once():
    with PythonLoader(Plain(), in_rows(40, 8), num_workers=2, worker="process") as loader:
        for (_, a), (_, b) in zip(loader.iter(0), loader.iter(0)):
            assert a.tolist() == b.tolist()


def test_resume_in_mid_epoch_and_read_ahead():
    batches = shuffled(40, 8)
    with PythonLoader(Plain(), batches, num_workers=2, worker="process") as loader:
        whole = [b[1].tolist() for b in loader.iter(3)]
        assert loader._core.ahead is not None and loader._core.ahead.epoch == 4
        rest = [b[1].tolist() for b in loader.iter(3, list(batches(3))[2:])]
        assert rest == whole[2:] == list(batches(3))[2:]
        again = loader.iter()
        assert again.epoch == 4 and [b[1].tolist() for b in again] == list(batches(4)) and again.position == 5
