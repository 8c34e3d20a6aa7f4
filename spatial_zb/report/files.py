"""Files that are whole or absent: write beside the target, flush to the disk, then rename.

The results folder of a study: one run at a time, nothing replaced before everything is made.

What a run was made from and what it made: enough to tell whether two runs should agree.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import secrets
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from spatial_zb.base.errors import OutputError
from spatial_zb.base.text import Text

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
    temporary = path.with_name(f".part-{secrets.token_hex(6)}{path.suffix}")
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
    return OutputError(f"Cannot write {path}: {reason.en}.", f"无法写入{path}：{reason.zh}。")


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


MANIFEST = "manifest.json"
LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Hold the folder for this process, having made it and tried to write in it.

    Raises
    ------
    OutputError
        Another living process holds it (its number is named), or it cannot be written to.
    """
    lock = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _take(lock)
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        yield folder
    finally:
        with suppress(OSError):
            lock.unlink()


def _take(lock: Path) -> None:
    for _ in range(2):
        try:
            with open(lock, "x") as handle:
                handle.write(str(os.getpid()))
            return
        except FileExistsError:
            holder = _holder(lock)
            if holder is not None and _alive(holder):
                raise OutputError(
                    f"Another run (process {holder}) is writing to {lock.parent}. Wait for it, or give --out "
                    "another folder.",
                    f"另一次运行（进程{holder}）正在写入{lock.parent}。请等待，或用--out换一个文件夹。",
                ) from None
            lock.unlink(missing_ok=True)  # left behind by a run that was killed
    raise OutputError(
        f"{lock} comes back as fast as it is removed: another run is starting. Try again.",
        f"{lock}删去后又出现：另一次运行正在启动。请再试一次。",
    )


def _holder(lock: Path) -> int | None:
    try:
        return int(lock.read_text())
    except (OSError, ValueError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A fresh hidden folder inside ``folder`` to build results in; removed at the end, whatever happens."""
    for old in folder.glob(".building-*"):
        shutil.rmtree(old, ignore_errors=True)
    place = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def publish(stage: Path, folder: Path, manifest: dict[str, Any], stale: list[str]) -> list[Path]:
    """Move everything from ``stage`` to ``folder``, remove ``stale`` results of earlier runs, then sign.

    The manifest says ``"complete": false`` while files are moving and is written anew at the end, so a
    folder caught halfway can be told from a whole one.
    """
    made = sorted(path.relative_to(stage) for path in stage.rglob("*") if path.is_file())
    write_atomic(folder / MANIFEST, _json({**manifest, "complete": False}))
    try:
        for relative in made:
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage / relative, folder / relative)
        for relative in stale:
            (folder / relative).unlink(missing_ok=True)
            _drop_empty((folder / relative).parent, folder)
    except OSError as error:
        raise output_error(folder, error) from error
    write_atomic(folder / MANIFEST, _json({**manifest, "complete": True}))
    return [folder / relative for relative in made]


def _drop_empty(place: Path, folder: Path) -> None:
    """Take away a folder of a language, and those around it, once nothing is left in it."""
    while place != folder and place.is_dir() and not any(place.iterdir()):
        place.rmdir()
        place = place.parent


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an earlier run; empty when there is none that can be read."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1, default=str) + "\n"


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
