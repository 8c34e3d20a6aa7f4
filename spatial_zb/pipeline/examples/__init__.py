"""What ``init`` writes: example studies that the package carries, and the text of one for a user's own files."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from spatial_zb.base.errors import OutputError, SpatialZbWarning, listed, listed_zh, not_one_of
from spatial_zb.base.text import Language, Text
from spatial_zb.data.panel import Panel
from spatial_zb.pipeline.prepare import prepare
from spatial_zb.pipeline.units import PERIOD
from spatial_zb.report.files import write_atomic
from spatial_zb.study import load_study
from spatial_zb.study.values import FUNCTIONS, RESERVED
from spatial_zb.weights.matrix import Weights

if TYPE_CHECKING:
    import geopandas as gpd

HOME = Path(__file__).parent
#: Example → the weights and the sample that :func:`example` gives.
EXAMPLES = {"delta": ("queen", "delta"), "counties": ("queen", "counties")}


class Example(NamedTuple):
    """What a study starts from, for the same n units in the same order.

    Attributes
    ----------
    regions : GeoDataFrame
        Polygons indexed by string id, with ``name_en`` and ``name_zh``.
    panel : Panel
        Variables of n units and T periods.
    W : Weights
        Queen contiguity, row-standardised; units without a land neighbour are linked with the nearest.
    """

    regions: gpd.GeoDataFrame
    panel: Panel
    W: Weights

    def __repr__(self) -> str:
        return f"Example(regions of {len(self.regions)} units, {self.panel!r}, {self.W!r})"


def example(name: str = "delta") -> Example:
    """Polygons, a panel and weights to try things on, without any file.

    Parameters
    ----------
    name
        ``"delta"``: 40 cities of the Yangtze River Delta, 2007–2019, with ``industry`` and ``talent`` (logarithms of
        location quotients), ``ln_pgdp``, ``ln_wage``, ``sci_share``, ``fdi_gdp`` and ``tertiary_share``.
        ``"counties"``: 77 units of Zhejiang in 2010, with ``density_2000`` and ``growth`` (per cent a year, 2000–2010).

    Returns
    -------
    Named tuple of ``regions``, ``panel`` and ``W``. Borders are simplified to about a kilometre and a half; neighbours
    are those of the full polygons.

    Raises
    ------
    SpecificationError
        There is no example of this name.

    Notes
    -----
    City figures: National Bureau of Statistics, *China City Statistical Yearbook*, editions 2008–2020, with blank and
    doubtful figures replaced by the stated rules of the project's own study (column ``remark`` of its table). Counties:
    population censuses of 2000 and 2010. Borders: Tianditu, divisions of 2024.

    Examples
    --------
    >>> import spatial_zb as zb
    >>> regions, panel, W = zb.example("delta")
    >>> fit = zb.fit_durbin(zb.DurbinSpec(y="industry", x=["talent", "ln_pgdp"]), panel, W)
    >>> fit.converged
    True
    """
    if name not in EXAMPLES:
        raise not_one_of("name", name, EXAMPLES)
    weights, sample = EXAMPLES[name]
    prepared = prepare(load_study(HOME / name / "en.toml"))
    return Example(prepared.polygons(sample), prepared.sample(sample), prepared.weights(weights, sample))


def write_example(folder: Path, name: str = "delta", language: Language = "en") -> tuple[Path, ...]:
    """Write an example study and its data into a new or empty folder; give the files, the study first.

    Raises
    ------
    OutputError
        The folder holds files already, or cannot be written to. Hidden files do not count.
    """
    if name not in EXAMPLES:
        raise not_one_of("name", name, EXAMPLES)
    refuse_full(folder)
    home = HOME / name
    contents = {f"{name}.toml": (home / f"{language}.toml").read_bytes()}
    contents |= {f"data/{path.name}": path.read_bytes() for path in sorted((home / "data").iterdir())}
    return write_new(folder, contents)


def refuse_full(folder: Path) -> None:
    """Refuse a folder that holds files which are not hidden, or a file in its place."""
    try:
        held = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be used as a folder: {error.strerror}. Name another one.",
            f"{folder}不能用作文件夹：{error.strerror}。请换一个名称。",
        ) from None
    if held:
        raise OutputError(
            f"This folder is not empty: {folder.resolve()} holds {listed(held, 3)}. Name a new one: spatial-zb init "
            "my-study.",
            f"文件夹{folder.resolve()}不是空的，已有{listed_zh(held, 3)}。请指定新文件夹：spatial-zb init my-study。",
        )


def write_new(folder: Path, contents: dict[str, bytes]) -> tuple[Path, ...]:
    """Write files below a folder; none of them may be there already.

    Raises
    ------
    OutputError
        A file of the same name is there, or the folder cannot be written to.
    """
    there = [name for name in contents if (folder / name).exists()]
    if there:
        raise OutputError(
            f"{folder.resolve()} has {listed(there)} already, and nothing was written. Name another folder, or move the "
            "file away.",
            f"{folder.resolve()}中已有{listed_zh(there)}，未写入任何文件。请换一个文件夹，或移走该文件。",
        )
    try:
        for name in contents:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made: {error.strerror}.",
            f"无法新建文件夹{folder}：{error.strerror}。",
        ) from None
    return tuple(write_atomic(folder / name, content) for name, content in contents.items())


# A study file for a user's own files ------------------------------------------------------------------------

#: At most so many variables are listed, and so many stand on the right-hand side of the model.
MOST_VARIABLES, MOST_REGRESSORS = 12, 3


@dataclass
class Found:
    """What was found in the files of a user; ``order``: all units of the polygons or of W, ``units`` those with rows.

    ``keep``: some of them lack a period.
    """

    layer: gpd.GeoDataFrame | None
    ids: str | None
    id: str
    names: str | None
    table: pd.DataFrame
    unit: str
    period: str
    span: tuple[int, int]
    units: list[str]
    order: list[str]
    ignored: list[str]
    keep: bool = False
    variables: list[str] = field(default_factory=list)
    skipped: list[Text] = field(default_factory=list)


def study_text(
    found: Found,
    name: str,
    title: str,
    places: Sequence[str | None],
    crs: str | None,
    language: Language,
) -> str:
    """The study file, with a comment on each choice; ``places``: of polygons, table and W, None where there is none."""
    (layer, table, W), dated = places, found.period != PERIOD
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
    if found.layer is None:
        lines += [said["no polygons"], ""]
    else:
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
        lines += [f'balance = "keep"  {said["keep"]}'] if found.keep else []
    lines += [f"ignore = {_quoted(found.ignored)}  {said['ignored']}"] if found.ignored else []
    if found.skipped:
        lines += ["", said["skipped"], *(f"#   {text.pick(language)}" for text in found.skipped)]
    if blank := [column for column in known if found.table[column].isna().any()]:
        lines += ["", "[[missing]]", f"columns = {_quoted(blank)}", f'rule = "blank"  {said["blank"]}']
        lines += [f"reason = {_quoted(Text('not known', '数值缺失').pick(language))}"]
    lines += ["", said["computed"], ""]
    for column, variable in known.items():
        heading = variable if variable.isascii() else _quoted(variable)
        lines += [f"[variables.{heading}]", f"label = {_quoted(column)}"]
        lines += ["" if variable == column else f"expression = {_quoted(f'`{column}`')}\n"]
    lines += ["[weights.own]", 'kind = "file"', f"file = {_quoted(W)}"] if W is not None else []
    lines += [f"ids = {_quoted(found.ids)}  {said['ids']}"] if found.ids else []
    lines += [""] if W is not None and found.layer is not None else []
    if found.layer is not None:
        lines += ["[weights.queen]", 'kind = "contiguity"']
        lines += [f'islands = "nearest"  {said["islands"]}'] if _islands(found.layer, found) else []
    lines += ["", "[samples.all]", f"label = {_quoted(Text('All units', '全部地区').pick(language))}"]
    lines += (
        [] if len(found.units) == len(found.order) else [f"units = {_quoted(found.units)}  {said['units']}"]
    )
    lines += ["", "[moran]", f"variables = {_quoted([y, *x])}", ""]
    if found.layer is not None:
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
    "no polygons": Text(
        "No [regions]: there are no polygons, so no maps. [regions] file and id add them.",
        "未写[regions]：没有底图，故不绘地图。在[regions]中写file与id即可加入。",
    ),
    "ids": Text("what the rows of a file without ids are", "文件没有地区编码，各行所指的地区"),
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
    "units": Text("those with rows", "有数据的地区"),
    "keep": Text(
        "units may come and go: an absent one is no neighbour in that period, and no other year of it is lost",
        "地区可进出样本：缺失的时期不作邻居，其余年份照用",
    ),
    "blank": Text("its row is left out where the column is used", "用到该列时略去该行"),
    "model": Text(
        "A spatial Durbin model of the first columns: which variable is explained is yours to say.",
        "以前几列拟定的空间杜宾模型：被解释变量请自行确定。",
    ),
}


def _regressors(found: Found, variables: Sequence[str]) -> list[str]:
    """Variables that are not sums of others and of the fixed effects, in the order of the table."""
    rows = found.table[found.table[found.unit].isin(found.units)]
    most = min(MOST_REGRESSORS, (len(found.units) - 4) // 3)
    kept: list[str] = []
    bases: list[np.ndarray] = []
    for name in variables:
        values = rows[name].astype(float)
        for by in (found.unit, found.period) if found.span[0] < found.span[1] else ():
            values = values - values.groupby(rows[by]).transform("mean")
        column = np.nan_to_num(values.to_numpy() - values.mean())
        size = float(np.linalg.norm(column))
        left = column - sum((b * (b @ column) for b in bases), np.zeros_like(column))
        if size > 0 and np.linalg.norm(left) > 1e-6 * size and len(kept) <= most:
            kept.append(name)
            bases.append(left / np.linalg.norm(left))
    return kept


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


def _islands(layer: gpd.GeoDataFrame, found: Found) -> bool:
    from spatial_zb.weights.build.adjacency import contiguity

    regions = layer.set_axis(found.order)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        return bool(len(contiguity(regions.loc[found.units], islands="zero").islands))
