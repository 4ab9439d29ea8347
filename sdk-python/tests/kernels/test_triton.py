"""Triton's autotuner with the store behind it, with a fake benchmark: no GPU is needed to see what is measured."""

import math
import runpy
import sys

import pytest
import zenith
import zenith.kernels as zk

triton = pytest.importorskip("triton")

KERNEL = """
import triton
import triton.language as tl


@triton.jit
def scale(x, count, BLOCK: tl.constexpr):
    pass


@triton.jit
def other(x, count, BLOCK: tl.constexpr):
    tl.store(x, 1)
"""


class Launched:
    """Stands in for the compiled kernel: notes which configuration ran."""

    def __init__(self, fn):
        self.fn = fn
        self.arg_names = fn.arg_names
        self.runs = []

    def run(self, *args, **meta):
        self.runs.append(meta["BLOCK"])


@pytest.fixture
def tuner(store, tmp_path):
    """Makes autotuned kernels whose configurations take as long as their block says."""
    file = tmp_path / "kernels_of_test.py"
    file.write_text(KERNEL)
    functions = runpy.run_path(str(file))
    assert zk.install(triton=True)
    measured = []

    def make(blocks=(64, 128, 256), name="scale", times=lambda block: abs(block - 128) + 1.0):
        def do_bench(call, quantiles):
            call()
            block = launched.runs[-1]
            measured.append(block)
            return [times(block)] * 3

        configs = [triton.Config({"BLOCK": block}, num_warps=2) for block in blocks]
        tuner = triton.autotune(configs=configs, key=["count"], do_bench=do_bench)(functions[name])
        launched = tuner.fn = Launched(tuner.fn)
        return tuner

    make.measured = measured
    yield make
    assert zk.install(triton=False)


def test_what_triton_measured_is_kept(tuner):
    first = tuner()
    first.run(None, 1000, grid=(1,))
    assert tuner.measured == [64, 128, 256] and first.best_config.kwargs["BLOCK"] == 128
    # As a new process: Triton's own cache is empty.
    second = tuner()
    second.run(None, 1000, grid=(1,))
    assert len(tuner.measured) == 3 and second.best_config.kwargs["BLOCK"] == 128
    assert second.fn.runs == [128]


def test_a_new_configuration_is_measured_alone(tuner):
    tuner().run(None, 1000, grid=(1,))
    tuner(blocks=(64, 128, 256, 512)).run(None, 1000, grid=(1,))
    assert tuner.measured == [64, 128, 256, 512]


def test_other_keys_sources_and_failures_are_measured(tuner):
    tuner().run(None, 1000, grid=(1,))
    tuner().run(None, 2000, grid=(1,))
    tuner(name="other").run(None, 1000, grid=(1,))
    assert len(tuner.measured) == 9
    failing = tuner(blocks=(32, 64), times=lambda block: math.inf if block == 32 else 1.0)
    failing.run(None, 3000, grid=(1,))
    again = tuner(blocks=(32, 64))
    again.run(None, 3000, grid=(1,))
    assert len(tuner.measured) == 11 and again.best_config.kwargs["BLOCK"] == 64


def test_frozen_nothing_is_measured(tuner):
    zk.freeze()
    frozen = tuner()
    frozen.run(None, 1000, grid=(1,))
    assert not tuner.measured and frozen.best_config.kwargs["BLOCK"] == 64
    zk.unfreeze()
    tuner().run(None, 1000, grid=(1,))
    assert len(tuner.measured) == 3


def test_install_is_done_once_and_undone(tuner):
    assert not zk.install(triton=True)
    assert zk.install(triton=False) and not zk.install(triton=False)
    tuner().run(None, 1000, grid=(1,))
    tuner().run(None, 1000, grid=(1,))
    assert len(tuner.measured) == 6
    assert zk.install(triton=True)


def test_without_triton_it_says_so(monkeypatch, store):
    monkeypatch.setitem(sys.modules, "triton.runtime", None)
    with pytest.raises(zenith.KernelError, match="cannot be imported"):
        zk.install(triton=True)
