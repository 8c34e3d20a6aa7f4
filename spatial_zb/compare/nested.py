"""Fits side by side, with tests where one is inside another, criteria where likelihoods are alike, and else neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Literal

import numpy as np
import pandas as pd

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.printing import Printed
from spatial_zb.core.likelihood.tests import likelihood_ratio_p_value, quadratic_form, wald_p_value
from spatial_zb.hypotheses.nested import counts, likelihood_ratio_of
from spatial_zb.hypotheses.nonnested import j_test, nested, refuse_other_likelihoods, same_model, vuong_test
from spatial_zb.models.fit import Fit

_TEST_COLUMNS = ["restricted", "general", "statistic", "df", "p_value", "wald", "wald_p_value"]
_OTHER_COLUMNS = ["test", "null", "alternative", "statistic", "df", "p_value", "favours", "note"]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Printed):
    """Several fits of the same data.

    Attributes
    ----------
    fits
        One row per fit: model, W, parameters, ln L, AIC, BIC, distance from the best and Akaike weight.
    tests
        One row per nested pair: ``restricted, general``, likelihood ratio ``statistic, df, p_value``, and the Wald test of
        the same restrictions with the covariance of the general fit, ``wald, wald_p_value``; p-values by the laws of
        :func:`spatial_zb.tests.simplification_tests`, so that they are those of the test chain.
    nonnested
        One row per test of a pair that is not nested: ``test`` (``"J"`` or ``"Vuong"``), ``null``, ``alternative``,
        ``statistic, df, p_value, favours, note``. A J test is of the null, so that each pair has two; Vuong's is of
        their being equally good, so that it has one.
    """

    fits: pd.DataFrame
    tests: pd.DataFrame
    nonnested: pd.DataFrame

    def tidy(self) -> pd.DataFrame:
        """Likelihood-ratio and Wald tests of the nested pairs; ``nonnested`` has the other tests."""
        return self.tests.copy()

    def glance(self) -> pd.DataFrame:
        """One row per fit: model, parameters, ln L, AIC, BIC and their distance from the best."""
        return self.fits.copy()


def compare_fits(
    fits: Mapping[str, Fit],
    *,
    nonnested: Sequence[Literal["j", "vuong"]] = (),
    covariance: Literal["information", "robust", "cluster"] = "robust",
) -> Comparison:
    """Compare fits of the same y, sample, effects and likelihood.

    LR = 2(ln L₁ − ln L₀) is given for pairs where the terms of one are among those of the other under the same W, and
    the Wald test beside it, which holds with a robust covariance where LR does not.
    Fits with different W are not nested; AIC and BIC still compare them, since y and the sample are the same, and so do
    the tests asked for.

    Parameters
    ----------
    fits
        Converged maximum-likelihood fits by name.
    nonnested
        ``"j"`` (both ways round) and ``"vuong"``, for every pair that is not nested: :func:`j_test` and
        :func:`vuong_test`.
    covariance
        Of the J tests.

    Raises
    ------
    SpecificationError
        Fewer than two fits, a fit that did not converge or has no likelihood, or fits whose likelihoods are not of the
        same data: other y, units, periods, effects or estimator.
    """
    if len(fits) < 2:
        raise SpecificationError("Comparing needs at least two fits.", "比较至少需要两个估计结果。")
    unknown = sorted(set(nonnested) - {"j", "vuong"})
    if unknown:
        raise SpecificationError(
            f'nonnested may name "j" and "vuong", not {listed(unknown)}.',
            f'nonnested可为"j"和"vuong"，而不是{listed_zh(unknown)}。',
        )
    refuse_other_likelihoods(fits)
    tests = [
        _nested_pair(a, fits[a], b, fits[b]) for a, b in permutations(fits, 2) if nested(fits[a], fits[b])
    ]
    pairs = [
        (a, b)
        for a, b in combinations(fits, 2)
        if not (nested(fits[a], fits[b]) or nested(fits[b], fits[a]) or same_model(fits[a], fits[b]))
    ]
    rows = [row for pair in pairs for row in _unnested(fits, *pair, nonnested, covariance)]
    return Comparison(
        _criteria(fits),
        pd.DataFrame(tests, columns=_TEST_COLUMNS),
        pd.DataFrame(rows, columns=_OTHER_COLUMNS),
    )


def _criteria(fits: Mapping[str, Fit]) -> pd.DataFrame:
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
    return rows


def _unnested(
    fits: Mapping[str, Fit],
    a: str,
    b: str,
    asked: Sequence[str],
    covariance: Literal["information", "robust", "cluster"],
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    if "j" in asked:
        for null, other in ((a, b), (b, a)):
            (found,) = j_test(fits[null], {other: fits[other]}, covariance=covariance).rows
            rows.append(("J", null, other, found.statistic, found.df, found.p_value, "", found.note.en))
    if "vuong" in asked:
        (found,) = vuong_test(fits[a], fits[b]).rows
        favours = {"first": a, "second": b, "neither": ""}[found.more["favours"]]
        rows.append(("Vuong", a, b, found.statistic, np.nan, found.p_value, favours, found.note.en))
    return rows


def _nested_pair(a: str, small: Fit, b: str, large: Fit) -> tuple[object, ...]:
    """Likelihood ratio, and the Wald statistic of the terms that only the large fit has (NaN where V is singular)."""
    statistic = likelihood_ratio_of(large, small)
    extra = [term for term in large.params.index if term not in small.params.index]
    theta, V = large.params[extra].to_numpy(), large.cov.loc[extra, extra].to_numpy()
    wald = float(quadratic_form(theta, V))
    df, size = len(extra), counts(large)
    ratio_p, wald_p = likelihood_ratio_p_value(statistic, df, *size), wald_p_value(wald, df, *size)
    return a, b, statistic, df, float(ratio_p), wald, float(wald_p)
