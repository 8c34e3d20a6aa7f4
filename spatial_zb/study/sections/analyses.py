"""Sections on analyses and their output: exploration, models, systems, comparison, maps, figures, files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.text import ListedEffects
from spatial_zb.study.values import (
    Bounds,
    Breaks,
    Center,
    CovarianceKind,
    EffectsKind,
    EstimatorKind,
    Family,
    FigureFormat,
    Finite,
    Label,
    Listed,
    ModelEffects,
    Names,
    Pairs,
    Periods,
    Positive,
    Refusal,
    Section,
    Shares,
    Some,
    SomeNames,
    Span,
    TableFormat,
    Word,
    as_tuple,
    as_where,
    distinct,
)


class Moran(Section):
    """``[moran]``: variables, weights and samples of the Moran tables. Blank = all weights, main sample.

    ``bivariate`` are pairs of variables: the first of a unit with the second of its neighbours. ``pooled`` adds one I of
    all periods together to every variable.
    """

    variables: SomeNames
    bivariate: Pairs = ()
    pooled: bool = False
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
            raise Refusal(
                f"plant_hhi needs one number for each of {listed(self.sectors)}, and no other",
                f"plant_hhi须为{listed_zh(self.sectors)}各给一个数，且不得有其他",
            )
        return self


class Dynamics(Section):
    """``[dynamics]``: how distributions over the main sample move.

    Each list names variables, which must be positive but in ``densities``. ``densities``: kernel density by period,
    of values over their mean with ``relative``. ``ellipses``: centre of gravity and deviation ellipse of amounts.
    ``inequality``: Theil (weighted by ``population``) and Dagum's Gini, parted by ``groups``, a column of the
    polygons. ``sigma``: dispersion and its trend, by ``groups`` too. ``beta``: growth on the initial level,
    absolute, and with ``fixed_effects`` and ``controls`` over growth periods of ``horizon`` without W and, with
    ``weights``, as a spatial Durbin model. ``periods`` are those that figures show; blank = first, middle, last.
    ``bounds`` are the possible ends of a variable, by name: its density stays between them.
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
    bounds: Annotated[dict[Word, Bounds], Field()] = Field(default_factory=dict)

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables it asks for, each once."""
        names = (*self.densities, *self.ellipses, *self.inequality, *self.sigma, *self.beta, *self.controls)
        return tuple(dict.fromkeys((*names, *([self.population] if self.population else []))))

    @model_validator(mode="after")
    def _something_to_do(self) -> Dynamics:
        if not (self.densities or self.ellipses or self.inequality or self.sigma or self.beta):
            raise Refusal(
                "needs variables in densities, ellipses, inequality, sigma or beta",
                "densities、ellipses、inequality、sigma或beta中须有变量",
            )
        if self.inequality and self.groups is None:
            raise Refusal(
                "inequality needs groups, a column of the polygons such as 'prov'",
                "inequality须有groups，即底图中的一列，如'prov'",
            )
        if strange := [name for name in self.bounds if name not in self.densities]:
            raise Refusal(
                f"bounds are of variables in densities, not of {listed(strange)}",
                f"bounds须为densities中的变量，而不是{listed_zh(strange)}",
            )
        if (self.controls or self.weights) and not self.beta:
            raise Refusal(
                "controls and weights belong to beta, which names no variable",
                "controls与weights属于beta，而beta没有变量",
            )
        return self


class Model(Section):
    """``[models.<name>]``: one equation over weights, samples and fixed effects.

    Blank weights = the first of the file, blank samples = the main sample. ``time_lag`` and ``lag_time_lag`` add y and
    Wy of the period before; ``regimes`` names a variable with two values or more, by which the coefficients differ, but for
    those that ``common`` names; ``bias_correction`` is that of ``gmm``. ``fixed_effects`` gives a column each; effects in a
    list of their own are those of one column. ``W_x`` and ``W_error`` name weights of these lags.

    Without ``covariance`` the robust score has clustered errors, other estimators the information matrix.
    """

    name: str
    title: Label
    y: Word
    x: SomeNames
    lag_y: bool = True
    lag_x: Literal["all"] | Names = "all"
    lag_error: bool = False
    fixed_effects: Some[ModelEffects] = ("two_way",)
    weights: Names = ()
    W_x: Word | None = None
    W_error: Word | None = None
    samples: Names = ()
    time_lag: bool = False
    lag_time_lag: bool = False
    regimes: Word | None = None
    common: Names = ()
    estimator: Literal["lee_yu", "direct", "gmm", "robust_score", "yang", "uncorrected"] = "lee_yu"
    covariance: Literal[
        "information",
        "hessian",
        "sandwich",
        "cluster",
        "cr1",
        "cr2",
        "driscoll_kraay",
        "spatial_hac",
        "conley",
        "robust",
    ] = "information"
    bandwidth_km: Positive | None = None
    effects: Literal["delta", "simulate", "fieller"] = "delta"
    bias_correction: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_covariance(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("estimator") == "robust_score":
            return {"covariance": "cluster"} | given
        return given

    @property
    def effect_variables(self) -> tuple[str, ...]:
        """Variables by whose values there are effects, as in ``["unit", "province*period"]``."""
        listed_ones = [effects for effects in self.fixed_effects if isinstance(effects, ListedEffects)]
        names = {part for one in listed_ones for name in one.split(" + ") for part in name.split("*")}
        return tuple(sorted(names - {"unit", "period", "trend"}))

    @property
    def fit_options(self) -> dict[str, Any]:
        """How ``fit_durbin`` is asked for it."""
        return {name: getattr(self, name) for name in ("estimator", "covariance", "bias_correction")}


class Equation(Section):
    """``[systems.<name>.equations.<equation>]``: one equation of a system."""

    y: Word
    endog: Names = ()
    x: Names = ()
    lag_y: bool = True
    lag_endog: Literal["all"] | Names = "all"
    lag_x: Literal["all"] | Names = ()
    lag_error: bool = False
    time_lag: bool | Names | None = None
    lag_time_lag: bool | Names | None = None


class System(Section):
    """``[systems.<name>]``: spatial simultaneous equations over weights, samples and methods.

    ``covariance`` is of all methods: FIML has its information matrix for ``"classical"``, and errors clustered by unit for
    the others. ``bias_correction`` is of the instrumental methods. ``sets`` asks for sets of each equation's endogenous
    coefficients that hold however weak the instruments are, beside the intervals of the first method. Blank weights and
    samples are those of :class:`Model`.

    ``time_lag`` and ``lag_time_lag`` add all dependent variables of the period before and their spatial lags to every
    equation (an equation may name its own); the method is then FIML, and errors are clustered by unit. ``granger`` (true)
    tests who leads whom; a number is that of panels for bootstrap p-values. ``responses`` (10) are the periods after a
    shock that are shown, 0 none, and ``shocks`` units, by id, whose shock is mapped over all others.
    """

    name: str
    title: Label
    equations: Annotated[dict[str, Equation], Field(min_length=1)]
    fixed_effects: Literal["none", "unit", "time", "two_way"] = "two_way"
    methods: Some[Literal["2sls", "3sls", "gs2sls", "gs3sls", "fiml"]] = ("gs3sls",)
    covariance: Literal["classical", "robust", "cluster", "cr1", "cr2"] = "classical"
    bias_correction: bool | None = None
    sets: bool = False
    time_lag: bool = False
    lag_time_lag: bool = False
    granger: bool | Annotated[int, Field(ge=99, le=99_999)] = True
    responses: Annotated[int, Field(ge=0, le=40)] = 10
    shocks: Names = ()
    weights: Names = ()
    samples: Names = ()

    @model_validator(mode="before")
    @classmethod
    def _of_a_likelihood(cls, given: Any) -> Any:
        """With lags in time FIML is the method where none is named, and limits of responses need clustered errors."""
        if isinstance(given, dict) and (given.get("time_lag") or given.get("lag_time_lag")):
            return {"methods": ["fiml"], "covariance": "cluster"} | given
        return given


class Scenario(Section):
    """``[scenarios.<name>]``: what changes in some units do to all of them, by a model or a system of the study.

    ``of`` names the model (its last fixed effects, first weights and sample) or the system (its first method that is
    stable). ``changes`` are by unit and variable, in units of the variable; a dependent variable of a system is pushed from
    outside. With lags in time ``horizons`` are the periods ahead, and ``change`` is of one period or lasts. ``period`` is
    for a model whose W or units change between periods: when the change happens, the last one where none is named.
    """

    name: str
    title: Label
    of: Word
    changes: Annotated[dict[str, dict[str, Finite]], Field(min_length=1)]
    horizons: Annotated[int, Field(ge=0, le=100)] | None = None
    change: Literal["permanent", "one_off"] = "permanent"
    period: int | None = None


class Battery(Section):
    """``[compare.robustness]``: the base model again under every change, one at a time.

    ``drop`` are units left out together, by name; ``periods`` sub-periods ``[first, last]`` by name. ``y`` and ``x`` are
    measures beside those of ``[compare]``, whose weights it shares.
    """

    lag_x: bool = True
    drop: Annotated[dict[str, SomeNames], BeforeValidator(as_where)] = Field(default_factory=dict)
    winsorise: Shares = (0.01, 0.05)
    periods: dict[str, Span] = Field(default_factory=dict)
    covariances: Annotated[tuple[CovarianceKind, ...], BeforeValidator(as_tuple)] = ()
    estimators: Annotated[tuple[EstimatorKind, ...], BeforeValidator(as_tuple), AfterValidator(distinct)] = ()
    y: Names = ()
    x: Annotated[dict[str, SomeNames], BeforeValidator(as_where)] = Field(default_factory=dict)
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
    controls: Annotated[dict[str, Names], BeforeValidator(as_where)] = Field(default_factory=dict)
    y: Names = ()
    x: Annotated[dict[str, SomeNames], BeforeValidator(as_where)] = Field(default_factory=dict)
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
    """``[maps]``: choropleths of some variables in some periods; without ``periods`` in the last.

    ``labels`` names all units, the groups, none, or a list of units; ``auto`` leaves it to their number.
    ``breaks`` are inner edges of the classes of one's own, and ``center`` the value at which blue turns red, for all
    variables or by variable; ``"auto"`` is zero for a variable that has values on both sides of it, ``"none"`` never
    parts the colours. ``clusters`` names the weights of maps of local clusters (local Moran's I), whose p-values are
    corrected by ``adjust`` and compared with ``alpha``; none are drawn without it.
    ``bivariate`` names two variables for one map of both, in three classes each. ``locator`` shows in a small map
    where among all regions of the file those of the main sample are. ``review_number`` is the 审图号 of these maps, or
    ``"none"`` for no line about it.
    """

    variables: SomeNames
    periods: Periods = ()
    scheme: Literal["quantile", "natural", "equal", "std"] = "quantile"
    classes: Annotated[int, Field(ge=2, le=9)] = 5
    breaks: Breaks | None = None
    center: Center = "auto"
    labels: Literal["auto", "all", "groups", "none"] | Listed = "auto"
    clusters: Names = ()
    adjust: Literal["fdr", "bonferroni", "none"] = "fdr"
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    bivariate: Annotated[Names, Field(max_length=2)] = ()
    locator: bool = False
    review_number: str = ""

    @property
    def by_variable(self) -> dict[str, tuple[str, ...]]:
        """Variables that its keys name beside ``variables``."""
        named = {key: getattr(self, key) for key in ("breaks", "center")}
        found = {key: tuple(given) for key, given in named.items() if isinstance(given, dict)}
        return {"bivariate": self.bivariate} | found

    def breaks_of(self, variable: str) -> tuple[float, ...] | None:
        """The inner edges asked for, None where the scheme finds them."""
        return self.breaks.get(variable) if isinstance(self.breaks, dict) else self.breaks

    def center_of(self, variable: str) -> float | Literal["auto", "none"]:
        """The value that parts the colours, or how it is found."""
        return self.center.get(variable, "auto") if isinstance(self.center, dict) else self.center

    @model_validator(mode="after")
    def _two_or_none(self) -> Maps:
        if len(self.bivariate) == 1:
            raise Refusal("bivariate needs two variables", "bivariate须有两个变量")
        return self


class Figures(Section):
    """``[figures]``: what the models say by unit, by round of feedback and by distance.

    ``effects`` are ``"model.variable"``: maps of the effects each unit receives and emits, and effects by round
    of feedback up to ``orders``, from the model's last fixed effects, first weights and first sample.
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

    ``crosscheck`` computes models, LM tests, Moran's I and W by spreg, esda and libpysal too, and puts the numbers side by
    side (``pip install 'spatial-zb[crosscheck]'``).
    ``report`` is the offline page ``report.html``, ``paper`` the article ``paper.docx`` and ``paper.tex``.

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
    crosscheck: bool = False
    paper: bool = True

    @property
    def table_settings(self) -> dict[str, Any]:
        """What :func:`spatial_zb.report.tables.table.journal_style` takes."""
        changes = {name: getattr(self, name) for name in ("digits", "stars", "errors", "error_position")}
        return {"journal": self.journal} | {name: v for name, v in changes.items() if v is not None}
