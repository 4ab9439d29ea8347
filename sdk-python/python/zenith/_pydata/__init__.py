"""Zenith's way for data that only Python can read: any map-style dataset, any Python callable.

The native data plane does not need this package, and this package does not need it: of Zenith it knows only the
exceptions, and it imports no torch.
"""

from .errors import (
    LoaderBusyError,
    LoaderClosedError,
    LoaderForkedError,
    LoaderTimeoutError,
    PythonLoaderError,
    UnsupportedDatasetError,
    WorkerDiedError,
    WorkerExceptionError,
    WorkerTraceback,
)
from .iteration import PythonIterator
from .loader import PythonLoader
from .recognise import Images, Tensors, recognise

__all__ = [
    "Images",
    "LoaderBusyError",
    "LoaderClosedError",
    "LoaderForkedError",
    "LoaderTimeoutError",
    "PythonIterator",
    "PythonLoader",
    "PythonLoaderError",
    "Tensors",
    "UnsupportedDatasetError",
    "WorkerDiedError",
    "WorkerExceptionError",
    "WorkerTraceback",
    "recognise",
]
