"""What a loader's arguments may be, each by itself, so that a wrong one is told where it was written."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator
from typing import Any

from ._errors import ConfigError
from .transforms import Wasm, as_plugin


def one_of(name: str, value: Any, choices: tuple[str | None, ...]) -> Any:
    """``value``, where it is one of ``choices``.

    Raises:
        ConfigError: it is not.
    """
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")
    return value


def callable_or_none(name: str, value: Any) -> Any:
    """``value``, where it can be called or is None.

    Raises:
        ConfigError: it is neither.
    """
    if value is None or callable(value):
        return value
    raise ConfigError(f"{name} must be a callable or None, not {value!r:.200}")


def transform_or_none(value: Any) -> Any:
    """``transform``, where it is a callable, a list of such (of lists, too) or None; None for an empty list.

    Raises:
        ConfigError: it is none of these.
    """
    if not isinstance(value, (list, tuple)):
        return callable_or_none("transform", value)
    parts = [transform_or_none(part) for part in value]
    return [part for part in parts if part is not None] or None


def plugin_list(value: Any) -> list[Wasm]:
    """``plugins``, where it lists plugins or is None.

    Raises:
        ConfigError: it does not.
        PluginError: one of them cannot be loaded.
    """
    if isinstance(value, (str, bytes, bytearray, memoryview, os.PathLike, Wasm)):
        raise ConfigError("plugins is a list of plugins; put the one into brackets")
    plugins: list[Wasm] = []
    for given in iterable_or_none("plugins", value) or ():
        plugin = as_plugin(given)
        # Each place in the chain has an account of its own.
        plugins.append(copy.copy(plugin) if any(plugin is other for other in plugins) else plugin)
    return plugins


def kept(value: Any) -> Any:
    """``value`` as something that can be gone through again and again: what an iterator gives, as a list."""
    return list(value) if isinstance(value, Iterator) else value


def iterable_or_none(name: str, value: Any) -> Any:
    """``value``, where it can be iterated over or is None.

    Raises:
        ConfigError: it is neither.
    """
    if value is None or hasattr(value, "__iter__") or hasattr(value, "__getitem__"):
        return value
    raise ConfigError(f"{name} must be an iterable or None, not {value!r:.200}")


def column_names(columns: Any) -> list[str] | None:
    """The names that ``columns=`` lists.

    Raises:
        ConfigError: it is one text, which is no list, or no list of texts.
    """
    if columns is None:
        return None
    names = (
        list(columns) if isinstance(columns, Iterable) and not isinstance(columns, (str, bytes)) else [None]
    )
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(f"columns must be a list of names, such as ['a', 'b'], not {columns!r:.200}")
    return [str(name) for name in names]


def label_choice(label: Any) -> str | bool | None:
    """``label``, where it is a name, True, False or None.

    Raises:
        ConfigError: it is not.
    """
    if label is None or isinstance(label, (str, bool)):
        return label
    raise ConfigError(f"label must be a column's name, False for no label, or None, not {label!r:.200}")


def seconds(name: str, value: Any) -> float:
    """``value`` as a float, where it is a time of 0 or more.

    Raises:
        ConfigError: it is not.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ConfigError(f"{name} must be 0 or more seconds, not {value!r}")
    return number
