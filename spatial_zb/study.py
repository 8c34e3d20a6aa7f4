"""A study file: one TOML text that names regions, variables, weights, samples and models of a study.

:func:`load_study` is the only way in. It checks the whole file (keys, values, the files it names, every name
used by another part) and reports all mistakes at once, each with its place and line.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from spatial_zb.errors import SpecificationError, listed
from spatial_zb.text import Text

__all__ = [
    "STUDY_VERSION",
    "Battery",
    "Block",
    "Combination",
    "Compare",
    "Concentration",
    "Constant",
    "Contiguity",
    "Coupling",
    "CurveTest",
    "Data",
    "DistanceBand",
    "Dynamics",
    "EconomicDistance",
    "Equation",
    "ExponentialDecay",
    "Figures",
    "General",
    "Gravity",
    "Index",
    "InverseDistance",
    "Maps",
    "Missing",
    "Model",
    "Moran",
    "NearestNeighbours",
    "Output",
    "Probabilities",
    "Regions",
    "Sample",
    "Study",
    "Suspect",
    "System",
    "Variable",
    "WeightsFile",
    "load_study",
]

STUDY_VERSION = 1
MAX_BYTES = 1_000_000

# Words of result tables: a variable of this name could not be told from a parameter.
RESERVED = frozenset({"rho", "lam", "tau", "eta", "sigma2", "unit", "period"})
FUNCTIONS = frozenset({"log", "log1p", "exp", "sqrt", "abs", "lq", "hhi", "krugman"})


# --- values ------------------------------------------------------------------------------------------------


def _as_text(value: object) -> Text:
    if isinstance(value, Text):
        return value
    texts = value.values() if isinstance(value, Mapping) else [value]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"must be text or {{ en = ..., zh = ... }}, not {value!r}")
    try:
        return Text.of(value)  # type: ignore[arg-type]
    except SpecificationError:
        raise ValueError(f"must be text or {{ en = ..., zh = ... }}, not {value!r}") from None


def _from_list(value: object) -> object:
    """TOML has lists, frozen models have tuples."""
    return tuple(value) if isinstance(value, list) else value


def _as_tuple(value: object) -> object:
    """Make a tuple of a list, or of a single value that stands without brackets."""
    return (value,) if isinstance(value, str | int | float) else _from_list(value)


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"names {listed(repeated)} more than once")
    return values


def _filled(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("must not be empty")
    return values


def _ordered(periods: tuple[int, int]) -> tuple[int, int]:
    if periods[0] > periods[1]:
        raise ValueError(f"must be [first, last], not {list(periods)}")
    return periods


def _by_period(value: object) -> object:
    """Turn the text keys of a TOML table into periods."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError("must be a table of one number per period, such as 2007 = 7.604")
    wrong = [key for key in value if not re.fullmatch(r"\d{1,4}", key)]
    if wrong:
        raise ValueError(f"has keys that are not periods: {listed(wrong)}")
    return {int(key): number for key, number in value.items()}


def _as_base(value: object) -> object:
    """``"mean"``, or a span of periods; one period is a span of itself."""
    span = (value, value) if type(value) is int else _from_list(value)
    whole = isinstance(span, tuple) and len(span) == 2 and all(type(period) is int for period in span)
    if value != "mean" and not whole:
        raise ValueError(f"must be 'mean', [first, last] or one period, not {value!r}")
    return _ordered(span) if whole else value  # type: ignore[arg-type]


def _as_islands(value: object) -> object:
    """A policy, or a tuple of pairs of ids."""
    return tuple(map(_from_list, value)) if isinstance(value, list) else value


def _known_islands(value: object) -> object:
    pairs = isinstance(value, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(unit, str) for unit in pair)
        for pair in value
    )
    if not (pairs and value) and value not in ("error", "nearest", "zero"):
        raise ValueError(
            f"must be 'error', 'nearest', 'zero' or pairs of ids such as [[\"330900\", \"330200\"]], not {value!r}"
            + ("; leave the unit out of the sample instead" if value == "drop" else "")
        )
    return value


def _replicates(number: int) -> int:
    if 0 < number < 99:
        raise ValueError(f"must be 0 or at least 99, not {number}")
    return number


def _slug(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise ValueError(f"names a folder: use small letters a-z, digits, _ and - only, not {name!r}")
    return name


def _as_where(value: object) -> object:
    return {key: _as_tuple(kept) for key, kept in value.items()} if isinstance(value, Mapping) else value


Word = Annotated[str, Field(min_length=1, max_length=2000)]
Label = Annotated[Text, BeforeValidator(_as_text)]
Names = Annotated[tuple[Word, ...], BeforeValidator(_as_tuple), AfterValidator(_distinct)]
Listed = Annotated[tuple[Word, ...], BeforeValidator(_from_list), AfterValidator(_distinct)]
SomeNames = Annotated[Names, AfterValidator(_filled)]
Periods = Annotated[tuple[int, ...], BeforeValidator(_as_tuple), AfterValidator(_distinct)]
Span = Annotated[tuple[int, int], BeforeValidator(_as_tuple), AfterValidator(_ordered)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
EstimatorKind = Literal["lee_yu", "direct", "gmm"]
CovarianceKind = Literal[
    "information", "hessian", "sandwich", "cluster", "driscoll_kraay", "spatial_hac", "robust"
]
Family = Literal["OLS", "SLX", "SAR", "SDM", "SEM", "SDEM", "SAC", "GNS"]
EffectsKind = Literal["none", "unit", "time", "two_way", "random"]
Share = Annotated[float, Field(gt=0, lt=0.5, allow_inf_nan=False)]
Normalisation = Literal["none", "row", "spectral", "minmax"]
Islands = Annotated[Any, BeforeValidator(_as_islands), AfterValidator(_known_islands)]
Alone = Literal["error", "zero"]
Metric = Literal["geodesic", "projected"]
Base = Annotated[Any, BeforeValidator(_as_base)]
Shares = Annotated[tuple[Share, ...], BeforeValidator(_as_tuple), AfterValidator(_distinct)]
TableFormat = Literal["csv", "xlsx", "docx", "tex", "html", "md"]
FigureFormat = Literal["png", "svg", "pdf", "tiff"]

Choice = TypeVar("Choice")
Some = Annotated[
    tuple[Choice, ...], BeforeValidator(_as_tuple), AfterValidator(_distinct), AfterValidator(_filled)
]


# --- sections ----------------------------------------------------------------------------------------------


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)


class General(_Section):
    """``[study]``: who the study is and the numbers every stage shares.

    ``bootstrap``: replicates for p-values of the test chain under its null hypotheses; 0 for none.
    """

    name: Annotated[str, AfterValidator(_slug)]
    title: Label
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20190101
    permutations: Annotated[int, Field(ge=99, le=999_999)] = 9999
    draws: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    bootstrap: Annotated[int, AfterValidator(_replicates), Field(ge=0, le=1_000_000)] = 0
    language: Literal["en", "zh", "both"] = "en"
    sample: Word | None = None


class Regions(_Section):
    """``[regions]``: the polygons."""

    file: Word
    id: Word
    projected_crs: Annotated[str, Field(pattern=r"^[A-Z]+:[0-9]{3,6}$")] = "EPSG:4549"
    source: Label | None = None
    review_number: str = ""


class Data(_Section):
    """``[data]``: the long table of units and periods, and the table of the reference region.

    ``limits`` says in sentences what a reader must know of the data: what is a proxy, or simulated.
    """

    file: Word
    unit: Word
    period: Word
    periods: Span
    reference: Word | None = None
    codebook: Word | None = None
    flag: Word | None = None
    source: Label | None = None
    limits: Annotated[tuple[Label, ...], BeforeValidator(_from_list)] = ()


class Missing(_Section):
    """``[[missing]]``: what happens to blank cells of some columns, and why."""

    columns: SomeNames
    rule: Literal["error", "interpolate", "median_growth", "drop_units", "drop_periods"]
    reason: Label


class Suspect(_Section):
    """``[[suspect]]``: a printed figure that is treated as a blank cell, and why.

    The rule of its column in ``[[missing]]`` then says what happens to it.
    """

    column: Word
    unit: Word
    period: int
    reason: Label


class Constant(_Section):
    """``[constants.<name>]``: one number per period, the same for all units, usable in expressions."""

    name: str
    label: Label
    source: Label
    values: Annotated[dict[int, Finite], BeforeValidator(_by_period)]


class Variable(_Section):
    """``[variables.<name>]``: a derived variable."""

    name: str
    label: Label
    expression: Word


class Index(_Section):
    """``[indices.<name>]``: a score from 0 to 1 of several variables, weighted by entropy.

    All units and periods of the study are pooled. ``less`` names those of which less is better. ``method``:
    ``"entropy"`` sums the scaled variables, ``"topsis"`` gives the closeness to the ideal, both with entropy weights.
    """

    name: str
    label: Label
    columns: Annotated[SomeNames, Field(min_length=2)]
    less: Names = ()
    method: Literal["entropy", "topsis"] = "entropy"


class Coupling(_Section):
    """``[coupling.<name>]``: coupling coordination D of two indices; ``alpha`` is the weight of the first."""

    name: str
    label: Label
    first: Word
    second: Word
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.5


class _Weights(_Section):
    """What all ``[weights.<name>]`` have."""

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


class _Economic(_Section):
    """A variable of the data file or of ``[variables]``, averaged by unit over base periods.

    ``periods`` is ``"mean"`` (all of ``data.periods``), ``[first, last]`` or one period; they may lie before
    ``data.periods``, if the data file has them.
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


class EconomicDistance(_Economic, _Weights):
    """``kind = "economic_distance"``: 1/|difference of the variable|; ``floor`` = least difference."""

    kind: Literal["economic_distance"]
    floor: Positive | None = None


class Gravity(_Economic, _ByDistance):
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
            raise ValueError("a mixture (how = 'mix') needs alpha, a product has none")
        return self


class WeightsFile(_Weights):
    """``kind = "file"``: csv, xlsx, dta, gal, gwt, swm, mtx, mat or npz, with ids; see ``weights.read``.

    ``sheet`` names the sheet of an xlsx file or the variable of a mat file.
    """

    kind: Literal["file"]
    file: Word
    sheet: Word | None = None
    islands: Alone = "error"
    allow_negative: bool = False


class Sample(_Section):
    """``[samples.<name>]``: all units, those listed, or those whose region columns have given values."""

    name: str
    label: Label
    units: Names | None = None
    where: Annotated[dict[str, SomeNames], BeforeValidator(_as_where)] | None = None


class Moran(_Section):
    """``[moran]``: variables, weights and samples of the Moran tables. Blank = all weights, main sample."""

    variables: SomeNames
    weights: Names = ()
    samples: Names = ()


class Concentration(_Section):
    """``[concentration]``: who has more than its share of some sectors, over the main sample.

    ``sectors`` are variables of amounts, such as employees. By period: Herfindahl and locational Gini of each sector
    and, with ``plant_hhi`` (Herfindahl index of plant sizes by sector), Ellison and Glaeser's γ; co-agglomeration of
    every pair; Krugman's specialisation of each unit. ``total`` is the variable of which the sectors are parts: the
    reference of Gini and γ, and its rest is a sector of Krugman's index; without it the sectors are all there is.
    """

    sectors: Annotated[SomeNames, Field(min_length=2)]
    total: Word | None = None
    plant_hhi: dict[str, Annotated[float, Field(ge=0, lt=1)]] | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables it asks for."""
        return (*self.sectors, *([self.total] if self.total else []))

    @model_validator(mode="after")
    def _a_plant_index_for_every_sector(self) -> Concentration:
        if self.plant_hhi is not None and set(self.plant_hhi) != set(self.sectors):
            raise ValueError(f"plant_hhi needs one number for each of {listed(self.sectors)}, and no other")
        return self


class Dynamics(_Section):
    """``[dynamics]``: how distributions over the main sample move.

    Each list names variables, which must be positive but in ``densities``. ``densities``: kernel density by period,
    of values over their mean with ``relative``. ``ellipses``: centre of gravity and deviation ellipse of amounts.
    ``inequality``: Theil (weighted by ``population``) and Dagum's Gini, parted by ``groups``, a column of the
    polygons. ``sigma``: dispersion and its trend, by ``groups`` too. ``beta``: growth on the initial level,
    absolute, and with ``fixed_effects`` and ``controls`` over growth periods of ``horizon`` without W and, with
    ``weights``, as a spatial Durbin model. ``periods`` are those that figures show; blank = first, middle, last.
    """

    densities: Names = ()
    relative: bool = False
    ellipses: Names = ()
    inequality: Names = ()
    groups: Word | None = None
    population: Word | None = None
    sigma: Names = ()
    beta: Names = ()
    controls: Names = ()
    weights: Word | None = None
    fixed_effects: Literal["none", "unit", "time", "two_way"] = "two_way"
    horizon: Annotated[int, Field(ge=1)] = 1
    periods: Periods = ()

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables it asks for, each once."""
        names = (*self.densities, *self.ellipses, *self.inequality, *self.sigma, *self.beta, *self.controls)
        return tuple(dict.fromkeys((*names, *([self.population] if self.population else []))))

    @model_validator(mode="after")
    def _something_to_do(self) -> Dynamics:
        if not (self.densities or self.ellipses or self.inequality or self.sigma or self.beta):
            raise ValueError("needs variables in densities, ellipses, inequality, sigma or beta")
        if self.inequality and self.groups is None:
            raise ValueError("inequality needs groups, a column of the polygons such as 'prov'")
        if (self.controls or self.weights) and not self.beta:
            raise ValueError("controls and weights belong to beta, which names no variable")
        return self


class Model(_Section):
    """``[models.<name>]``: one equation over weights, samples and fixed effects.

    Blank weights = the first of the file, blank samples = the main sample. ``time_lag`` and ``lag_time_lag`` add y and
    Wy of the period before; ``regimes`` names a variable with two values, by which the coefficients differ.
    """

    name: str
    title: Label
    y: Word
    x: SomeNames
    lag_y: bool = True
    lag_x: Literal["all"] | Names = "all"
    lag_error: bool = False
    fixed_effects: Some[EffectsKind] = ("two_way",)
    weights: Names = ()
    samples: Names = ()
    time_lag: bool = False
    lag_time_lag: bool = False
    regimes: Word | None = None
    estimator: Literal["lee_yu", "direct", "gmm", "yang", "uncorrected"] = "lee_yu"
    covariance: Literal[
        "information", "hessian", "sandwich", "cluster", "driscoll_kraay", "spatial_hac", "robust"
    ] = "information"


class Equation(_Section):
    """``[systems.<name>.equations.<equation>]``: one equation of a system."""

    y: Word
    endog: Names = ()
    x: Names = ()
    lag_y: bool = True
    lag_endog: Literal["all"] | Names = "all"
    lag_x: Literal["all"] | Names = ()
    lag_error: bool = False


class System(_Section):
    """``[systems.<name>]``: spatial simultaneous equations over weights, samples and methods.

    ``covariance`` is that of the instrumental methods; FIML has its information matrix. Blank weights and
    samples are those of :class:`Model`.
    """

    name: str
    title: Label
    equations: Annotated[dict[str, Equation], Field(min_length=1)]
    fixed_effects: Literal["none", "unit", "time", "two_way"] = "two_way"
    methods: Some[Literal["2sls", "3sls", "gs2sls", "gs3sls", "fiml"]] = ("gs3sls",)
    covariance: Literal["classical", "robust", "cluster"] = "classical"
    weights: Names = ()
    samples: Names = ()


class Battery(_Section):
    """``[compare.robustness]``: the base model again under every change, one at a time.

    ``drop`` are units left out together, by name; ``periods`` sub-periods ``[first, last]`` by name. ``y`` and ``x`` are
    measures beside those of ``[compare]``, whose weights it shares.
    """

    lag_x: bool = True
    drop: Annotated[dict[str, SomeNames], BeforeValidator(_as_where)] = {}
    winsorise: Shares = (0.01, 0.05)
    periods: dict[str, Span] = {}
    covariances: Annotated[tuple[CovarianceKind, ...], BeforeValidator(_as_tuple)] = ()
    y: Names = ()
    x: Annotated[dict[str, SomeNames], BeforeValidator(_as_where)] = {}
    leave_one_out: bool = True


class CurveTest(_Section):
    """``[compare.curve]``: the joint test of the specification curve."""

    replicates: Annotated[int, Field(ge=19, le=99_999)] = 499
    scheme: Literal["unit", "period"] = "unit"


class Probabilities(_Section):
    """``[compare.probabilities]``: posterior probabilities of models × weights, and of what prior."""

    models: Some[Literal["OLS", "SLX", "SAR", "SDM", "SEM", "SDEM"]] = (
        "OLS",
        "SLX",
        "SAR",
        "SDM",
        "SEM",
        "SDEM",
    )
    g: Literal["unit", "benchmark"] | Positive = "benchmark"
    shape: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0


class Compare(_Section):
    """``[compare]``: one term of one model over a grid of choices.

    ``model`` is the base; what is not varied is as in it. ``controls`` are sets of regressors by name, one a line;
    regressors of the base that are in no set are always there. ``y`` and ``x`` are other measures of the dependent
    variable and of regressors. Blank weights = all, blank samples = the main sample.
    """

    model: Word
    term: Word
    effect: Literal["coefficient", "direct", "indirect", "total"] = "total"
    weights: Names = ()
    samples: Names = ()
    models: Annotated[tuple[Family, ...], BeforeValidator(_as_tuple), AfterValidator(_distinct)] = ()
    controls: Annotated[dict[str, Names], BeforeValidator(_as_where)] = {}
    y: Names = ()
    x: Annotated[dict[str, SomeNames], BeforeValidator(_as_where)] = {}
    fixed_effects: Annotated[
        tuple[EffectsKind, ...], BeforeValidator(_as_tuple), AfterValidator(_distinct)
    ] = ()
    estimators: Annotated[
        tuple[EstimatorKind, ...], BeforeValidator(_as_tuple), AfterValidator(_distinct)
    ] = ()
    covariances: Annotated[
        tuple[CovarianceKind, ...], BeforeValidator(_as_tuple), AfterValidator(_distinct)
    ] = ()
    robustness: Battery | None = None
    curve: CurveTest | None = None
    probabilities: Probabilities | None = None


class Maps(_Section):
    """``[maps]``: choropleths of some variables in some periods.

    ``labels`` names all units, the groups, none, or a list of units; ``auto`` leaves it to their number.
    ``clusters`` names the weights of maps of local clusters (local Moran's I); none are drawn without it.
    ``bivariate`` names two variables for one map of both, in three classes each. ``locator`` shows in a small map
    where among all regions of the file those of the main sample are.
    """

    variables: SomeNames
    periods: Annotated[Periods, AfterValidator(_filled)]
    scheme: Literal["quantile", "natural", "equal", "std"] = "quantile"
    classes: Annotated[int, Field(ge=2, le=9)] = 5
    labels: Literal["auto", "all", "groups", "none"] | Listed = "auto"
    clusters: Word | None = None
    bivariate: Annotated[Names, Field(max_length=2)] = ()
    locator: bool = False

    @model_validator(mode="after")
    def _two_or_none(self) -> Maps:
        if len(self.bivariate) == 1:
            raise ValueError("bivariate needs two variables")
        return self


class Figures(_Section):
    """``[figures]``: what the models say by unit, by order of neighbour and by distance.

    ``effects`` are ``"model.variable"``: maps of the effects each unit receives and emits, and effects by order of
    neighbour up to ``orders``, from the model's last fixed effects, first weights and first sample.
    ``system_effects`` are ``"system.equation.source"``, the source an exogenous variable or another equation.
    ``correlogram`` names variables whose Moran's I is drawn by distance in the first and the last period.
    ``thresholds`` are kilometres: every one of ``effects`` is estimated again under inverse-distance weights that
    reach ``beyond`` or ``within`` them.
    """

    effects: Names = ()
    system_effects: Names = ()
    orders: Annotated[int, Field(ge=1, le=50)] = 6
    correlogram: Names = ()
    thresholds: Annotated[tuple[Positive, ...], BeforeValidator(_as_tuple), AfterValidator(_distinct)] = ()
    reach: Literal["beyond", "within"] = "beyond"


class Output(_Section):
    """``[output]``: where results go (``folder/<study name>``) and in which formats.

    ``report`` is the offline page ``report.html``.

    ``journal`` sets the habits of a kind of journal for tables; ``digits``, ``stars``, ``errors`` and
    ``error_position`` change them one by one.
    """

    folder: Word = "results"
    tables: Some[TableFormat] = ("docx", "xlsx", "csv")
    journal: Literal["default", "aea", "t_ratios", "columns"] = "default"
    digits: Annotated[int, Field(ge=0, le=8)] | None = None
    stars: bool | None = None
    errors: Literal["std_error", "t", "p"] | None = None
    error_position: Literal["below", "column"] | None = None
    figures: Some[FigureFormat] = ("png", "svg")
    dpi: Annotated[int, Field(ge=72, le=1200)] = 300
    report: bool = True

    @property
    def table_settings(self) -> dict[str, Any]:
        """What :func:`spatial_zb.report.tables.journal_style` takes."""
        changes = {name: getattr(self, name) for name in ("digits", "stars", "errors", "error_position")}
        return {"journal": self.journal} | {name: v for name, v in changes.items() if v is not None}


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

_WEIGHTS: Mapping[str, type[_Section]] = {
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
_TABLES: Mapping[str, type[_Section]] = {
    "study": General,
    "regions": Regions,
    "data": Data,
    "moran": Moran,
    "concentration": Concentration,
    "dynamics": Dynamics,
    "compare": Compare,
    "maps": Maps,
    "figures": Figures,
    "output": Output,
}
_NAMED: Mapping[str, type[_Section] | None] = {
    "constants": Constant,
    "variables": Variable,
    "indices": Index,
    "coupling": Coupling,
    "weights": None,  # by kind
    "samples": Sample,
    "models": Model,
    "systems": System,
}
_LISTS: Mapping[str, type[_Section]] = {"missing": Missing, "suspect": Suspect}
_REQUIRED = ("study", "regions", "data", "weights")
_SECTIONS = ("version", *_TABLES, *_NAMED, *_LISTS)


@dataclass(frozen=True, slots=True)
class Study:
    """A checked study: what its file says, where the file is, and which bytes it had.

    Attributes
    ----------
    path, root : Path
        The study file and the project folder that its paths start from.
    sha256 : str
        Of the bytes of the study file.
    general, regions, data, moran, concentration, dynamics, compare, maps, figures, output
        The single tables (``[study]`` is ``general``); ``moran``, ``compare``, ``maps`` and ``figures`` are None
        where absent.
    constants, variables, indices, coupling, weights, samples, models, systems
        Read-only mappings by name, in the order of the file; every item knows its ``name``.
    missing, suspect
        Tuples of :class:`Missing` and :class:`Suspect`, in the order of the file.
    lines : mapping of str to int
        Line of every dotted place, for messages: see :meth:`place`.
    """

    path: Path
    root: Path
    sha256: str
    general: General
    regions: Regions
    data: Data
    constants: Mapping[str, Constant]
    variables: Mapping[str, Variable]
    indices: Mapping[str, Index]
    coupling: Mapping[str, Coupling]
    weights: Mapping[str, Weight]
    samples: Mapping[str, Sample]
    models: Mapping[str, Model]
    systems: Mapping[str, System]
    missing: tuple[Missing, ...]
    suspect: tuple[Suspect, ...]
    moran: Moran | None
    concentration: Concentration | None
    dynamics: Dynamics | None
    compare: Compare | None
    maps: Maps | None
    figures: Figures | None
    output: Output
    lines: Mapping[str, int] = field(repr=False)

    @property
    def name(self) -> str:
        """Slug of the study: the name of its results folder."""
        return self.general.name

    @property
    def main_sample(self) -> str:
        """Name of the sample used where a table names none."""
        return self.general.sample or next(iter(self.samples))

    def samples_of(self, part: Moran | Model | System | Compare) -> tuple[str, ...]:
        """Names of the samples of a Moran table or model: those it lists, else the main sample."""
        return part.samples or (self.main_sample,)

    def weights_of(self, part: Moran | Model | System | Compare) -> tuple[str, ...]:
        """Names of the weights it lists; else all for Moran tables and comparisons, the first of the file for a model."""
        every = tuple(self.weights)
        return part.weights or (every if isinstance(part, Moran | Compare) else every[:1])

    @property
    def results(self) -> Path:
        """Folder that the results go to."""
        return self.root / self.output.folder / self.general.name

    def file(self, relative: str) -> Path:
        """Where a file named in the study is on disk."""
        return self.root / relative

    def with_language(self, language: Literal["en", "zh", "both"]) -> Study:
        """Give the same study with its tables and figures in another language."""
        return replace(self, general=self.general.model_copy(update={"language": language}))

    def files(self) -> dict[str, Path]:
        """Input files by role: regions, data, reference, codebook, weights.<name> (those that are named)."""
        named = {
            "regions": self.regions.file,
            "data": self.data.file,
            "reference": self.data.reference,
            "codebook": self.data.codebook,
        }
        named |= {f"weights.{n}": w.file for n, w in self.weights.items() if isinstance(w, WeightsFile)}
        return {role: self.file(text) for role, text in named.items() if text is not None}

    def rules(self) -> dict[str, str]:
        """Rule for blank cells by column, as :func:`spatial_zb.data.missing.fill_missing` takes it."""
        return {column: entry.rule for entry in self.missing for column in entry.columns}

    def place(self, dotted: str) -> str:
        """Say where a setting is, for a message: ``"variables.talent.expression (line 41)"``."""
        return _place(dotted, self.lines)

    def settings(self) -> dict[str, Any]:
        """Give all settings, defaults included, as plain dicts, lists and numbers for the manifest."""
        single = {"study": self.general, "regions": self.regions, "data": self.data, "output": self.output}
        single |= {
            "moran": self.moran,
            "concentration": self.concentration,
            "dynamics": self.dynamics,
            "compare": self.compare,
            "maps": self.maps,
        }
        single |= {"figures": self.figures}
        plain: dict[str, Any] = {"version": STUDY_VERSION}
        plain |= {key: part.model_dump(mode="json") for key, part in single.items() if part is not None}
        for key in _LISTS:
            plain[key] = [part.model_dump(mode="json") for part in getattr(self, key)]
        for key in _NAMED:
            named = getattr(self, key)
            if key in ("indices", "coupling") and not named:
                continue
            plain[key] = {
                name: part.model_dump(mode="json", exclude={"name"}) for name, part in named.items()
            }
        return plain


# --- places and problems -----------------------------------------------------------------------------------

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


def _lines(text: str) -> dict[str, int]:
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


def _place(dotted: str, lines: Mapping[str, int]) -> str:
    line = _line(dotted, lines)
    return dotted if line is None else f"{dotted} (line {line})"


def _meant(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest known word, or list what is known."""
    known = list(dict.fromkeys(str(item) for item in known))
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known here: {listed(known, limit=20)}." if known else "none is known here."


class _Problems:
    """Mistakes found so far, to be reported together in the order of the file."""

    def __init__(self, lines: Mapping[str, int]) -> None:
        self.lines = lines
        self.found: list[tuple[str, str]] = []

    def add(self, dotted: str, message: str) -> None:
        if (dotted, message) not in self.found:
            self.found.append((dotted, message))

    def unknown(self, dotted: str, what: str, word: str, known: Iterable[str]) -> None:
        self.add(dotted, f"{what} {word!r} is not known; {_meant(word, known)}")

    def raise_any(self, path: Path) -> None:
        if not self.found:
            return
        ordered = sorted(self.found, key=lambda problem: _line(problem[0], self.lines) or 0)
        entries = [
            f"  {number}. {_place(dotted, self.lines)}: {message}"
            for number, (dotted, message) in enumerate(ordered, start=1)
        ]
        count = "1 mistake" if len(entries) == 1 else f"{len(entries)} mistakes"
        raise SpecificationError(f"{path.name} has {count}; nothing was run.\n" + "\n".join(entries))


# --- reading -----------------------------------------------------------------------------------------------


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
        raise SpecificationError(f"The project folder {home} is not there.")
    lines = _lines(content.decode("utf-8-sig"))
    _check_version(raw, path, lines)
    problems = _Problems(lines)
    parts = _sections(raw, problems)
    columns = _check_files(parts, home, allow_outside, problems)
    _check_references(parts, columns, problems)
    problems.raise_any(path)
    return Study(
        path=path.resolve(),
        root=home,
        sha256=hashlib.sha256(content).hexdigest(),
        general=parts["study"],
        regions=parts["regions"],
        data=parts["data"],
        **{key: MappingProxyType(parts[key]) for key in _NAMED},
        **{key: tuple(parts[key].values()) for key in _LISTS},
        moran=parts.get("moran"),
        concentration=parts.get("concentration"),
        dynamics=parts.get("dynamics"),
        compare=parts.get("compare"),
        maps=parts.get("maps"),
        figures=parts.get("figures"),
        output=parts.get("output") or Output(),
        lines=MappingProxyType(lines),
    )


def _home(path: Path) -> Path:
    folder = path.resolve().parent
    return folder.parent if folder.name == "studies" else folder


def _read(path: Path) -> bytes:
    if path.suffix.lower() != ".toml":
        raise SpecificationError(f"A study file is TOML and its name ends in .toml, not {path.name!r}.")
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        folder = path.parent
        others = sorted(item.name for item in folder.glob("*.toml")) if folder.is_dir() else []
        hint = f" In that folder: {listed(others)}." if others else ""
        raise SpecificationError(f"There is no study file {path}.{hint}") from None
    except OSError as error:
        raise SpecificationError(f"The study file {path} cannot be read: {error.strerror}.") from None
    if len(content) > MAX_BYTES:
        raise SpecificationError(f"{path.name} is too large for a study file (over {MAX_BYTES:,} bytes).")
    return content


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpecificationError(
            f"{path.name} is not UTF-8 text (line {line}). Save it as UTF-8 in the editor."
        ) from None
    if not text.strip():
        raise SpecificationError(f"{path.name} is empty. Start from a study in the folder studies.")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SpecificationError(f"{path.name} nests brackets too deeply to be read.") from None
    except ValueError as error:
        raise SpecificationError(
            f"{path.name} is not valid TOML: {error}.{_syntax_hint(error, text)}"
        ) from None


def _syntax_hint(error: ValueError, text: str) -> str:
    """Show the line tomllib stopped at, and name the usual slip of Chinese keyboards."""
    found = re.search(r"at line (\d+)", str(error))
    if not found:
        return ""
    line = text.split("\n")[int(found.group(1)) - 1].strip()
    slips = sorted(set(line) & set("“”‘’＝，：【】［］｛｝"))
    slip = (
        f" It has full-width punctuation ({' '.join(slips)}) where TOML wants plain ASCII." if slips else ""
    )
    return f"\n  The line is: {line[:120]}{slip}"


def _check_version(raw: Mapping[str, Any], path: Path, lines: Mapping[str, int]) -> None:
    if "version" not in raw:
        raise SpecificationError(
            f"{path.name} has no version; its first line must be version = {STUDY_VERSION}."
        )
    version = raw["version"]
    if type(version) is not int or version != STUDY_VERSION:
        raise SpecificationError(
            f"{path.name}, {_place('version', lines)}: this program reads study files of version "
            f"{STUDY_VERSION}, not {version!r}. The changelog says how to convert a file of another version."
        )


# --- sections of the file ----------------------------------------------------------------------------------


def _sections(raw: Mapping[str, Any], problems: _Problems) -> dict[str, Any]:
    """Validate each table by itself, so that one mistake hides no other."""
    for key in raw:
        if key not in _SECTIONS:
            problems.add(key, f"unknown section; {_meant(key, _SECTIONS)}")
    for key in _REQUIRED:
        if not raw.get(key):
            problems.add(key, f"the section [{key}] is required and is not in the file")
    parts: dict[str, Any] = {}
    for key, model in _TABLES.items():
        if key in raw:
            parts[key] = _validate(model, raw[key], key, problems)
    for key in _NAMED:
        tables = _table(raw.get(key, {}), key, problems)
        parts[key] = {name: _named(key, name, table, problems) for name, table in tables.items()}
    for key, model in _LISTS.items():
        parts[key] = _listed(model, raw.get(key, []), key, problems)
    if not parts["samples"]:
        parts["samples"] = {"all": Sample(name="all", label=Text("All units", "全部单元"))}
    return parts


def _table(value: object, dotted: str, problems: _Problems) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    problems.add(dotted, f"must be a table with a heading [{dotted}], not {value!r}")
    return {}


def _listed(model: type[_Section], value: object, key: str, problems: _Problems) -> dict[str, Any]:
    """Validate every ``[[key]]``, by its place."""
    if not isinstance(value, list):
        problems.add(key, f"must be written as [[{key}]], with two brackets")
        return {}
    places = [f"{key}[{number}]" for number in range(1, len(value) + 1)]
    return {
        place: _validate(model, entry, place, problems) for place, entry in zip(places, value, strict=True)
    }


def _named(key: str, name: str, value: object, problems: _Problems) -> _Section | None:
    """Validate ``[key.name]``; its heading is its name, and its label where none is given."""
    dotted = f"{key}.{name}"
    if not isinstance(value, Mapping):
        problems.add(dotted, f"must be a table with a heading [{dotted}], not {value!r}")
        return None
    _check_name(key, name, problems)
    if "name" in value:
        problems.add(f"{dotted}.name", "unknown key; the heading of the table is the name")
    model = _NAMED[key]
    if key == "weights":
        model = _weights_model(dotted, value, problems)
    if model is None:
        return None
    title = "title" if "title" in model.model_fields else "label"
    return _validate(model, {title: name, **value, "name": name}, dotted, problems)


def _check_name(key: str, name: str, problems: _Problems) -> None:
    dotted = f"{key}.{name}"
    if key in ("variables", "constants", "indices", "coupling"):
        if not name.isidentifier() or len(name) > 64:
            problems.add(dotted, "the name must be letters, digits and _ and not begin with a digit")
        elif name in RESERVED | FUNCTIONS or name.startswith("W_"):
            problems.add(dotted, f"the name {name!r} is reserved for results or functions; choose another")
    elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        problems.add(dotted, "the name goes into file names: use letters A-z, digits, _ and - only")


def _weights_model(dotted: str, value: Mapping[str, Any], problems: _Problems) -> type[_Section] | None:
    kind = value.get("kind")
    if isinstance(kind, str) and kind in _WEIGHTS:
        return _WEIGHTS[kind]
    if kind is None:
        problems.add(f"{dotted}.kind", f"is required: one of {listed(_WEIGHTS)}")
    else:
        problems.add(f"{dotted}.kind", f"{kind!r} is no kind of weights; {_meant(str(kind), _WEIGHTS)}")
    return None


def _validate(model: type[_Section], value: object, dotted: str, problems: _Problems) -> Any:
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
_INNER: Mapping[str, type[_Section]] = {
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


def _said(item: Mapping[str, Any], model: type[_Section], dotted: str) -> tuple[str, str]:
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
        return place, f"unknown key; {_meant(key, [name for name in model.model_fields if name != 'name'])}"
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


# --- files -------------------------------------------------------------------------------------------------


def _check_files(
    parts: Mapping[str, Any], home: Path, allow_outside: bool, problems: _Problems
) -> dict[str, list[str] | None]:
    """Check every path; give the columns of the data and reference tables (None where not readable here)."""
    columns: dict[str, list[str] | None] = {"file": None, "reference": None}
    for section, keys in (("regions", ["file"]), ("data", ["file", "reference", "codebook"])):
        for key in keys:
            text = getattr(parts.get(section), key, None)
            if text is None:
                continue
            place = f"{section}.{key}"
            found = _existing(text, home, allow_outside, lambda said, at=place: problems.add(at, said))
            if found is not None and section == "data" and key in columns:
                columns[key] = _header(found, lambda said, at=place: problems.add(at, said))
    for dotted, weights in _entries(parts, "weights"):
        if isinstance(weights, WeightsFile):
            place = f"{dotted}.file"
            _existing(weights.file, home, allow_outside, lambda said, at=place: problems.add(at, said))
    output = parts.get("output")
    if output is not None:
        _inside(output.folder, home, allow_outside, lambda said: problems.add("output.folder", said))
    return columns


def _inside(text: str, home: Path, allow_outside: bool, say: Callable[[str], None]) -> Path | None:
    """Resolve a path of the study file, or say why it is refused."""
    if "://" in text or text.lower().startswith(("/vsi", "\\vsi")) or text.lower().endswith(".vrt"):
        say(f"{text!r} is not a plain file: addresses, /vsi paths and VRT files are refused")
        return None
    if "\\" in text or "\0" in text:
        say(f"{text!r} must be written with forward slashes, such as data/cities.csv")
        return None
    absolute = Path(text).is_absolute() or bool(PureWindowsPath(text).drive)
    try:
        found = (home / text).resolve()
    except (OSError, RuntimeError):
        say(f"{text!r} cannot be followed to a file")
        return None
    if not allow_outside and (absolute or not found.is_relative_to(home)):
        say(f"{text!r} leaves the project folder; put the file inside it or allow outside files explicitly")
        return None
    return found


def _existing(text: str, home: Path, allow_outside: bool, say: Callable[[str], None]) -> Path | None:
    found = _inside(text, home, allow_outside, say)
    if found is None:
        return None
    try:
        if found.is_dir():
            say(f"{text!r} is a folder, not a file")
            return None
        if not found.is_file():
            beside = [item.name for item in found.parent.iterdir()] if found.parent.is_dir() else []
            near = difflib.get_close_matches(found.name, beside, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            say(f"there is no file {text!r} in the project folder{hint}")
            return None
        with found.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        say(f"the file {text!r} cannot be read: {error.strerror}")
        return None
    if not head.strip():
        say(f"the file {text!r} is empty")
        return None
    if b"<OGRVRTDataSource" in head:
        say(f"the file {text!r} is a VRT file, which may point anywhere; refused")
        return None
    return found


def _header(path: Path, say: Callable[[str], None]) -> list[str] | None:
    """Read the column names of a CSV file; other kinds are checked when they are read."""
    if path.suffix.lower() != ".csv":
        return None
    with path.open("rb") as stream:
        first = stream.readline(1_000_000)
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            names = next(csv.reader(io.StringIO(first.decode(encoding))), [])
        except (UnicodeDecodeError, csv.Error):
            continue
        return [name.strip() for name in names]
    say(f"the first line of {path.name!r} is not text in UTF-8 or GB18030")
    return None


# --- names that one part uses and another defines ----------------------------------------------------------


def _check_references(
    parts: Mapping[str, Any], headers: Mapping[str, list[str] | None], problems: _Problems
) -> None:
    columns = headers["file"]
    _check_columns(parts, columns, problems)
    _check_expressions(parts, columns, headers["reference"], problems)
    _check_samples(parts, problems)
    usable = None if columns is None else [*parts["variables"], *columns]
    _check_indices(parts, columns, usable, problems)
    usable = None if usable is None else [*parts["indices"], *parts["coupling"], *usable]
    _check_weights(parts, usable, problems)
    for key, entry in _entries(parts, "models"):
        _check_model(key, entry, parts, usable, problems)
    for key, entry in _entries(parts, "systems"):
        _check_system(key, entry, parts, usable, problems)
    if parts.get("compare") is not None:
        _check_compare(parts["compare"], parts, usable, problems)
    if parts.get("concentration") is not None:
        chosen = parts["concentration"]
        _check_known("concentration.sectors", "variable", chosen.sectors, usable, problems)
        total = [] if chosen.total is None else [chosen.total]
        _check_known("concentration.total", "variable", total, usable, problems)
    if parts.get("dynamics") is not None:
        _check_dynamics(parts["dynamics"], parts, usable, problems)
    for key in ("moran", "maps"):
        if parts.get(key) is not None:
            _check_known(f"{key}.variables", "variable", parts[key].variables, usable, problems)
    if parts.get("moran") is not None:
        _check_known("moran.weights", "weights", parts["moran"].weights, parts["weights"], problems)
        _check_known("moran.samples", "sample", parts["moran"].samples, parts["samples"], problems)
    if getattr(parts.get("maps"), "clusters", None) is not None:
        _check_known("maps.clusters", "weights", [parts["maps"].clusters], parts["weights"], problems)
    if parts.get("maps") is not None:
        _check_known("maps.bivariate", "variable", parts["maps"].bivariate, usable, problems)
    if parts.get("figures") is not None:
        _check_figures(parts["figures"], parts, usable, problems)
    _check_periods(parts, problems)


def _check_indices(
    parts: Mapping[str, Any], columns: list[str] | None, usable: list[str] | None, problems: _Problems
) -> None:
    """Variables of indices, and the two indices of a coupling; each name stands for one thing only."""
    taken = {*(columns or ()), *parts["variables"], *parts["constants"]}
    for section in ("indices", "coupling"):
        for dotted, _ in _entries(parts, section):
            name = dotted.partition(".")[2]
            if name in taken:
                problems.add(dotted, "a column, variable or index has this name; choose another")
            taken.add(name)
    for dotted, index in _entries(parts, "indices"):
        _check_known(f"{dotted}.columns", "variable", index.columns, usable, problems)
        _check_known(f"{dotted}.less", "variable of columns", index.less, index.columns, problems)
    for dotted, pair in _entries(parts, "coupling"):
        _check_known(dotted, "index", (pair.first, pair.second), parts["indices"], problems)


def _entries(parts: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    """Valid named tables of a section with their dotted places."""
    return [(f"{key}.{name}", entry) for name, entry in parts[key].items() if entry is not None]


def _check_known(
    dotted: str, what: str, names: Iterable[str], known: Collection[str] | None, problems: _Problems
) -> None:
    """Every name must be among the known ones; None = not known here, checked later."""
    if known is None:
        return
    for name in names:
        if name not in known:
            problems.unknown(dotted, what, name, known)


def _check_columns(parts: Mapping[str, Any], columns: list[str] | None, problems: _Problems) -> None:
    """Columns of the data file that the sections data, missing and suspect name."""
    data = parts.get("data")
    if data is not None and columns is not None:
        for key in ("unit", "period", "flag"):
            name = getattr(data, key)
            _check_known(f"data.{key}", "column", [] if name is None else [name], columns, problems)
    seen: set[str] = set()
    for dotted, entry in parts["missing"].items():
        if entry is None:
            continue
        _check_known(f"{dotted}.columns", "column", entry.columns, columns, problems)
        if repeated := sorted(seen & set(entry.columns)):
            problems.add(f"{dotted}.columns", f"an earlier [[missing]] has a rule for {listed(repeated)}")
        seen |= set(entry.columns)
    cells: set[tuple[str, str, int]] = set()
    for dotted, entry in parts["suspect"].items():
        if entry is None:
            continue
        _check_known(f"{dotted}.column", "column", [entry.column], columns, problems)
        cell = (entry.column, entry.unit, entry.period)
        if cell in cells:
            problems.add(dotted, "an earlier [[suspect]] names the same cell")
        cells.add(cell)


# Names of an expression: not the functions before a bracket, not the e of 1e5. Whether the expression is
# allowed at all is for spatial_zb.data.expressions to say.
_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*(?!\w)(?!\s*\()")


def _check_expressions(
    parts: Mapping[str, Any], columns: list[str] | None, reference: list[str] | None, problems: _Problems
) -> None:
    defined = [*parts["variables"], *parts["constants"]]
    for section in ("variables", "constants"):
        for name in parts[section]:
            if name in (columns or ()):
                problems.add(f"{section}.{name}", "the data file has a column of this name; choose another")
            elif section == "constants" and name in parts["variables"]:
                problems.add(f"{section}.{name}", "a variable has this name; choose another")
    for dotted, entry in _entries(parts, "variables"):
        place = f"{dotted}.expression"
        known = None if columns is None else [*columns, *defined]
        _check_known(place, "name", dict.fromkeys(_NAME.findall(entry.expression)), known, problems)
        used = re.search(r"\b(lq|krugman)\s*\(", entry.expression)
        if used is None:
            continue
        if getattr(parts.get("data"), "reference", "") is None:
            problems.add(place, f"{used[1]}() needs a reference region: name its table as data.reference")
    data = parts.get("data")
    if data is not None and reference is not None:
        _check_known("data.reference", "column", [data.period], reference, problems)


def _check_samples(parts: Mapping[str, Any], problems: _Problems) -> None:
    for dotted, entry in _entries(parts, "samples"):
        if entry.units is not None and entry.where is not None:
            problems.add(dotted, "has both units and where; keep one")
        if entry.units is not None and len(entry.units) < 2:
            problems.add(f"{dotted}.units", "a sample needs at least two units")
    main = getattr(parts.get("study"), "sample", None)
    _check_known("study.sample", "sample", [] if main is None else [main], parts["samples"], problems)


def _check_weights(parts: Mapping[str, Any], usable: list[str] | None, problems: _Problems) -> None:
    """Variables of economic weights, and parts of combined ones, which must not lead back to themselves."""
    earlier: list[str] = []
    for dotted, entry in _entries(parts, "weights"):
        if isinstance(entry, _Economic):
            _check_known(f"{dotted}.variable", "variable", [entry.variable], usable, problems)
        if isinstance(entry, Combination):
            place = f"{dotted}.parts"
            _check_known(place, "weights", entry.parts, parts["weights"], problems)
            later = [name for name in entry.parts if name in parts["weights"] and name not in earlier]
            if later:
                problems.add(place, f"{listed(later)} must stand above it in the file")
            _check_scales(place, entry, parts["weights"], problems)
        earlier.append(dotted.partition(".")[2])


def _check_scales(place: str, entry: Combination, weights: Mapping[str, Any], problems: _Problems) -> None:
    scales = {getattr(weights.get(name), "normalisation", "") for name in entry.parts}
    if entry.how == "mix" and len(scales) > 1 and "" not in scales:
        problems.add(place, f"the parts of a mixture need one normalisation, not {listed(sorted(scales))}")


def _check_model(
    dotted: str, model: Model, parts: Mapping[str, Any], usable: list[str] | None, problems: _Problems
) -> None:
    _check_known(f"{dotted}.y", "variable", [model.y], usable, problems)
    _check_known(f"{dotted}.x", "variable", model.x, usable, problems)
    _check_known(f"{dotted}.weights", "weights", model.weights, parts["weights"], problems)
    _check_known(f"{dotted}.samples", "sample", model.samples, parts["samples"], problems)
    if model.lag_x != "all":
        _check_known(f"{dotted}.lag_x", "regressor of x", model.lag_x, model.x, problems)
    if model.y in model.x:
        problems.add(f"{dotted}.x", f"the dependent variable {model.y!r} is also among the regressors")
    _check_lags_and_regimes(dotted, model, usable, problems)


def _check_lags_and_regimes(dotted: str, model: Model, usable: list[str] | None, problems: _Problems) -> None:
    """What lags in time and regimes go with; the rest is for DurbinSpec to say."""
    dynamic = model.time_lag or model.lag_time_lag
    if (dynamic or model.regimes) and not set(model.fixed_effects) <= {"unit", "two_way"}:
        problems.add(f"{dotted}.fixed_effects", "lags in time and regimes need unit or two_way effects")
    if dynamic and model.estimator in ("direct", "gmm"):
        problems.add(f"{dotted}.estimator", "with a lag in time it is lee_yu, yang or uncorrected")
    if not dynamic and model.estimator in ("yang", "uncorrected"):
        problems.add(f"{dotted}.estimator", f"{model.estimator} is about a lag in time; add time_lag = true")
    if model.regimes is None:
        return
    _check_known(f"{dotted}.regimes", "variable", [model.regimes], usable, problems)
    if dynamic or model.lag_error or model.regimes in (model.y, *model.x):
        problems.add(
            f"{dotted}.regimes",
            "regimes go neither with lags in time or of the error nor with a variable of x or y",
        )
    if model.estimator != "lee_yu" or model.covariance not in ("information", "cluster", "driscoll_kraay"):
        problems.add(
            f"{dotted}.regimes", "regimes go with lee_yu and with information, cluster or driscoll_kraay"
        )


def _check_compare(
    compare: Compare, parts: Mapping[str, Any], usable: list[str] | None, problems: _Problems
) -> None:
    _check_known("compare.model", "model", [compare.model], parts["models"], problems)
    _check_known("compare.weights", "weights", compare.weights, parts["weights"], problems)
    _check_known("compare.samples", "sample", compare.samples, parts["samples"], problems)
    for name, controls in compare.controls.items():
        _check_known(f"compare.controls.{name}", "variable", controls, usable, problems)
    battery = compare.robustness or Battery()
    for place, part in (("compare", compare), ("compare.robustness", battery)):
        _check_known(f"{place}.y", "variable", part.y, usable, problems)
        for name, others in part.x.items():
            _check_known(f"{place}.x.{name}", "variable", others, usable, problems)
    base = parts["models"].get(compare.model)
    if base is not None:
        kept = [name for name in base.x if all(name not in c for c in compare.controls.values())]
        what = f"regressor of the model {compare.model!r} that is in no set of controls"
        spatial = ("rho", "lam") if compare.effect == "coefficient" else ()
        lagged = [f"W_{name}" for name in kept] if compare.effect == "coefficient" else []
        _check_known("compare.term", what, [compare.term], [*kept, *lagged, *spatial], problems)
        _check_known("compare.x", what, compare.x, kept, problems)
        what = f"regressor of the model {compare.model!r}"
        _check_known("compare.robustness.x", what, battery.x, base.x, problems)
    data = parts.get("data")
    for name, (first, last) in battery.periods.items():
        if data is not None and not data.periods[0] <= first <= last <= data.periods[1]:
            problems.add(
                f"compare.robustness.periods.{name}",
                f"{first} to {last} lies outside data.periods, {data.periods[0]} to {data.periods[1]}",
            )


def _check_system(
    dotted: str, system: System, parts: Mapping[str, Any], usable: list[str] | None, problems: _Problems
) -> None:
    _check_known(f"{dotted}.weights", "weights", system.weights, parts["weights"], problems)
    _check_known(f"{dotted}.samples", "sample", system.samples, parts["samples"], problems)
    explained = [equation.y for equation in system.equations.values()]
    for name, equation in system.equations.items():
        place = f"{dotted}.equations.{name}"
        others = [y for y in explained if y != equation.y]
        _check_known(f"{place}.y", "variable", [equation.y], usable, problems)
        _check_known(f"{place}.x", "variable", equation.x, usable, problems)
        _check_known(
            f"{place}.endog", "dependent variable of another equation", equation.endog, others, problems
        )
        if equation.lag_endog != "all":
            what = "dependent variable of another equation"
            _check_known(f"{place}.lag_endog", what, equation.lag_endog, others, problems)
        if equation.lag_x != "all":
            _check_known(f"{place}.lag_x", "regressor of x", equation.lag_x, equation.x, problems)


def _check_figures(
    figures: Figures, parts: Mapping[str, Any], usable: list[str] | None, problems: _Problems
) -> None:
    """Every model.variable and system.equation.source must be one that the file has."""
    models, systems = parts["models"], parts["systems"]
    effects = [f"{name}.{x}" for name, model in models.items() if model is not None for x in model.x]
    _check_known("figures.effects", "model.variable", figures.effects, effects, problems)
    shocks = []
    for name, system in systems.items():
        equations = {} if system is None else system.equations
        sources = dict.fromkeys([*equations, *(x for equation in equations.values() for x in equation.x)])
        shocks += [f"{name}.{response}.{source}" for response in equations for source in sources]
    what = "system.equation.source"
    _check_known("figures.system_effects", what, figures.system_effects, shocks, problems)
    _check_known("figures.correlogram", "variable", figures.correlogram, usable, problems)


def _check_dynamics(
    dynamics: Dynamics, parts: Mapping[str, Any], usable: list[str] | None, problems: _Problems
) -> None:
    for key in ("densities", "ellipses", "inequality", "sigma", "beta", "controls"):
        _check_known(f"dynamics.{key}", "variable", getattr(dynamics, key), usable, problems)
    single = ("population", "variable", usable), ("weights", "weights", parts["weights"])
    for key, what, known in single:
        name = getattr(dynamics, key)
        _check_known(f"dynamics.{key}", what, [] if name is None else [name], known, problems)
    if taken := [name for name in dynamics.beta if name in dynamics.controls]:
        problems.add("dynamics.controls", f"{listed(taken)} is also among beta")


def _check_periods(parts: Mapping[str, Any], problems: _Problems) -> None:
    data = parts.get("data")
    if data is None:
        return
    first, last = data.periods
    for key in ("maps", "dynamics"):
        if parts.get(key) is not None:
            outside = [period for period in parts[key].periods if not first <= period <= last]
            if outside:
                problems.add(
                    f"{key}.periods", f"{listed(outside)} lies outside data.periods, {first} to {last}"
                )
    for dotted, constant in _entries(parts, "constants"):
        blank = [period for period in range(first, last + 1) if period not in constant.values]
        if blank:
            problems.add(f"{dotted}.values", f"has no number for {listed(blank)}")
