"""Order, resume and ranks: pure functions of seed and epoch, exact to the sample."""

import io
import os
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import zenith
import zenith.torch as zt
from torch.utils.data import BatchSampler, Dataset, SequentialSampler
from torchvision.transforms import v2

AUGMENT = v2.Compose(
    [
        v2.RandomResizedCrop(16),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.3, 0.3, 0.3, 0.1),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
    ]
)


class Noisy(Dataset):
    """Samples that draw: from random, numpy and torch."""

    def __len__(self):
        return 30

    def __getitem__(self, index):
        return torch.rand(3) + random.random() + float(np.random.rand()), index


def flat(batches):
    """Batches as bytes: equal only bit for bit."""
    return [tuple(np.ascontiguousarray(part).tobytes() for part in batch) for batch in batches]


def epochs(loader, n=2):
    return [flat(loader) for _ in range(n)]


def ids(loader):
    return np.concatenate([np.asarray(batch[1]) for batch in loader]).tolist()


def tail(sample):
    return sample + torch.rand(1)


def numbered(rows=53):
    return {"x": np.arange(rows * 2, dtype=np.float32).reshape(rows, 2), "label": np.arange(rows)}


def kinds(pictures):
    """Every way that a loader can make batches: (source, arguments)."""
    weights = zenith.WeightedSampler(np.arange(53.0), 47)
    with_tail = v2.Compose([AUGMENT, v2.Lambda(tail)])
    return {
        "table": (numbered(), {"batch_size": 4, "shuffle": True}),
        "drop_last": (numbered(), {"batch_size": 4, "shuffle": True, "drop_last": True}),
        "pictures": (pictures, {"batch_size": 2, "shuffle": True, "transform": AUGMENT}),
        "python": (Noisy(), {"batch_size": 4, "shuffle": True}),
        "tail": (pictures, {"batch_size": 2, "shuffle": True, "transform": with_tail}),
        "sampler": (numbered(), {"batch_size": 4, "sampler": list(range(40, 3, -1))}),
        "batch_sampler": (
            numbered(),
            {"batch_sampler": BatchSampler(SequentialSampler(range(50)), 6, False)},
        ),
        "python batch_sampler": (Noisy(), {"batch_sampler": [[1, 2, 3], [4], [5, 6], [1, 1]]}),
        "weighted": (numbered(), {"batch_size": 4, "sampler": weights}),
        "python weighted": (Noisy(), {"batch_size": 4, "sampler": zenith.WeightedSampler(np.ones(30), 20)}),
    }


KINDS = list(kinds(None))


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_the_same_for_any_number_of_workers(kind, pictures):
    source, arguments = kinds(pictures)[kind]
    made = {}
    for workers in (0, 1, 2) if kind in ("python", "tail") or "python" in kind else (0, 1, 2, 8):
        with zt.DataLoader(source, num_workers=workers, seed=3, **arguments) as loader:
            made[workers] = epochs(loader)
    assert all(of == made[0] for of in made.values())
    if arguments.get("shuffle") or "weighted" in kind:
        assert made[0][0] != made[0][1]
        with zt.DataLoader(source, num_workers=1, seed=4, **arguments) as loader:
            assert flat(loader) != made[0][0]


def test_augmentation_is_of_the_epoch_and_the_sample_not_of_the_place(pictures):
    for transform in (AUGMENT, v2.Compose([AUGMENT, v2.Lambda(torch.Tensor.contiguous)])):
        by_sample = []
        for order in (list(range(12)), list(range(11, -1, -1))):
            with zt.DataLoader(pictures, 5, num_workers=1, sampler=order, transform=transform) as loader:
                once = []
                for _ in range(2):
                    rows = torch.cat([x for x, _ in loader])
                    once.append({i: rows[at] for at, i in enumerate(order)})
                by_sample.append(once)
        for i in range(12):
            first, second = by_sample[0][0][i], by_sample[0][1][i]
            assert torch.equal(first, by_sample[1][0][i]) and torch.equal(second, by_sample[1][1][i])
            assert not torch.equal(first, second)


def test_shuffled_epochs_are_permutations_and_set_epoch_chooses_one():
    loader = zt.DataLoader(numbered(), 8, True, num_workers=1, seed=11)
    order = [ids(loader) for _ in range(3)]
    assert all(sorted(epoch) == list(range(53)) for epoch in order)
    assert order[0] != order[1] != order[2]
    loader.set_epoch(1)
    assert ids(loader) == order[1] and ids(loader) == order[2]
    with pytest.raises(zenith.ConfigError):
        loader.set_epoch(-1)


def test_a_generator_seeds_as_its_seed_does():
    by_generator = zt.DataLoader(
        numbered(), 8, True, num_workers=0, generator=torch.Generator().manual_seed(7)
    )
    assert ids(by_generator) == ids(zt.DataLoader(numbered(), 8, True, num_workers=0, seed=7))


POINTS = 200


@pytest.mark.parametrize("kind", KINDS)
def test_resume_goes_on_as_if_nothing_had_happened(kind, pictures):
    source, arguments = kinds(pictures)[kind]
    made_by_python = "python" in kind or kind == "tail"
    run = []
    with zt.DataLoader(source, num_workers=1, **arguments) as whole:
        while sum(map(len, run)) + len(run) < POINTS:
            run.append(flat(whole))
        after = flat(whole)
    places = [(epoch, taken) for epoch, batches in enumerate(run) for taken in range(len(batches) + 1)]
    run.append(after)
    chance = random.Random(5)
    broken = zt.DataLoader(source, num_workers=0, **arguments)
    resumed = [
        zt.DataLoader(source, num_workers=n, **arguments) for n in ((0,) if made_by_python else (0, 2))
    ]
    for epoch, taken in chance.sample(places, POINTS):
        broken.set_epoch(epoch)
        batches = iter(broken)
        assert flat(next(batches) for _ in range(taken)) == run[epoch][:taken]
        state = broken.state_dict()
        loader = chance.choice(resumed)
        loader.load_state_dict(state)
        assert loader.state_dict() == state
        assert flat(loader) == run[epoch][taken:]
        assert flat(loader) == run[epoch + 1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_place_outlives_the_workers(kind, pictures):
    source, arguments = kinds(pictures)[kind]
    with zt.DataLoader(source, num_workers=1, **arguments) as whole:
        run = [flat(whole), flat(whole)]
    with zt.DataLoader(source, num_workers=1, **arguments) as broken:
        batches = iter(broken)
        first = flat([next(batches)])
        state = broken.state_dict()
        del batches
    assert broken.state_dict() == state
    with zt.DataLoader(source, num_workers=1, **arguments) as resumed:
        resumed.load_state_dict(state)
        assert first + flat(resumed) == run[0] and flat(resumed) == run[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_usual_loop_over_epochs_can_be_resumed(kind, pictures):
    source, arguments = kinds(pictures)[kind]
    with zt.DataLoader(source, num_workers=0, **arguments) as whole:
        run = [flat(whole) for _ in range(4)]
    with zt.DataLoader(source, num_workers=0, **arguments) as broken:
        broken.set_epoch(1)
        batches = iter(broken)
        seen = flat([next(batches), next(batches)])
        state = broken.state_dict()
    with zt.DataLoader(source, num_workers=0, **arguments) as loader:
        loader.load_state_dict(state)
        for epoch in range(state["epoch"], 4):
            loader.set_epoch(epoch)
            loader.set_epoch(epoch)
            seen += flat(loader)
        assert seen == [batch for epoch in run[1:] for batch in epoch]
        loader.load_state_dict(state)
        loader.set_epoch(3)
        assert flat(loader) == run[3], "another epoch than the state's begins at its beginning"
        loader.load_state_dict(state)
        assert flat(loader) == run[1][2:]
        loader.set_epoch(1)
        assert flat(loader) == run[1], "a place is taken up once"


def test_a_state_travels_in_a_checkpoint_and_in_a_pickle():
    loader = zt.DataLoader(numbered(), 8, True, num_workers=1)
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    file = io.BytesIO()
    torch.save({"model": torch.nn.Linear(2, 2).state_dict(), "nested": {"data": loader.state_dict()}}, file)
    rest = flat(batches)
    file.seek(0)
    state = torch.load(file, weights_only=True)["nested"]["data"]
    again = zt.DataLoader(numbered(), 8, True, num_workers=2)
    again.load_state_dict(state)
    assert flat(again) == rest


def test_a_loader_pickles_with_its_place():
    import pickle

    loader = zenith.DataLoader(numbered(), 8, True, num_workers=1)
    batches = iter(loader)
    next(batches)
    twin = pickle.loads(pickle.dumps(loader))
    assert flat(twin) == flat(batches)


def test_states_of_something_else_are_refused_with_the_reason(tmp_path):
    def state(source=None, **arguments):
        loader = zenith.DataLoader(
            numbered() if source is None else source, 8, True, num_workers=0, **arguments
        )
        next(iter(loader))
        return loader.state_dict()

    loader = zenith.DataLoader(numbered(), 8, True, num_workers=0)
    for broken, why in [
        (state(numbered(54)), "dataset has changed"),
        (state(seed=1), "seed"),
        ({**state(), "version": 99}, "version 99"),
        ({**state(), "shuffle": False}, "shuffle"),
        ({**state(), "cursor": "3"}, "cursor"),
        ({**state(), "version": 1}, "version 1"),
        ({"epoch": 1}, "not a loader's state"),
        (None, "not a loader's state"),
    ]:
        with pytest.raises(zenith.ResumeError, match=why):
            loader.load_state_dict(broken)
    loader.load_state_dict(state())
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": np.arange(9.0), "y": np.arange(9)}), file)
    before = state(file)
    pq.write_table(pa.table({"x": np.arange(9.0) + 1, "y": np.arange(9)}), file)
    # Both may have been written within one tick of the file system's clock.
    os.utime(file, (0, 0))
    with pytest.raises(zenith.ResumeError, match="changed"):
        zenith.DataLoader(file, 8, True, num_workers=0).load_state_dict(before)


def test_the_middle_of_another_order_is_no_place_to_resume(tmp_path):
    file = tmp_path / "t.parquet"
    rows = {"x": np.arange(4000.0), "y": np.arange(4000)}
    pq.write_table(pa.table(rows), file, row_group_size=250)
    weights = np.arange(1.0, 4001.0)
    weighted = zenith.WeightedSampler
    orders = {
        "as stored": {},
        "shuffled": {"shuffle": True},
        "window": {"shuffle": True, "memory_budget": 16_000},
        "other window": {"shuffle": True, "memory_budget": 20_000},
        "weighted": {"sampler": weighted(weights)},
        "other weights": {"sampler": weighted(weights[::-1])},
        "more draws": {"sampler": weighted(weights, 5000)},
        "sampler": {"sampler": range(4000)},
        "batch_sampler": {"batch_sampler": [list(range(i, i + 8)) for i in range(0, 4000, 8)]},
        "drop_last": {"drop_last": True},
    }

    def loader(how):
        size = {} if how == "batch_sampler" else {"batch_size": 8}
        return zenith.DataLoader(file, num_workers=0, **size, **orders[how])

    middle, beginning = {}, {}
    for how in orders:
        taken = loader(how)
        beginning[how] = taken.state_dict()
        next(iter(taken))
        middle[how] = taken.state_dict()
    for how in orders:
        for other, state in middle.items():
            if other == how:
                loader(how).load_state_dict(state)
                continue
            with pytest.raises(zenith.ResumeError, match=r"order|drop_last|shuffle"):
                loader(how).load_state_dict(state)
        for state in beginning.values():
            if state["shuffle"] == middle[how]["shuffle"]:
                loader(how).load_state_dict(state)


def test_a_resume_that_was_given_up_does_not_bind_the_sampler():
    loader = zenith.DataLoader(numbered(), 4, num_workers=0, sampler=Dice())
    next(iter(loader))
    loader.load_state_dict(loader.state_dict())
    loader.set_epoch(5)
    assert sum(len(labels) for _, labels in loader) == 20


class Dice:
    """A sampler that never repeats itself."""

    def __iter__(self):
        return iter(random.sample(range(53), 20))


def test_a_sampler_that_does_not_repeat_itself_cannot_be_resumed():
    loader = zenith.DataLoader(numbered(), 4, num_workers=0, sampler=Dice())
    next(iter(loader))
    again = zenith.DataLoader(numbered(), 4, num_workers=0, sampler=Dice())
    again.load_state_dict(loader.state_dict())
    with pytest.raises(zenith.ResumeError, match="sampler"):
        iter(again)


@pytest.mark.parametrize("python", [False, True])
def test_ranks_share_each_global_batch(python):
    class Rows(Dataset):
        def __len__(self):
            return 53

        def __getitem__(self, index):
            return float(index), index

    source = Rows() if python else numbered()
    alone = ids(zt.DataLoader(source, 12, True, num_workers=0))
    ranks = [
        [y.tolist() for _, y in zt.DataLoader(source, 4, True, num_workers=0, rank=rank, world_size=3)]
        for rank in range(3)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    together = [index for step in zip(*ranks, strict=True) for batch in step for index in batch]
    assert together[:48] == alone[:48]
    assert set(together) == set(range(53))


@pytest.mark.parametrize(("before", "after"), [(4, 3), (2, 5), (3, 1)])
@pytest.mark.parametrize("steps", [1, 3])
def test_another_number_of_ranks_loses_and_repeats_nothing(before, after, steps):
    source = numbered(240)

    def loader(rank, world):
        return zenith.DataLoader(source, 4, True, num_workers=0, rank=rank, world_size=world)

    seen, states = [], []
    for rank in range(before):
        one = loader(rank, before)
        batches = iter(one)
        for _ in range(steps):
            seen += next(batches)[1].tolist()
        states.append(one.state_dict())
    assert all(state == states[0] for state in states)
    for rank in range(after):
        one = loader(rank, after)
        one.load_state_dict(states[-1])
        seen += ids(one)
    assert sorted(set(seen)) == list(range(240))
    assert len(seen) - 240 < after * 4
    order = ids(zenith.DataLoader(source, 4, True, num_workers=0))
    assert set(order[: before * 4 * steps]) == set(seen[: before * 4 * steps])
