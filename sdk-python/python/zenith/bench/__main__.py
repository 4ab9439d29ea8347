"""The command line of the GPU benchmark: which parts, on which device, for how long, and where the record goes."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from ._parts import PARTS
from ._runner import Plan, run, run_part


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m zenith.bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    gpu = commands.add_parser("gpu", help="measure everything that needs a GPU, in at most 8 minutes")
    gpu.add_argument(
        "--device", default="cuda", help="cuda, cuda:1 ..., or cpu to try the program (default: cuda)"
    )
    gpu.add_argument(
        "--out", type=Path, default=Path("zenith-gpu.json"), help="the record (default: %(default)s)"
    )
    gpu.add_argument(
        "--minutes", type=float, default=8.0, help="time for all parts together (default: %(default)s)"
    )
    gpu.add_argument(
        "--quick", action="store_true", help="work for a twentieth of the time, to try the program"
    )
    gpu.add_argument("--parts", default=",".join(PARTS), help="which, separated by commas (default: all)")
    # A part runs in a process of its own, so that one which hangs or dies takes no other with it.
    part = commands.add_parser("part")
    part.add_argument("name", choices=list(PARTS))
    part.add_argument("device")
    part.add_argument("seconds", type=float)
    return parser.parse_args()


def main() -> int:
    """Runs the command; its exit status: 0 done, 1 a part failed, 2 it cannot run here or was asked for nonsense."""
    arguments = _arguments()
    if arguments.command == "part":
        print(json.dumps(run_part(arguments.name, arguments.device, arguments.seconds)))
        return 0
    # Whoever ends the program ends the part that runs, and keeps the record of those before.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    names = [name for name in arguments.parts.split(",") if name]
    unknown = [name for name in names if name not in PARTS]
    if unknown or not names or arguments.minutes <= 0:
        print(
            f"no such part: {', '.join(unknown) or 'none was named'}; there are {', '.join(PARTS)}",
            file=sys.stderr,
        )
        return 2
    return run(Plan(names, arguments.device, arguments.minutes * 60, arguments.out, arguments.quick))


if __name__ == "__main__":
    sys.exit(main())
