"""Responses to a shock against twin paths of the whole system, by city, and their shares of variance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_examples import directed_knn, weights_of

import spatial_zb as zb
from spatial_zb.effects.responses import _second_moments
from spatial_zb.models.system.dynamic import array_order, carried_fit

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

N, H = 14, 4
EXACT = 1e-10


def fit_of(W, effects: str = "two_way", lag_error: bool = False) -> zb.models.system.fit.SystemFit:
    equations = {
        "a": zb.Equation("a", x=["x"], lag_endog=["b"], lag_error=lag_error),
        "b": zb.Equation("b", ["a"], ["x"], time_lag=["b"]),
    }
    spec = zb.SystemSpec(equations, effects, time_lag=True, lag_time_lag=True)
    truth = {("a", "L_a"): 0.5, ("a", "L_b"): 0.3, ("b", "L_b"): 0.4, ("b", "a"): 0.2, ("a", "W_a"): 0.2}
    panel = zb.simulate.system(spec, W, 12, zb.simulate.Truth(truth, sigma=[[1, 0.4], [0.4, 2]]), rng=8)
    return zb.fit_system(spec, panel, W)


@pytest.fixture(scope="module")
def fit():
    return fit_of(directed_knn(N))


def matrices(fit) -> tuple[np.ndarray, np.ndarray]:
    """𝐒 and 𝐀, dense."""
    W, n = fit.weights.matrix.toarray(), fit.weights.n
    gamma, psi, tau, eta = carried_fit(fit).matrices(fit.params.to_numpy()[array_order(fit)])
    return np.kron(gamma, np.eye(n)) - np.kron(psi, W), np.kron(tau, np.eye(n)) + np.kron(eta, W)


def twin(fit, source: int, unit: int) -> np.ndarray:
    """The difference (H + 1, m, n) of two paths whose errors differ by one in one city and period."""
    S, A = matrices(fit)
    rng = np.random.default_rng(0)
    errors = rng.standard_normal((H + 1, len(S)))
    start, paths = rng.standard_normal(len(S)), []
    for shock in (0.0, 1.0):
        e, y, path = errors.copy(), start, []
        e[0, source * fit.weights.n + unit] += shock
        for t in range(H + 1):
            y = np.linalg.solve(S, A @ y + e[t])
            path.append(y)
        paths.append(np.array(path))
    return (paths[1] - paths[0]).reshape(H + 1, 2, -1)


@pytest.mark.parametrize("how", ["row", "none"])
def test_responses_are_what_twin_paths_differ_by(how):
    """Averages over the shocked city; W whose rows do not sum to one too."""
    W = directed_knn(N)
    if how == "none":
        scaled = W.matrix.toarray() * np.linspace(0.3, 1.2, N)[:, None]
        W = weights_of(scaled, "uneven", "none")
    fit = fit_of(W, "two_way" if how == "row" else "unit")
    frame = (
        zb.impulse_responses(fit, H).tidy().set_index(["response", "source", "horizon", "effect"])["estimate"]
    )
    for l, source in enumerate(fit.spec.names):
        paths = np.array([twin(fit, l, j) for j in range(N)])  # (n, H + 1, m, n)
        own = np.einsum("jhgj->hg", paths) / N
        total = paths.sum(axis=3).mean(axis=0)
        for g, response in enumerate(fit.spec.names):
            for h in range(H + 1):
                found = frame.loc[response, source, h]
                assert found["own"] == pytest.approx(own[h, g], abs=EXACT)
                assert found["total"] == pytest.approx(total[h, g], abs=EXACT)
                assert found["others"] == pytest.approx(total[h, g] - own[h, g], abs=EXACT)


def test_responses_by_city_are_those_of_one_twin_path(fit):
    unit = fit.panel.units[3]
    found = zb.impulse_responses(fit, H, source="b", at=unit)
    frame = found.tidy().set_index(["response", "source", "horizon", "unit"])["estimate"]
    path = twin(fit, 1, 3)
    for g, response in enumerate(fit.spec.names):
        for h in range(H + 1):
            np.testing.assert_allclose(frame.loc[response, "b", h].to_numpy(), path[h, g], atol=EXACT)
    assert found.glance()["at"].iloc[0] == unit


def test_a_scenario_of_one_shock_is_the_response_to_it(fit):
    """Once, and its errors too: the same chain by another road."""
    unit = fit.panel.units[3]
    scene = zb.scenario(fit, {unit: {"shock:b": 1.0}}, horizons=H, change="one_off").tidy()
    found = zb.impulse_responses(fit, H, source="b", at=unit).tidy()
    keys = ["response", "horizon", "unit"]
    both = scene.merge(found, on=keys, suffixes=("", "_of_shock"))
    assert len(both) == len(found)
    np.testing.assert_allclose(both["change"], both["estimate"], atol=EXACT)
    known = both["std_error_of_shock"].notna()
    np.testing.assert_allclose(both["std_error"][known], both["std_error_of_shock"][known], rtol=1e-6)


def test_errors_are_those_of_differences(fit):
    """√(g'Vg) with g by central differences, of averages and of one city."""
    unit, cov, step = fit.panel.units[0], fit.cov.to_numpy(), 1e-5
    for options in ({}, {"at": unit, "source": "a"}):

        def at(values, options=options):
            moved = replace(fit, params=fit.params * 0 + values)
            return zb.impulse_responses(moved, 2, **options).tidy()["estimate"].to_numpy()

        base = fit.params.to_numpy()
        slopes = [(at(base + h) - at(base - h)) / (2 * step) for h in step * np.eye(len(base))]
        errors = np.sqrt(np.einsum("ir,ij,jr->r", np.array(slopes), cov, np.array(slopes)))
        found = zb.impulse_responses(fit, 2, **options).tidy()
        known = found["std_error"].notna().to_numpy()
        np.testing.assert_allclose(found["std_error"][known], errors[known], rtol=1e-4)
        assert np.all(errors[~known] < 1e-8)


def test_what_is_zero_by_construction_claims_nothing():
    spec = zb.SystemSpec({"a": zb.Equation("a"), "b": zb.Equation("b")}, time_lag=True, lag_time_lag=True)
    W = directed_knn(N)
    panel = zb.simulate.system(spec, W, 12, {("a", "L_a"): 0.5}, rng=1)
    frame = zb.impulse_responses(zb.fit_system(spec, panel, W), 1).tidy()
    now = frame[(frame["horizon"] == 0) & (frame["response"] != frame["source"])]
    assert (now["estimate"] == 0).all()
    assert now[["std_error", "p_value", "conf_low"]].isna().all(axis=None)


@pytest.fixture(scope="module")
def spatial():
    """Spatial errors in the first equation only."""
    return fit_of(directed_knn(N), lag_error=True)


@pytest.mark.parametrize("errors", ["independent", "spatial"])
def test_shares_of_variance_by_loops(errors, request):
    """Σ over horizons and shocked cities of squared responses to Σ's columns; first and last in the order."""
    fit = request.getfixturevalue("fit" if errors == "independent" else "spatial")
    found = zb.impulse_responses(fit, 2).variance_shares().tidy()
    S, A = matrices(fit)
    sigma = fit.sigma.to_numpy()
    lam = carried_fit(fit).likelihood.split(fit.params.to_numpy()[array_order(fit)])[1]
    assert (lam != 0).tolist() == [errors == "spatial", False]
    spread = np.linalg.inv(np.eye(2 * N) - np.kron(np.diag(lam), fit.weights.matrix.toarray()))
    phi = [np.linalg.inv(S) @ spread]
    for _ in range(2):
        phi.append(np.linalg.solve(S, A @ phi[-1]))
    blocks = np.array(phi).reshape(3, 2, N, 2, N)
    impulses = {
        "first": sigma / np.sqrt(np.diag(sigma)),
        "last": np.diag(1 / np.sqrt(np.diag(np.linalg.inv(sigma)))),
    }
    whole = np.einsum("hgilj,lk,hgikj->hg", blocks, sigma, blocks).cumsum(axis=0)
    shares = found.set_index(["response", "source", "horizon", "place"])
    for l, source in enumerate(fit.spec.names):
        by_order = []
        for d in impulses.values():
            moved = np.einsum("hgikj,k->hgij", blocks, d[:, l])
            every = (moved**2).sum(axis=(2, 3)).cumsum(axis=0) / whole
            own = np.einsum("hgii->hg", moved**2).cumsum(axis=0) / whole
            by_order.append((own, every - own))
        for g, response in enumerate(fit.spec.names):
            for h in range(3):
                for place, pair in zip(("own", "others"), zip(*by_order, strict=True), strict=True):
                    row = shares.loc[(response, source, h, place)]
                    ends = sorted(values[h, g] for values in pair)
                    assert row["share_low"] == pytest.approx(ends[0], abs=EXACT)
                    assert row["share_high"] == pytest.approx(ends[1], abs=EXACT)
                    assert (
                        0 <= row["conf_low"] <= row["share_low"] <= row["share_high"] <= row["conf_high"] <= 1
                    )


def test_shares_of_a_clustered_fit_are_the_same_with_limits_of_its_own(fit):
    direct = zb.impulse_responses(fit, 1).variance_shares().tidy()
    wide = replace(fit, covariance="cluster", df_resid=N - 1)
    found = zb.impulse_responses(wide, 1).variance_shares().tidy()
    np.testing.assert_allclose(found["share_low"], direct["share_low"])
    assert (found["conf_high"] >= direct["conf_high"]).all()


def test_slopes_of_the_moments_behind_the_shares(spatial):
    fit = spatial
    carried, theta = carried_fit(fit), fit.params.to_numpy()[array_order(fit)]
    _, slopes = _second_moments(fit, carried, theta, 1)
    step = 1e-5
    for a in (0, 5, len(theta) - 1):
        h = step * np.eye(len(theta))[a]
        difference = (
            _second_moments(fit, carried, theta + h, 1)[0] - _second_moments(fit, carried, theta - h, 1)[0]
        )
        np.testing.assert_allclose(slopes[..., a], difference / (2 * step), atol=1e-6)


def test_percentile_limits_of_responses():
    plain = {name: zb.Equation(name, lag_y=False) for name in ("a", "b")}
    spec, W = zb.SystemSpec(plain, time_lag=True), directed_knn(N)
    fit = zb.fit_system(
        spec, zb.simulate.system(spec, W, 12, {("a", "L_a"): 0.4, ("b", "L_a"): 0.4}, rng=2), W
    )
    drawn = zb.bootstrap(fit, 99, "residual", rng=3)
    frame = drawn.responses(1)
    direct = zb.impulse_responses(fit, 1).tidy()
    assert list(frame["estimate"]) == pytest.approx(list(direct["estimate"]))
    known = frame["conf_low"].notna()
    assert (frame["conf_low"] <= frame["conf_high"])[known].all()
    assert (known == direct["conf_low"].notna()).all()
    width = (frame["conf_high"] - frame["conf_low"]) / (direct["conf_high"] - direct["conf_low"])
    assert width[known].between(0.5, 2).all()
    assert np.isfinite(drawn.bias_corrected()).all()
    with pytest.raises(zb.SpecificationError, match="residual"):
        zb.bootstrap(fit, 99, "unit")


def test_refusals(fit):
    for options, culprit in (({"source": "z"}, "z"), ({"at": "nowhere"}, "nowhere")):
        with pytest.raises(zb.DataError, match=culprit):
            zb.impulse_responses(fit, **options)
    with pytest.raises(zb.SpecificationError, match="horizons"):
        zb.impulse_responses(fit, -1)
