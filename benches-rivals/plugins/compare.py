#!/usr/bin/env python3
"""Plugins called from Python: zenith.Engine against wasmtime's and Extism's own packages, in alternating rounds.

All run `add_one` (a saturating addition to every byte): Zenith and wasmtime the same module, Extism the same loop
behind its own calls for input and output. Every contender gives back new memory with the result; every result is
checked.

    make plugins
    python3 benches-rivals/plugins/compare.py [--bytes 0,150000] [--rounds 7] [--plugins target/plugins]

Needs the packages zenith, numpy, wasmtime and extism (`python benches-rivals/envs.py plugins --zenith WHEEL` makes an
environment of them) and what `make plugins` needs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import extism
import numpy as np
import wasmtime
import zenith

REPOSITORY = Path(__file__).resolve().parents[2]


def build_extism_guest() -> Path:
    """Build the guest for Extism as `scripts/plugins` builds Zenith's."""
    crate = Path(__file__).parent / "extism_add_one"
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "rival-guests"
    # The flags of plugins/.cargo/config.toml.
    flags = "-Ctarget-feature=+simd128,+bulk-memory,+nontrapping-fptoint -Cllvm-args=-force-vector-interleave=8"
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target), "RUSTFLAGS": flags}
    rustc = os.environ.get("ZENITH_WASM_RUSTC")
    if rustc:
        environment["RUSTC"] = rustc
        environment["CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER"] = str(Path(rustc).parent / "wasm-ld")
    command = ["cargo", "build", "--quiet", "--release", "--target", "wasm32-unknown-unknown"]
    subprocess.run(command, cwd=crate, check=True, env=environment)
    return target / "wasm32-unknown-unknown/release/extism_add_one.wasm"


class WithWasmtime:
    """What one writes with the package `wasmtime`: memory written and read by its slices, one instance kept."""

    def __init__(self, module: bytes, length: int) -> None:
        """Make an instance with room for ``length`` bytes."""
        engine = wasmtime.Engine()
        self.store = wasmtime.Store(engine)
        exports = wasmtime.Instance(self.store, wasmtime.Module(engine, module), []).exports(self.store)
        self.memory: Any = exports["memory"]
        self.function: Any = exports["process"]
        self.place = self.memory.data_len(self.store)
        self.memory.grow(self.store, length // 65_536 + 1)

    def __call__(self, data: bytes) -> bytes:
        """Copy in, call, copy out."""
        self.memory.write(self.store, data, self.place)
        status = self.function(self.store, self.place, len(data))
        assert status == 0
        return bytes(self.memory.read(self.store, self.place, self.place + len(data)))


def contenders(plugins: Path, length: int) -> dict[str, tuple[Callable[[Any], Any], Any]]:
    """Each contender: what is called, and with what."""
    module = (plugins / "add_one.wasm").read_bytes()
    engine = zenith.Engine()
    engine.load_plugin(module)
    other = extism.Plugin({"wasm": [{"data": build_extism_guest().read_bytes()}]})
    data = np.random.default_rng(1).integers(0, 256, length, np.uint8)
    raw = data.tobytes()
    return {
        "zenith, bytes": (engine.process, raw),
        "zenith, ndarray": (engine.process, data),
        "wasmtime": (WithWasmtime(module, length), raw),
        "extism": (lambda given: other.call("add_one", given), raw),
    }


def seconds(call: Callable[[Any], Any], data: Any) -> float:
    """Seconds of a call, over as many as fill a fifth of a second."""
    times, took = 1, 0.0
    while took < 0.2:
        start = time.perf_counter()
        for _ in range(times):
            call(data)
        took = time.perf_counter() - start
        times = times if took >= 0.2 else max(times * 2, int(times * 0.25 / max(took, 1e-6)))
    return took / times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", default="0,150000", help="lengths of the data, comma-separated")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plugins", type=Path, default=REPOSITORY / "target/plugins")
    options = parser.parse_args()
    for length in map(int, options.bytes.split(",")):
        all_of_them = contenders(options.plugins, length)
        for name, (call, data) in all_of_them.items():
            expected = np.minimum(np.frombuffer(bytes(data), np.uint8).astype(np.int64) + 1, 255).astype(np.uint8)
            assert bytes(call(data)) == expected.tobytes(), name
        rounds: dict[str, list[float]] = {name: [] for name in all_of_them}
        for number in range(options.rounds):
            names = list(all_of_them)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                rounds[name].append(seconds(*all_of_them[name]))
        ours = rounds["zenith, bytes"]
        for name, took in rounds.items():
            ratio = statistics.median(theirs / our for theirs, our in zip(took, ours, strict=True))
            facts = {"bytes": length, "contender": name, "microseconds": round(statistics.median(took) * 1e6, 2)}
            print(json.dumps({**facts, "times_zenith_bytes": round(ratio, 2), "rounds": len(took)}), flush=True)


if __name__ == "__main__":
    main()
