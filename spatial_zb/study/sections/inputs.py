"""Sections on inputs: the study itself, polygons, data, variables, samples and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from spatial_zb.base.text import UNDATED
from spatial_zb.study.values import (
    Alone,
    Base,
    Finite,
    Islands,
    Label,
    Metric,
    Names,
    Normalisation,
    Periods,
    Positive,
    Refusal,
    Section,
    SomeNames,
    SomeValues,
    Span,
    Word,
    as_where,
    by_period,
    crs_code,
    filled,
    from_list,
    one_or_some,
    replicates,
    slug,
)


class General(Section):
    """``[study]``: who the study is and the numbers every stage shares.

    ``bootstrap``: replicates for p-values of the test chain under its null hypotheses, and for median-unbiased ρ and λ; 0
    for none.
    """

    name: Annotated[str, AfterValidator(slug)]
    title: Label
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20190101
    permutations: Annotated[int, Field(ge=99, le=999_999)] = 9999
    draws: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    bootstrap: Annotated[int, AfterValidator(replicates), Field(ge=0, le=1_000_000)] = 0
    language: Literal["en", "zh", "both"] = "en"
    sample: Word | None = None


class Regions(Section):
    """``[regions]``: the polygons; ``file`` is a layer, or a list of layers laid side by side.

    ``names``: the column that names the units, or one for each language. ``crs``: the reference system of layers that
    name none, such as a shapefile without its .prj. ``projected_crs = "china"``: Albers' conic for the whole country.
    ``lines``: a layer of lines in the sea (the broken line in the South China Sea): maps are then of the whole country, with
    all polygons of the file and an inset of that sea.
    """

    file: Annotated[Word | tuple[Word, ...], BeforeValidator(from_list), AfterValidator(one_or_some)]
    id: Word
    names: Label | None = None
    crs: Annotated[str, AfterValidator(crs_code)] | None = None
    projected_crs: Annotated[str, AfterValidator(crs_code)] = "EPSG:4549"
    source: Label | None = None
    review_number: str = ""
    lines: Word | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The layers, one or several."""
        return (self.file,) if isinstance(self.file, str) else self.file


class Data(Section):
    """``[data]``: the long table of units and periods, and the table of the reference region.

    Without ``file`` the attributes of the polygons are the table; without ``period`` it is a cross-section, one row for
    each unit. ``fill_rows``: unit-periods without a row become rows of blank cells, for the rules of ``[[missing]]``.
    ``reference`` is a table of totals by period, or a list of them: each cell comes from the first that has it.
    ``flags`` is a table of doubtful cells (columns named as ``unit`` and ``period``, and ``column``, ``kind``): those of a
    kind in ``flag_kinds`` are treated as blank. ``balance = "keep"`` lets units come and go: a row that the table lacks is
    an absent unit-period, and ``events`` is a table (``unit``, ``period``, ``event``) of what became of units. ``ignore``
    lists ids of the table that have no polygon and are left out.
    ``limits`` says in sentences what a reader must know of the data: what is a proxy, or simulated. ``thousands`` is
    the mark that parts groups of three digits in numbers stored as text, such as 1,234.
    """

    file: Word | None = None
    unit: Word | None = None
    period: Word | None = None
    periods: Span | None = None
    balance: Literal["error", "keep"] = "error"
    events: Word | None = None
    fill_rows: bool = False
    ignore: Names = ()
    reference: Annotated[
        Word | tuple[Word, ...] | None, BeforeValidator(from_list), AfterValidator(one_or_some)
    ] = None
    codebook: Word | None = None
    flag: Word | None = None
    flags: Word | None = None
    flag_kinds: SomeNames = ("suspect",)
    thousands: Literal[",", " ", "'"] | None = None
    source: Label | None = None
    limits: Annotated[tuple[Label, ...], BeforeValidator(from_list)] = ()

    @model_validator(mode="after")
    def _whole(self) -> Data:
        if self.file is None and (self.unit or self.period):
            raise Refusal(
                "names columns of a table and no table: add file, or leave unit and period out to take the attributes of "
                "the polygons",
                "列出了数据表的列而没有数据表：请加file；若用底图的属性，请删去unit与period",
            )
        if self.file is not None and self.unit is None:
            raise Refusal(
                "unit is required: the column of ids in the table", "unit为必填：数据表中地区编码所在的列"
            )
        if (self.period is None) != (self.periods is None):
            raise Refusal(
                "period and periods go together: a column of years and [first, last]; a cross-section has neither",
                "period与periods须同时给出（年份列与[起始, 结束]）；截面数据两者都不写",
            )
        for key in ("fill_rows", "events"):
            if getattr(self, key) and self.period is None:
                raise Refusal(f"{key} is for panels, which have a period", f"{key}用于有period的面板数据")
        if self.fill_rows and self.balance == "keep":
            raise Refusal(
                "fill_rows says that lacking rows are blank, balance = 'keep' that those units are absent; keep one",
                "fill_rows表示缺行为空缺，balance = 'keep'表示该地区当时不存在；请只留一个",
            )
        return self

    @property
    def dated(self) -> bool:
        """Whether the table tells periods apart; a cross-section has none."""
        return self.period is not None

    @property
    def span(self) -> tuple[int, int]:
        """First and last period; of a cross-section the number that stands for none."""
        return self.periods or (UNDATED, UNDATED)

    @property
    def references(self) -> tuple[str, ...]:
        """The tables of the reference region: none, one or several."""
        given = self.reference or ()
        return (given,) if isinstance(given, str) else given


Rule = Literal["error", "blank", "interpolate", "median_growth", "drop_units", "drop_periods"]


class Missing(Section):
    """``[[missing]]``: what happens to blank cells of some columns, and why.

    ``units`` holds it to some units; a rule for them goes before one for all.
    """

    columns: SomeNames
    units: Names = ()
    rule: Rule
    reason: Label


class Suspect(Section):
    """``[[suspect]]``: printed figures that are treated as blank cells, or kept with a remark, and why.

    ``units`` and ``periods`` are all where not given. ``rule = "blank"``: the rule of the column in ``[[missing]]`` then
    says what happens to them; ``"keep"``: they stay, also where ``[data] flags`` names them.
    """

    columns: SomeNames
    units: Names = ()
    periods: Annotated[Periods, AfterValidator(filled)] | None = None
    rule: Literal["blank", "keep"] = "blank"
    reason: Label


class Constant(Section):
    """``[constants.<name>]``: one number per period, the same for all units, usable in expressions."""

    name: str
    label: Label
    source: Label
    values: Annotated[dict[int, Finite], BeforeValidator(by_period)]


class Variable(Section):
    """``[variables.<name>]``: a derived variable, or a column of the data file that gets a label.

    Without an expression it is the column of its own name; ``expression = "gdp"`` of a variable ``gdp`` says the same.
    ``values`` are words for the values of a variable of groups, such as regimes: ``{ 1 = "East", 2 = "West" }``.
    ``of_period`` is the period that its figures are of, where it is not that of the row: of a column ``pop_2000`` beside
    ``pop_2010`` in a table of 2010.
    """

    name: str
    label: Label
    expression: Word
    values: dict[str, Label] = Field(default_factory=dict)
    of_period: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_column(cls, given: Any) -> Any:
        """Names of variables are identifiers: they stand in an expression as they are."""
        return (
            {"expression": given["name"], **given} if isinstance(given, dict) and "name" in given else given
        )

    @property
    def is_column(self) -> bool:
        """Whether it is the column of its own name."""
        return self.expression.strip().strip("`") == self.name


class Index(Section):
    """``[indices.<name>]``: a score from 0 to 1 of several variables, weighted by entropy.

    All units and periods of the study are pooled. ``less`` names those of which less is better. ``method``:
    ``"entropy"`` sums the scaled variables, ``"topsis"`` gives the closeness to the ideal, both with entropy weights.
    """

    name: str
    label: Label
    columns: Annotated[SomeNames, Field(min_length=2)]
    less: Names = ()
    method: Literal["entropy", "topsis"] = "entropy"


class Coupling(Section):
    """``[coupling.<name>]``: coupling coordination D of two indices; ``alpha`` is the weight of the first."""

    name: str
    label: Label
    first: Word
    second: Word
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.5


def _two(units: tuple[str, ...]) -> tuple[str, ...]:
    if len(units) < 2:
        raise Refusal("a sample needs at least two units", "样本至少须有两个地区")
    return units


class Sample(Section):
    """``[samples.<name>]``: all units, those listed, or those whose columns of the polygons have given values.

    A study without polygons looks at the columns of its table that are the same in all rows of a unit.
    """

    name: str
    label: Label
    units: Annotated[Names, AfterValidator(_two)] | None = None
    where: Annotated[dict[str, SomeValues], BeforeValidator(as_where)] | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> Sample:
        if self.units is not None and self.where is not None:
            raise Refusal("has both units and where; keep one", "同时有units和where，请只留一个")
        return self


class _Weights(Section):
    """Keys common to all ``[weights.<name>]``."""

    name: str
    label: Label
    normalisation: Normalisation = "row"


class _ByDistance(_Weights):
    """Weights from distances between centroids, in kilometres.

    ``metric`` is ``"geodesic"`` (on the ellipsoid) or ``"projected"`` (on the plane of a projected layer).
    """

    cutoff_km: Positive | None = None
    islands: Islands = "error"
    metric: Metric = "geodesic"


class Economic(Section):
    """A variable of the data file or of ``[variables]``, averaged by unit over base periods.

    ``periods`` is ``"mean"`` (all of ``data.periods``), ``[first, last]`` or one period; they may lie before
    ``data.periods``, if the data file has them. ``"each"`` makes a W of every period, of the units that it has.
    """

    variable: Word
    periods: Base = "mean"


class Contiguity(_Weights):
    """``kind = "contiguity"``: units whose borders meet, up to (or exactly) ``order`` steps away."""

    kind: Literal["contiguity"]
    rule: Literal["queen", "rook"] = "queen"
    order: Annotated[int, Field(ge=1, le=10)] = 1
    cumulative: bool = True
    islands: Islands = "error"


class NearestNeighbours(_Weights):
    """``kind = "knn"``: the k nearest centroids."""

    kind: Literal["knn"]
    k: Annotated[int, Field(ge=1)]
    metric: Metric = "geodesic"


class DistanceBand(_ByDistance):
    """``kind = "distance_band"``: one within ``cutoff_km``; blank = the smallest band without islands."""

    kind: Literal["distance_band"]


class InverseDistance(_ByDistance):
    """``kind = "inverse_distance"``: distance to the power ``-power``."""

    kind: Literal["inverse_distance"]
    power: Positive = 1.0


class ExponentialDecay(_ByDistance):
    """``kind = "exponential_decay"``: exp(-rate · distance), ``rate`` per kilometre."""

    kind: Literal["exponential_decay"]
    rate: Positive


class Block(_Weights):
    """``kind = "block"``: units with the same value of a column of the polygons, such as ``prov``."""

    kind: Literal["block"]
    column: Word
    islands: Islands = "error"


class EconomicDistance(Economic, _Weights):
    """``kind = "economic_distance"``: 1/|difference of the variable|; ``floor`` = least difference."""

    kind: Literal["economic_distance"]
    floor: Positive | None = None


class Gravity(Economic, _ByDistance):
    """``kind = "gravity"``: product of the variable of both units over distance to the power ``power``."""

    kind: Literal["gravity"]
    power: Positive = 2.0


class Combination(_Weights):
    """``kind = "combine"``: product, or mixture with share ``alpha`` of the first, of two other weights."""

    kind: Literal["combine"]
    parts: Annotated[SomeNames, Field(min_length=2, max_length=2)]
    how: Literal["product", "mix"] = "product"
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    islands: Alone = "error"

    @model_validator(mode="after")
    def _alpha_of_a_mixture(self) -> Combination:
        if (self.how == "mix") != (self.alpha is not None):
            raise Refusal(
                "a mixture (how = 'mix') needs alpha, a product has none",
                "混合（how = 'mix'）须有alpha，乘积则不得有",
            )
        return self


#: Where a file of weights has no ids, words for the order of its rows.
OF_POLYGONS, OF_TABLE = "order of polygons", "order of table"


class IdsOfTable(Section):
    """``ids = { file = "…", column = "…" }``: a table with a row for each unit, in the order of the matrix."""

    file: Word
    column: Word


class WeightsFile(_Weights):
    """``kind = "file"``: csv, xlsx, dta, txt, gal, gwt, swm, mtx, mat or npz; see ``weights.read``.

    ``sheet`` names the sheet of an xlsx file or the variable of a mat file. ``ids`` says which units the rows of a file
    without ids are: a list; ``"order of polygons"`` or ``"order of table"`` (the units as ``[data] file`` first shows
    them); a column of the polygons or of the table, each value once; or a column of another table.
    """

    kind: Literal["file"]
    file: Word
    sheet: Word | None = None
    ids: Annotated[Word | Names | IdsOfTable | None, BeforeValidator(from_list)] = None
    islands: Alone = "error"
    allow_negative: bool = False


Weight = (
    Contiguity
    | NearestNeighbours
    | DistanceBand
    | InverseDistance
    | ExponentialDecay
    | Block
    | EconomicDistance
    | Gravity
    | Combination
    | WeightsFile
)

WEIGHT_KINDS: Mapping[str, type[Section]] = {
    "contiguity": Contiguity,
    "knn": NearestNeighbours,
    "distance_band": DistanceBand,
    "inverse_distance": InverseDistance,
    "exponential_decay": ExponentialDecay,
    "block": Block,
    "economic_distance": EconomicDistance,
    "gravity": Gravity,
    "combine": Combination,
    "file": WeightsFile,
}
