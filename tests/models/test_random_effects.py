"""Random effects: a dense Gaussian likelihood, identities, invariances, splm's numbers, recovery."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from dense_oracle import MODELS
from scipy import optimize, sparse
from small_examples import directed_knn

import spatial_zb as zb
from spatial_zb.core import random as unit_spread
from spatial_zb.core.random import maximum

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

#: The two structures differ only where there is an error process.
CASES = [(f, "baltagi") for f in MODELS] + [(f, "kkp") for f in ("SEM", "SDEM", "SAC", "GNS")]
#: Likelihoods of a few hundred are summed in another order: rounding only.
EXACT = 1e-9
#: The climb leaves a slope of 1e-10 to 1e-7; the Newton steps after it end where rounding begins.
POLISHED = 1e-11
#: Derivatives of the dense likelihood are central differences.
NUMERICAL = 2e-5
#: splm stops its search when the likelihood changes by less than about 1e-10 of itself.
R_OPTIMISER = 5e-5


def draw(
    W: zb.Weights, T: int, seed: int, *, rho=0.3, lam=0.4, phi=2.0, sigma=0.7, theta=0.5, structure="baltagi"
) -> zb.Panel:
    """A panel whose unit effects have nothing to do with x."""
    rng = np.random.default_rng(seed)
    n, dense = W.n, W.matrix.toarray()
    A, B = np.eye(n) - rho * dense, np.eye(n) - lam * dense
    mu = np.sqrt(phi) * sigma * rng.standard_normal(n)
    x1, x2 = rng.standard_normal((T, n)) + rng.standard_normal(n), rng.standard_normal((T, n))
    eps = sigma * rng.standard_normal((T, n))
    u = (eps + mu) @ np.linalg.inv(B).T if structure == "kkp" else mu + eps @ np.linalg.inv(B).T
    mean = 1.5 + x1 - 0.8 * x2 + theta * x1 @ dense.T
    y = (mean + u) @ np.linalg.inv(A).T
    values = np.stack([y, x1, x2], axis=2)
    return zb.Panel(values, tuple(range(2001, 2001 + T)), W.ids, ("y", "x1", "x2"))


def spec(family: str, structure: str = "baltagi", **more) -> zb.DurbinSpec:
    lag_y, lag_x, lag_error = MODELS[family]
    kwargs = {"fixed_effects": "random", "error_structure": structure, **more}
    return zb.DurbinSpec("y", ["x1", "x2"], lag_y=lag_y, lag_x=lag_x, lag_error=lag_error, **kwargs)


class Dense:
    """ln N(y; A⁻¹Zδ, V) with the whole (Tn × Tn) matrices, written from the model and nothing else."""

    def __init__(self, panel: zb.Panel, W: zb.Weights, family: str, structure: str):
        self.lag_y, lag_x, self.lag_error = MODELS[family]
        self.structure, self.n, self.T = structure, W.n, len(panel.periods)
        self.W = W.matrix.toarray()
        self.y = panel.array("y").ravel()
        X = panel.array(["x1", "x2"]).reshape(self.T * self.n, 2)
        lagged = [np.kron(np.eye(self.T), self.W) @ X] if lag_x else []
        self.Z = np.hstack([np.ones((len(X), 1)), X, *lagged])

    def moments(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k = self.Z.shape[1]
        rest = list(p[k:])
        rho = rest.pop(0) if self.lag_y else 0.0
        lam = rest.pop(0) if self.lag_error else 0.0
        phi, sigma2 = rest
        eye = np.eye(self.n)
        A, B = (np.kron(np.eye(self.T), eye - c * self.W) for c in (rho, lam))
        same = np.kron(np.ones((self.T, self.T)), eye)
        inner = np.linalg.inv(B)
        noise = np.eye(len(self.y))
        V = (
            inner @ (noise + phi * same) @ inner.T
            if self.structure == "kkp"
            else inner @ inner.T + phi * same
        )
        outer = np.linalg.inv(A)
        return outer @ self.Z @ p[:k], sigma2 * outer @ V @ outer.T

    def __call__(self, p: np.ndarray) -> float:
        mean, V = self.moments(p)
        e = self.y - mean
        return -0.5 * (len(e) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + e @ np.linalg.solve(V, e))

    def information(self, p: np.ndarray, h: float = 1e-5) -> np.ndarray:
        """m_i'V⁻¹m_j + ½ tr V⁻¹V_iV⁻¹V_j with numerical derivatives."""
        up, down = [], []
        for i in range(len(p)):
            step = h * np.eye(len(p))[i]
            up.append(self.moments(p + step))
            down.append(self.moments(p - step))
        m = [(a[0] - b[0]) / (2 * h) for a, b in zip(up, down, strict=True)]
        V = [(a[1] - b[1]) / (2 * h) for a, b in zip(up, down, strict=True)]
        inverse = np.linalg.inv(self.moments(p)[1])
        weighted = [inverse @ v for v in V]
        return np.array(
            [
                [m[i] @ inverse @ m[j] + np.sum(weighted[i] * weighted[j].T) / 2 for j in range(len(p))]
                for i in range(len(p))
            ]
        )


def central_gradient(f, p: np.ndarray, h: float = 1e-5) -> np.ndarray:
    return np.array([(f(p + h * e) - f(p - h * e)) / (2 * h) for e in np.eye(len(p))])


def central_hessian(f, p: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """Five-point-accurate second derivatives by Richardson extrapolation."""

    def at(step: float) -> np.ndarray:
        E = step * np.eye(len(p))
        return np.array(
            [
                [(f(p + a + b) - f(p + a - b) - f(p - a + b) + f(p - a - b)) / (4 * step**2) for b in E]
                for a in E
            ]
        )

    return (4 * at(h) - at(2 * h)) / 3


# ---------------------------------------------------------------- dense likelihood


@pytest.mark.parametrize(("family", "structure"), CASES)
def test_log_likelihood_is_the_dense_one_and_its_maximum(family, structure):
    W = directed_knn(9)
    panel = draw(W, 4, 3, structure=structure)
    fit = zb.fit_durbin(spec(family, structure), panel, W)
    dense = Dense(panel, W, family, structure)
    p = fit.params.to_numpy()
    assert fit.log_likelihood == pytest.approx(dense(p), abs=EXACT * 100)
    assert np.abs(central_gradient(dense, p)).max() < NUMERICAL
    assert fit.convergence.gradient < POLISHED
    searched = optimize.minimize(lambda v: -dense(v), p * 0.9 + 0.01, method="Nelder-Mead").fun
    assert -searched <= fit.log_likelihood + 1e-8


@pytest.mark.parametrize(("family", "structure"), CASES)
def test_standard_errors_are_those_of_the_dense_likelihood(family, structure):
    W = directed_knn(8)
    panel = draw(W, 4, 5, structure=structure)
    dense = Dense(panel, W, family, structure)
    expected = zb.fit_durbin(spec(family, structure), panel, W, covariance="information")
    observed = zb.fit_durbin(spec(family, structure), panel, W, covariance="hessian")
    p = expected.params.to_numpy()
    wanted = np.linalg.inv(dense.information(p))
    scale = np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)))
    assert np.abs((expected.cov - wanted) / scale).max(axis=None) < NUMERICAL
    wanted = np.linalg.inv(-central_hessian(dense, p))
    scale = np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)))
    assert np.abs((observed.cov - wanted) / scale).max(axis=None) < 1e-4


@pytest.mark.parametrize("how", ["none", "spectral", "minmax"])
def test_any_normalisation_of_w(how):
    W = directed_knn(9, how=how)
    panel = draw(directed_knn(9), 4, 3)
    fit = zb.fit_durbin(spec("GNS"), panel, W)
    dense = Dense(panel, W, "GNS", "baltagi")
    assert fit.log_likelihood == pytest.approx(dense(fit.params.to_numpy()), abs=1e-7)
    assert np.abs(central_gradient(dense, fit.params.to_numpy())).max() < 1e-3


def test_score_is_the_slope_of_the_value():
    W = directed_knn(12)
    panel = draw(W, 3, 6)
    from spatial_zb.models.design import build_design
    from spatial_zb.models.random import _profile

    for structure in ("baltagi", "kkp"):
        profile = _profile(build_design(spec("GNS", structure), panel, W))
        point = np.array([0.2, -0.3, 1.1])
        numeric = central_gradient(lambda v: profile.value(*v), point)  # noqa: B023
        assert profile.score(*point) == pytest.approx(numeric, abs=1e-6)


def test_sparse_factors_give_what_dense_ones_give(monkeypatch):
    W = directed_knn(60)
    panel = draw(W, 4, 7)
    dense = zb.fit_durbin(spec("SAC"), panel, W, covariance="hessian")
    monkeypatch.setattr(unit_spread, "DENSE_FACTOR", 0)
    calls = []
    real = unit_spread.splu
    monkeypatch.setattr(unit_spread, "splu", lambda *a, **k: calls.append(1) or real(*a, **k))
    large = zb.fit_durbin(spec("SAC"), panel, W, covariance="hessian")
    assert calls
    assert large.params.to_numpy() == pytest.approx(dense.params.to_numpy(), abs=1e-6)
    assert large.bse.to_numpy() == pytest.approx(dense.bse.to_numpy(), rel=1e-4)


def test_above_the_limit_random_signs_give_the_information(monkeypatch):
    """Of K that is no multiple of I; the entries of exact columns by a thousand signs, within four of their errors."""
    W = directed_knn(60)
    panel = draw(W, 4, 7)
    exact = zb.fit_durbin(spec("SAC"), panel, W, covariance="information")
    monkeypatch.setattr(maximum, "DENSE_UNITS", 10)
    monkeypatch.setattr(maximum, "PROBES", 1024)
    near = zb.fit_durbin(spec("SAC"), panel, W, covariance="information")
    assert near.params.to_numpy() == pytest.approx(exact.params.to_numpy(), abs=1e-12)
    assert near.bse.to_numpy() == pytest.approx(exact.bse.to_numpy(), rel=0.03)
    assert not near.bse.equals(exact.bse)


# ---------------------------------------------------------------- identities


@pytest.mark.parametrize("family", ["SAR", "SDM", "SEM", "SAC"])
def test_without_unit_variance_it_is_the_pooled_model(family):
    """x and ε whose time means are removed leave nothing between units: φ̂ = 0."""
    W = directed_knn(25)
    values = draw(W, 5, 8, phi=0.0).values.copy()
    values -= values.mean(axis=0)
    values += np.random.default_rng(1).standard_normal(values.shape[1:]) * 0.01
    panel = zb.Panel(values, tuple(range(5)), W.ids, ("y", "x1", "x2"))
    with pytest.warns(zb.SpatialZbWarning, match="variance of the unit effects"):
        fit = zb.fit_durbin(spec(family), panel, W)
    pooled = zb.fit_durbin(spec(family, fixed_effects="none"), panel, W)
    assert fit.params["phi"] == 0
    assert np.isnan(fit.bse["phi"])
    common = pooled.params.index
    assert fit.params[common].to_numpy() == pytest.approx(pooled.params.to_numpy(), abs=1e-7)
    assert fit.bse[common].to_numpy() == pytest.approx(pooled.bse.to_numpy(), rel=1e-6)
    assert fit.log_likelihood == pytest.approx(pooled.log_likelihood, abs=1e-8)
    assert np.isfinite(zb.spatial_effects(fit, "simulate", draws=200, rng=1).tidy()["std_error"]).all()


@pytest.mark.parametrize("family", ["OLS", "SLX", "SAR", "SDM"])
def test_the_structures_are_one_without_an_error_process(family):
    W = directed_knn(15)
    panel = draw(W, 4, 9)
    a, b = (zb.fit_durbin(spec(family, s), panel, W) for s in ("baltagi", "kkp"))
    pd.testing.assert_series_equal(a.params, b.params, rtol=1e-9)
    pd.testing.assert_frame_equal(a.cov, b.cov, rtol=1e-7)


@pytest.mark.parametrize("family", ["OLS", "SLX"])
def test_large_unit_variance_is_the_within_estimator(family):
    """As Tφ → ∞ the means carry no weight in δ; ρ and λ still learn from them, so only without these."""
    W = directed_knn(20)
    panel = draw(W, 6, 10, phi=1e6)
    random = zb.fit_durbin(spec(family), panel, W)
    within = zb.fit_durbin(spec(family, fixed_effects="unit"), panel, W)
    for term in within.spec.terms:
        assert random.params[term] == pytest.approx(within.params[term], abs=1e-3)


@pytest.mark.parametrize(("family", "structure"), [("OLS", "baltagi"), ("SLX", "baltagi")])
def test_mundlak_gives_the_within_estimates(family, structure):
    W = directed_knn(20)
    panel = zb.simulate.durbin(
        W, 5, {"x1": 1.0, "x2": -0.5}, process=zb.simulate.Process(time_effects=0.0), rng=3
    )
    device = zb.fit_durbin(spec(family, structure, mundlak=True), panel, W)
    within = zb.fit_durbin(spec(family, fixed_effects="unit"), panel, W)
    for term in within.spec.terms:
        assert device.params[term] == pytest.approx(within.params[term], abs=1e-9)
    assert device.params["mean_x1"] > 2 * device.bse["mean_x1"]  # x1 is correlated with the effects


def test_mundlak_names_its_terms():
    s = zb.DurbinSpec("y", ["a", "b"], lag_x=["a"], fixed_effects="random", mundlak=True)
    assert s.terms == ("(Intercept)", "a", "b", "W_a", "mean_a", "mean_b", "mean_W_a")
    s = zb.DurbinSpec("y", ["a", "b"], lag_x="all", fixed_effects="random", mundlak=["b"])
    assert s.terms == ("(Intercept)", "a", "b", "W_a", "W_b", "mean_b", "mean_W_b")


def test_lee_yu_and_direct_are_the_same_maximum_likelihood():
    W = directed_knn(12)
    panel = draw(W, 4, 2)
    a, b = (zb.fit_durbin(spec("SAR"), panel, W, estimator=e) for e in ("lee_yu", "direct"))
    pd.testing.assert_series_equal(a.params, b.params)
    assert a.glance()["estimator"].item() == b.glance()["estimator"].item() == "ml"


def test_residuals_predict_the_unit_effects():
    """Dense: ε̂ = B(Ay − Zδ) − B × (best linear prediction of the effects)."""
    W = directed_knn(10)
    panel = draw(W, 4, 12)
    for structure in ("baltagi", "kkp"):
        fit = zb.fit_durbin(spec("SAC", structure), panel, W)
        p, T, n = fit.params, 4, 10
        dense = W.matrix.toarray()
        B = np.eye(n) - p["lam"] * dense
        u = fit.design.y - p["rho"] * fit.design.Wy - fit.design.Z @ p[list(fit.spec.terms)].to_numpy()
        Binv = np.linalg.inv(B)
        of_mu = np.eye(n) if structure == "baltagi" else Binv
        same = np.kron(np.ones((T, 1)), of_mu)
        V = np.kron(np.eye(T), Binv @ Binv.T) + p["phi"] * same @ same.T
        mu = p["phi"] * same.T @ np.linalg.solve(V, u.ravel())
        wanted = (u - of_mu @ mu) @ B.T
        assert fit.residuals == pytest.approx(wanted, abs=1e-8)


# ---------------------------------------------------------------- invariances


@pytest.mark.parametrize(("family", "structure"), [("GNS", "baltagi"), ("SAC", "kkp"), ("SAR", "baltagi")])
def test_order_of_units_and_periods_does_not_matter(family, structure):
    W = directed_knn(14)
    panel = draw(W, 4, 13, structure=structure)
    order = np.random.default_rng(0).permutation(14)
    other = zb.Panel(panel.values[::-1][:, order], panel.periods, panel.units[order], panel.columns)
    a, b = (zb.fit_durbin(spec(family, structure), p, W) for p in (panel, other))
    pd.testing.assert_series_equal(a.params, b.params, rtol=1e-6, atol=1e-8)
    pd.testing.assert_frame_equal(a.cov, b.cov, rtol=1e-5, atol=1e-10)


def test_units_of_measurement_do_not_matter():
    W = directed_knn(14)
    panel = draw(W, 4, 14)
    big = panel.values * np.array([1e6, 1e-5, 1e4])
    scaled = zb.Panel(big, panel.periods, panel.units, panel.columns)
    a, b = (zb.fit_durbin(spec("SAC"), p, W) for p in (panel, scaled))
    for term, factor in {"rho": 1, "lam": 1, "phi": 1, "sigma2": 1e12, "x1": 1e11, "x2": 1e2}.items():
        assert b.params[term] == pytest.approx(factor * a.params[term], rel=1e-6)
        assert b.bse[term] == pytest.approx(factor * a.bse[term], rel=1e-5)


# ---------------------------------------------------------------- reference: splm 1.6-5 (R 4.5)

MUNNELL = ["log(pcap)", "log(pc)", "log(emp)", "unemp"]
# log(gsp) ~ log(pcap) + log(pc) + log(emp) + unemp, 48 states × 1970-86, row-normalised contiguity;
# spml(model="random"), here in the names of this package (splm's lambda is rho, its rho is lam).
SPLM = {
    "sar": (
        {"lag_y": True, "lag_error": False},
        [1.65814986626291, 0.0129450521160542, 0.225553750201716, 0.670810736250026, -0.00579715838773989],
        {"rho": 0.161614536569686, "phi": 21.317508157308},
        1426.57670518143,
        None,
    ),
    "semre-b": (
        {"lag_y": False, "lag_error": True},
        [2.38682747767362, 0.0424138369086265, 0.241839581561343, 0.742345427130974, -0.00342793180890072],
        {"lam": 0.53887646173518, "phi": 7.49517905066063},
        1491.65884978501,
        [0.139379785775197, 0.0222037235354277, 0.0202892424694702, 0.0244060550664576, 0.00106144403070168],
    ),
    "semre-kkp": (
        {"lag_y": False, "lag_error": True, "error_structure": "kkp"},
        [2.32467073383248, 0.0445475102944239, 0.246112407541309, 0.742631924655867, -0.00360450947556601],
        {"lam": 0.526464761284812, "phi": 6.62477474184183},
        1491.91155855788,
        [0.141589372113098, 0.0220377159050277, 0.0211340832912159, 0.0254662876157709, 0.00106367935436133],
    ),
    "sararre-b": (
        {"lag_y": True, "lag_error": True},
        [2.3735769139513, 0.0425016652909955, 0.241507523233392, 0.74190630708038, -0.00345602137],
        {"rho": 0.00182039582405482, "lam": 0.536831050723287, "phi": 7.53078012039203},
        1491.66381122842,
        None,
    ),
}


@pytest.fixture(scope="module")
def munnell():
    """The panel of linearmodels and the contiguity of libpysal's us_income, both shipped with them."""
    import libpysal
    from linearmodels.datasets import munnell as data

    table = data.load()
    example = libpysal.examples.load_example("us_income")
    states = pd.read_csv(example.get_path("usjoin.csv"))["Name"].str.upper().str.replace(" ", "_")
    # Munnell's names end after eleven letters, and TENNESSE has lost one; each is the start of one state.
    full = {cut: next(s for s in states if s.startswith(cut)) for cut in table["STATE"].str.strip().unique()}
    assert len(set(full.values())) == len(states) == 48
    A = libpysal.io.open(example.get_path("states48.gal")).read().full()[0]
    W = zb.Weights(sparse.csr_array(A), pd.Index(states), "contiguity").standardise("row")
    frame = pd.DataFrame(
        {
            "unit": table["STATE"].str.strip().map(full),
            "period": table["YR"],
            "log(gsp)": np.log(table["GSP"]),
            "log(pcap)": np.log(table["P_CAP"]),
            "log(pc)": np.log(table["PC"]),
            "log(emp)": np.log(table["EMP"]),
            "unemp": table["UNEMP"],
        }
    )
    return zb.build_panel(frame, units=W.ids), W


@pytest.mark.parametrize("name", SPLM)
def test_splm(munnell, name):
    kwargs, beta, others, log_likelihood, std_error = SPLM[name]
    panel, W = munnell
    s = zb.DurbinSpec("log(gsp)", MUNNELL, lag_x=[], fixed_effects="random", **kwargs)
    fit = zb.fit_durbin(s, panel, W)
    terms = ["(Intercept)", *MUNNELL]
    assert fit.params[terms].to_numpy() == pytest.approx(beta, abs=5e-6)
    for term, value in others.items():
        assert fit.params[term] == pytest.approx(value, abs=R_OPTIMISER)
    assert fit.log_likelihood >= log_likelihood - 1e-8  # never below splm's own optimum
    assert fit.log_likelihood == pytest.approx(log_likelihood, abs=1e-7)
    if (
        std_error is not None
    ):  # splm's errors of β condition on the spatial lag of y, so only where it has none
        assert fit.bse[terms].to_numpy() == pytest.approx(std_error, rel=1e-5)


# ---------------------------------------------------------------- recovery, effects, refusals


@pytest.mark.parametrize("structure", ["baltagi", "kkp"])
def test_estimates_centre_on_the_truth(structure):
    """Forty panels: the mean of each estimate is within four of its own standard errors of the truth."""
    W = directed_knn(50, 4)
    truth = {"x1": 1.0, "x2": -0.8, "W_x1": 0.5, "W_x2": 0.0, "rho": 0.3, "lam": 0.4, "sigma2": 0.49}
    fits = [
        zb.fit_durbin(spec("GNS", structure), draw(W, 5, seed, structure=structure), W) for seed in range(40)
    ]
    estimates = pd.DataFrame([f.params for f in fits])
    for term, value in truth.items():
        error = estimates[term].std() / np.sqrt(len(fits))
        bias = 0.03 if term == "sigma2" else 0.02  # of order 1/(nT)
        assert abs(estimates[term].mean() - value) < 4 * error + bias, term
    assert 1.2 < estimates["phi"].mean() < 2.6
    covered = [abs(f.params["x1"] - 1) < 1.96 * f.bse["x1"] for f in fits]
    assert np.mean(covered) > 0.85


def test_effects_of_a_random_effects_fit():
    W = directed_knn(30)
    fit = zb.fit_durbin(spec("SDM", mundlak=True), draw(W, 5, 1), W)
    delta = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])
    assert set(delta.index.get_level_values(0)) == {"x1", "x2"}
    p = fit.params
    total = (p["x1"] + p["W_x1"]) / (1 - p["rho"])
    assert delta.loc[("x1", "total"), "estimate"] == pytest.approx(total)
    simulated = zb.spatial_effects(fit, "simulate", draws=4000, rng=2).tidy().set_index(["term", "effect"])
    assert simulated["std_error"].to_numpy() == pytest.approx(delta["std_error"].to_numpy(), rel=0.15)


def test_the_fit_speaks_like_any_other():
    W = directed_knn(15)
    fit = zb.fit_durbin(spec("SAC"), draw(W, 4, 1), W)
    assert list(fit.params.index[-4:]) == ["rho", "lam", "phi", "sigma2"]
    row = fit.glance().iloc[0]
    assert row["fixed_effects"] == "random"
    assert 0 < row["r2_within"] < 1
    assert row["aic"] == pytest.approx(-2 * fit.llf + 2 * 7)
    assert "random" in fit.summary()


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"error_structure": "other"}, "error_structure must be one of baltagi, kkp"),
        ({"fixed_effects": "unit", "mundlak": True}, "mundlak adds unit means"),
        ({"mundlak": ["z"]}, "mundlak names z, not among x"),
        ({"mundlak": "x1"}, "mundlak must be a list"),
    ],
)
def test_specifications_that_make_no_sense(kwargs, words):
    with pytest.raises(zb.SpecificationError, match=words):
        zb.DurbinSpec("y", ["x1", "x2"], **{"fixed_effects": "random", **kwargs})


@pytest.mark.parametrize("seed", range(4))
def test_small_and_strange_panels_end_in_words(seed):
    """Six units, two periods, extreme variances: a fit, or one that says that it did not converge."""
    rng = np.random.default_rng(seed)
    phi, sigma = ((0.0, 0.01), (0.5, 1.0), (50.0, 100.0), (1e8, 1.0))[seed]
    W = directed_knn(6, 3, seed, how=("row", "spectral", "none", "minmax")[seed])
    panel = draw(directed_knn(6, 3, seed), 2, seed, phi=phi, sigma=sigma, rho=rng.uniform(-0.8, 0.9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        for family, structure in CASES:
            if family in ("SDEM", "GNS"):
                continue  # too many parameters for twelve cells
            fit = zb.fit_durbin(spec(family, structure), panel, W, covariance="hessian")
            claimed = fit.bse.drop("phi") if fit.convergence.phi_at_zero else fit.bse
            assert np.isfinite(claimed).all() if fit.converged else np.isnan(claimed).all()


def test_refusals(monkeypatch):
    W = directed_knn(12)
    panel = draw(W, 4, 1)
    with pytest.raises(zb.SpecificationError, match="single period"):
        zb.fit_durbin(spec("SAR"), panel.select(periods=[2001]), W)
    with pytest.raises(zb.SpecificationError, match=r"Random effects.*maximum likelihood"):
        zb.fit_durbin(spec("SAR"), panel, W, estimator="gmm")
    with pytest.raises(zb.SpecificationError, match="covariance must be one of"):
        zb.fit_durbin(spec("SAR"), panel, W, covariance="robust")
    fixed = np.broadcast_to(np.arange(12.0), (4, 12))
    steady = panel.with_columns({"x2": fixed})
    with pytest.raises(zb.DataError, match="mean_x2"):
        zb.fit_durbin(spec("SAR", mundlak=True), steady, W)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert zb.fit_durbin(spec("SAR", mundlak=["x1"]), steady, W).converged
