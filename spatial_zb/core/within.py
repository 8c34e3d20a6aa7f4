"""The fixed-effects transform and what it leaves of a sample.

Lee, L.F. & Yu, J. (2010), Estimation of spatial autoregressive panel data models with fixed effects,
Journal of Econometrics 154: 165-185.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["FixedEffects", "TransformedSample", "demean", "transformed_sample"]

Values = float | NDArray[np.float64]

FixedEffects = Literal["none", "unit", "time", "two_way"]


def demean(values: NDArray[np.float64], effects: FixedEffects) -> NDArray[np.float64]:
    """Project a (T, n) or (T, n, k) array off the unit and/or time effects.

    With time effects this must come *after* multiplying by W: J W y differs from W J y unless W ι = ι and
    W is symmetric.
    """
    if effects in ("unit", "two_way"):
        values = values - values.mean(axis=0, keepdims=True)
    if effects in ("time", "two_way"):
        values = values - values.mean(axis=1, keepdims=True)
    return values


@dataclass(frozen=True, slots=True)
class TransformedSample:
    """How many observations a likelihood has, and which log-determinant it needs.

    ``observations`` is N in −(N/2) ln 2πσ²; ``periods`` is T* in T*·ln|I − ρW|; ``centred`` says that the
    eigenvalue of ι is removed from the determinant (ln|I − ρW| − ln(1 − ρ)); ``absorbed`` counts the effects
    concentrated out, for residual degrees of freedom.
    """

    n_units: int
    n_periods: int
    observations: int
    periods: int
    centred: bool
    absorbed: int

    def concentrated(self, determinants: Values, ssr: Values) -> Values:
        """ln L with δ and σ² concentrated out, up to its constant: T*[D(ρ) + D(λ)] − (N/2) ln SSR."""
        return self.periods * determinants - self.observations / 2 * np.log(ssr)

    def concentrated_score(self, first: Values, ssr: Values, slope: Values) -> Values:
        """Its derivative, T* D′ − (N/2) SSR′/SSR."""
        return self.periods * first - self.observations / 2 * slope / ssr


def transformed_sample(
    n_units: int, n_periods: int, effects: FixedEffects, estimator: Literal["lee_yu", "direct"]
) -> TransformedSample:
    """Count the transformed sample of Lee & Yu (2010, sections 3.1 and 3.2), or of direct ML with dummies."""
    n, T = n_units, n_periods
    unit, time = effects in ("unit", "two_way"), effects in ("time", "two_way")
    absorbed = n * unit + T * time - (unit and time)
    if estimator == "direct":
        return TransformedSample(n, T, n * T, T, False, absorbed)
    return TransformedSample(n, T, (n - time) * (T - unit), T - unit, time, absorbed)
