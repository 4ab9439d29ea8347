"""Whole numbers that users give, checked where they are given."""

from __future__ import annotations

import operator
from typing import Any

from ._errors import ConfigError

_LARGEST = 2**64 - 1


def whole_number(name: str, value: Any, least: int = 0) -> int:
    """``value`` as an int, where it is a whole number (NumPy's and torch's too) from ``least`` up to 2**64 - 1.

    Raises:
        ConfigError: it is not; the message has ``name``.
    """
    return _whole_number(name, value, least, "a whole number")


def whole_number_or_none(name: str, value: Any, least: int = 0) -> int | None:
    """The same, where None is allowed too."""
    return None if value is None else _whole_number(name, value, least, "None or a whole number")


def _whole_number(name: str, value: Any, least: int, wanted: str) -> int:
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is not None and number > _LARGEST:
        # Not the number itself: it may be too long to be printed.
        raise ConfigError(f"{name} must be {wanted} of at most 2**64 - 1")
    if number is None or number < least:
        raise ConfigError(f"{name} must be {wanted} of at least {least}, not {value!r}")
    return number
