"""``zenith kernels``: the store from a terminal."""

import json
import subprocess
import sys

import numpy as np
import pytest
import zenith.kernels as zk
from aligned import aligned


def zenith_command(*arguments, status=0):
    run = subprocess.run(
        [sys.executable, "-m", "zenith._command", "kernels", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == status, run.stderr
    return run


@pytest.fixture
def filled(store):
    """A store with measurements of one key; its folder and the key."""
    a = aligned(np.ones((24, 24)))
    zk.matmul(a, a)
    return store, zk.find("matmul").key(a, a)


def test_demo_measures_once(tmp_path):
    arguments = ("demo", "--shapes", "16x16x16,64x8x32", "--store", tmp_path)
    told = json.loads(zenith_command(*arguments, "--json").stdout)
    first, second = told["passes"]
    assert [step["benchmarks"] for step in first] == [5, 5]
    assert [step["benchmarks"] for step in second] == [0, 0]
    assert [step["choice"]["source"]["from"] for step in first + second] == ["measured"] * 2 + ["stored"] * 2
    assert [s["choice"]["candidate"] for s in first] == [s["choice"]["candidate"] for s in second]
    text = zenith_command(*arguments).stdout
    for word in ("gemm", "faer", "matrixmultiply", "BENCHMARKS", "second pass"):
        assert word in text, word
    assert "256x256x64 would work" in zenith_command("demo", "--shapes", "16x16", status=1).stderr


def test_ls_and_explain_show_what_is_stored(filled):
    folder, key = filled
    told = json.loads(zenith_command("ls", "--json", "--store", folder).stdout)
    assert {row["key"] for row in told["rows"]} == {key}
    assert {row["candidate"]["name"] for row in told["rows"]} >= {"numpy", "gemm", "faer"}
    text = zenith_command("ls", "matmul", "--store", folder).stdout
    assert key in text and "CANDIDATE" in text
    assert key not in zenith_command("ls", "other", "--store", folder).stdout
    for what in (key, "matmul"):
        assert "the fastest" in zenith_command("explain", what, "--store", folder).stdout
    (place,) = json.loads(zenith_command("explain", key, "--json", "--store", folder).stdout)
    assert place["key"] == key and all(s["estimate"]["ns"] > 0 for s in place["standings"])
    assert "nothing is known" in zenith_command("explain", "other", "--store", folder, status=1).stderr


def test_pins_are_seen_by_programs(filled):
    folder, key = filled
    a = aligned(np.ones((24, 24)))
    assert "fixed" in zenith_command("pin", key, "gemm", "--note", "tried it", "--store", folder).stdout
    zk.refresh()
    told = zk.explain("matmul", a, a)
    assert told.chosen == "gemm" and "tried it" in str(told)
    assert "gemm is fixed" in zenith_command("ls", "--store", folder).stdout
    zenith_command("pin", key, "--remove", "--store", folder)
    zk.refresh()
    assert zk.explain("matmul", a, a).source != "pinned"
    assert "nothing is fixed" in zenith_command("pin", key, "--remove", "--store", folder, status=1).stderr
    assert "would work" in zenith_command("pin", "two words", "gemm", "--store", folder, status=1).stderr


def test_a_store_travels_and_is_compared(filled, tmp_path):
    folder, _ = filled
    document, other = tmp_path / "kernels.json", tmp_path / "other"
    zenith_command("export", document, "--store", folder)
    assert json.loads(zenith_command("export", "--store", folder).stdout) == json.loads(document.read_text())
    assert "only the first" in zenith_command("diff", document, tmp_path).stdout
    count = len(json.loads(document.read_text())["rows"])
    told = json.loads(zenith_command("import", document, "--json", "--store", other).stdout)
    assert told["rows"] == count > 3
    assert f"known, left as it was {count}" in zenith_command("import", document, "--store", other).stdout
    assert zenith_command("diff", document, other).stdout == ""
    zenith_command("pin", "matmul", "faer", "--store", other)
    (difference,) = json.loads(zenith_command("diff", folder, other, "--json").stdout)
    assert difference["difference"] == "pin"
    document.write_text("[]")
    assert str(document) in zenith_command("import", document, "--store", other, status=1).stderr


def test_the_variable_names_the_store(filled, monkeypatch):
    folder, key = filled
    monkeypatch.setenv("ZENITH_KERNEL_STORE", str(folder))
    assert key in zenith_command("ls").stdout
    monkeypatch.setenv("ZENITH_KERNEL_STORE", "")
    assert "no store" in zenith_command("ls", status=1).stderr
