"""What a run was made from and what it made: enough to tell whether two runs should agree."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["fingerprint", "input_record", "output_record", "versions"]

#: Packages whose versions can change a number.
PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "geopandas",
    "shapely",
    "pyproj",
    "pyogrio",
    "matplotlib",
)
#: Parts of a shapefile beside the .shp itself.
SHAPEFILE_PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg")


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def input_record(files: Mapping[str, Path], root: Path) -> list[dict[str, Any]]:
    """One record for every input file, all parts of a shapefile included."""
    records = []
    for role, path in files.items():
        parts = [path.with_suffix(s) for s in SHAPEFILE_PARTS] if path.suffix.lower() == ".shp" else [path]
        records += [
            {
                "role": role,
                "path": _shown(part, root),
                "bytes": part.stat().st_size,
                "sha256": fingerprint(part),
            }
            for part in parts
            if part.is_file()
        ]
    return records


def output_record(folder: Path, stage_of: Mapping[str, str]) -> list[dict[str, Any]]:
    """One record for every file under ``folder``; ``stage_of`` names the stage by relative path."""
    return [
        {
            "path": relative,
            "stage": stage_of.get(relative, ""),
            "bytes": path.stat().st_size,
            "sha256": fingerprint(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (relative := path.relative_to(folder).as_posix())
    ]


def versions(package_version: str) -> dict[str, str]:
    """Versions of the package, of Python and of what the numbers depend on."""
    found = {"spatial_zb": package_version, "python": platform.python_version(), "system": platform.system()}
    revision = _revision()
    if revision:
        found["revision"] = revision
    return found | {name: metadata.version(name) for name in PACKAGES}


def _revision() -> str:
    """Commit of the source tree the package runs from, ``+`` when it was changed; empty when installed."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return ""
    commands = (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--", "spatial_zb"])
    try:
        head, changed = (
            subprocess.run(
                c, cwd=source, capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for c in commands
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+" if changed else "")


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
