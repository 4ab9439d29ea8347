"""What a plugin may use, as arguments of :class:`~zenith.Engine` and :class:`~zenith.transforms.Wasm`."""

from __future__ import annotations

import json
from typing import Any

from ._errors import ConfigError
from ._numbers import whole_number

#: Their names.
LIMITS = (
    "memory_limit",
    "deadline_ms",
    "fuel",
    "tables",
    "table_elements",
    "stack",
    "module_bytes",
    "function_bytes",
)


def limits_as_json(given: dict[str, Any]) -> str:
    """The limits that are given (not None) as the native side reads them.

    Raises:
        ConfigError: one of them is no number that it could be; the message has its name.
    """
    known = {name: value for name, value in given.items() if value is not None}
    return json.dumps({name: _checked(name, value) for name, value in known.items()})


def _checked(name: str, value: Any) -> int | float:
    if name != "deadline_ms":
        return whole_number(name, value)
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise ConfigError(f"deadline_ms must be more than 0 milliseconds, not {value!r}")
    return number
