"""A real scheduler with a node of its own, in a folder of its own."""

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import zenith

ROOT = Path(__file__).parents[2]


def binary():
    found = Path(os.environ.get("ZENITH_SCHEDULER", ROOT / "target/debug/zenith-scheduler"))
    assert found.exists(), f"no {found}; `make scheduler` builds it"
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Scheduler:
    """Its process; it can be killed and started again over the same state and at the same address."""

    def __init__(self, folder, *arguments):
        self.folder = folder
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.rest = f"127.0.0.1:{free_port()}"
        self.command = [
            binary(),
            "--state",
            folder / "state",
            "--grpc",
            self.endpoint,
            "--rest",
            self.rest,
            *arguments,
        ]
        self.process = None

    def start(self):
        with (self.folder / "log").open("ab") as log:
            # A session of its own: what it starts is ended by it, or by nobody.
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, start_new_session=True)
        self.wait_for_nodes()
        return self

    def wait_for_nodes(self):
        client = zenith.SchedulerClient(self.endpoint)
        deadline = time.monotonic() + 60
        while True:
            try:
                if any(node.contact == "up" for node in client.nodes()):
                    return
            except zenith.SchedulerError as error:
                assert error.code in {"no_server", "broken_connection"}, error
            assert self.process.poll() is None and time.monotonic() < deadline, (
                self.folder / "log"
            ).read_text()
            time.sleep(0.05)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        client = zenith.SchedulerClient(self.endpoint)
        for job in client.jobs():
            job.cancel()
        for job in client.jobs():
            job.wait(60)
        self.process.terminate()
        assert self.process.wait(60) == 0


@contextmanager
def scheduler(folder, *arguments):
    """A scheduler with a node of two declared GPUs."""
    running = Scheduler(folder, "--gpus", "2", "--cpus", "4", "--name", "here", *arguments).start()
    try:
        yield running
    finally:
        running.stop()
