"""The results folder of a study: one run at a time, nothing replaced before everything is made."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spatial_zb.errors import OutputError
from spatial_zb.report.files import output_error, write_atomic

__all__ = ["MANIFEST", "locked", "publish", "read_manifest", "staging"]

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
