"""Files that a study names: inside its project folder, plain, there."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from spatial_zb.errors import listed, listed_zh
from spatial_zb.study.places import Problems
from spatial_zb.study.references import entries_of
from spatial_zb.study.sections import WeightsFile
from spatial_zb.text import Text

__all__ = [
    "check_files",
]

#: What parts columns where commas should.
PARTED = {";": Text("semicolons", "分号"), "\t": Text("tabs", "制表符")}


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


def _inside(text: str, home: Path, allow_outside: bool, say: Callable[[Text], None]) -> Path | None:
    """Resolve a path of the study file, or say why it is refused."""
    if "://" in text or text.lower().startswith(("/vsi", "\\vsi")) or text.lower().endswith(".vrt"):
        say(
            Text(
                f"{text!r} is not a plain file: addresses, /vsi paths and VRT files are refused",
                f"{text!r}不是普通文件：不接受网址、/vsi路径和VRT文件",
            )
        )
        return None
    if "\\" in text or not text.isprintable():
        say(
            Text(
                f"{text!r} must be written with forward slashes, such as data/cities.csv",
                f"{text!r}须用正斜杠书写，如data/cities.csv",
            )
        )
        return None
    absolute = Path(text).is_absolute() or bool(PureWindowsPath(text).drive)
    try:
        found = (home / text).resolve()
    except (OSError, RuntimeError):
        say(Text(f"{text!r} cannot be followed to a file", f"{text!r}无法解析为文件"))
        return None
    if not allow_outside and (absolute or not found.is_relative_to(home)):
        say(
            Text(
                f"{text!r} leaves the project folder; put the file inside it or allow outside files explicitly",
                f"{text!r}在项目文件夹之外；请将文件放入其中，或用--allow-outside明确允许",
            )
        )
        return None
    return found


def _existing(text: str, home: Path, allow_outside: bool, say: Callable[[Text], None]) -> Path | None:
    found = _inside(text, home, allow_outside, say)
    if found is None:
        return None
    try:
        if found.is_dir():
            say(Text(f"{text!r} is a folder, not a file", f"{text!r}是文件夹，不是文件"))
            return None
        if not found.is_file():
            beside = [item.name for item in found.parent.iterdir()] if found.parent.is_dir() else []
            near = difflib.get_close_matches(found.name, beside, n=1, cutoff=0.6)
            hint = Text(f"; did you mean {near[0]!r}?", f"；是否应为{near[0]!r}？") if near else Text("", "")
            say(
                Text(
                    f"there is no file {text!r} in the project folder{hint.en}",
                    f"项目文件夹中没有文件{text!r}{hint.zh}",
                )
            )
            return None
        with found.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        say(
            Text(
                f"the file {text!r} cannot be read: {error.strerror}",
                f"文件{text!r}无法读取：{error.strerror}",
            )
        )
        return None
    if not head.strip():
        say(Text(f"the file {text!r} is empty", f"文件{text!r}为空"))
        return None
    if b"<OGRVRTDataSource" in head:
        say(
            Text(
                f"the file {text!r} is a VRT file, which may point anywhere; refused",
                f"文件{text!r}是VRT文件，可能指向任何位置，不予接受",
            )
        )
        return None
    return found


def _header(path: Path, say: Callable[[Text], None]) -> list[str] | None:
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
        parted = [word for mark, word in PARTED.items() if len(names) == 1 and mark in names[0]]
        if parted:
            say(
                Text(
                    f"the columns of {path.name!r} are parted by {listed(word.en for word in parted)}; save it as CSV "
                    "with commas",
                    f"{path.name!r}的各列以{listed_zh(word.zh for word in parted)}分隔；请另存为逗号分隔的CSV",
                )
            )
            return None
        return [name.strip() for name in names]
    say(
        Text(
            f"the first line of {path.name!r} is not text in UTF-8 or GB18030; save it as CSV in UTF-8",
            f"{path.name!r}的首行不是UTF-8或GB18030文本；请另存为UTF-8的CSV",
        )
    )
    return None
