"""Data that the tests make for themselves, small and real."""

import os
import signal

import numpy as np
import pytest
from photographs import write_folder
from schedulers import scheduler as running_scheduler

# A runner in the background may hand SIGINT down ignored; the tests of Ctrl-C need it as a terminal gives it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of the tests' own: indexes of folders that live for one test do not belong in the user's."""
    os.environ["ZENITH_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Class folders ``ant`` and ``zebra`` of six JPEGs each, 60 x 48."""
    return write_folder(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture
def table():
    """Columns of 53 rows: two of floats, one of whole numbers, a label; row i holds i."""
    rows = np.arange(53)
    return {
        "a": rows.astype(np.float32),
        "b": rows.astype(np.float64) * 2,
        "c": rows.astype(np.int16) + 1000,
        "label": rows.astype(np.int64) % 7,
    }


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory):
    """A real scheduler with a node ``here`` that has 4 processors and two declared GPUs."""
    with running_scheduler(tmp_path_factory.mktemp("scheduler")) as running:
        yield running


@pytest.fixture
def client(scheduler, monkeypatch, tmp_path):
    """A client of the scheduler, which is also where the command and ``zenith.submit`` find it."""
    import zenith

    for name in ("ZENITH_TOKEN", "ZENITH_TOKEN_FILE", "ZENITH_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZENITH_CONTROLLER", scheduler.endpoint)
    monkeypatch.setenv("ZENITH_SPOOL", str(tmp_path / "spool"))
    return zenith.SchedulerClient()
