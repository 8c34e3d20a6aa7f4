"""What a reader of an estimated system has to know."""

from __future__ import annotations

import numpy as np

from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.notes import Kind, Note, about, quoted
from spatial_zb.base.text import Text
from spatial_zb.core.system.fiml import SINGULAR, smallest_correlation
from spatial_zb.models.notes import BOOTSTRAP, few_units, not_positive, textbook_moments
from spatial_zb.models.system.fit import WEAK_F, SystemFit

#: Up to this many units standard errors are called approximate (docs/validation/system.md).
SMALL_N = 30
#: Up to this many units a cluster covariance is too small (docs/validation/system.md).
FEW_CLUSTERS = 30
#: More instruments than this share of unit-periods pull 2SLS towards least squares.
INSTRUMENT_SHARE = 0.1

PAGE = "spatial-zb docs validation/system"


def notes_on(fit: SystemFit) -> tuple[Note, ...]:
    """Everything that a reader of a system should know."""
    notes = [
        *fit.design.notes,
        *_solution(fit),
        *_peaks(fit),
        *_instruments(fit),
        *_structure(fit),
        *_sample(fit),
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
    return notes


def _instruments(fit: SystemFit) -> list[Note]:
    found = fit.identification()
    count, cells = len(fit.instruments), len(fit.panel.units) * len(fit.panel.periods)
    many = [too_many_instruments(count, cells)] if count > INSTRUMENT_SHARE * cells else []
    textbook = fit.method != "fiml" and not fit.bias_correction
    return many + [
        weak_equation(row.equation, row.sw_f_min, (row.weakest,), row.kp_f, WEAK_F, textbook)
        for row in found[found["weak"]].itertuples()
    ]


def _structure(fit: SystemFit) -> list[Note]:
    notes = []
    unit = fit.convergence.sigma_unit
    if unit is not None and np.linalg.eigvalsh(unit)[0] < 0:
        notes.append(no_unit_effects())
    stability = fit.stability()
    if not stability.stable:
        notes.append(system_not_stable(stability.strength, stability.determinant))
    return notes


def _sample(fit: SystemFit) -> list[Note]:
    notes = []
    n, T = len(fit.panel.units), len(fit.panel.periods)
    if n <= SMALL_N and fit.spec.uses_weights:
        notes.append(few_units(n, n * T, BOOTSTRAP, PAGE))
    if fit.covariance == "cluster" and n <= FEW_CLUSTERS:
        notes.append(few_units_for_clusters(n))
    timed = fit.spec.fixed_effects in ("time", "two_way")
    if fit.weights.dense and timed and fit.spec.lags_endogenous:
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
def weak_equation(
    equation: str, f: float, weakest: tuple[str, ...], kp_f: float, rule: float, textbook: bool
) -> Text:
    """Instruments of one equation of a system; ``weakest`` is what has the smallest first-stage F."""
    drift = (
        Text("pulled towards least squares", "偏向最小二乘")
        if textbook
        else Text("poorly determined", "难以确定")
    )
    return Text(
        f"instruments of {equation!r} are weak (smallest first-stage F {f:.1f} of {quoted(weakest, 'en')}, Kleibergen-Paap "
        f"F {kp_f:.1f}, rule of thumb {rule:.0f}): its γ and ψ are {drift.en}, and their intervals too short",
        f"{equation!r}的工具变量较弱（第一阶段F最小为{quoted(weakest, 'zh')}的{f:.1f}，Kleibergen-Paap F为{kp_f:.1f}，"
        f"经验值{rule:.0f}）：其γ与ψ{drift.zh}，区间偏窄",
    )


@Kind
def too_many_instruments(instruments: int, cells: int) -> Text:
    """More than a tenth of the unit-periods."""
    return Text(
        f"{instruments} instruments for {cells} unit-periods, more than a tenth: estimates lean towards least squares. Use "
        "fewer powers (instrument_powers=1) or fewer exogenous variables",
        f"{cells}个观测值用了{instruments}个工具变量，超过十分之一：估计值偏向最小二乘。请减少W的幂次"
        "（instrument_powers=1）或外生变量",
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
def few_units_for_clusters(units: int) -> Text:
    """A cluster covariance of a system."""
    return Text(
        f"{units} units are few for a cluster covariance: its standard errors are too small",
        f"{units}个地区用于聚类协方差偏少：标准误偏小",
    )


@Kind
def dense_weights(label: str, by: str, page: str) -> Text:
    """ψ under a dense W, as simulations have it ``by`` FIML, by recentred ``moments``, or by the ``textbook`` ones."""
    better = 'zb.bootstrap(fit, scheme="parametric").bias_corrected()'
    bias = {
        "fiml": Text(
            f"is known only roughly, and off by up to 0.03 in simulations: {better} is beside it",
            f"只能粗略估计，模拟中偏差不超过0.03：可对照{better}",
        ),
        "moments": Text(
            'is known only roughly, and by method="fiml" a little better',
            '只能粗略估计，method="fiml"略精确',
        ),
        "textbook": Text(
            'of the textbook estimator is off by 0.1 and more in simulations: use bias_correction (the default) or "fiml"',
            '的教科书估计在模拟中偏误达0.1以上：请用bias_correction（默认）或method="fiml"',
        ),
    }[by]
    return Text(
        f"{label!r} links nearly all units, and period effects leave little of its lags but y itself: ψ {bias.en} ({page})",
        f"{label!r}几乎连接所有地区，扣除时间效应后其空间滞后与y本身相差无几：ψ{bias.zh}（{page}）",
    )
