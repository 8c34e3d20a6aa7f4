"""A study file proposed for the files that a user has: what is in them, which ids meet, what can be estimated."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import DataError, SpatialZbError, SpatialZbWarning, listed, listed_zh
from spatial_zb.base.text import UNDATED, Language, Text
from spatial_zb.data.cells import check_workbook, period_numbers, unit_ids
from spatial_zb.data.read import KINDS, read_table
from spatial_zb.data.regions import read_layer, with_system
from spatial_zb.pipeline.examples import write_new
from spatial_zb.pipeline.running import Checked, check
from spatial_zb.pipeline.units import PERIOD
from spatial_zb.study import load_study
from spatial_zb.study.values import FUNCTIONS, RESERVED

if TYPE_CHECKING:
    import geopandas as gpd

TABLES = (".csv", ".xlsx", ".dta", ".dbf", ".parquet", ".feather")
#: Headings under which periods usually stand.
PERIODS = ("year", "年份", "年度", "年", "period", "时期", "时间", "time", "t")
#: At most so many variables are listed, and so many stand on the right-hand side of the model.
MOST_VARIABLES, MOST_REGRESSORS = 12, 3


@dataclass
class _Found:
    """What was found so far."""

    layer: gpd.GeoDataFrame
    id: str
    names: str | None
    table: pd.DataFrame
    unit: str
    period: str
    span: tuple[int, int]
    units: list[str]
    ignored: list[str]
    variables: list[str] = field(default_factory=list)
    skipped: list[Text] = field(default_factory=list)


def propose(
    files: Sequence[Path], folder: Path, language: Language = "en", crs: str | None = None
) -> tuple[Path, Checked]:
    """Look at polygons and a table, and write a commented study file for them that is sound.

    Parameters
    ----------
    files
        A polygon layer and a table; without a table, the attributes of the polygons are a cross-section.
    folder
        Where the study file goes. Files outside it are copied into its folder ``data``.
    crs
        Code of the reference system of a layer that names none, such as ``"EPSG:4326"``.

    Returns
    -------
    The study file and what a check of it found.

    Raises
    ------
    SpatialZbError
        What is missing, in a sentence; nothing is left behind then.
    """
    path, table_path = _told_apart(files)
    contents: dict[str, bytes] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)  # the check says them again
        layer = _with_system(read_layer(path), path, crs)
        bare = pd.DataFrame(layer.drop(columns=layer.geometry.name))
        table = bare if table_path is None else read_table(table_path)
        what = table_path or path
        found = _matched(layer, path.name, table, what.name)
        _choose_variables(found, what.name)
    layer_place = _placed(path, folder, contents)
    place = None if table_path is None else _placed(table_path, folder, contents)
    name = re.sub(r"[^a-z0-9_-]", "", what.stem.lower().replace(" ", "_")).lstrip("_-")[:40] or "study"
    text = _study_text(found, name, what.stem, (layer_place, place), crs, language)
    contents = {f"{name}.toml": text.encode(), **contents}
    written = write_new(folder, contents)
    try:
        return written[0], check(load_study(written[0]))
    except SpatialZbError:
        for file in written:
            file.unlink()
        raise


def _told_apart(files: Sequence[Path]) -> tuple[Path, Path | None]:
    """The layer and the table; a matrix of weights among the tables is refused with what to do."""
    layers = [path for path in files if path.suffix.lower() in KINDS]
    tables = [path for path in files if path.suffix.lower() in TABLES]
    for path in tables:
        _refuse_matrix(path)
    if len(layers) != 1 or len(tables) > 1 or len(layers) + len(tables) != len(files):
        raise DataError(
            f"Give one polygon file ({listed(KINDS)}) and at most one table ({listed(TABLES)}), not "
            f"{listed(path.name for path in files)}; a W is named in the study file afterwards.",
            f"请给出一个底图文件（{listed_zh(KINDS)}）和至多一个数据表（{listed_zh(TABLES)}），而不是"
            f"{listed_zh(path.name for path in files)}；权重矩阵之后写入研究文件。",
        )
    return layers[0], tables[0] if tables else None


def _refuse_matrix(path: Path) -> None:
    """A square of numbers is a matrix of weights, not a table of units and periods."""
    if path.suffix.lower() not in (".csv", ".xlsx") or not path.is_file():
        return
    try:
        if path.suffix.lower() == ".xlsx":
            check_workbook(path, path.name)
            cells = pd.read_excel(path, header=None, engine="openpyxl")
        else:
            cells = pd.read_csv(path, header=None)
    except DataError:
        raise
    except (
        Exception
    ):  # damaged files make the parsers raise nearly anything; the reader of tables says what is wrong
        return
    rows, columns = cells.shape
    if rows == columns > 2 and all(pd.api.types.is_numeric_dtype(cells[c]) for c in cells):
        raise DataError(
            f"{path.name} is a matrix of {rows} × {rows} numbers without ids, not a table: leave it out here and name it in "
            'the study file afterwards, [weights.w] kind = "file" and ids = "order of polygons", or whatever order it has.',
            f"{path.name}是{rows}×{rows}的数字矩阵，没有地区编码，不是数据表：此处请不要列出，之后在研究文件中写[weights.w] "
            'kind = "file"，并以ids = "order of polygons"等说明各行是哪些地区。',
        )


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


def _matched(layer: gpd.GeoDataFrame, layer_name: str, table: pd.DataFrame, table_name: str) -> _Found:
    """The columns of ids whose values meet, and the periods of the table."""
    attributes = pd.DataFrame(layer.drop(columns=layer.geometry.name))
    keys = {name: _key(attributes[name]) for name in attributes}
    ids = {name: set(key) for name, key in keys.items() if key.notna().all() and not key.duplicated().any()}
    if table.empty:
        raise DataError(f"{table_name} has headings and no rows.", f"{table_name}只有列名而没有数据。")
    if not ids:
        raise DataError(
            f"No column of {layer_name} tells its polygons apart ({listed(attributes)}): add one with an id for each.",
            f"{layer_name}没有能区分各多边形的列（现有{listed_zh(attributes)}）：请加一列编码。",
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
            f"No column of {table_name} has the ids of the polygons of {layer_name}: give it a column of them "
            f"(polygons: {here}; table: {there}).",
            f"{table_name}没有与{layer_name}对应的地区编码列：请加上这样一列（底图：{here}；数据表：{there}）。",
        )
    table = table[table[unit].notna()].reset_index(drop=True)
    order = _as_ids(attributes[id])
    table[unit] = unit_ids(table[unit].astype(object).map(_plain), list(order))
    table, period = _with_period(table, unit, table_name)
    numbers = period_numbers(table[period]).to_numpy()
    span = int(numbers.min()), int(numbers.max())
    counts = table.assign(_p=numbers).groupby(unit)["_p"].nunique()
    whole = set(counts.index[counts == len(set(numbers))])
    units = [i for i in order if i in whole]
    if len(units) < max(4, len(order) / 2) or len(set(numbers)) != span[1] - span[0] + 1:
        raise DataError(
            f"Only {len(units)} of {len(order)} polygons have rows for every period of {span[0]}–{span[1]} in {table_name}: "
            "keep the periods that all units have, without a gap.",
            f"{table_name}中{len(order)}个多边形只有{len(units)}个在{span[0]}—{span[1]}年各期都有数据：请保留各地区共有且不间断的时期。",
        )
    strays = [str(u) for u in pd.unique(table[unit]) if u not in set(order)]
    return _Found(layer, id, _names(attributes, id), table, unit, period, span, units, strays)


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


def _choose_variables(found: _Found, name: str) -> None:
    """Columns of numbers without blanks; what is left out is said."""
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
        elif blank:
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


def _regressors(found: _Found, variables: Sequence[str]) -> list[str]:
    """Variables that are not sums of others and of the fixed effects, in the order of the table."""
    rows = found.table[found.table[found.unit].isin(found.units)]
    most = min(MOST_REGRESSORS, (len(found.units) - 4) // 3)
    kept: list[str] = []
    bases: list[np.ndarray] = []
    for name in variables:
        values = rows[name].astype(float)
        for by in (found.unit, found.period) if found.span[0] < found.span[1] else ():
            values = values - values.groupby(rows[by]).transform("mean")
        column = values.to_numpy() - values.mean()
        size = float(np.linalg.norm(column))
        left = column - sum((b * (b @ column) for b in bases), np.zeros_like(column))
        if size > 0 and np.linalg.norm(left) > 1e-6 * size and len(kept) <= most:
            kept.append(name)
            bases.append(left / np.linalg.norm(left))
    return kept


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


def _plane(layer: gpd.GeoDataFrame) -> str:
    """A projection for maps of this place."""
    if layer.crs.is_projected and (code := layer.crs.to_epsg()):
        return f"EPSG:{code}"
    west, south, east, north = layer.to_crs(4326).total_bounds
    if (
        73 < west < east < 136 and 17 < south < north < 54
    ):  # China: Gauss–Kruger zones of 3°, else Albers of Asia
        zone = min(max(round(((west + east) / 2 - 75) / 3), 0), 20)
        return f"EPSG:{4534 + zone}" if east - west < 12 else "ESRI:102025"
    if east - west < 12:
        return f"EPSG:{layer.estimate_utm_crs().to_epsg()}"
    if -130 < west < east < -60 and south > 20:
        return "EPSG:5070"
    return "EPSG:3035" if -25 < west < east < 45 and south > 34 else "EPSG:6933"


def _islands(found: _Found) -> bool:
    from spatial_zb.weights.build.adjacency import contiguity

    regions = found.layer.set_index(_as_ids(found.layer[found.id]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        return bool(len(contiguity(regions.loc[found.units], islands="zero").islands))


#: Comments of a study file that is proposed.
_SAID = {
    "proposed": Text(
        "Proposed by spatial-zb init from the files: read it through and change it.",
        "由spatial-zb init依文件拟定，请通读并修改。",
    ),
    "keys": Text(
        "Every section and key: spatial-zb docs study-file", "各节各键的说明：spatial-zb docs study-file"
    ),
    "plane": Text("the plane of maps", "制图所用的投影"),
    "source": Text(
        'source = "…" and review_number = "…" (审图号) stand below maps',
        'source = "…"（资料来源）与review_number = "…"（审图号）列于地图之下',
    ),
    "crs": Text("the file names none", "文件没有注明"),
    "attributes": Text(
        "[data] is left out: the attributes of the polygons are the table, one row for each unit.",
        "未写[data]：以底图的属性为数据表，每个地区一行。",
    ),
    "one period": Text("one row for each unit: no period", "每个地区一行，没有时期"),
    "ignored": Text("rows without a polygon", "没有多边形的行"),
    "skipped": Text(
        "Not used (blank cells need a rule in [[missing]]):", "未用的列（空缺须在[[missing]]中给出规则）："
    ),
    "computed": Text(
        'A variable may be computed: expression = "log(gdp / population)"',
        '变量可由表达式计算：expression = "log(gdp / population)"',
    ),
    "islands": Text("units without a land neighbour", "没有陆上邻居的地区"),
    "units": Text("those with rows in every period", "各期都有数据的地区"),
    "model": Text(
        "A spatial Durbin model of the first columns: which variable is explained is yours to say.",
        "以前几列拟定的空间杜宾模型：被解释变量请自行确定。",
    ),
}


def _study_text(
    found: _Found, name: str, title: str, places: tuple[str, str | None], crs: str | None, language: Language
) -> str:
    """The study file, with a comment on each choice; ``places``: the polygons, and the table if there is one."""
    (layer, table), dated = places, found.period != PERIOD
    said = {key: f"# {text.pick(language)}" for key, text in _SAID.items()}
    known = {column: _variable(column, k) for k, column in enumerate(found.variables[:MOST_VARIABLES], 1)}
    chosen = [known[column] for column in _regressors(found, list(known))] or list(known.values())[:1]
    y, x, several = chosen[0], chosen[1:], found.span[0] < found.span[1]
    lines = [said["proposed"], said["keys"], "version = 1", ""]
    lines += [
        "[study]",
        f"name = {_quoted(name)}",
        f"title = {_quoted(title)}",
        f"language = {_quoted(language)}",
        "",
    ]
    lines += ["[regions]", f"file = {_quoted(layer)}", f"id = {_quoted(found.id)}"]
    lines += [f"names = {_quoted(found.names)}"] if found.names else []
    lines += [f"crs = {_quoted(crs)}  {said['crs']}"] if crs else []
    lines += [f"projected_crs = {_quoted(_plane(found.layer))}  {said['plane']}", said["source"], ""]
    if table is None:
        lines += [said["attributes"]]
    else:
        unit = f"unit = {_quoted(found.unit)}" + ("" if dated else f"  {said['one period']}")
        lines += ["[data]", f"file = {_quoted(table)}", unit]
        lines += [f"period = {_quoted(found.period)}", f"periods = {list(found.span)}"] if dated else []
    lines += [f"ignore = {_quoted(found.ignored)}  {said['ignored']}"] if found.ignored else []
    if found.skipped:
        lines += ["", said["skipped"], *(f"#   {text.pick(language)}" for text in found.skipped)]
    lines += ["", said["computed"], ""]
    for column, variable in known.items():
        heading = variable if variable.isascii() else _quoted(variable)
        lines += [f"[variables.{heading}]", f"label = {_quoted(column)}"]
        lines += ["" if variable == column else f"expression = {_quoted(f'`{column}`')}\n"]
    lines += ["[weights.queen]", 'kind = "contiguity"']
    lines += [f'islands = "nearest"  {said["islands"]}'] if _islands(found) else []
    lines += ["", "[samples.all]", f"label = {_quoted(Text('All units', '全部地区').pick(language))}"]
    lines += (
        [] if len(found.units) == len(found.layer) else [f"units = {_quoted(found.units)}  {said['units']}"]
    )
    lines += ["", "[moran]", f"variables = {_quoted([y, *x])}", ""]
    lines += ["[maps]", f"variables = {_quoted([y, *x][:2])}"]
    lines += [f"periods = [{found.span[1]}]", ""] if dated else [""]
    if x:
        effects, errors = ("two_way", "cluster") if several else ("none", "information")
        lines += [said["model"], "[models.main]", f"y = {_quoted(y)}", f"x = {_quoted(x)}"]
        lines += [f'fixed_effects = "{effects}"  # none | unit | time | two_way | random'] if dated else []
        lines += [f'covariance = "{errors}"', ""]
    return "\n".join([*lines, "[output]", 'tables = ["docx", "xlsx", "csv"]', 'figures = ["png"]', ""])


def _quoted(value: object) -> str:
    """A text or a list of texts as TOML writes them."""
    return json.dumps(value, ensure_ascii=False)


def _variable(column: str, number: int) -> str:
    """A name that may stand in an expression."""
    made = column if column.isidentifier() else re.sub(r"\W+", "_", column).strip("_")
    taken = not made.isidentifier() or made in RESERVED | FUNCTIONS or made.startswith("W_")
    return f"v{number}" if taken else made
