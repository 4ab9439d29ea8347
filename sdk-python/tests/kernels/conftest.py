"""A store of its own for each test, and operations that are made for it."""

import itertools

import pytest
import zenith.kernels as zk

_number = itertools.count()


@pytest.fixture
def store(tmp_path):
    """The folder of an empty store, which this process uses; measuring a key takes little."""
    folder = tmp_path / "kernels"
    zk.configure(folder, budget_ms=20)
    yield folder
    zk.configure(folder)
    zk.unfreeze()
    zk.configure()


@pytest.fixture
def measured(store):
    """How many candidates were measured since the last call."""
    before = [zk.counts().benchmarks]

    def since():
        now = zk.counts().benchmarks
        before[0], was = now, before[0]
        return now - was

    return since


@pytest.fixture
def op_name():
    """A name that no other operation has."""
    return f"op{next(_number)}"
