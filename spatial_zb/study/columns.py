"""Columns: what the tables and polygons of a study have, and which of them its sections and expressions name."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.data.expressions import compile_expression
from spatial_zb.data.expressions.syntax import QUOTED, function_of
from spatial_zb.study.entries import Problems
from spatial_zb.study.sections import (
    OF_POLYGONS,
    Contiguity,
    DistanceBand,
    ExponentialDecay,
    Gravity,
    InverseDistance,
    NearestNeighbours,
    Suspect,
    Variable,
)

COLUMN, VARIABLE = Text("column", "列"), Text("variable", "变量")


def entries_of(parts: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    """Valid named tables of a section with their dotted places."""
    return [(f"{key}.{name}", entry) for name, entry in parts[key].items() if entry is not None]


class Known(Collection[str]):
    """Names that are known here, and those of the polygons, whose file is opened only where the first lack a name."""

    def __init__(self, names: Iterable[str], attributes: Collection[str]) -> None:
        self.names, self.attributes = dict.fromkeys(names), attributes

    def __contains__(self, name: object) -> bool:
        return name in self.names or name in self.attributes

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*self.names, *self.attributes])

    def __len__(self) -> int:
        return len(list(iter(self)))


class Attributes(Collection[str]):
    """Columns of polygon files, read when they are first asked for; none where a file cannot be read here."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    @cached_property
    def names(self) -> tuple[str, ...]:
        from spatial_zb.data.read import layer_columns

        return tuple(dict.fromkeys(name for file in self.files for name in layer_columns(file)))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def check_known(
    dotted: str, what: Text, names: Iterable[str], known: Collection[str] | None, problems: Problems
) -> None:
    """Every name must be among the known ones; None = not known here, checked later."""
    if known is None:
        return
    for name in names:
        if name not in known:
            problems.unknown(dotted, what, name, known)


#: Kinds of weights that are made of places on the map.
_OF_PLACES = (Contiguity, NearestNeighbours, DistanceBand, InverseDistance, ExponentialDecay, Gravity)
_NO_POLYGONS = Text(
    "needs polygons, and the study has no section [regions]", "须有底图，而研究文件没有[regions]一节"
)


def check_polygons(parts: Mapping[str, Any], problems: Problems) -> None:
    """A study without polygons has a table, weights that need no map, and no maps."""
    data = parts.get("data")
    if "regions" in parts:
        return
    if "data" not in parts or (data is not None and data.file is None):
        said = Text(
            "names no table, and the study has no polygons either: add file, or a section [regions]",
            "没有数据表，研究文件也没有底图：请加file，或加[regions]一节",
        )
        problems.add("data", said)
    for dotted, entry in entries_of(parts, "weights"):
        if isinstance(entry, _OF_PLACES):
            problems.add(f"{dotted}.kind", _NO_POLYGONS)
        elif getattr(entry, "ids", None) == OF_POLYGONS:
            problems.add(f"{dotted}.ids", _NO_POLYGONS)
        elif getattr(entry, "islands", None) == "nearest":
            problems.add(f"{dotted}.islands", _NO_POLYGONS)
    for dotted, entry in entries_of(parts, "models"):
        if entry.covariance == "conley":
            problems.add(f"{dotted}.covariance", _NO_POLYGONS)
    asked = {
        "maps": parts.get("maps"),
        "dynamics.ellipses": getattr(parts.get("dynamics"), "ellipses", None),
        "figures.correlogram": getattr(parts.get("figures"), "correlogram", None),
        "figures.thresholds": getattr(parts.get("figures"), "thresholds", None),
    }
    asked |= {
        f"{key}.bandwidth_km": getattr(m, "bandwidth_km", None) for key, m in entries_of(parts, "models")
    }
    for place, there in asked.items():
        if there:
            problems.add(place, _NO_POLYGONS)


def check_cross_section(parts: Mapping[str, Any], problems: Problems) -> None:
    """Data without periods have no effects of them, no lags in time and no dynamics."""
    data = parts.get("data")
    if data is None or data.dated:
        return
    for key in ("models", "systems"):
        for dotted, entry in entries_of(parts, key):
            effects = entry.fixed_effects
            own = {effects} if isinstance(effects, str) else {*effects}
            if "fixed_effects" in entry.model_fields_set and own != {"none"}:
                said = Text(
                    "a cross-section has no fixed effects; leave the key out",
                    "截面数据没有固定效应；请删去此键",
                )
                problems.add(f"{dotted}.fixed_effects", said)
            for lag in ("time_lag", "lag_time_lag"):
                if getattr(entry, lag, False):
                    problems.add(f"{dotted}.{lag}", _NO_PERIODS)
    for dotted, _ in entries_of(parts, "constants"):
        problems.add(dotted, _NO_PERIODS)
    for dotted, entry in entries_of(parts, "variables"):
        if re.search(r"\blag\s*\(", _TEXT.sub(" ", QUOTED.sub(" ", entry.expression))):
            problems.add(f"{dotted}.expression", _NO_PERIODS)
    if parts.get("dynamics") is not None:
        problems.add("dynamics", _NO_PERIODS)


_NO_PERIODS = Text("needs periods, and [data] names no column of them", "须有时期，而[data]没有指明时期列")


#: A heading that is a year.
_YEAR = re.compile(r"(?:19|20)\d\d年?")


def check_columns(parts: Mapping[str, Any], columns: list[str] | None, problems: Problems) -> None:
    """Columns of the data file that the sections data, missing and suspect name."""
    data = parts.get("data")
    if data is not None and columns is not None:
        for key in ("unit", "period", "flag") if data.file else ("flag",):
            name = getattr(data, key)
            check_known(f"data.{key}", COLUMN, [] if name is None else [name], columns, problems)
        years = [column for column in columns if _YEAR.fullmatch(column.strip())]
        if data.dated and data.period not in columns and len(years) > 1:
            said = Text(
                f"the table is wide, with a column for each year ({listed(years, 3)}); it must be long, with a row for each "
                "unit and year (Excel: Power Query, Unpivot Columns; pandas: melt)",
                f"数据表为宽表，每年一列（{listed_zh(years, 3)}）；须为长表，每个地区每年一行"
                "（Excel：Power Query中的“逆透视列”；pandas：melt）",
            )
            problems.add("data.file", said)
    seen: set[tuple[str, str | None]] = set()
    for dotted, entry in parts["missing"].items():
        if entry is None:
            continue
        check_known(f"{dotted}.columns", COLUMN, entry.columns, columns, problems)
        own = {(column, unit) for column in entry.columns for unit in entry.units or (None,)}
        if repeated := sorted({column for column, _ in seen & own}):
            said = Text(
                f"an earlier [[missing]] has a rule for {listed(repeated)}",
                f"前面的[[missing]]已为{listed_zh(repeated)}规定了规则",
            )
            problems.add(f"{dotted}.columns", said)
        seen |= own
    entries = [(dotted, entry) for dotted, entry in parts["suspect"].items() if entry is not None]
    for i, (dotted, entry) in enumerate(entries):
        check_known(f"{dotted}.columns", COLUMN, entry.columns, columns, problems)
        if any(_same_cell(entry, earlier) for _, earlier in entries[:i]):
            problems.add(
                dotted,
                Text("an earlier [[suspect]] names the same cell", "前面的[[suspect]]已指明同一单元格"),
            )


def _same_cell(one: Suspect, other: Suspect) -> bool:
    """Whether two entries name a cell both; units or periods that are not given are all."""
    pairs = ((one.columns, other.columns), (one.units, other.units), (one.periods or (), other.periods or ()))
    columns, *keys = (not a or not b or bool({*a} & {*b}) for a, b in pairs)
    return columns and all(keys)


def check_cells(
    key: str, more: list[str], parts: Mapping[str, Any], header: list[str] | None, problems: Problems
) -> None:
    """A table of remarks (flags, events) names unit and period, and the columns that say what is the matter."""
    if (data := parts.get("data")) is not None and header is not None:
        names = [name for name in (data.unit, data.period, *more) if name]
        check_known(f"data.{key}", COLUMN, names, header, problems)


# Names of an expression: not the functions before a bracket, not the e of 1e5. Whether the expression is
# allowed at all is for spatial_zb.data.expressions to say.
_TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")
_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*(?!\w)(?!\s*\()")


def _in_expression(name: str) -> str:
    """How a name is written in an expression."""
    return name if name.isidentifier() else f"`{name}`"


def check_expressions(
    parts: Mapping[str, Any],
    columns: list[str] | None,
    reference: list[str] | None,
    attributes: Collection[str],
    problems: Problems,
) -> None:
    """Names of expressions are columns of the table, attributes of the polygons, constants or other variables."""
    defined = [*parts["variables"], *parts["constants"]]
    for section in ("variables", "constants"):
        for name in parts[section]:
            if name in (columns or ()) and not getattr(parts[section][name], "is_column", False):
                said = Text(
                    "the data file has a column of this name; choose another",
                    "数据文件中已有此名称的列，请另取",
                )
                problems.add(f"{section}.{name}", said)
            elif section == "constants" and name in parts["variables"]:
                said = Text("a variable has this name; choose another", "已有变量用此名称，请另取")
                problems.add(f"{section}.{name}", said)
    for dotted, entry in entries_of(parts, "variables"):
        place = f"{dotted}.expression"
        others = [name for name in defined if not (entry.is_column and name == entry.name)]
        known = None if columns is None else Known(map(_in_expression, [*columns, *others]), attributes)
        quoted = [_in_expression(name.strip()) for name in QUOTED.findall(entry.expression)]
        bare = _TEXT.sub(" ", QUOTED.sub(" ", entry.expression))
        used = [n for n in dict.fromkeys([*quoted, *_NAME.findall(bare)]) if n not in ("and", "or", "not")]
        check_known(place, Text("name", "名称"), used, known, problems)
        if place not in dict(problems.found):
            try:
                compile_expression(entry.expression)
            except SpecificationError as error:
                problems.add(place, Text(str(error).rstrip("."), error.zh.rstrip("。")))
        _refuse_keys(
            place, [name for name in used if name == entry.expression.strip()], parts.get("data"), problems
        )
        asked = re.search(r"\b(lq|krugman)\s*\(", entry.expression)
        if asked is None:
            continue
        if getattr(parts.get("data"), "reference", "") is None:
            said = Text(
                f"{asked[1]}() needs a reference region: name its table as data.reference",
                f"{asked[1]}()须有参照地区：请以data.reference指明其数据表",
            )
            problems.add(place, said)
    data = parts.get("data")
    if data is not None and reference is not None and data.dated:
        check_known("data.reference", COLUMN, [data.period], reference, problems)


def _refuse_keys(place: str, used: Iterable[str], data: Any, problems: Problems) -> None:
    """The columns of units and periods say which row it is; alone they are no figures."""
    keys = {getattr(data, key, None): key for key in ("unit", "period")}
    for name in used:
        if name in keys and name is not None:
            said = Text(
                f"{name!r} is the column data.{keys[name]}, which tells rows apart and is no variable; for a trend, compute "
                f"one, as in {name} - 2000",
                f"{name!r}是data.{keys[name]}所指的列，用于区分各行，不是变量；若要时间趋势，请另行计算，如{name} - 2000",
            )
            problems.add(place, said)


def check_claims(parts: Mapping[str, Any], usable: Collection[str] | None, problems: Problems) -> None:
    """Models, systems, weights, samples, variables and periods that claims name."""
    data = parts.get("data")
    for dotted, claim in parts["claims"].items():
        if claim is None:
            continue
        known: tuple[tuple[str, Text, Collection[str] | None], ...] = (
            ("variables", VARIABLE, usable),
            ("weights", Text("weights", "权重"), parts["weights"]),
            ("sample", Text("sample", "样本"), parts["samples"]),
            ("model", Text("model", "模型"), parts["models"]),
            ("system", Text("system", "方程组"), parts["systems"]),
        )
        for key, what, names in known:
            given = getattr(claim, key)
            check_known(
                f"{dotted}.{key}", what, [given] if isinstance(given, str) else given or (), names, problems
            )
        model, system = (
            parts[key].get(name) for key, name in (("models", claim.model), ("systems", claim.system))
        )
        if model is not None:
            check_known(
                f"{dotted}.term", Text("regressor of x", "x中的解释变量"), [claim.term], model.x, problems
            )
        if system is not None:
            equation = Text("equation", "方程")
            check_known(dotted, equation, [claim.response, claim.source], system.equations, problems)
        if data is not None and (
            outside := [t for t in claim.periods if not data.periods[0] <= t <= data.periods[1]]
        ):
            first, last = data.periods
            said = Text(
                f"{listed(outside)} lies outside data.periods, {first} to {last}",
                f"{listed_zh(outside)}超出data.periods（{first}至{last}）",
            )
            problems.add(f"{dotted}.periods", said)


def is_logarithm(variables: Mapping[str, Variable], name: str) -> bool:
    """Whether a variable is a natural logarithm: by its expression, or as a column by its name (``ln_…``, ``log_…``)."""
    variable = variables.get(name)
    if variable is None or variable.expression == name:
        return name.startswith(("ln_", "log_"))
    tree = compile_expression(variable.expression).tree
    while isinstance(tree, ast.Call) and function_of(tree) == "lag":
        tree = tree.args[0]
    if isinstance(tree, ast.Name) and tree.id != name:
        return is_logarithm(variables, tree.id)
    return isinstance(tree, ast.Call) and function_of(tree) == "log"
