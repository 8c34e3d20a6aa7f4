"""Tests between models that are not nested (J and Vuong), and checks of which fits may be compared.

Tests between models of which neither contains the other: another W, or SAR against SDEM.

J: the fitted values of the alternative are added to the null model and should add nothing,
y = Z₀δ₀ + ŷ_g ξ + u, ξ = 0, by two-stage least squares (Kelejian 2008, Letters in Spatial and Resource Sciences 1:
3-11; Kelejian & Piras 2011, Regional Science and Urban Economics 41: 281-292; for panels 2016, J. Applied
Econometrics 31). Vuong: both are equally far from the truth, E[ln L₁ − ln L₂] = 0 (Vuong 1989, Econometrica 57:
307-333; for spatial models Liu & Lee 2019, J. Econometrics 213: 434-458).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse, special

from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.results import NAN, NOTHING, Row, TestTable
from spatial_zb.base.text import Text
from spatial_zb.core import Array, chi2_tail
from spatial_zb.core.likelihood.covariance import mean_overlap, overlap_kernel
from spatial_zb.core.system.moments import (
    Projected,
    by_unit,
    forward_deviations,
    independent_columns,
    linear_covariance,
    two_stage,
    white,
)
from spatial_zb.core.transforms import demean, spatial_lag
from spatial_zb.effects.table import refuse_shape
from spatial_zb.models.design import stacked
from spatial_zb.models.fit import Fit


def refuse_other_data(fits: Mapping[str, Fit]) -> None:
    """Refuse fits that differ in y, units, periods or effects."""
    _refuse(
        fits,
        _DATA,
        Text(
            "they are not models of the same data. Fit them on the same sample in the same way.",
            "数据不同的模型不能比较。请用同一样本、同样的方式估计。",
        ),
    )


def refuse_other_likelihoods(fits: Mapping[str, Fit]) -> None:
    """Refuse fits whose log-likelihoods cannot be compared, or that have no likelihood."""
    failed = [name for name, fit in fits.items() if not fit.converged]
    if failed:
        raise SpecificationError(
            f"{listed(failed)} did not converge; leave them out of the comparison.",
            f"{listed_zh(failed)}没有收敛；请移出比较。",
        )
    for fit in fits.values():
        if fit.estimator == "adjusted_score":
            refuse_shape(fit, Text("A comparison of likelihoods", "似然的比较"))
    without = [name for name, fit in fits.items() if not np.isfinite(fit.log_likelihood)]
    if without:
        raise SpecificationError(
            f"{listed(without)} have no likelihood, since they are estimated by moments or a score: ln L, AIC and BIC "
            "do not exist. Compare them by a J test, or estimate them by maximum likelihood.",
            f"{listed_zh(without)}由矩或得分估计，没有似然：ln L、AIC和BIC不存在。请用J检验比较，或用极大似然估计。",
        )
    _refuse(
        fits,
        {Text("estimator", "估计方法"): lambda f: f.estimator} | _DATA,
        Text(
            "their likelihoods are of different data, and ln L, AIC and BIC say nothing about which is better. Fit them "
            "on the same sample in the same way.",
            "其似然出自不同的数据，ln L、AIC和BIC不能说明优劣。请用同一样本、同样的方式估计。",
        ),
    )


_DATA: dict[Text, Callable[[Fit], Any]] = {
    Text("y", "y"): lambda f: f.spec.y,
    Text("units", "地区"): lambda f: tuple(sorted(f.panel.units)),
    Text("periods", "时期"): lambda f: tuple(f.panel.periods),
    Text("effects", "效应"): lambda f: f.spec.fixed_effects,
    Text("observations", "观测数"): lambda f: f.nobs,
    Text("values of y", "y的取值"): lambda f: float(
        f.panel.array(f.spec.y)[:, np.argsort(f.panel.units)].sum()
    ),
}


def _refuse(fits: Mapping[str, Fit], facts: Mapping[Text, Callable[[Fit], Any]], why: Text) -> None:
    for what, of in facts.items():
        if len({of(fit) for fit in fits.values()}) > 1:
            raise SpecificationError(
                f"{listed(fits)} differ in their {what.en}: {why.en}",
                f"{listed_zh(fits)}的{what.zh}不同：{why.zh}",
            )


def nested(small: Fit, large: Fit) -> bool:
    """Whether ``small`` is ``large`` with some coefficients at zero, under the same W."""
    inside = set(small.params.index) < set(large.params.index)
    return inside and (_without_w(small) or _same_w(small, large))


def same_model(a: Fit, b: Fit) -> bool:
    """Whether two fits have the same terms and the same W."""
    alike = set(a.params.index) == set(b.params.index)
    return alike and (_without_w(a) or _same_w(a, b))


def _without_w(fit: Fit) -> bool:
    return not fit.spec.spatial_terms and not fit.spec.lag_x


def _same_w(a: Fit, b: Fit) -> bool:
    return (a.weights.matrix != b.weights.align(a.weights.ids).matrix).nnz == 0


Covariance = Literal["information", "robust", "cluster"]
Correction = Literal["none", "aic", "bic"]

#: Mean overlap of neighbourhoods from which W says little about who is near whom, and sums over them cancel.
DENSE = 0.25
#: Fewer units than this, and the variance of the Vuong statistic is a guess.
FEW_UNITS = 20


J_TEST, VUONG = Text("J", "J 检验"), Text("Vuong", "Vuong 检验")
INSIDE = Text(
    "the fitted values of the alternative lie in the null model, or instruments do not tell them apart",
    "备择模型的拟合值落在原假设模型之内，或工具变量无法区分二者",
)
BOTH_DENSE = Text(
    "both W are dense at this bandwidth: units are taken as independent",
    "在此带宽下两个W都很稠密：各地区视为独立",
)
MAY_BE_ONE = Text(
    "no spatial coefficient of either is significant: the two may be one model",
    "两个模型的空间系数都不显著：二者可能是同一模型",
)


def j_test(
    null: Fit,
    alternatives: Fit | Mapping[str, Fit],
    *,
    covariance: Covariance = "robust",
    powers: int = 2,
) -> TestTable:
    r"""Test whether a model leaves out what other models see: the spatial J test.

    The fitted values ŷ_g = y − ε̂_g of every alternative enter the null model, which is estimated by two-stage least
    squares after the fixed-effects transform, and, where the null has λ, after filtering by I − λ̂W. Instruments are
    the exogenous variables and their lags by the W of the null and of the alternatives; never y. Wald test of ξ = 0.

    Parameters
    ----------
    null
        The model that is tested.
    alternatives
        One fit, or several by name, of the same y, panel and effects; they are tested one by one, and together
        where there are several (the row ``"all"``).
    covariance
        ``"robust"`` to heteroskedasticity, ``"cluster"`` by unit, or ``"information"``: one variance.
    powers
        Highest power of each W among the instruments (one more where x is lagged).

    Returns
    -------
    TestTable
        Rows ``"J"`` of each alternative; ``tidy()`` has ``alternative`` and the number of ``instruments`` beside. The
        statistic is NaN where the fitted values lie in
        the null model: that is a nested pair, for a likelihood-ratio test.

    Raises
    ------
    SpecificationError
        Fits of other data, random effects, or an option that is not known.

    Notes
    -----
    A rejection speaks against the null, not for the alternative: test both ways round; both, or neither, may be
    rejected. Sizes by simulation are in spatial-zb docs comparison.
    """
    others = (
        {alternatives.weights.label: alternatives} if isinstance(alternatives, Fit) else dict(alternatives)
    )
    _check(null, others, covariance, powers)
    sets = {name: [name] for name in others} | ({"all": list(others)} if len(others) > 1 else {})
    rows = []
    for name, members in sets.items():
        statistic, df, p_value, count, note = _j(null, [others[m] for m in members], covariance, powers)
        beside = {"alternative": name, "instruments": count}
        rows.append(Row(J_TEST.en, statistic, df, p_value, note, of=name, more=beside))
    table = TestTable(tuple(rows), null.facts, {J_TEST.en: J_TEST})
    columns = ["alternative", "statistic", "df", "p_value", "instruments", "note"]
    return replace(table, old=table.tidy()[columns])


def _check(null: Fit, others: Mapping[str, Fit], covariance: str, powers: int) -> None:
    if not others:
        raise SpecificationError("A J test needs at least one alternative.", "J检验至少需要一个备择模型。")
    if covariance not in get_args(Covariance):
        raise not_one_of("covariance", covariance, get_args(Covariance))
    if not isinstance(powers, int) or isinstance(powers, bool) or powers < 1:
        raise SpecificationError(
            f"powers must be a whole number from 1, not {powers!r}.",
            f"powers须为1或更大的整数，而不是{powers!r}。",
        )
    for fit in (null, *others.values()):
        refuse_shape(fit, Text("The J test", "J检验"))
    refuse_other_data({"the null": null, **others})
    if null.spec.fixed_effects == "random":
        raise SpecificationError(
            "The J test is for models without random effects: use fixed effects.",
            "J检验用于不含随机效应的模型：请用固定效应。",
        )
    for name, fit in {"the null": null, **others}.items():
        if fit.spec.endog or fit.spec.dynamic or fit.spec.regimes:
            raise SpecificationError(
                f"{name!r} has endogenous regressors, lags in time or regimes, which this test is not made for.",
                f"{name!r}含内生解释变量、时间滞后或区制，此检验不适用。",
            )


def _j(null: Fit, others: list[Fit], covariance: str, powers: int) -> tuple[float, int, float, int, Text]:
    """Statistic, degrees of freedom, p-value, number of instruments, note."""
    y, Z, added = _columns(null, others)
    H = _instruments(null, others, powers)
    own = Z[:, : len(null.spec.terms)]
    keep = independent_columns(own, H)
    basis = np.hstack([own, H[:, keep]])
    basis = np.linalg.qr(basis / np.sqrt((basis**2).sum(axis=0)))[0] if basis.size else basis
    fit = two_stage(y, np.hstack([Z, added]), basis)
    count = basis.shape[1]
    if fit is None:
        return np.nan, added.shape[1], np.nan, count, INSIDE
    return *_wald(fit, added.shape[1], null, covariance), count, NOTHING


def _columns(null: Fit, others: list[Fit]) -> tuple[Array, Array, Array]:
    """y, [Z, Wy] of the null and the fitted values of the others: transformed, filtered and stacked."""
    design, effects = null.design, null.spec.transform
    Z = design.Z
    if null.spec.lag_y:
        Z = np.concatenate([Z, design.Wy[:, :, None]], axis=2)
    added = np.stack([_fitted(fit, null) for fit in others], axis=2)
    every = np.concatenate([design.y[:, :, None], Z, added], axis=2)
    if null.spec.lag_error:
        W = null.weights.matrix
        every = every - null.params["lam"] * demean(spatial_lag(W, every), effects)
    flat = stacked(forward_deviations(every, effects))
    return flat[:, 0], flat[:, 1 : 1 + Z.shape[2]], flat[:, 1 + Z.shape[2] :]


def _fitted(fit: Fit, null: Fit) -> Array:
    """y − ε̂ (T, n) in the order of the units of the null."""
    return (fit.design.y - fit.residuals)[:, fit.panel.units.get_indexer(null.panel.units)]


def _instruments(null: Fit, others: list[Fit], powers: int) -> Array:
    """X, WX, …, and the same with the W of every alternative; stacked, not filtered."""
    panel = null.panel
    names = list(dict.fromkeys(name for fit in (null, *others) for name in fit.spec.x))
    X = panel.array(names)
    columns = [X]
    for fit in (null, *others):
        lag = X
        for _ in range(powers + bool(fit.spec.lag_x)):
            lag = spatial_lag(fit.weights.align(panel.units).matrix, lag)
            columns.append(lag)
    every = np.concatenate(columns, axis=2)
    return stacked(forward_deviations(every, null.spec.transform))


def _wald(fit: Projected, added: int, null: Fit, covariance: str) -> tuple[float, int, float]:
    meat = {"information": None, "robust": white, "cluster": by_unit(len(null.panel.units))}[covariance]
    cov = linear_covariance(fit, float(fit.residuals @ fit.residuals) / null.nobs, meat)[-added:, -added:]
    xi = fit.delta[-added:]
    statistic = float(xi @ np.linalg.solve(cov, xi))
    return statistic, added, float(chi2_tail(statistic, added))


def vuong_test(
    first: Fit,
    second: Fit,
    *,
    correction: Correction = "aic",
    bandwidth: int = 1,
) -> TestTable:
    r"""Test whether two models that are not nested are equally far from the truth.

    z = [ln L₁ − ln L₂ − c] / ω̂ is standard normal when they are; a large z favours the first, a small one the second.
    ln|I − ρW| does not fall apart into units, but it is no random number either: at the limits of the estimates all
    that is random in ln L₁ − ln L₂ is Σ_i d_i, d_i = −½ Σ_t (ε̂₁²_it/σ̂₁² − ε̂₂²_it/σ̂₂²), so that
    ω̂² = Σ_ij K_ij d_i d_j. Errors of a unit may be correlated over time (d_i sums over it) and units with those within
    2 × ``bandwidth`` links of the sparser W (K is the kernel of ``covariance="spatial_hac"``).

    Parameters
    ----------
    first, second
        Converged maximum-likelihood fits of the same y, sample, effects and estimator.
    correction
        c: nothing, k₁ − k₂ (AIC) or (k₁ − k₂)/2 ln N (BIC).
    bandwidth
        0 takes units as independent; so does a W so dense that all are neighbours, and the note says it.

    Returns
    -------
    TestTable
        One row, ``"Vuong"``; ``tidy()`` has beside ``difference`` (ln L₁ − ln L₂), ``std_dev`` (ω̂) and ``favours``
        (``"first"``, ``"second"`` or ``"neither"`` at 5 %).

    Raises
    ------
    SpecificationError
        Nested models (use the likelihood-ratio test of :func:`compare_fits`), unlike likelihoods, fits that did not
        converge, or an option that is not known.

    Notes
    -----
    Two models with different W coincide where their spatial coefficients are zero, and z is not normal there: the note
    says when that cannot be ruled out. With few units z spreads too wide: 5 % tests reject 12 % at 49 units and 10 % at
    144 (spatial-zb docs comparison).
    """
    if correction not in get_args(Correction):
        raise not_one_of("correction", correction, get_args(Correction))
    if not isinstance(bandwidth, int) or isinstance(bandwidth, bool) or bandwidth < 0:
        raise SpecificationError(
            f"bandwidth must be a whole number from 0, not {bandwidth!r}.",
            f"bandwidth须为非负整数，而不是{bandwidth!r}。",
        )
    refuse_other_likelihoods({"first": first, "second": second})
    if same_model(first, second) or nested(first, second) or nested(second, first):
        raise SpecificationError(
            "One of the two models is the other with some coefficients at zero: use the likelihood-ratio test of "
            "compare_fits.",
            "两个模型中一个是另一个的部分系数为零的情形：请用compare_fits的似然比检验。",
        )
    root, notes = _kernel(first, second, bandwidth)
    d = _contributions(first) - _contributions(second)
    std_dev = float(np.linalg.norm(root.T @ (d - d.mean())))
    difference = first.log_likelihood - second.log_likelihood
    more = len(first.params) - len(second.params)
    shift = {"none": 0.0, "aic": float(more), "bic": more / 2 * np.log(first.nobs)}[correction]
    statistic = (difference - shift) / std_dev
    p_value = float(2 * special.ndtr(-abs(statistic)))
    side = "neither" if p_value >= 0.05 else "first" if statistic > 0 else "second"
    notes += _doubts(first, second)
    note = Text("; ".join(note.en for note in notes), "；".join(note.zh for note in notes))
    beside = {"difference": float(difference), "std_dev": std_dev, "favours": side}
    row = Row(VUONG.en, float(statistic), NAN, p_value, note, more=beside)
    table = TestTable(
        (row,), first.facts | {"weights": f"{first.weights.label}, {second.weights.label}"}, {VUONG.en: VUONG}
    )
    return replace(
        table, old=table.tidy()[["statistic", "p_value", "difference", "std_dev", "favours", "note"]]
    )


def _contributions(fit: Fit) -> Array:
    """−½ Σ_t ε̂²_it/σ̂² of each unit, (n,), in the order of sorted ids; σ̂² is that of maximum likelihood."""
    squares = (fit.residuals**2).sum(axis=0)[np.argsort(fit.panel.units)]
    return -squares * fit.nobs / (2 * squares.sum())


def _kernel(first: Fit, second: Fit, bandwidth: int) -> tuple[sparse.csr_array, list[Text]]:
    """Root of K, and what a reader should know of it."""
    units = sorted(first.panel.units)
    sparser = min((fit.weights.align(units) for fit in (first, second)), key=lambda W: W.matrix.nnz)
    n = len(units)
    root = overlap_kernel(sparser.matrix, bandwidth)
    if bandwidth and mean_overlap(root) > DENSE:
        return sparse.eye_array(n, format="csr"), [BOTH_DENSE]
    return root, []


def _doubts(first: Fit, second: Fit) -> list[Text]:
    notes = []
    weak = []
    for fit in (first, second):
        spatial = [*fit.spec.spatial_terms, *(f"W_{name}" for name in fit.spec.lag_x)]
        tested = fit.pvalues.reindex(spatial).dropna()
        weak.append(bool(len(tested) or not spatial) and not bool((tested < 0.05).any()))
    if all(weak):
        notes.append(MAY_BE_ONE)
    if len(first.panel.units) < FEW_UNITS:
        n = len(first.panel.units)
        notes.append(Text(f"only {n} units for the variance of the difference", f"差的方差仅由{n}个地区估计"))
    return notes
