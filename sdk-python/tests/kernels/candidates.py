"""Candidates that are wrong in their ways. In a module, so that another process finds them."""

import ctypes
import os
import signal
import time

import numpy as np


def double(x):
    """The right one."""
    return x + x


def wrong(x):
    """Right but for one element."""
    result = x + x
    result.flat[result.size // 2] += 1
    return result


def lazy(x):
    """Writes nothing, and hopes that something good lies there."""
    return np.empty_like(x)


def in_place(x):
    """Writes into its argument."""
    x += x
    return x


def beyond(x):
    """Writes behind its argument."""
    result = x + x
    ctypes.memset(x.ctypes.data + x.nbytes, 7, 16)
    return result


def beyond_out(x, out):
    """Writes behind the result."""
    np.add(x, x, out=out)
    ctypes.memset(out.ctypes.data + out.nbytes, 7, 16)


def half_out(x, out):
    """Writes half of the result."""
    np.add(x[: len(x) // 2], x[: len(x) // 2], out=out[: len(x) // 2])


def raising(x):
    """Fails."""
    raise ValueError("not today")


def narrow(x):
    """The right values, of another type."""
    return (x + x).astype(np.float16)


def crashing(x):
    """Ends its process by a signal."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return x + x


def hanging(x):
    """Never ends."""
    while True:
        time.sleep(1)


def careful(x):
    """Risky by declaration only."""
    return 2 * x


def like(x):
    """Room for the result."""
    return np.empty_like(x)
