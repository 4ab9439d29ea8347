"""`python -m rivals`: reads a configuration, runs that scenario with that rival, answers with one result."""

from __future__ import annotations

import importlib
import time

from rivals.protocol import Channel


def main() -> None:
    """Import the rival (timed), then hand over to the scenario."""
    channel = Channel()
    config = channel.read_config()
    start = time.perf_counter()
    rival = importlib.import_module(f"rivals.{config.scenario}.{config.rival}")
    import_seconds = time.perf_counter() - start
    scenario = importlib.import_module(f"rivals.{config.scenario}")
    if config.options.get("prepare"):
        channel.result(rival.prepare(config) if hasattr(rival, "prepare") else {})
        return
    result = scenario.measure(config, rival, channel)
    channel.result({"import_seconds": import_seconds, **result})


main()
