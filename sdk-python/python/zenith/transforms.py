"""Transforms of Zenith's own, to stand among torchvision's in ``transform=``."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from typing import Any

from . import _core
from ._errors import ConfigError, PluginError
from ._limits import LIMITS, limits_as_json


class _Spent(threading.local):
    """What the calls of a plugin by this thread took."""

    calls = 0
    nanoseconds = 0


class Wasm:
    """A WebAssembly plugin as a transform.

    In a loader's ``transform=`` it may stand anywhere among torchvision's operations, also inside of a ``Compose``,
    and in ``plugins=``. Before a ``ToImage`` or ``ToTensor`` it sees a picture as uint8 of shape [H, W, 3], behind one
    a tensor [C, H, W]. A plugin may change shape and type, drop samples (a filter) or split them.

    It can be called with one sample, too: bytes, a NumPy array, a torch tensor on the CPU or a PIL picture. The result
    is of the same kind; where the result for a PIL picture is none, it is a tensor (an array, without torch).

    Args:
        module: path of a .wasm file, or its bytes.
        config: the plugin's configuration, in its own words.
        **limits: what a call may use: ``memory_limit`` in bytes (256 MiB), ``deadline_ms`` (1,000), ``fuel`` in
            instructions (any), ``tables`` (4), ``table_elements`` (65,536), ``stack`` in bytes (512 KiB),
            ``module_bytes`` (16 MiB), ``function_bytes`` (128 KiB).

    Attributes:
        name: of the plugin.
        version: the plugin's own; empty where it has none.
        abi: version of the plugin ABI that it speaks.

    Raises:
        PluginError: it cannot be loaded: no such file, not WebAssembly, not a plugin, or it refuses its configuration.
        ConfigError: a limit that does not exist.
    """

    def __init__(
        self, module: str | os.PathLike[str] | bytes, config: str | None = None, **limits: int | float | None
    ) -> None:
        unknown = sorted(set(limits) - set(LIMITS))
        if unknown:
            raise ConfigError(f"plugins have no limit {', '.join(unknown)}; there are {', '.join(LIMITS)}")
        self._module: str | bytes = (
            bytes(module) if isinstance(module, (bytes, bytearray, memoryview)) else os.fspath(module)
        )
        self._config = config
        self._limits = {name: value for name, value in limits.items() if value is not None}
        self._loaded: tuple[int, _core.Wasm] | None = None
        self._here = _Spent()
        plugin = self._native()
        self.name = plugin.name
        self.version = plugin.version
        self.abi = plugin.abi

    def _native(self) -> _core.Wasm:
        """The plugin as this process has loaded it; threads that enforce its limits do not survive a fork."""
        here = os.getpid()
        if self._loaded is None or self._loaded[0] != here:
            self._loaded = (here, _core.Wasm(self._module, self._config, limits_as_json(self._limits)))
        return self._loaded[1]

    def _spent(self) -> tuple[int, int]:
        """How often this thread called it, and the nanoseconds that took."""
        return self._here.calls, self._here.nanoseconds

    @property
    def yields(self) -> str:
        """How many samples become of one: ``"one"``, ``"at most one"`` or ``"any"``."""
        return self._native().yields

    def __call__(self, sample: Any) -> Any:
        """The plugin applied to one sample, outside of a native loader.

        Raises:
            PluginError: the plugin refuses the sample, or drops or splits it.
            TypeError: the sample is of a kind that plugins do not take.
        """
        import numpy as np

        array, back = _as_array(sample)
        plugin = self._native()
        # Zenith's workers seed this generator with (seed, epoch, sample).
        bits = random.getrandbits(64) if self.abi > 0 else 0
        begun = time.perf_counter_ns()
        try:
            results = plugin.apply(
                array.dtype.name, list(array.shape), array.__array_interface__["data"][0], array.nbytes, bits
            )
        finally:
            here = self._here
            here.calls += 1
            here.nanoseconds += time.perf_counter_ns() - begun
        if len(results) != 1:
            what = "drops this sample" if not results else f"splits this sample into {len(results)}"
            reason = f"it {what}; that works where it runs natively in a loader, but not when it is called"
            raise PluginError(f"{self.name}: {reason}", plugin=self.name, kind="unfit", reason=reason)
        dtype, shape, data = results[0]
        del array
        return back(np.frombuffer(data, dtype).reshape(shape))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_loaded", "_here")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_loaded": None, "_here": _Spent()}

    def __copy__(self) -> Wasm:
        again = object.__new__(type(self))
        again.__dict__ |= self.__dict__ | {"_here": _Spent()}
        return again

    def __repr__(self) -> str:
        place = f"<{len(self._module):,} bytes>" if isinstance(self._module, bytes) else repr(self._module)
        config = "" if self._config is None else f", config={self._config!r}"
        limits = "".join(f", {name}={value!r}" for name, value in self._limits.items())
        return f"Wasm({place}{config}{limits})"


def as_plugin(given: Any) -> Wasm:
    """What a user names as a plugin: a :class:`Wasm`, a path, or bytes.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(given, Wasm):
        return given
    if isinstance(given, (str, bytes, bytearray, memoryview, os.PathLike)):
        return Wasm(given)  # type: ignore[arg-type]
    raise ConfigError(
        f"a plugin is a path, the bytes of a .wasm file or zenith.transforms.Wasm(...), not {type(given).__name__}"
    )


def _as_array(sample: Any) -> tuple[Any, Any]:
    """A sample as a C-contiguous array, and what turns a result into the sample's kind."""
    import numpy as np

    torch: Any = sys.modules.get("torch")
    pil: Any = sys.modules.get("PIL.Image")
    if isinstance(sample, (bytes, bytearray, memoryview)):
        return np.array(memoryview(sample).cast("B"), np.uint8), lambda array: type(sample)(array.tobytes())
    if torch is not None and isinstance(sample, torch.Tensor):
        if sample.device.type != "cpu" or sample.layout is not torch.strided or sample.is_complex():
            raise TypeError(
                "plugins take dense tensors of numbers on the CPU; "
                f"this is {sample.dtype} on {sample.device}, {sample.layout}"
            )
        tensor = sample.detach().resolve_neg()
        # ascontiguousarray makes a row of a single value
        return np.ascontiguousarray(tensor.numpy()).reshape(tuple(tensor.shape)), torch.from_numpy
    if pil is not None and isinstance(sample, pil.Image):

        def back(array: Any) -> Any:
            if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3:
                return pil.fromarray(array)
            if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 1:
                return pil.fromarray(array[:, :, 0])
            return array if torch is None else torch.from_numpy(array)

        return np.ascontiguousarray(np.asarray(sample.convert("RGB"))), back
    if isinstance(sample, (np.ndarray, np.generic)) and sample.dtype.kind in "biuf":
        array = np.ascontiguousarray(sample, dtype=sample.dtype.newbyteorder("="))
        # ascontiguousarray makes a row of a single value
        return array.reshape(np.shape(sample)), lambda result: result
    raise TypeError(
        f"plugins take bytes, NumPy arrays of numbers, torch tensors and PIL pictures, not {type(sample).__name__}"
    )


__all__ = ["Wasm"]
