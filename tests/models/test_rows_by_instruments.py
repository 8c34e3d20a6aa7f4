"""Instruments on panels of any shape: the balanced estimator where both apply, and slow dense algebra elsewhere."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, optimize

import spatial_zb as zb
from spatial_zb import DurbinSpec, SpecificationError, fit_durbin
from spatial_zb.core.system.moments import forward_deviations, row_deviations
from spatial_zb.inference.bootstrap import source_of
from spatial_zb.inference.bootstrap import system as system_bootstrap
from spatial_zb.models.design import build_design
from spatial_zb.models.gmm import fit_gmm
from spatial_zb.models.ml import errors_of_fit
from spatial_zb.models.notes import correlated_over_time
from spatial_zb.models.shape import build_shape, placed, read_lags
from spatial_zb.models.system import _fit_instrumental
from spatial_zb.models.system.design import design_of_rows

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

#: Two roads to one number.
ROUNDING = 1e-10
#: Solved by an optimiser of another kind.
SOLVED = 1e-8
n, T = 14, 6
UNITS = [f"u{i:02d}" for i in range(n)]
Z = {"endog": ["w"], "instruments": ["z1", "z2"]}


def circle(*steps, seed):
    A = np.zeros((n, n))
    for i in range(n):
        for step in steps:
            A[i, (i + step) % n] = A[(i + step) % n, i] = 1.0
    A *= np.random.default_rng(seed).uniform(0.5, 1.5, A.shape)
    return zb.as_weights(A, ids=UNITS, label=f"ring {steps}").standardise()


@pytest.fixture(scope="module")
def W():
    return circle(1, 2, seed=1)


@pytest.fixture(scope="module")
def changing(W):
    other = circle(1, 3, seed=2)
    return zb.weights.by_period({2010 + t: W if t < 3 else other for t in range(T)})


@pytest.fixture(scope="module")
def frame(W):
    """y = 0.3Wy + x1 − 0.7x2 + 0.5w + effects + u; w shares the errors of y, z1 and z2 do not."""
    r = np.random.default_rng(3)
    x, z, e = r.normal(size=(T, n, 2)), r.normal(size=(T, n, 2)), r.normal(size=(T, n))
    w = z @ [1.0, 0.7] + 0.6 * e + 0.5 * r.normal(size=(T, n))
    right = x @ [1.0, -0.7] + 0.5 * w + r.normal(size=(1, n)) + r.normal(size=(T, 1)) + e
    y = np.linalg.solve(np.eye(n) - 0.3 * W.matrix.toarray(), right.T).T
    names = {"y": y, "x1": x[..., 0], "x2": x[..., 1], "w": w, "z1": z[..., 0], "z2": z[..., 1]}
    table = pd.DataFrame([(u, 2010 + t) for t in range(T) for u in UNITS], columns=["unit", "year"])
    return table.assign(province=np.tile(np.arange(n) // 7, T), **{k: v.ravel() for k, v in names.items()})


@pytest.fixture(scope="module")
def complete(frame):
    return zb.build_panel(frame, unit="unit", period="year", units=UNITS)


@pytest.fixture(scope="module")
def uneven(frame):
    """A third of the units comes late, and some rows are missing."""
    late = frame["unit"].isin(UNITS[::3]) & (frame["year"] < 2012)
    holes = np.random.default_rng(4).random(len(frame)) < 0.07
    kept = frame[~(late | holes)]
    return zb.build_panel(kept, unit="unit", period="year", units=UNITS, balance="keep")


# What the balanced estimator is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("covariance", "effects", "more"),
    [
        ("information", "two_way", {}),
        ("robust", "two_way", Z),
        ("cluster", "two_way", Z | {"lag_x": ["x1", "w"]}),
        ("cr1", "unit", {}),
        ("robust", "time", Z),
        ("information", "none", Z | {"lag_x": []}),
    ],
)
def test_on_a_complete_panel_it_is_the_balanced_estimator(complete, W, covariance, effects, more):
    spec = DurbinSpec("y", ["x1", "x2"], fixed_effects=effects, **more)
    lags = read_lags(spec, complete, W, None, None)
    ours = fit_gmm(build_shape(spec, complete, lags, ()), covariance, 2, None)
    theirs = fit_gmm(build_design(spec, complete, W), covariance, 2, None)
    for name in ("params", "bse"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=0, atol=ROUNDING)
    every = np.eye(len(ours.params))
    if covariance == "cluster":
        np.testing.assert_allclose(ours.degrees(every), theirs.degrees(every), atol=1e-8)
    one, two = ours.convergence, theirs.convergence
    assert one.instruments == two.instruments
    assert ours.nobs == theirs.nobs
    for name in ("j_statistic", "j_p_value", "effective_f"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), abs=1e-8, nan_ok=True)
    assert one.first_stage == pytest.approx(two.first_stage, abs=1e-8, nan_ok=True)


def test_deviations_of_rows_are_those_of_a_complete_panel_and_orthonormal():
    r = np.random.default_rng(1)
    values = r.normal(size=(T, n, 2))
    whole = row_deviations(values, np.ones((T, n), bool))
    np.testing.assert_allclose(whole[:-1], forward_deviations(values, "unit"), atol=1e-14)
    assert not whole[-1].any()
    there = r.random((T, n)) > 0.3
    off = np.where(there[..., None], values, 0.0)
    off -= there[..., None] * (off.sum(axis=0) / np.maximum(there.sum(axis=0), 1)[:, None])
    out = row_deviations(off, there)
    np.testing.assert_allclose(
        np.einsum("tia,tib->iab", out, out), np.einsum("tia,tib->iab", off, off), atol=1e-13
    )
    assert not row_deviations(np.ones((T, n)), there).any()


# Dense algebra -------------------------------------------------------------------------------------------------


class Dense:
    """The rows of a panel with explicit dummies and an N × N matrix; moments solved by another optimiser."""

    def __init__(self, frame, W_of_year, y, x, lag_x, endog, instruments, effects, W_x=None):
        frame = frame.sort_values(["year", "unit"], kind="stable").reset_index(drop=True)
        self.unit = pd.factorize(frame["unit"], sort=True)[0]
        self.W = self._rows(frame, W_of_year)
        Wx = self.W if W_x is None else self._rows(frame, W_x)
        dummies = [np.ones((len(frame), 1))] if not effects else []
        for effect in effects:
            key = frame[effect.split("*")].astype(str).agg("|".join, axis=1)
            dummies.append(pd.get_dummies(key).to_numpy(float))
        D = np.hstack(dummies)
        self.M = np.eye(len(D)) - D @ np.linalg.pinv(D, rcond=1e-10)  # dummies are collinear
        self.rank = np.linalg.matrix_rank(D)
        X = frame[x].to_numpy(float)
        self.w = frame[endog].to_numpy(float)
        lagged = Wx @ frame[lag_x].to_numpy(float)
        self.y, columns = frame[y].to_numpy(float), [X, self.w, lagged]
        exogenous = np.hstack([X, Wx @ frame[[v for v in lag_x if v in x]].to_numpy(float)])
        outside = frame[instruments].to_numpy(float)
        H = [exogenous, outside]
        for _ in range(2):
            exogenous, outside = self.W @ exogenous, self.W @ outside
            H += [exogenous, outside]
        self.Z = self.M @ np.hstack([*columns, (self.W @ self.y)[:, None]])
        H = self.M @ np.hstack(H)
        left, sizes, _ = np.linalg.svd(H / np.linalg.norm(H, axis=0), full_matrices=False)
        self.P = left[:, sizes > 1e-9] @ left[:, sizes > 1e-9].T
        self.My, self.free = self.M @ self.y, len(D) - self.rank
        self.where = len(x)
        fitted = self.P @ self.Z
        self.rest = self.P - fitted @ np.linalg.pinv(fitted)

    @staticmethod
    def _rows(frame, W_of_year):
        blocks = []
        for year, part in frame.groupby("year"):
            W = W_of_year(year)
            at = [list(W.ids).index(unit) for unit in part["unit"]]
            block = W.matrix.toarray()[np.ix_(at, at)]
            sums = block.sum(axis=1, keepdims=True)
            blocks.append(block / np.where(sums > 0, sums, 1.0))
        return linalg.block_diag(*blocks)

    def textbook(self):
        return np.linalg.solve(self.Z.T @ self.P @ self.Z, self.Z.T @ self.P @ self.My)

    def moments(self, delta):
        e = self.My - self.Z @ delta
        G = self.W @ np.linalg.inv(np.eye(len(e)) - delta[-1] * self.W)
        bias, shared = np.zeros(len(delta)), e @ e
        for j in range(self.w.shape[1]):
            v = self.M @ self.w[:, j]
            v = v - self.P @ v
            bias[self.where + j] = v @ e / self.free * np.trace(self.rest)
            shared += delta[self.where + j] * (v @ e)
        bias[-1] = shared / self.free * np.trace(G @ self.rest)
        return self.Z.T @ self.P @ e - bias

    def corrected(self):
        return optimize.root(self.moments, self.textbook(), tol=1e-12).x

    def cr2(self, delta):
        """Covariance and degrees of freedom by N × N matrices."""
        fitted = self.P @ self.Z
        bread = np.linalg.inv(fitted.T @ fitted)
        M = self.M - fitted @ bread @ fitted.T
        e = self.My - self.Z @ delta
        sums, pieces = [], []
        for i in np.unique(self.unit):
            rows = self.unit == i
            share, axes = np.linalg.eigh(M[np.ix_(rows, rows)])
            root = (axes[:, share > 1e-8] / np.sqrt(share[share > 1e-8])) @ axes[:, share > 1e-8].T
            sums.append(fitted[rows].T @ root @ e[rows])
            pieces.append(M[:, rows] @ root @ fitted[rows] @ bread)
        sums = np.array(sums)
        df = []
        for k in range(len(delta)):
            p = np.array([piece[:, k] for piece in pieces])
            gamma = p @ p.T
            df.append(np.trace(gamma) ** 2 / (gamma**2).sum())
        return bread @ sums.T @ sums @ bread, np.array(df)


CASES = {
    "SDM": ({}, ["unit", "year"], None),
    "SAR with w": (Z | {"lag_x": []}, ["unit", "year"], None),
    "province × year": (
        {"fixed_effects": ["unit", "province*period"], "lag_x": []},
        ["unit", "province*year"],
        None,
    ),
    "own W of x": ({}, ["unit", "year"], "own"),
    "none": ({"fixed_effects": "none", "lag_x": ["x1"]}, [], None),
}


@pytest.mark.parametrize("case", CASES)
def test_any_shape_is_the_dense_algebra(uneven, changing, case):
    more, effects, own = CASES[case]
    rows = uneven.frame().rename(columns={"period": "year"})
    other = circle(2, 5, seed=7)
    spec = DurbinSpec("y", ["x1", "x2"], **more)
    lags = {"W_x": other} if own else {}
    fit = fit_durbin(spec, uneven, changing, "gmm", "cluster", **lags)
    slow = Dense(
        rows,
        changing.at,
        "y",
        ["x1", "x2"],
        list(spec.lag_x),
        list(spec.endog),
        list(spec.instruments),
        effects,
        (lambda year: other) if own else None,
    )
    order = [*spec.regressors, *(f"W_{name}" for name in spec.lag_x), "rho"]
    if not effects:  # the constant is taken out as an effect
        assert fit.absorbed == 0
    else:
        assert (fit.absorbed, fit.nobs) == (slow.rank, slow.free)
    plain = fit_durbin(spec, uneven, changing, "gmm", bias_correction=False, **lags)
    np.testing.assert_allclose(plain.params[order], slow.textbook(), atol=1e-8)
    if not effects:
        return
    sigma2 = ((slow.My - slow.Z @ slow.textbook()) ** 2).sum() / slow.free
    bread = np.linalg.inv(slow.Z.T @ slow.P @ slow.Z)
    np.testing.assert_allclose(plain.bse[order] ** 2, sigma2 * bread.diagonal(), rtol=1e-8)
    assert fit.bias_correction
    delta = slow.corrected()
    np.testing.assert_allclose(fit.params[order], delta, atol=SOLVED)
    cov, df = slow.cr2(fit.params[order].to_numpy())
    np.testing.assert_allclose(fit.bse[order] ** 2, cov.diagonal(), rtol=1e-6)
    where = [fit.params.index.get_loc(name) for name in order]
    np.testing.assert_allclose(fit.degrees(np.eye(len(fit.params))[where]), df, rtol=1e-6)


def test_powers_of_a_large_w_are_its_eigenvalues(uneven, changing, monkeypatch):
    spec = DurbinSpec("y", ["x1", "x2"], lag_x=["w"], **Z)
    exact = fit_durbin(spec, uneven, changing, "gmm")
    monkeypatch.setattr("spatial_zb.core.system.instruments.EIGEN_UNITS", 5)
    series = fit_durbin(spec, uneven, changing, "gmm")
    np.testing.assert_allclose(series.params, exact.params, atol=1e-5)


# What is made of a fit -------------------------------------------------------------------------------------------


def test_sets_of_anderson_and_rubin_are_the_balanced_ones(complete, W):
    spec = DurbinSpec("y", ["x1"], lag_x=[])
    lags = read_lags(spec, complete, W, None, None)
    both = [
        fit_gmm(design, "information", 2, None)
        for design in (build_shape(spec, complete, lags, ()), build_design(spec, complete, W))
    ]
    ours, theirs = (
        zb.anderson_rubin(replace(fit, convergence=replace(fit.convergence, powers=2))) for fit in both
    )
    np.testing.assert_allclose(ours.pieces, theirs.pieces, atol=1e-8)


def test_effects_average_over_the_rows_that_exist(uneven, changing):
    fit = fit_durbin(DurbinSpec("y", ["x1", "x2"], lag_x=["w"], **Z), uneven, changing, "gmm", "cluster")
    beta, theta, rho = (float(fit.params[name]) for name in ("w", "W_w", "rho"))
    rows = Dense._rows(uneven.frame().rename(columns={"period": "year"}), changing.at)
    E = np.linalg.solve(np.eye(len(rows)) - rho * rows, beta * np.eye(len(rows)) + theta * rows)
    table = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])["estimate"]
    assert table["w", "direct"] == pytest.approx(np.trace(E) / len(E), abs=ROUNDING)
    assert table["w", "total"] == pytest.approx(E.sum() / len(E), abs=ROUNDING)
    by = zb.spatial_effects(fit, by="period").tidy()
    assert set(by["period"].astype(int)) == set(uneven.periods)
    assert "rows as they are, since unit-periods are absent or blank; W differs by period" in fit.summary()
    assert len(zb.predict(fit).tidy()) == fit.design.present.sum()


def test_a_bootstrap_draws_rows_and_endogenous_regressors_with_their_errors(uneven, changing):
    fit = fit_durbin(DurbinSpec("y", ["x1", "x2"], lag_x=["w"], **Z), uneven, changing, "gmm")
    source = source_of(fit)
    there, rng = fit.design.present, np.random.default_rng(1)
    y = source.solve(source.mean + source.errors[:, 0])
    np.testing.assert_allclose(y, uneven.array("y")[there], atol=1e-12)
    assert np.abs(source.errors.T @ fit.design.shape.effects.full).max() < 1e-10
    for scheme in ("residual", "wild", "parametric"):
        drawn = source.draw(scheme, rng)
        assert np.isnan(drawn["w"]).sum() == (~there).sum()
        assert not np.allclose(drawn["w"][there], uneven.array("w")[there])
    assert np.isfinite(source.estimate(drawn).params).all()


def test_errors_that_last_are_said_of_rows_too(uneven, changing):
    there, r = uneven.present, np.random.default_rng(2)
    lasting = np.cumsum(r.normal(size=there.shape), axis=0)
    y = np.where(there, uneven.array("x1") + lasting, np.nan)
    spec = DurbinSpec("y", ["x1", "x2"], lag_x=[])
    fit = fit_durbin(spec, uneven.with_columns({"y": y}), changing, "gmm")
    errors = errors_of_fit(fit)
    assert np.sort(errors.e[errors.when >= 0]) == pytest.approx(np.sort(fit.residuals[there]), abs=1e-10)
    assert any(note.kind is correlated_over_time for note in fit.notes)
    assert not any(
        note.kind is correlated_over_time for note in fit_durbin(spec, uneven, changing, "gmm").notes
    )


@pytest.mark.parametrize(
    ("more", "asked", "named"),
    [
        ({"lag_error": True}, {}, "lag_error"),
        ({"fixed_effects": ["unit", "period", "unit*trend"]}, {"covariance": "robust"}, "trend"),
        (Z | {"lag_x": ["w"]}, {"bias_correction": True, "own": True}, "W_x"),
        ({"time_lag": True}, {}, "time"),
    ],
)
def test_what_has_no_theory_is_refused(uneven, changing, W, more, asked, named):
    lags = {"W_x": W} if asked.pop("own", False) else {}
    with pytest.raises(SpecificationError, match=named):
        fit_durbin(DurbinSpec("y", ["x1", "x2"], **more), uneven, changing, "gmm", **asked, **lags)


# Systems ---------------------------------------------------------------------------------------------------------

PAIR = {
    "one": zb.Equation("y", ["w"], ["x1", "x2"], lag_endog=[]),
    "two": zb.Equation("w", ["y"], ["x1", "z1", "z2"], lag_endog="all"),
}


@pytest.mark.parametrize(
    ("method", "covariance", "effects"),
    [
        ("3sls", "classical", "two_way"),
        ("3sls", "cluster", "two_way"),
        ("2sls", "robust", "unit"),
        ("2sls", "cr1", "none"),
    ],
)
def test_a_system_on_a_complete_panel_is_the_balanced_one(complete, W, method, covariance, effects):
    spec, by_row = zb.SystemSpec(PAIR, effects), covariance in ("classical", "robust")
    theirs = zb.fit_system(spec, complete, W, method, covariance=covariance)
    design = design_of_rows(spec, complete, W, 2, False, ("rows",), by_row)
    ours = _fit_instrumental(design, method, covariance, True)
    for name in ("params", "bse", "residuals", "sigma"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=0, atol=1e-9)
    for name in ("identification", "exclusion_tests"):
        one, two = (getattr(fit, name)().select_dtypes("number") for fit in (ours, theirs))
        np.testing.assert_allclose(one, two, atol=1e-7)
    tables = [zb.spatial_effects(fit).tidy().select_dtypes("number") for fit in (ours, theirs)]
    np.testing.assert_allclose(*tables, atol=1e-8)
    said = [fit.equations()[["r2_within", "serial_p"]] for fit in (ours, theirs)]
    np.testing.assert_allclose(*said, atol=1e-9)


class DenseSystem:
    """The pair of equations with explicit dummies and N × N matrices."""

    def __init__(self, rows, W_of_year):
        W = Dense._rows(rows, W_of_year)
        D = np.hstack([pd.get_dummies(rows[key]).to_numpy(float) for key in ("unit", "year")])
        M = np.eye(len(D)) - D @ np.linalg.pinv(D)
        self.W, self.unit = W, pd.factorize(rows["unit"], sort=True)[0]
        self.free = len(D) - np.linalg.matrix_rank(D)
        v = {name: rows[name].to_numpy(float) for name in ("y", "w", "x1", "x2", "z1", "z2")}
        columns = [v[name] for name in ("x1", "x2", "z1", "z2")]
        H = M @ np.column_stack([*columns, *(W @ c for c in columns), *(W @ (W @ c) for c in columns)])
        self.H = np.linalg.svd(H / np.linalg.norm(H, axis=0), full_matrices=False)[0]
        self.y = M @ np.column_stack([v["y"], v["w"]])
        Wy, Ww = W @ v["y"], W @ v["w"]
        first = np.column_stack([v["w"], Wy, v["x1"], v["x2"]])
        self.Z = [M @ first, M @ np.column_stack([v["y"], Ww, Wy, v["x1"], v["z1"], v["z2"]])]
        #: Equation, place, variable and whether it is lagged, of what is endogenous.
        self.links = [(0, 0, 1, 0), (0, 1, 0, 1), (1, 0, 0, 0), (1, 1, 1, 1), (1, 2, 0, 1)]

    def residuals(self, deltas):
        return np.column_stack(
            [self.y[:, g] - Z @ d for g, (Z, d) in enumerate(zip(self.Z, deltas, strict=True))]
        )

    def joint(self, sigma):
        """3SLS, and the covariance of homoskedastic errors."""
        A = linalg.block_diag(*(self.H.T @ Z for Z in self.Z))
        weight = np.kron(np.linalg.inv(sigma), np.eye(self.H.shape[1]))
        left = A.T @ weight @ A
        return np.linalg.solve(left, A.T @ weight @ (self.H.T @ self.y).T.ravel()), np.linalg.inv(left)

    def recentred(self, deltas):
        """Moments of 2SLS less the bias of many instruments, in standard errors."""
        N, e = len(self.W), self.residuals(deltas)
        sigma = e.T @ e / self.free
        gamma, psi = np.eye(2), np.zeros((2, 2))
        for g, place, l, lagged in self.links:
            (psi if lagged else gamma)[g, l] += deltas[g][place] * (1 if lagged else -1)
        inverse = np.linalg.inv(np.kron(gamma, np.eye(N)) - np.kron(psi, self.W)).reshape(2, N, 2, N)
        out = []
        for g, Z in enumerate(self.Z):
            fitted = self.H.T @ Z
            rest = np.eye(self.H.shape[1]) - fitted @ np.linalg.pinv(fitted)
            f = fitted.T @ (self.H.T @ e[:, g])
            for own, place, l, lagged in self.links:
                if own == g:
                    blocks = (self.W @ inverse[l, :, k] if lagged else inverse[l, :, k] for k in range(2))
                    traces = [np.trace(self.H.T @ block @ self.H @ rest) for block in blocks]
                    f[place] -= sigma[:, g] @ traces
            out.append(f / np.sqrt(np.diag(fitted.T @ fitted) * sigma[g, g]))
        return np.concatenate(out)


def test_a_system_on_any_rows_is_the_dense_algebra(uneven, changing):
    slow = DenseSystem(uneven.frame().rename(columns={"period": "year"}), changing.at)
    spec = zb.SystemSpec(PAIR)
    plain = zb.fit_system(spec, uneven, changing, "2sls", bias_correction=False)
    first = [
        np.linalg.lstsq(slow.H.T @ Z, slow.H.T @ slow.y[:, g], rcond=None)[0] for g, Z in enumerate(slow.Z)
    ]
    np.testing.assert_allclose(plain.params, np.concatenate(first), atol=1e-8)
    e = slow.residuals(first)
    delta, cov = slow.joint(e.T @ e / slow.free)
    three = zb.fit_system(spec, uneven, changing, "3sls", bias_correction=False)
    np.testing.assert_allclose(three.params, delta, atol=1e-8)
    np.testing.assert_allclose(three.cov, cov, atol=1e-8)
    assert three.nobs == slow.free
    recentred = zb.fit_system(spec, uneven, changing, "2sls")
    assert recentred.bias_correction
    values = recentred.params.to_numpy()
    assert np.abs(slow.recentred([values[:4], values[4:]])).max() < 1e-6
    assert np.abs(slow.recentred(first)).max() > 1e-3


def test_sets_of_an_equation_of_a_system_take_rows_too(complete, uneven, changing, W):
    spec, asked = zb.SystemSpec(PAIR), {"equation": "one", "given": {"w": 0.5}, "instruments": ["z1", "z2"]}
    whole = zb.confidence_set(spec, complete, W, **asked)
    rows = zb.weights.by_period(dict.fromkeys(complete.periods, W), "keep")  # by period, so rows as they are
    own = zb.confidence_set(spec, complete, rows, **asked)
    np.testing.assert_allclose(own["W_y"].pieces, whole["W_y"].pieces, atol=1e-7)
    fit = zb.fit_system(spec, uneven, changing, "2sls")
    assert len(zb.confidence_set(fit, **asked)["W_y"].pieces)


def test_what_a_system_on_rows_says_and_refuses(uneven, changing, W):
    spec = zb.SystemSpec(PAIR)
    fit = zb.fit_system(spec, uneven, changing, covariance="cluster")
    assert fit.glance()[["rows", "present"]].iloc[0].tolist() == [73, 73 / 84]
    assert "rows as they are, since unit-periods are absent or blank; W differs by period" in fit.summary()
    assert np.isnan(fit.residuals).sum() == 2 * (84 - 73)
    effects = zb.spatial_effects(fit).tidy().set_index(["response", "source", "effect"])["estimate"]
    gamma, psi = fit.matrices()
    rows = Dense._rows(uneven.frame().rename(columns={"period": "year"}), changing.at)
    N, beta = len(rows), np.array([fit.params["one", "x1"], fit.params["two", "x1"]])
    E = np.linalg.inv(np.kron(gamma, np.eye(N)) - np.kron(psi, rows)) @ np.kron(beta[:, None], np.eye(N))
    assert effects["one", "x1", "direct"] == pytest.approx(np.trace(E[:N]) / N, abs=1e-9)
    assert effects["two", "x1", "total"] == pytest.approx(E[N:].sum() / N, abs=1e-9)
    with pytest.raises(SpecificationError, match="rows of different numbers"):
        zb.bootstrap(fit, 99, "unit")
    with pytest.raises(SpecificationError, match="give period"):
        zb.effects_by_unit(fit, "x1", response="one")
    with pytest.raises(zb.DataError, match="3sls"):
        zb.fit_system(spec, uneven, W, "fiml")


def test_a_system_of_one_period_is_that_of_its_units(uneven, changing):
    """Effects by unit and scenarios by matrices among the units of a year; their mean over rows is the average effect."""
    fit = zb.fit_system(zb.SystemSpec(PAIR), uneven, changing)
    gamma, psi = fit.matrices()
    beta = np.array([fit.params["one", "x1"], fit.params["two", "x1"]])
    direct = []
    for t, year in enumerate(uneven.periods):
        ids = uneven.units[fit.design.rows.present[t]]
        frame = pd.DataFrame({"unit": ids, "year": year})
        W = Dense._rows(frame, changing.at)
        eye = np.eye(len(ids))
        E = np.linalg.inv(np.kron(gamma, eye) - np.kron(psi, W)) @ np.kron(beta[:, None], eye)
        found = zb.effects_by_unit(fit, "x1", response="two", period=year)
        own = E[len(ids) :]
        assert list(found.index) == list(ids)
        np.testing.assert_allclose(found["direct"], np.diag(own), atol=1e-10)
        np.testing.assert_allclose(found["emitted"], own.sum(axis=0) - np.diag(own), atol=1e-10)
        direct.append(np.trace(own))
    average = zb.spatial_effects(fit).tidy().set_index(["response", "source", "effect"])["estimate"]
    assert sum(direct) / fit.design.rows.present.sum() == pytest.approx(average["two", "x1", "direct"])
    moved = (
        zb.scenario(fit, {ids[2]: {"x1": 0.5}}, period=year).tidy().set_index(["unit", "response"])["change"]
    )
    expected = dict(zip(product(["one", "two"], ids), 0.5 * E[:, 2], strict=True))
    for (response, unit), value in expected.items():
        assert moved[unit, response] == pytest.approx(value, abs=1e-10)


@pytest.mark.parametrize("covariance", ["classical", "robust"])
def test_a_bootstrap_of_a_system_is_the_balanced_one_on_a_complete_panel(complete, W, covariance):
    """The same errors give the same estimates and errors, though here the effects stay in y."""
    same = zb.weights.by_period(dict.fromkeys(complete.periods, W), absent="keep")
    fits = [zb.fit_system(zb.SystemSpec(PAIR), complete, each, covariance=covariance) for each in (W, same)]
    errors = np.random.default_rng(3).normal(size=fits[0].residuals.shape)
    balanced, rows = (system_bootstrap._generator(fit) for fit in fits)
    one = system_bootstrap._estimate(fits[0], balanced.sample(errors))
    other = system_bootstrap._estimate(fits[1], rows.sample(errors.reshape(-1, 2)))
    np.testing.assert_allclose(other[0], one[0], atol=1e-9)
    np.testing.assert_allclose(other[1], one[1], atol=1e-9)


def test_a_bootstrap_of_a_system_solves_its_equations_on_the_rows(uneven, changing):
    """y* has the drawn errors: S y* = S y + ε* − ε̂ by matrices; the residuals as drawn give the fit again."""
    fit = zb.fit_system(zb.SystemSpec(PAIR), uneven, changing)
    generator = system_bootstrap._generator(fit)
    again = system_bootstrap._estimate(fit, generator.sample(generator.residuals))
    np.testing.assert_allclose(again[0], fit.params, atol=1e-10)
    (gamma, psi), N = fit.matrices(), len(generator.residuals)
    rows = Dense._rows(uneven.frame().rename(columns={"period": "year"}), changing.at)
    S = np.kron(gamma, np.eye(N)) - np.kron(psi, rows)
    drawn = generator.errors("residual", np.random.default_rng(1))
    moved = np.linalg.solve(S, (drawn - generator.residuals).T.ravel()).reshape(2, N)
    y = uneven.array(["y", "w"])[fit.design.rows.present] + moved.T
    there = generator.rows
    expected = there.deviated(there.taken(placed(y, there.present)))
    np.testing.assert_allclose(generator.sample(drawn).y, expected, atol=1e-9)
    table = zb.bootstrap(fit, 99, "wild", rng=2)
    assert np.isfinite(table.tidy()["std_error"]).all()
    assert np.isfinite(table.effects()["estimate"]).all()


# Recovery --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("panels", [20, pytest.param(400, marks=pytest.mark.slow)])
def test_estimates_centre_on_the_truth_and_errors_cover_it(uneven, changing, panels):
    """y = 0.3W_t y + x1 − 0.7x2 + 0.5w + effects + e on the same rows, w sharing the errors: 95 % intervals."""
    spec, r = DurbinSpec("y", ["x1", "x2"], lag_x=[], **Z), np.random.default_rng(11)
    design = build_shape(spec, uneven, read_lags(spec, uneven, changing, None, None), ("rows", "periods"))
    there, shape = design.present, design.shape
    x, z = (uneven.array(names)[there] for names in (["x1", "x2"], ["z1", "z2"]))
    W, off = shape.W.matrix, shape.effects.off
    solve = np.linalg.inv(np.eye(len(x)) - 0.3 * W.toarray())
    own = r.normal(size=n)[shape.unit] + r.normal(size=T)[np.nonzero(there)[0]]
    truth, found = np.array([1.0, -0.7, 0.5, 0.3]), []
    for _ in range(panels):
        e = r.normal(size=len(x))
        w = z @ [1.0, 0.7] + 0.6 * e + 0.5 * r.normal(size=len(x))
        y = solve @ (x @ truth[:2] + 0.5 * w + own + e)
        columns = design.Z.copy()
        columns[..., 2][there] = off(w)
        parts = {"y": placed(off(y), there), "Wy": placed(off(W @ y), there), "Z": columns}
        fit = fit_gmm(replace(design, values=y, **parts), "information", 2, None)
        if fit.converged:
            found.append((fit.params.to_numpy()[:4] - truth, fit.bse.to_numpy()[:4]))
    off_truth, errors = np.array(found).transpose(1, 0, 2)
    assert len(found) >= 0.95 * panels
    noise = 4 * off_truth.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(np.median(off_truth, axis=0)) < 1.25 * noise + 0.01).all()
    if panels > 100:
        assert ((np.abs(off_truth) < 1.96 * errors).mean(axis=0) > 0.90).all()


@pytest.mark.parametrize("own", ["one W", "by period"])
def test_a_unit_without_any_row_is_as_one_that_is_not_in_the_panel(frame, W, changing, own):
    """Its link is missing from W too: what estimates again, and counts clusters, sees the units that are left."""
    gone = frame["unit"] == UNITS[5]
    late = frame["unit"].isin(UNITS[::3]) & (frame["year"] < 2012)
    left = [unit for unit in UNITS if unit != UNITS[5]]
    given = W if own == "one W" else changing
    among = (
        W.subset(left)
        if own == "one W"
        else zb.weights.by_period({t: w.subset(left) for t, w in changing.weights.items()})
    )
    blank = frame.assign(x1=frame["x1"].where(~gone))[~late]
    keys = {"unit": "unit", "period": "year", "balance": "keep"}
    cases = [
        (zb.build_panel(blank, units=UNITS, **keys), given),
        (zb.build_panel(frame[~late & ~gone], units=left, **keys), among),
    ]
    spec, groups = DurbinSpec("y", ["x1", "x2"], **Z), DurbinSpec("y", ["x1"], regimes="half", common=["rho"])
    system = zb.SystemSpec(
        {"one": zb.Equation("y", ["w"], ["x1", "x2"]), "two": zb.Equation("w", ["y"], ["z1", "z2"])},
        "two_way",
    )
    found = []
    for panel, weights in cases:
        half = np.array([float(int(unit[1:]) % 2) for unit in panel.units])
        panel = panel.with_columns({"half": np.broadcast_to(half, panel.values.shape[:2])})
        fit = fit_durbin(spec, panel, weights, "gmm", covariance="cluster")
        equations = zb.fit_system(system, panel, weights, "3sls")
        tests = zb.tests.regime_tests(fit_durbin(groups, panel, weights, covariance="cluster")).tidy()
        sets = zb.confidence_set(equations, equation="one").tidy()
        drawn = zb.bootstrap(fit, 99, rng=1).tidy()
        found.append(
            [fit.bse, drawn[["std_error", "conf_low"]], sets.select_dtypes("number"), tests["p_value"]]
        )
        assert list(fit.weights.ids) == list(equations.weights.ids) == left
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine.astype(float), theirs.astype(float), atol=1e-7)


def test_a_w_whose_links_all_went_with_a_unit_leaves_what_needs_none(frame):
    """All neighbours are those of a unit without rows: no spatial lag, and least squares as before."""
    A = np.zeros((n, n))
    A[5], A[:, 5], A[5, 5] = 1, 1, 0
    star = zb.as_weights(A, ids=UNITS, label="star").standardise()
    blank = frame.assign(x1=frame["x1"].where(frame["unit"] != UNITS[5]))
    panel = zb.build_panel(blank, unit="unit", period="year", units=UNITS, balance="keep")
    plain = DurbinSpec("y", ["x1", "x2"], lag_y=False, lag_x=[])
    left = fit_durbin(plain, panel, star)
    least = fit_durbin(plain, panel, circle(1, 2, seed=1))
    np.testing.assert_allclose(left.params, least.params, atol=ROUNDING)


@pytest.mark.slow
def test_limits_of_a_system_bootstrap_hold_the_truth():
    """Two equations that cause each other, a third of 41 units late, W that turns: rows drawn in 80 panels."""
    ids, years, r = [f"u{i:02d}" for i in range(41)], list(range(2010, 2016)), np.random.default_rng(7)
    near, far = (
        zb.as_weights(
            np.roll(np.eye(41), step, axis=1) + np.roll(np.eye(41), -step, axis=1), ids=ids
        ).standardise()
        for step in (1, 2)
    )
    turning = zb.weights.by_period({year: near if year < 2013 else far for year in years})
    spec = zb.SystemSpec(
        {"one": zb.Equation("y", endog=["v"], x=["x"]), "two": zb.Equation("v", endog=["y"], x=["z"])}
    )
    truth = {
        ("one", "v"): 0.4,
        ("one", "W_y"): 0.3,
        ("one", "x"): 1.0,
        ("two", "y"): -0.3,
        ("two", "W_v"): 0.2,
    }
    frame = pd.DataFrame([(u, t) for t in years for u in ids], columns=["unit", "year"])
    frame = frame[~(frame["unit"].isin(ids[::3]) & (frame["year"] < 2012))].reset_index(drop=True)
    rows, N = Dense._rows(frame, turning.at), len(frame)
    S = np.kron([[1.0, -0.4], [0.3, 1.0]], np.eye(N)) - np.kron(np.diag([0.3, 0.2]), rows)
    solve, held = linalg.lu_factor(S), dict.fromkeys(truth, 0)
    for draw in range(80):
        x, z = r.normal(size=(2, N))
        e = r.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], size=N).T
        effects = r.normal(size=(2, 41))[:, pd.factorize(frame["unit"], sort=True)[0]]
        y, v = linalg.lu_solve(solve, (np.stack([x, z]) + e + effects).ravel()).reshape(2, N)
        made = frame.assign(x=x, z=z, y=y, v=v)
        panel = zb.build_panel(made, "unit", "year", units=ids, balance="keep")
        table = zb.bootstrap(zb.fit_system(spec, panel, turning), 99, rng=draw).tidy()
        table = table.set_index(["equation", "term"])
        for key, value in truth.items():
            held[key] += table.loc[key, "conf_low"] <= value <= table.loc[key, "conf_high"]
    assert all(0.86 <= count / 80 <= 1.0 for count in held.values()), held
