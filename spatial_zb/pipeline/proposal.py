"""A study file proposed for the files that a user has: what is in them, which ids meet, what can be estimated."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from spatial_zb.base.errors import DataError, SpatialZbError, SpatialZbWarning, listed, listed_zh
from spatial_zb.base.text import UNDATED, Language, Text
from spatial_zb.data.cells import check_workbook, period_numbers, unit_ids
from spatial_zb.data.read import KINDS, read_table
from spatial_zb.data.regions import read_layer, with_system
from spatial_zb.pipeline.examples import Found, study_text, write_new
from spatial_zb.pipeline.running import Checked, check
from spatial_zb.pipeline.units import PERIOD
from spatial_zb.study import load_study
from spatial_zb.study.values import FUNCTIONS, RESERVED
from spatial_zb.weights.files import FORMATS
from spatial_zb.weights.files import read as read_weights

if TYPE_CHECKING:
    import geopandas as gpd

TABLES = (".csv", ".xlsx", ".dta", ".dbf", ".parquet", ".feather")
#: Headings under which periods usually stand.
PERIODS = ("year", "年份", "年度", "年", "period", "时期", "时间", "time", "t")


@dataclass(frozen=True)
class _Files:
    """Which file is what: polygons, a table, a W, and its units where it names them."""

    layer: Path | None
    table: Path | None
    W: Path | None
    ids: list[str] | None


def propose(
    files: Sequence[Path],
    folder: Path,
    language: Language = "en",
    crs: str | None = None,
    ids: str | None = None,
) -> tuple[Path, Checked]:
    """Look at polygons, a table and a W, and write a commented study file for them that is sound.

    Parameters
    ----------
    files
        A polygon layer, a table, a file of weights: polygons, or a table and a W. Without a table, the attributes of the
        polygons are a cross-section.
    folder
        Where the study file goes. Files outside it are copied into its folder ``data``.
    crs
        Code of the reference system of a layer that names none, such as ``"EPSG:4326"``.
    ids
        What the rows of a W without ids are: ``"order of table"``, ``"order of polygons"``, or a column of either.

    Returns
    -------
    The study file and what a check of it found.

    Raises
    ------
    SpatialZbError
        What is missing, in a sentence; nothing is left behind then.
    """
    contents: dict[str, bytes] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)  # the check says them again
        given = _told_apart(files, ids)
        layer = None if given.layer is None else _with_system(read_layer(given.layer), given.layer, crs)
        bare = None if layer is None else pd.DataFrame(layer.drop(columns=layer.geometry.name))
        table = bare if given.table is None else read_table(given.table)
        what = given.table or given.layer
        assert table is not None, "a table or attributes"
        assert what is not None, "a table or a layer"
        if bare is not None and given.layer is not None:
            units = Text(f"the polygons of {given.layer.name}", f"{given.layer.name}的多边形")
        else:
            assert given.W is not None, "without polygons there is a W"
            units = Text(f"the units of {given.W.name}", f"{given.W.name}的地区")
            bare = _units_of_matrix(given, table, what.name)
        found = _matched(bare, units, table, what.name)
        found = replace(found, layer=layer, ids=ids if given.W is not None and given.ids is None else None)
        _choose_variables(found, what.name)
    places = [
        None if path is None else _placed(path, folder, contents)
        for path in (given.layer, given.table, given.W)
    ]
    name = re.sub(r"[^a-z0-9_-]", "", what.stem.lower().replace(" ", "_")).lstrip("_-")[:40] or "study"
    text = study_text(found, name, what.stem, places, crs, language)
    contents = {f"{name}.toml": text.encode(), **contents}
    written = write_new(folder, contents)
    try:
        return written[0], check(load_study(written[0]))
    except SpatialZbError:
        for file in written:
            file.unlink()
        raise


def _told_apart(files: Sequence[Path], ids: str | None) -> _Files:
    """Which file is what; a table that holds a W is told from one of units and periods by what is in it."""
    layers = [path for path in files if path.suffix.lower() in KINDS]
    others = [path for path in files if path not in layers]
    held = {path: _matrix_in(path) for path in others}
    matrices = [path for path in others if held[path] is not None]
    tables = [path for path in others if held[path] is None and path.suffix.lower() in TABLES]
    sorts = [len(layers), len(tables), len(matrices)]
    enough = layers or (tables and matrices)
    if sum(sorts) != len(files) or max(sorts, default=0) > 1 or not enough:
        raise DataError(
            f"Give one polygon file ({listed(KINDS)}) and at most one table ({listed(TABLES)}) and one W, or a table and a "
            f"W, not {listed(path.name for path in files)}.",
            f"请给出一个底图文件（{listed_zh(KINDS)}）和至多一个数据表（{listed_zh(TABLES)}）、一个权重矩阵，"
            f"或一个数据表和一个权重矩阵，而不是{listed_zh(path.name for path in files)}。",
        )
    W = matrices[0] if matrices else None
    rows = None if W is None else held[W]
    if ids and (rows is None or rows.ids):
        raise DataError(
            "Leave out --ids: it says what the rows of a W without ids are, and there is none.",
            "请去掉--ids：它用于没有地区编码的权重矩阵，而这里没有这样的文件。",
        )
    if W is not None and rows is not None and not rows.ids and not ids:
        order = "order of polygons" if layers else "order of table"
        n = rows.n
        raise DataError(
            f"{W.name} is a matrix of {n} × {n} numbers without ids: say which units its rows are, as in --ids {order!r} "
            "where that is so.",
            f"{W.name}是{n}×{n}的数字矩阵，没有地区编码：请用--ids指明各行是哪些地区，如--ids {order!r}（须确属此顺序）。",
        )
    return _Files(
        layers[0] if layers else None, tables[0] if tables else None, W, None if rows is None else rows.ids
    )


class _Rows(NamedTuple):
    """Rows of a matrix: how many, and which units where the file says so."""

    n: int
    ids: list[str] | None


def _matrix_in(path: Path) -> _Rows | None:
    """The rows of the W that a file holds; None where it is a table of units and periods, or nothing that can be read."""
    if path.suffix.lower().lstrip(".") not in FORMATS or not path.is_file():
        return None
    try:
        W = read_weights(path)
        return _Rows(W.n, list(W.ids))
    except SpatialZbError:
        n = _bare_square(path)  # a W that cannot be used for another reason is refused by the check
        if n is None and path.suffix.lower() not in TABLES:
            raise
        return None if n is None else _Rows(n, None)


def _bare_square(path: Path) -> int | None:
    """How many rows a square of bare numbers has."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".xlsx":
            check_workbook(path, path.name)
            cells = pd.read_excel(path, header=None, engine="openpyxl")
        elif suffix in (".csv", ".txt"):
            cells = pd.read_csv(path, header=None, sep="," if suffix == ".csv" else r"\s+")
        else:
            return None
    except DataError:
        raise
    except (
        Exception
    ):  # damaged files make the parsers raise nearly anything; the reader of tables says what is wrong
        return None
    rows, columns = cells.shape
    square = rows == columns > 2 and all(pd.api.types.is_numeric_dtype(cells[c]) for c in cells)
    return rows if square else None


def _units_of_matrix(given: _Files, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The units that rows of W are: as its file names them, or those of the table in their order."""
    assert given.W is not None, "of a matrix"
    if given.ids is not None:
        return pd.DataFrame({"id": given.ids})
    n = _bare_square(given.W)
    fits = [str(c) for c in table if table[c].nunique() == n and table[c].notna().all()]
    if not fits:
        counts = listed(f"{c} {table[c].nunique()}" for c in table)
        raise DataError(
            f"{given.W.name} has {n} rows, and no column of {name} has {n} units ({counts}): use a table and a W of the "
            "same units.",
            f"{given.W.name}有{n}行，而{name}中没有恰含{n}个地区的列（{counts}）：请使用地区相同的数据表与权重矩阵。",
        )
    return pd.DataFrame({fits[0]: table[fits[0]].unique()})


def _with_system(layer: gpd.GeoDataFrame, path: Path, crs: str | None) -> gpd.GeoDataFrame:
    if layer.crs is not None and crs:
        raise DataError(
            f"{path.name} is in {layer.crs.name}: leave out --crs, which is for a layer that names no system.",
            f"{path.name}的坐标系为{layer.crs.name}：请去掉--crs，它只用于没有坐标系的图层。",
        )
    if layer.crs is None and crs is None:
        west, south, east, north = layer.total_bounds
        degrees = west >= -180 and east <= 180 and south >= -90 and north <= 90
        likely = "EPSG:4490" if 70 < west < east < 140 and south > 0 else "EPSG:4326"
        seem, seem_zh = ("degrees", "经纬度") if degrees else ("metres or feet of a projection", "投影坐标")
        code, code_zh = (likely, likely) if degrees else ("CODE", "代码")
        raise DataError(
            f"{path.name} names no coordinate reference system (it has no .prj file), and its coordinates look like "
            f"{seem}: say which, as in --crs {code}.",
            f"{path.name}没有坐标系（缺少.prj文件），其坐标似为{seem_zh}：请用--crs {code_zh}指明。",
        )
    return layer if crs is None else with_system(layer, path.name, crs)


def _key(column: pd.Series) -> pd.Series:
    """Ids as they meet: text without blanks at the ends, whole numbers without point and leading zeros."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    text = column.astype("string").str.normalize("NFKC").str.strip()
    return text.where(~text.str.fullmatch(r"0\d+").fillna(False).astype(bool), text.str.lstrip("0"))


def _matched(attributes: pd.DataFrame, units_of: Text, table: pd.DataFrame, table_name: str) -> Found:
    """The columns of ids whose values meet those of the polygons or of W, and the periods of the table."""
    keys = {name: _key(attributes[name]) for name in attributes}
    ids = {name: set(key) for name, key in keys.items() if key.notna().all() and not key.duplicated().any()}
    if table.empty:
        raise DataError(f"{table_name} has headings and no rows.", f"{table_name}只有列名而没有数据。")
    if not ids:
        raise DataError(
            f"No column tells {units_of.en} apart ({listed(attributes)}): add one with an id for each.",
            f"没有能区分{units_of.zh}的列（现有{listed_zh(attributes)}）：请加一列编码。",
        )
    best: tuple[float, bool, str, str] = (0.0, False, "", "")
    for unit in table:
        held = set(_key(table[unit]).dropna())
        for id, known in ids.items():
            share = len(known & held) / max(len(known), 1)
            best = max(
                best, (share, pd.api.types.is_integer_dtype(attributes[id]) or unit == id, id, str(unit))
            )
    share, _, id, unit = best
    if share < 0.5:
        example = {name: str(attributes[name].iloc[0]) for name in list(ids)[:3]}
        cells = {str(name): str(table[name].iloc[0]) for name in list(table)[:3]}
        here, there = (listed(f"{k} {v}" for k, v in each.items()) for each in (example, cells))
        raise DataError(
            f"No column of {table_name} has the ids of {units_of.en}: give it a column of them (there: {here}; table: "
            f"{there}).",
            f"{table_name}没有与{units_of.zh}对应的地区编码列：请加上这样一列（对方：{here}；数据表：{there}）。",
        )
    table = table[table[unit].notna()].reset_index(drop=True)
    order = _as_ids(attributes[id])
    table[unit] = unit_ids(table[unit].astype(object).map(_plain), list(order))
    table, period = _with_period(table, unit, table_name)
    numbers = period_numbers(table[period]).to_numpy()
    span = int(numbers.min()), int(numbers.max())
    counts = table.assign(_p=numbers).groupby(unit)["_p"].nunique()
    units = [i for i in order if i in set(counts.index)]
    if len(units) < max(4, len(order) / 2):
        raise DataError(
            f"Only {len(units)} of {len(order)} units have rows in {table_name}: use a table and {units_of.en} that belong "
            "together.",
            f"{table_name}中{len(order)}个地区只有{len(units)}个有数据：数据表须与{units_of.zh}相符。",
        )
    if lost := sorted(set(range(span[0], span[1] + 1)) - set(numbers.tolist())):
        raise DataError(
            f"{table_name} has no row for {listed(lost)}: keep periods without a gap.",
            f"{table_name}没有{listed_zh(lost)}的数据：请保留不间断的时期。",
        )
    keep = bool((counts[units] < len(set(numbers))).any())
    strays = [str(u) for u in pd.unique(table[unit]) if u not in set(order)]
    return Found(
        None, None, id, _names(attributes, id), table, unit, period, span, units, list(order), strays, keep
    )


def _plain(cell: Any) -> Any:
    return int(cell) if isinstance(cell, float) and cell % 1 == 0 else cell


def _as_ids(column: pd.Series) -> pd.Series:
    return column.map(_plain).astype(str).str.strip()


def _names(attributes: pd.DataFrame, id: str) -> str | None:
    """The column that most likely names the polygons: text, one for each, with letters."""
    texts = [c for c in attributes if c != id and attributes[c].map(lambda cell: isinstance(cell, str)).all()]
    likely = [c for c in texts if attributes[c].is_unique and attributes[c].str.contains(r"[^\W\d]").all()]
    called = [c for c in likely if re.search(r"name|名", str(c), re.IGNORECASE)]
    return next(iter([*called, *likely]), None)


def _with_period(table: pd.DataFrame, unit: str, name: str) -> tuple[pd.DataFrame, str]:
    """The table and its column of periods; a cross-section, of one row for each unit, gets a column that says none."""
    fits = []
    for column in table:
        if column == unit:
            continue
        try:
            numbers = period_numbers(table[column])
        except DataError:
            continue
        known = str(column).strip().lower() in PERIODS
        years = numbers.between(1800, 2100).all() and numbers.nunique() < len(numbers)
        if (known or years) and not table.assign(_p=numbers.to_numpy()).duplicated([unit, "_p"]).any():
            fits.append((not known, str(column)))
    if fits:
        return table, min(fits)[1]
    if not table[unit].duplicated().any():
        return table.assign(**{PERIOD: UNDATED}), PERIOD
    twice = table.loc[table[unit].duplicated(), unit].iloc[0]
    raise DataError(
        f"{name} has several rows for {twice} and no column of years that tells them apart: add one, such as year.",
        f"{name}中{twice}有多行，却没有区分它们的年份列：请加一列，如year。",
    )


def _choose_variables(found: Found, name: str) -> None:
    """Columns of numbers without blanks, or with some where units may come and go; what is left out is said."""
    rows = found.table[found.table[found.unit].isin(found.units)]
    several = found.span[0] < found.span[1]
    for column in rows:
        values = rows[column]
        if column in (found.unit, found.period, found.id) or not pd.api.types.is_numeric_dtype(values):
            continue
        blank = int(values.isna().sum())
        varies = values.groupby(rows[found.unit]).nunique().gt(1).any() if several else values.nunique() > 1
        if str(column) in RESERVED | FUNCTIONS or re.search("`|^W_", str(column)):
            found.skipped.append(Text(f"{column}: rename it to use it", f"{column}：改名后可用"))
        elif blank and not (found.keep and varies):
            found.skipped.append(Text(f"{column}: {blank} blank cells", f"{column}：{blank}处空缺"))
        elif not varies:
            found.skipped.append(Text(f"{column}: does not vary", f"{column}：没有变化"))
        else:
            found.variables.append(str(column))
    if not found.variables:
        columns = found.skipped or [Text.of(str(c)) for c in rows if c not in (found.unit, found.period)]
        raise DataError(
            f"{name} has no column of numbers that can be used ({listed(columns)}): add the variables of your study.",
            f"{name}没有可用的数字列（{listed_zh(columns)}）：请加入研究所用的变量。",
        )


def _placed(path: Path, folder: Path, contents: dict[str, bytes]) -> str:
    """Where the study finds a file: as it is inside its folder, else as a copy."""
    home, full = folder.resolve(), path.resolve()
    if full.is_relative_to(home):
        return full.relative_to(home).as_posix()
    parts = (".shx", ".dbf", ".prj", ".cpg") if path.suffix.lower() == ".shp" else ()
    beside = [path.with_suffix(s) for end in parts for s in (end, end.upper())]
    for part in [path, *(p for p in beside if p.is_file())]:
        contents[f"data/{part.name}"] = part.read_bytes()
    return f"data/{path.name}"
