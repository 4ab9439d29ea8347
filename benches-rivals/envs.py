#!/usr/bin/env python3
"""Makes the rivals' virtual environments: `python benches-rivals/envs.py torch dali ...` or `all`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness import environments


def main() -> int:
    """Make what was named; go on after a failure and say at the end which failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or of: {' '.join(environments.ENVIRONMENTS)}")
    parser.add_argument("--env-root", type=Path, default=environments.default_root(), help="default: %(default)s")
    parser.add_argument("--zenith", metavar="PATH", help="wheel, or sdk-python folder, for the zenith environment")
    parser.add_argument("--again", action="store_true", help="remove what is there first")
    parser.add_argument("--list", action="store_true", help="say which are ready, make nothing")
    options = parser.parse_args()
    names = list(environments.ENVIRONMENTS) if "all" in options.names else options.names
    if unknown := [name for name in names if name not in environments.ENVIRONMENTS]:
        parser.error(f"unknown environment: {' '.join(unknown)}")
    if options.list or not names:
        for name in environments.ENVIRONMENTS:
            print(f"{name:<12} {'ready' if environments.ready(options.env_root, name) else 'not made'}")
        return 0
    failed = []
    for name in names:
        print(f"{name}: making in {options.env_root / name}", file=sys.stderr)
        try:
            done = environments.create(options.env_root, name, again=options.again, package=options.zenith)
        except environments.EnvironmentProblem as problem:
            print(f"{name}: {problem}", file=sys.stderr)
            failed.append(name)
        else:
            print(f"{name}: {'made' if done else 'ready already'}", file=sys.stderr)
    if failed:
        print(f"not made: {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
