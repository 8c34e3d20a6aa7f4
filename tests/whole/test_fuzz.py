"""Study files, tables, weights and polygons with anything in them: read, or refused by an error of this package.

30 examples of each kind are always tried, the same ones; ``-m slow`` tries 10,000.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_study import HEADINGS, TEXT, rows, squares, write_study

import spatial_zb as zb
from spatial_zb.base.errors import SpatialZbError
from spatial_zb.data.expressions import compile_expression
from spatial_zb.data.read import read_table
from spatial_zb.study import load_study

FEW = settings(
    max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
#: Of each of four kinds.
MANY = settings(FEW, max_examples=2500)

#: What programs and people write in place of a figure, a name or a code; | parts them.
_WRITTEN = r"""| |nan|inf|-0|1e999|1e-320|1_0|0x1|１２|٣|TRUE|true|=1+1|"|'|,|产业Ⅱ|µg|self|../x|/vsicurl/x"""
_TOML = """{|}|-1|0|[]|{}|__class__|null|[2017, 2010]|2017-01-01|"x1"|["x1", "x1"]|{en = 1}"""
ODD = st.sampled_from(
    [*_WRITTEN.split("|"), *_TOML.split("|"), *"\n\r\t\0\u200b\ufeff\u202e", "9" * 400, "[" * 300]
)
TOKENS = st.one_of(ODD, st.text(max_size=8), st.integers().map(str), st.floats().map(repr))
PLACES = st.floats(0, 1, exclude_max=True)


def at(place: float, size: int) -> int:
    return int(place * size)


@st.composite
def edited(draw: Any, whole: bytes) -> bytes:
    """A file some bytes of which are replaced, left out, put in, repeated, or all after a place cut off."""
    out = whole
    for _ in range(draw(st.integers(1, 4))):
        start = at(draw(PLACES), len(out) + 1)
        what = draw(st.sampled_from(["put", "replace", "drop", "cut", "repeat"]))
        some = draw(
            st.one_of(st.binary(max_size=8), TOKENS.map(lambda text: text.encode("utf-8", "replace")))
        )
        end = start + draw(st.integers(0, 40))
        pieces = {
            "put": some,
            "replace": some + out[start + len(some) :],
            "drop": b"",
            "repeat": out[start:end] * 2,
            "cut": b"",
        }
        rest = {"put": out[start:], "replace": b"", "drop": out[end:], "repeat": out[end:], "cut": b""}
        out = out[:start] + pieces[what] + rest[what]
    return out


LINES = TEXT.splitlines()


@st.composite
def study_texts(draw: Any) -> bytes:
    """The small study with other values, keys and sections, or with other bytes."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        place = at(draw(PLACES), len(lines))
        key, _, value = lines[place].partition(" = ")
        token = draw(TOKENS)
        line, other = lines[place], draw(st.sampled_from(LINES))
        values = [token, f'"{token}"', f"[{token}]", other.partition(" = ")[2] or "1"]
        made = [f"{key} = {each}" for each in values]
        made += [f"{token} = {value}", "", f"{line}\n{line}", other]
        made += [f"[models.{token}]", f"expression = {json.dumps(token)}"]
        lines[place] = draw(st.sampled_from(made))
    text = "\n".join(lines).encode("utf-8", "replace")
    return draw(edited(text)) if draw(st.booleans()) else text


@st.composite
def cells(draw: Any) -> bytes:
    """The table of the small study with other cells, rows and columns, or with other bytes."""
    table = [list(map(str, line)) for line in [HEADINGS, *rows()[:24]]]
    for _ in range(draw(st.integers(0, 4))):
        line = table[at(draw(PLACES), len(table))]
        line[at(draw(PLACES), 5)] = draw(TOKENS)
        if draw(st.integers(0, 5)) == 0:
            table.append(list(line))
    text = "\n".join(map(",".join, table)).encode("utf-8", "surrogatepass")
    return draw(edited(text)) if draw(st.booleans()) else text


def refused_or_right(do: Callable[[], Any]) -> None:
    """Nothing but errors of this package comes out."""
    with warnings.catch_warnings(record=True), suppress(SpatialZbError):
        do()


def file_at(folder: Path, name: str, given: bytes) -> Path:
    path = folder / name
    path.write_bytes(given)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    there = tmp_path_factory.mktemp("fuzz") / "home"
    write_study(there)
    return there


def study(home: Path, example: bytes) -> None:
    path = home / "studies/b.toml"
    path.write_bytes(example)
    refused_or_right(lambda: load_study(path))


def table(home: Path, example: bytes | str) -> None:
    if isinstance(example, str):
        refused_or_right(lambda: compile_expression(f"log(y) + {example}"))
        return
    path = file_at(home, "b.csv", example)

    def read() -> None:
        frame = read_table(path, ["adcode"])
        for columns in (None, ["y", "x1"]):
            with suppress(SpatialZbError):
                zb.build_panel(frame, "adcode", "year", columns=columns, balance="drop_units")

    refused_or_right(read)


def _weights_files() -> dict[str, bytes]:
    """A file of each format."""
    import tempfile

    ring = np.roll(np.eye(5), 1, axis=1)
    made = zb.as_weights(ring + ring.T, ids=[str(unit) for unit in range(101, 106)])
    with tempfile.TemporaryDirectory() as folder:
        kinds = ("csv", "txt", "gal", "gwt", "swm", "mtx", "mat", "npz", "dta", "xlsx")
        return {kind: zb.weights.write(made, Path(folder, f"w.{kind}")).read_bytes() for kind in kinds}


WEIGHTS = st.sampled_from(sorted(_weights_files().items())).flatmap(
    lambda kind: st.tuples(st.just(kind[0]), edited(kind[1]))
)


def weights(home: Path, example: tuple[str, bytes]) -> None:
    kind, given = example
    path = file_at(home, f"b.{kind}", given)
    refused_or_right(lambda: zb.weights.read(path))


POLYGONS = squares()
POLYGONS["features"] = POLYGONS["features"][:3]
NUMBERS = st.one_of(st.floats(), st.integers(-200, 200), st.none(), st.text(max_size=3))
ANY = st.recursive(
    NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@st.composite
def layers(draw: Any) -> bytes:
    """Three squares with something else in one place or several, or with other bytes."""
    made = json.loads(json.dumps(POLYGONS))
    for _ in range(draw(st.integers(1, 3))):
        feature = made["features"][at(draw(PLACES), 3)]
        geometry = feature["geometry"]
        match draw(st.integers(0, 7)):
            case 0:
                feature["properties"]["adcode"] = draw(ANY)
            case 1 if isinstance(geometry, dict):
                geometry["coordinates"] = draw(ANY)
            case 2 if isinstance(geometry, dict):
                geometry["type"] = draw(
                    st.sampled_from(["Point", "LineString", "MultiPolygon", "GeometryCollection", "x", 3])
                )
            case 3:
                feature["geometry"] = draw(ANY)
            case 4:
                made["crs"] = draw(
                    st.one_of(ANY, st.fixed_dictionaries({"type": st.just("name"), "properties": ANY}))
                )
            case 5 if isinstance(geometry, dict):
                ring = [[draw(NUMBERS), draw(NUMBERS)] for _ in range(draw(st.integers(0, 5)))]
                geometry["coordinates"] = [ring]
            case 6:
                feature["properties"] = draw(ANY)
            case 7:
                feature["properties"][draw(st.text(max_size=4))] = draw(ANY)
        if not isinstance(feature["properties"], dict):
            break
    text = json.dumps(made).encode()
    return draw(edited(text)) if draw(st.integers(0, 2)) == 0 else text


def polygons(home: Path, example: bytes) -> None:
    path = file_at(home, "b.geojson", example)

    def read() -> None:
        layer = zb.read_regions(path, id="adcode")
        with suppress(SpatialZbError):
            zb.weights.contiguity(layer, islands="zero")
        with suppress(SpatialZbError):
            zb.weights.inverse_distance(layer)

    refused_or_right(read)


KINDS: dict[str, tuple[st.SearchStrategy, Callable[[Path, Any], None]]] = {
    "study": (study_texts(), study),
    "table": (st.one_of(cells(), TOKENS), table),
    "weights": (WEIGHTS, weights),
    "polygons": (layers(), polygons),
}


def tried(kind: str, home: Path, how: settings) -> None:
    strategy, read = KINDS[kind]
    how(given(strategy)(lambda example: read(home, example)))()


@pytest.mark.parametrize("kind", KINDS)
def test_some(kind, home):
    tried(kind, home, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many(kind, home):
    tried(kind, home, MANY)
