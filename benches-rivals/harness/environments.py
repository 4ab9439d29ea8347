"""The rivals' virtual environments: which there are, how each is made, how a ready one is recognised.

Every rival has its own because their NumPy and protobuf pins exclude each other.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
TORCH_SETUP = "ZENITH_TORCH_SETUP"
ZENITH_PACKAGE = "ZENITH_PACKAGE"


class EnvironmentProblem(Exception):
    """An environment cannot be made or used; the text says what would help."""


@dataclass(frozen=True)
class Environment:
    """How one environment is made."""

    name: str
    probe: str
    """Statement that must run in the finished environment."""
    torch: bool = False
    pythons: tuple[str, ...] = ("3.12", "3.11", "3.13", "3.10")
    pkg_config: tuple[tuple[str, str], ...] = ()
    """(pkg-config module, Debian package that has it) needed to build from source."""
    exact: bool = False
    """There is a `NAME.exact.txt`: installed last, without dependencies, built against this environment."""
    zenith: bool = False
    cargo: bool = False
    """A Rust program of this folder instead of a virtual environment."""


ENVIRONMENTS = {
    each.name: each
    for each in (
        Environment("torch", "import torch, torchvision, pyarrow, skimage, sklearn", torch=True),
        Environment("zenith", "import torch, torchvision, zenith.torch", torch=True, zenith=True),
        Environment("spdl", "import spdl.pipeline, simplejpeg, cv2"),
        Environment("dali", "import nvidia.dali"),
        Environment("tensorflow", "import tensorflow"),
        Environment("webdataset", "import torch, torchvision, webdataset", torch=True),
        Environment("litdata", "import torch, torchvision, litdata", torch=True, exact=True),
        Environment(
            "ffcv",
            "import torch, ffcv.loader",
            torch=True,
            pythons=("3.11", "3.12", "3.10"),
            pkg_config=(("opencv4", "libopencv-dev"), ("libturbojpeg", "libturbojpeg0-dev")),
            exact=True,
        ),
        Environment("plugins", "import wasmtime, extism, zenith", zenith=True),
        Environment("bare", "", cargo=True),
    )
}


def default_root() -> Path:
    """Where environments are kept: ZENITH_RIVALS_ENVS, else the user's cache."""
    chosen = os.environ.get("ZENITH_RIVALS_ENVS")
    return Path(chosen) if chosen else Path.home() / ".cache" / "zenith" / "rivals"


def interpreter(root: Path, name: str) -> Path:
    """Path of an environment's Python, whether or not it is there."""
    return root / name / "bin" / "python"


def program(root: Path, name: str) -> list[str]:
    """Command that runs a rival of this environment."""
    if ENVIRONMENTS[name].cargo:
        return [str(root / name / "release" / f"zenith-rival-{name}")]
    return [str(interpreter(root, name)), "-m", "rivals"]


def ready(root: Path, name: str) -> bool:
    """Tell whether an environment was finished with the requirements of today."""
    stamp = root / name / "zenith-rival"
    return stamp.exists() and stamp.read_text().strip() == _stamp(ENVIRONMENTS[name])


def create(root: Path, name: str, *, again: bool = False, package: str | None = None) -> bool:
    """Make an environment unless it is ready; returns whether there was anything to do."""
    environment = ENVIRONMENTS[name]
    if ready(root, name) and not again and not (environment.zenith and package):
        return False
    _check_system(environment)
    folder = root / name
    if again and folder.exists():
        shutil.rmtree(folder)
    if environment.cargo:
        manifest = HERE / name / "Cargo.toml"
        _run(
            [
                "cargo",
                "build",
                "--release",
                "--locked",
                f"--manifest-path={manifest}",
                f"--target-dir={folder}",
            ]
        )
        (folder / "zenith-rival").write_text(_stamp(environment) + "\n")
        return True
    package = package or os.environ.get(ZENITH_PACKAGE)
    if environment.zenith and not package:
        raise EnvironmentProblem(
            f"the zenith environment needs a wheel or the path of sdk-python: --zenith PATH or {ZENITH_PACKAGE}"
        )
    python = interpreter(root, name)
    if not python.exists():
        _run([_base_python(environment), "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if environment.torch:
        _install_torch(python, folder, pip)
    requirements = HERE / "envs" / f"{name}.txt"
    _run([*pip, "-r", str(requirements)])
    if environment.exact:
        _run([*pip, "--no-build-isolation", "--no-deps", "-r", str(HERE / "envs" / f"{name}.exact.txt")])
    if environment.zenith:
        _run([*pip, "--force-reinstall", "--no-deps", str(package)])
    _run([str(python), "-c", environment.probe])
    (folder / "zenith-rival").write_text(_stamp(environment) + "\n")
    return True


def _install_torch(python: Path, folder: Path, pip: list[str]) -> None:
    probe = subprocess.run([str(python), "-c", "import torch, torchvision"], capture_output=True, check=False)
    if probe.returncode == 0:
        return
    setup = os.environ.get(TORCH_SETUP)
    if setup:
        _run([setup, str(folder)])
    else:
        _run([*pip, "-r", str(HERE / "envs" / "torch-itself.txt")])


def _check_system(environment: Environment) -> None:
    if environment.pkg_config and shutil.which("pkg-config") is None:
        raise EnvironmentProblem(f"{environment.name} is built from source: apt-get install pkg-config g++")
    missing = [
        package
        for module, package in environment.pkg_config
        if subprocess.run(["pkg-config", "--exists", module], check=False).returncode != 0
    ]
    if missing:
        raise EnvironmentProblem(
            f"{environment.name} is built from source: apt-get install --no-install-recommends {' '.join(missing)}"
        )


def _base_python(environment: Environment) -> str:
    """Find an interpreter of a version the rival has wheels for; asking each for its version, as shims lie."""
    candidates = [sys.executable] + [
        found for version in environment.pythons if (found := shutil.which(f"python{version}"))
    ]
    ours: dict[str, str] = {}
    for candidate in candidates:
        asked = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode == 0:
            version, path = asked.stdout.split("\n")[:2]
            ours.setdefault(version, path)
    if (own := "{}.{}".format(*sys.version_info[:2])) in environment.pythons:
        return ours[own]
    for version in environment.pythons:
        if version in ours:
            return ours[version]
    raise EnvironmentProblem(f"{environment.name} needs one of Python {', '.join(environment.pythons)} on PATH")


def _stamp(environment: Environment) -> str:
    digest = hashlib.sha256(repr(environment).encode())
    for path in sorted((HERE / "envs").glob(f"{environment.name}.*txt")):
        digest.update(path.read_bytes())
    if environment.cargo:
        for path in sorted((HERE / environment.name).rglob("*.*")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise EnvironmentProblem(f"exit code {done.returncode}: {' '.join(command)}")
