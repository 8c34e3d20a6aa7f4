"""From tables of the file to sections, every mistake in words with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import (
    ValidationError,
)

from spatial_zb.errors import listed
from spatial_zb.study.places import Problems, meant
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
from spatial_zb.text import Text

__all__ = [
    "sections_of",
]


def sections_of(raw: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """Validate each table by itself, so that one mistake hides no other."""
    for key in raw:
        if key not in SECTION_NAMES:
            problems.add(key, f"unknown section; {meant(key, SECTION_NAMES)}")
    for key in REQUIRED:
        if not raw.get(key):
            problems.add(key, f"the section [{key}] is required and is not in the file")
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
    problems.add(dotted, f"must be a table with a heading [{dotted}], not {value!r}")
    return {}


def _listed(model: type[Section], value: object, key: str, problems: Problems) -> dict[str, Any]:
    """Validate every ``[[key]]``, by its place."""
    if not isinstance(value, list):
        problems.add(key, f"must be written as [[{key}]], with two brackets")
        return {}
    places = [f"{key}[{number}]" for number in range(1, len(value) + 1)]
    return {
        place: _validate(model, entry, place, problems) for place, entry in zip(places, value, strict=True)
    }


def _named(key: str, name: str, value: object, problems: Problems) -> Section | None:
    """Validate ``[key.name]``; its heading is its name, and its label where none is given."""
    dotted = f"{key}.{name}"
    if not isinstance(value, Mapping):
        problems.add(dotted, f"must be a table with a heading [{dotted}], not {value!r}")
        return None
    _check_name(key, name, problems)
    if "name" in value:
        problems.add(f"{dotted}.name", "unknown key; the heading of the table is the name")
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
            problems.add(dotted, "the name must be letters, digits and _ and not begin with a digit")
        elif name in RESERVED | FUNCTIONS or name.startswith("W_"):
            problems.add(dotted, f"the name {name!r} is reserved for results or functions; choose another")
    elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        problems.add(dotted, "the name goes into file names: use letters A-z, digits, _ and - only")


def _weights_model(dotted: str, value: Mapping[str, Any], problems: Problems) -> type[Section] | None:
    kind = value.get("kind")
    if isinstance(kind, str) and kind in WEIGHT_KINDS:
        return WEIGHT_KINDS[kind]
    if kind is None:
        problems.add(f"{dotted}.kind", f"is required: one of {listed(WEIGHT_KINDS)}")
    else:
        problems.add(f"{dotted}.kind", f"{kind!r} is no kind of weights; {meant(str(kind), WEIGHT_KINDS)}")
    return None


def _validate(model: type[Section], value: object, dotted: str, problems: Problems) -> Any:
    if not isinstance(value, Mapping):
        problems.add(dotted, f"must be a table with a heading [{dotted}], not {value!r}")
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

_TYPES: Mapping[str, str] = {
    "string_type": "must be text in quotes",
    "string_too_short": "must not be empty text",
    "string_pattern_mismatch": "has letters or signs that are not allowed here",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list in square brackets",
    "dict_type": "must be a table",
}


def _by_name(key: str, entry: object) -> bool:
    """Whether an error is of one named value of a table such as ``values`` or ``controls``, not of a list."""
    return key in _BY_NAME and (isinstance(entry, str) or (key == "values" and entry is not None))


def _said(item: Mapping[str, Any], model: type[Section], dotted: str) -> tuple[str, str]:
    """Put one pydantic error into the words of a study file."""
    loc = item["loc"]
    if len(loc) > 2 and loc[0] == "equations":  # a table within the table of a system
        return _said({**item, "loc": loc[2:]}, Equation, f"{dotted}.equations.{loc[1]}")
    key = str(loc[0]) if loc else ""
    if len(loc) > 1 and key in _INNER:  # a table within [compare]
        return _said({**item, "loc": loc[1:]}, _INNER[key], f"{dotted}.{key}")
    entry = loc[1] if len(loc) > 1 else None
    where = f"entry {entry + 1}: " if isinstance(entry, int) and key != "values" else ""
    where = f"{entry}: " if _by_name(key, entry) else where
    place = f"{dotted}.{key}" if key else dotted
    kind, got = item["type"], item.get("input")
    if kind == "extra_forbidden":
        return place, f"unknown key; {meant(key, [name for name in model.model_fields if name != 'name'])}"
    if kind == "missing":
        return place, "is required"
    if kind == "value_error":
        return place, where + str(item["ctx"]["error"])
    if kind == "literal_error":
        allowed = item["ctx"]["expected"]
        near = difflib.get_close_matches(str(got), re.findall(r"'([^']*)'", allowed), n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return place, f"{where}must be {allowed}, not {got!r}{hint}"
    words = _TYPES.get(kind) or item["msg"].replace("Input should", "must")
    return place, f"{where}{words}, not {got!r}"
