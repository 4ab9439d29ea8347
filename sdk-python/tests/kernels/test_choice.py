"""What is chosen, what is measured for it, and what is remembered."""

import functools
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
import zenith
import zenith.kernels as zk
from aligned import aligned
from zenith.kernels._candidate import source_hash


def rows(count=64, width=32, dtype=np.float32):
    return aligned(np.random.default_rng(0).standard_normal((count, width)).astype(dtype))


def make(name, **arguments):
    @zenith.kernel(name, **arguments)
    def rmsnorm(x, eps=1e-6):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)

    @rmsnorm.register("dot")
    def by_dot(x, eps=1e-6):
        return x / np.sqrt(np.einsum("ij,ij->i", x, x)[:, None] / x.shape[-1] + eps)

    return rmsnorm


def test_the_second_call_and_a_new_process_measure_nothing(measured, store, op_name):
    x = rows()
    rmsnorm = make(op_name)
    first = rmsnorm(x)
    assert measured() == 2
    assert np.allclose(rmsnorm(x), first)
    # 63 is in the span of 64.
    assert len(rmsnorm(rows(63))) == 63
    assert measured() == 0
    # As a new process finds it: nothing in memory, everything in the store.
    zk.configure(store, budget_ms=20)
    again = make(op_name)
    assert np.allclose(again(x), first)
    assert measured() == 0
    assert again.explain(x).source == "stored"


def test_another_process_finds_what_this_one_measured(measured, store):
    program = (
        "import sys, numpy as np, zenith.kernels as zk\n"
        "zk.configure(sys.argv[1], budget_ms=20)\n"
        "a = np.ones((24, 24), np.float32)\n"
        "zk.matmul(a, a)\n"
        "print(zk.counts().benchmarks)\n"
    )

    def run():
        done = subprocess.run(
            [sys.executable, "-c", program, str(store)],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return int(done.stdout)

    assert run() > 2
    assert run() == 0


def test_a_new_candidate_is_measured_alone(measured, op_name):
    x = rows()
    rmsnorm = make(op_name)
    rmsnorm(x)
    assert measured() == 2
    rmsnorm.register("norm", lambda x, eps=1e-6: x / np.sqrt((x**2).mean(-1, keepdims=True) + eps))
    rmsnorm(x)
    assert measured() == 1
    assert {standing.name for standing in rmsnorm.explain(x).standings} == {"default", "dot", "norm"}


def test_a_new_version_of_a_library_concerns_its_candidates_only(measured, op_name):
    x = rows()

    def build(version):
        @zenith.kernel(op_name, libraries={"mine": "1"})
        def double(x):
            return x + x

        double.register("blas", lambda x: 2 * x, libraries={"blas": version})
        double.register("other", lambda x: np.add(x, x), libraries={"other": "1"})
        return double

    build("1")(x)
    assert measured() == 3
    build("1")(x)
    assert measured() == 0
    build("2")(x)
    assert measured() == 1


def test_new_source_is_a_new_candidate(measured, op_name):
    x = rows()
    first = zenith.kernel(op_name)(lambda x: x + x)
    first.register("other", lambda x: 2 * x)
    first(x)
    assert measured() == 2
    second = zenith.kernel(op_name)(lambda x: x + x)
    second.register("other", lambda x: x * 2)
    second(x)
    assert 1 <= measured() <= 2


def test_random_lengths_need_a_logarithm_of_tunings(measured, op_name):
    count, longest = 10_000, 8192
    kernel = zenith.kernel(op_name, key=lambda x: {"length": x.shape[0]})(lambda x: x + x)
    kernel.register("other", lambda x: 2 * x)
    zk.configure(zk.store_folder().parent, budget_ms=2)
    lengths = np.random.default_rng(7).integers(1, longest + 1, count)
    memory = aligned(np.ones((longest, 1), np.float32))
    before = zk.counts().keys
    for length in lengths[: count // 2]:
        kernel(memory[:length])
    spans = 4 * (longest.bit_length() + 1)
    assert 5 < zk.counts().keys - before <= spans
    measured()
    zk.freeze()
    for length in lengths[count // 2 :]:
        kernel(memory[:length])
    assert measured() == 0


def test_frozen_nothing_is_measured_and_neighbours_help(measured, op_name):
    rmsnorm = make(op_name)
    rmsnorm(rows(64))
    assert measured() == 2
    zk.freeze()
    assert zk.is_frozen()
    assert np.allclose(rmsnorm(rows(200)) ** 2 @ np.ones(32), 32, rtol=1e-3)
    assert measured() == 0
    assert rmsnorm.explain(rows(200)).source == "neighbour"
    assert rmsnorm.explain(rows(64, 16, np.float64)).source == "default"
    zk.unfreeze()
    rmsnorm(rows(200))
    assert measured() == 2 and not zk.is_frozen()


def test_pins_go_before_measurements(measured, op_name):
    x = rows()
    rmsnorm = make(op_name)
    zk.pin(rmsnorm, "dot", note="by hand")
    assert rmsnorm.explain(x).chosen == "dot" and rmsnorm.explain(x).source == "pinned"
    assert "by hand" in str(zk.explain(op_name, x))
    rmsnorm(x)
    assert measured() == 0
    zk.pin(op_name, "default", x)
    assert rmsnorm.explain(x).chosen == "default"
    assert rmsnorm.explain(rows(8)).chosen == "dot"
    assert zk.unpin(op_name, x) and zk.unpin(op_name) and not zk.unpin(op_name)
    rmsnorm(x)
    assert measured() == 2
    with pytest.raises(zenith.KernelError, match="default, dot would work"):
        zk.pin(rmsnorm, "dott")
    with pytest.raises(zenith.KernelError, match="no operation"):
        zk.pin("nothing.of.this.name", "dot")


def test_a_store_travels(measured, store, tmp_path, op_name):
    x = rows()
    here = make(op_name)
    here(x)
    zk.pin(here, "dot")
    assert measured() == 2
    document = tmp_path / "kernels.json"
    assert zk.export(document) == 2
    zk.configure(tmp_path / "elsewhere", budget_ms=20)
    told = zk.import_(document)
    assert (told.rows, told.known, told.pins) == (2, 0, 1)
    assert zk.import_(document).known == 2
    elsewhere = make(op_name)
    elsewhere(x)
    assert measured() == 0 and elsewhere.explain(x).chosen == "dot"
    document.write_text("{}")
    with pytest.raises(zenith.KernelError, match="no export") as caught:
        zk.import_(document)
    assert caught.value.path == str(document) and caught.value.kind == "import"


def test_explain_is_a_table_and_data(measured, op_name):
    x = rows()
    rmsnorm = make(op_name)
    assert rmsnorm.explain(x).source == "default"
    assert rmsnorm.explain(x)["dot"].verdict == "unmeasured"
    rmsnorm(x)
    told = zk.explain(rmsnorm, x)
    assert told.chosen in ("default", "dot") and told.source == "measured"
    assert told.key == rmsnorm.key(x) and told.key.startswith(f"{op_name}@1(0.0=57-64,0.1=")
    for standing in told.standings:
        # Two samples are enough for one that takes twice as long.
        assert standing.samples >= (2 if standing.verdict == "slower" else 3) and 0 < standing.seconds < 1
        assert standing.name in str(told)
    assert min(standing.ratio for standing in told.standings) == 1
    assert measured() == 2


def test_what_when_refuses_is_not_called(measured, op_name):
    kernel = zenith.kernel(op_name)(lambda x: x + x)
    called = []

    def even(x):
        called.append(x.shape)
        return 2 * x

    kernel.register("even", even, when=lambda x: x.shape[1] % 2 == 0)
    kernel.register("never", even, when=lambda x: "it is Sunday")
    x = rows(64, 33)
    assert np.array_equal(kernel(x), x + x) and not called
    told = kernel.explain(x)
    assert told["even"].verdict == "unsupported" and "Sunday" in told["never"].reason
    kernel(rows(64, 34))
    assert called


def test_plain_arguments_matter(measured, op_name):
    kernel = zenith.kernel(op_name)(lambda x, factor=2.0, *, flip=False: x * factor * (-1 if flip else 1))
    kernel.register("other", lambda x, factor=2.0, *, flip=False: x * (-factor if flip else factor))
    x = rows()
    for call in (
        lambda: kernel(x),
        lambda: kernel(x, 3.0),
        lambda: kernel(x, factor=3.0),
        lambda: kernel(x, flip=True),
    ):
        call()
        assert measured() == 2
        call()
        assert measured() == 0
    assert np.array_equal(kernel(x, 3.0, flip=True), x * -3)


def test_a_key_function_says_what_matters(measured, op_name):
    @zenith.kernel(op_name, key=lambda x, axes: {"n": x.size, "axes": "rows" if axes == [0] else "columns"})
    def total(x, axes):
        return x.sum(axis=tuple(axes))

    total.register("add", lambda x, axes: np.add.reduce(x, axis=tuple(axes)))
    x = rows()
    assert np.allclose(total(x, [0]), x.sum(0)) and measured() == 2
    assert np.allclose(total(x, [1]), x.sum(1)) and measured() == 2
    again = rows()
    assert np.allclose(total(again, [0]), again.sum(0), atol=1e-5) and measured() == 0


def test_names_and_settings_are_checked(op_name):
    with pytest.raises(zenith.KernelError, match="no name"):
        zenith.kernel("two words")(lambda x: x)
    kernel = zenith.kernel(op_name)(lambda x: x)
    kernel.register("one", lambda x: x)
    with pytest.raises(zenith.ConfigError, match="already"):
        kernel.register("one", lambda x: x)
    with pytest.raises(zenith.ConfigError, match="budget_ms"):
        zk.configure(budget_ms=-1)
    with pytest.raises(zenith.KernelError, match="no operation"):
        zk.explain("nothing.of.this.name", rows())


def test_an_interruption_blames_nobody(measured, store, op_name):
    kernel = zenith.kernel(op_name)(lambda x: x + x)
    state = {"interrupt": True}

    def interrupted(x):
        if state["interrupt"]:
            raise KeyboardInterrupt
        return 2 * x

    kernel.register("interrupted", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kernel(rows())
    state["interrupt"] = False
    kernel(rows())
    assert kernel.explain(rows())["interrupted"].verdict != "rejected"


def test_a_tolerance_that_nobody_keeps_is_said(store, op_name):
    kernel = zenith.kernel(op_name, reference=lambda x: x * 3, tol=1e-6)(lambda x: x + x)
    kernel.register("other", lambda x: 2 * x)
    with pytest.warns(zk.KernelWarning, match="no candidate"):
        assert np.array_equal(kernel(rows()), rows() * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel(rows())


def test_torch_and_numpy_do_not_share_a_key(measured, op_name):
    kernel = zenith.kernel(op_name)(lambda x: x + x)
    kernel.register("other", lambda x: 2 * x, differentiable=True)
    kernel(rows())
    assert measured() == 2
    assert torch.equal(kernel(torch.from_numpy(rows())), torch.from_numpy(rows()) * 2)
    assert measured() == 2


def test_another_meaning_is_another_operation(store, op_name):
    def key_of(function, **known):
        return zenith.kernel(op_name, libraries={}, **known)(function).key(np.zeros(4, np.float32))

    def scaled(by):
        return lambda x: x * by

    doubled = key_of(scaled(2.0))
    assert doubled == key_of(scaled(2.0))
    others = [key_of(scaled(3.0)), key_of(scaled(2.0), tol=1e-2), key_of(scaled(2.0), reference=scaled(3.0))]
    assert len({doubled, *others}) == 4


def test_plain_values_belong_to_a_source():
    def power(x, by=2):
        return x**by

    hashes = {
        source_hash(function)
        for function in (power, functools.partial(power, by=3), functools.partial(power, by=4))
    }
    assert len(hashes) == 3
    assert source_hash(functools.partial(power, by=np.zeros(3))) == source_hash(
        functools.partial(power, by=np.ones(3))
    )
