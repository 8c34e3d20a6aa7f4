"""Tests whose law depends on ρ or λ, brought to a scale on which it hardly does: their p-value at the estimate.

P(c, s) is the share of panels drawn at a coefficient c whose statistic is s or more, the other parameters and the
errors those of the data given c. It is drawn on a grid of c, with the same errors everywhere, and read between.
What is compared is −P(ĉ, s), of the data and of panels drawn at ĉ, each with its own estimate ĉ*: the double bootstrap
(Beran 1988, JASA 83: 687-697; Davison & Hinkley 1997, §4.5), whose inner draws depend on a panel by ĉ* only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from spatial_zb.core.bootstrap import Generator, error_pool
from spatial_zb.core.replicates import SampleModel, estimate_all
from spatial_zb.core.spatial_ml import given_spatial
from spatial_zb.hypotheses.case import Array, Case
from spatial_zb.hypotheses.replicated import replicated_statistics
from spatial_zb.models.design import Design
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import cross_products_of
from spatial_zb.resampling import generator_of

__all__ = ["PREPIVOTED", "prepivoted"]

#: Tests that allow for a small ρ or λ only.
PREPIVOTED = ("LM lag, robust", "LM error, robust")
#: Coefficients at which the law is drawn, and how many of the draws serve it.
GRID, SHARE = 9, 0.5


def prepivoted(
    case: Case, fit: Fit, test: str, Y: Array, drawn: Array, seed: np.random.SeedSequence
) -> tuple[float, Array]:
    """−P(ĉ, s) of the data, and of panels Y (R, T, n) with statistics ``drawn`` (R,).

    Parameters
    ----------
    fit
        Of the null hypothesis, with one spatial lag.
    seed
        Of the errors of the grid.
    """
    model = generator_of(fit).model
    found = estimate_all(model, Y, covariance=False)
    at = np.append(fit.params[fit.spec.spatial_terms[0]], found.rho + found.lam)
    own = replicated_statistics(case, [test], case.panel.array(case.spec.y)[None])[test, ""]
    statistics = np.append(own, drawn)
    grid = np.linspace(at.min(), at.max(), GRID)
    size = (int(SHARE * len(Y)), *Y[0].shape)
    chosen = np.random.default_rng(seed).integers(Y[0].size, size=size)
    law = [
        replicated_statistics(case, [test], panels(chosen))[test, ""]
        for panels in _sources(fit.design, model, grid)
    ]
    shares = -_shares(np.array(law), grid, statistics, at)
    shares[~np.isfinite(statistics)] = np.nan
    return float(shares[0]), shares[1:]


def _sources(design: Design, model: SampleModel, grid: Array) -> Iterator[Callable[[Array], Array]]:
    """For ρ or λ of each of the grid, the rest estimated given it: chosen residuals ↦ panels (R, T, n)."""
    products = cross_products_of(design)
    for c in grid:
        rho, lam = (c, 0.0) if model.lag_y else (0.0, c)
        delta, _ = given_spatial(products, model.sample, rho, lam)
        e = design.y - rho * design.Wy - design.Z @ delta
        if model.lag_error:
            e = e - lam * (design.Wy - design.WZ @ delta)
        pool = error_pool(e, "residual", model.sample, model.effects).ravel()
        generator = Generator(model, delta, rho, lam)
        yield lambda chosen, generator=generator, pool=pool: generator.panels(pool[chosen])


def _shares(law: Array, grid: Array, statistics: Array, at: Array) -> Array:
    """P(c, s) at many pairs, between the grid: ``law`` (G, R) at ``grid`` (G,)."""
    place = np.interp(at, grid, np.arange(len(grid)))
    below = np.minimum(place.astype(int), len(grid) - 2)
    part = place - below
    low, high = ((law[i] >= statistics[:, None]).mean(axis=1) for i in (below, below + 1))
    return (1 - part) * low + part * high
