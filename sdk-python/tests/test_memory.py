"""Batches lie in Zenith's own memory, and it returns."""

import gc

import numpy as np
import torch
import zenith
import zenith.torch as zt


def source(rows=4000):
    return {"x": np.arange(rows * 16, dtype=np.float32).reshape(rows, 16), "label": np.arange(rows)}


class Addresses:
    """Notes the address of every native array on its way to NumPy."""

    def __init__(self):
        self.seen = []

    def __call__(self, array):
        self.seen.append(array.__array_interface__["data"][0])
        return np.asarray(array)


def test_arrays_lie_where_the_native_batch_lies():
    loader = zenith.DataLoader(source(), 64, num_workers=1)
    note = Addresses()
    engine = loader._started()
    engine._iterate = lambda native, start: native.arrays(note, *start)
    for number, (inputs, labels) in enumerate(loader):
        assert [inputs.ctypes.data, labels.ctypes.data] == note.seen[2 * number :]
        assert not inputs.flags.owndata


def test_tensors_lie_where_the_native_batch_lies():
    native = zt.DataLoader(source(), 64, num_workers=0)._started()._loader
    both = []

    def convert(array):
        address = array.__array_interface__["data"][0]
        tensor = torch.from_dlpack(array)
        both.append((address, tensor.data_ptr()))
        return tensor

    list(native.arrays(convert, (0, 0, 0)))
    assert len(both) == 2 * 63 and all(address == pointer for address, pointer in both)


def test_a_tensor_that_is_held_keeps_its_content():
    loader = zt.DataLoader(source(), 64, num_workers=2, prefetch_factor=4)
    batches = iter(loader)
    inputs, labels = next(batches)
    kept, row = inputs.clone(), inputs[3]
    del inputs
    for _ in batches:
        pass
    for _ in loader:
        pass
    loader.close()
    del loader, batches
    gc.collect()
    assert torch.equal(row, kept[3]) and torch.equal(labels, torch.arange(64))


def test_memory_that_was_dropped_is_used_again():
    loader = zt.DataLoader(source(), 64, num_workers=2)
    used = set()
    for _ in range(4):
        used |= {inputs.data_ptr() for inputs, _ in loader}
    # Those made ahead, the one that the loop has, and the one it is just given.
    assert 1 < len(used) <= loader._engine._loader.meter().counters()["prefetched_batches"] + 2
    held = [inputs for inputs, _ in loader]
    assert len({inputs.data_ptr() for inputs in held}) == 63


def test_tensors_may_be_written_without_harm_to_the_source():
    data = source(100)
    before = data["x"].copy()
    for inputs, labels in zt.DataLoader(data, 10, num_workers=1):
        inputs.mul_(-1)
        labels.zero_()
    np.testing.assert_array_equal(data["x"], before)
    np.testing.assert_array_equal(data["label"], np.arange(100))


def test_arrays_are_aligned_for_the_wide_instructions():
    for inputs, labels in zt.DataLoader(source(100), 7, num_workers=1):
        assert inputs.data_ptr() % 64 == 0 and labels.data_ptr() % 64 == 0
