"""The ``zenith`` command of the Python package: the same program as the native one."""

from __future__ import annotations

import signal
import sys

from . import _core


def main() -> None:
    """Runs ``zenith`` with this process's arguments and ends the process with its status."""
    # Python's handler would wait for the end of the command.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_core.command(["zenith", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
