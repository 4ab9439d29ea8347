"""Several iterators of one loader: none disturbs another, and the loader's place is that of the newest in use."""

import gc

import numpy as np
import pytest
import zenith
import zenith.torch as zt
from zenith import _core


class Rows:
    """(number, number), made by Python."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return float(index), index


def native():
    return {"x": np.arange(80, dtype=np.float32).reshape(40, 2), "label": np.arange(40)}


WAYS = {
    "native": (native(), {"num_workers": 2}),
    "native, inline": (native(), {"num_workers": 0}),
    "native, sampler": (native(), {"num_workers": 1, "sampler": list(range(39, -1, -1))}),
    "native, batch_sampler": (
        native(),
        {"num_workers": 1, "batch_size": 1, "batch_sampler": [[i, i + 1] for i in range(0, 40, 2)]},
    ),
    "processes": (Rows(), {"num_workers": 2}),
    "python, inline": (Rows(), {"num_workers": 0}),
    "python, sampler": (Rows(), {"num_workers": 0, "sampler": list(range(39, -1, -1))}),
}


def loader_of(way, **more):
    source, arguments = WAYS[way]
    return zenith.DataLoader(source, **{"batch_size": 8, **arguments, **more})


def labels(batches):
    return [y.tolist() for _, y in batches]


@pytest.mark.parametrize("way", WAYS)
def test_a_look_at_a_batch_does_not_disturb_the_loop(way):
    with loader_of(way) as loader:
        whole = labels(loader)
    with loader_of(way) as loader:
        seen = []
        for _, y in loader:
            seen.append(y.tolist())
            next(iter(loader))
        assert seen == whole
        assert sum(seen, []) and sorted(sum(seen, [])) == list(range(40))


@pytest.mark.parametrize("way", WAYS)
def test_iterators_that_take_turns_each_give_a_whole_epoch(way):
    shuffle = {} if "sampler" in way else {"shuffle": True}
    with loader_of(way, **shuffle) as loader:
        apart = [labels(loader), labels(loader)]
    with loader_of(way, **shuffle) as loader:
        together = list(zip(iter(loader), iter(loader), strict=True))
        assert [labels(side) for side in zip(*together, strict=True)] == apart
        notes = [note for note in loader.report().notes if "took turns" in note]
        assert len(notes) == ("native" in way)


@pytest.mark.parametrize("way", ["native", "processes", "python, inline"])
def test_the_place_is_that_of_the_newest_iterator_in_use(way):
    def place():
        state = loader.state_dict()
        return state["epoch"], state["cursor"]

    with loader_of(way) as loader:
        first = iter(loader)
        next(first), next(first)
        assert place() == (0, 16)
        second = iter(loader)
        assert place() == (1, 0)
        next(second)
        next(first)
        assert place() == (1, 8), "the older one does not overwrite the newer one's place"
        del second
        assert place() == (1, 8), "broken off here"
        next(first)
        assert place() == (0, 32), "it was only a look; this is the loop that goes on"
        assert len(list(first)) == 1
        assert place() == (2, 0), "where the next iteration begins"


class EachTimeAnother:
    """A sampler whose passes differ, and are the same in every run."""

    def __init__(self):
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        return iter(np.random.default_rng(self.passes).permutation(40).tolist())

    def __len__(self):
        return 40


@pytest.mark.parametrize("source", [native, Rows], ids=["native", "python"])
def test_a_look_with_another_order_does_not_spoil_the_state(source):
    with zenith.DataLoader(source(), 8, sampler=EachTimeAnother(), num_workers=0) as loader:
        loop = iter(loader)
        next(loop)
        look = iter(loader)
        next(look)
        del look
        next(loop)
        state = loader.state_dict()
        rest = labels(loop)
    assert (state["epoch"], state["cursor"]) == (0, 16)
    with zenith.DataLoader(source(), 8, sampler=EachTimeAnother(), num_workers=0) as loader:
        loader.load_state_dict(state)
        assert labels(loader) == rest


@pytest.mark.parametrize("way", ["native", "processes"])
def test_a_nested_loop_is_resumed_where_the_outer_one_stood(way):
    with loader_of(way) as loader:
        order = labels(loader)
    with loader_of(way) as loader:
        for number, _ in enumerate(loader):
            for _ in loader:
                pass
            if number == 2:
                break
            state = loader.state_dict()
        # Taken behind an inner loop and before the outer loop's next batch: the next whole epoch.
        assert state["cursor"] == 0
        outer = iter(loader)
        next(outer)
        assert len(list(loader)) == len(order)
        next(outer)
        again = loader_of(way)
        again.load_state_dict(loader.state_dict())
        assert labels(again) == labels(outer) == order[2:]
        again.close()


@pytest.mark.parametrize("way", WAYS)
def test_iterators_of_a_closed_loader_raise_one_class(way):
    loader = loader_of(way)
    ended = iter(loader)
    list(ended)
    batches = iter(loader)
    next(batches)
    loader.close()
    for _ in range(2):
        with pytest.raises(zenith.LoaderClosedError, match="closed"):
            next(batches)
    assert list(ended) == []
    assert issubclass(zenith.LoaderClosedError, (zenith.ZenithError, RuntimeError))
    assert len(list(loader)) == len(loader)
    with pytest.raises(zenith.LoaderClosedError):
        next(batches)
    loader.close()


class Growing:
    """A batch_sampler whose batches are larger in each epoch."""

    def __init__(self):
        self.asked = 0

    def __iter__(self):
        self.asked += 1
        size = 2 * self.asked
        return iter([list(range(at, at + size)) for at in range(0, 24, size)])


def test_an_older_iterator_goes_on_when_batches_grow():
    loader = zt.DataLoader(native(), num_workers=1, batch_sampler=Growing())
    old = iter(loader)
    next(old)
    new = iter(loader)
    assert [len(y) for _, y in new] == [4] * 6
    assert labels(old) == [[at, at + 1] for at in range(2, 24, 2)]
    report = loader.report()
    assert (report.batches, report.samples) == (18, 48)


def test_a_bad_sample_told_to_one_iterator_is_told_to_the_next(pictures, tmp_path):
    import shutil

    folder = shutil.copytree(pictures, tmp_path / "pictures")
    (folder / "ant" / "01.jpg").write_bytes(b"")
    loader = zt.DataLoader(folder, 3, num_workers=1)
    batches = iter(loader)
    with pytest.raises(zenith.DecodeError):
        next(batches)
    state = loader.state_dict()
    loader.load_state_dict(state)
    again = iter(loader)
    with pytest.raises(zenith.DecodeError):
        next(again)
    assert len(next(again)[0]) == 2


def test_the_track_forgets_what_was_cleared():
    track = _core.Track()
    old = track.begin((0, 0, 0))
    track.clear()
    track.reach(old, (0, 8, 0))
    track.end(old)
    assert track.place() is None
    new = track.begin((5, 0, 0))
    track.reach(old, (0, 16, 0))
    track.reach(new, (5, 8, 3))
    track.leave(old)
    assert track.place() == (5, 8, 3)
    track.end(new)
    assert track.place() is None


def test_collected_iterators_leave_the_track():
    loader = zenith.DataLoader(native(), 8, num_workers=0)
    first, ring = iter(loader), [iter(loader)]
    next(first), next(ring[0])
    ring.append(ring)
    del ring
    gc.collect()
    next(first)
    assert loader.state_dict()["cursor"] == 16
