"""Batches for a CUDA device: the order of copies, marks and waits, and what is said where there is no device.

There is no GPU here. ``RecordedCuda`` stands in for the part of ``torch.cuda`` that is used: its streams and events run
nothing and write down what was asked of them, and its events are reached when a test says so.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
import zenith
import zenith.torch as zt
from zenith import _core
from zenith._device import AHEAD, Copies, DeviceBatches
from zenith._engines import DeviceWanted
from zenith._order import Place


class RecordedCuda:
    """Writes down what is asked of streams and events, in order."""

    def __init__(self) -> None:
        self.log: list[tuple] = []
        self.streams: list[RecordedStream] = []
        self.consumer = RecordedStream(self, "consumer")
        self.current = self.consumer
        self.events: list[RecordedEvent] = []

    def Stream(self, device):
        stream = RecordedStream(self, f"copies{len(self.streams)}")
        self.streams.append(stream)
        return stream

    def Event(self):
        event = RecordedEvent(self, len(self.events))
        self.events.append(event)
        return event

    def current_stream(self, device):
        return self.current

    def stream(self, stream):
        cuda = self

        class Within:
            def __enter__(self):
                cuda.current = stream

            def __exit__(self, *exception):
                cuda.current = cuda.consumer

        return Within()


class RecordedStream:
    def __init__(self, cuda, name) -> None:
        self.cuda, self.name = cuda, name

    def wait_event(self, event) -> None:
        self.cuda.log.append(("wait", self.name, event.number))


class RecordedEvent:
    def __init__(self, cuda, number) -> None:
        self.cuda, self.number, self.reached = cuda, number, False

    def record(self, stream) -> None:
        self.cuda.log.append(("mark", stream.name, self.number))

    def query(self) -> bool:
        return self.reached

    def synchronize(self) -> None:
        self.cuda.log.append(("finish", self.number))
        self.reached = True


class RecordedTensor(torch.Tensor):
    """A tensor whose way to a device is written down; the bytes are copied then and there."""

    cuda: RecordedCuda

    @staticmethod
    def of(cuda, tensor):
        made = torch.Tensor._make_subclass(RecordedTensor, tensor)
        made.cuda = cuda
        return made

    def to(self, *args, **kwargs):
        if args and isinstance(args[0], torch.device):
            assert kwargs == {"non_blocking": True}
            self.cuda.log.append(("copy", self.cuda.current.name))
            return RecordedTensor.of(self.cuda, self.clone())
        return RecordedTensor.of(self.cuda, super().to(*args, **kwargs))

    def record_stream(self, stream) -> None:
        self.cuda.log.append(("used by", stream.name))


class Host:
    """Batches in host memory, with a place behind each."""

    def __init__(self, cuda, items) -> None:
        self._items = iter(items)
        self._cuda = cuda
        self.taken = 0

    @property
    def place(self):
        return (0, self.taken, 0)

    def __iter__(self):
        return self

    def __next__(self):
        item = next(self._items)
        self.taken += 1
        if isinstance(item, Exception):
            raise item
        return (RecordedTensor.of(self._cuda, torch.full((2,), float(item))), ["a name", item])


DEVICE = torch.device("cpu")


def on_device(cuda, items, normalize=None):
    host = Host(cuda, items)
    track = _core.Track()
    copies = Copies(DEVICE, normalize, cuda)
    return host, track, DeviceBatches(host, track, Place(0, 0), copies)


def test_batches_are_copied_one_ahead_on_their_own_stream_and_used_behind_their_copies():
    cuda = RecordedCuda()
    host, _, batches = on_device(cuda, [1, 2, 3])
    tensor, rest = next(batches)
    assert (tensor.tolist(), rest) == ([1.0, 1.0], ["a name", 1])
    assert host.taken == AHEAD == 2
    assert cuda.log == [
        ("copy", "copies0"),
        ("mark", "copies0", 0),
        ("copy", "copies0"),
        ("mark", "copies0", 1),
        ("wait", "consumer", 0),
        ("used by", "consumer"),
    ]
    cuda.log.clear()
    assert next(batches)[1][1] == 2
    # The third was asked for before the second was handed over.
    assert cuda.log == [
        ("copy", "copies0"),
        ("mark", "copies0", 2),
        ("wait", "consumer", 1),
        ("used by", "consumer"),
    ]
    assert [rest[1] for _, rest in batches] == [3]


def test_host_memory_is_kept_until_the_device_has_read_it():
    import weakref

    cuda = RecordedCuda()
    kept = []

    class Watched(Host):
        def __next__(self):
            batch = super().__next__()
            kept.append(weakref.ref(batch[0]))
            return batch

    batches = DeviceBatches(Watched(cuda, range(9)), _core.Track(), Place(0, 0), Copies(DEVICE, None, cuda))
    next(batches)
    gc.collect()
    assert kept[0]() is not None, "the event of its copy was not reached"
    cuda.events[0].reached = True
    next(batches)
    gc.collect()
    assert kept[0]() is None
    # A device that never comes to its copies is waited for, rather than more and more memory kept.
    for _ in range(4):
        next(batches)
    gc.collect()
    assert sum(reference() is not None for reference in kept) <= 2 * AHEAD
    assert ("finish", 1) in cuda.log


def test_leaving_early_waits_for_the_copies_that_still_read_host_memory():
    cuda = RecordedCuda()
    _, track, batches = on_device(cuda, range(9))
    next(batches)
    cuda.log.clear()
    del batches
    gc.collect()
    assert cuda.log == [("finish", 0), ("finish", 1)]
    assert track.place() == (0, 1, 0), "the place stays that of the batch handed out"


def test_the_place_is_that_of_the_batch_handed_out_not_of_what_is_ahead():
    cuda = RecordedCuda()
    host, track, batches = on_device(cuda, range(5))
    assert track.place() == (0, 0, 0)
    for given in range(1, 6):
        next(batches)
        assert track.place() == (0, given, 0)
        assert host.taken == min(given + 1, 5)
    with pytest.raises(StopIteration):
        next(batches)
    assert track.place() is None


def test_errors_come_in_their_turn_and_what_follows_comes_too():
    cuda = RecordedCuda()
    bad = zenith.DecodeError("bad", sample=2)
    _, track, batches = on_device(cuda, [1, bad, 3])
    assert next(batches)[1][1] == 1
    with pytest.raises(zenith.DecodeError, match="bad"):
        next(batches)
    assert track.place() == (0, 2, 0)
    assert next(batches)[1][1] == 3
    assert list(batches) == []


def test_uint8_pictures_are_normalised_behind_their_copy():
    cuda = RecordedCuda()
    pictures = torch.randint(0, 256, (4, 3, 5, 7), dtype=torch.uint8)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    copies = Copies(DEVICE, (mean, std), cuda)
    copied = copies.begin((RecordedTensor.of(cuda, pictures), torch.arange(4)), Place(0, 4))
    inputs, labels = copied.batch
    shape = (1, 3, 1, 1)
    expected = (pictures.float() / 255 - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    torch.testing.assert_close(torch.as_tensor(inputs).as_subclass(torch.Tensor), expected)
    assert labels.tolist() == [0, 1, 2, 3]
    assert cuda.log[-1] == ("mark", "copies0", 0), "the mark is behind all of it"
    with pytest.raises(TypeError, match="PILToTensor"):
        copies.begin((torch.zeros(4, 3, 5, 7), torch.arange(4)), Place(0, 8))


def test_dictionaries_and_named_tuples_keep_their_form():
    from typing import NamedTuple

    class Pair(NamedTuple):
        x: torch.Tensor
        y: dict

    cuda = RecordedCuda()
    copies = Copies(DEVICE, None, cuda)
    given = Pair(
        RecordedTensor.of(cuda, torch.ones(2)), {"z": [RecordedTensor.of(cuda, torch.zeros(1)), "s"]}
    )
    batch = copies.hand_over(copies.begin(given, Place(0, 0)))
    assert type(batch) is Pair and list(batch.y) == ["z"] and batch.y["z"][1] == "s"
    assert [entry for entry in cuda.log if entry[0] == "copy"] == [("copy", "copies0")] * 2


class Recorded(zt.DataLoader):
    """A loader whose device is the recorded one."""

    @staticmethod
    def _checked_device(device, normalize):
        from functools import partial

        cuda = RecordedCuda()
        wanted = partial(DeviceBatches, copies=PlainCopies(DEVICE, None, cuda))
        return DeviceWanted(0, lambda: wanted)


class PlainCopies(Copies):
    """Copies of plain tensors, which on the processor know no streams."""

    def hand_over(self, copied):
        return copied.batch


@pytest.mark.parametrize("batches_before", [0, 1, 3])
@pytest.mark.parametrize("python", [False, True])
def test_a_state_taken_while_a_batch_is_ahead_resumes_exactly(batches_before, python):
    rows = {"x": np.arange(40, dtype=np.float32), "label": np.arange(40)}
    source = [(float(i), i) for i in range(40)] if python else rows

    def make():
        collate = (lambda samples: torch.tensor([label for _, label in samples])) if python else None
        return Recorded(source, 8, shuffle=True, num_workers=0, seed=3, collate_fn=collate)

    def labels(batch):
        return (batch if python else batch[1]).tolist()

    whole = [labels(batch) for batch in make()]
    loader = make()
    batches = iter(loader)
    given = [labels(next(batches)) for _ in range(batches_before)]
    state = loader.state_dict()
    again = make()
    again.load_state_dict(state)
    assert given + [labels(batch) for batch in again] == whole


def test_the_report_says_that_batches_are_pageable_where_memory_cannot_be_locked():
    loader = Recorded({"x": np.arange(8), "label": np.arange(8)}, 4, num_workers=0)
    assert len(list(loader)) == 2
    # There is no driver here, so the slabs are ordinary memory, and that is said with the cause.
    [note] = [note for note in loader.report().notes if "page-locked" in note]
    assert "CUDA driver" in note


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_without_cuda_the_device_is_an_error_that_says_so(device):
    with pytest.raises(zenith.ConfigError, match=r"without CUDA|no CUDA device"):
        zt.DataLoader({"x": np.arange(4)}, 2, device=device)


def test_devices_and_normalisations_that_make_no_sense():
    rows = {"x": np.arange(4), "label": np.arange(4)}
    for device in ("mps", "nonsense", 3.5):
        with pytest.raises(zenith.ConfigError, match="device="):
            zt.DataLoader(rows, 2, device=device)
    with pytest.raises(zenith.ConfigError, match="normalize"):
        zt.DataLoader(rows, 2, normalize=([0.5], [0.5]))
    for arguments in ({"device": "cuda"}, {"normalize": ([0.5], [0.5])}):
        with pytest.raises(zenith.ConfigError, match=r"zenith\.torch\.DataLoader"):
            zenith.DataLoader(rows, 2, **arguments)


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu")])
def test_host_memory_stays_as_it_is(device):
    rows = {"x": np.arange(4, dtype=np.float32), "label": np.arange(4)}
    batches = list(zt.DataLoader(rows, 2, num_workers=0, device=device))
    assert [(type(x), y.tolist()) for x, y in batches] == [(torch.Tensor, [0, 1]), (torch.Tensor, [2, 3])]
