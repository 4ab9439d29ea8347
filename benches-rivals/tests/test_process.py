"""A rival that crashes, hangs, babbles or leaves children behind is named as such and leaves nothing running."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from harness.process import RivalError, run_rival
from rivals import meter


def rival(source: str) -> list[str]:
    return [sys.executable, "-c", f"import sys, json\nconfig = json.load(sys.stdin)\n{source}"]


def test_result_comes_back_with_memory() -> None:
    source = """
block = bytearray(80_000_000)
block[::4096] = b"x" * len(block[::4096])
import time; time.sleep(0.4)
print(json.dumps({"result": {"twice": 2 * config["value"]}}))
"""
    result = run_rival(rival(source), {"value": 21}, timeout=30)
    assert result["twice"] == 42
    assert 80e6 < result["memory"]["peak_pss_bytes"] < 160e6
    assert result["memory"]["peak_resident_bytes"] > 80e6


def test_memory_after_the_mark_does_not_count() -> None:
    source = """
import time
time.sleep(0.3)
print(json.dumps({"mark": "measured"}), flush=True)
time.sleep(0.3)
block = b"x" * 200_000_000
time.sleep(0.6)
print(json.dumps({"result": {}}))
"""
    assert run_rival(rival(source), {}, timeout=30)["memory"]["peak_resident_bytes"] < 100e6


def test_crash_shows_the_end_of_its_own_words() -> None:
    with pytest.raises(RivalError, match=r"(?s)exit code 1.*no such thing"):
        run_rival(rival("raise ValueError('no such thing')"), {}, timeout=30)


def test_signal_is_named() -> None:
    with pytest.raises(RivalError, match="killed by SIGSEGV"):
        run_rival(rival("import os; os.kill(os.getpid(), 11)"), {}, timeout=30)


def test_hang_ends_at_the_timeout() -> None:
    start = time.monotonic()
    with pytest.raises(RivalError, match="no answer within 1 s"):
        run_rival(rival("import time; time.sleep(60)"), {}, timeout=1)
    assert time.monotonic() - start < 20


def test_silence_is_not_success() -> None:
    with pytest.raises(RivalError, match="without a result"):
        run_rival(rival("pass"), {}, timeout=30)


def test_babble_on_standard_output_is_refused() -> None:
    with pytest.raises(RivalError, match="not part of the exchange: hello"):
        run_rival(rival("print('hello')"), {}, timeout=30)


def test_children_do_not_survive(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    source = f"""
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.DEVNULL)
open({str(note)!r}, "w").write(str(child.pid))
print(json.dumps({{"result": {{}}}}))
"""
    run_rival(rival(source), {}, timeout=30)
    pid = int(note.read_text())
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"process {pid} is still running")


def test_cpu_of_live_and_of_reaped_children_counts() -> None:
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    start = meter.cpu_seconds()
    reaped = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", burn])
    os.waitpid(reaped, 0)
    assert meter.cpu_seconds() - start >= 0.28
    start = meter.cpu_seconds()
    reader, writer = os.pipe()
    live = os.fork()
    if live == 0:
        exec(burn)
        os.write(writer, b"!")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(reader, 1)
        assert 0.28 <= meter.cpu_seconds() - start < 3
    finally:
        os.kill(live, 9)
        os.waitpid(live, 0)


def test_channel_keeps_library_prints_out_of_the_exchange() -> None:
    source = """
from rivals.protocol import Channel
channel = Channel()
print("a library says hello")
import os; os.write(1, b"and one from C\\n")
channel.result({"dataset": "x"})
"""
    assert run_rival(rival(source), json.loads("{}"), timeout=30)["dataset"] == "x"
