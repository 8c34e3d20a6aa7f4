"""What a reader of an estimated system has to know, said in one warning."""

from __future__ import annotations

import numpy as np

from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.core.system.fiml import SINGULAR, smallest_correlation
from spatial_zb.models.notes import NO_SOLUTION, FitWords, system_words, warn_together
from spatial_zb.models.system.fit import WEAK_F, SystemFit

#: Up to this many units standard errors are called approximate (docs/validation/system.md).
SMALL_N = 30
#: Up to this many units a cluster covariance is too small (docs/validation/system.md).
FEW_CLUSTERS = 30

PAGE = "docs/validation/system.md"


def say_what_matters(fit: SystemFit) -> None:
    """Warn once of everything that bears on how a system may be read; silent when there is nothing."""
    notes = [*_solution(fit), *_peaks(fit), *_instruments(fit), *_structure(fit), *_sample(fit)]
    about = FitWords(system_words(fit.spec.names), fit.weights.label, Text(f"by {fit.method}", fit.method))
    warn_together(about, notes, stacklevel=3)


def _solution(fit: SystemFit) -> list[Text]:
    notes = []
    if fit.convergence["at_bound"]:
        reason = _without_maximum(fit)
        notes.append(Text(f"{reason.en}: no standard error is claimed", f"{reason.zh}，不给出标准误"))
    elif not fit.converged:
        notes.append(
            Text(
                "the information matrix is not positive definite: no standard error is claimed",
                "信息矩阵不正定，不给出标准误",
            )
        )
    if fit.convergence.get("corrected") is False:
        notes.append(NO_SOLUTION)
    return notes


def _without_maximum(fit: SystemFit) -> Text:
    if fit.method != "fiml":
        return Text(
            "the moments of λ have no minimum inside the admissible region", "λ的矩条件在容许区间内没有极小值"
        )
    if smallest_correlation(fit.sigma.to_numpy()) < SINGULAR:
        return Text(
            "the likelihood rises towards equations that are multiples of each other, so the data cannot tell them apart "
            "(weak identification)",
            "似然函数趋向各方程互为倍数的情形而上升，数据无法区分各方程（弱识别）",
        )
    return Text(
        "the likelihood has no maximum inside the admissible region", "似然函数在容许区域内没有极大值"
    )


def _peaks(fit: SystemFit) -> list[Text]:
    notes = []
    modes = [value for value in fit.convergence.get("modes", ()) if value > fit.log_likelihood - 2]
    if len(modes) > 1:
        shown = [f"{value:.3f}" for value in modes]
        notes.append(
            Text(
                f"the likelihood has peaks of nearly the same height ({listed(shown)})",
                f"似然函数有高度相近的多个峰（{listed_zh(shown)}）",
            )
        )
    edge = fit.convergence.get("edge", -np.inf)
    if fit.converged and edge > fit.log_likelihood:
        notes.append(
            Text(
                f"another start climbs to an edge without a maximum where ln L is higher ({edge:.3f}): the likelihood "
                "identifies the system weakly",
                f"另一初值趋向没有极大值的边界，且对数似然更高（{edge:.3f}）：似然对方程组的识别较弱",
            )
        )
    return notes


def _instruments(fit: SystemFit) -> list[Text]:
    found = fit.identification()
    textbook = fit.method != "fiml" and not fit.bias_correction
    drift = (
        Text("pulled towards least squares", "偏向最小二乘")
        if textbook
        else Text("poorly determined", "难以确定")
    )
    return [
        Text(
            f"instruments of {row.equation!r} are weak (smallest first-stage F {row.sw_f_min:.1f} of {row.weakest!r}, "
            f"Kleibergen-Paap F {row.kp_f:.1f}, rule of thumb {WEAK_F:.0f}): its γ and ψ are {drift.en}, and their "
            "intervals too short",
            f"{row.equation!r}的工具变量较弱（第一阶段F最小为{row.weakest!r}的{row.sw_f_min:.1f}，Kleibergen-Paap F为"
            f"{row.kp_f:.1f}，经验值{WEAK_F:.0f}）：其γ与ψ{drift.zh}，区间偏窄",
        )
        for row in found[found["weak"]].itertuples()
    ]


def _structure(fit: SystemFit) -> list[Text]:
    notes = []
    unit = fit.convergence.get("sigma_unit")
    if unit is not None and np.linalg.eigvalsh(unit)[0] < 0:
        notes.append(
            Text(
                "units differ less than noise alone would make them (the covariance of the unit effects is not positive "
                "definite): random effects are not supported by the data",
                "地区间差异小于噪声本身所致（个体效应协方差矩阵不正定）：数据不支持随机效应",
            )
        )
    stability = fit.stability()
    if not stability.stable:
        strength, determinant = f"{stability.strength:.2f}", f"{stability.determinant:.2f}"
        notes.append(
            Text(
                f"the estimated system is not stable (spatial strength {strength}, det Γ {determinant}): its effects are "
                "not defined",
                f"所估方程组不稳定（空间强度{strength}，det Γ为{determinant}）：效应无定义",
            )
        )
    return notes


def _sample(fit: SystemFit) -> list[Text]:
    notes = []
    n, T = len(fit.panel.units), len(fit.panel.periods)
    if n <= SMALL_N and fit.spec.uses_weights:
        notes.append(
            Text(
                f"only {n} units ({n * T} unit-periods): read standard errors as approximate, beside zb.bootstrap(fit) "
                f"({PAGE})",
                f"仅{n}个地区（{n * T}个观测）：标准误仅为近似，请同时参看zb.bootstrap(fit)（{PAGE}）",
            )
        )
    if fit.covariance == "cluster" and n <= FEW_CLUSTERS:
        notes.append(
            Text(
                f"{n} units are few for a cluster covariance: its standard errors are too small",
                f"{n}个地区用于聚类协方差偏少：标准误偏小",
            )
        )
    timed = fit.spec.fixed_effects in ("time", "two_way")
    if fit.weights.dense and timed and fit.spec.lags_endogenous:
        bias = _dense(fit)
        label = fit.weights.label
        notes.append(
            Text(
                f"{label!r} links nearly all units, and period effects leave little of its lags but y itself: ψ {bias.en} "
                f"({PAGE})",
                f"{label!r}几乎连接所有地区，扣除时间效应后其空间滞后与y本身相差无几：ψ{bias.zh}（{PAGE}）",
            )
        )
    return notes


def _dense(fit: SystemFit) -> Text:
    """What the simulations say of ψ under a dense W."""
    if fit.method == "fiml":
        better = 'zb.bootstrap(fit, scheme="parametric").bias_corrected()'
        return Text(
            f"is known only roughly, and off by up to 0.03 in simulations: {better} is beside it",
            f"只能粗略估计，模拟中偏差不超过0.03：可对照{better}",
        )
    if fit.bias_correction:
        return Text(
            'is known only roughly, and by method="fiml" a little better',
            '只能粗略估计，method="fiml"略精确',
        )
    return Text(
        'of the textbook estimator is off by 0.1 and more in simulations: use bias_correction (the default) or "fiml"',
        '的教科书估计在模拟中偏误达0.1以上：请用bias_correction（默认）或method="fiml"',
    )
