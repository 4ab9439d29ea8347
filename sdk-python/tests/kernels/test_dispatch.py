"""The way from a call to what was chosen for it: each difference that matters is seen, and no result is another."""

import os
import signal

import numpy as np
import pytest
import torch
import zenith
import zenith.kernels as zk
from zenith import _core
from zenith.kernels._matmul import operation

rng = np.random.default_rng(5)


def tensors():
    """Pairs of operands that have to be told apart."""
    a, b = torch.randn(8, 12), torch.randn(12, 6)
    return {
        "plain": (a, b),
        "columns": (a, torch.randn(6, 12).T),
        "padded": (torch.randn(8, 20)[:, :12], b),
        "strided": (a, torch.randn(12, 12)[:, ::2]),
        "unaligned": (torch.randn(97)[1:].view(8, 12), b),
        "expanded": (torch.randn(1, 12).expand(8, 12), b),
        "float64": (a.double(), b.double()),
        "float16": (a.half(), b.half()),
        "bfloat16": (a.bfloat16(), b.bfloat16()),
        "complex": (torch.randn(8, 12, dtype=torch.complex64), torch.randn(12, 6, dtype=torch.complex64)),
        "conjugate": (
            torch.randn(12, 8, dtype=torch.complex64).mH,
            torch.randn(12, 6, dtype=torch.complex64),
        ),
        "negative": (torch.randn(8, 12, dtype=torch.complex64).conj().imag, b),
        "integers": (torch.randint(9, (8, 12)), torch.randint(9, (12, 6))),
        "vector": (a[0], b),
        "vectors": (a[0], a[1]),
        "matrix and vector": (a, b[:, 0]),
        "batch": (torch.randn(3, 8, 12), torch.randn(3, 12, 6)),
        "batch of one": (torch.randn(3, 8, 12), b),
        "gradient": (a.clone().requires_grad_(), b),
        "parameter": (a, torch.nn.Parameter(b.clone())),
        "empty": (torch.randn(0, 12), b),
        "nothing between": (torch.randn(8, 0), torch.randn(0, 6)),
        "other": (torch.randn(9, 12), b),
    }


@pytest.mark.parametrize("name", list(tensors()))
def test_tensors_give_what_torch_gives(store, name):
    a, b = tensors()[name]
    for _ in range(3):
        got, want = zk.matmul(a, b), torch.matmul(a, b)
        assert type(got) is type(want) and got.dtype == want.dtype and got.shape == want.shape
        assert got.requires_grad == want.requires_grad
        assert torch.allclose(
            got.detach(), want.detach(), rtol=1e-2 if got.dtype.itemsize < 4 else 1e-4, atol=1e-4
        )


def test_one_dispatcher_tells_them_all_apart(store):
    """In one process, in any order, each kind of operands gets its own choice."""
    pairs = list(tensors().values())
    for _ in range(2):
        for place in rng.permutation(len(pairs)):
            a, b = pairs[place]
            got, want = zk.matmul(a, b), torch.matmul(a, b)
            assert got.dtype == want.dtype and got.requires_grad == want.requires_grad
            assert torch.allclose(got.detach(), want.detach(), rtol=1e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "complex64", "int32", "bool", ">f4"])
@pytest.mark.parametrize("layout", ["rows", "columns", "reversed"])
def test_arrays_give_what_numpy_gives(store, dtype, layout):
    a, b = (rng.integers(0, 5, shape).astype(dtype) for shape in ((8, 12), (12, 6)))
    if layout == "columns":
        b = np.asfortranarray(b)
    if layout == "reversed":
        a, b = a[:, ::-1], b[::-1]
    for _ in range(3):
        got, want = zk.matmul(a, b), np.matmul(a, b)
        assert type(got) is np.ndarray and got.dtype == want.dtype and np.allclose(got, want)


def test_errors_are_those_of_the_framework(store):
    with pytest.raises(RuntimeError):
        zk.matmul(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError):
        zk.matmul(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(TypeError):
        zk.matmul(torch.ones(2, 3))
    with pytest.raises(TypeError):
        zk.matmul(torch.ones(2, 3), np.ones((3, 2)))


def every_candidate(a, b):
    """Names of candidates that can do a call."""
    return [s.name for s in zk.explain("matmul", a, b).standings if s.verdict != "unsupported"]


def test_every_candidate_is_right_on_tensors_and_arrays(store):
    a, b = torch.randn(33, 70), torch.randn(70, 41)
    names = every_candidate(a, b)
    assert {"torch", "torch.mm", "numpy", "gemm", "faer", "matrixmultiply"} <= set(names)
    for name in names:
        zk.pin("matmul", name)
        for x, y in ((a, b), (a.T.contiguous().T, b), (a[::2], b[:, ::3])):
            assert torch.allclose(zk.matmul(x, y), x @ y, atol=1e-4), name
        assert np.allclose(
            zk.matmul(a.double().numpy(), b.double().numpy()), (a.double() @ b.double()).numpy()
        )


def test_gradients_flow_and_are_right(store):
    """Whatever is pinned: what autograd does not see through is not used where a gradient is wanted."""
    a, b = torch.randn(16, 24), torch.randn(24, 8)
    for name in every_candidate(a, b):
        zk.pin("matmul", name)
        zk.matmul(a, b)
        x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
        zk.matmul(x, y).square().sum().backward()
        want_x, want_y = a.clone().requires_grad_(), b.clone().requires_grad_()
        torch.matmul(want_x, want_y).square().sum().backward()
        assert torch.allclose(x.grad, want_x.grad, atol=1e-3) and torch.allclose(
            y.grad, want_y.grad, atol=1e-3
        ), name
        with torch.no_grad():
            assert not zk.matmul(x, y).requires_grad


def test_wrapped_calls_reach_torch(store):
    """Modes, functorch and forward differentiation see the call even where another library was chosen."""
    a, b = torch.randn(16, 24), torch.randn(24, 8)
    zk.pin("matmul", "gemm")
    zk.matmul(a, b)
    assert zk.explain("matmul", a, b).chosen == "gemm"
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Watch():
        zk.matmul(a, b)
    assert torch.matmul in seen
    batch = torch.randn(5, 16, 24)
    assert torch.allclose(torch.vmap(lambda x: zk.matmul(x, b))(batch), batch @ b, atol=1e-5)
    gradient = torch.func.grad(lambda x: zk.matmul(x, b).sum())(a)
    assert torch.allclose(gradient, b.sum(1).expand(16, 24), atol=1e-5)
    _, tangent = torch.func.jvp(lambda x: zk.matmul(x, b), (a,), (torch.ones_like(a),))
    assert torch.allclose(tangent, torch.ones_like(a) @ b, atol=1e-5)
    import torch.autograd.forward_ad as forward

    with forward.dual_level():
        dual = forward.make_dual(a, torch.ones_like(a))
        assert forward.unpack_dual(zk.matmul(dual, b)).tangent is not None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert zk.matmul(a, b).dtype == torch.bfloat16
    assert zk.matmul(a, b).dtype == torch.float32


def test_subclasses_go_to_torch(store):
    class Mine(torch.Tensor):
        pass

    zk.pin("matmul", "gemm")
    a = torch.randn(4, 4).as_subclass(Mine)
    assert type(zk.matmul(a, a)) is Mine
    assert "subclass" in zk.explain("matmul", a, a).notes[0]
    masked = np.ma.masked_array(np.ones((3, 3)), mask=np.eye(3))
    assert type(zk.matmul(masked, masked)) is type(np.matmul(masked, masked))


def test_modes_are_seen(store):
    a, b = torch.randn(32, 32), torch.randn(32, 32)
    keys = {zk.find(zk.matmul).key(a, b)}
    before = operation.asked
    zk.matmul(a, b)
    zk.matmul(a, b)
    assert operation.asked == before + 1
    torch.use_deterministic_algorithms(True)
    try:
        zk.matmul(a, b)
        keys.add(zk.find(zk.matmul).key(a, b))
        told = zk.explain("matmul", a, b)
        assert "equal bits" in told["gemm"].reason and told["gemm.serial"].verdict != "unsupported"
    finally:
        torch.use_deterministic_algorithms(False)
    assert operation.asked == before + 2
    torch.set_float32_matmul_precision("medium")
    try:
        zk.matmul(a, b)
        keys.add(zk.find(zk.matmul).key(a, b))
    finally:
        torch.set_float32_matmul_precision("highest")
    assert operation.asked == before + 3 and len(keys) == 3
    zk.matmul(a, b)
    assert operation.asked == before + 3


def test_what_was_chosen_is_not_asked_for_again(store):
    """Each difference is asked for once; the same again, in other memory of the same alignment, is not."""
    for a, b in tensors().values():
        zk.matmul(a, b)
        before = operation.asked
        zk.matmul(a, b)
        # What has no plain memory is asked for each time.
        assert operation.asked - before in (0, 1)
    a, b = tensors()["plain"]
    before = operation.asked
    for _ in range(10):
        zk.matmul(a, b)
        zk.matmul(a.clone(), b)
    assert operation.asked - before <= 1


def test_a_choice_that_was_forgotten_meanwhile_is_asked_for_again():
    """As when another thread fixes a choice while this one measures."""

    class Choosing(_core.Dispatcher):
        def _choose(self, args, kwargs):
            if self.asked == 1:
                self.forget()
            return len, None, True

    choosing = Choosing()
    x = np.ones(3)
    assert [choosing(x) for _ in range(4)] == [3] * 4
    assert choosing.asked == 2


def test_a_tensor_that_changes_is_looked_at_anew(store):
    a, b = torch.randn(8, 12), torch.randn(12, 6)
    zk.matmul(a, b)
    a.resize_(4, 24).normal_()
    with pytest.raises(RuntimeError):
        zk.matmul(a, b)
    a.resize_(8, 12).normal_().requires_grad_()
    assert zk.matmul(a, b).requires_grad


def test_many_shapes_are_bounded(store):
    """More kinds of calls than are remembered still get what is right."""
    kernel = zenith.kernel("many", steps=1)(lambda x: x + 1)
    x = np.zeros(3000, np.float32)
    for _ in range(2):
        for length in range(1, 3000, 2):
            assert len(kernel(x[:length])) == length


def test_kernel_and_function_are_the_same_operation(store):
    a = torch.randn(8, 8)
    assert zk.find(zk.matmul) is operation and zk.find("matmul") is operation
    assert torch.equal(operation(a, a), zk.matmul(a, a))
    assert "product of two matrices" in zk.matmul.__doc__


def test_parallel_kernels_work_in_forked_children(store):
    a = np.random.default_rng(1).standard_normal((768, 768)).astype(np.float32)
    backends = [name for name, _ in _core.matmul_backends()]
    assert {"gemm", "faer"} <= set(backends)
    out, product = np.empty_like(a), a @ a
    for backend in backends:
        _core.matmul_into(backend, a, a, out)
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            for backend in backends:
                out[:] = 0
                _core.matmul_into(backend, a, a, out)
                assert np.allclose(out, product, atol=1e-2)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
