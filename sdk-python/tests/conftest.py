"""Data that the tests make for themselves, small and real."""

import signal

import numpy as np
import pytest
from photographs import write_folder

# A runner in the background may hand SIGINT down ignored; the tests of Ctrl-C need it as a terminal gives it.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
