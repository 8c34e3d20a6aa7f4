"""Files written whole or not at all, their names, and records of inputs and outputs with checksums.

A file is written beside its target, flushed to the disk, then renamed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import secrets
import subprocess
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from spatial_zb.base.errors import OutputError
from spatial_zb.base.text import Text, shown_path

#: How the name of a file begins that is not written to its end yet.
PART = ".part-"
# Windows keeps these names for devices, whatever the suffix.
_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{i}" for port in ("COM", "LPT") for i in range(10)}
# 255 bytes is the common limit of one name; the rest is left for suffixes of callers.
_SLUG_BYTES = 180

_DENIED = Text(
    "permission is denied; close the file if Word or Excel holds it open, or choose another folder",
    "没有权限；若Word或Excel打开着该文件请关闭，或换一个文件夹",
)
_REASONS = {
    errno.ENOSPC: Text("the disk is full; free some space and run again", "磁盘已满，请腾出空间后再运行"),
    errno.EDQUOT: Text(
        "the disk quota is used up; free some space and run again", "磁盘配额已用完，请腾出空间后再运行"
    ),
    errno.EROFS: Text(
        "the file system is read-only; choose another output folder", "文件系统只读，请换一个输出文件夹"
    ),
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOENT: Text(
        "the folder does not exist; create it or choose another one", "文件夹不存在，请新建或另选"
    ),
    errno.ENOTDIR: Text("its parent is not a folder; choose another one", "其上级不是文件夹，请另选"),
    errno.EISDIR: Text(
        "a folder has this name; move it away or choose another name", "已有同名文件夹，请移走或换一个名称"
    ),
    errno.EEXIST: Text(
        "a file has the name of this folder; move it away or choose another name",
        "已有文件与此文件夹同名，请移走或换一个名称",
    ),
    errno.ENAMETOOLONG: Text("the name is too long; choose a shorter one", "名称过长，请缩短"),
}


def write_atomic(path: str | Path, data: bytes | str) -> Path:
    """Write ``data`` so that a reader sees the old file or the new one, never a part.

    Parameters
    ----------
    path
        The file to make or replace; its folder must exist.
    data
        Bytes as they are, or text, written as UTF-8 with the line ends it has.

    Raises
    ------
    OutputError
        Disk full, read-only or missing folder, or a folder in the way; nothing is left behind.
    """
    blob = data.encode("utf-8") if isinstance(data, str) else data
    with atomic_path(path) as temporary:
        temporary.write_bytes(blob)
    return Path(path)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder and with the same suffix, renamed to ``path`` at the end.

    For libraries that write by path. When the block fails or is interrupted the temporary file is removed
    and an older file at ``path`` stays as it was.

    Raises
    ------
    OutputError
        As :func:`write_atomic`; also when the block wrote nothing.
    """
    path = Path(path)
    # Not the name of the target: it may already be as long as the file system allows.
    temporary = path.with_name(f"{PART}{secrets.token_hex(6)}{path.suffix}")
    try:
        yield temporary
        _flush(temporary)
        # Windows lets a file replace nothing but a file, yet reports a folder as "permission denied".
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        os.replace(temporary, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def output_error(path: Path, error: OSError) -> OutputError:
    """Turn an operating system error into words with a remedy."""
    reason = Text.of(_REASONS.get(error.errno or 0, error.strerror or str(error)))
    shown = shown_path(path)
    return OutputError(f"Cannot write {shown}: {reason.en}.", f"无法写入{shown}：{reason.zh}。")


def _flush(path: Path) -> None:
    """Send the bytes to the disk before the rename, so that a crash cannot leave an empty file.

    The descriptor is opened for reading and writing because Windows refuses to flush a read-only one.
    """
    if not path.exists() and path.parent.is_dir():
        raise OutputError(
            f"Cannot write {path.parent}: nothing was written to the temporary file.",
            f"无法写入{path.parent}：临时文件中没有写入任何内容。",
        )
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def slug(text: str) -> str:
    """Make a file name, without suffix, of any text: letters and digits of any script, ``-`` and ``_``.

    Chinese stays Chinese. The result is a legal name on Windows, macOS and Linux: no separators, dots,
    blanks, device names or control characters, at most 180 bytes of UTF-8. Empty text gives
    ``"untitled"``. Two texts can give one slug: use :func:`slugs` for a set of names.
    """
    folded = unicodedata.normalize("NFKC", text)
    kept = (ch if ch.isalnum() or ch == "_" or unicodedata.category(ch) == "Mn" else "-" for ch in folded)
    name = "-".join(part for part in "".join(kept).split("-") if part)
    name = name.encode("utf-8", "ignore")[:_SLUG_BYTES].decode("utf-8", "ignore").rstrip("-")
    if not name:
        return "untitled"
    return f"{name}_" if name.upper() in _DEVICES else name


def slugs(texts: Iterable[str]) -> list[str]:
    """Make one file name for each text, all different even where the disk ignores case."""
    names: list[str] = []
    taken: set[str] = set()
    for text in texts:
        base = name = slug(text)
        number = 2
        while name.casefold() in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


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
