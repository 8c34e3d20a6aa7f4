"""From a file to a :class:`Study`, the only way in, and checks of the files that it names."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import Any

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.text import Language, Text, shown_path
from spatial_zb.study.columns import Attributes, entries_of
from spatial_zb.study.entries import Problems, lines_of, place_of, sections_of
from spatial_zb.study.references import check_references
from spatial_zb.study.sections import LISTS, NAMED, Data, IdsOfTable, Model, Output, System, WeightsFile
from spatial_zb.study.values import MAX_BYTES, STUDY_VERSION
from spatial_zb.study.whole import Study

#: What parts columns where commas should.
PARTED = {";": Text("semicolons", "分号"), "\t": Text("tabs", "制表符")}


def check_files(
    parts: Mapping[str, Any], home: Path, allow_outside: bool, problems: Problems
) -> tuple[dict[str, list[str] | None], Attributes]:
    """Check every path; give the columns of the tables of data (None where not readable here), and those of the polygons.

    Several tables of the reference region have the columns of all of them.
    """
    columns: dict[str, list[str] | None] = dict.fromkeys(("file", "reference", "flags", "events"))
    polygons: list[Path] = []
    for section, keys in (
        ("regions", ["file", "lines"]),
        ("data", ["file", "reference", "codebook", "flags", "events"]),
    ):
        for key in keys:
            given = getattr(parts.get(section), key, None) or ()
            say = partial(problems.add, f"{section}.{key}")
            files = (given,) if isinstance(given, str) else given
            found = [_existing(text, home, allow_outside, say) for text in files]
            if (section, key) == ("regions", "file"):
                polygons = [path for path in found if path is not None]
            elif key in columns and found:
                headers = [None if path is None else _header(path, say) for path in found]
                columns[key] = _together(headers)
    attributes = Attributes(polygons)
    data = parts.get("data", Data())  # None where it has mistakes
    if data is not None and data.file is None and polygons:
        columns["file"] = list(attributes) or None
    for dotted, weights in entries_of(parts, "weights"):
        if isinstance(weights, WeightsFile):
            place = f"{dotted}.file"
            _existing(weights.file, home, allow_outside, partial(problems.add, place))
            if isinstance(weights.ids, IdsOfTable):
                of_ids = partial(problems.add, f"{dotted}.ids")
                _existing(weights.ids.file, home, allow_outside, of_ids)
    output = parts.get("output")
    folder = "results" if output is None else output.folder
    name = getattr(parts.get("study"), "name", None)
    if _inside(folder, home, allow_outside, lambda said: problems.add("output.folder", said)) and name:
        _inside(f"{folder}/{name}", home, allow_outside, lambda said: problems.add("study.name", said))
    return columns, attributes


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
            if (
                not near and home != Path.cwd() and (Path.cwd() / text).is_file()
            ):  # a copy of a study, made elsewhere
                hint = Text(
                    "; this folder has it: add --root . (in Python, root) to read the paths of the study from here",
                    "；当前文件夹中有此文件：请加--root .（Python中为root），使研究文件的路径由此处起算",
                )
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
    return found


def _together(headers: list[list[str] | None]) -> list[str] | None:
    """Columns that any of several tables has; None where one of them is not known."""
    known = [header for header in headers if header is not None]
    return None if len(known) < len(headers) else list(dict.fromkeys(name for one in known for name in one))


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


def load_study(path: str | Path, *, root: str | Path | None = None, allow_outside: bool = False) -> Study:
    """Read and check a study file.

    Parameters
    ----------
    path : str or Path
        A TOML file.
    root : str or Path, optional
        Project folder that the paths in the file start from. Default: the parent of the folder ``studies``
        that holds the file, else the folder of the file.
    allow_outside : bool
        Let the file name files outside the project folder.

    Raises
    ------
    SpecificationError
        The file is not there, is not TOML in UTF-8 or has another version; or it has mistakes: then one
        numbered list of all of them.
    """
    path = Path(path)
    content = _read(path)
    raw = _parse(content, path)
    home = (Path(root) if root is not None else _home(path)).resolve()
    if not os.path.isdir(home):  # Path.is_dir raises where a path is too long
        shown = shown_path(home)
        raise SpecificationError(f"The project folder {shown} is not there.", f"项目文件夹{shown}不存在。")
    lines = lines_of(content.decode("utf-8-sig"))
    _check_version(raw, path, lines)
    problems = Problems(lines)
    parts = sections_of(raw, problems)
    columns, attributes = check_files(parts, home, allow_outside, problems)
    check_references(parts, columns, attributes, problems)
    problems.raise_any(path)
    data = parts.get("data") or Data()
    if not data.dated:
        for key in ("models", "systems"):
            parts[key] = {name: _without_effects(part) for name, part in parts[key].items()}
    maps = parts.get("maps")
    if maps is not None and not maps.periods:
        parts["maps"] = maps.model_copy(update={"periods": data.span[1:]})
    entries: dict[str, Any] = {key: MappingProxyType(parts[key]) for key in NAMED}
    entries |= {key: tuple(parts[key].values()) for key in LISTS}
    return Study(
        path=path.resolve(),
        root=home,
        sha256=hashlib.sha256(content).hexdigest(),
        general=parts["study"],
        regions=parts.get("regions"),
        data=data,
        **entries,
        moran=parts.get("moran"),
        concentration=parts.get("concentration"),
        dynamics=parts.get("dynamics"),
        compare=parts.get("compare"),
        maps=parts.get("maps"),
        figures=parts.get("figures"),
        output=parts.get("output") or Output(),
        lines=MappingProxyType(lines),
    )


def _without_effects(part: Model | System) -> Model | System:
    """A model of a cross-section, which has no fixed effects to begin with."""
    none = "none" if isinstance(part, System) else ("none",)
    return part.model_copy(update={"fixed_effects": none})


def find_study(folder: Path) -> Path:
    """The one study file of a folder, or else of the folder ``studies`` in it.

    Raises
    ------
    SpecificationError
        There is none, or there are several to choose from.
    """
    for place in (folder, folder / "studies"):
        found = [path for path in sorted(place.glob("*.toml")) if name_in(path) is not None]
        if len(found) == 1:
            return found[0]
        if found:
            names = [path.relative_to(folder).as_posix() for path in found]
            raise SpecificationError(
                f"This folder has {len(found)} study files: {listed(names)}. Name one, as in: spatial-zb run {names[0]}.",
                f"此文件夹有{len(found)}个研究文件：{listed_zh(names)}。请指明其一，如：spatial-zb run {names[0]}。",
            )
    raise SpecificationError(
        f"There is no study file in {shown_path(folder)}. Name one, or let `spatial-zb init my-study` write a small one "
        "with its data to start from.",
        f"{shown_path(folder)}中没有研究文件。请指明研究文件，或用`spatial-zb init my-study`生成一个带数据的小型研究。",
    )


def language_of(path: str | Path) -> Language:
    """Language in which mistakes of a study file are told: Chinese where it sets ``language = "zh"``.

    The line is looked for in the text, since a file with mistakes may not be TOML.
    """
    try:
        if not os.path.isfile(path):
            return "en"
        with Path(path).open("rb") as stream:
            text = stream.read(MAX_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return "en"
    return "zh" if re.search(r"""^[ \t]*language[ \t]*=[ \t]*["']zh["']""", text, re.MULTILINE) else "en"


def name_in(path: Path) -> str | None:
    """Name of the study in a file that need not be right otherwise; none where it cannot be read."""
    try:
        name = tomllib.loads(path.read_bytes()[:MAX_BYTES].decode("utf-8-sig"))["study"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _home(path: Path) -> Path:
    folder = path.resolve().parent
    return folder.parent if folder.name == "studies" else folder


def _read(path: Path) -> bytes:
    if path.suffix.lower() != ".toml":
        raise SpecificationError(
            f"A study file is TOML and its name ends in .toml, not {path.name!r}.",
            f"研究文件为TOML格式，文件名须以.toml结尾，而不是{path.name!r}。",
        )
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for without end
        raise SpecificationError(
            f"The study file {path} cannot be read: it is not a file.",
            f"研究文件{path}无法读取：它不是文件。",
        )
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (FileNotFoundError, ValueError):  # a name with a zero byte is none
        folder = path.parent
        others = sorted(item.name for item in folder.glob("*.toml")) if os.path.isdir(folder) else []
        hint = f" In that folder: {listed(others)}." if others else ""
        hint_zh = f"该文件夹中有：{listed_zh(others)}。" if others else ""
        raise SpecificationError(
            f"There is no study file {shown_path(path)}.{hint}", f"没有研究文件{shown_path(path)}。{hint_zh}"
        ) from None
    except OSError as error:
        raise SpecificationError(
            f"The study file {shown_path(path)} cannot be read: {error.strerror}.",
            f"研究文件{shown_path(path)}无法读取：{error.strerror}。",
        ) from None
    if len(content) > MAX_BYTES:
        raise SpecificationError(
            f"{path.name} is too large for a study file (over {MAX_BYTES:,} bytes).",
            f"{path.name}过大，不像研究文件（超过{MAX_BYTES:,}字节）。",
        )
    return content


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpecificationError(
            f"{path.name} is not UTF-8 text (line {line}). Save it as UTF-8 in the editor.",
            f"{path.name}不是UTF-8文本（第{line}行）。请在编辑器中另存为UTF-8。",
        ) from None
    if not text.strip():
        raise SpecificationError(
            f"{path.name} is empty. `spatial-zb init my-study` writes a study to start from.",
            f"{path.name}为空。可用`spatial-zb init my-study`生成一个研究再修改。",
        )
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SpecificationError(
            f"{path.name} nests brackets too deeply to be read.", f"{path.name}的括号嵌套过深，无法读取。"
        ) from None
    except ValueError as error:
        hint = _syntax_hint(error, text)
        raise SpecificationError(
            f"{path.name} is not valid TOML: {error}.{hint.en}",
            f"{path.name}不是有效的TOML：{error}。{hint.zh}",
        ) from None


def _syntax_hint(error: ValueError, text: str) -> Text:
    """Show the line tomllib stopped at, and name the usual slip of Chinese keyboards."""
    found = re.search(r"at line (\d+)", str(error))
    if not found:
        return Text("", "")
    line = text.split("\n")[int(found.group(1)) - 1].strip()
    slips = sorted(set(line) & set("“”‘’＝，：【】［］｛｝"))
    slip = Text("", "")
    if slips:
        marks = " ".join(slips)
        slip = Text(
            f" It has full-width punctuation ({marks}) where TOML wants plain ASCII.",
            f"其中有全角标点（{marks}），TOML须用半角。",
        )
    key = re.sub(r"\"[^\"]*\"|'[^']*'", "", line.partition("#")[0].partition("=")[0])
    if not slips and not key.isascii():
        slip = Text(
            ' Names with Chinese characters need quotes here: [variables."产业"].',
            '含中文的名称须加引号：[variables."产业"]。',
        )
    return Text(f"\n  The line is: {line[:120]}{slip.en}", f"\n  该行为：{line[:120]}{slip.zh}")


def _check_version(raw: Mapping[str, Any], path: Path, lines: Mapping[str, int]) -> None:
    if "version" not in raw:
        raise SpecificationError(
            f"{path.name} has no version; its first line must be version = {STUDY_VERSION}.",
            f"{path.name}没有version；第一行须为version = {STUDY_VERSION}。",
        )
    version = raw["version"]
    if type(version) is not int or version != STUDY_VERSION:
        place = place_of("version", lines)
        raise SpecificationError(
            f"{path.name}, {place.en}: this program reads study files of version "
            f"{STUDY_VERSION}, not {version!r}. The changelog says how to convert a file of another version.",
            f"{path.name}，{place.zh}：本程序读取版本为{STUDY_VERSION}的研究文件，而不是{version!r}。"
            "其他版本的转换办法见CHANGELOG。",
        )
