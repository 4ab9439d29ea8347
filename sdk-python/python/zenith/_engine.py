"""`Engine`: data through a chain of WebAssembly plugins, one call at a time or as a stream over worker threads."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

from . import _core
from ._errors import ConfigError
from ._kinds import Leaf, Several, Skeleton, back, take_apart
from ._limits import limits_as_json
from ._numbers import whole_number

Module = str | os.PathLike[str] | bytes | bytearray | memoryview


class Engine:
    r"""Runs plugins over data, sandboxed: whatever a plugin does, this process and the other plugins go on.

    Plugins form a chain in the order in which they were loaded. :meth:`process` works in the calling thread.
    ``with engine:`` starts worker threads for :meth:`map` and stops them at its end; then the engine can be used,
    changed and started again, until :meth:`close`. A process that was forked needs an engine of its own.

    Args:
        buffer_size: tensors that :meth:`map` may hold, waiting or finished (default 1,024).
        num_workers: threads of :meth:`map`; None: as many as this process may run at once.
        memory_limit: memory of a plugin on each thread, in bytes (256 MiB).
        deadline_ms: wall time of a call in milliseconds (1,000).
        fuel: instructions of a call, for an end that is the same on every machine; slower (None: no such limit).
        tables, table_elements: tables of a plugin and elements of each (4; 65,536).
        stack: stack of a call in bytes (512 KiB).
        module_bytes, function_bytes: length of a module and of its longest function in bytes (16 MiB; 128 KiB).

    Raises:
        ConfigError: a number that makes no sense.

    Example::

        engine = zenith.Engine()
        engine.load_plugin("add_one.wasm")
        engine.process(b"\x01\x02\xff")      # b"\x02\x03\xff"
        with engine:
            for out in engine.map(pictures):
                ...
    """

    def __init__(
        self,
        buffer_size: int = 1024,
        num_workers: int | None = None,
        *,
        memory_limit: int | None = None,
        deadline_ms: float | None = None,
        fuel: int | None = None,
        tables: int | None = None,
        table_elements: int | None = None,
        stack: int | None = None,
        module_bytes: int | None = None,
        function_bytes: int | None = None,
    ) -> None:
        buffer_size = whole_number("buffer_size", buffer_size, 1)
        workers = _core.processors() if num_workers is None else whole_number("num_workers", num_workers, 1)
        limits = limits_as_json(
            {
                "memory_limit": memory_limit,
                "deadline_ms": deadline_ms,
                "fuel": fuel,
                "tables": tables,
                "table_elements": table_elements,
                "stack": stack,
                "module_bytes": module_bytes,
                "function_bytes": function_bytes,
            }
        )
        self._core = _core.Engine(buffer_size, workers, limits)
        self._closed = False
        self._splits = False
        # How many ``with`` the engine is in.
        self._depth = 0
        self._lock = threading.Lock()
        self._process = os.getpid()

    def load_plugin(
        self, module: Module, config: str | None = None, *, name: str | None = None
    ) -> _core.Wasm:
        """Put a plugin at the end of the chain.

        Args:
            module: path of a .wasm file, or its bytes.
            config: the plugin's configuration, in its own words.
            name: another name for it, for plugins that bring none of their own.

        Returns:
            The plugin: its ``name``, ``version``, ``description``, ``abi``, ``limits``.

        Raises:
            PluginError: no such file, not WebAssembly, not a plugin, over a limit, or it refuses its configuration.
            ConfigError: the engine is closed or running.
        """
        self._check_changeable("load a plugin")
        if isinstance(module, (bytes, bytearray, memoryview)):
            plugin = self._core.load(bytes(module), name or "plugin", config or "")
        else:
            plugin = self._core.load_file(os.fspath(module), name, config or "")
        self._look_at_chain()
        return plugin

    def unload_plugin(self, name: str) -> None:
        """Take the plugin called ``name`` out of the chain; of several the one loaded last.

        Raises:
            PluginError: there is none of that name.
            ConfigError: the engine is closed or running.
        """
        self._check_changeable("unload a plugin")
        self._core.unload(name)
        self._look_at_chain()

    @property
    def plugins(self) -> list[_core.Wasm]:
        """The plugins in the order of the chain."""
        return self._core.plugins()

    @property
    def closed(self) -> bool:
        """Whether the engine is closed."""
        return self._closed

    def process(self, data: Any) -> Any:
        """Send data through the chain, in the calling thread.

        Args:
            data: bytes, bytearray, memoryview, a NumPy array, a torch tensor on the CPU, an Arrow array, chunked array
                or record batch without nulls, or a dict, list or tuple of them. It is never modified, and no other
                thread may modify it during the call.

        Returns:
            The same kind; shape and element type are what the plugins made of it (memoryview: of new bytes; a NumPy
            scalar becomes an array, a subclass of an array or tensor its base, any mapping a dict, and a tensor that
            requires a gradient one without). None where a plugin dropped the data. Where a plugin of the chain splits
            (``yields`` is "any"), always a list of parts, empty where there are none.

        Raises:
            PluginError: a plugin failed; its own code and text are in the message, ``.plugin`` says which.
            TypeError: data of another kind.
            ConfigError: the engine is closed.
        """
        self._check_open()
        if type(data) is bytes and self._core.is_bytes():
            return self._core.process_bytes(data)
        skeleton, leaves = take_apart(data)
        made = skeleton.rebuild([self._one(leaf) for leaf in leaves])
        if not self._splits:
            return made
        return list(made) if type(made) is Several else [] if made is None else [made]

    def map(self, items: Iterable[Any]) -> Iterator[Any]:
        """Send a stream of data through the chain, on the engine's threads.

        Results come in the order of the items; dropped items are left out, split ones come one after another. At most
        ``buffer_size`` tensors are under way: a consumer that pauses makes ``items`` pause. Where the oldest result is
        there, it is handed out before the next item but one is asked for. Tensors are copied when they are taken in, so
        that ``items`` may use the same memory again.

        Args:
            items: what :meth:`process` takes, each.

        Yields:
            What becomes of each item that was kept, of its kind.

        Raises:
            PluginError: a plugin failed on the item whose turn it is; the stream ends there.
            TypeError: the same, for an item of another kind. What ``items`` raises comes in its turn, too.
            ConfigError: outside of ``with engine:``, an item has more arrays than ``buffer_size``, or the engine was
                stopped or closed meanwhile; results that were not taken are lost then.
        """
        self._check_open()
        if not self._depth:
            raise ConfigError("map() needs the engine's threads: use it inside of `with engine:`")
        return self._map(items, self._core.stream())

    def _map(self, items: Iterable[Any], stream: _core.EngineStream) -> Iterator[Any]:
        most = self._core.buffer_size
        waiting: deque[tuple[Skeleton, list[Callable[[Any], Any]]]] = deque()

        def front() -> Iterator[Any]:
            skeleton, wraps = waiting.popleft()
            made = skeleton.rebuild([back(wrap, stream.next()) for wrap in wraps])
            if isinstance(made, Several):
                yield from made
            elif made is not None:
                yield made

        source = iter(items)
        failure: Exception | None = None
        try:
            while True:
                try:
                    item = next(source)
                    skeleton, leaves = take_apart(item)
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                    break
                for leaf in leaves:
                    while not stream.submit(leaf.dtype, leaf.shape, leaf.pointer, leaf.nbytes):
                        if not waiting:
                            raise ConfigError(
                                f"an item of {len(leaves)} arrays does not fit a buffer_size of {most}"
                            )
                        yield from front()
                waiting.append((skeleton, [leaf.wrap for leaf in leaves]))
                # The stream has copies: whoever made the item may use its memory again.
                item = leaf = None
                leaves.clear()
                # One out for one in: as much stays under way as was found to be of use.
                if len(waiting) > most or stream.is_ready(len(waiting[0][1])):
                    yield from front()
            while waiting:
                yield from front()
            if failure is not None:
                raise failure
        finally:
            stream.close()

    def close(self) -> None:
        """Stop the threads and let the plugins go. A closed engine stays closed; closing again does nothing."""
        self._closed = True
        self._core.close()

    def __enter__(self) -> Engine:
        self._check_open()
        if os.getpid() != self._process:
            # In a forked child the lock may be held for ever. This says what is wrong.
            self._core.start()
        with self._lock:
            if self._depth == 0:
                self._core.start()
            self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._process:
            return
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._core.break_off()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._depth else "open"
        return f"Engine({', '.join(plugin.name for plugin in self.plugins)}; {state})"

    def _one(self, leaf: Leaf) -> Any:
        # What becomes of bools is looked at, which the short way does not.
        if leaf.like is not None and leaf.dtype != "bool" and self._core.is_bytes():
            out, pointer = leaf.like()
            self._core.process_at(leaf.pointer, pointer, leaf.nbytes)
            return out
        return back(leaf.wrap, self._core.process(leaf.dtype, leaf.shape, leaf.pointer, leaf.nbytes))

    def _look_at_chain(self) -> None:
        self._splits = any(plugin.yields == "any" for plugin in self._core.plugins())

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError("the engine is closed")

    def _check_changeable(self, what: str) -> None:
        self._check_open()
        if self._depth:
            raise ConfigError(f"cannot {what} while the engine's threads run; do it before `with engine:`")
