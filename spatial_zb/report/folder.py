"""The results folder of a study: one run at a time, and the earlier results or the new ones, never a mixture.

Publishing is a transaction. Earlier files are kept beside the new ones until the new manifest stands; a journal says
what is under way. A run that finds a journal (the one before was killed) puts the earlier results back first. What a
manifest or a journal names is used only inside the folder, and a file is removed only while it is the one that a run
made: its checksum says so.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spatial_zb.base.errors import OutputError, listed, listed_zh
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.report.files import PART, fingerprint, output_error, write_atomic

MANIFEST = "manifest.json"
LOCK = ".lock"
JOURNAL = ".publishing.json"
#: Earlier files, kept until new ones stand.
BEFORE = ".before-"
#: What a file system without locks answers.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
#: Where Windows locks a byte: behind the words, which others may read.
_FAR = 1 << 30


class Published(KeyboardInterrupt):
    """An interruption that came too late to stop anything: the new results are there, whole."""

    said = Text(
        "Stopped. The new results had just been written and are whole.", "已停止。新结果刚刚写完，完整无缺。"
    )


class _Record(BaseModel):
    """A file that a manifest names; of an older manifest, what it says."""

    model_config = ConfigDict(extra="allow")

    path: str
    sha256: str = ""
    stage: str = ""
    role: str = ""


class _Exhibit(BaseModel):
    model_config = ConfigDict(extra="allow")

    key: str
    stage: str = ""
    title: dict[str, str] = Field(default_factory=dict)


class _Manifest(BaseModel):
    """What is read of a manifest; anything may stand beside it."""

    model_config = ConfigDict(extra="allow")

    complete: bool = False
    inputs: list[_Record] = Field(default_factory=list)
    outputs: list[_Record] = Field(default_factory=list)
    exhibits: list[_Exhibit] = Field(default_factory=list)


class _Journal(BaseModel):
    """What is being published: new files with their checksums, where earlier ones lie, and the manifest at the end."""

    before: str = Field(pattern=rf"^\{BEFORE}[A-Za-z0-9_]+$")
    made: dict[str, str]
    manifest: str


def inside(folder: Path, path: str) -> Path:
    """The file that ``path``, relative and with ``/``, names in a folder.

    Raises
    ------
    OutputError
        It would lie outside: absolute, with ``..``, or by way of a link.
    """
    parts, there = PurePosixPath(path), folder / path
    strange = not parts.parts or parts.is_absolute() or ".." in parts.parts or "\0" in path
    if strange or PureWindowsPath(path).anchor or not there.parent.resolve().is_relative_to(folder.resolve()):
        raise OutputError(
            f"{path!r} does not lie in {folder}: nothing outside that folder is read, written or removed.",
            f"{path!r}不在{folder}内：不读取、写入或删除该文件夹以外的任何内容。",
        )
    return there


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Hold the folder for this process, having made it, tried to write in it and mended what a killed run left.

    The system releases the lock when the process ends, however it ends.

    Raises
    ------
    OutputError
        Another run holds it (its process, machine and start are named), or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _take(folder / LOCK)
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        _recover(folder)
        yield folder
    finally:
        # Removed while it is still held: who opened it meanwhile sees another file in its place and tries again.
        with suppress(OSError):
            (folder / LOCK).unlink()
        handle.close()


def _take(lock: Path) -> IO[str]:
    while True:
        if lock.is_symlink():  # it would be written to wherever it leads
            raise OutputError(
                f"{lock} is a link, not what a run leaves. Remove it.",
                f"{lock}是链接，并非运行所留。请删除。",
            )
        rights = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        handle = os.fdopen(os.open(lock, rights, 0o666), "a+", encoding="utf-8")
        try:
            _hold(handle)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return handle
            handle.seek(0)
            holder = handle.read(200).strip()
            handle.close()
            raise OutputError(
                f"Another run ({holder or 'just starting'}) is writing to {lock.parent}. Wait for it, or give --out "
                "another folder.",
                f"另一次运行（{holder or '正在启动'}）正在写入{lock.parent}。请等待，或用--out换一个文件夹。",
            ) from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), os.stat(lock)):
                handle.truncate(0)
                now = datetime.now().isoformat(" ", "seconds")
                handle.write(f"process {os.getpid()} on {platform.node()}, since {now}")
                handle.flush()
                return handle
        handle.close()


def _hold(handle: IO[str]) -> None:
    if os.name == "nt":
        import msvcrt

        handle.seek(_FAR)
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # on Windows only
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


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


def publish(
    stage: Path, folder: Path, manifest: Mapping[str, Any], stale: Sequence[Mapping[str, Any]]
) -> list[Path]:
    """Move everything from ``stage`` to ``folder``, remove ``stale`` results of earlier runs, sign.

    ``stale``: records of the earlier manifest; a file that was changed since stays, with a warning. The folder holds
    the earlier results until the new manifest replaces the old one, and the new ones from then on. Ctrl-C and SIGTERM
    wait until it is done.

    Raises
    ------
    OutputError
        A file cannot be written; the earlier results are back.
    Published
        Ctrl-C or SIGTERM came meanwhile.
    """
    made = sorted(path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file())
    gone = _removable(folder, stale)
    text = json.dumps({**manifest, "complete": True}, ensure_ascii=False, indent=1, default=str) + "\n"
    with _signals_held() as caught:
        try:
            before = Path(tempfile.mkdtemp(prefix=BEFORE, dir=folder))
            for relative in (*made, *gone, MANIFEST):
                _keep(inside(folder, relative), before / relative)
            sums = {relative: fingerprint(stage / relative) for relative in made}
            journal = _Journal(before=before.name, made=sums, manifest=sha256(text.encode()).hexdigest())
            write_atomic(folder / JOURNAL, journal.model_dump_json())
            for relative in made:
                (folder / relative).parent.mkdir(parents=True, exist_ok=True)
                os.replace(stage / relative, folder / relative)
            for relative in gone:
                (folder / relative).unlink(missing_ok=True)
            write_atomic(folder / MANIFEST, text)
        except OSError as error:
            _recover(folder)
            raise output_error(folder, error) from error
        except BaseException:
            _recover(folder)
            raise
        _recover(folder)
        for relative in gone:
            _drop_empty((folder / relative).parent, folder)
    if caught:
        raise Published
    return [folder / relative for relative in made]


def _removable(folder: Path, stale: Sequence[Mapping[str, Any]]) -> list[str]:
    """Files of earlier runs that are still what those runs made."""
    own: list[str] = []
    changed: list[str] = []
    for record in stale:
        try:
            path = inside(folder, record["path"])
        except OutputError:
            changed.append(record["path"])
            continue
        if path.is_file():
            same = not path.is_symlink() and fingerprint(path) == record["sha256"]
            (own if same else changed).append(record["path"])
    if changed:
        warn(
            "These files of an earlier run were changed since and stay, though this run does not make them: "
            f"{listed(changed)}. Remove them if you do not need them.",
            f"本次运行不再生成、但在先前生成后被改动的文件予以保留：{listed_zh(changed)}。如不需要，请自行删除。",
        )
    return own


def _keep(path: Path, copy: Path) -> None:
    """A second name for a file, or a copy where the disk has no second names."""
    if not path.is_file():
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, copy)
    except OSError:
        shutil.copy2(path, copy)


def _recover(folder: Path) -> None:
    """End what was being published: with the new manifest it is done, without it the earlier files go back."""
    journal = folder / JOURNAL
    try:
        found = _Journal.model_validate_json(_bytes_of(journal))
    except (OSError, ValidationError):
        found = None  # nothing under way, or nothing that a run has written
    before = None if found is None else folder / found.before
    if found and before and not before.is_symlink() and not _is(folder / MANIFEST, found.manifest):
        for relative, made in found.made.items():
            with suppress(OutputError):
                path = inside(folder, relative)
                if not (before / relative).is_file() and _is(path, made):
                    path.unlink()
                    _drop_empty(path.parent, folder)
        for top, _, names in os.walk(before):
            for name in names:
                relative = (Path(top) / name).relative_to(before).as_posix()
                with suppress(OutputError):
                    target = inside(folder, relative)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(before / relative, target)
    journal.unlink(missing_ok=True)
    for old in folder.glob(f"{BEFORE}*"):
        shutil.rmtree(old, ignore_errors=True)
    for old in folder.glob(f"{PART}{'[0-9a-f]' * 12}.json"):  # a journal or manifest that was being written
        old.unlink()


def _bytes_of(path: Path) -> bytes:
    """What a file holds; a pipe in its place would be waited for without end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file")
    return path.read_bytes()


def _is(path: Path, checksum: str) -> bool:
    return path.is_file() and not path.is_symlink() and fingerprint(path) == checksum


@contextmanager
def _signals_held() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM wait to the end of the block; the list says which came."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    earlier = {
        number: signal.signal(number, lambda number, frame: caught.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield caught
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _drop_empty(place: Path, folder: Path) -> None:
    """Remove the folder of a language, and the folders around it, once they are empty."""
    while place != folder and place.is_dir() and not any(place.iterdir()):
        place.rmdir()
        place = place.parent


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an earlier run, its records checked; empty, with a warning, when it cannot be read.

    While results are being published, or after a run was killed in the middle of it, it is not ``complete``.
    """
    path = folder / MANIFEST
    try:
        found = _Manifest.model_validate_json(_bytes_of(path))
    except OSError:
        return {}
    except ValidationError:
        warn(
            f"{path} is damaged or of another version: results of earlier runs that this one does not make stay.",
            f"{path}已损坏或属于其他版本：先前运行的、本次不生成的结果予以保留。",
        )
        return {}
    complete = found.complete and not (folder / JOURNAL).exists()
    inputs = [
        record.model_dump(exclude_unset=True) for record in found.inputs
    ]  # compared with those of a new run
    return {**found.model_dump(), "inputs": inputs, "complete": complete}
