"""Runs the code blocks of the documents, each document's blocks in their order and in one namespace.

A block marked ``python`` runs; a ``sh`` block runs if its lines begin with ``zenith ``. ``python no-run`` says that a
block must not run; the line before it says why. A ``rust`` block is a source file of the repository, word for word.
Other kinds of blocks are text.
"""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "sdk-python/tests"))

from plugins import guest  # noqa: E402
from schedulers import scheduler  # noqa: E402

DOCUMENTS = sorted([ROOT / "README.md", ROOT / "sdk-python/README.md", *ROOT.glob("docs/**/*.md")])
# A plugin of ABI 0 that adds one to every byte, as the one of the tutorial does.
_ADD_ONE = bytes.fromhex(
    "0061736d0100000001070160027f7f017f030201000503010001071402066d656d6f727902000770726f6365737300000a37"
    "013500200120006a210102400340200020014f0d01200020002d000020002d000041ff01496a3a0000200041016a21000c00"
    "0b0b41000b0b0100"
)
_FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its info string, its text, and the line of the file its text begins on."""

    kind: str
    text: str
    line: int


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a document."""
    document = path.read_text(encoding="utf-8")
    for match in _FENCE.finditer(document):
        yield Block(match["kind"].strip(), match["text"], document.count("\n", 0, match.start("text")) + 1)


def name(path: Path) -> str:
    """A document's place in the repository."""
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data that the documents speak of, at the paths they name."""
    root = tmp_path_factory.mktemp("documents")
    rng = np.random.default_rng(3)
    for number, kind in enumerate(("bird", "cat", "dog")):
        folder = root / "path/to/training_data" / kind
        folder.mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 256, (90 + 10 * (index % 3), 120, 3), np.uint8) // 4 + 60 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03}.jpg", quality=90)
    columns = {f"f{i}": rng.standard_normal(512).astype(np.float32) for i in range(4)}
    table = pyarrow.table({**columns, "label": rng.integers(0, 3, 512)})
    (root / "path/to/add_one.wasm").write_bytes(_ADD_ONE)
    pyarrow.parquet.write_table(table, root / "path/to/table.parquet", row_group_size=128)
    pyarrow.csv.write_csv(table, root / "path/to/table.csv")
    np.savez(
        root / "path/to/arrays.npz", inputs=rng.standard_normal((64, 8)).astype(np.float32), labels=np.arange(64) % 3
    )
    (root / "path/to/plugins").symlink_to(guest("add_one").parent.resolve())
    return root


@pytest.fixture
def surroundings(
    path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A store of kernels of the document's own; and for those that start a scheduler a new one, where programs look for it."""
    monkeypatch.setenv("ZENITH_KERNEL_STORE", str(tmp_path_factory.mktemp("kernels")))
    if not any(block.text.startswith("zenith-scheduler") for block in blocks(path)):
        yield
        return
    folder = tmp_path_factory.mktemp("scheduler")
    with scheduler(folder) as running:
        monkeypatch.setenv("ZENITH_CONTROLLER", running.endpoint)
        monkeypatch.setenv("ZENITH_SPOOL", str(folder / "spool"))
        yield


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_python_blocks_run(path: Path, data: Path, tmp_path: Path) -> None:
    """Each document's blocks, as one program of its own, in a folder that holds the data."""
    program = ["import os, sys\n"]
    for block in blocks(path):
        if block.kind == "python":
            # Line numbers in a traceback are then the document's.
            program.append(f"exec(compile({chr(10) * (block.line - 1) + block.text!r}, {name(path)!r}, 'exec'))\n")
    if len(program) == 1:
        assert not re.search(r"^```python$", path.read_text(encoding="utf-8"), re.MULTILINE)
        return
    (tmp_path / "path").symlink_to(data / "path")
    run([sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", "".join(program)], tmp_path)


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_commands_run(path: Path, data: Path, tmp_path: Path) -> None:
    """Each ``zenith`` command in a ``sh`` block ends well."""
    (tmp_path / "path").symlink_to(data / "path")
    for block in blocks(path):
        for line in block.text.splitlines():
            if block.kind == "sh" and line.startswith("zenith "):
                words = shlex.split(line, comments=True)[1:]
                run([sys.executable, "-m", "zenith._command", *words], tmp_path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_blocks_say_what_they_are(path: Path) -> None:
    """No block escapes by a misspelt kind, and a block that does not run is explained in the line before it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for block in blocks(path):
        kinds = {"python", "python no-run", "sh", "text", "toml", "rust", "json", "c"}
        assert block.kind in kinds, (name(path), block.line)
        if block.kind == "python no-run":
            assert "run" in lines[block.line - 3] or "run" in lines[block.line - 4], (name(path), block.line)


def test_rust_blocks_are_programs_of_the_repository() -> None:
    """Rust in a document is the whole of a source file that is compiled and tested elsewhere."""
    plugins = [*ROOT.glob("plugins/*/src/lib.rs"), *ROOT.glob("zenith-plugin/guest/examples/*.rs")]
    sources = {path.read_text(encoding="utf-8") for path in plugins}
    shown = [(name(path), block) for path in DOCUMENTS for block in blocks(path) if block.kind == "rust"]
    for where, block in shown:
        assert block.text in sources, (where, block.line)
    assert len(shown) > 1


def test_the_tutorials_have_the_same_code() -> None:
    """The Indonesian tutorial is the English one in another language."""
    english, indonesian = (
        [(block.kind, re.sub(r"#.*", "", block.text)) for block in blocks(ROOT / "docs" / file) if block.kind != "text"]
        for file in ("tutorial.md", "tutorial.id.md")
    )
    assert english == indonesian
    assert len(english) > 5


def test_the_architecture_names_every_module() -> None:
    """No module is missing from ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", text))
    folders = [
        *ROOT.glob("zenith-*/src"),
        ROOT / "sdk-python/src",
        ROOT / "sdk-python/python/zenith",
        ROOT / "xtask/src",
    ]
    modules = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".rs", ".py"}]
    known = {"mod", "main", "tests", "golden", "laws", "__init__"}
    missing = [
        str(path.relative_to(ROOT))
        for path in modules
        if path.parent.name != "generated"
        and path.stem not in words | known
        and not path.stem.endswith(("_loom", "_disabled", "_tests"))
    ]
    assert not missing, "say in ARCHITECTURE.md what these are for"
    assert len(modules) > 100


def test_the_readme_shows_what_the_records_say() -> None:
    """The tables of measured results are those that the records give."""
    results = runpy.run_path(str(ROOT / "benches-rivals/results.py"))
    shown = results["block"]((ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown == results["draw"](), "python benches-rivals/results.py --write"


def run(command: list[str], folder: Path) -> None:
    """Runs a command in a folder; its output is shown where it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
