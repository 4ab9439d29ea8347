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
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is not None and number > _LARGEST:
        raise ConfigError(f"{name} must be a whole number of at most 2**64 - 1")
    if number is None or number < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return number


def whole_number_or_none(name: str, value: Any, least: int = 0) -> int | None:
    """The same, where None is allowed too."""
    try:
        return None if value is None else whole_number(name, value, least)
    except ConfigError as error:
        told = str(error).replace(" must be a ", " must be None or a ", 1)
        raise ConfigError(told) from None
