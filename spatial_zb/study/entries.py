"""From tables of the file to sections: every mistake is collected in words, with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spatial_zb.base.errors import SpecificationError, listed, listed_zh, numbered
from spatial_zb.base.text import Text
from spatial_zb.study.sections import (
    LISTS,
    NAMED,
    REQUIRED,
    SECTION_NAMES,
    TABLES,
    WEIGHT_KINDS,
    Battery,
    CurveTest,
    Equation,
    Probabilities,
    Sample,
    Section,
)
from spatial_zb.study.values import FUNCTIONS, RESERVED

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


def sections_of(raw: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """Validate each table by itself, so that one mistake hides no other."""
    for key in raw:
        if key not in SECTION_NAMES:
            hint = meant(key, SECTION_NAMES)
            problems.add(key, Text(f"unknown section; {hint.en}", f"没有这一节；{hint.zh}"))
    for key in REQUIRED:
        if not raw.get(key):
            problems.add(
                key, Text(f"the section [{key}] is required and is not in the file", f"缺少必需的[{key}]一节")
            )
    parts: dict[str, Any] = {}
    for key, model in TABLES.items():
        if key in raw:
            parts[key] = _validate(model, raw[key], key, problems)
    for key in NAMED:
        tables = _table(raw.get(key, {}), key, problems)
        parts[key] = {name: _named(key, name, table, problems) for name, table in tables.items()}
    for key, model in LISTS.items():
        parts[key] = _listed(model, raw.get(key, []), key, problems)
    if not parts["samples"]:
        parts["samples"] = {"all": Sample(name="all", label=Text("All units", "全部单元"))}
    return parts


def _table(value: object, dotted: str, problems: Problems) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    problems.add(dotted, _no_table(dotted, value))
    return {}


def _no_table(dotted: str, value: object) -> Text:
    return Text(
        f"must be a table with a heading [{dotted}], not {value!r}",
        f"须为以[{dotted}]开头的表，而不是{value!r}",
    )


def _listed(model: type[Section], value: object, key: str, problems: Problems) -> dict[str, Any]:
    """Validate every ``[[key]]``, by its place."""
    if not isinstance(value, list):
        problems.add(
            key, Text(f"must be written as [[{key}]], with two brackets", f"须写作[[{key}]]，用双重方括号")
        )
        return {}
    places = [f"{key}[{number}]" for number in range(1, len(value) + 1)]
    return {
        place: _validate(model, entry, place, problems) for place, entry in zip(places, value, strict=True)
    }


def _named(key: str, name: str, value: object, problems: Problems) -> Section | None:
    """Validate ``[key.name]``; its heading is its name, and its label where none is given."""
    dotted = f"{key}.{name}"
    if not isinstance(value, Mapping):
        problems.add(dotted, _no_table(dotted, value))
        return None
    _check_name(key, name, problems)
    if "name" in value:
        problems.add(
            f"{dotted}.name",
            Text("unknown key; the heading of the table is the name", "没有此键；表的标题即为名称"),
        )
    model = NAMED[key]
    if key == "weights":
        model = _weights_model(dotted, value, problems)
    if model is None:
        return None
    title = "title" if "title" in model.model_fields else "label"
    return _validate(model, {title: name, **value, "name": name}, dotted, problems)


def _check_name(key: str, name: str, problems: Problems) -> None:
    dotted = f"{key}.{name}"
    if key in ("variables", "constants", "indices", "coupling"):
        if not name.isidentifier() or len(name) > 64:
            problems.add(
                dotted,
                Text(
                    "the name must be letters, digits and _ and not begin with a digit",
                    "名称只能用字母、数字和_，且不以数字开头",
                ),
            )
        elif name in RESERVED | FUNCTIONS or name.startswith("W_"):
            problems.add(
                dotted,
                Text(
                    f"the name {name!r} is reserved for results or functions; choose another",
                    f"名称{name!r}为结果或函数保留，请另取",
                ),
            )
    elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        problems.add(
            dotted,
            Text(
                "the name goes into file names: use letters A-z, digits, _ and - only",
                "名称用于文件名：只能用英文字母、数字、_和-",
            ),
        )


def _weights_model(dotted: str, value: Mapping[str, Any], problems: Problems) -> type[Section] | None:
    kind = value.get("kind")
    if isinstance(kind, str) and kind in WEIGHT_KINDS:
        return WEIGHT_KINDS[kind]
    if kind is None:
        problems.add(
            f"{dotted}.kind",
            Text(f"is required: one of {listed(WEIGHT_KINDS)}", f"必填，可为：{listed_zh(WEIGHT_KINDS)}"),
        )
    else:
        hint = meant(str(kind), WEIGHT_KINDS)
        problems.add(
            f"{dotted}.kind",
            Text(f"{kind!r} is not a kind of weights; {hint.en}", f"没有{kind!r}这类权重；{hint.zh}"),
        )
    return None


def _validate(model: type[Section], value: object, dotted: str, problems: Problems) -> Any:
    if not isinstance(value, Mapping):
        problems.add(dotted, _no_table(dotted, value))
        return None
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        for item in error.errors(include_url=False):
            place, message = _said(item, model, dotted)
            problems.add(place, message)
        return None


#: Tables within a table, and keys whose values stand under names of their own.
_INNER: Mapping[str, type[Section]] = {
    "robustness": Battery,
    "curve": CurveTest,
    "probabilities": Probabilities,
}
_BY_NAME = ("values", "where", "controls", "x", "drop", "periods")

_TYPES: Mapping[str, Text] = {
    "string_type": Text("must be text in quotes", "须为带引号的文本"),
    "string_too_short": Text("must not be empty text", "不能为空文本"),
    "string_pattern_mismatch": Text("has letters or signs that are not allowed here", "含有此处不允许的字符"),
    "int_type": Text("must be a whole number", "须为整数"),
    "float_type": Text("must be a number", "须为数字"),
    "finite_number": Text("must be a finite number", "须为有限的数"),
    "bool_type": Text("must be true or false", "须为true或false"),
    "tuple_type": Text("must be a list in square brackets", "须为方括号中的列表"),
    "dict_type": Text("must be a table", "须为表"),
}


def _by_name(key: str, entry: object) -> bool:
    """Whether an error is of one named value of a table such as ``values`` or ``controls``, not of a list."""
    return key in _BY_NAME and (isinstance(entry, str) or (key == "values" and entry is not None))


def _said(item: Mapping[str, Any], model: type[Section], dotted: str) -> tuple[str, Text]:
    """Put one pydantic error into the words of a study file."""
    loc = item["loc"]
    if len(loc) > 2 and loc[0] == "equations":  # a table within the table of a system
        return _said({**item, "loc": loc[2:]}, Equation, f"{dotted}.equations.{loc[1]}")
    key = str(loc[0]) if loc else ""
    if len(loc) > 1 and key in _INNER:  # a table within [compare]
        return _said({**item, "loc": loc[1:]}, _INNER[key], f"{dotted}.{key}")
    entry = loc[1] if len(loc) > 1 else None
    where = Text("", "")
    if _by_name(key, entry):
        where = Text(f"{entry}: ", f"{entry}：")
    elif isinstance(entry, int) and key != "values":
        where = Text(f"entry {entry + 1}: ", f"第{entry + 1}项：")
    if item["type"] in ("extra_forbidden", "missing"):
        where = Text("", "")
    said = _in_words(item, key, model)
    return f"{dotted}.{key}" if key else dotted, Text(where.en + said.en, where.zh + said.zh)


def _in_words(item: Mapping[str, Any], key: str, model: type[Section]) -> Text:
    """What is wrong with one value."""
    kind, got = item["type"], item.get("input")
    if kind == "extra_forbidden":
        hint = meant(key, [name for name in model.model_fields if name != "name"])
        return Text(f"unknown key; {hint.en}", f"没有此键；{hint.zh}")
    if kind == "missing":
        return Text("is required", "必填")
    if kind == "value_error":
        error = item["ctx"]["error"]
        return Text(str(error), getattr(error, "zh", str(error)))
    if kind == "literal_error":
        return _no_choice(item["ctx"]["expected"], got)
    words = _TYPES.get(kind) or _beyond(item)
    return Text(f"{words.en}, not {got!r}", f"{words.zh}，而不是{got!r}")


def _no_choice(allowed: str, got: object) -> Text:
    """``allowed`` as pydantic has it: ``'a', 'b' or 'c'``."""
    choices = re.findall(r"'([^']*)'", allowed)
    near = difflib.get_close_matches(str(got), choices, n=1, cutoff=0.6)
    hint = Text(f"; did you mean {near[0]!r}?", f"；是否应为{near[0]!r}？") if near else Text("", "")
    allowed_zh = allowed.replace(" or ", "、").replace(", ", "、") + ("之一" if len(choices) > 1 else "")
    return Text(f"must be {allowed}, not {got!r}{hint.en}", f"须为{allowed_zh}，而不是{got!r}{hint.zh}")


#: Limits of a number, by the name of the limit in pydantic.
_LIMITS: Mapping[str, str] = {"gt": "须大于", "ge": "须不小于", "lt": "须小于", "le": "须不大于"}


def _beyond(item: Mapping[str, Any]) -> Text:
    """A limit, or in pydantic's words what has none of its own here."""
    english = item["msg"].replace("Input should", "must")
    limits = [f"{_LIMITS[name]}{value}" for name, value in item.get("ctx", {}).items() if name in _LIMITS]
    return Text(english, "、".join(limits) or f"不合要求（{english}）")
