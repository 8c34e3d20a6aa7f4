"""What a reader of an estimated system has to know."""

from __future__ import annotations

import numpy as np

from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.notes import Kind, Note, about, quoted
from spatial_zb.base.text import Text
from spatial_zb.core.likelihood.errors import Errors, autocorrelation, correlation_test, place_of, place_test
from spatial_zb.core.system.fiml import SINGULAR, smallest_correlation
from spatial_zb.core.unit_rows import RowErrors
from spatial_zb.models.ml import CORRELATED, CORRELATED_P, HIGHEST, TIED_P
from spatial_zb.models.notes import BOOTSTRAP, few_units, not_positive, textbook_moments
from spatial_zb.models.spec import CLUSTERED
from spatial_zb.models.system.dynamic import OVER_TIME, REJECTED, notes_over_time
from spatial_zb.models.system.fit import VERY_WEAK_F, SystemFit
from spatial_zb.weights.periods import PeriodWeights

#: Up to this many units standard errors are called approximate (docs/validation/system.md).
SMALL_N = 30
#: Up to this many units a cluster covariance that is not CR2 is too small (docs/validation/system.md).
FEW_CLUSTERS = 30
#: More instruments than this share of unit-periods pull 2SLS towards least squares.
INSTRUMENT_SHARE = 0.1

PAGE, LIFELIKE = "spatial-zb docs validation/system", "spatial-zb docs validation/lifelike"


def notes_on(fit: SystemFit) -> tuple[Note, ...]:
    """Everything that a reader of a system should know."""
    notes = [
        *fit.design.notes,
        *_solution(fit),
        *_peaks(fit),
        *_instruments(fit),
        *_rejected(fit),
        *_structure(fit),
        *_errors(fit),
        *_sample(fit),
        *(notes_over_time(fit) if fit.spec.dynamic and fit.converged else []),
    ]
    return about(fit.subject, notes)


def _solution(fit: SystemFit) -> list[Note]:
    notes = []
    if fit.convergence.at_bound:
        notes.append(no_solution_of_system(_without_maximum(fit)))
    elif not fit.converged:
        notes.append(not_positive())
    if fit.convergence.corrected is False:
        notes.append(textbook_moments())
    return notes


def _without_maximum(fit: SystemFit) -> str:
    if fit.method != "fiml":
        return "moments"
    return "repeated" if smallest_correlation(fit.sigma.to_numpy()) < SINGULAR else "likelihood"


def _peaks(fit: SystemFit) -> list[Note]:
    notes = []
    modes = [value for value in fit.convergence.modes if value > fit.log_likelihood - 2]
    if len(modes) > 1:
        notes.append(peaks_of_system(tuple(modes)))
    edge = fit.convergence.edge
    if fit.converged and edge > fit.log_likelihood:
        notes.append(higher_edge(edge))
    elif fit.convergence.unbounded:
        notes.append(near_edge(fit.log_likelihood - edge, fit.convergence.reach))
    return notes


def _instruments(fit: SystemFit) -> list[Note]:
    """Of a likelihood only what tells its equations apart, since it has no instruments."""
    found = fit.identification()
    if fit.method == "fiml":
        apart = found[found["rank"] < found["rank_needed"]]
        return [told_by_errors(row.equation) for row in apart.itertuples()]
    count, cells = len(fit.instruments), len(fit.panel.units) * len(fit.panel.periods)
    by = "moments" if fit.bias_correction else "textbook"
    many = [too_many_instruments(count, cells, by)] if count > INSTRUMENT_SHARE * cells else []
    very = "very" if fit.design.rows is None else "rows"
    return many + [
        weak_equation((row.equation,), row.effective_f, by if row.effective_f >= VERY_WEAK_F else very)
        for row in found[found["weak"]].itertuples()
    ]


def _rejected(fit: SystemFit) -> list[Note]:
    """Exclusions that the data reject, by the variable whose exclusion they reject most."""
    found = fit.identification()
    rejected = found[found["j_p"] < REJECTED]
    if not len(rejected):
        return []
    tests, notes = fit.exclusion_tests(), []
    for row in rejected.itertuples():
        own = tests[(tests["equation"] == row.equation) & (tests["p_value"] < REJECTED)]
        most = own.loc[own["p_value"].idxmin()] if len(own) else None
        names = () if most is None else (str(most["variable"]),)
        others = np.nan if most is None else float(most["p_others"])
        notes.append(exclusions_rejected(row.equation, row.j_p, names, others))
    return notes


def _structure(fit: SystemFit) -> list[Note]:
    notes = []
    unit = fit.convergence.sigma_unit
    if unit is not None and np.linalg.eigvalsh(unit)[0] < 0:
        notes.append(no_unit_effects())
    stability = fit.stability()
    if not stability.stable:
        notes.append(system_not_stable(stability.strength, stability.determinant))
    return notes


def _errors(fit: SystemFit) -> list[Note]:
    """Errors that go together over time, or variances that go with the place in W, where these are not allowed for."""
    if not fit.converged:
        return []
    spatial = bool(np.any(fit.design.arrays.lag_error))
    notes = (
        _tied(fit, spatial) if fit.spec.uses_weights and (spatial or fit.covariance not in CLUSTERED) else []
    )
    if spatial and not notes:
        notes = [lam_of_system()]
    return notes if fit.covariance in CLUSTERED else [*notes, *_lasting(fit)]


def _tied(fit: SystemFit, spatial: bool) -> list[Note]:
    """Together the tests of the equations find equal variances unequal in TIED_P of panels at most."""
    p = {name: _place_p(fit, e) for name, e in fit.errors.items() if 1 + e.within < e.T}
    tied = tuple(name for name in p if p[name] < TIED_P / len(fit.spec.names))
    return [tied_in_system(tied, min(p[name] for name in tied), spatial)] if tied else []


def _place_p(fit: SystemFit, errors: Errors | RowErrors) -> float:
    """p-value of equal variances against the place of units in W; NaN where W is too large by period."""
    rows = fit.design.rows
    if isinstance(errors, Errors):
        return place_test(errors, fit.weights.matrix)[3]
    return (
        place_of(errors, rows.places[errors.units])[3] if rows is not None and rows.weights.dense else np.nan
    )


def _lasting(fit: SystemFit) -> list[Note]:
    found = {name: correlation_test(errors) for name, errors in fit.errors.items()}
    lasting = {
        name: a
        for name, (_, p) in found.items()
        if p < CORRELATED_P and (a := autocorrelation(fit.errors[name])) >= CORRELATED
    }
    if not lasting:
        return []
    strongest = max(lasting, key=lambda name: lasting[name])
    numbers = *found[strongest], min(lasting[strongest], HIGHEST)
    return [correlated_equations(tuple(lasting), *numbers, fit.covariance)]


def _dense(fit: SystemFit) -> bool:
    """Whether W, or one of those by period, links most pairs of units."""
    W = fit.weights
    return any(one.dense for one in W.weights.values()) if isinstance(W, PeriodWeights) else W.dense


def _sample(fit: SystemFit) -> list[Note]:
    notes = []
    n, T = len(fit.panel.units), len(fit.panel.periods)
    if fit.design.rows is not None:  # drawn by no bootstrap; CR2 has its own degrees of freedom
        if n <= SMALL_N and fit.covariance not in CLUSTERED:
            notes.append(few_units(n, int(fit.design.rows.present.sum()), 'covariance="cluster"', PAGE))
    elif n <= SMALL_N and fit.spec.uses_weights:
        notes.append(few_units(n, n * T, BOOTSTRAP, OVER_TIME if fit.spec.dynamic else PAGE))
    if fit.covariance in CLUSTERED and fit.clusters is None and n <= FEW_CLUSTERS:
        notes.append(few_units_for_clusters(n))
    timed = fit.spec.fixed_effects in ("time", "two_way")
    if _dense(fit) and timed and fit.spec.lags_endogenous:
        by = "fiml" if fit.method == "fiml" else "moments" if fit.bias_correction else "textbook"
        notes.append(dense_weights(fit.weights.label, by, PAGE))
    return notes


# Words ----------------------------------------------------------------------------------------------------


@Kind
def no_solution_of_system(why: str) -> Text:
    """A system without a solution: of its ``moments``, for ``repeated`` equations, or of its ``likelihood``."""
    reason = {
        "moments": Text(
            "the moments of λ have no minimum inside the admissible region", "λ的矩条件在容许区间内没有极小值"
        ),
        "repeated": Text(
            "the likelihood rises towards equations that are multiples of each other, so the data cannot tell them apart "
            "(weak identification)",
            "似然函数趋向各方程互为倍数的情形而上升，数据无法区分各方程（弱识别）",
        ),
        "likelihood": Text(
            "the likelihood has no maximum inside the admissible region", "似然函数在容许区域内没有极大值"
        ),
    }[why]
    return Text(f"{reason.en}: no standard error is claimed", f"{reason.zh}，不给出标准误")


@Kind
def peaks_of_system(heights: tuple[float, ...]) -> Text:
    """ln L of maxima of nearly the same height."""
    shown = [f"{value:.3f}" for value in heights]
    return Text(
        f"the likelihood has peaks of nearly the same height ({listed(shown)})",
        f"似然函数有高度相近的多个峰（{listed_zh(shown)}）",
    )


@Kind
def higher_edge(height: float) -> Text:
    """A climb that ended higher, without a maximum."""
    return Text(
        f"another start climbs to an edge without a maximum where ln L is higher ({height:.3f}): the likelihood identifies "
        "the system weakly",
        f"另一初值趋向没有极大值的边界，且对数似然更高（{height:.3f}）：似然对方程组的识别较弱",
    )


@Kind
def near_edge(below: float, reach: float) -> Text:
    """A maximum from which ln L falls too little on the way to equations that are multiples of each other."""
    return Text(
        f"on the way to equations that become one relation ln L falls by {below:.2f} only, less than the {reach:.2f} that a "
        "95 % interval reaches: coefficients of other equations have no bound in these data, whatever their standard errors "
        "say, and effects are n.c. Exclude a variable that matters from each equation, or read zb.confidence_set",
        f"在各方程趋于同一关系的方向上，lnL仅下降{below:.2f}，小于95%置信区间所及的{reach:.2f}：无论标准误如何，"
        "数据对其他方程变量的系数没有限定，效应不予计算。请从每个方程中排除一个重要变量，或改看zb.confidence_set",
    )


@Kind
def weak_equation(equations: tuple[str, ...], f: float, by: str) -> Text:
    """The effective F of an equation of a system, and what simulations found at such an F, by which moments."""
    found = {
        "very": Text(
            "they say next to nothing of its γ and ψ: at 1.3 simulated intervals of γ hold the truth in 73 to 86 %. Use "
            'method="fiml", which needs no instruments, or leave these coefficients uninterpreted',
            '它们几乎不能说明其γ与ψ：F为1.3的模拟中γ的区间覆盖率只有73%至86%。请用method="fiml"，它不需要工具变量，或不解读这些系数',
        ),
        "rows": Text(
            "they say next to nothing of its γ and ψ: at 1.3 simulated intervals of γ hold the truth in 73 to 86 %. Leave "
            'these coefficients uninterpreted, or use method="fiml" for the units that are always there',
            "它们几乎不能说明其γ与ψ：F为1.3的模拟中γ的区间覆盖率只有73%至86%。请不解读这些系数，"
            '或对各期齐全的地区用method="fiml"',
        ),
        "moments": Text(
            "in simulations at 5.7 intervals of its γ hold the truth in 91 to 93 % instead of 95 %",
            "F为5.7的模拟中其γ的区间覆盖率为91%至93%，而不是95%",
        ),
        "textbook": Text(
            "in simulations at 5.7 its γ and ψ are pulled towards least squares, and intervals of γ hold the truth in 91 % "
            "instead of 95 %",
            "F为5.7的模拟中其γ与ψ偏向最小二乘，γ的区间覆盖率为91%，而不是95%",
        ),
    }[by]
    names = quoted(equations, "en"), quoted(equations, "zh")
    return Text(
        f"instruments of {names[0]} are weak (effective F {f:.1f}): {found.en} ({PAGE})",
        f"{names[1]}的工具变量较弱（有效F为{f:.1f}）：{found.zh}（{PAGE}）",
    )


@Kind
def told_by_errors(equation: str) -> Text:
    """An equation that only a likelihood tells from a mixture of equations and their spatial lags."""
    return Text(
        f"no exogenous variable tells {equation!r} from a mixture with the spatial lag of another equation: it is "
        "identified only if its errors are independent over space",
        f"没有外生变量能把{equation!r}与其他方程空间滞后的混合区分开：只有误差在空间上独立时才可识别",
    )


@Kind
def exclusions_rejected(equation: str, p: float, variables: tuple[str, ...], others: float) -> Text:
    """A J that rejects, and of which variable the data say most clearly that it may not be left out."""
    most = Text("", "")
    if variables:
        names = quoted(variables, "en"), quoted(variables, "zh")
        rest = Text("", "")
        if not np.isnan(others):  # where J tests no more than that
            rest = Text(f" (p of J without it {others:.2g})", f"（不计它时J的p值为{others:.2g}）")
        most = Text(
            f"; most clearly that {names[0]} may be left out{rest.en}",
            f"；最明显的是{names[1]}不应排除{rest.zh}",
        )
    return Text(
        f"the data reject what {equation!r} leaves out (J, p = {p:.2g}){most.en}: its γ and ψ rest on that, see "
        "exclusion_tests()",
        f"数据拒绝{equation!r}的排除约束（J检验p值为{p:.2g}）{most.zh}：其γ与ψ以此为前提，见exclusion_tests()",
    )


@Kind
def too_many_instruments(instruments: int, cells: int, by: str) -> Text:
    """More than a tenth of the unit-periods; whether their bias is taken off, ``by`` which moments."""
    does = {
        "textbook": Text("estimates lean towards least squares", "估计值偏向最小二乘"),
        "moments": Text(
            "their bias is taken off, the spread they cause is not", "其偏误已扣除，所致的离散没有"
        ),
    }[by]
    return Text(
        f"{instruments} instruments for {cells} unit-periods, more than a tenth: {does.en}. Use fewer powers "
        "(instrument_powers=1) or fewer exogenous variables",
        f"{cells}个观测值用了{instruments}个工具变量，超过十分之一：{does.zh}。请减少W的幂次（instrument_powers=1）或外生变量",
    )


@Kind
def no_unit_effects() -> Text:
    """Unit effects whose estimated covariance is not positive definite."""
    return Text(
        "units differ less than noise alone would make them (the covariance of the unit effects is not positive definite): "
        "random effects are not supported by the data",
        "地区间差异小于噪声本身所致（个体效应协方差矩阵不正定）：数据不支持随机效应",
    )


@Kind
def system_not_stable(strength: float, determinant: float) -> Text:
    """A system without an equilibrium."""
    return Text(
        f"the estimated system is not stable (spatial strength {strength:.2f}, det Γ {determinant:.2f}): its effects are "
        "not defined",
        f"所估方程组不稳定（空间强度{strength:.2f}，det Γ为{determinant:.2f}）：效应无定义",
    )


@Kind
def correlated_equations(
    equations: tuple[str, ...], t: float, p: float, coefficient: float, covariance: str
) -> Text:
    """Errors of equations that are correlated over time; the numbers are those of the strongest."""
    return Text(
        f"errors of {listed(equations)} are correlated over time (LM* t = {t:.1f}, p = {p:.2g}; first-order correlation "
        f'about {coefficient:.1f}), and covariance="{covariance}" takes them as independent: where regressors move slowly '
        'as well its standard errors are too small. Use covariance="cluster"',
        f"{listed_zh(equations)}方程的误差跨期相关（LM* t={t:.1f}，p={p:.2g}；一阶相关约{coefficient:.1f}），而"
        f'covariance="{covariance}"假定其独立：解释变量也变动缓慢时标准误偏小。请用covariance="cluster"',
    )


@Kind
def lam_of_system() -> Text:
    """λ of a system, as simulated."""
    return Text(
        "intervals of λ in a system held the truth in 42 to 95 % of simulated panels whose errors last over time or whose "
        f"instruments are weak, and in 90 to 93 % of others; those of γ, ψ and β do better ({LIFELIKE}): do not read λ",
        "误差持久或工具变量弱的模拟中，方程组中λ的区间覆盖率为42%至95%，其他情形为90%至93%；"
        f"γ、ψ与β的区间较好（{LIFELIKE}）：请勿解读λ",
    )


@Kind
def tied_in_system(equations: tuple[str, ...], p: float, spatial: bool) -> Text:
    """Variances that go with the place in W, and what simulations of systems found there."""
    names = quoted(equations, "en"), quoted(equations, "zh")
    found = Text(
        "and these standard errors take them as equal",
        "而此处标准误假定方差相等",
    )
    if spatial:
        found = Text(
            "and every estimator of λ in a system takes them as equal: with three times the spread in hubs of W spillovers "
            "of y on itself were 0.05 too high, their intervals held the truth in 85 to 88 % and those of λ in 82 to 88 % "
            "(with weak instruments in 60 and 50 %). Without spatial errors (lag_error=False) those of clustered FIML hold",
            "而方程组中λ的任何估计都假定方差相等：枢纽地区误差标准差为三倍的模拟中，y对自身的溢出偏高0.05，"
            "其区间覆盖率为85%至88%，λ为82%至88%（工具变量弱时分别为60%与50%）。"
            "不含空间误差（lag_error=False）时FIML聚类区间的覆盖率达标",
        )
    return Text(
        f"variances of the errors of {names[0]} go with the place of units in W (p = {p:.2g}), {found.en}. Use "
        f'covariance="cluster" ({LIFELIKE})',
        f"{names[1]}的误差方差随地区在W中的位置而变（p={p:.2g}），{found.zh}。"
        f'请用covariance="cluster"（{LIFELIKE}）',
    )


@Kind
def few_units_for_clusters(units: int) -> Text:
    """A cluster covariance of a system."""
    return Text(
        f"{units} units are few for a cluster covariance without CR2, which spatial errors by instruments and random "
        'effects do not have: its standard errors are too small. Use method="fiml", or fixed effects and lag_error=False',
        f"含空间误差的工具变量法与随机效应没有CR2，{units}个地区用于聚类协方差偏少：标准误偏小。"
        '请用method="fiml"，或固定效应与lag_error=False',
    )


@Kind
def dense_weights(label: str, by: str, page: str) -> Text:
    """ψ under a dense W, as simulations have it ``by`` FIML, by recentred ``moments``, or by the ``textbook`` ones."""
    better = 'zb.bootstrap(fit, scheme="parametric").bias_corrected()'
    bias = {
        "fiml": Text(
            f"by FIML off by up to 0.03 in simulations ({better} is beside it)",
            f"FIML在模拟中偏差不超过0.03（可对照{better}）",
        ),
        "moments": Text('by method="fiml" a little better', 'method="fiml"略精确'),
        "textbook": Text(
            "by the textbook estimator off by 0.1 and more in simulations (leave out bias_correction=False)",
            "教科书估计在模拟中偏误达0.1以上（请去掉bias_correction=False）",
        ),
    }[by]
    bias = Text(
        f"is known only roughly, {bias.en}. Take a W with fewer links (contiguity, nearest neighbours), or lags of x "
        "alone (lag_y=False, lag_endog=[], lag_x) in place of ψ; for one equation see zb.median_unbiased",
        f"只能粗略估计，{bias.zh}。请用较稀疏的W（邻接、最近邻），或以x的空间滞后（lag_y=False，lag_endog=[]，lag_x）代替ψ；"
        "单方程时可用zb.median_unbiased",
    )
    return Text(
        f"{label!r} links nearly all units, and period effects leave little of its lags but y itself: ψ {bias.en} ({page})",
        f"{label!r}几乎连接所有地区，扣除时间效应后其空间滞后与y本身相差无几：ψ{bias.zh}（{page}）",
    )
