"""Data sets and environments: made once, remade when something changed, complete."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from harness import datasets, environments
from harness.context import Context
from harness.scenarios import SCENARIOS, accuracy, overhead, pictures, starve, tabular
from rivals.protocol import class_folders

HERE = Path(__file__).resolve().parent.parent


def some_pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        (folder / f"n{index}.JPEG").write_bytes(bytes([index]) * 10)
    return folder


def test_pictures_are_repeated_as_real_copies(tmp_path: Path) -> None:
    source = some_pictures(tmp_path / "source", 4)
    made = datasets.pictures(tmp_path, 10, 2, source, None)
    paths, labels, classes = class_folders(made["path"])
    assert len(paths) == 10
    assert [labels.count(label) for label in range(len(classes))] == made["label_counts"]
    assert sum(made["label_counts"]) == 10
    assert not any(Path(path).is_symlink() or Path(path).stat().st_nlink > 1 for path in paths)
    contents = [{Path(p).read_bytes()[0] for p, at in zip(paths, labels, strict=True) if at == c} for c in (0, 1)]
    assert all(len(content) > 2 for content in contents), "a class must not be one repeated picture"


def test_pictures_are_reused_until_the_source_changes(tmp_path: Path) -> None:
    source = some_pictures(tmp_path / "source", 4)
    first = datasets.pictures(tmp_path, 10, 2, source, None)
    stamp = Path(class_folders(first["path"])[0][0]).stat().st_ino
    assert datasets.pictures(tmp_path, 10, 2, source, None) == first
    assert Path(class_folders(first["path"])[0][0]).stat().st_ino == stamp
    (source / "n9.jpg").write_bytes(b"another")
    assert datasets.pictures(tmp_path, 10, 2, source, None)["path"] != first["path"]


def test_half_made_data_set_is_made_again(tmp_path: Path) -> None:
    source = some_pictures(tmp_path / "source", 4)
    first = datasets.pictures(tmp_path, 10, 2, source, None)
    Path(first["folder"] + ".json").unlink()
    Path(class_folders(first["path"])[0][0]).unlink()
    assert len(class_folders(datasets.pictures(tmp_path, 10, 2, source, None)["path"])[0]) == 10


def test_folder_without_pictures_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no [.]jpg"):
        datasets.pictures(tmp_path, 10, 2, tmp_path, None)


@pytest.mark.parametrize("name", environments.ENVIRONMENTS)
def test_requirements_are_pinned(name: str) -> None:
    if environments.ENVIRONMENTS[name].cargo:
        assert (HERE / name / "Cargo.lock").exists()
        return
    for path in (HERE / "envs").glob(f"{name}.*txt"):
        for line in path.read_text().splitlines():
            if line and not line.startswith("#"):
                assert "==" in line, f"{path.name}: {line} is not pinned"


def test_environment_is_ready_only_with_the_requirements_of_today(tmp_path: Path) -> None:
    assert not environments.ready(tmp_path, "dali")
    (tmp_path / "dali").mkdir()
    (tmp_path / "dali" / "zenith-rival").write_text("of yesterday\n")
    assert not environments.ready(tmp_path, "dali")


@pytest.mark.parametrize(
    ("name", "rivals"),
    [
        ("pictures", {(case.environment, case.rival) for case in pictures.CASES}),
        ("tabular", {(environment, rival) for _, _, environment, rival, _ in tabular.LOADERS}),
        ("overhead", {(environment, rival) for rival, _, environment in overhead.LOADERS}),
        ("starve", {(environment, rival) for rival, _, environment in starve.LOADERS}),
        ("accuracy", {(case.environment, case.rival) for case in accuracy.CASES}),
    ],
)
def test_every_case_has_its_module_and_environment(name: str, rivals: set[tuple[str, str]]) -> None:
    assert name in SCENARIOS
    for environment, rival in rivals:
        known = environments.ENVIRONMENTS[environment]
        assert known.cargo or (HERE / "rivals" / name / f"{rival}.py").exists()


def test_missing_environment_is_named_with_the_command(tmp_path: Path) -> None:
    context = Context(argparse.Namespace(), tmp_path, tmp_path, {"dali": "/usr/bin/python3"})
    assert context.missing("dali") is None
    assert "envs.py spdl" in (context.missing("spdl") or "")
