"""The sections of a study file, as frozen records; every key that is not named here is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from spatial_zb.errors import listed
from spatial_zb.study.values import (
    Alone,
    Base,
    CovarianceKind,
    EffectsKind,
    EstimatorKind,
    Family,
    FigureFormat,
    Finite,
    Islands,
    Label,
    Listed,
    Metric,
    Names,
    Normalisation,
    Periods,
    Positive,
    Shares,
    Some,
    SomeNames,
    Span,
    TableFormat,
    Word,
    as_tuple,
    as_where,
    by_period,
    distinct,
    filled,
    from_list,
    replicates,
    slug,
)

__all__ = [
    "LISTS",
    "NAMED",
    "REQUIRED",
    "SECTION_NAMES",
    "TABLES",
    "WEIGHT_KINDS",
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
    "Economic",
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
    "Section",
    "Suspect",
    "System",
    "Variable",
    "Weight",
    "WeightsFile",
]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)


class General(Section):
    """``[study]``: who the study is and the numbers every stage shares.

    ``bootstrap``: replicates for p-values of the test chain under its null hypotheses; 0 for none.
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
    """``[regions]``: the polygons."""

    file: Word
    id: Word
    projected_crs: Annotated[str, Field(pattern=r"^[A-Z]+:[0-9]{3,6}$")] = "EPSG:4549"
    source: Label | None = None
    review_number: str = ""


class Data(Section):
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
    limits: Annotated[tuple[Label, ...], BeforeValidator(from_list)] = ()


class Missing(Section):
    """``[[missing]]``: what happens to blank cells of some columns, and why."""

    columns: SomeNames
    rule: Literal["error", "interpolate", "median_growth", "drop_units", "drop_periods"]
    reason: Label


class Suspect(Section):
    """``[[suspect]]``: a printed figure that is treated as a blank cell, and why.

    The rule of its column in ``[[missing]]`` then says what happens to it.
    """

    column: Word
    unit: Word
    period: int
    reason: Label


class Constant(Section):
    """``[constants.<name>]``: one number per period, the same for all units, usable in expressions."""

    name: str
    label: Label
    source: Label
    values: Annotated[dict[int, Finite], BeforeValidator(by_period)]


class Variable(Section):
    """``[variables.<name>]``: a derived variable."""

    name: str
    label: Label
    expression: Word


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


class _Weights(Section):
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


class Economic(Section):
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


class Sample(Section):
    """``[samples.<name>]``: all units, those listed, or those whose region columns have given values."""

    name: str
    label: Label
    units: Names | None = None
    where: Annotated[dict[str, SomeNames], BeforeValidator(as_where)] | None = None


class Moran(Section):
    """``[moran]``: variables, weights and samples of the Moran tables. Blank = all weights, main sample."""

    variables: SomeNames
    weights: Names = ()
    samples: Names = ()


class Concentration(Section):
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


class Dynamics(Section):
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


class Model(Section):
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


class Equation(Section):
    """``[systems.<name>.equations.<equation>]``: one equation of a system."""

    y: Word
    endog: Names = ()
    x: Names = ()
    lag_y: bool = True
    lag_endog: Literal["all"] | Names = "all"
    lag_x: Literal["all"] | Names = ()
    lag_error: bool = False


class System(Section):
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


class Battery(Section):
    """``[compare.robustness]``: the base model again under every change, one at a time.

    ``drop`` are units left out together, by name; ``periods`` sub-periods ``[first, last]`` by name. ``y`` and ``x`` are
    measures beside those of ``[compare]``, whose weights it shares.
    """

    lag_x: bool = True
    drop: Annotated[dict[str, SomeNames], BeforeValidator(as_where)] = {}
    winsorise: Shares = (0.01, 0.05)
    periods: dict[str, Span] = {}
    covariances: Annotated[tuple[CovarianceKind, ...], BeforeValidator(as_tuple)] = ()
    y: Names = ()
    x: Annotated[dict[str, SomeNames], BeforeValidator(as_where)] = {}
    leave_one_out: bool = True


class CurveTest(Section):
    """``[compare.curve]``: the joint test of the specification curve."""

    replicates: Annotated[int, Field(ge=19, le=99_999)] = 499
    scheme: Literal["unit", "period"] = "unit"


class Probabilities(Section):
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


class Compare(Section):
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
    models: Annotated[tuple[Family, ...], BeforeValidator(as_tuple), AfterValidator(distinct)] = ()
    controls: Annotated[dict[str, Names], BeforeValidator(as_where)] = {}
    y: Names = ()
    x: Annotated[dict[str, SomeNames], BeforeValidator(as_where)] = {}
    fixed_effects: Annotated[
        tuple[EffectsKind, ...], BeforeValidator(as_tuple), AfterValidator(distinct)
    ] = ()
    estimators: Annotated[tuple[EstimatorKind, ...], BeforeValidator(as_tuple), AfterValidator(distinct)] = ()
    covariances: Annotated[
        tuple[CovarianceKind, ...], BeforeValidator(as_tuple), AfterValidator(distinct)
    ] = ()
    robustness: Battery | None = None
    curve: CurveTest | None = None
    probabilities: Probabilities | None = None


class Maps(Section):
    """``[maps]``: choropleths of some variables in some periods.

    ``labels`` names all units, the groups, none, or a list of units; ``auto`` leaves it to their number.
    ``clusters`` names the weights of maps of local clusters (local Moran's I); none are drawn without it.
    ``bivariate`` names two variables for one map of both, in three classes each. ``locator`` shows in a small map
    where among all regions of the file those of the main sample are.
    """

    variables: SomeNames
    periods: Annotated[Periods, AfterValidator(filled)]
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


class Figures(Section):
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
    thresholds: Annotated[tuple[Positive, ...], BeforeValidator(as_tuple), AfterValidator(distinct)] = ()
    reach: Literal["beyond", "within"] = "beyond"


class Output(Section):
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
TABLES: Mapping[str, type[Section]] = {
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
NAMED: Mapping[str, type[Section] | None] = {
    "constants": Constant,
    "variables": Variable,
    "indices": Index,
    "coupling": Coupling,
    "weights": None,  # by kind
    "samples": Sample,
    "models": Model,
    "systems": System,
}
LISTS: Mapping[str, type[Section]] = {"missing": Missing, "suspect": Suspect}
REQUIRED = ("study", "regions", "data", "weights")
SECTION_NAMES = ("version", *TABLES, *NAMED, *LISTS)
