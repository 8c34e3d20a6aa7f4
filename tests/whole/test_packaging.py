"""What is said twice in the project's own files says the same."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import spatial_zb

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
GROUPS = PYPROJECT["dependency-groups"]

# Packages whose conda-forge name is another one than on the Python index: none so far.
CONDA_NAMES: dict[str, str] = {}
# What an environment needs beside the packages that pyproject.toml names.
CONDA_ONLY = {"python", "pip"}


def requirements(lines: list[str]) -> dict[str, SpecifierSet]:
    """Return the version ranges by canonical name."""
    return {canonicalize_name(req.name): req.specifier for req in map(Requirement, lines)}


def locked_requirements(entries: list[dict[str, str]]) -> dict[str, SpecifierSet]:
    """Return the version ranges the lock was made from."""
    return {entry["name"]: SpecifierSet(entry.get("specifier", "")) for entry in entries}


@pytest.fixture(scope="module")
def conda() -> dict[str, SpecifierSet]:
    """The packages of environment.yml, a flat list without nesting."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8").split("\ndependencies:\n")[1]
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    pairs = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return {name: SpecifierSet(bounds) for name, _, bounds in pairs}


@pytest.fixture(scope="module")
def locked_project() -> dict:
    """The entry of this package in the lock."""
    (entry,) = (package for package in LOCK["package"] if package["source"] == {"editable": "."})
    return entry


# --- conda -----------------------------------------------------------------------------------------------


def test_environment_names_what_pyproject_names(conda: dict[str, SpecifierSet]) -> None:
    wanted = requirements(PYPROJECT["project"]["dependencies"] + GROUPS["test"])
    renamed = {CONDA_NAMES.get(name, name): bounds for name, bounds in wanted.items()}
    found = {name: bounds for name, bounds in conda.items() if name not in CONDA_ONLY}
    assert found == renamed


def test_environment_starts_at_the_python_of_pyproject(conda: dict[str, SpecifierSet]) -> None:
    lower = [str(bound) for bound in conda["python"] if bound.operator == ">="]
    assert lower == [PYPROJECT["project"]["requires-python"]]


# --- lock ------------------------------------------------------------------------------------------------


def test_lock_was_made_from_this_pyproject(locked_project: dict) -> None:
    metadata = locked_project["metadata"]
    assert LOCK["requires-python"] == PYPROJECT["project"]["requires-python"]
    extras = [line for lines in PYPROJECT["project"]["optional-dependencies"].values() for line in lines]
    assert locked_requirements(metadata["requires-dist"]) == requirements(
        PYPROJECT["project"]["dependencies"] + extras
    )
    assert metadata["requires-dev"].keys() == GROUPS.keys()
    for name, lines in GROUPS.items():
        assert locked_requirements(metadata["requires-dev"][name]) == requirements(lines), name


@pytest.mark.parametrize("python", ["3.11.7", "3.13.5"])
def test_lock_serves_both_pythons(python: str, locked_project: dict) -> None:
    """Every package the project names is locked once for each supported Python, inside its range."""
    wanted = requirements(PYPROJECT["project"]["dependencies"] + GROUPS["test"])
    entries = locked_project["dependencies"] + locked_project["dev-dependencies"]["test"]
    for name, bounds in wanted.items():
        applying = [entry for entry in entries if entry["name"] == name and applies(entry, python)]
        assert len(applying) == 1, f"{name}: {applying}"
        assert locked_version(applying[0]) in bounds, name


def applies(entry: dict, python: str) -> bool:
    """Tell whether a locked dependency is meant for this Python on Linux."""
    marker = entry.get("marker", "python_version > '0'")
    place = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
    }
    return Requirement(f"x; {marker}").marker.evaluate(place)


def locked_version(entry: dict) -> str:
    """Return the version of a locked dependency, which names it only when there are several."""
    if "version" in entry:
        return entry["version"]
    (package,) = (package for package in LOCK["package"] if package["name"] == entry["name"])
    return package["version"]


def test_lock_has_a_hash_for_every_file() -> None:
    files = [
        file
        for package in LOCK["package"]
        if package["source"] != {"editable": "."}
        for file in [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    ]
    assert files
    assert [file["url"] for file in files if not file.get("hash", "").startswith("sha256:")] == []


def test_build_tools_are_locked() -> None:
    """``scripts/bootstrap.py`` builds the package with the locked tools, so the group names all of them."""
    assert (
        requirements(PYPROJECT["build-system"]["requires"]).items() <= requirements(GROUPS["build"]).items()
    )


def test_uv_finds_the_lock_up_to_date() -> None:
    # The set-up keeps uv beside the packages; a uv of the person's own comes second, it may be older.
    home = ROOT / ".venv" / ".setup" / "uv"
    own = [home / place for place in ("bin/uv", "bin/uv.exe", "Scripts/uv.exe")]
    uv = next((place for place in own if place.is_file()), None) or shutil.which("uv")
    if uv is None:
        pytest.skip("no uv on this machine; the lock is compared with pyproject.toml above")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("UV_")}
    done = subprocess.run(
        [uv, "lock", "--check", "--offline"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if "network was disabled" in done.stderr:
        pytest.skip("uv's cache does not hold the build tools it asks for the version")
    assert done.returncode == 0, done.stderr


# --- package ---------------------------------------------------------------------------------------------


def test_console_script_is_declared() -> None:
    assert PYPROJECT["project"]["scripts"] == {"spatial-zb": "spatial_zb.cli:main"}


def test_citation_has_the_version_and_licence_of_the_package() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^([a-z-]+): *\"?([^\"\n]+)\"?$", text, flags=re.MULTILINE))
    assert fields["cff-version"] == "1.2.0"
    assert fields["version"] == spatial_zb.__version__
    assert fields["license"] == PYPROJECT["project"]["license"]
    assert PYPROJECT["project"]["authors"][0]["name"] in text


def test_changelog_starts_with_what_is_not_released() -> None:
    headings = re.findall(
        r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert headings[0] == "[Unreleased]"


def test_licence_file_is_the_licence_named() -> None:
    lines = (ROOT / "LICENSE").read_text(encoding="utf-8").splitlines()
    assert lines[0].replace(" ", "-").removesuffix("-License") == "BSD-3-Clause"
    files = PYPROJECT["project"]["license-files"]
    assert files == ["LICENSE", "spatial_zb/report/fonts/OFL.txt"]
    assert all((ROOT / name).is_file() for name in files)


def test_scripts_import_what_is_there():
    """Imports inside functions too, which would fail on the way only."""
    missing = []
    for path in sorted((ROOT / "scripts").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "spatial_zb":
                module = importlib.import_module(node.module)
                missing += [
                    f"{path.name}:{node.lineno}: {node.module} has no {alias.name}"
                    for alias in node.names
                    if not hasattr(module, alias.name)
                    and importlib.util.find_spec(f"{node.module}.{alias.name}") is None
                ]
    assert missing == []
