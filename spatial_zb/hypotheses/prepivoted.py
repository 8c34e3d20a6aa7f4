"""Tests whose law depends on ρ or λ, brought to a scale on which it hardly does: their place in the law at the estimate.

U(c, s) is the place of a statistic s among those of panels drawn at a coefficient c, the other parameters and the errors
those of the data given c. With the same errors everywhere every drawn statistic is a smooth function of c, made on a
grid and read between it. What is compared is U(ĉ, s), of the data and of panels drawn at ĉ, each with its own estimate ĉ*:
the double bootstrap (Beran 1988, JASA 83: 687-697; Davison & Hinkley 1997, §4.5), whose inner draws depend on a panel by
ĉ* only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.interpolate import CubicSpline

from spatial_zb.core.bootstrap import Generator, error_pool
from spatial_zb.core.replicates import estimate_all
from spatial_zb.core.samples import SampleModel
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
GRID, SHARE = 6, 0.5
#: The least width of the grid.
NARROW = 1e-6


def prepivoted(
    case: Case, fit: Fit, test: str, Y: Array, drawn: Array, seed: np.random.SeedSequence
) -> tuple[float, Array]:
    """U(ĉ, s) of the data, and of panels Y (R, T, n) with statistics ``drawn`` (R,).

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
    grid = _grid(at)
    size = (int(SHARE * len(Y)), *Y[0].shape)
    chosen = np.random.default_rng(seed).integers(Y[0].size, size=size)
    law = [
        replicated_statistics(case, [test], panels(chosen))[test, ""]
        for panels in _sources(fit.design, model, grid)
    ]
    places = _places(CubicSpline(grid, np.array(law))(at), statistics)
    places[~np.isfinite(statistics)] = np.nan
    return float(places[0]), places[1:]


def _grid(at: Array) -> Array:
    """Coefficients from the lowest to the highest, not all the same."""
    low, high = at.min(), at.max()
    return np.linspace(low, max(high, low + NARROW), GRID)


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


def _places(drawn: Array, statistics: Array) -> Array:
    """Place (K,) of each statistic, not negative, among its draws (K, m), between two of them by their distance.

    Below all it falls to −1, above all it rises to m: no two statistics with the same draws tie.
    """
    m, drawn = drawn.shape[1], np.sort(np.maximum(drawn, 0.0), axis=1)
    below = (drawn < statistics[:, None]).sum(axis=1)
    left, right = (
        np.take_along_axis(drawn, np.clip(at, 0, m - 1)[:, None], axis=1)[:, 0] for at in (below - 1, below)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (statistics - left) / (right - left)
        low, high = statistics / right - 1, 1 - left / statistics
    return np.select([below == 0, below == m], [low, m - 1 + high], below - 1 + between)
