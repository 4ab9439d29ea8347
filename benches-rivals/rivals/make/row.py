"""The label that belongs to a row number, known to the maker of the table and to the check."""

import numpy as np

CLASSES = 1000


def row_label(rows: np.ndarray) -> np.ndarray:
    """Labels of these row numbers: neighbours differ and the order of rows cannot be guessed from them."""
    return (rows * 7919 % CLASSES).astype(np.int64)
