"""Kernels under ``@triton.autotune``: what Triton measures of configurations is kept, so that it is measured once.

Triton goes on to prune, measure and choose as it does; only the measuring of a configuration asks the store first.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable
from typing import Any

from .. import _core
from .._errors import KernelError
from . import _process

_MS = 1e6
# What a configuration that was not measured gets while measuring is forbidden: the first one before all others.
_FORBIDDEN_MS = 1e12

_state: dict[str, Any] = {"original": None, "selector": None, "folder": None}


def install(triton: bool = True) -> bool:
    """Lets the decision store keep what ``@triton.autotune`` measures, for kernels that exist and those to come.

    Args:
        triton: whether to; False gives Triton back to itself.

    Returns:
        Whether that changed anything.

    Raises:
        KernelError: Triton is not installed, or its autotuner is none that is known.
    """
    try:
        from triton.runtime import autotuner  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        if not triton:
            return False
        raise KernelError(f"Triton cannot be imported: {error}", kind="triton") from error
    tuner = autotuner.Autotuner
    original = _state["original"]
    if triton == (original is not None):
        return False
    if not triton:
        tuner._bench = original
        _state["original"] = None
        return True
    if not callable(getattr(tuner, "_bench", None)):
        raise KernelError("this Triton's autotuner measures by other means than `_bench`", kind="triton")
    _state["original"] = tuner._bench
    tuner._bench = _keeping(tuner._bench)
    return True


def _keeping(original: Callable[..., Any]) -> Callable[..., Any]:
    def _bench(tuner: Any, *args: Any, config: Any, **meta: Any) -> Any:
        if config.pre_hook is not None:
            # A hook is code that no hash of ours sees.
            return original(tuner, *args, config=config, **meta)
        place = (_key(tuner, meta), _identity(tuner, config), _libraries())
        selector = _selector()
        known = selector.recorded(*place)
        if known is not None:
            return [ns / _MS for ns in known] or [math.inf] * 3
        if _process.is_frozen():
            return [_FORBIDDEN_MS + list(tuner.configs).index(config)] * 3
        _process.count(benchmarks=1)
        told = original(tuner, *args, config=config, **meta)
        times = [float(time) for time in told] if isinstance(told, list | tuple) else [float(told)]
        if all(math.isfinite(time) and time > 0 for time in times):
            selector.record(*place, [time * _MS for time in times], None)
        else:
            selector.record(*place, [], "Triton could not compile or run it")
        return told

    return _bench


def _selector() -> _core.KernelSelector:
    folder = _process.store_folder()
    if _state["selector"] is None or _state["folder"] != folder:
        root = None if folder is None else str(folder.parent)
        _state["selector"] = _core.KernelSelector(root, _device(), "{}")
        _state["folder"] = folder
    return _state["selector"]


def _device() -> tuple[str, str, str | None] | None:
    """The GPU that Triton compiles for; None (the processors) where there is none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    facts = torch.cuda.get_device_properties(torch.cuda.current_device())
    model = f"{facts.name} sm_{facts.major}{facts.minor} x{facts.multi_processor_count}"
    return "cuda", model, torch.version.cuda or torch.version.hip


def _key(tuner: Any, meta: dict[str, Any]) -> str:
    given = {**tuner.nargs, **meta}
    keys = [given[name] for name in tuner.keys if name in given]
    dtypes = [str(value.dtype) for value in given.values() if hasattr(value, "dtype")]
    dims = {f"k.{place}": value for place, value in enumerate(keys) if type(value) is int and value >= 0}
    others = [value for value in keys if not (type(value) is int and value >= 0)]
    word = "none"
    if others:
        word = hashlib.sha256(json.dumps([repr(value) for value in others]).encode()).hexdigest()[:32]
    sizes = ",".join(f"{name}={value}" for name, value in dims.items())
    op = f"triton.{tuner.base_fn.__name__}"[:128]
    return f"{op}@1({sizes});{','.join(dtypes)};math=ieee;layout=;align=64;epilogue={word};deterministic=any;mode=eager"


def _identity(tuner: Any, config: Any) -> tuple[str, str, str]:
    said = "/".join(f"{name}:{value}" for name, value in config.all_kwargs().items())
    fits = all(character.isascii() and (character.isalnum() or character in "_.+:/-") for character in said)
    name = said if fits and 0 < len(said) <= 128 else hashlib.sha256(said.encode()).hexdigest()[:32]
    function = tuner.fn
    while not hasattr(function, "src") and hasattr(function, "fn"):
        function = function.fn
    source = getattr(function, "src", repr(tuner.base_fn))
    return name, "0", hashlib.sha256(str(source).encode()).hexdigest()[:32]


def _libraries() -> list[tuple[str, str]]:
    triton = sys.modules["triton"]
    return [("triton", str(triton.__version__))]
