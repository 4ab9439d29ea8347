"""Every test must leave no process, thread or descriptor behind."""

import gc
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def fds():
    return {
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    }


def children():
    return {
        pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
    }


@pytest.fixture(autouse=True)
def leaves_nothing():
    gc.collect()
    before = (len(os.listdir("/proc/self/fd")), children(), threading.active_count())
    yield
    for _ in range(200):
        gc.collect()
        after = (len(os.listdir("/proc/self/fd")), children(), threading.active_count())
        if after == before:
            break
        time.sleep(0.05)
    assert after == before
    assert not multiprocessing.active_children()
