"""What a part can say besides its numbers: that it cannot be measured here, which is no failure."""

from __future__ import annotations


class UnavailableError(Exception):
    """A part cannot be measured on this machine; the message says what is missing."""


__all__ = ["UnavailableError"]
