"""Intervals of ρ and λ from the likelihood itself, without a standard error."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from spatial_zb.arguments import check_alpha, seed_of
from spatial_zb.core.bootstrap import draw_errors
from spatial_zb.core.sample_likelihoods import likelihood_ratios, moments, ratio_limits
from spatial_zb.core.samples import fast
from spatial_zb.errors import SpecificationError, listed, listed_zh
from spatial_zb.models.fit import Fit
from spatial_zb.resampling import check_single, generator_of

__all__ = ["profile_interval"]

#: Fewest replicates from which a critical value at 5 % is read.
FEWEST = 99


def profile_interval(
    fit: Fit,
    term: str | None = None,
    alpha: float = 0.05,
    *,
    bootstrap: int = 0,
    rng: int | np.random.SeedSequence | None = None,
) -> pd.Series:
    """Invert the likelihood-ratio test: all values of ρ (or λ) that it does not reject.

    {c : 2[ln L(ĉ) − ln L(c)] ≤ χ²₁(1 − α)}, all other parameters at their best for each c. It is as skewed as the
    likelihood, ends inside the admissible interval, and exists where the likelihood has no interior maximum.
    :func:`spatial_zb.median_unbiased` gives an estimate as well, and needs no large sample (docs/validation/study.md).

    Parameters
    ----------
    fit
        Of one equation by ``lee_yu`` or ``direct``, with one spatial lag, of y or of the error; converged or not.
    term
        ``"rho"`` or ``"lam"``; without it the one that the model has.
    alpha
        One minus the confidence level.
    bootstrap, rng
        Replicates (none, or at least 99) from which the critical value is read in place of χ², and their seed: samples
        from the fit with normal errors, whose ratios are at the value that they were drawn with.

    Returns
    -------
    Series with estimate, conf_low, conf_high, open_low, open_high (the end of the admissible interval, at which the
    likelihood has not fallen far enough), critical.

    Raises
    ------
    SpecificationError
        Another estimator, a model without the term or with both, too few replicates.
    """
    check_single(fit)
    term = term or next(iter(fit.spec.spatial_terms), "rho")
    if term not in fit.spec.spatial_terms:
        raise SpecificationError(
            f"term must be one of {listed(fit.spec.spatial_terms) or 'rho, lam'} for {fit.spec.family}, not {term!r}.",
            f"{fit.spec.family}的term须为{listed_zh(fit.spec.spatial_terms) or 'rho、lam'}之一，而不是{term!r}。",
        )
    if len(fit.spec.spatial_terms) > 1:
        raise SpecificationError(
            f"{fit.spec.family} has ρ and λ, of which one interval at a time says little: read zb.median_unbiased(fit) or "
            "zb.bootstrap(fit).",
            f"{fit.spec.family}同时含ρ和λ，单独一个的区间说明不了什么：请用zb.median_unbiased(fit)或zb.bootstrap(fit)。",
        )
    weights = fit.weights
    if not fast(weights.matrix, weights.logdet, bool(fit.spec.lag_y), bool(fit.spec.lag_error)):
        raise SpecificationError(
            f"With {weights.n} units the standard error of {term!r} is good: read fit.conf_int().",
            f"{weights.n}个地区时{term!r}的标准误可靠：请用fit.conf_int()。",
        )
    check_alpha(alpha)
    if bootstrap and bootstrap < FEWEST:
        raise SpecificationError(
            f"bootstrap must be 0 or at least {FEWEST}, not {bootstrap}.",
            f"bootstrap须为0或至少{FEWEST}，而不是{bootstrap}。",
        )
    generator = generator_of(fit)
    critical = float(stats.chi2.ppf(1 - alpha, 1))
    if bootstrap:
        critical = float(np.quantile(_ratios(fit, bootstrap, rng), 1 - alpha))
    y = fit.panel.array(fit.spec.y)[None]
    limits, is_open = ratio_limits(generator.model, moments(generator.model, y), critical)
    return pd.Series(
        {
            "estimate": float(fit.params[term]),
            "conf_low": float(limits[0, 0]),
            "conf_high": float(limits[0, 1]),
            "open_low": bool(is_open[0, 0]),
            "open_high": bool(is_open[0, 1]),
            "critical": critical,
        },
        name=term,
        dtype=object,
    )


def _ratios(fit: Fit, replicates: int, rng: int | np.random.SeedSequence | None) -> np.ndarray:
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
