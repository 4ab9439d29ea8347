"""The ``zenith`` command that the package brings."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zenith


def zenith_command(*arguments, status=0):
    run = subprocess.run(
        [sys.executable, "-m", "zenith._command", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == status, run.stderr
    return run


def test_doctor_names_what_limits_the_machine():
    text = zenith_command("doctor").stdout.lower()
    for word in (
        "processors",
        "memory nodes",
        "hugepages",
        "locked memory",
        "io_uring",
        "governor",
        "gpus",
        "driver",
    ):
        assert word in text, word


def test_topology():
    told = json.loads(zenith_command("topology", "--format", "json").stdout)
    assert {"cpus", "packages", "numa_nodes", "pci"} <= told.keys()
    assert told["cpus"] == zenith.topology()["cpus"] and zenith.is_available()
    for node in told["numa_nodes"]:
        assert {"id", "cpus", "memory_bytes", "distances"} <= node.keys()
    assert zenith_command("topology").stdout
    assert isinstance(zenith.devices(), list)


def test_inspect_and_bench(pictures, tmp_path):
    file = tmp_path / "t.parquet"
    rows = np.arange(5000)
    pq.write_table(pa.table({"first": rows.astype(np.float32), "second": rows * 1.0, "label": rows}), file)
    text = zenith_command("data", "inspect", file).stdout
    assert "5000" in text.replace(",", "") and "label" in text
    text = zenith_command("data", "inspect", pictures).stdout
    assert "12" in text
    assert zenith_command("data", "bench", file, "--seconds", "0.3").stdout


def test_bench_passes_bad_files_over_and_names_the_workers_in_use(pictures, tmp_path):
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    (folder / "ant" / "0-bad.jpg").write_bytes(b"this is no picture")
    text = zenith_command("data", "bench", folder, "--seconds", "0.3", "--workers", "4096").stdout
    assert "bad samples" in text and "bare work" in text
    assert f"loader, {len(os.sched_getaffinity(0))} of 4096 workers" in text, text


def test_cluster_simulate_replays_a_trace(tmp_path):
    trace = tmp_path / "trace.csv"
    jobs = "".join(f"{60 * n},{600 + n % 7},{2 ** (n % 4)},vc{n % 3}\n" for n in range(200))
    trace.write_text("submit_time,duration,gpus,queue\n" + jobs)
    picture = tmp_path / "plot.svg"
    arguments = ("cluster", "simulate", trace, "--nodes", "2", "--gpus-per-node", "8", "--plot", picture)
    outcomes = json.loads(zenith_command(*arguments, "--format", "json").stdout)
    assert [outcome["policy"] for outcome in outcomes] == ["fifo", "easy", "sjf-oracle", "default"]
    assert picture.read_text().startswith("<svg")
    assert "default" in zenith_command(*arguments, "--policy", "default").stdout
    assert "dream" in zenith_command(*arguments, "--policy", "dream", status=1).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "inspect", "/nothing/here"),
        ("topology", "--root", "/nothing/here"),
        ("cluster", "simulate", "/nothing/here"),
    ],
)
def test_failures_say_why_on_stderr(arguments):
    run = zenith_command(*arguments, status=1)
    assert "/nothing/here" in run.stderr and "Traceback" not in run.stderr and not run.stdout


def test_a_wrong_word_is_a_usage_error():
    assert "usage" in zenith_command("data", "dance", status=2).stderr.lower()


def test_another_machines_topology_needs_a_processor(tmp_path):
    with pytest.raises(zenith.MachineError):
        zenith.topology(tmp_path)
