"""`zenith.Engine` with the example plugins, which `make plugins` builds."""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import zenith
from plugins import guest


@pytest.fixture
def engine() -> Iterator[zenith.Engine]:
    """An engine with the tutorial's plugin."""
    made = zenith.Engine(buffer_size=8, num_workers=2)
    made.load_plugin(guest("add_one"))
    yield made
    made.close()


def test_the_tutorials_plugin(engine: zenith.Engine) -> None:
    assert engine.process(b"\x01\x02\x03") == b"\x02\x03\x04"
    assert engine.process(b"\xff") == b"\xff"
    assert engine.process(b"") == b""


KINDS: list[tuple[Any, Any]] = [
    (bytearray(b"\x01\xff"), bytearray(b"\x02\xff")),
    (np.array([[1, 2], [3, 255]], np.uint8), np.array([[2, 3], [4, 255]], np.uint8)),
    (
        np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2],
        np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2] + 1,
    ),
    (
        np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
        np.arange(1, 7, dtype=np.uint8).reshape(2, 3),
    ),
    (np.uint8(7), np.uint8(8)),
    (np.zeros((0, 3), np.uint8), np.zeros((0, 3), np.uint8)),
    (torch.tensor([[1, 255]], dtype=torch.uint8), torch.tensor([[2, 255]], dtype=torch.uint8)),
    (torch.arange(4, dtype=torch.uint8)[::2], torch.tensor([1, 3], dtype=torch.uint8)),
    (pa.array([1, 2], pa.uint8()), pa.array([2, 3], pa.uint8())),
    (pa.chunked_array([[1], [2]], pa.uint8()), pa.chunked_array([[2, 3]], pa.uint8())),
]


@pytest.mark.parametrize(("data", "expected"), KINDS, ids=lambda value: type(value).__name__)
def test_the_same_kind_comes_back(engine: zenith.Engine, data: Any, expected: Any) -> None:
    out = engine.process(data)
    assert type(out) is (np.ndarray if isinstance(data, np.uint8) else type(data))
    if isinstance(data, (np.ndarray, np.generic, torch.Tensor)):
        assert out.dtype == data.dtype
        assert tuple(out.shape) == tuple(data.shape)
        assert (np.asarray(out) == np.asarray(expected)).all()
    else:
        assert out == expected


def test_memory_views(engine: zenith.Engine) -> None:
    out = engine.process(memoryview(b"\x01\x02"))
    assert isinstance(out, memoryview)
    assert out.tobytes() == b"\x02\x03"


def test_containers(engine: zenith.Engine) -> None:
    data = {"a": np.array([1], np.uint8), "b": (b"\x02", [torch.tensor([3], dtype=torch.uint8)])}
    out = engine.process(data)
    assert out["a"].tolist() == [2]
    assert out["b"][0] == b"\x03"
    assert isinstance(out["b"][1], list)
    assert out["b"][1][0].tolist() == [4]
    batch = pa.record_batch(
        {"x": pa.array([1, 2], pa.uint8()), "y": pa.array([[1, 2], [3, 4]], pa.list_(pa.uint8(), 2))}
    )
    made = engine.process(batch)
    assert made.schema == batch.schema
    assert made.to_pydict() == {"x": [2, 3], "y": [[2, 3], [4, 5]]}


def test_input_is_never_modified(engine: zenith.Engine) -> None:
    array = np.array([1, 2], np.uint8)
    raw = bytearray(b"\x01\x02")
    tensor = torch.tensor([1, 2], dtype=torch.uint8)
    outs = engine.process((array, raw, tensor))
    assert (array.tolist(), bytes(raw), tensor.tolist()) == ([1, 2], b"\x01\x02", [1, 2])
    outs[0][:] = 9
    outs[2][:] = 9
    assert (array.tolist(), tensor.tolist()) == ([1, 2], [1, 2])


def test_shape_and_type_may_change() -> None:
    engine = zenith.Engine()
    plugin = engine.load_plugin(guest("tokenize_bytes"), TOKENIZE)
    assert plugin.abi == 1
    out = engine.process(np.frombuffer(b"ab", np.uint8))
    assert out.dtype == np.int32 or out.dtype == np.int64
    assert out.shape == (8,)
    assert isinstance(engine.process(b"ab"), bytes)
    assert isinstance(engine.process(torch.tensor([97, 98], dtype=torch.uint8)), torch.Tensor)


#: A configuration of `tokenize_bytes` that gives eight tokens.
TOKENIZE = "length=8"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (3, "this is int"),
        ({"a": "text"}, r"at \['a'\] there is str"),
        (np.array(["a"]), "element types"),
        (torch.zeros(2, dtype=torch.complex64), "element types"),
        (torch.zeros(2).to_sparse(), "dense tensors"),
        (pa.array([1, None], pa.uint8()), "nulls"),
        (pa.array(["a"]), "numbers"),
    ],
)
def test_other_kinds_are_refused(engine: zenith.Engine, data: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        engine.process(data)


def test_a_chain_in_load_order() -> None:
    engine = zenith.Engine()
    first = engine.load_plugin(guest("add_one"), name="first")
    engine.load_plugin(guest("add_one").read_bytes(), name="second")
    assert [plugin.name for plugin in engine.plugins] == ["first", "second"]
    assert (first.abi, first.version) == (0, "")
    assert engine.process(b"\x01") == b"\x03"
    assert engine.process(np.array([1], np.uint8)).tolist() == [3]
    engine.unload_plugin("first")
    assert engine.process(b"\x01") == b"\x02"
    with pytest.raises(zenith.PluginError, match='no plugin called "first" is loaded; there are: second'):
        engine.unload_plugin("first")
    engine.unload_plugin("second")
    assert engine.process(b"\x01") == b"\x01"


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    engine = zenith.Engine(module_bytes=1000)
    with pytest.raises(zenith.PluginError, match=r"missing\.wasm") as missing:
        engine.load_plugin(tmp_path / "missing.wasm")
    assert missing.value.kind == "io"
    text = tmp_path / "text.wasm"
    text.write_text("hello")
    with pytest.raises(zenith.PluginError) as other:
        engine.load_plugin(text)
    assert other.value.kind == "not_wasm"
    with pytest.raises(zenith.PluginError) as empty:
        engine.load_plugin(b"")
    assert empty.value.kind == "not_wasm"
    with pytest.raises(zenith.PluginError) as large:
        engine.load_plugin(guest("image_resize"))
    assert large.value.kind == "too_large"
    with pytest.raises(zenith.PluginError, match="function_bytes") as function:
        zenith.Engine(function_bytes=100).load_plugin(guest("image_resize"))
    assert function.value.kind == "too_large"
    with pytest.raises(zenith.PluginError) as named:
        engine.load_plugin(tmp_path / "missing.wasm", name="another")
    assert named.value.kind == "io"
    with pytest.raises(zenith.PluginError) as config:
        zenith.Engine().load_plugin(guest("add_one"), "a configuration")
    assert config.value.kind == "config"
    assert engine.plugins == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"buffer_size": 0},
        {"buffer_size": 1.5},
        {"buffer_size": 1 << 40},
        {"num_workers": 0},
        {"num_workers": 5000},
        {"memory_limit": -1},
        {"deadline_ms": 0},
        {"deadline_ms": "soon"},
        {"deadline_ms": 10**400},
        {"memory_limit": 2**64},
        {"fuel": 1.5},
        {"tables": 1 << 40},
        {"table_elements": 1 << 40},
        {"stack": 1},
    ],
)
def test_numbers_that_make_no_sense(arguments: dict[str, Any]) -> None:
    with pytest.raises(zenith.ConfigError, match=next(iter(arguments)).removesuffix("_ms")):
        zenith.Engine(**arguments)


def test_numbers_of_numpy_are_numbers() -> None:
    engine = zenith.Engine(memory_limit=np.int64(1 << 20), deadline_ms=np.float32(50))  # type: ignore[arg-type]
    limits = engine.load_plugin(guest("add_one")).limits
    assert (limits["memory_limit"], limits["deadline_ms"]) == (1 << 20, 50.0)


#: A plugin whose `process` never returns: (loop (br 0)).
ENDLESS = bytes.fromhex(
    "00 61 73 6d 01 00 00 00"
    "01 07 01 60 02 7f 7f 01 7f"  # a type: (i32, i32) -> i32
    "03 02 01 00"  # a function of it
    "05 03 01 00 01"  # a memory of a page
    "07 14 02 06 6d 65 6d 6f 72 79 02 00 07 70 72 6f 63 65 73 73 00 00"  # exported as memory and process
    "0a 0a 01 08 00 03 40 0c 00 0b 00 0b"  # loop, br 0, end, unreachable, end
)


def test_a_deadline_ends_a_call_and_nothing_else(engine: zenith.Engine) -> None:
    hostile = zenith.Engine(deadline_ms=20)
    hostile.load_plugin(ENDLESS, name="endless")
    for _ in range(3):
        with pytest.raises(zenith.PluginError, match="endless") as stopped:
            hostile.process(b"\x01")
        assert (stopped.value.kind, stopped.value.plugin) == ("deadline", "endless")
        assert engine.process(b"\x01") == b"\x02"


def test_a_stream_in_order(engine: zenith.Engine) -> None:
    with engine:
        items = (np.full(5, n % 250, np.uint8) for n in range(500))
        assert [int(out[0]) for out in engine.map(items)] == [n % 250 + 1 for n in range(500)]
        mixed: list[Any] = [b"\x01", {"a": b"\x02", "b": np.array([3], np.uint8)}, bytearray(b"\x04")]
        out = list(engine.map(mixed))
        assert out[0] == b"\x02"
        assert (out[1]["a"], out[1]["b"].tolist()) == (b"\x03", [4])
        assert out[2] == bytearray(b"\x05")


def test_an_engine_starts_again_until_it_is_closed(engine: zenith.Engine) -> None:
    for _ in range(2):
        with engine:
            with engine:
                assert list(engine.map([b"\x01"])) == [b"\x02"]
            assert list(engine.map([b"\x01"])) == [b"\x02"], "the inner with is not the last"
        with pytest.raises(zenith.ConfigError, match="with engine"):
            engine.map([])
        assert engine.process(b"\x01") == b"\x02"
    engine.load_plugin(guest("add_one"))
    assert engine.process(b"\x01") == b"\x03"
    engine.close()
    assert engine.closed
    for use in (lambda: engine.process(b""), lambda: engine.map([]), engine.__enter__):
        with pytest.raises(zenith.ConfigError, match="closed"):
            use()


@pytest.mark.parametrize("taken", [1, 3])
def test_a_stream_ends_with_its_threads(engine: zenith.Engine, taken: int) -> None:
    with engine:
        streams = [engine.map(itertools.repeat(b"\x01")), engine.map([b"\x01"] * 4)]
        for stream in streams:
            assert [next(stream) for _ in range(taken)] == [b"\x02"] * taken
    for stream in streams:
        with pytest.raises(zenith.ConfigError, match="stopped while the stream was open"):
            next(stream)


def test_results_before_a_failing_item_are_handed_out(engine: zenith.Engine) -> None:
    def broken() -> Iterator[bytes]:
        yield b"\x01"
        yield b"\x02"
        raise OSError("no more")

    cases: list[tuple[Any, type[Exception]]] = [
        (broken(), OSError),
        ([b"\x01", b"\x02", 3], TypeError),
    ]
    with engine:
        for items, error in cases:
            stream = engine.map(items)
            assert [next(stream), next(stream)] == [b"\x02", b"\x03"]
            with pytest.raises(error):
                next(stream)


def test_a_result_that_is_ready_is_not_kept_back(engine: zenith.Engine) -> None:
    asked = 0

    def slow() -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"\x01"
            # As good as for ever: the item before was made long ago.
            time.sleep(0.02)

    wide = zenith.Engine(buffer_size=100_000, num_workers=2)
    wide.load_plugin(guest("add_one"))
    with wide:
        next(wide.map(slow()))
        assert asked < 1000


def test_items_without_arrays_are_bounded_too(engine: zenith.Engine) -> None:
    with engine:
        assert next(engine.map(itertools.repeat({}))) == {}


def test_memory_may_be_used_again(engine: zenith.Engine) -> None:
    buffer = bytearray()

    def growing() -> Iterator[bytearray]:
        for value in range(20):
            buffer.extend([value])
            yield buffer

    with engine:
        assert [len(out) for out in engine.map(growing())] == list(range(1, 21))


def test_bools_stay_bools(engine: zenith.Engine) -> None:
    for data in (np.array([True, False]), torch.tensor([True, False]), pa.array([True, False])):
        with pytest.raises(zenith.PluginError, match="a bool is neither 0 nor 1"):
            engine.process(data)


def test_the_default_device_does_not_matter(engine: zenith.Engine) -> None:
    tensor = torch.tensor([1, 255], dtype=torch.uint8)
    with torch.device("meta"):
        assert engine.process(tensor).tolist() == [2, 255]


def test_masks_are_refused(engine: zenith.Engine) -> None:
    with pytest.raises(TypeError, match="masks"):
        engine.process({"a": np.ma.masked_array(np.zeros(2, np.uint8), [True, False])})


def test_arrow_slices_and_schemas(engine: zenith.Engine) -> None:
    lists = pa.array([[1, None], [3, 4]], pa.list_(pa.uint8(), 2))
    assert engine.process(lists[1:]).to_pylist() == [[4, 5]]
    assert engine.process(pa.array([None, 1, 2], pa.uint8())[1:]).to_pylist() == [2, 3]
    field = pa.field("x", pa.uint8(), nullable=False, metadata={"unit": "m"})
    batch = pa.record_batch([pa.array([1], pa.uint8())], schema=pa.schema([field], {"from": "here"}))
    assert engine.process(batch).schema.equals(batch.schema, check_metadata=True)


def test_a_splitters_result_is_always_a_list() -> None:
    engine = zenith.Engine()
    engine.load_plugin(guest("tiles"), "2")
    picture = np.zeros((2, 2, 3), np.uint8)
    for rows, parts in ((picture[:1], 0), (picture, 1), (np.concatenate([picture, picture]), 2)):
        out = engine.process(rows)
        assert type(out) is list
        assert len(out) == parts


def enter(engine: zenith.Engine) -> None:
    with engine:
        pass


@pytest.mark.parametrize("use", [lambda engine: engine.process(b"\x01"), enter])
def test_a_forked_child_is_told_to_make_a_new_one(engine: zenith.Engine, use: Any) -> None:
    def child(pipe: Any) -> None:
        try:
            use(engine)
        except zenith.PluginError as error:
            pipe.send((error.kind, str(error)))
        else:
            pipe.send(None)

    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=child, args=(there,))
    # As if another thread was starting or stopping the engine just then.
    with engine._lock:
        process.start()
    assert here.poll(60)
    assert here.recv() == (
        "forked",
        "the engine was made before this process was forked; make a new one in the child",
    )
    process.join()


def test_a_stream_is_bounded(engine: zenith.Engine) -> None:
    taken = itertools.count()
    with engine:
        stream = engine.map(bytes([next(taken) % 200]) for _ in range(1000))
        next(stream)
        assert next(taken) <= engine._core.buffer_size + 2
        stream.close()  # type: ignore[attr-defined]
        assert list(engine.map([b"\x01"])) == [b"\x02"]


def test_the_item_that_fails_ends_the_stream_in_its_turn() -> None:
    engine = zenith.Engine(num_workers=2)
    engine.load_plugin(guest("normalize"), "mean=0.5,0.5,0.5;std=0.5,0.5,0.5")
    good, bad = np.zeros((3, 2, 2), np.uint8), np.zeros((3, 2, 2), np.int64)
    with engine:
        stream = engine.map([good, good, bad, good])
        assert next(stream).shape == (3, 2, 2)
        assert next(stream).shape == (3, 2, 2)
        with pytest.raises(zenith.PluginError, match="normalize"):
            next(stream)
        assert len(list(engine.map([good]))) == 1


def test_streams_need_the_threads(engine: zenith.Engine) -> None:
    with pytest.raises(zenith.ConfigError, match="with engine"):
        engine.map([b""])
    with engine, pytest.raises(zenith.ConfigError, match="while the engine's threads run"):
        engine.load_plugin(guest("add_one"))


def test_an_item_larger_than_the_buffer() -> None:
    engine = zenith.Engine(buffer_size=2)
    engine.load_plugin(guest("add_one"))
    with engine, pytest.raises(zenith.ConfigError, match="buffer_size of 2"):
        list(engine.map([[b"\x01"] * 3]))


def test_many_python_threads(engine: zenith.Engine) -> None:
    right = [0] * 16

    def hammer(value: int) -> None:
        for _ in range(200):
            right[value] += engine.process(bytes([value]) * 1000) == bytes([value + 1]) * 1000

    threads = [threading.Thread(target=hammer, args=(value,)) for value in range(16)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert right == [200] * 16


def test_engines_share_a_clock() -> None:
    engines = [zenith.Engine() for _ in range(5)]
    for each in engines:
        each.load_plugin(guest("add_one"))
        assert each.process(b"\x01") == b"\x02"
    names = []
    for thread in os.listdir("/proc/self/task"):
        # One that has been joined may be listed for a moment longer.
        with contextlib.suppress(OSError):
            names.append(Path(f"/proc/self/task/{thread}/comm").read_text().strip())
    assert names.count("zenith-ticker") == 1


def test_nothing_is_left_behind() -> None:
    def once() -> None:
        engine = zenith.Engine(num_workers=3)
        engine.load_plugin(guest("add_one"))
        with engine:
            next(engine.map(itertools.repeat(b"\x01")))

    once()
    gc.collect()
    threads, files = len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        once()
    gc.collect()
    for _ in range(1000):
        if len(os.listdir("/proc/self/task")) <= threads:
            break
        time.sleep(0.02)
    assert len(os.listdir("/proc/self/task")) <= threads
    assert len(os.listdir("/proc/self/fd")) <= files
