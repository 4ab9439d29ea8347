"""The exchange with the harness: one JSON configuration in, one JSON result out, marks in between.

Standard output belongs to the exchange, so whatever a library prints there is sent to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any


@dataclass(frozen=True)
class Config:
    """What a rival is asked to do; the harness writes it, unknown keys are refused."""

    scenario: str
    rival: str
    dataset: str = ""
    """Folder (pictures) or file (tables) to read."""
    work: str = ""
    """Folder for files that a rival converts the data set into."""
    batch_size: int = 64
    workers: int = 2
    epochs: int = 2
    """Timed epochs, the first of which holds the start."""
    max_seconds: float = 0.0
    """A timed epoch is cut off after this long; 0 means never."""
    size: int = 224
    """Side of the picture crop, in pixels."""
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    """What only one scenario needs."""


class Channel:
    """The way back to the harness."""

    def __init__(self) -> None:
        """Keep standard output for the exchange and point everybody else at standard error."""
        self._out: IO[str] = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    @staticmethod
    def read_config() -> Config:
        """Read the one configuration from standard input."""
        return Config(**json.load(sys.stdin))

    def mark(self, name: str) -> None:
        """Tell the harness that a phase begins."""
        self._send({"mark": name})

    def result(self, result: dict[str, Any]) -> None:
        """Send the one result."""
        self._send({"result": result})

    def _send(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


def class_folders(root: str) -> tuple[list[str], list[int], list[str]]:
    """List a folder of class folders: paths, labels and class names, in sorted order as ImageFolder does."""
    classes = sorted(entry.name for entry in Path(root).iterdir() if entry.is_dir())
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for path in sorted((Path(root) / name).iterdir()):
            paths.append(str(path))
            labels.append(label)
    return paths, labels, classes
