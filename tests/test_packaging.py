"""What users install: declared, pinned, complete, and free of anything of one machine."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import geoseg


@pytest.fixture(scope="module")
def project(project_root: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    return found


@pytest.fixture(scope="module")
def pins(project_root: Path) -> dict[str, Version]:
    lines = (project_root / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def declared(project: dict[str, Any]) -> Iterator[Requirement]:
    extras = project["optional-dependencies"].values()
    for text in [*project["dependencies"], *(text for extra in extras for text in extra)]:
        if not text.startswith("geoseg["):
            yield Requirement(text)


def test_everything_declared_is_pinned_to_a_version_that_fits(
    project: dict[str, Any], pins: dict[str, Version]
) -> None:
    for requirement in declared(project):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} has no pin in constraints.txt"
        assert requirement.specifier.contains(pins[name]), f"{requirement} against {pins[name]}"


def test_pins_hold_for_every_index(pins: dict[str, Version]) -> None:
    """A local version such as 2.7.0+cpu exists on one index only."""
    assert not [name for name, version in pins.items() if version.local]


def test_pins_are_closed(project: dict[str, Any], pins: dict[str, Version]) -> None:
    """What the pinned packages need is pinned as well, as far as they are installed here."""
    todo, seen = [canonicalize_name(r.name) for r in declared(project)], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            requirements = [Requirement(text) for text in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:
            continue
        todo += [
            canonicalize_name(r.name) for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})
        ]
    assert not seen - pins.keys()


def test_known_bad_versions_are_excluded(project: dict[str, Any]) -> None:
    by_name = {r.name: r.specifier for r in declared(project)}
    for name, version in [
        ("lightning", "2.3.0"), ("lightning", "2.5.0"), ("lightning", "2.5.5"), ("lightning", "2.5.6"),
        ("rasterio", "1.4.2"), ("shapely", "2.0.7"), ("torchgeo", "0.8.0"), ("torch", "2.5.1"),
    ]:  # fmt: skip
        assert not by_name[name].contains(version), (name, version)
    assert "requests" in by_name


def top_imports(files: Iterator[Path]) -> set[str]:
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").split(".")[0])
    return found - set(sys.stdlib_module_names)


@pytest.mark.parametrize("folder", ["geoseg", "tests"])
def test_every_import_is_declared(project_root: Path, project: dict[str, Any], folder: str) -> None:
    # What only an extra brings, the package imports where that extra is asked for.
    extras = {"test"} if folder == "tests" else project["optional-dependencies"].keys() - {"test", "dev"}
    texts = project["dependencies"] + [text for name in extras for text in project["optional-dependencies"][name]]
    names = {canonicalize_name(Requirement(text).name) for text in texts}
    own = {"geoseg", *(path.stem for path in (project_root / folder).rglob("*.py"))}
    own |= {"osgeo", "qgis"}  # of the system Python, in scripts that run there
    distributions = metadata.packages_distributions()
    for module in top_imports((project_root / folder).rglob("*.py")) - own:
        owners = {canonicalize_name(name) for name in distributions.get(module, [])}
        assert owners & names, f"{module} ({', '.join(owners) or 'not installed'}) is not declared in pyproject.toml"


def test_the_version_is_in_the_changelog(project_root: Path) -> None:
    Version(geoseg.__version__)
    assert f"## [{geoseg.__version__}]" in (project_root / "CHANGELOG.md").read_text()


def test_nothing_of_one_machine(project_root: Path) -> None:
    """No registry, no absolute path: this runs wherever it is cloned."""
    traces = r"https?://|index-url|find-links|(?<![\w.*\])}!])/(?:home|root|opt|usr|work|tmp)\b"
    for name in ["Makefile", ".ci/run", "constraints.txt", "pyproject.toml", "tests/conftest.py"]:
        text = (project_root / name).read_text()
        assert not re.findall(traces, text), name


def test_ci_is_a_sound_script(project_root: Path) -> None:
    script = project_root / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    subprocess.run(["bash", "-n", script], check=True)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The tests themselves may run under make, which would tell this one to print what it enters.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60, env=env
    )


@pytest.fixture
def checkout(project_root: Path, tmp_path: Path) -> Path:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ["Makefile", "pyproject.toml", "constraints.txt"]:
        shutil.copy(project_root / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("python", "remedy"),
    [
        (None, "there is no ./python; install Python 3.11 or newer"),
        ('case "$2" in *version_info*) exit 1;; esac', "is older than Python 3.11"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt install python3-venv"),
    ],
    ids=["absent", "old", "without ensurepip"],
)
def test_make_names_the_remedy_for_an_unfit_python(checkout: Path, python: str | None, remedy: str) -> None:
    if python is not None:
        (checkout / "python").write_text(f"#!/bin/sh\n{python}\n")
        (checkout / "python").chmod(0o755)
    done = make(checkout, "demo", "PYTHON=./python")
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert remedy in errors[0]
    assert not (checkout / ".venv").exists()


def test_make_installs_once(checkout: Path) -> None:
    """The second run goes straight to the demo."""
    (checkout / ".venv").mkdir()
    for stamp in (".stamp-venv", ".stamp-install"):
        (checkout / ".venv" / stamp).touch()
    assert make(checkout, "-n", "demo").stdout.splitlines() == [".venv/bin/geoseg demo"]
    os.utime(checkout / ".venv" / ".stamp-install", (0, 0))
    assert "pip install -c constraints.txt -e ." in make(checkout, "-n", "demo").stdout


def test_make_lists_its_targets(checkout: Path) -> None:
    listed = {line.split()[1] for line in make(checkout).stdout.splitlines()}
    assert listed >= {"demo", "test", "test-qgis", "lint", "clean", "help"}


def test_the_wheel_holds_code_types_and_models(project_root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(project_root / "geoseg", source / "geoseg", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ["pyproject.toml", "LICENSE", "README.md"]:
        shutil.copy(project_root / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, source],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"geoseg-{geoseg.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tracked = [*project_root.glob("geoseg/**/*.py"), *project_root.glob("geoseg/models/builtin/*.safetensors")]
    assert {path.relative_to(project_root).as_posix() for path in tracked} | {"geoseg/py.typed"} <= names
    assert not [name for name in names if not name.startswith(("geoseg/", f"geoseg-{geoseg.__version__}.dist-info/"))]
