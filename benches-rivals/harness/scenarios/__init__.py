"""The questions: each module turns the command line's options into a `Scenario`."""

from harness.scenarios import pictures

SCENARIOS = {"pictures": pictures}
