"""Marginal likelihoods against the multivariate t of dense matrices, and what must hold of probabilities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, sparse, special, stats
from small_examples import ring

import spatial_zb as zb
from spatial_zb.compare.bayes import MODELS, Prior, model_probabilities
from spatial_zb.core.likelihood.marginal import Data, PriorNumbers, log_integral, log_marginal
from spatial_zb.core.logdet import EigenLogDet, eigenvalues
from spatial_zb.core.transforms import transformed_sample
from spatial_zb.models.design import build_design, stacked

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

#: Two quadratures, each good to 1e-10, of integrands that agree to rounding.
QUADRATURE = 1e-8
LAGS = {
    "OLS": (0, 0, 0),
    "SLX": (0, 1, 0),
    "SAR": (1, 0, 0),
    "SDM": (1, 1, 0),
    "SEM": (0, 0, 1),
    "SDEM": (0, 1, 1),
}
PRIOR = PriorNumbers(g=20.0, shape=2.0, nu=3.0, scale=0.8)


def small_weights(n: int = 7) -> zb.Weights:
    """An asymmetric ring: complex eigenvalues."""
    matrix = np.zeros((n, n))
    for i in range(n):
        matrix[i, (i + 1) % n], matrix[i, (i + 2) % n], matrix[i, i - 1] = 1.0, 0.5, 0.7
    return zb.as_weights(matrix, ids=[f"u{i}" for i in range(n)]).standardise()


W = small_weights()
PANEL = zb.simulate.durbin(
    W, 3, {"a": 1.0, "b": -0.5}, rho=0.3, process=zb.simulate.Process(intercept=3.0), rng=1
)


def orthonormal(m: int, first: np.ndarray | None = None) -> np.ndarray:
    """(m − 1, m) rows orthonormal to ι, or to another vector."""
    first = np.ones(m) if first is None else first
    return np.linalg.qr(np.column_stack([first, np.eye(m)[:, 1:]]))[0][:, 1:].T


def kernel(family: str, effects: str, prior: PriorNumbers, flat: int = 0) -> float:
    lag_y, lag_x, lag_error = LAGS[family]
    spec = zb.DurbinSpec("y", ["a", "b"], bool(lag_y), "all" if lag_x else [], bool(lag_error), effects)
    design = build_design(spec, PANEL, W)
    lagged = tuple(map(stacked, (design.WZ, design.Wy, design.WWy))) if design.WZ is not None else None
    data = Data(*map(stacked, (design.Z, design.y, design.Wy)), design.basis, flat, lagged)
    sample = transformed_sample(*reversed(design.y.shape), effects, "lee_yu")
    lag = "y" if lag_y else "error" if lag_error else "none"
    return log_marginal(data, W.logdet, sample, prior, lag).log_value


def dense_columns(family: str, effects: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, Z and I⊗W in orthonormal coordinates off the effects."""
    T, n = PANEL.array("y").shape
    time = orthonormal(T) if effects in ("unit", "two_way") else np.eye(T)
    unit = orthonormal(n) if effects in ("time", "two_way") else np.eye(n)
    F = np.kron(time, unit)
    dense = W.matrix.toarray()
    Z = PANEL.array(["a", "b"])
    if LAGS[family][1]:
        Z = np.concatenate([Z, np.einsum("ij,tjk->tik", dense, Z)], axis=2)
    if effects == "none":
        Z = np.concatenate([np.ones((T, n, 1)), Z], axis=2)
    return (
        F @ PANEL.array("y").ravel(),
        F @ Z.reshape(T * n, -1),
        np.kron(np.eye(len(time)), unit @ dense @ unit.T),
    )


def over_interval(family: str, given) -> float:
    """ln of the integral of a conditional density over the Beta prior of ρ or λ."""
    if not (LAGS[family][0] or LAGS[family][2]):
        return given(0.0)
    (low, high), q = W.logdet.interval, PRIOR.shape
    level = given(0.1)
    density = lambda c: (  # noqa: E731
        np.exp(given(c) - level) * stats.beta.pdf((c - low) / (high - low), q, q) / (high - low)
    )
    return float(np.log(integrate.quad(density, low, high, limit=500, epsabs=0, epsrel=1e-10)[0]) + level)


@pytest.mark.parametrize(
    ("family", "effects"),
    [(f, e) for f in MODELS for e in ("none", "two_way")]
    + [(f, e) for f in ("SDM", "SEM") for e in ("unit", "time")],
)
def test_kernel_is_the_multivariate_t_integrated_over_rho(family, effects):
    y, Z, dense = dense_columns(family, effects)
    spread = PRIOR.g * Z @ np.linalg.solve(Z.T @ Z, Z.T)

    def given(c: float) -> float:
        S = np.eye(len(y)) - c * dense
        root = np.linalg.inv(S) if LAGS[family][2] else np.eye(len(y))
        shape = PRIOR.scale * (root @ root.T + spread)
        left = S @ y if LAGS[family][0] else y
        jacobian = np.linalg.slogdet(S)[1] if LAGS[family][0] else 0.0
        return stats.multivariate_t.logpdf(left, np.zeros(len(y)), shape, PRIOR.nu) + jacobian

    assert kernel(family, effects, PRIOR) == pytest.approx(over_interval(family, given), abs=QUADRATURE)


@pytest.mark.parametrize("family", MODELS)
def test_a_flat_intercept_is_integrated_out(family):
    """∫ dα of a density is that of the coordinates off the intercept's column, over the column's length."""
    y, Z, dense = dense_columns(family, "none")
    rest = Z[:, 1:] - Z[:, 1:].mean(axis=0)
    cross = np.linalg.inv(rest.T @ rest)

    def given(c: float) -> float:
        S = np.eye(len(y)) - c * dense
        B = S if LAGS[family][2] else np.eye(len(y))
        iota = B @ np.ones(len(y))
        F = orthonormal(len(y), iota)
        spread = PRIOR.g * (F @ B @ Z[:, 1:]) @ cross @ (F @ B @ Z[:, 1:]).T
        left = F @ (S @ y if LAGS[family][0] or LAGS[family][2] else y)
        jacobian = np.linalg.slogdet(S)[1] if LAGS[family][0] or LAGS[family][2] else 0.0
        shape = PRIOR.scale * (np.eye(len(F)) + spread)
        return (
            stats.multivariate_t.logpdf(left, np.zeros(len(F)), shape, PRIOR.nu)
            + jacobian
            - np.log(np.linalg.norm(iota))
        )

    want = over_interval(family, given)
    assert kernel(family, "none", PRIOR, flat=1) == pytest.approx(want, abs=QUADRATURE)


def test_one_over_sigma2_is_the_limit_of_the_proper_prior():
    nu = 1e-7
    proper = kernel("SDM", "unit", PriorNumbers(20.0, 1.0, nu, 1.0)) - np.log(nu / 2)
    assert kernel("SDM", "unit", PriorNumbers(20.0)) == pytest.approx(proper, abs=1e-5)  # O(ν)


def test_flat_coefficients_weigh_the_data_as_a_multivariate_normal_does():
    """SDM under a flat prior: ∫ |S|^T |Z'Z|^{−1/2} π^{−(N−k)/2} Γ((N−k)/2) SSR(ρ)^{−(N−k)/2} dρ / (b − a)."""
    y, Z, dense = dense_columns("SDM", "unit")
    off = np.eye(len(y)) - Z @ np.linalg.solve(Z.T @ Z, Z.T)
    half = (len(y) - Z.shape[1]) / 2
    low, high = W.logdet.interval

    def given(c: float) -> float:
        S = np.eye(len(y)) - c * dense
        left = off @ S @ y
        return np.linalg.slogdet(S)[1] - half * np.log(left @ left)

    value = integrate.quad(lambda c: np.exp(given(c) - given(0.1)), low, high, epsabs=0, epsrel=1e-10)[0]
    constant = special.gammaln(half) - half * np.log(np.pi) - np.linalg.slogdet(Z.T @ Z)[1] / 2
    want = np.log(value / (high - low)) + given(0.1) + constant
    assert kernel("SDM", "unit", PriorNumbers(np.inf)) == pytest.approx(want, abs=QUADRATURE)


def test_quadrature_is_exact_where_the_answer_is_known():
    narrow = log_integral(lambda c: stats.norm.logpdf(c, 0.31, 1e-5), -1.0, 1.0)
    assert narrow.log_value == pytest.approx(0.0, abs=1e-10)
    assert (narrow.mean, narrow.std_dev) == pytest.approx((0.31, 1e-5), rel=1e-6)
    edge = log_integral(lambda c: 0.01 * np.log(1 - c), 0.0, 1.0)  # (1 − c)^{0.01}
    assert edge.log_value == pytest.approx(-np.log(1.01), abs=1e-9)
    two = log_integral(
        lambda c: np.logaddexp(stats.norm.logpdf(c, -0.8, 1e-3), stats.norm.logpdf(c, 0.7, 0.05)), -1.0, 1.0
    )
    assert two.log_value == pytest.approx(np.log(2), abs=1e-9)


# The public function


NEAR, FAR = ring(30), ring(30, 4)
TRUTHS = {
    "OLS": {},
    "SLX": {"theta": {"a": 0.8, "b": -0.6}},
    "SAR": {"rho": 0.5},
    "SDM": {"rho": 0.5, "theta": {"a": 0.8, "b": -0.6}},
    "SEM": {"lam": 0.6},
    "SDEM": {"lam": 0.6, "theta": {"a": 0.8, "b": -0.6}},
}


@pytest.fixture(scope="module")
def found():
    panel = zb.simulate.durbin(NEAR, 6, {"a": 1.0, "b": -0.5}, rng=8, **TRUTHS["SDM"])
    return panel, model_probabilities(panel, "y", ["a", "b"], {"near": NEAR, "far": FAR}, sensitivity=True)


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_true_model_and_w_win(truth):
    panel = zb.simulate.durbin(NEAR, 8, {"a": 1.0, "b": -0.5}, rng=5, **TRUTHS[truth])
    frame = model_probabilities(panel, "y", ["a", "b"], {"near": NEAR, "far": FAR}).tidy()
    best = frame.loc[frame["probability"].idxmax()]
    assert (best["model"], best["weights"]) == (truth, "" if truth == "OLS" else "near")


def test_probabilities_are_bayes_rule(found):
    frame = found[1].tidy()
    weight = np.exp(frame["log_marginal"] - frame["log_marginal"].max()) * frame["prior_probability"]
    assert np.allclose(frame["probability"], weight / weight.sum())
    assert frame["prior_probability"].sum() == pytest.approx(1)
    assert frame.groupby("model")["prior_probability"].sum().to_numpy() == pytest.approx(1 / 6)
    assert found[1].by("model").sum() == pytest.approx(1)
    assert (
        found[1].table().loc["SDM", "near"]
        == frame.set_index(["model", "weights"]).loc[("SDM", "near"), "probability"]
    )


def test_posterior_of_rho_surrounds_the_ml_estimate(found):
    panel, probabilities = found
    row = probabilities.frame.set_index(["model", "weights"]).loc[("SDM", "near")]
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["a", "b"]), panel, NEAR)
    assert row["mean"] == pytest.approx(fit.params["rho"], abs=0.5 * fit.bse["rho"])
    assert row["std_dev"] == pytest.approx(fit.bse["rho"], rel=0.25)


def test_units_of_y_and_x_and_the_order_of_units_do_not_matter(found):
    panel, probabilities = found
    scaled = panel.with_columns({"a": 1e6 * panel.array("a"), "y": 1e9 * panel.array("y")})
    order = list(reversed(panel.units))
    shuffled = zb.build_panel(scaled.frame(), units=order)
    again = model_probabilities(shuffled, "y", ["a", "b"], {"near": NEAR, "far": FAR})
    assert np.allclose(again.frame["probability"], probabilities.frame["probability"], atol=1e-8)
    shift = again.frame["log_marginal"] - probabilities.frame["log_marginal"]
    assert shift.to_numpy() == pytest.approx(-again.sample["nobs"] * np.log(1e9), rel=1e-9)


def test_a_level_of_y_does_not_matter_without_effects(found):
    panel, _ = found
    moved = panel.with_columns({"y": panel.array("y") + 1e4})
    before, after = (
        model_probabilities(p, "y", ["a", "b"], {"near": NEAR}, fixed_effects="none").frame
        for p in (panel, moved)
    )
    assert np.allclose(before["log_marginal"], after["log_marginal"], atol=1e-4)


def test_sensitivity_holds_the_main_answer_among_others(found):
    _, probabilities = found
    table = probabilities.sensitivity
    same = table[table["prior"] == "g = max(N, k²)"]
    assert np.array_equal(same["probability"], probabilities.frame["probability"])
    assert table.groupby("prior")["probability"].sum().to_numpy() == pytest.approx(1)
    wide = table[table["prior"] == "g = 10 N"].groupby("model")["probability"].sum()
    narrow = table[table["prior"] == "g = N/10"].groupby("model")["probability"].sum()
    assert wide["SAR"] > narrow["SAR"]  # the wider the prior, the more it costs to have more coefficients


def test_a_cross_section_and_a_flat_prior(found):
    panel = found[0].select(periods=[2001])
    result = model_probabilities(
        panel,
        "y",
        ["a", "b"],
        {"near": NEAR},
        models=["slx", "sdm", "sdem"],
        fixed_effects="none",
        prior=Prior("flat"),
    )
    assert list(result.frame["model"]) == ["SLX", "SDM", "SDEM"]
    assert result.glance()["coefficients"].item() == "flat"


REFUSED = {
    "flat prior, unlike models": ({"prior": Prior("flat")}, "flat prior has no scale"),
    "unknown model": ({"models": ["SAR", "SAC"]}, "SAC"),
    "one cell": ({"models": ["SDM"]}, "at least two"),
    "random effects": ({"fixed_effects": "random"}, "random"),
    "no weights": ({"weights": {}}, "by name"),
    "not row-normalised": ({"weights": {"raw": zb.as_weights(np.ones((30, 30)) - np.eye(30) + np.diag(np.ones(29), 1),
                                                              ids=list(NEAR.ids))}}, "row-normalised"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_why(found, case):
    changes, words = REFUSED[case]
    arguments = {"weights": {"near": NEAR}} | changes
    with pytest.raises(zb.SpecificationError, match=words):
        model_probabilities(found[0], "y", ["a", "b"], **arguments)


@pytest.mark.parametrize("wrong", [{"g": "wide"}, {"g": -1.0}, {"shape": 0.5}, {"nu": -1}, {"cells": "x"}])
def test_a_prior_refuses_what_is_none(wrong):
    with pytest.raises(zb.SpecificationError):
        Prior(**wrong)


def test_nearly_equal_weights_are_mentioned(found):
    with pytest.warns(zb.SpatialZbWarning, match="Nearly the same"):
        model_probabilities(found[0], "y", ["a", "b"], {"one": NEAR, "two": NEAR})


def test_glance_is_one_row(found):
    row = found[1].glance()
    assert len(row) == 1
    assert isinstance(row, pd.DataFrame)
    assert row["best_model"].item() == "SDM"


def test_large_weights_are_served_without_eigenvalues():
    """Factorisations, which n > 500 gets, and eigenvalues give the same marginal likelihoods."""
    side = 23
    place = np.arange(side * side).reshape(side, side)
    pairs = np.hstack(
        [[place[:, :-1].ravel(), place[:, 1:].ravel()], [place[:-1].ravel(), place[1:].ravel()]]
    )
    links = sparse.coo_array((np.ones(pairs.shape[1]), pairs), shape=(side**2, side**2))
    ids = [f"u{i:03d}" for i in range(side**2)]
    lattice = zb.as_weights(sparse.csr_array(links + links.T), ids=ids).standardise()
    panel = zb.simulate.durbin(lattice, 1, {"a": 1.0}, rho=0.4, rng=1)
    exact = lattice.standardise("none")
    found = []
    for W, logdet in ((lattice, None), (exact, EigenLogDet(eigenvalues(lattice.matrix)))):
        one = zb.Weights(W.matrix, W.ids, "rook", "row")
        if logdet is not None:
            one.__dict__["logdet"] = logdet
        frame = model_probabilities(panel, "y", ["a"], {"rook": one}, fixed_effects="none").frame
        found.append((type(one.logdet), frame["log_marginal"].to_numpy()))
    assert found[0][0] is not found[1][0]
    assert np.abs(found[0][1] - found[1][1]).max() < INTERPOLATED


#: The bound on the interpolation of the log-determinant, for the six integrals over it.
INTERPOLATED = 1e-5
