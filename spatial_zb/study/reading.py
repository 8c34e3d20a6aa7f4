"""From a file to a :class:`Study`: the only way in."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from spatial_zb.errors import SpecificationError, listed, listed_zh
from spatial_zb.study.entries import sections_of
from spatial_zb.study.files import check_files
from spatial_zb.study.places import Problems, lines_of, place_of
from spatial_zb.study.references import check_references
from spatial_zb.study.sections import LISTS, NAMED, Output
from spatial_zb.study.values import MAX_BYTES, STUDY_VERSION
from spatial_zb.study.whole import Study
from spatial_zb.text import Language, Text

__all__ = [
    "language_of",
    "load_study",
    "name_in",
]


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
    if not home.is_dir():
        raise SpecificationError(f"The project folder {home} is not there.", f"项目文件夹{home}不存在。")
    lines = lines_of(content.decode("utf-8-sig"))
    _check_version(raw, path, lines)
    problems = Problems(lines)
    parts = sections_of(raw, problems)
    columns = check_files(parts, home, allow_outside, problems)
    check_references(parts, columns, problems)
    problems.raise_any(path)
    return Study(
        path=path.resolve(),
        root=home,
        sha256=hashlib.sha256(content).hexdigest(),
        general=parts["study"],
        regions=parts["regions"],
        data=parts["data"],
        **{key: MappingProxyType(parts[key]) for key in NAMED},
        **{key: tuple(parts[key].values()) for key in LISTS},
        moran=parts.get("moran"),
        concentration=parts.get("concentration"),
        dynamics=parts.get("dynamics"),
        compare=parts.get("compare"),
        maps=parts.get("maps"),
        figures=parts.get("figures"),
        output=parts.get("output") or Output(),
        lines=MappingProxyType(lines),
    )


def language_of(path: str | Path) -> Language:
    """Language in which mistakes of a study file are told: Chinese where it sets ``language = "zh"``.

    The line is looked for in the text, since a file with mistakes may not be TOML.
    """
    try:
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
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        folder = path.parent
        others = sorted(item.name for item in folder.glob("*.toml")) if folder.is_dir() else []
        hint = f" In that folder: {listed(others)}." if others else ""
        hint_zh = f"该文件夹中有：{listed_zh(others)}。" if others else ""
        raise SpecificationError(
            f"There is no study file {path}.{hint}", f"没有研究文件{path}。{hint_zh}"
        ) from None
    except OSError as error:
        raise SpecificationError(
            f"The study file {path} cannot be read: {error.strerror}.",
            f"研究文件{path}无法读取：{error.strerror}。",
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
            f"{path.name} is empty. Start from a study in the folder studies.",
            f"{path.name}为空。可从studies文件夹中的研究文件改起。",
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
