"""How well instruments identify one equation: first-stage F, rank, and the Anderson-Rubin set of ρ.

All arrays have the fixed effects removed; N is the number of transformed observations, the weight of every
degrees-of-freedom count.

References: Cragg & Donald (1993), Econometric Theory 9: 222-240; Kleibergen & Paap (2006), J. Econometrics
133: 97-126; Sanderson & Windmeijer (2016), J. Econometrics 190: 212-221; Sargan (1958); Hansen (1982).

Values of ρ that the Anderson-Rubin test does not reject, whatever the strength of the instruments.

Under ρ₀ the residuals (I − ρ₀W)y of the exogenous regressors have nothing to do with the h − k instruments beside them:

    F(ρ₀) = [e'(P_H − P_X)e / (h − k)] / [e'(I − P_H)e / (N − h)],  e = y − ρ₀Wy,

is F(h − k, N − h) under normal errors, exactly (Anderson & Rubin 1949, Annals of Mathematical Statistics 20: 46-63). Both
sums are quadratic in ρ₀, so that what is not rejected is an interval, all values, all but an interval, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, stats

from spatial_zb.core import Array
from spatial_zb.core.system.moments import Instruments, by_unit, white

Covariance = Literal["classical", "robust", "cluster"]
_KINDS: dict[str, Covariance] = {"robust": "robust", "cluster": "cluster"}


def kind_of(covariance: str) -> Covariance:
    """How scores are summed under this covariance of a fit: all others than these two have one variance."""
    return _KINDS.get(covariance, "classical")


@dataclass(frozen=True, slots=True)
class Strength:
    """First stage of one equation with p endogenous regressors and L excluded instruments.

    ``sw_f`` (p,) Sanderson-Windmeijer F and ``sw_p`` (p,) its p-value, ``partial_r2`` (p,); ``cragg_donald`` and
    ``kleibergen_paap`` are Wald F statistics of rank p − 1 against p. NaN without endogenous regressors.
    """

    sw_f: Array
    sw_p: Array
    partial_r2: Array
    cragg_donald: float
    kleibergen_paap: float


def instrument_strength(
    Y: Array, X: Array, H: Array, observations: int, n_units: int, covariance: Covariance
) -> Strength:
    """Strength of instruments H (M, q) for endogenous Y (M, p) beside included exogenous X (M, k) ⊂ span H.

    The Kleibergen-Paap statistic is robust as ``covariance`` says (to heteroskedasticity for ``classical``,
    where it would otherwise repeat Cragg-Donald).
    """
    p = Y.shape[1]
    if not p:
        return Strength(np.empty(0), np.empty(0), np.empty(0), np.nan, np.nan)
    off, Q = _excluded(Y, X, H)
    L, spare = Q.shape[1], observations - H.shape[1]
    if p > L or spare <= 0:
        empty = np.full(p, np.nan)
        return Strength(empty, empty, empty, np.nan, np.nan)
    fitted = Q.T @ off
    rest = off - Q @ fitted
    sw_f, sw_p = _sanderson_windmeijer(off, Q, spare)
    root = linalg.cholesky(rest.T @ rest / spare, lower=True)
    theta = linalg.solve_triangular(root, fitted.T, lower=True).T  # (L, p), errors of unit variance
    U, s, Vt = linalg.svd(theta)
    errors = linalg.solve_triangular(root, rest.T, lower=True).T
    left, right = U[:, p - 1 :], Vt[p - 1 :].T
    omega = _meat((Q @ left) * (errors @ right), n_units, covariance)
    above, below = (n_units, n_units - 1) if covariance == "cluster" else (observations, spare)
    rank_wald = _rank_wald((left.T @ theta @ right).ravel(), omega * above / below)
    r2 = (fitted**2).sum(axis=0) / (off**2).sum(axis=0)
    return Strength(sw_f, sw_p, r2, float(s[-1] ** 2 / L), rank_wald / L)


def _excluded(Y: Array, X: Array, H: Array) -> tuple[Array, Array]:
    """Y off X, and an orthonormal basis of what H adds to X."""
    base = linalg.qr(X, mode="economic")[0] if X.shape[1] else X
    off = Y - base @ (base.T @ Y)
    left, _, _ = linalg.svd(H - base @ (base.T @ H), full_matrices=False)
    return off, left[:, : H.shape[1] - X.shape[1]] if X.shape[1] else left


def _sanderson_windmeijer(off: Array, Q: Array, spare: int) -> tuple[Array, Array]:
    """F of each endogenous regressor with the others partialled out by 2SLS."""
    p, L = off.shape[1], Q.shape[1]
    df = L - p + 1
    values = np.empty(p)
    for j in range(p):
        others = np.delete(off, j, axis=1)
        coefficient = linalg.lstsq(Q.T @ others, Q.T @ off[:, j])[0] if p > 1 else np.empty(0)
        residual = off[:, j] - others @ coefficient
        along = Q.T @ residual
        explained = along @ along
        values[j] = explained / df / ((residual @ residual - explained) / spare)
    return values, stats.f.sf(values, df, spare)


def _meat(scores: Array, n_units: int, kind: Covariance) -> Array:
    """Sum of outer products of scores (M, p), by unit first for ``cluster``; NaN where units are too few for that."""
    if kind != "cluster":
        return white(scores)
    p = scores.shape[1]
    return by_unit(n_units)(scores) if n_units > p else np.full((p, p), np.nan)


def _rank_wald(value: Array, omega: Array) -> float:
    """Kleibergen-Paap rk statistic λ'Ω⁻¹λ, λ = vec(U_⊥'ΘV_⊥); NaN where Ω has no inverse."""
    if np.isnan(omega).any():
        return np.nan
    try:
        return float(value @ linalg.solve(omega, value, assume_a="pos"))
    except linalg.LinAlgError:
        return np.nan


def overidentification(
    e: Array, y: Array, Z: Array, H: Array, observations: int, n_units: int, kind: Covariance
) -> tuple[float, int, float]:
    """Sargan J (classical) or Hansen J (robust, cluster) of one equation, its degrees of freedom and p-value.

    Hansen's J is that of two-step GMM with the weight from the residuals ``e``; NaN when clusters are too few
    to weight the moments.
    """
    df = H.shape[1] - Z.shape[1]
    if df <= 0:
        return np.nan, df, np.nan
    along = H.T @ e
    if kind == "classical":
        J = float(along @ along / (e @ e / observations))
        return J, df, float(stats.chi2.sf(J, df))
    S = _meat(H * e[:, None], n_units, kind) * (1.0 if kind == "robust" else n_units / (n_units - 1))
    if np.isnan(S).any():
        return np.nan, df, np.nan
    try:
        root = linalg.cholesky(S, lower=True)
    except linalg.LinAlgError:
        return np.nan, df, np.nan
    A = linalg.solve_triangular(root, H.T @ Z, lower=True)
    b = linalg.solve_triangular(root, H.T @ y, lower=True)
    left = b - A @ linalg.lstsq(A, b)[0]
    J = float(left @ left)
    return J, df, float(stats.chi2.sf(J, df))


def generic_rank(present: NDArray[np.bool_], g: int) -> tuple[int, int]:
    """Rank condition of equation g for almost every value of the other coefficients.

    Parameters
    ----------
    present
        (m, c): whether variable c (each y, Wy, x, Wx) appears in an equation.

    Returns
    -------
    Number of variables of other equations that equation g leaves out, and the rank of their coefficients there,
    which must be m − 1. The generic rank is that of one random draw, with probability one.
    """
    values = np.random.default_rng(20040117).uniform(0.5, 1.5, present.shape) * present
    excluded = values[:, ~present[g] & present.any(axis=0)]
    others = np.delete(excluded, g, axis=0)
    rank = int(np.linalg.matrix_rank(others)) if others.size else 0
    return excluded.shape[1], rank


def anderson_rubin_pieces(
    y: Array, w: Array, instruments: Instruments, alpha: float, bounds: tuple[float, float]
) -> tuple[list[tuple[float, float]], float]:
    """The values in ``bounds`` that are not rejected, as up to two intervals, and the critical F.

    y (M,) and its endogenous regressor w (M,), without effects.
    """
    both = np.column_stack([y, w])
    own = np.linalg.qr(instruments.included)[0] if instruments.included.shape[1] else both[:, :0]
    spare = instruments.count - own.shape[1]
    explained, onto = instruments.basis.T @ both, own.T @ both
    among = explained.T @ explained
    excluded, rest = among - onto.T @ onto, both.T @ both - among
    critical = float(stats.f.ppf(1 - alpha, spare, instruments.dof))
    q = excluded / spare - critical * rest / instruments.dof
    return _where_not_positive(q[1, 1], -2 * q[0, 1], q[0, 0], bounds), critical


def _where_not_positive(
    a: float, b: float, c: float, bounds: tuple[float, float]
) -> list[tuple[float, float]]:
    """Where ax² + bx + c ≤ 0 within bounds."""
    roots = np.roots([a, b, c])
    ends = sorted(r.real for r in roots if abs(r.imag) < 1e-12 * (1 + abs(r.real)))
    points = [bounds[0], *(r for r in ends if bounds[0] < r < bounds[1]), bounds[1]]
    pieces: list[tuple[float, float]] = []
    for low, high in pairwise(points):
        middle = (low + high) / 2
        if (a * middle + b) * middle + c <= 0:
            joined = bool(pieces) and pieces[-1][1] == low  # a root that is only touched
            pieces = [*pieces[:-1], (pieces[-1][0], high)] if joined else [*pieces, (low, high)]
    return pieces
