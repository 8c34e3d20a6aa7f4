"""Where a setting stands in the file, and the mistakes found so far."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from spatial_zb.errors import SpecificationError, listed, listed_zh, numbered
from spatial_zb.text import Text

__all__ = [
    "Problems",
    "lines_of",
    "meant",
    "place_of",
]

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_HEADING = re.compile(rf"\s*(\[\[?)[ \t]*({_DOTTED})[ \t]*\]")
_ENTRY = re.compile(rf"\s*({_DOTTED})[ \t]*=")
_OPAQUE = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}' + r"|'''.*?'{3,5}" + r'|"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'|#[^\n]*",
    re.DOTALL,
)


def _opaque(match: re.Match[str]) -> str:
    """Keep the quotes and the line count of a string, drop what looks like syntax in it, and comments."""
    text = match.group()
    if text.startswith("#"):
        return ""
    if text.startswith(('"""', "'''")):
        return "\n" * text.count("\n")
    return re.sub(r"[\[\]{}=#]", "_", text)


def _parts(dotted: str) -> list[str]:
    return [key.strip("\"'") for key in re.findall(_KEY, dotted)]


def lines_of(text: str) -> dict[str, int]:
    """Find the line of every heading and key of a TOML text that tomllib has already accepted."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table: list[str] = []
    depth = 0
    for number, line in enumerate(_OPAQUE.sub(_opaque, text).split("\n"), start=1):
        if depth == 0 and (heading := _HEADING.match(line)):
            table = _parts(heading.group(2))
            if heading.group(1) == "[[":
                dotted = ".".join(table)
                counts[dotted] = counts.get(dotted, 0) + 1
                table = [*table[:-1], f"{table[-1]}[{counts[dotted]}]"]
            lines.setdefault(".".join(table), number)
            continue
        if depth == 0 and (entry := _ENTRY.match(line)):
            lines.setdefault(".".join([*table, *_parts(entry.group(1))]), number)
        depth += sum(line.count(mark) for mark in "[{") - sum(line.count(mark) for mark in "]}")
    return lines


def _line(dotted: str, lines: Mapping[str, int]) -> int | None:
    """Line of a place, or of the nearest place around it that is written in the file."""
    while dotted:
        if dotted in lines:
            return lines[dotted]
        dotted = dotted.rpartition(".")[0]
    return None


def place_of(dotted: str, lines: Mapping[str, int]) -> Text:
    """Name a setting and its line, for a message."""
    line = _line(dotted, lines)
    return Text.of(dotted) if line is None else Text(f"{dotted} (line {line})", f"{dotted}（第{line}行）")


def meant(word: str, known: Iterable[str]) -> Text:
    """Suggest the nearest known word, or list what is known."""
    known = list(dict.fromkeys(str(item) for item in known))
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return Text(f"did you mean {near[0]!r}?", f"是否应为{near[0]!r}？")
    if known:
        return Text(f"known here: {listed(known, limit=20)}.", f"此处可用：{listed_zh(known, limit=20)}。")
    return Text("none is known here.", "此处没有可用的名称。")


class Problems:
    """Mistakes found so far, to be reported together in the order of the file."""

    def __init__(self, lines: Mapping[str, int]) -> None:
        self.lines = lines
        self.found: list[tuple[str, Text]] = []

    def add(self, dotted: str, message: Text) -> None:
        if (dotted, message) not in self.found:
            self.found.append((dotted, message))

    def unknown(self, dotted: str, what: Text, word: str, known: Iterable[str]) -> None:
        hint = meant(word, known)
        self.add(
            dotted,
            Text(f"{what.en} {word!r} is not known; {hint.en}", f"没有名为{word!r}的{what.zh}；{hint.zh}"),
        )

    def raise_any(self, path: Path) -> None:
        if not self.found:
            return
        ordered = sorted(self.found, key=lambda problem: _line(problem[0], self.lines) or 0)
        placed = [(place_of(dotted, self.lines), message) for dotted, message in ordered]
        en = [f"{place.en}: {message.en}" for place, message in placed]
        zh = [f"{place.zh}：{message.zh}" for place, message in placed]
        many = len(en)
        count, count_zh = "1 mistake" if many == 1 else f"{many} mistakes", f"{many}处错误"
        raise SpecificationError(
            f"{path.name} has {count}; nothing was run.\n{numbered(en)}",
            f"{path.name}有{count_zh}，未作任何运行。\n{numbered(zh)}",
        )
