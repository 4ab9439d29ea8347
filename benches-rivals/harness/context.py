"""What a scenario is given: the command line's options and where things are."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from harness import environments


@dataclass(frozen=True)
class Context:
    """Options and places of one measurement."""

    options: argparse.Namespace
    env_root: Path
    data_root: Path
    pythons: dict[str, str]
    """Interpreters given on the command line, by environment."""

    def missing(self, environment: str) -> str | None:
        """Say what to do where an environment is not there, None where it is."""
        if environment in self.pythons or environments.ready(self.env_root, environment):
            return None
        return f"no environment; make it with: python benches-rivals/envs.py {environment}"

    def command(self, environment: str) -> list[str]:
        """Command that runs a rival of this environment."""
        if environment in self.pythons:
            return [self.pythons[environment], "-m", "rivals"]
        return environments.program(self.env_root, environment)

    def python_or_none(self, environment: str) -> str | None:
        """Interpreter of an environment, None where it is not there."""
        return None if self.missing(environment) else self.command(environment)[0]

    def python(self, environment: str) -> str:
        """Interpreter of an environment that this measurement cannot do without."""
        if reason := self.missing(environment):
            raise SystemExit(f"{environment}: {reason}")
        return self.command(environment)[0]
