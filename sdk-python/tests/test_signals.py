"""Signals while ``next()`` waits: Ctrl-C ends it, and a handler may use the loader it interrupted."""

import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import zenith.torch as zt
from photographs import photograph
from process_facts import threads

# What would hang is killed; nothing here needs so long.
PATIENCE = 60

SLOW_NATIVE = """
    import shutil, tempfile
    import numpy as np
    from PIL import Image
    folder = tempfile.mkdtemp()
    for name in ("a", "b"):
        os.mkdir(f"{folder}/{name}")
        noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)
        Image.fromarray(noise).save(f"{folder}/{name}/0.jpg", quality=95)
    # One batch of a good minute.
    source, many = folder, {"sampler": [0, 1] * 10_000, "batch_size": 20_000}
    many["transform"] = v2.Compose([v2.Resize((4, 4)), v2.ToImage()])
    at_end = lambda: shutil.rmtree(folder)
"""
SLOW_PYTHON = """
    class Source:
        def __len__(self):
            return 8
        def __getitem__(self, index):
            time.sleep(PAUSE)
            return index
    source, many = Source(), {"batch_size": 4}
    at_end = lambda: None
"""
WAYS = {
    "native": (SLOW_NATIVE, "num_workers=2"),
    "native, inline": (SLOW_NATIVE, "num_workers=0"),
    "processes": ("    PAUSE = 60\n" + SLOW_PYTHON, "num_workers=1"),
    "python, inline": ("    PAUSE = 0.3\n" + SLOW_PYTHON, "num_workers=0"),
}


def program(way, body):
    source, workers = WAYS[way]
    head = "    import os, signal, sys, time\n    import zenith\n"
    head += "    from torchvision.transforms import v2\n" if source is SLOW_NATIVE else ""
    begin = f"\n    loader = zenith.DataLoader(source, **many, {workers})\n"
    return textwrap.dedent(head + source + begin) + textwrap.dedent(body)


def run(text):
    ended = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


@pytest.mark.parametrize("way", WAYS)
def test_a_handler_may_use_the_loader_that_next_waits_for(way):
    out = run(
        program(
            way,
            """
            class Enough(Exception):
                pass
            asked = []
            def ask(number, frame):
                asked.append((loader.state_dict()["cursor"], loader.report().batches, len(loader)))
                if len(asked) == 2:
                    raise Enough
            def close(number, frame):
                loader.close()
                print("handled", flush=True)
            signal.signal(signal.SIGALRM, ask)
            batches = iter(loader)
            signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
            try:
                next(batches)
            except Enough:
                print("enough", *asked[0][:2])
            signal.signal(signal.SIGALRM, close)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            try:
                while True:
                    next(batches)
            except zenith.LoaderClosedError:
                print("closed", loader.report().batches)
            at_end()
            """,
        )
    )
    assert out[:5] == ["enough", "0", "0", "handled", "closed"]
    # A batch that Python made in next() itself was whole before the closing was noticed.
    assert int(out[5]) <= (way == "python, inline")


@pytest.mark.parametrize("way", ["processes", "python, inline"])
def test_a_handler_that_takes_a_batch_within_next_is_told_so(way):
    out = run(
        program(
            way,
            """
            class Enough(Exception):
                pass
            def take(number, frame):
                for batches in (interrupted, other):
                    try:
                        next(batches)
                    except zenith.ZenithError as error:
                        print(type(error).__name__)
                raise Enough
            interrupted, other = iter(loader), iter(loader)
            signal.signal(signal.SIGALRM, take)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            try:
                next(interrupted)
            except Enough:
                print("enough")
            at_end()
            """,
        )
    )
    assert out == ["LoaderBusyError", "LoaderBusyError", "enough"]


@pytest.fixture
def endless(tmp_path):
    """Arguments of a native loader whose one batch takes a minute."""
    (tmp_path / "a").mkdir()
    photograph("coffee", (600, 400)).save(tmp_path / "a" / "0.jpg", quality=95)
    from torchvision.transforms import v2

    small = v2.Compose([v2.Resize((4, 4)), v2.ToImage()])
    return {"source": tmp_path, "batch_size": 60_000, "sampler": [0] * 60_000, "transform": small}


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_reaches_a_native_next(endless, workers):
    before = threads()
    loader = zt.DataLoader(**endless, num_workers=workers)
    batches = iter(loader)
    main = threading.main_thread().ident
    timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        next(batches)
    timer.join()
    assert loader.state_dict()["cursor"] == 0 and loader.report().batches == 0
    loader.close()
    for _ in range(100):
        if threads() <= before:
            break
        time.sleep(0.02)
    assert threads() <= before


@pytest.mark.parametrize("workers", [0, 2])
def test_another_thread_may_close_the_loader_that_next_waits_for(endless, workers):
    import zenith

    loader = zt.DataLoader(**endless, num_workers=workers)
    batches = iter(loader)
    timer = threading.Timer(0.3, loader.close)
    timer.start()
    with pytest.raises(zenith.LoaderClosedError):
        next(batches)
    timer.join()


COLLECTED_WITHIN = """
    import gc, sys, time
    from zenith._pydata import PythonLoader
    class Rows:
        def __getitem__(self, i):
            time.sleep(0.0003)
            return i
    rows = [list(range(at, at + 4)) for at in range(0, 80, 4)]
    loader = PythonLoader(Rows(), rows, num_workers=2, worker="process", array_module="numpy")
    first = loader.iter(0)
    next(first)
    ring = [first]
    ring.append(ring)
    second = loader.iter(0)
    pool = loader._core.engine
    take = pool._slabs.take
    def taking():
        gc.collect()  # as it may happen in any call that allocates, here under the pool's lock
        return take()
    pool._slabs.take = taking
    del first, ring
    print(sum(len(batch) for batch in second))
    core = loader._core
    ahead = 0 if core.ahead is None else len(core.ahead._queue)
    print(len(core.dropped), sum(core.live.values()) - ahead)
    loader.close()
"""


def test_the_collector_may_drop_a_pass_within_any_call_of_the_pool():
    assert run(textwrap.dedent(COLLECTED_WITHIN)) == ["80", "0", "0"]
