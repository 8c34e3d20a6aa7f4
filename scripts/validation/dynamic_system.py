"""Simulate dynamic systems with known truth: bias, coverage of coefficients and responses, size and power of zb.granger.

Two equations on the 11 cities of Zhejiang, the 41 of the delta and the 90 counties, contiguity, two-way effects, T explained
periods; talent (``b``) leads industry (``a``) by 0.15 at home and next door, industry does not lead talent. Persistence is
that of industry, talent's is 0.2 lower. Errors are independent, or AR(1) with 0.3, which the model does not have.
``docs/validation/dynamic_system.csv``, and for the tests alone, of more panels, ``dynamic_system_tests.csv`` are written
after every cell; what is there already is kept.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

import spatial_zb as zb
from spatial_zb.core import Array
from spatial_zb.core.likelihood.tests import cluster_p_value, quadratic_form
from spatial_zb.core.system import system_solver
from spatial_zb.core.system.dynamic import Carried, Followed, follow, follow_restricted
from spatial_zb.core.system.paths import average_responses
from spatial_zb.hypotheses.over_time import _ratio, wald_f
from spatial_zb.models.system.design import build_system_design
from spatial_zb.models.system.dynamic import Spread, carried_links, carried_of, dynamic_covariance
from spatial_zb.weights.matrix import weights_eigenvalues

from .places import OUT, complete, weights

SEED, LEAD, BURN_IN, LEVEL = 20261130, 0.15, 40, 0.05
SIGMA = np.array([[1.0, 0.3], [0.3, 1.0]])
PSI, BETA, THETA = (0.3, 0.2), (0.5, 0.3), (0.25, -0.2)
SPEC = zb.SystemSpec(
    {"a": zb.Equation("a", x=["x"], lag_x="all"), "b": zb.Equation("b", x=["x"], lag_x="all")},
    time_lag=True,
    lag_time_lag=True,
)
HORIZONS = (1, 3, 5)
COVARIANCES = ("information", "sandwich", "cluster")
#: Hypotheses by (response, source, part): industry leads talent is false, talent leads industry is true.
TESTS = [(g, l, part) for g, l in (("b", "a"), ("a", "b")) for part in ("own", "neighbours", "both")]


@dataclass(frozen=True)
class Cell:
    """n units, T explained periods, the persistence of industry, the autocorrelation of errors."""

    n: int
    T: int
    tau: float
    ar: float

    @property
    def keys(self) -> tuple:
        return (self.n, self.T, self.tau, self.ar)

    @property
    def truth(self) -> dict[tuple[str, str], float]:
        own = (self.tau, self.tau - 0.2)
        out: dict[tuple[str, str], float] = {}
        for g, (name, other) in enumerate((("a", "b"), ("b", "a"))):
            lead = LEAD if name == "a" else 0.0
            out |= {(name, f"W_{name}"): PSI[g], (name, "x"): BETA[g], (name, "W_x"): THETA[g]}
            out |= {(name, f"L_{name}"): own[g], (name, f"L_{other}"): lead}
            out |= {(name, f"L_W_{name}"): -own[g] * PSI[g], (name, f"L_W_{other}"): lead}
        return out


def cells() -> list[Cell]:
    """Independent errors first, then the misspecified ones; the middle of the design first."""
    order = product((0.0, 0.3), (0.9, 0.5, 0.98), (41, 11, 90), (13, 8))
    return [Cell(n, T, tau, ar) for ar, tau, n, T in order]


def theta_of(truth: dict[tuple[str, str], float]) -> Array:
    """True coefficients in the order of the arrays."""
    return np.array([truth[name, term] for name in SPEC.names for term in SPEC.terms(name)])


def draw(cell: Cell, W: zb.Weights, rng: np.random.Generator) -> zb.Panel:
    """A panel of T + 1 periods with effects of units and periods, x lasting by 0.5 and going with the effects."""
    n, total = cell.n, BURN_IN + cell.T + 1
    truth, root = cell.truth, np.linalg.cholesky(SIGMA)
    tau, eta = (
        np.array([[truth[g, start + l] for l in ("a", "b")] for g in ("a", "b")]) for start in ("L_", "L_W_")
    )
    mu = rng.standard_normal((n, 2))
    x = 0.9 * rng.standard_normal((total, n)) + 0.4 * mu[:, 0]
    e = rng.standard_normal((total, n, 2)) @ root.T
    for t in range(1, total):
        x[t] = 0.5 * x[t - 1] + 0.85 * x[t]
        e[t] = cell.ar * e[t - 1] + np.sqrt(1 - cell.ar**2) * e[t]
    alpha, keep = rng.standard_normal((total, 1, 2)), 1 - np.diag(tau)
    mean = x[:, :, None] * np.array(BETA) + np.moveaxis(W.matrix @ x.T, 1, 0)[:, :, None] * np.array(THETA)
    right = mean + mu * keep + alpha + e
    solve = system_solver(np.eye(2), np.diag(PSI), W.matrix)
    y = np.zeros((total, n, 2))
    for t in range(total):
        before = y[t - 1] @ tau.T + (W.matrix @ y[t - 1]) @ eta.T if t else 0.0
        y[t] = solve((right[t] + before).T.ravel()).reshape(2, n).T
    values = np.concatenate([y, x[:, :, None]], axis=2)[BURN_IN:]
    return zb.Panel(values, tuple(range(2001, 2001 + len(values))), W.ids, ("a", "b", "x"))


@dataclass(frozen=True)
class Problem:
    """One panel as arrays."""

    carried: Carried
    W: zb.Weights

    @classmethod
    def of(cls, panel: zb.Panel, W: zb.Weights) -> Problem:
        design = build_system_design(SPEC, panel, W, 0, True)
        return cls(carried_of(design, weights_eigenvalues(W), "full"), W)

    def start(self) -> Array:
        arrays, parts = self.carried.likelihood.arrays, []
        for g, Z in enumerate(arrays.Z):
            own = np.linalg.lstsq(Z[:, 1:], arrays.y[:, g], rcond=None)[0]
            parts.append(np.concatenate([[0.0], own]))
        return np.concatenate(parts)


def places(response: str, source: str, part: str) -> np.ndarray:
    """Where the lags of a source stand in an equation."""
    links, g, l = carried_links(SPEC), SPEC.names.index(response), SPEC.names.index(source)
    here = (links.row == g) & (links.column == l)
    kind = {"own": ~links.lagged, "neighbours": links.lagged, "both": np.ones(len(links.row), bool)}[part]
    return links.position[here & kind]


def replicate(cell: Cell, index: int) -> dict[str, Any] | None:
    """Estimates, errors by covariance, responses with errors, statistics of the tests."""
    W = weights(cell.n, "contiguity")
    panel = draw(cell, W, np.random.default_rng([SEED, *(round(1000 * k) for k in cell.keys), index]))
    problem = Problem.of(panel, W)
    carried, found = problem.carried, follow(problem.carried, [problem.start()])
    if not found.solved:
        return None
    theta, weight = found.theta, found.weight
    spreads = {kind: dynamic_covariance(carried, theta, weight, kind) for kind in COVARIANCES}
    if not spreads["information"].positive:
        return None
    V, out = (
        {kind: s.cov for kind, s in spreads.items()},
        {"theta": theta, "before": found.before, "weight": weight},
    )
    out["se"] = {kind: np.sqrt(np.diag(v)) for kind, v in V.items()}
    eye = np.eye(len(theta))
    out["half"] = {kind: quantile(spreads[kind], eye, cell.n) * out["se"][kind] for kind in COVARIANCES}
    values, slopes = average_responses(carried, theta, max(HORIZONS), W.matrix, True)
    values, slopes = parts(values, slopes)
    flat = slopes.reshape(-1, slopes.shape[-1])
    out["responses"] = values.ravel()
    out["responses_half"] = {
        kind: quantile(spreads[kind], flat, cell.n) * np.sqrt(np.einsum("ri,ij,rj->r", flat, v, flat))
        for kind, v in V.items()
    }
    slope = carried.radius_slope(theta)
    out["radius"] = carried.radius(theta, False), np.sqrt(slope @ V["information"] @ slope)
    out["tests"] = {}
    for key in TESTS if cell.ar == 0 else [t for t in TESTS if t[2] == "both" or t[0] == "b"]:
        at = places(*key)
        q, wald = (
            len(at),
            {kind: float(theta[at] @ np.linalg.solve(v[np.ix_(at, at)], theta[at])) for kind, v in V.items()},
        )
        less = follow_restricted(carried, theta, at, weight)
        ratio = 2 * (found.adjusted - less.adjusted) if weight == less.weight else np.nan
        p = {"ratio": stats.chi2.sf(ratio, q), "information": stats.chi2.sf(wald["information"], q)}
        p["sandwich"] = stats.chi2.sf(wald["sandwich"], q)
        p["cluster"] = stats.f.sf(wald["cluster"] * (cell.n - q) / (q * (cell.n - 1)), q, cell.n - q)
        out["tests"][key] = p
    out["serial"] = serial(problem, found, cell.n)
    return out


def tested(cell: Cell, index: int, ratios: bool) -> list[dict[str, Any]]:
    """The p-values of zb.granger for one panel, a row for each hypothesis; none without an estimate.

    Most of the time is that of the ratios, which are NaN where they are not asked for.
    """
    W = weights(cell.n, "contiguity")
    panel = draw(cell, W, np.random.default_rng([SEED, *(round(1000 * k) for k in cell.keys), index]))
    problem = Problem.of(panel, W)
    carried, found = problem.carried, follow(problem.carried, [problem.start()])
    if not found.solved:
        return []
    kinds = ("information", "cluster")
    spread = {kind: dynamic_covariance(carried, found.theta, found.weight, kind) for kind in kinds}
    if not spread["information"].positive:
        return []
    rows = []
    for key in TESTS:
        at = places(*key)
        q = len(at)
        F, left = wald_f(carried, found.theta, spread["information"].cov, at)
        ratio = (
            _ratio(carried, found.theta, found.weight, found.adjusted, at)[0]
            if ratios and key[0] == "b"
            else np.nan
        )
        wald = float(quadratic_form(found.theta[at], spread["cluster"].cov[np.ix_(at, at)]))
        p = {
            "f": stats.f.sf(F, q, left),
            "ratio": stats.chi2.sf(ratio, q),
            "cluster": cluster_p_value(wald, q, cell.n),
        }
        rows.append(
            {
                "of": f"{key[1]} leads {key[0]}, {key[2]}",
                "truth": float(key[0] == "a"),
                "weight": found.weight,
            }
            | p
        )
    return rows


def sizes(cell: Cell, replications: int, ratios: int) -> pd.DataFrame:
    """Shares rejected at 5 % by each test of zb.granger, in all panels and where the whole correction is carried.

    Likelihood ratios of what is not there, in the first ``ratios`` panels only.
    """
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pd.DataFrame([row for i in range(replications) for row in tested(cell, i, i < ratios)])
    head, out = dict(zip(("n", "T", "tau", "ar"), cell.keys, strict=True)), []
    seconds = round(time.perf_counter() - start, 1)
    for (label, truth), own in found.groupby(["of", "truth"], sort=False):
        row: dict[str, Any] = {
            "of": label,
            "truth": truth,
            "kept": len(own),
            "whole": (own["weight"] == 1).mean(),
        }
        for kind in ("f", "ratio", "cluster"):
            known = own[own[kind].notna()]
            row[f"reject_{kind}"] = (known[kind] < LEVEL).mean()
            row[f"reject_{kind}_whole"] = (known[kind] < LEVEL)[known["weight"] == 1].mean()
        row["reject_f_and_cluster"] = (own[["f", "cluster"]].max(axis=1) < LEVEL).mean()
        out.append(head | row | {"replications": replications, "seed": SEED, "seconds": seconds})
    return pd.DataFrame(out)


def serial(problem: Problem, found: Followed, n: int) -> float:
    """p of the test of serial correlation of both equations."""
    from spatial_zb.models.system.dynamic import _serial_pieces

    r, influence = _serial_pieces(problem.carried, found.theta, found.weight)
    influence = influence - influence.mean(axis=0)
    V = influence.T @ influence * n / (n - 1)
    statistic = float(r @ np.linalg.solve(V, r))
    return float(stats.f.sf(statistic * (n - 2) / (2 * (n - 1)), 2, n - 2))


def parts(values: Array, slopes: Array) -> tuple[Array, Array]:
    """Own and others at the horizons of the study, (h, m, m, 2)."""
    chosen = list(HORIZONS)
    own, total = values[chosen, ..., 0], values[chosen, ..., 1]
    d_own, d_total = slopes[chosen, ..., 0, :], slopes[chosen, ..., 1, :]
    return np.stack([own, total - own], axis=-1), np.stack([d_own, d_total - d_own], axis=-2)


def quantile(spread: Spread, gradient: Array, n: int) -> Array | float:
    """Student's t of clustered errors, else the normal value."""
    if spread.clusters is not None:
        return -special.stdtrit(spread.clusters.degrees(gradient), 0.025)
    return 1.959963984540054


def true_responses(cell: Cell, W: zb.Weights) -> Array:
    """The same of the true coefficients."""
    panel = draw(replace(cell, T=3), W, np.random.default_rng(0))
    carried = Problem.of(panel, W).carried
    values, slopes = average_responses(carried, theta_of(cell.truth), max(HORIZONS), W.matrix, True)
    return parts(values, slopes)[0].ravel()


def run_cell(cell: Cell, replications: int) -> pd.DataFrame:
    """One row for each coefficient, response and test."""
    start, W = time.perf_counter(), weights(cell.n, "contiguity")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [f for f in (replicate(cell, i) for i in range(replications)) if f is not None]
    head = dict(zip(("n", "T", "tau", "ar"), cell.keys, strict=True))
    rows: list[dict[str, Any]] = []
    truth = theta_of(cell.truth)
    labels = [f"{name}: {term}" for name in SPEC.names for term in SPEC.terms(name)]
    theta, before = (np.array([f[key] for f in found]) for key in ("theta", "before"))
    for j, label in enumerate(labels):
        row = {"kind": "coefficient", "of": label, "truth": truth[j], "bias": theta[:, j].mean() - truth[j]}
        row |= {"bias_uncorrected": before[:, j].mean() - truth[j], "sd": theta[:, j].std(ddof=1)}
        for kind in COVARIANCES:
            half = np.array([f["half"][kind][j] for f in found])
            row[f"cover_{kind}"] = np.mean(np.abs(theta[:, j] - truth[j]) <= half)
        rows.append(row)
    true, values = true_responses(cell, W), np.array([f["responses"] for f in found])
    names = [
        f"{l} to {g}, {p}, h = {h}" for h in HORIZONS for g in "ab" for l in "ab" for p in ("own", "others")
    ]
    for j, label in enumerate(names):
        row = {"kind": "response", "of": label, "truth": true[j], "bias": np.median(values[:, j]) - true[j]}
        row["sd"] = values[:, j].std(ddof=1)
        for kind in COVARIANCES:
            half = np.array([f["responses_half"][kind][j] for f in found])
            row[f"cover_{kind}"] = np.mean(np.abs(values[:, j] - true[j]) <= half)
        rows.append(row)
    radius = np.array([f["radius"] for f in found])
    true_radius = Problem.of(draw(replace(cell, T=3), W, np.random.default_rng(0)), W).carried.radius(
        truth, False
    )
    row = {"kind": "radius", "of": "radius", "truth": true_radius, "bias": radius[:, 0].mean() - true_radius}
    row["cover_information"] = np.mean(np.abs(radius[:, 0] - true_radius) <= 1.96 * radius[:, 1])
    rows.append(row)
    for key in found[0]["tests"]:
        row = {"kind": "test", "of": f"{key[1]} leads {key[0]}, {key[2]}", "truth": float(key[0] == "a")}
        whole = np.array([f["weight"] == 1 for f in found])
        for kind in ("ratio", "information", "sandwich", "cluster"):
            p = np.array([f["tests"][key][kind] for f in found])
            row[f"reject_{kind}"] = np.mean(p[np.isfinite(p)] < 0.05)
            if kind == "ratio":
                row["reject_ratio_whole"] = np.mean(p[np.isfinite(p) & whole] < 0.05)
        rows.append(row)
    rows.append(
        {
            "kind": "test",
            "of": "serial correlation",
            "reject_cluster": np.mean([f["serial"] < 0.05 for f in found]),
        }
    )
    whole = float(np.mean([f["weight"] == 1 for f in found]))
    more = {"kept": len(found), "whole": whole, "replications": replications, "seed": SEED}
    seconds = round(time.perf_counter() - start, 1)
    return pd.DataFrame([head | row | more | {"seconds": seconds} for row in rows])


def run(replications: int = 200, workers: int = 1) -> None:
    """Simulate what is missing, half as many panels where errors are misspecified; ``workers`` are not used."""
    complete(
        OUT / "dynamic_system.csv",
        ["n", "T", "tau", "ar"],
        {cell.keys: cell for cell in cells()},
        lambda cell: run_cell(cell, replications if cell.ar == 0 else replications // 2),
        lambda done: done["replications"].isin([replications, replications // 2]) & (done["seed"] == SEED),
        "%.4g",
    )
    most, few = 2 * replications, replications // 2
    complete(
        OUT / "dynamic_system_tests.csv",
        ["n", "T", "tau", "ar"],
        {cell.keys: cell for cell in cells()},
        lambda cell: sizes(cell, *((most, few) if cell.ar == 0 else (few, 0))),
        lambda done: (done["replications"] >= np.where(done["ar"] == 0, most, few)) & (done["seed"] == SEED),
        "%.4g",
    )
