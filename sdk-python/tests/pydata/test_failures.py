"""What goes wrong: exceptions, deaths, breaks, forks. Never a hang, never anything left behind (see
conftest)."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from datasets import Bad, CustomError, Killed, Plain, Ragged, Slow, Unpicklable, fail_init, in_rows, shuffled
from zenith._pydata import (
    LoaderClosedError,
    LoaderForkedError,
    LoaderTimeoutError,
    PythonLoader,
    UnsupportedDatasetError,
    WorkerDiedError,
    WorkerExceptionError,
)

ENGINES = [(0, "inline"), (2, "thread"), (2, "process")]


@pytest.mark.parametrize(("workers", "kind"), ENGINES)
def test_the_original_exception_in_its_place(workers, kind):
    with PythonLoader(Bad([19]), in_rows(40, 8), num_workers=workers, worker=kind) as loader:
        batches = iter(loader)
        assert [next(batches)[1].tolist() for _ in range(2)] == in_rows(40, 8)[:2]
        with pytest.raises(ValueError, match="bad sample") as caught:
            next(batches)
        assert caught.value.zenith_sample == 19
        assert any("sample 19" in line for line in caught.value.__notes__)
        if kind == "process":
            assert "in __getitem__" in str(caught.value.__cause__)
        assert next(batches)[1].tolist() == in_rows(40, 8)[3]  # and the loader goes on
        assert len(list(loader.iter(1, in_rows(16, 8)))) == 2


def test_exceptions_that_travel_badly():
    with PythonLoader(
        Bad([1], CustomError(7, "x")), in_rows(8, 4), num_workers=1, worker="process"
    ) as loader:
        with pytest.raises(CustomError) as caught:
            next(iter(loader))
        assert caught.value.code == 7
    with PythonLoader(
        Bad([1], Unpicklable(7, "x")), in_rows(8, 4), num_workers=1, worker="process"
    ) as loader:
        with pytest.raises(WorkerExceptionError, match="Unpicklable: 7: x") as caught:
            next(iter(loader))
        assert caught.value.zenith_sample == 1
    with PythonLoader(Bad([1], SystemExit(3)), in_rows(8, 4), num_workers=1, worker="process") as loader:
        with pytest.raises(SystemExit):
            next(iter(loader))


@pytest.mark.parametrize(("workers", "kind"), ENGINES)
def test_skip_drops_and_lists(workers, kind):
    bad = [3, 8, 9, 10, 11, 12, 13, 14, 15, 39]
    with PythonLoader(Bad(bad), in_rows(40, 8), num_workers=workers, worker=kind, on_error="skip") as loader:
        passed = loader.iter()
        got = list(passed)
        assert passed.position == 5
        stats = loader.stats()
    assert [b[1].tolist() for b in got] == [
        [i for i in row if i not in bad] for row in in_rows(40, 8) if row[0] != 8
    ]
    assert all(torch.equal(x[:, 0], y.float()) for x, y in got)
    assert sorted(stats["skipped"]) == [(i, "ValueError: bad sample") for i in bad]


@pytest.mark.parametrize(("workers", "kind"), ENGINES)
def test_unequal_shapes_name_the_sample(workers, kind):
    with PythonLoader(Ragged(13), in_rows(40, 8), num_workers=workers, worker=kind) as loader:
        batches = iter(loader)
        next(batches)
        with pytest.raises(RuntimeError, match="equal size") as caught:
            next(batches)
        assert any("sample 13 has shape [3] instead of [8]" in line for line in caught.value.__notes__)


@pytest.mark.parametrize(
    ("how", "text"),
    [(signal.SIGKILL, "SIGKILL"), (signal.SIGTERM, "SIGTERM"), (None, "exited with status 3")],
)
def test_a_dead_worker_is_explained(how, text):
    with PythonLoader(Killed(21, how), in_rows(40, 8), num_workers=2, worker="process") as loader:
        start = time.monotonic()
        with pytest.raises(WorkerDiedError, match=text) as caught:
            list(loader)
        assert caught.value.sample == "21" and time.monotonic() - start < 5
        with pytest.raises(WorkerDiedError, match="sample 21"):
            list(loader)  # by fresh workers, which die of the same sample


def test_the_next_pass_has_fresh_workers_after_a_death():
    with PythonLoader(Plain(pause=0.02), in_rows(40, 8), num_workers=2, worker="process") as loader:
        batches = iter(loader)
        next(batches)
        old = [process.pid for process in loader._core.engine.processes]
        os.kill(old[0], signal.SIGKILL)
        with pytest.raises(WorkerDiedError, match="SIGKILL"):
            list(batches)
        with pytest.raises(WorkerDiedError):
            next(batches)
        for _ in range(2):
            assert [y.tolist() for _, y in loader] == in_rows(40, 8)
        assert not {process.pid for process in loader._core.engine.processes} & set(old)
        with pytest.raises(WorkerDiedError):
            next(batches)  # the pass that lost them stays told
        assert sum("fresh workers were started" in note for note in loader.stats()["notes"]) == 1


def test_workers_that_died_between_passes_are_replaced():
    with PythonLoader(Plain(), in_rows(40, 8), num_workers=1, worker="process") as loader:
        list(loader)
        (process,) = loader._core.engine.processes
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
        assert [y.tolist() for _, y in loader] == in_rows(40, 8)
        assert any("SIGKILL" in note for note in loader.stats()["notes"])


def test_timeout_says_what_the_workers_do():
    with PythonLoader(Slow(), in_rows(4, 2), num_workers=1, worker="process", timeout=3) as loader:
        with pytest.raises(LoaderTimeoutError, match="worker 0 is on sample 0"):
            next(iter(loader))


def test_worker_init_fn_that_fails():
    with PythonLoader(Plain(), in_rows(8, 4), num_workers=2, worker_init_fn=fail_init) as loader:
        with pytest.raises(KeyError, match="no licence"):
            next(iter(loader))


def test_errors_of_the_sampler_come_in_their_place():
    def batches(epoch):
        yield [0, 1]
        yield [2, 3]
        raise LookupError("sampler broke")

    with PythonLoader(Plain(), batches, num_workers=2, worker="process") as loader:
        got = iter(loader)
        assert [next(got)[1].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
        with pytest.raises(LookupError):
            next(got)


def test_broken_off_and_dropped_leaves_nothing():
    for at in range(12):
        loader = PythonLoader(Plain(), shuffled(40, 4), num_workers=2, worker="process")
        for number, _ in enumerate(loader):
            if number == at % 5:
                break
        del loader, _
    gc.collect()


def test_break_then_iterate_again():
    with PythonLoader(Plain(), in_rows(40, 4), num_workers=2, worker="process") as loader:
        for _ in range(10):
            for _, y in loader:
                assert y.tolist() == [0, 1, 2, 3]
                break
        assert [y.tolist() for _, y in loader] == in_rows(40, 4)


def test_unsupported_sources_and_arguments():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(3))

    with pytest.raises(UnsupportedDatasetError, match="IterableDataset"):
        PythonLoader(Stream(), [[0]])
    with pytest.raises(UnsupportedDatasetError, match="__getitem__"):
        PythonLoader(object(), [[0]])
    for wrong in (
        {"num_workers": -1},
        {"prefetch_factor": 0},
        {"on_error": "x"},
        {"worker": "x"},
        {"timeout": -1},
    ):
        with pytest.raises(ValueError):
            PythonLoader(Plain(), [[0]], **wrong)


def test_closed_loader():
    loader = PythonLoader(Plain(), in_rows(8, 4), num_workers=1, worker="process")
    assert len(list(loader)) == 2
    loader.close()
    loader.close()
    with pytest.raises(LoaderClosedError):
        iter(loader)


def test_use_in_a_fork_is_an_error_and_harms_nobody():
    with PythonLoader(Plain(), in_rows(40, 4), num_workers=2, worker="process") as loader:
        batches = iter(loader)
        next(batches)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                next(batches)
            except LoaderForkedError:
                code = 0
                loader.close()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert len(list(batches)) == 9


def script(body, **how):
    here = Path(__file__).parent
    text = f"import sys; sys.path.insert(0, {str(here)!r})\n" + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    )


def gone(pid):
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


START = """
    import os, time
    from zenith._pydata import PythonLoader
    assert "torch" not in sys.modules
    class Rows:
        def __getitem__(self, i):
            time.sleep(0.0003)
            return i
    rows = [list(range(at, at + 4)) for at in range(0, 400, 4)]
    loader = PythonLoader(Rows(), rows, num_workers=2, worker="process", array_module="numpy")
    it = iter(loader)
    next(it)
    print(*[p.pid for p in loader._core.engine.processes], flush=True)
"""


def test_end_of_the_interpreter():
    run = script(START)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0 and err == ""
    assert len(out.split()) == 2 and all(gone(pid) for pid in out.split())


def test_exit_of_a_forked_copy_leaves_the_owners_workers():
    run = script(
        START
        + "    pid = os.fork()\n    if pid == 0:\n        sys.exit(0)\n    os.waitpid(pid, 0)\n"
        + "    print(len(list(it)))\n"
    )
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0 and err == ""
    assert out.split()[-1] == "99"


def test_killed_parent_takes_its_workers_along():
    run = script(START + "    os.kill(os.getpid(), 9)\n")
    out, _ = run.communicate(timeout=60)
    assert all(gone(pid) for pid in out.split())


def test_ctrl_c():
    run = script(
        START
        + "    import time\n    print('go', flush=True)\n    while True:\n        for _ in loader: pass\n",
        start_new_session=True,
    )
    pids = run.stdout.readline().split()
    run.stdout.readline()
    time.sleep(0.2)
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode != 0 and "KeyboardInterrupt" in err and "zenith-data" not in err
    assert all(gone(pid) for pid in pids)
