"""Intervals of ρ and λ without standard errors: likelihood ratio, and Anderson-Rubin for weak instruments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import special

from spatial_zb.base.arguments import Rng, alpha_of, renamed, seed_of
from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.results import ConfidenceSet
from spatial_zb.base.threads import one_thread
from spatial_zb.core.laws import fast, likelihood_ratios, moments, ratio_limits
from spatial_zb.core.laws.bootstrap import draw_errors
from spatial_zb.core.likelihood import inner_interval
from spatial_zb.core.likelihood.impacts import multipliers
from spatial_zb.core.likelihood.shape import ShapeScore
from spatial_zb.core.likelihood.shape_covariance import score_statistic
from spatial_zb.core.likelihood.shape_rows import DENSE_PERIOD
from spatial_zb.core.system.sets import CLUSTERS_PER_INSTRUMENT, line_pieces, weak_moments
from spatial_zb.effects.static import average_effects_at
from spatial_zb.effects.table import EFFECTS
from spatial_zb.inference.bootstrap.static import check_single, generator_of
from spatial_zb.models.fit import Fit
from spatial_zb.models.gmm_sample import gmm_sample
from spatial_zb.models.shape import ShapeDesign
from spatial_zb.models.spec import CLUSTERED

#: Values at which a score test is looked at before the ends of its set are found.
SET_POINTS = 61
#: Fewest replicates from which a critical value at 5 % is read.
FEWEST = 99


@renamed(alpha="level", bootstrap="replicates")
@one_thread
def profile_interval(
    fit: Fit,
    term: str | None = None,
    effect: Literal["direct", "indirect", "total"] | None = None,
    *,
    level: float = 0.95,
    replicates: int = 0,
    rng: Rng = None,
) -> ConfidenceSet:
    """Invert the likelihood-ratio test: all values of ρ (or λ), or of an effect, that it does not reject.

    {c : 2[ln L(ĉ) − ln L(c)] ≤ χ²₁(1 − α)}, all other parameters at their best for each c. It is as skewed as the
    likelihood, ends inside the admissible interval, and exists where the likelihood has no interior maximum.
    :func:`spatial_zb.median_unbiased` gives an estimate as well, and needs no large sample
    (spatial-zb docs validation/study).

    Parameters
    ----------
    fit
        Of one equation by ``lee_yu`` or ``direct``, with one spatial lag, of y or of the error; converged or not. Of a panel
        of another shape the score test is inverted, ψ(c)²/Var ψ(c) ≤ χ²₁(1 − α), with residuals under c: normal and
        independent errors, or clustered by unit as the fit has them (spatial-zb docs validation/shape).
    term
        ``"rho"`` or ``"lam"``; without it the one that the model has. With ``effect`` a regressor.
    effect
        The ``"direct"``, ``"indirect"`` or ``"total"`` effect of ``term`` in the same period. Given ρ it is linear in the
        coefficients, so that the set is the union over ρ of intervals: it needs no row-normalised W, as Fieller's limits do
        to be exact, and is without bound where the likelihood does not keep ρ from the end of its interval.
    level
        Confidence level of the limits.
    replicates, rng
        Number of samples (0, or at least 99) from which the critical value is read in place of χ², and their seed: drawn
        from the fit with normal errors, whose ratios are at the value that they were drawn with.

    Returns
    -------
    One interval, open at an end of the admissible interval at which the likelihood has not fallen far enough.

    Raises
    ------
    SpecificationError
        Another estimator, a model without the term or with both, too few replicates.
    """
    if not isinstance(fit.design, ShapeDesign) or (fit.spec.regimes and "rho" not in fit.spec.common):
        check_single(fit)
    if effect is not None:
        return _of_effect(fit, term, effect, level, replicates)
    term = term or next(iter(fit.spec.spatial_terms), "rho")
    if term not in fit.spec.spatial_terms:
        raise SpecificationError(
            f"term must be one of {listed(fit.spec.spatial_terms) or 'rho, lam'} for {fit.spec.family}, not {term!r}.",
            f"{fit.spec.family}的term须为{listed_zh(fit.spec.spatial_terms) or 'rho、lam'}之一，而不是{term!r}。",
        )
    if len(fit.spec.spatial_terms) > 1:
        raise SpecificationError(
            f"{fit.spec.family} has both ρ and λ, and an interval for one of them alone says little. Use "
            "zb.bootstrap(fit), or zb.median_unbiased(fit) of a complete panel under one W.",
            f"{fit.spec.family}同时含ρ和λ，单独一个的区间说明不了什么：请用zb.bootstrap(fit)，面板完整且W唯一时也可用"
            "zb.median_unbiased(fit)。",
        )
    if isinstance(fit.design, ShapeDesign):
        return _score_set(fit, fit.design, term, level, replicates)
    weights = fit.weights
    if not fast(weights.matrix, weights.logdet, bool(fit.spec.lag_y), bool(fit.spec.lag_error)):
        raise SpecificationError(
            f"With {weights.n} units the standard error of {term!r} is good: read fit.conf_int().",
            f"{weights.n}个地区时{term!r}的标准误可靠：请用fit.conf_int()。",
        )
    alpha = alpha_of(level)
    if replicates and replicates < FEWEST:
        raise SpecificationError(
            f"replicates must be 0 or at least {FEWEST}, not {replicates}.",
            f"replicates须为0或至少{FEWEST}，而不是{replicates}。",
        )
    generator = generator_of(fit)
    critical = float(special.chdtri(1, alpha))
    if replicates:
        critical = float(np.quantile(_ratios(fit, replicates, rng), 1 - alpha))
    y = fit.panel.array(fit.spec.y)[None]
    limits, is_open = ratio_limits(generator.model, moments(generator.model, y), critical)
    low, high = map(float, limits[0])
    bounds = low if is_open[0, 0] else -np.inf, high if is_open[0, 1] else np.inf
    facts = {"method": "likelihood ratio", "replicates": replicates, **fit.facts}
    return ConfidenceSet(term, float(fit.params[term]), ((low, high),), bounds, level, critical, facts)


def _score_set(fit: Fit, design: ShapeDesign, term: str, level: float, replicates: int) -> ConfidenceSet:
    """All values that the score does not reject: there is no likelihood of a panel of any shape."""
    weights = design.shape.W or design.shape.V
    assert weights is not None, "there is a spatial coefficient"
    if replicates or not design.shape.few:
        raise SpecificationError(
            f"In a panel of this shape the set is by the score and χ², for periods of at most {DENSE_PERIOD} units: leave "
            "replicates out, and with more units read fit.conf_int().",
            f"此形态的面板由得分检验与χ²给出集合，每期至多{DENSE_PERIOD}个地区：请去掉replicates；地区更多时请用fit.conf_int()。",
        )
    clustered, critical = fit.covariance in CLUSTERED, float(special.chdtri(1, alpha_of(level)))
    score, bounds = ShapeScore(design.shape, design.values), inner_interval(weights.interval)

    def beyond(value: float) -> float:
        return min(score_statistic(score, value, clustered), 1e6) - critical

    grid = np.linspace(*bounds, SET_POINTS)
    grid = np.unique(np.append(grid, fit.params[term])) if bounds[0] < fit.params[term] < bounds[1] else grid
    values = np.array([beyond(float(value)) for value in grid])
    inside = values <= 0
    crossings = [
        float(scipy.optimize.brentq(beyond, grid[i], grid[i + 1], xtol=1e-6))
        for i in np.flatnonzero(inside[:-1] != inside[1:])
    ]
    ends = [*([bounds[0]] if inside[0] else []), *crossings, *([bounds[1]] if inside[-1] else [])]
    pieces = tuple(zip(ends[::2], ends[1::2], strict=True))
    # Next to an end the variance of the score grows without bound, whatever the data: a piece without a root says nothing.
    with_root = tuple(p for p in pieces if any(p[0] <= root <= p[1] for root in fit.convergence.roots))
    pieces = with_root or pieces
    facts = {"method": "score", "replicates": 0, **fit.facts}
    return ConfidenceSet(term, float(fit.params[term]), pieces, bounds, level, critical, facts)


#: Values of ρ at which limits of an effect are looked for, and steps of a search between two of them.
SCANNED, REFINED = 401, 60


def _of_effect(fit: Fit, term: str | None, effect: str, level: float, replicates: int) -> ConfidenceSet:
    """Limits of an effect g(ρ)'δ: {c : min over ρ of RSS(ρ) + (g'δ̂(ρ) − c)²/v(ρ) within what ln L allows}, v = g'(Z'Z)⁻¹g.

    With N ln of it in ln L, each ρ of the interval of ρ allows c = g'δ̂(ρ) ± √(v(ρ)(R̄(ρ) − RSS(ρ))),
    R̄(ρ) = exp(2/N (T* ln|I − ρW| − ln L_max + χ²/2)).
    """
    spec, design = fit.spec, fit.design
    if effect not in EFFECTS:
        raise not_one_of("effect", effect, EFFECTS)
    if term not in spec.regressors:
        raise not_one_of("term", term, spec.regressors)
    if not spec.lag_y or spec.lag_error or replicates or isinstance(design, ShapeDesign):
        raise SpecificationError(
            "Likelihood-ratio limits of effects are for SAR and SDM on complete panels under one W, without replicates. "
            'Without ρ read zb.spatial_effects(fit), else zb.spatial_effects(fit, "fieller") or zb.bootstrap(fit).',
            "效应的似然比区间用于完整面板、单一W的SAR与SDM，且不用replicates。无ρ时请用zb.spatial_effects(fit)，"
            '否则请用zb.spatial_effects(fit, "fieller")或zb.bootstrap(fit)。',
        )
    sample, logdet = design.sample(fit.estimator), fit.weights.logdet
    Z, y, Wy = (part.reshape(design.y.size, -1) for part in (design.Z, design.y, design.Wy))
    inverse = np.linalg.inv(Z.T @ Z)
    delta = inverse @ Z.T @ np.hstack([y, Wy])
    e = np.hstack([y, Wy]) - Z @ delta
    squares = e.T @ e
    names = list(spec.terms)
    places = [names.index(term), *([names.index(f"W_{term}")] if f"W_{term}" in names else [])]
    critical = float(special.chdtri(1, alpha_of(level)))

    def heights(rho: NDArray) -> tuple[NDArray, NDArray]:
        rss = squares[0, 0] - 2 * rho * squares[0, 1] + rho**2 * squares[1, 1]
        return rss, sample.periods * logdet.value(rho, sample.centred)

    low, high = logdet.interval
    rho = low + (high - low) * (1 - np.cos(np.pi * (np.arange(SCANNED) + 0.5) / SCANNED)) / 2
    rss, det = heights(rho)
    best = float((det - sample.observations / 2 * np.log(rss)).max())
    if fit.converged:
        at, of = heights(np.array([fit.params["rho"]]))
        best = max(best, float((of - sample.observations / 2 * np.log(at))[0]))

    def limits(rho: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        rss, det = heights(rho)
        room = np.exp(2 / sample.observations * (det - best + critical / 2)) - rss
        m = multipliers(rho, fit.weights.matrix, logdet, fit.weights.row_normalised)
        direct, total = np.stack([m.a, m.b], axis=1), np.stack([m.p, m.q], axis=1)
        g = {"direct": direct, "total": total, "indirect": total - direct}[effect][:, : len(places)]
        v = np.einsum("ri,ij,rj->r", g, inverse[np.ix_(places, places)], g)
        middle = (g * (delta[places, 0][:, None] - rho * delta[places, 1][:, None]).T).sum(axis=1)
        half = np.sqrt(np.maximum(v * room, 0.0))
        return np.where(room >= 0, middle - half, np.inf), np.where(room >= 0, middle + half, -np.inf), room

    ends = [_furthest(limits, which, rho) for which in (0, 1)]
    facts = {"method": "likelihood ratio", "effect": effect, **fit.facts}
    point = float(
        average_effects_at(fit, fit.params.to_numpy())[spec.regressors.index(term), EFFECTS.index(effect)]
    )
    pieces = ((ends[0], ends[1]),)
    return ConfidenceSet(f"{effect} {term}", point, pieces, (-np.inf, np.inf), level, critical, facts)


def _furthest(limits: Callable[[NDArray], tuple], which: int, rho: NDArray) -> float:
    """The lowest lower or the highest upper limit over ρ; infinite where it is highest at the last ρ, still allowed."""
    values, room = limits(rho)[which], limits(rho)[2]
    sign = 1.0 if which else -1.0
    reached = [k for k in (0, -1) if room[k] >= 0]
    if any(sign * values[k] == (sign * values).max() for k in reached):
        return sign * np.inf
    at = int(np.argmax(sign * values))
    low, high = rho[max(at - 1, 0)], rho[min(at + 1, len(rho) - 1)]
    for _ in range(REFINED):  # one peak between neighbours of the highest
        inner = low + (high - low) * np.array([0.382, 0.618])
        left, right = sign * limits(inner)[which]
        low, high = (low, inner[1]) if left >= right else (inner[0], high)
    found = limits(np.array([low, (low + high) / 2, high]))[which]
    return float(sign * (sign * np.append(found, values[at])).max())


def _ratios(fit: Fit, replicates: int, rng: Rng) -> np.ndarray:
    """Likelihood ratios of samples drawn from the fit, at the value that they were drawn with."""
    generator, sigma2 = generator_of(fit), np.float64(fit.sigma2)
    model = generator.model
    root = seed_of(rng)
    errors = [
        draw_errors(
            fit.residuals, "parametric", sigma2, model.sample, model.effects, np.random.default_rng(seed)
        )
        for seed in root.spawn(replicates)
    ]
    samples = moments(model, generator.panels(np.stack(errors)))
    return likelihood_ratios(model, samples, generator.rho if model.lag_y else generator.lam)


@renamed(alpha="level")
@one_thread
def anderson_rubin(fit: Fit, *, level: float = 0.95) -> ConfidenceSet:
    """Invert the Anderson-Rubin test: all values of ρ that it does not reject.

    It asks nothing of the first stage, and its variance is clustered by unit with the null imposed: it keeps its level when
    errors last over time or have unequal variances. Where instruments are weak the set is wide, up to the whole admissible
    interval, which is then what the instruments say. Measured in spatial-zb docs validation/gmm.

    Parameters
    ----------
    fit
        Of one equation with ρ by ``gmm``, without λ or further endogenous regressors; converged or not, whatever its
        covariance. Instruments are those of the fit, with the highest powers of W left out until five units stand behind
        each; ``facts`` say how many are left.
    level
        Confidence level of the limits.

    Returns
    -------
    One interval, several, or none, where every value is rejected: the instruments are then not exogenous, or the model is
    another one. It is open where an end of the admissible interval is not rejected.

    Raises
    ------
    SpecificationError
        Another estimator, λ or endogenous regressors; more instruments than a fifth of the units even with one power of W.

    Notes
    -----
    Anderson & Rubin (1949), Annals of Mathematical Statistics 20: 46-63; the statistic is that of
    :mod:`spatial_zb.core.system.sets`.
    """
    _check(fit)
    alpha_of(level)
    n = len(fit.panel.units)
    most = n // CLUSTERS_PER_INSTRUMENT
    for powers in range(fit.convergence.powers, 0, -1):
        sample = gmm_sample(fit.design, powers)
        k = sample.instruments.count - sample.instruments.included.shape[1]
        if 0 < k <= most:
            break
    else:
        raise SpecificationError(
            f"{n} units carry {most} instruments beside the regressors (one for {CLUSTERS_PER_INSTRUMENT} units), and the "
            "lags of the regressors are more. Use fewer regressors with lags, or zb.bootstrap(fit).",
            f"{n}个地区只能承载{most}个工具变量（每{CLUSTERS_PER_INSTRUMENT}个地区一个），而解释变量的空间滞后更多。"
            "请减少带滞后的解释变量，或用zb.bootstrap(fit)。",
        )
    own = sample.instruments
    arrays = sample.y, sample.Z[:, [-1]], own.included, own.basis
    moments = weak_moments(*arrays, n, sample.centred, effects=sample.effects)
    critical, bounds = moments.critical(level), fit.design.interval
    pieces = line_pieces(moments, np.array([1.0, 0.0]), np.array([0.0, -1.0]), critical)
    held = tuple((max(low, bounds[0]), min(high, bounds[1])) for low, high in pieces)
    held = tuple(piece for piece in held if piece[0] < piece[1])
    facts = {
        "method": "Anderson-Rubin, by unit",
        "instruments": moments.k,
        "clusters": n,
        "form": moments.form,
    }
    return ConfidenceSet("rho", float(fit.params["rho"]), held, bounds, level, critical, facts | fit.facts)


def _check(fit: Any) -> None:
    if not isinstance(fit, Fit):
        raise SpecificationError(
            f"anderson_rubin takes a fit of fit_durbin, not {type(fit).__name__}.",
            f"anderson_rubin须给出fit_durbin的估计，而不是{type(fit).__name__}。",
        )
    spec = fit.spec
    if fit.estimator != "gmm":
        raise SpecificationError(
            f'anderson_rubin is about instruments: it takes a fit by estimator="gmm"; this one is by {fit.estimator!r}.',
            f'anderson_rubin针对工具变量：用于estimator="gmm"的估计；这里是{fit.estimator!r}。',
        )
    if not spec.lag_y or spec.lag_error or spec.endog:
        raise SpecificationError(
            "anderson_rubin needs a model with ρ as its only spatial coefficient and exogenous regressors; "
            f"{spec.title} is not such a model. Use zb.bootstrap(fit).",
            f"anderson_rubin要求模型以ρ为唯一的空间系数，且解释变量均为外生；{spec.title}不是这样的模型。"
            "请用zb.bootstrap(fit)。",
        )
