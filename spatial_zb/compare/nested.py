"""Fits side by side, with tests where one is inside another and criteria where likelihoods are alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd
from scipy import stats

from spatial_zb.errors import SpecificationError, listed
from spatial_zb.models.fit import Fit

__all__ = ["Comparison", "compare_fits"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """``fits`` one row per fit; ``tests`` one row per nested pair (restricted, general, statistic, df, p_value)."""

    fits: pd.DataFrame
    tests: pd.DataFrame

    def tidy(self) -> pd.DataFrame:
        """Likelihood-ratio tests of the nested pairs."""
        return self.tests.copy()

    def glance(self) -> pd.DataFrame:
        """One row per fit: model, parameters, ln L, AIC, BIC and their distance from the best."""
        return self.fits.copy()


def compare_fits(fits: Mapping[str, Fit]) -> Comparison:
    """Compare fits of the same y, sample, effects and likelihood.

    LR = 2(ln L₁ − ln L₀) is given for pairs where the terms of one are among those of the other under the same W.
    Fits with different W are not nested; AIC and BIC still compare them, since y and the sample are the same.

    Raises
    ------
    SpecificationError
        Fewer than two fits, a fit that did not converge, or fits whose likelihoods are not of the same data: other
        y, units, periods, effects or estimator.
    """
    if len(fits) < 2:
        raise SpecificationError("Comparing needs at least two fits.")
    failed = [name for name, fit in fits.items() if not fit.converged]
    if failed:
        raise SpecificationError(f"{listed(failed)} did not converge; leave them out of the comparison.")
    _refuse_unlike(fits)
    rows = pd.DataFrame(
        {
            "fit": list(fits),
            "model": [f.spec.family for f in fits.values()],
            "weights": [f.weights.label for f in fits.values()],
            "parameters": [len(f.params) for f in fits.values()],
            "log_likelihood": [f.log_likelihood for f in fits.values()],
            "aic": [f.aic for f in fits.values()],
            "bic": [f.bic for f in fits.values()],
        }
    )
    rows["delta_aic"] = rows["aic"] - rows["aic"].min()
    rows["akaike_weight"] = np.exp(-rows["delta_aic"] / 2) / np.exp(-rows["delta_aic"] / 2).sum()
    tests = [
        _likelihood_ratio(a, fits[a], b, fits[b])
        for a, b in permutations(fits, 2)
        if _nested(fits[a], fits[b])
    ]
    columns = ["restricted", "general", "statistic", "df", "p_value"]
    return Comparison(rows, pd.DataFrame(tests, columns=columns))


def _refuse_unlike(fits: Mapping[str, Fit]) -> None:
    facts = {
        "y": lambda f: f.spec.y,
        "units": lambda f: tuple(sorted(f.panel.units)),
        "periods": lambda f: tuple(f.panel.periods),
        "effects": lambda f: f.spec.fixed_effects,
        "estimator": lambda f: f.estimator,
        "values of y": lambda f: _values(f),
    }
    for what, of in facts.items():
        if len({of(fit) for fit in fits.values()}) > 1:
            raise SpecificationError(
                f"{listed(fits)} differ in their {what}: their likelihoods are of different data, and ln L, AIC and BIC "
                "say nothing about which is better. Fit them on the same sample in the same way."
            )


def _values(fit: Fit) -> float:
    return float(fit.panel.array(fit.spec.y)[:, np.argsort(fit.panel.units)].sum())


def _nested(small: Fit, large: Fit) -> bool:
    """Whether ``small`` is ``large`` with some coefficients at zero, under the same W."""
    if set(small.params.index) >= set(large.params.index):
        return False
    same_w = not small.spec.spatial_terms and not small.spec.lag_x
    if not same_w:
        a, b = small.weights, large.weights.align(small.weights.ids)
        same_w = (a.matrix != b.matrix).nnz == 0
    return same_w and set(small.params.index) < set(large.params.index)


def _likelihood_ratio(a: str, small: Fit, b: str, large: Fit) -> tuple[str, str, float, int, float]:
    statistic = 2 * (large.log_likelihood - small.log_likelihood)
    df = len(large.params) - len(small.params)
    return a, b, float(statistic), df, float(stats.chi2.sf(statistic, df))
