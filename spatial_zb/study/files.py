"""Files that a study names: inside its project folder, plain, there."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from spatial_zb.errors import listed
from spatial_zb.study.places import Problems
from spatial_zb.study.references import entries_of
from spatial_zb.study.sections import WeightsFile

__all__ = [
    "check_files",
]

#: What parts columns where commas should.
PARTED = {";": "semicolons", "\t": "tabs"}


def check_files(
    parts: Mapping[str, Any], home: Path, allow_outside: bool, problems: Problems
) -> dict[str, list[str] | None]:
    """Check every path; give the columns of the data and reference tables (None where not readable here)."""
    columns: dict[str, list[str] | None] = {"file": None, "reference": None}
    for section, keys in (("regions", ["file"]), ("data", ["file", "reference", "codebook"])):
        for key in keys:
            text = getattr(parts.get(section), key, None)
            if isinstance(text, tuple):  # the layers of the polygons
                for each in text:
                    _existing(each, home, allow_outside, lambda said: problems.add("regions.file", said))
                continue
            if text is None:
                continue
            place = f"{section}.{key}"
            found = _existing(text, home, allow_outside, lambda said, at=place: problems.add(at, said))
            if found is not None and section == "data" and key in columns:
                columns[key] = _header(found, lambda said, at=place: problems.add(at, said))
    for dotted, weights in entries_of(parts, "weights"):
        if isinstance(weights, WeightsFile):
            place = f"{dotted}.file"
            _existing(weights.file, home, allow_outside, lambda said, at=place: problems.add(at, said))
    output = parts.get("output")
    if output is not None:
        _inside(output.folder, home, allow_outside, lambda said: problems.add("output.folder", said))
    return columns


def _inside(text: str, home: Path, allow_outside: bool, say: Callable[[str], None]) -> Path | None:
    """Resolve a path of the study file, or say why it is refused."""
    if "://" in text or text.lower().startswith(("/vsi", "\\vsi")) or text.lower().endswith(".vrt"):
        say(f"{text!r} is not a plain file: addresses, /vsi paths and VRT files are refused")
        return None
    if "\\" in text or not text.isprintable():
        say(f"{text!r} must be written with forward slashes, such as data/cities.csv")
        return None
    absolute = Path(text).is_absolute() or bool(PureWindowsPath(text).drive)
    try:
        found = (home / text).resolve()
    except (OSError, RuntimeError):
        say(f"{text!r} cannot be followed to a file")
        return None
    if not allow_outside and (absolute or not found.is_relative_to(home)):
        say(f"{text!r} leaves the project folder; put the file inside it or allow outside files explicitly")
        return None
    return found


def _existing(text: str, home: Path, allow_outside: bool, say: Callable[[str], None]) -> Path | None:
    found = _inside(text, home, allow_outside, say)
    if found is None:
        return None
    try:
        if found.is_dir():
            say(f"{text!r} is a folder, not a file")
            return None
        if not found.is_file():
            beside = [item.name for item in found.parent.iterdir()] if found.parent.is_dir() else []
            near = difflib.get_close_matches(found.name, beside, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            say(f"there is no file {text!r} in the project folder{hint}")
            return None
        with found.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        say(f"the file {text!r} cannot be read: {error.strerror}")
        return None
    if not head.strip():
        say(f"the file {text!r} is empty")
        return None
    if b"<OGRVRTDataSource" in head:
        say(f"the file {text!r} is a VRT file, which may point anywhere; refused")
        return None
    return found


def _header(path: Path, say: Callable[[str], None]) -> list[str] | None:
    """Read the column names of a CSV file; other kinds are checked when they are read."""
    if path.suffix.lower() != ".csv":
        return None
    with path.open("rb") as stream:
        first = stream.readline(1_000_000)
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            names = next(csv.reader(io.StringIO(first.decode(encoding))), [])
        except (UnicodeDecodeError, csv.Error):
            continue
        parted = {mark: word for mark, word in PARTED.items() if len(names) == 1 and mark in names[0]}
        if parted:
            say(
                f"the columns of {path.name!r} are parted by {listed(parted.values())}; save it as CSV with commas"
            )
            return None
        return [name.strip() for name in names]
    say(f"the first line of {path.name!r} is not text in UTF-8 or GB18030; save it as CSV in UTF-8")
    return None
