"""Means, trends and correlations over units: by hand, by loops, and whether their intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spatial_zb.core.statistics.dispersion import (
    correlation_over_units,
    correlation_tail,
    mean_over_units,
    trend_over_units,
)

RNG = np.random.default_rng(5)
ONE, OTHER = RNG.normal(size=(2, 6, 15))


def test_a_mean_has_students_interval():
    found = mean_over_units(np.append(ONE[0], np.nan), 0.9)
    low, high = stats.t.interval(0.9, 14, ONE[0].mean(), stats.sem(ONE[0]))
    assert (found.estimate, found.low, found.high) == pytest.approx((ONE[0].mean(), low, high))


def test_a_trend_is_the_mean_of_the_units_own_slopes():
    times = np.array([2001.0, 2002, 2003, 2004, 2005, 2007])
    gap = ONE.copy()
    gap[2, 3] = np.nan
    slopes = [np.polyfit(times, gap[:, i], 1)[0] for i in range(15) if i != 3]
    found = trend_over_units(gap, times, 0.95)
    assert found.estimate == pytest.approx(np.mean(slopes))
    assert found.high == pytest.approx(np.mean(slopes) + stats.t.ppf(0.975, 13) * stats.sem(slopes))


def test_a_correlation_is_jackknifed_by_unit():
    gap = OTHER + 0.8 * ONE
    gap[0, 0] = np.nan
    there = np.isfinite(gap)

    def fisher(kept):
        here = there[:, kept]
        return np.arctanh(np.corrcoef(ONE[:, kept][here], gap[:, kept][here])[0, 1])

    without = [fisher([j for j in range(15) if j != i]) for i in range(15)]
    spread = np.sqrt(14 / 15 * np.sum((without - np.mean(without)) ** 2))
    whole = fisher(list(range(15)))
    found = correlation_over_units(ONE, gap, 0.95)
    wanted = np.tanh(
        [whole, whole - stats.t.ppf(0.975, 14) * spread, whole + stats.t.ppf(0.975, 14) * spread]
    )
    assert (found.estimate, found.low, found.high) == pytest.approx(tuple(wanted))
    shifted = correlation_over_units(1e6 + ONE, gap - 1e6, 0.95)
    assert shifted.low == pytest.approx(found.low, abs=1e-6)


def test_what_does_not_vary_has_no_correlation():
    assert np.isnan(correlation_over_units(np.ones((4, 5)), RNG.normal(size=(4, 5)), 0.95).estimate)
    assert np.isnan(correlation_tail(np.ones(5), np.arange(5.0), 99, RNG))


def test_intervals_cover_where_values_of_a_unit_last():
    """AR(1) 0.9 within 41 units over 13 years: unit-periods taken as independent would cover about half of the time."""
    rng, hits, tails = np.random.default_rng(1), 0, []
    for _ in range(300):
        pair = rng.normal(size=(2, 41))
        rows = []
        for _ in range(13):
            pair = 0.9 * pair + np.sqrt(1 - 0.81) * rng.normal(size=(2, 41))
            rows.append(pair)
        one, other = np.moveaxis(np.array(rows), 1, 0)
        found = correlation_over_units(one, other, 0.95)
        hits += found.low < 0 < found.high
        tails.append(correlation_tail(one[-1], other[-1], 199, rng))
    assert 0.92 <= hits / 300 <= 0.975
    assert 0.02 <= np.mean(np.array(tails) <= 0.05) <= 0.09
