"""Arrays at addresses that are multiples of a cache line: alignment is part of a key, and NumPy leaves it to chance."""

import numpy as np

LINE = 64


def aligned(values):
    """A copy of an array whose first element lies at the begin of a cache line."""
    memory = np.empty(values.nbytes + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy
