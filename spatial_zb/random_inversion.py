"""Median-unbiased ρ or λ, and φ, with random unit effects: the laws of their scores, inverted one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.core.random_law import RandomErrorLaw, RandomLagLaw, RandomModel, VarianceLaw
from spatial_zb.core.score_law import ScoreLaw, Solution, invert
from spatial_zb.models.fit import Fit
from spatial_zb.score_inversion import MedianUnbiased, drawing_from, values_at

__all__ = ["RandomMedianUnbiased", "invert_random"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class RandomMedianUnbiased(MedianUnbiased):
    """Estimates given the median-unbiased ρ or λ and φ; limits of φ are exact given ρ or λ, under normal errors.

    Attributes
    ----------
    of_variance
        The law of the score of s = ln(1 + Tφ), and its solution.
    """

    of_variance: tuple[VarianceLaw, Solution] = field(repr=False)

    @cached_property
    def draws(self) -> Array:
        """(R, p) parameters as likely as the data make them: ρ or λ, δ and σ² given it, and φ."""
        (term,) = self.fit.spec.spatial_terms
        rng = drawing_from(self.law.seed)
        at = values_at(self.law, self.solutions[term], rng.random(self.replicates))
        delta, sigma2 = self.law.drawn_estimates(at, rng)
        s = values_at(*self.of_variance, rng.random(self.replicates))
        return np.column_stack([delta, at, _phi(s, self.law.model.periods), sigma2])


def invert_random(
    fit: Fit,
    replicates: int,
    root: np.random.SeedSequence,
    alpha: float,
    counted: Callable[[ScoreLaw], ScoreLaw],
) -> RandomMedianUnbiased:
    """Solve for ρ or λ, then for φ given it; arguments as checked by :func:`spatial_zb.median_unbiased`."""
    spec, design = fit.spec, fit.design
    (term,), (seed, other) = spec.spatial_terms, root.spawn(2)
    apart = bool(spec.lag_error) and spec.error_structure == "baltagi"
    model = RandomModel(design.Z, fit.weights.matrix.toarray(), fit.weights.logdet, bool(spec.lag_y), apart)
    law = (RandomLagLaw if spec.lag_y else RandomErrorLaw)(model, design.y, replicates, seed)
    start = None if fit.convergence["at_bound"] else float(fit.params[term])
    found = invert(counted(law), alpha, start)
    given, sample = law.given(found.estimate)
    of_s = VarianceLaw(given, sample, replicates, other)
    s = invert(of_s, alpha)
    phi = replace(
        s, **{name: float(_phi(getattr(s, name), model.periods)) for name in ("estimate", "low", "high")}
    )
    _, delta, ssr = given.solve(np.full(1, s.estimate), given.data(sample))
    values = [*delta[0], found.estimate, phi.estimate, ssr[0] / design.y.size]
    solutions: Mapping[str, Solution] = {term: found, "phi": phi}
    params = pd.Series(values, index=fit.params.index, name="estimate")
    return RandomMedianUnbiased(fit, params, solutions, replicates, alpha, law, (of_s, s))


def _phi(s: Array | float, periods: int) -> Array:
    return np.expm1(s) / periods
