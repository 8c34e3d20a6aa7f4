"""Conley's errors by kilometres: loops over all pairs, clusters as their limit, the law of the kernel, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import spatial_zb as zb
from spatial_zb.core.clusters import EXACT_KERNEL, kernel_law
from spatial_zb.core.likelihood.covariance import distance_kernel
from spatial_zb.core.likelihood.shape import shape_estimate
from spatial_zb.core.likelihood.shape_covariance import ShapePoint, observed_derivative
from spatial_zb.models import certainty
from spatial_zb.models.shape import build_shape, fit_shape, read_lags

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

#: Sums of the same terms in another order.
ROUNDING = 1e-9
SPEC = zb.DurbinSpec("industry", ["talent", "ln_pgdp"])


@pytest.fixture(scope="module")
def delta():
    found = zb.example("delta")
    return found.panel, found.W, zb.weights.kilometres(found.regions)


def scores(fit: zb.Fit) -> np.ndarray:
    """(T, n, p) of δ, ρ, σ², without the package's arrays: derivatives of ln L by unit and period, less their mean."""
    spec, n = fit.spec, fit.weights.n
    y, x = fit.panel.array(spec.y), fit.panel.array(list(spec.x))
    A, J = np.eye(len(y)) - 1 / len(y), np.eye(n) - 1 / n
    W = fit.weights.matrix.toarray()
    two_way = lambda v: A @ v @ J  # noqa: E731
    columns = [x[:, :, k] for k in range(2)] + [x[:, :, k] @ W.T for k in range(2)] + [y @ W.T]
    e = two_way(y - fit.params["rho"] * y @ W.T) - sum(
        b * two_way(c) for b, c in zip(fit.params[list(spec.terms)], columns[:4], strict=True)
    )
    s2 = fit.params["sigma2"]
    out = np.stack([*(two_way(c) * e / s2 for c in columns), e * e / (2 * s2**2)], axis=2)
    return out - out.mean(axis=(0, 1))


@pytest.mark.parametrize(("bandwidth", "lags"), [(250.0, None), (250.0, 2), (90.0, 0)])
def test_variance_equals_loops_over_all_pairs_of_units_and_periods(delta, bandwidth, lags):
    panel, W, km = delta
    regions = zb.example("delta").regions
    asked = zb.weights.kilometres(regions, bandwidth, lags=lags)
    fit = zb.fit_durbin(SPEC, panel, W, covariance="conley", bandwidth=asked)
    s, d = scores(fit), km.align(panel.units).matrix.toarray()
    T, n, p = s.shape
    meat = np.zeros((p, p))
    for i in range(n):
        for j in range(n):
            near = max(0.0, 1 - d[i, j] / bandwidth)
            if not near:
                continue
            for t in range(T):
                for u in range(T) if lags is None else range(max(0, t - lags), min(T, t + lags + 1)):
                    over = 1.0 if lags is None else 1 - abs(t - u) / (lags + 1)
                    meat += near * over * np.outer(s[t, i], s[u, j])
    bread = zb.fit_durbin(SPEC, panel, W, covariance="hessian").cov.to_numpy()
    np.testing.assert_allclose(fit.cov.to_numpy(), bread @ meat @ bread, rtol=1e-6)


def test_without_neighbours_it_is_clustering_by_unit(delta):
    """Of a model without ρ: sums by unit of x'e; the factor n/(n − 1) is in the law in place of the error."""
    panel, W, km = delta
    spec = zb.DurbinSpec("industry", ["talent"], lag_y=False, lag_x=[])
    nearest = km.matrix.data.min() * (1 + 1e-9)  # the one pair within has a weight of next to nothing
    none = zb.weights.kilometres(zb.example("delta").regions, nearest)
    fit = zb.fit_durbin(spec, panel, W, covariance="conley", bandwidth=none)
    n = W.n
    clustered = zb.fit_durbin(spec, panel, W, covariance="cr1")
    x = panel.array("talent")
    x = x - x.mean(axis=0) - x.mean(axis=1, keepdims=True) + x.mean()
    sums = (x * fit.residuals).sum(axis=0)
    freedom = fit.nobs / (fit.nobs - 1)  # degrees of freedom of least squares, which all its covariances have
    assert fit.bse["talent"] == pytest.approx(np.sqrt(sums @ sums * freedom) / (x * x).sum(), rel=1e-6)
    assert clustered.bse["talent"] == pytest.approx(fit.bse["talent"] * np.sqrt(n / (n - 1)), rel=1e-6)
    row, same = fit.tidy().iloc[0], clustered.tidy().iloc[0]
    assert row["p_value"] == pytest.approx(same["p_value"], rel=1e-6)
    assert row["conf_low"] == pytest.approx(same["conf_low"], rel=1e-6)


def test_the_law_of_a_kernel_is_that_of_simulated_sums(delta):
    """P(|t| > s) by the law, against 40,000 draws of independent sums whose mean is tested by the kernel."""
    km = delta[2].matrix
    kernel = distance_kernel(km, 450.0)
    h = np.random.default_rng(0).standard_normal((40_000, km.shape[0]))
    off = h - h.mean(axis=1, keepdims=True)
    variance = np.einsum("ri,ri->r", off @ kernel.matrix.toarray(), off) / km.shape[0]
    t = np.sqrt(km.shape[0]) * h.mean(axis=1) / np.sqrt(variance)
    law = kernel.law
    for share in (0.025, 0.005):
        assert (np.abs(t) > law.quantile(share)).mean() == pytest.approx(2 * share, abs=0.0035)
    assert law.quantile(0.025) > 2.5 > stats.t(km.shape[0] - 1).ppf(0.975)


def test_many_units_take_two_moments_of_the_kernel(monkeypatch, delta):
    kernel = distance_kernel(delta[2].matrix, 200.0).matrix
    exact = kernel_law(kernel)
    monkeypatch.setattr("spatial_zb.core.clusters.EXACT_KERNEL", 20)
    close = kernel_law(kernel)
    assert sum(close.shares) == pytest.approx(sum(exact.shares), rel=1e-9)
    assert close.quantile(0.025) == pytest.approx(exact.quantile(0.025), rel=0.05)
    assert EXACT_KERNEL > 1000


def test_the_rule_of_the_bandwidth_and_what_is_said(delta):
    panel, W, km = delta
    fit = zb.fit_durbin(SPEC, panel, W, covariance="conley", bandwidth=km)
    d = km.matrix.toarray()
    nearest = np.median(np.where(d > 0, d, np.inf).min(axis=1))
    assert fit.convergence.kernel.reach == pytest.approx(certainty.CONLEY_REACH * nearest)
    assert fit.convergence.kernel.overlap <= certainty.CONLEY_OVERLAP
    (note,) = [note for note in fit.notes if note.kind is certainty.conley_coverage]
    assert "spatial-zb docs validation/clusters" in note.text.en
    assert "ρ itself is off" in note.text.en
    assert "公里" in note.text.zh
    alone = zb.DurbinSpec("industry", ["talent"], lag_y=False)
    (note,) = [
        n
        for n in zb.fit_durbin(alone, panel, W, covariance="conley", bandwidth=km).notes
        if "km" in n.text.en
    ]
    assert "ρ itself is off" not in note.text.en
    effects = zb.spatial_effects(fit).tidy()
    assert effects["std_error"].notna().all()
    order = np.random.default_rng(1).permutation(W.n)
    shuffled = panel.select(units=[panel.units[i] for i in order])
    again = zb.fit_durbin(SPEC, shuffled, W, covariance="conley", bandwidth=km)
    pd.testing.assert_series_equal(again.bse, fit.bse, rtol=1e-6)


# --- Panels of any shape


@pytest.fixture(scope="module")
def uneven(delta):
    """The delta with a fifth of the rows blank and one city without any row."""
    panel = delta[0]
    y = panel.array("industry").copy()
    gone = np.random.default_rng(4).random(y.shape) < 0.2
    gone[:, 7] = True
    return replace(panel.with_columns({"industry": np.where(gone, np.nan, y)}), uneven=True)


@pytest.mark.parametrize(("lags", "lag_error"), [(None, False), (2, False), (2, True)])
def test_on_a_complete_panel_the_adjusted_score_has_the_same_errors(delta, lags, lag_error):
    panel, W, _ = delta
    spec = replace(SPEC, lag_error=lag_error, lag_y=not lag_error)
    asked = zb.weights.kilometres(zb.example("delta").regions, 250.0, lags=lags)
    fit = zb.fit_durbin(spec, panel, W, covariance="conley", bandwidth=asked)
    design = build_shape(spec, panel, read_lags(spec, panel, W, None, None), ())
    again = fit_shape(design, "conley", kernel=fit.convergence.kernel)
    np.testing.assert_allclose(again.cov, fit.cov, rtol=1e-7)
    pd.testing.assert_frame_equal(again.tidy(), fit.tidy(), rtol=1e-7)


@pytest.mark.parametrize("lags", [None, 1])
def test_uneven_rows_by_loops_over_all_pairs(delta, uneven, lags):
    """Score sums of δ, ρ and σ² by dummies and dense matrices of the rows that are there."""
    _, W, km = delta
    reach = 250.0
    asked = zb.weights.kilometres(zb.example("delta").regions, reach, lags=lags)
    fit = zb.fit_durbin(SPEC, uneven, W, covariance="conley", bandwidth=asked)
    assert (fit.estimator, len(fit.panel.units)) == ("adjusted_score", 39)
    there, e = fit.design.present, fit.residuals[fit.design.present]
    period, unit = np.nonzero(there)
    D = np.column_stack([np.eye(len(there))[period], np.eye(there.shape[1])[unit]])
    shape = fit.design.shape
    columns = np.column_stack([shape.Z, shape.W.matrix @ fit.design.values])
    off = columns - D @ np.linalg.lstsq(D, columns, rcond=None)[0]
    s2 = fit.params["sigma2"]
    s = np.column_stack([off * e[:, None] / s2, e * e / (2 * s2**2)])
    s = s - s.mean(axis=0)
    order = [list(km.ids).index(name) for name in fit.panel.units]
    d = km.matrix.toarray()[np.ix_(order, order)]
    near = np.clip(1 - d[np.ix_(unit, unit)] / reach, 0, None)
    gap = np.abs(period[:, None] - period)
    over = np.ones(gap.shape) if lags is None else np.clip(1 - gap / (lags + 1), 0, None)
    meat = s.T @ (near * over) @ s
    keep = [*range(5), 6]  # no λ
    derivative = observed_derivative(ShapePoint(shape_estimate(shape, fit.design.values)))
    bread = np.linalg.inv(derivative[np.ix_(keep, keep)])
    np.testing.assert_allclose(fit.cov.to_numpy(), bread @ meat @ bread.T, rtol=1e-6)
    assert fit.convergence.kernel.matrix.shape == (39, 39)


def test_uneven_rows_in_another_order_and_followed_through(delta, uneven):
    _, W, km = delta
    fit = zb.fit_durbin(SPEC, uneven, W, covariance="conley", bandwidth=km)
    order = np.random.default_rng(1).permutation(W.n)
    shuffled = uneven.select(units=[uneven.units[i] for i in order])
    again = zb.fit_durbin(SPEC, shuffled, W, covariance="conley", bandwidth=km)
    pd.testing.assert_series_equal(again.bse, fit.bse, rtol=1e-6)
    assert certainty.conley_coverage in {note.kind for note in fit.notes}
    effects = zb.spatial_effects(fit).tidy()
    assert effects["std_error"].notna().all()
    assert fit.glance()["covariance"].item() == "conley"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"covariance": "conley"}, "bandwidth=zb.weights.kilometres"),
        ({"covariance": "conley", "bandwidth": 300.0}, "bandwidth=zb.weights.kilometres"),
        ({"covariance": "cluster", "bandwidth": {}}, "go together"),
        ({"covariance": "conley", "bandwidth": {"within_km": 200.0, "lags": 40}}, "lags"),
        ({"covariance": "conley", "bandwidth": {"within_km": 3000.0}}, "cancels"),
    ],
)
def test_refusals_name_the_remedy(delta, more, words):
    panel, W, _ = delta
    if isinstance(more.get("bandwidth"), dict):
        more = more | {"bandwidth": zb.weights.kilometres(zb.example("delta").regions, **more["bandwidth"])}
    with pytest.raises(zb.SpecificationError, match=words) as found:
        zb.fit_durbin(SPEC, panel, W, **more)
    assert any("一" <= letter <= "鿿" for letter in found.value.zh)
