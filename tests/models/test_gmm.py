"""GMM: equality with linearmodels and spreg, identities of panels, R's numbers, recovery, refusals."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, sparse
from small_examples import unequal_circle

import spatial_zb as zb
from spatial_zb.core.system import moments as gmm

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

#: The same linear algebra in another order.
EXACT = 1e-9
#: R prints its results of a numerical minimiser; here the minimum is the root of a cubic.
R_OPTIMISER = 2e-6


def draw(
    W, T, seed, *, rho=0.4, lam=0.3, beta=(1.0, -0.7), endog=0.8, spread=0.0, effects="two_way"
) -> zb.Panel:
    """y = ρWy + x1β₁ + x2β₂ + w·endog + effects + u; w is correlated with ε, and z1, z2 are its instruments.

    ``spread``: standard deviation of ε is exp(spread × x1 of the first period), heteroskedastic over units.
    """
    rng = np.random.default_rng(seed)
    n, dense = W.n, W.matrix.toarray()
    x, z = rng.standard_normal((T, n, 2)), rng.standard_normal((T, n, 2))
    eps = rng.standard_normal((T, n)) * np.exp(spread * x[0, :, 0])
    w = z @ [1.0, 0.7] + 0.6 * eps + 0.5 * rng.standard_normal((T, n))
    u = eps @ np.linalg.inv(np.eye(n) - lam * dense).T
    shift = 2 * rng.standard_normal(n) * (effects in ("unit", "two_way"))
    shift = shift + rng.standard_normal((T, 1)) * (effects in ("time", "two_way"))
    x = x + 0.5 * shift[:, :, None]
    y = (x @ np.array(beta) + endog * w + shift + u) @ np.linalg.inv(np.eye(n) - rho * dense).T
    values = np.concatenate([y[..., None], x, w[..., None], z], axis=2)
    return zb.Panel(values, tuple(range(2001, 2001 + T)), W.ids, ("y", "x1", "x2", "w", "z1", "z2"))


def fit(panel, W, covariance="robust", powers=2, bias_correction=None, **kwargs) -> zb.models.fit.Fit:
    base = {"lag_y": True, "lag_x": [], "lag_error": False, "fixed_effects": "none"}
    spec = zb.DurbinSpec("y", kwargs.pop("x", ["x1", "x2"]), **{**base, **kwargs})
    options = {"covariance": covariance, "powers": powers, "bias_correction": bias_correction}
    return zb.fit_durbin(spec, panel, W, estimator="gmm", **options)


def textbook(*args, **kwargs) -> zb.models.fit.Fit:
    """What other software has."""
    return fit(*args, bias_correction=False, **kwargs)


ENDOG = {"endog": ["w"], "instruments": ["z1", "z2"]}


# ---------------------------------------------------------------- linearmodels


@pytest.mark.parametrize("covariance", ["information", "robust"])
def test_without_spatial_lag_it_is_linearmodels_iv(covariance):
    from linearmodels.iv import IV2SLS, IVGMM

    W = unequal_circle(60)
    panel = draw(W, 1, 1, spread=0.4, effects="none")
    ours = fit(panel, W, covariance, lag_y=False, **ENDOG)
    frame = panel.frame().assign(one=1.0)
    parts = (frame["y"], frame[["one", "x1", "x2"]], frame["w"], frame[["z1", "z2"]])
    theirs = IV2SLS(*parts).fit(cov_type="robust" if covariance == "robust" else "unadjusted")
    terms = ["(Intercept)", "x1", "x2", "w"]
    assert ours.params[terms].to_numpy() == pytest.approx(theirs.params.to_numpy(), abs=EXACT)
    assert ours.cov.loc[terms, terms].to_numpy() == pytest.approx(theirs.cov.to_numpy(), abs=EXACT)
    assert ours.sigma2 == pytest.approx(theirs.s2)
    j = theirs.sargan if covariance == "information" else IVGMM(*parts).fit(iter_limit=2).j_stat
    assert ours.convergence.j_statistic == pytest.approx(j.stat, rel=1e-6)
    assert ours.convergence.j_p_value == pytest.approx(j.pval, rel=1e-6)
    if covariance == "information":
        debiased = IV2SLS(*parts).fit(cov_type="unadjusted", debiased=True)
        strength = debiased.first_stage.diagnostics["f.stat"].item()
        assert ours.convergence.first_stage["w"] == pytest.approx(strength, rel=1e-8)


@pytest.mark.parametrize("effects", ["unit", "time", "two_way"])
@pytest.mark.parametrize("covariance", ["information", "robust", "cr1"])
def test_the_spatial_lag_is_one_more_endogenous_regressor(effects, covariance):
    """2SLS of the panel equals linearmodels with dummies and the lags of x named as instruments."""
    from linearmodels.iv import IV2SLS

    W = unequal_circle(15)
    T, n = 4, 15
    panel = draw(W, T, 3)
    ours = textbook(panel, W, covariance, fixed_effects=effects, **ENDOG)

    def lag(values):
        return (W.matrix @ values.T).T

    x, z, w, y = (panel.array(v) for v in (["x1", "x2"], ["z1", "z2"], "w", "y"))
    exogenous = np.concatenate([x, z], axis=2)
    once = np.stack([lag(exogenous[:, :, j]) for j in range(4)], axis=2)
    twice = np.stack([lag(once[:, :, j]) for j in range(4)], axis=2)
    unit, time = np.tile(np.eye(n), (T, 1)), np.repeat(np.eye(T), n, axis=0)
    dummies = {"unit": unit, "time": time, "two_way": np.hstack([unit, time[:, 1:]])}[effects]
    flat = [v.reshape(T * n, -1) for v in (x, w, lag(y), z, once, twice)]
    kind = {"cov_type": "unadjusted"}
    if covariance == "cr1":
        kind = {"cov_type": "clustered", "clusters": np.tile(np.arange(n), T)}
    exogenous = np.hstack([flat[0], dummies])
    theirs = IV2SLS(y.ravel(), exogenous, np.hstack(flat[1:3]), np.hstack(flat[3:])).fit(**kind)
    wanted = theirs.params.to_numpy()
    wanted = np.concatenate([wanted[:2], wanted[-2:]])
    assert ours.params[["x1", "x2", "w", "rho"]].to_numpy() == pytest.approx(wanted, abs=1e-8)
    if covariance != "robust":  # White's needs the transformed noise, which dummies do not give
        se = np.concatenate([theirs.std_errors[:2], theirs.std_errors[-2:]])
        # σ² over the transformed observations; sums over units are the same either way
        ratio = np.sqrt(T * n / ours.nobs if covariance == "information" else n / (n - 1))
        assert ours.bse[["x1", "x2", "w", "rho"]].to_numpy() == pytest.approx(se * ratio, rel=1e-8)


def test_rows_of_an_uneven_panel_with_dummies():
    """The same where rows are absent: W among the units of each period, lags and dummies made by hand."""
    from linearmodels.iv import IV2SLS

    W, T, n = unequal_circle(15), 4, 15
    panel = draw(W, T, 3)
    there = np.random.default_rng(4).random((T, n)) > 0.15
    values = np.where(there[..., None], panel.values, np.nan)
    uneven = zb.Panel(values, panel.periods, W.ids, panel.columns, present=there)
    ours = textbook(uneven, W, "cr1", fixed_effects="two_way", **ENDOG)
    blocks = [W.matrix.toarray()[np.ix_(rows, rows)] for rows in there]
    lag = linalg.block_diag(*[block / block.sum(axis=1, keepdims=True) for block in blocks])
    rows = values[there]  # y, x1, x2, w, z1, z2
    once = lag @ rows[:, [1, 2, 4, 5]]
    time, unit = np.nonzero(there)
    dummies = np.hstack([np.eye(n)[unit], np.eye(T)[time, 1:]])
    exogenous, endogenous = (
        np.hstack([rows[:, 1:3], dummies]),
        np.column_stack([rows[:, 3], lag @ rows[:, 0]]),
    )
    outside = np.hstack([rows[:, 4:], once, lag @ once])
    theirs = IV2SLS(rows[:, 0], exogenous, endogenous, outside).fit(cov_type="clustered", clusters=unit)
    order = ["x1", "x2", "w", "rho"]
    wanted, errors = (np.asarray(v)[[0, 1, -2, -1]] for v in (theirs.params, theirs.std_errors))
    assert ours.params[order].to_numpy() == pytest.approx(wanted, abs=1e-8)
    assert ours.bse[order].to_numpy() == pytest.approx(errors * np.sqrt(n / (n - 1)), rel=1e-8)


# ---------------------------------------------------------------- spreg


@pytest.fixture(scope="module")
def cross_section():
    W = unequal_circle(80)
    # spreg cuts the last coefficient of its 2SLS at ±0.9, be it ρ or that of an endogenous x: stay below.
    return draw(W, 1, 5, rho=0.2, endog=0.4, spread=0.3, effects="none"), W


def spreg_inputs(panel, W):
    import libpysal

    frame = panel.frame()
    w = libpysal.weights.WSP(sparse.csr_matrix(W.matrix)).to_W(silence_warnings=True)
    w.transform = "r"
    return frame[["y"]].to_numpy(), frame[["x1", "x2"]].to_numpy(), w, frame


@pytest.mark.parametrize(("covariance", "robust"), [("information", None), ("robust", "white")])
@pytest.mark.parametrize("with_endog", [False, True])
def test_spreg_lag(cross_section, covariance, robust, with_endog):
    import spreg

    y, x, w, frame = spreg_inputs(*cross_section)
    more = {"yend": frame[["w"]].to_numpy(), "q": frame[["z1", "z2"]].to_numpy()} if with_endog else {}
    theirs = spreg.GM_Lag(y, x, w=w, w_lags=2, robust=robust, **more)
    ours = textbook(*cross_section, covariance, **(ENDOG if with_endog else {}))
    terms = ["(Intercept)", "x1", "x2", *(["w"] if with_endog else []), "rho"]
    assert ours.params[terms].to_numpy() == pytest.approx(theirs.betas.ravel(), abs=1e-8)
    assert ours.bse[terms].to_numpy() == pytest.approx(theirs.std_err, rel=1e-7)


@pytest.mark.parametrize("with_endog", [False, True])
@pytest.mark.parametrize("lag_y", [False, True])
def test_spreg_heteroskedastic_error(cross_section, with_endog, lag_y):
    """GM_Error_Het, GM_Endog_Error_Het and GM_Combo_Het: estimates and joint standard errors."""
    import spreg

    y, x, w, frame = spreg_inputs(*cross_section)
    more = {"yend": frame[["w"]].to_numpy(), "q": frame[["z1", "z2"]].to_numpy()} if with_endog else {}
    terms = ["(Intercept)", "x1", "x2", *(["w"] if with_endog else []), *(["rho"] if lag_y else []), "lam"]
    ours = textbook(*cross_section, lag_y=lag_y, lag_error=True, **(ENDOG if with_endog else {}))
    if lag_y:
        theirs = spreg.GM_Combo_Het(y, x, w=w, w_lags=2, **more)
    elif with_endog:  # spreg's H has no lags of x and z here: give them, as KP (2010) ask
        H = frame[["x1", "x2", "z1", "z2"]].to_numpy()
        lags = np.hstack([w.sparse @ H, w.sparse @ (w.sparse @ H)])
        theirs = spreg.GM_Endog_Error_Het(y, x, more["yend"], np.hstack([more["q"], lags]), w=w)
    else:
        theirs = spreg.GM_Error_Het(y, x, w=w)
    assert ours.params[terms].to_numpy() == pytest.approx(theirs.betas.ravel(), abs=2e-5)
    assert ours.bse[terms].to_numpy() == pytest.approx(theirs.std_err, rel=2e-4)


# ---------------------------------------------------------------- R: spatialreg 1.3-6 and sphet 2.1.1

# Columbus (Anselin 1988), CRIME ~ INC + HOVAL, row-normalised contiguity, in the names of this package
# (sphet's lambda is rho, its rho is lam). (estimate, standard error); None where R prints none.
TERMS = ("(Intercept)", "INC", "HOVAL", "rho", "lam")
R = {
    "stsls": [
        (43.7934424693284, 10.9522294360342),
        (-1.00071577713411, 0.383857777451224),
        (-0.265488986022194, 0.0918516738706509),
        (0.454566949045813, 0.185118448063264),
    ],
    "stsls HC0": [
        (43.7934424693284, 7.75788531387841),
        (-1.00071577713411, 0.456298577510047),
        (-0.265488986022194, 0.173735684696369),
        (0.454566949045813, 0.142586941513328),
    ],
    "gstsls": [
        (43.7828178382833, 10.4678568653263),
        (-0.994831306259184, 0.366818382758527),
        (-0.267075970099245, 0.0881493820172389),
        (0.454171476038924, 0.177939456975456),
        (0.0166471903405894, None),
    ],
    "GMerrorsar": [
        (62.5137524694519, 5.12133862836499),
        (-1.12828335542832, 0.339744921452536),
        (-0.296957305316911, 0.0956988856877304),
        (0.401957455469847, None),
    ],
    "sphet sarar het": [
        (43.7588069472715, 7.54192624480393),
        (-0.978562763951637, 0.460313811654302),
        (-0.271402932951083, 0.177860963672882),
        (0.452863351044602, 0.146078988828243),
        (0.10743115372182, 0.298773381301957),
    ],
    "sphet sarar het endog": [
        (41.9882315087171, 9.19513796338991),
        (-0.527780250378063, 0.56093096310057),
        (-0.475812213576135, 0.277975285828715),
        (0.543352343283275, 0.156636668093379),
        (0.151291396620562, 0.285812761374141),
    ],
    "sphet lag hom endog": [
        (41.7178124094443, 11.7302230277318),
        (-0.520630329131876, 0.44980643373142),
        (-0.480604570502406, 0.199112587942821),
        (0.552835081957683, 0.181855761274794),
    ],
}
MORE = {"x": ["INC"], "endog": ["HOVAL"], "instruments": ["DISCBD"]}
#: spatialreg's stsls and sphet's homoskedastic lag divide by n − k, here k = 4 of n = 49; this package by n.
BY_DOF = np.sqrt(49 / 45)
CASES = {
    "stsls": ({}, "information", BY_DOF),
    "stsls HC0": ({}, "robust", 1.0),
    "gstsls": ({"lag_error": True}, "information", 1.0),
    "GMerrorsar": ({"lag_y": False, "lag_error": True}, "information", None),
    "sphet sarar het": ({"lag_error": True}, "robust", 1.0),
    "sphet sarar het endog": ({"lag_error": True, **MORE}, "robust", 1.0),
    "sphet lag hom endog": (MORE, "information", BY_DOF),
}
# Neighbours of the 49 neighbourhoods by NEIGNO − 1000, each pair once.
COLUMBUS_LINKS = """
1-2 1-5 1-6 2-3 2-6 2-7 3-4 3-7 3-37 3-38 3-39 4-37 4-39 4-40 5-6 6-7 7-8 7-9 7-18 7-36 7-38 8-18 9-18 9-20
9-32 9-36 9-38 10-11 10-17 10-18 10-19 11-12 11-17 12-13 12-17 13-14 13-16 13-17 14-15 14-16 15-16 16-17
16-23 17-18 17-19 17-21 17-22 17-23 18-19 18-20 19-20 19-21 19-31 20-31 20-32 21-22 21-31 22-23 22-31 23-24
23-25 23-29 23-31 24-25 24-29 24-30 24-31 24-33 25-26 25-27 25-29 26-27 26-28 27-28 27-29 28-29 28-30 29-30
30-31 30-33 30-34 31-32 31-33 32-33 32-34 32-35 32-36 33-34 33-35 34-35 34-43 35-36 35-41 35-42 35-43 36-37
36-38 36-40 36-42 37-38 37-39 37-40 37-42 39-40 40-41 40-42 41-42 43-44 44-45 44-46 44-49 45-46 46-47 46-48
46-49 47-48
"""


@pytest.fixture(scope="module")
def columbus():
    import libpysal

    table = libpysal.io.open(libpysal.examples.load_example("columbus").get_path("columbus.dbf"))
    frame = pd.DataFrame(table[:], columns=table.header).sort_values("NEIGNO")
    A = np.zeros((49, 49))
    for pair in COLUMBUS_LINKS.split():
        i, j = (int(v) - 1 for v in pair.split("-"))
        A[i, j] = A[j, i] = 1
    ids = pd.Index([f"{v:.0f}" for v in frame["NEIGNO"]])
    W = zb.Weights(sparse.csr_array(A), ids, "contiguity").standardise("row")
    frame = frame[["CRIME", "INC", "HOVAL", "DISCBD"]].assign(unit=list(ids), period=1)
    return zb.build_panel(frame, units=W.ids), W


@pytest.mark.parametrize("name", R)
def test_numbers_of_r(columbus, name):
    kwargs, covariance, factor = CASES[name]
    base = {"x": ["INC", "HOVAL"], "lag_x": [], "fixed_effects": "none"}
    spec = zb.DurbinSpec("CRIME", **{**base, **kwargs})
    options = {"covariance": covariance, "bias_correction": False}
    ours = zb.fit_durbin(spec, *columbus, estimator="gmm", **options)
    terms = [t for t in TERMS if t in ours.params]
    estimates, errors = zip(*R[name], strict=True)
    assert ours.params[terms].to_numpy() == pytest.approx(np.array(estimates), abs=R_OPTIMISER)
    if factor is None:  # GMerrorsar takes σ² from the residuals of least squares, filtered; here from its own
        y, X = ours.design.y.ravel(), ours.design.Z[0]
        u = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
        e = u - ours.params["lam"] * (columbus[1].matrix @ u)
        factor = np.sqrt(np.mean(e**2) / ours.sigma2)
    for term, error in zip(terms, errors, strict=True):
        if error is not None:
            assert ours.bse[term] * factor == pytest.approx(error, rel=2e-6)


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
def test_forward_deviations_are_an_orthonormal_transform(effects):
    values = np.random.default_rng(1).standard_normal((5, 6, 2))
    from spatial_zb.core.transforms import demean

    out, within = gmm.forward_deviations(values, effects), demean(values, effects)
    assert len(out) == (4 if effects in ("unit", "two_way") else 5)
    for j in range(2):  # the same sums of squares and products between units
        assert out[:, :, j].T @ out[:, :, j] == pytest.approx(within[:, :, j].T @ within[:, :, j], abs=1e-12)


@pytest.mark.parametrize("centred", [False, True])
def test_robust_moments_read_no_variance(centred):
    """E ε'JAJε = 0 whatever the variances: nothing is on the diagonal."""
    W = unequal_circle(9).matrix
    J = np.eye(9) - centred / 9
    for A in gmm.robust_moments(W, centred).matrices:
        dense = A if centred else A.toarray()
        assert np.diag(J @ dense @ J) == pytest.approx(np.zeros(9), abs=1e-14)
        assert dense == pytest.approx(dense.T, abs=1e-14)
    lag = J @ W.toarray() @ J
    off = ~np.eye(9, dtype=bool)
    first = gmm.robust_moments(W, False).matrices[0].toarray()
    assert first[off] == pytest.approx((W.T @ W).toarray()[off])
    assert np.trace(lag) == pytest.approx(-float(centred))


def test_the_quartic_is_minimised_globally():
    rng = np.random.default_rng(3)
    for _ in range(20):
        g, G = rng.standard_normal(3), rng.standard_normal((3, 2))
        root = rng.standard_normal((3, 3))
        weight = root @ root.T
        lam, _ = gmm.solve_lambda(g, G, weight, (-1.5, 1.0))
        grid = np.linspace(-1.5, 1.0, 20001)
        m = g[:, None] - G @ np.array([grid, grid**2])
        values = np.einsum("ig,ij,jg->g", m, weight, m)
        assert lam == pytest.approx(grid[values.argmin()], abs=2e-4)


def test_moment_variance_by_simulation():
    """Ψ of quadratic forms against the variance of draws, both ways of weighting."""
    rng = np.random.default_rng(6)
    n, W = 40, unequal_circle(40).matrix
    scale = np.exp(0.5 * rng.standard_normal(n))
    for robust, sd in ((True, scale), (False, np.ones(n))):
        moments = (gmm.robust_moments if robust else gmm.classical_moments)(W, False)
        draws = sd * rng.standard_normal((20000, n))
        forms = np.stack([np.einsum("di,di->d", draws, (A @ draws.T).T) for A in moments.matrices], axis=1)
        empirical = np.cov(forms.T) / n
        # Σ̂ = diag(ε²) is unbiased for each variance: averaged over draws Ψ̂ is exact for zero diagonals.
        psi = np.mean(
            [
                gmm.moment_variance(
                    moments, gmm.ErrorEstimate(e[None], np.zeros((n, 1)), np.zeros((n, 1)), None, n), robust
                )[0]
                for e in draws[:1500]
            ],
            axis=0,
        )
        assert psi == pytest.approx(empirical, rel=0.12, abs=0.03)


def test_instruments_are_listed_and_collinear_ones_dropped():
    W = unequal_circle(20)
    panel = draw(W, 4, 2)
    twin = panel.with_columns({"z3": 2 * panel.array("z1") - panel.array("z2")})
    spec = zb.DurbinSpec(
        "y", ["x1"], lag_x="all", fixed_effects="unit", endog=["w"], instruments=["z1", "z2", "z3"]
    )
    with pytest.warns(zb.SpatialZbWarning, match="collinear instruments were left out"):
        ours = zb.fit_durbin(spec, twin, W, estimator="gmm", covariance="robust")
    record = ours.convergence
    assert len(record.dropped_instruments) == 3  # one of each of z, Wz, W²z
    assert {"x1", "W_x1", "W2_x1", "W3_x1"} <= set(record.instruments)
    assert not any(name.lstrip("W23_") in ("y", "w") for name in record.instruments)
    without = zb.fit_durbin(
        zb.DurbinSpec("y", ["x1"], lag_x="all", fixed_effects="unit", endog=["w"], instruments=["z1", "z2"]),
        panel, W, estimator="gmm", covariance="robust",
    )  # fmt: skip
    assert ours.params.to_numpy() == pytest.approx(without.params.to_numpy(), abs=1e-8)


def test_an_instrument_absorbed_by_the_effects_is_dropped():
    W = unequal_circle(12)
    panel = draw(W, 4, 2).with_columns({"z2": np.broadcast_to(np.arange(12.0) ** 2, (4, 12))})
    ours = fit(panel, W, fixed_effects="unit", **ENDOG)
    assert set(ours.convergence.dropped_instruments) == {"z2", "W_z2", "W2_z2"}


def test_powers_choose_the_instruments():
    W = unequal_circle(20)
    panel = draw(W, 3, 2)
    names = [fit(panel, W, powers=q).convergence.instruments for q in (1, 3)]
    assert names[0] == ("(Intercept)", "x1", "x2", "W_x1", "W_x2")
    assert "W3_x2" in names[1]


def test_conditional_first_stage_against_its_definition():
    W = unequal_circle(30)
    panel = draw(W, 3, 4)
    ours = fit(panel, W, "information", fixed_effects="unit", **ENDOG)
    from linearmodels.iv import IV2SLS

    def dev(v):
        return gmm.forward_deviations(v, "unit").reshape(60, -1)

    def lag(v):
        return np.stack([(W.matrix @ v[:, :, j].T).T for j in range(v.shape[2])], axis=2)

    x, z, w, y = (panel.array(v) for v in (["x1", "x2"], ["z1", "z2"], ["w"], ["y"]))
    both = np.concatenate([x, z], axis=2)
    excluded = np.hstack([dev(v) for v in (z, lag(both), lag(lag(both)))])
    w, wy, x = dev(w), dev(lag(y)), dev(x)
    residual = np.asarray(IV2SLS(w.ravel(), x, wy, excluded).fit().resids)
    H = np.hstack([x, excluded])
    rss0 = ((residual - x @ np.linalg.lstsq(x, residual, rcond=None)[0]) ** 2).sum()
    rss1 = ((residual - H @ np.linalg.lstsq(H, residual, rcond=None)[0]) ** 2).sum()
    wanted = (rss0 - rss1) / (excluded.shape[1] - 1) / (rss1 / (60 - H.shape[1]))
    assert ours.convergence.first_stage["w"] == pytest.approx(wanted, rel=1e-8)


# ---------------------------------------------------------------- invariances


@pytest.mark.parametrize("effects", ["none", "unit", "two_way"])
@pytest.mark.parametrize("covariance", ["information", "robust"])
def test_order_and_scale_do_not_matter(effects, covariance):
    W = unequal_circle(18)
    panel = draw(W, 4, 7)
    order = np.random.default_rng(0).permutation(18)
    factor = np.array([1e6, 1e4, 1e-3, 10, 1e-4, 1])
    other = zb.Panel(panel.values[:, order] * factor, panel.periods, panel.units[order], panel.columns)
    a, b = (fit(p, W, covariance, fixed_effects=effects, lag_error=True, **ENDOG) for p in (panel, other))
    ratio = {"x1": 1e2, "x2": 1e9, "w": 1e5, "rho": 1, "lam": 1}
    for term, r in ratio.items():
        assert b.params[term] == pytest.approx(a.params[term] * r, rel=1e-7)
        assert b.bse[term] == pytest.approx(a.bse[term] * r, rel=1e-6)


def test_unit_effects_leave_no_trace():
    W = unequal_circle(18)
    panel = draw(W, 4, 7)
    moved = panel.with_columns({"y": panel.array("y") + 50 * np.random.default_rng(2).standard_normal(18)})
    a, b = (fit(p, W, fixed_effects="unit", lag_y=False, lag_error=True) for p in (panel, moved))
    assert b.params.to_numpy() == pytest.approx(a.params.to_numpy(), abs=1e-8)


# ---------------------------------------------------------------- recovery and coverage


@pytest.mark.parametrize(
    ("effects", "covariance", "spread"),
    [
        *(
            pytest.param(*cell, marks=pytest.mark.slow)
            for cell in (
                ("none", "information", 0.0),
                ("none", "robust", 0.5),
                ("unit", "information", 0.0),
                ("unit", "robust", 0.5),
                ("two_way", "information", 0.0),
            )
        ),
        ("two_way", "robust", 0.5),
    ],
)
def test_estimates_centre_on_the_truth_and_errors_cover_it(effects, covariance, spread):
    W, T, runs = unequal_circle(150), 4, 80
    truth = {"x1": 1.0, "x2": -0.7, "w": 0.8, "rho": 0.4, "lam": 0.3}
    fits = [
        fit(draw(W, T, s, spread=spread, effects=effects), W, covariance, fixed_effects=effects,
            lag_error=True, **ENDOG)
        for s in range(runs)
    ]  # fmt: skip
    estimates = pd.DataFrame([f.params for f in fits])
    for term, value in truth.items():
        error = estimates[term].std() / np.sqrt(runs)
        bias = 0.05 if term == "lam" else 0.02  # towards least squares, of order instruments / observations
        assert abs(estimates[term].mean() - value) < 4 * error + bias, term
        covered = np.mean([abs(f.params[term] - value) < 1.96 * f.bse[term] for f in fits])
        assert covered > 0.86, (term, covered)
        claimed = np.mean([f.bse[term] for f in fits])
        assert claimed == pytest.approx(estimates[term].std(), rel=0.3), term


# ---------------------------------------------------------------- what the fit says


def test_the_fit_speaks_like_any_other():
    W = unequal_circle(25)
    ours = fit(draw(W, 4, 1), W, fixed_effects="two_way", lag_x="all", lag_error=True, **ENDOG)
    row = ours.glance().iloc[0]
    assert (row["model"], row["estimator"], row["nobs"]) == ("GNS", "gmm", 24 * 3)
    assert np.isnan(row["log_likelihood"])
    assert np.isnan(row["aic"])
    assert np.isnan(ours.bse["sigma2"])
    assert "gmm" in ours.summary()
    table = zb.spatial_effects(ours).tidy().set_index(["term", "effect"])
    assert set(table.index.get_level_values(0)) == {"x1", "x2", "w"}
    assert table.loc[("w", "total"), "estimate"] == pytest.approx(ours.params["w"] / (1 - ours.params["rho"]))
    simulated = zb.spatial_effects(ours, "simulate", draws=500, rng=1).tidy()
    assert np.isfinite(simulated["std_error"]).all()
    assert zb.effect_matrix(ours, "w").shape == (25, 25)


def test_endogenous_regressors_may_be_lagged():
    W = unequal_circle(40)
    panel = draw(W, 5, 1)
    ours = fit(panel, W, fixed_effects="unit", lag_x=["w"], **ENDOG)
    assert {"w", "W_w", "rho"} <= set(ours.convergence.first_stage)
    assert abs(ours.params["W_w"]) < 4 * ours.bse["W_w"]  # its truth is zero
    assert not any("_w" in name for name in ours.convergence.instruments)


def test_weak_instruments_are_said():
    W = unequal_circle(30)
    rng = np.random.default_rng(1)
    panel = draw(W, 3, 1).with_columns({"z1": rng.standard_normal((3, 30))})
    with pytest.warns(zb.SpatialZbWarning, match=r"instruments are weak for w \(F = "):
        fit(panel, W, lag_y=False, endog=["w"], instruments=["z1"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(draw(W, 3, 1), W, lag_y=False, **ENDOG)


def test_more_instruments_than_clusters_leave_no_hansen_test():
    W = unequal_circle(9)
    ours = fit(draw(W, 8, 1), W, "cluster", **ENDOG)
    assert np.isnan(ours.convergence.j_statistic)
    assert ours.convergence.j_df == 8
    assert np.isfinite(ours.bse["rho"])


def test_exogenous_model_is_least_squares():
    W = unequal_circle(20)
    panel = draw(W, 3, 1)
    ours = fit(panel, W, "information", lag_y=False, fixed_effects="unit")
    ols = zb.fit_durbin(
        zb.DurbinSpec("y", ["x1", "x2"], lag_y=False, lag_x=[], fixed_effects="unit"), panel, W
    )
    assert ours.params[["x1", "x2"]].to_numpy() == pytest.approx(
        ols.params[["x1", "x2"]].to_numpy(), abs=1e-10
    )


def test_refusals():
    W = unequal_circle(15)
    panel = draw(W, 3, 1)
    with pytest.raises(zb.SpecificationError, match="need at least as many instruments"):
        zb.DurbinSpec("y", ["x1"], endog=["w"])
    with pytest.raises(zb.SpecificationError, match="only one of x, endog and instruments"):
        zb.DurbinSpec("y", ["x1"], endog=["w"], instruments=["x1"])
    with pytest.raises(zb.SpecificationError, match="endog is empty"):
        zb.DurbinSpec("y", ["x1"], instruments=["z1"])
    spec = zb.DurbinSpec("y", ["x1"], endog=["w"], instruments=["z1"])
    with pytest.raises(zb.SpecificationError, match='estimator="gmm"'):
        zb.fit_durbin(spec, panel, W)
    with pytest.raises(zb.SpecificationError, match="powers must be"):
        fit(panel, W, powers=0)
    with pytest.raises(zb.SpecificationError, match="two-stage least squares"):
        fit(panel, W, "cluster", lag_error=True)
    with pytest.raises(zb.SpecificationError, match="covariance must be one of"):
        fit(panel, W, "hessian")
    constant = zb.DurbinSpec("y", [], lag_x=[], fixed_effects="none")
    with pytest.raises(zb.SpecificationError, match="do not identify rho"):
        zb.fit_durbin(constant, panel, W, estimator="gmm", covariance="robust")
    plain = unequal_circle(15, "none")
    with pytest.raises(zb.SpecificationError, match=r"λ.*row-normalised"):
        fit(panel, plain, fixed_effects="two_way", lag_error=True)
    alone = fit(
        draw(plain, 6, 1, rho=0.1, lam=0.1), plain, fixed_effects="two_way", **ENDOG
    )  # 2SLS does not ask
    assert abs(alone.params["rho"] - 0.1) < 3 * alone.bse["rho"]
    blank = panel.with_columns({"z1": np.where(np.eye(3, 15), np.nan, panel.array("z1"))})
    with pytest.raises(zb.DataError, match="z1 of u000 in 2001"):
        fit(blank, W, **ENDOG)
