"""Starting, breaking off, forking, interrupting, ending: nothing stays behind."""

import contextlib
import gc
import mmap
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import zenith
import zenith.torch as zt
from process_facts import children, descriptors, resident, threads
from torchvision.transforms import v2


def numbered(rows=2000):
    return {"x": np.arange(rows * 8, dtype=np.float32).reshape(rows, 8), "label": np.arange(rows)}


def settled(count, before):
    """``count()`` once what ends by itself has ended."""
    for _ in range(100):
        gc.collect()
        if count() <= before:
            break
        time.sleep(0.02)
    return count()


@pytest.fixture
def uncollected():
    """What must go with its last reference may not wait for the collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def ended(count, before):
    """``count()`` once what ends by itself has ended, without the collector."""
    for _ in range(1000):
        if count() <= before:
            break
        time.sleep(0.02)
    return count()


class Dear:
    """Samples that are worth worker processes; the last is bad, on request."""

    def __init__(self, bad=False):
        self.bad = bad

    def __len__(self):
        return 12

    def __getitem__(self, index):
        time.sleep(0.001)
        if self.bad and index == 11:
            raise KeyError("gone")
        return float(index), index


@pytest.mark.usefixtures("uncollected")
def test_two_hundred_loaders_broken_off_and_dropped_leave_nothing(pictures):
    table, transform = numbered(), v2.Compose([v2.Resize((16, 16)), v2.ToImage()])
    chance = random.Random(1)

    def one(which):
        source = (table, pictures, Dear())[which]
        loader = zt.DataLoader(
            source,
            chance.choice([1, 3]),
            True,
            num_workers=chance.randrange(1, 3) if which == 2 else chance.randrange(3),
            transform=transform if which == 1 else None,
        )
        for _, _batch in zip(range(chance.randrange(6)), loader, strict=False):
            pass
        if chance.random() < 0.3:
            loader.close()

    others = children()
    for number in range(12):
        one(number % 3)
    before = threads(), descriptors(), resident()
    for number in range(200):
        one(min(2, number % 10) if number % 10 < 3 else number % 2)
    assert ended(lambda: len(children() - others), 0) == 0
    assert ended(threads, before[0]) <= before[0]
    assert ended(descriptors, before[1]) <= before[1]
    assert resident() - before[2] < 8 << 20


def to_the_end(loader):
    for _ in loader:
        pass


def two_at_once(loader):
    kept = iter(loader)
    next(kept)
    next(iter(loader))


def to_the_bad_sample(loader):
    with contextlib.suppress(KeyError):
        to_the_end(loader)


def killed(loader):
    batches = iter(loader)
    next(batches)
    worker, *_ = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    with contextlib.suppress(zenith.WorkerError):
        for _ in batches:
            pass


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    "use", [to_the_end, two_at_once, to_the_bad_sample, killed, lambda loader: next(iter(loader))]
)
def test_worker_processes_go_with_the_last_reference(use):
    before, others = descriptors(), children()
    loader = zt.DataLoader(Dear(bad=use is to_the_bad_sample), 3, num_workers=2)
    use(loader)
    assert children() - others
    del loader
    assert ended(lambda: len(children() - others), 0) == 0
    assert ended(descriptors, before) <= before


def test_a_loader_goes_with_its_last_reference():
    import weakref

    before = threads()
    loader = zt.DataLoader(numbered(), 8, num_workers=2)
    gone = weakref.ref(loader)
    next(iter(loader))
    del loader
    gc.collect()
    assert gone() is None
    assert settled(threads, before) <= before


def test_an_iterator_outlives_its_loader():
    rows = [y.tolist() for _, y in zenith.DataLoader(numbered(40), 8, num_workers=2)]
    assert sum(rows, []) == list(range(40))
    rows = [x.tolist() for x in zenith.DataLoader(list(range(9)), 4, num_workers=0)]
    assert sum(rows, []) == list(range(9))


def test_close_ends_threads_and_keeps_batches_and_place():
    before = threads()
    loader = zt.DataLoader(numbered(40), 8, num_workers=2)
    batches = iter(loader)
    inputs, _ = next(batches)
    state = loader.state_dict()
    loader.close()
    loader.close()
    assert settled(threads, before) <= before
    assert loader.state_dict() == state and state["cursor"] == 8
    assert inputs[7, 7] == 63
    with pytest.raises(zenith.LoaderClosedError, match="closed"):
        next(batches)
    assert len(list(loader)) == 5
    with loader:
        next(iter(loader))
    assert settled(threads, before) <= before


def test_breaking_off_begins_the_next_epoch():
    loader = zenith.DataLoader(numbered(40), 8, True, num_workers=2)
    first = [y.tolist() for _, y in loader]
    second = [y.tolist() for _, y in loader]
    loader.set_epoch(0)
    next(iter(loader))
    assert [y.tolist() for _, y in loader] == second != first


def in_child(act):
    """Forks, runs ``act`` in the child with ten seconds to live, and gives its exit code."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        code = 1
        try:
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_fork_of_a_running_loader_is_told(workers):
    loader = zt.DataLoader(numbered(), 8, num_workers=workers)
    batches = iter(loader)
    next(batches)

    def child():
        try:
            next(batches)
        except zenith.MachineError as error:
            assert "fork" in str(error)
            fresh = zt.DataLoader(numbered(40), 8, num_workers=2)
            return 7 if len(list(fresh)) == 5 else 3
        return 2

    assert in_child(child) == 7

    def drop():
        nonlocal loader, batches
        del loader, batches
        gc.collect()
        return 5

    assert in_child(drop) == 5
    assert len(list(batches)) == 249


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_lets_go_of_a_folder_and_keeps_its_own_memory(pictures):
    transform = v2.Compose([v2.Resize((16, 16)), v2.ToImage()])
    loader = zt.DataLoader(pictures, 2, num_workers=2, transform=transform)
    batches = iter(loader)
    next(batches)

    def drop():
        nonlocal loader, batches
        # Taken after the fork, these lie where the parent's rings were, which a child does not inherit.
        own = [mmap.mmap(-1, size) for size in (4096, 8192, 16384, 65536) for _ in range(200)]
        for memory in own:
            memory[:] = b"z" * len(memory)
        del loader, batches
        gc.collect()
        return 6 if all(memory[:] == b"z" * len(memory) for memory in own) else 1

    assert in_child(drop) == 6
    assert len(list(batches)) == 5


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_a_loader_without_workers_reads_with_readers_of_its_own(pictures):
    transform = v2.Compose([v2.Resize((16, 16)), v2.ToImage()])
    loader = zt.DataLoader(
        pictures, 4, num_workers=0, transform=transform, target_transform=float, on_error="skip"
    )
    labels = [y.tolist() for _, y in loader]

    def again():
        return 7 if [y.tolist() for _, y in loader] == labels else 1

    assert len(sum(labels, [])) == loader.report().samples > 0
    assert in_child(again) == 7


class Stuck:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        time.sleep(60)


def test_ctrl_c_while_waiting_for_a_worker():
    with zt.DataLoader(Stuck(), 2, num_workers=1) as loader:
        main = threading.main_thread().ident
        timer = threading.Timer(1, signal.pthread_kill, (main, signal.SIGINT))
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            next(iter(loader))
        timer.join()
        assert time.monotonic() - start < 20


def test_a_program_that_just_ends_ends():
    program = textwrap.dedent(
        """
        import numpy as np, zenith, sys
        loader = zenith.DataLoader({"x": np.zeros((5000, 8)), "y": np.zeros(5000)}, 8, num_workers=3)
        kept = iter(loader)
        batch = next(kept)
        sys.exit(3)
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (3, b"")


def test_many_threads_may_build_and_read(pictures):
    results = []

    def read():
        loader = zenith.DataLoader(numbered(200), 8, num_workers=1)
        results.append(sum(int(y.sum()) for _, y in loader))

    workers = [threading.Thread(target=read) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [sum(range(200))] * 4


def test_timeout_of_python_samples():
    with zt.DataLoader(Stuck(), 2, num_workers=1, timeout=0.3) as loader, pytest.raises(TimeoutError):
        next(iter(loader))
