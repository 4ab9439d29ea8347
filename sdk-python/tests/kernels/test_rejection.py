"""Candidates that are wrong in any way are rejected by name, and this process goes on."""

import candidates
import numpy as np
import pytest
import torch
import zenith


def tried(op_name, call, **arguments):
    """An operation with one more candidate, called once; what is said of that candidate."""
    kernel = zenith.kernel(op_name, libraries={})(candidates.double)
    kernel.register("tried", call, libraries={}, **arguments)
    x = np.random.default_rng(1).standard_normal((64, 48)).astype(np.float32)
    before = x.copy()
    assert np.array_equal(kernel(x), x + x) and np.array_equal(x, before)
    assert np.array_equal(kernel(x), x + x)
    told = kernel.explain(x)
    assert told.chosen == "default" or arguments.get("risky")
    return told["tried"]


@pytest.mark.parametrize(
    ("call", "arguments", "reasons"),
    [
        (candidates.wrong, {}, ["wrong", "element [32, 0] is", "1 of 3072 differ"]),
        (candidates.lazy, {}, ["wrong", "differ"]),
        (candidates.in_place, {}, ["wrong", "wrote into argument 0"]),
        (candidates.narrow, {}, ["wrong", "float16 instead of float32"]),
        (candidates.beyond, {}, ["out-of-bounds", "argument 0", "behind its end"]),
        (candidates.beyond_out, {"out": candidates.like}, ["out-of-bounds", "the result", "behind its end"]),
        (candidates.half_out, {"out": candidates.like}, ["wrong", "not written"]),
        (candidates.raising, {}, ["failed", "ValueError: not today"]),
        (candidates.crashing, {"risky": True}, ["crashed", "SIGSEGV"]),
        (candidates.hanging, {"risky": True, "deadline": 8.0}, ["hung", "8000"]),
        (candidates.wrong, {"risky": True}, ["wrong", "1 of 3072 differ"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_rejected_by_name(store, op_name, call, arguments, reasons):
    told = tried(op_name, call, **arguments)
    assert told.verdict == "rejected"
    for reason in reasons:
        assert reason in told.reason, told.reason


def test_who_passes_the_trial_is_measured(measured, op_name):
    told = tried(op_name, candidates.careful, risky=True)
    # Two samples are enough for one that takes twice as long.
    assert told.verdict in ("chosen", "tied", "slower")
    assert told.samples >= (2 if told.verdict == "slower" else 3)
    assert measured() == 2


def test_what_cannot_be_sent_is_not_tried(store, op_name):
    there = {"x": __import__("threading").Lock()}
    told = tried(op_name, lambda x: 2 * x if there else x, risky=True)
    assert told.verdict == "unsupported" and "process of its own" in told.reason


def test_freed_memory_of_torch_is_poisoned(store, op_name):
    kernel = zenith.kernel(op_name, libraries={})(lambda x: x + x)
    kernel.register("lazy", torch.empty_like, libraries={}, differentiable=True)
    x = torch.randn(64, 48)
    assert torch.equal(kernel(x), x + x)
    assert kernel.explain(x)["lazy"].verdict == "rejected"


@pytest.mark.parametrize("layout", ["rows", "columns", "reversed", "broadcast", "strided", "empty"])
def test_operands_are_copies_in_every_layout(store, op_name, layout):
    """The copy is laid out as the original, so a reference computes the same from both."""
    base = np.random.default_rng(2).standard_normal((24, 36))
    x = {
        "rows": base,
        "columns": base.T,
        "reversed": base[::-1, ::-1],
        "broadcast": np.broadcast_to(base[0], (5, 36)),
        "strided": base[::3, 1::2],
        "empty": base[:0],
    }[layout]
    seen = []
    kernel = zenith.kernel(op_name, libraries={})(candidates.double)

    def other(x):
        seen.append((x.strides, x.ctypes.data % 64, x.copy()))
        return 2 * x

    kernel.register("other", other, libraries={})
    assert np.array_equal(kernel(x), 2 * x)
    strides, place, values = seen[0]
    assert strides == x.strides and np.array_equal(values, x)
    assert not x.size or place == x.ctypes.data % 64
    assert kernel.explain(x)["other"].verdict != "rejected"


@pytest.mark.parametrize("deadline", [0, -1.0, float("inf"), float("nan")])
def test_deadlines_that_are_none_are_refused(store, op_name, deadline):
    kernel = zenith.kernel(op_name, libraries={})(candidates.double)
    with pytest.raises(zenith.ConfigError, match="deadline"):
        kernel.register("tried", candidates.wrong, risky=True, deadline=deadline)
    assert [candidate.name for candidate in kernel.candidates] == ["default"]
