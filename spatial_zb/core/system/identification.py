"""How well instruments identify one equation: first-stage F, rank, tests of what is left out.

All arrays have the fixed effects removed; N is the number of transformed observations, the weight of every
degrees-of-freedom count.

References: Cragg & Donald (1993), Econometric Theory 9: 222-240; Kleibergen & Paap (2006), J. Econometrics
133: 97-126; Sanderson & Windmeijer (2016), J. Econometrics 190: 212-221; Montiel Olea & Pflueger (2013), J. Business &
Economic Statistics 31: 358-369; Lewis & Mertens (2022), CEPR Discussion Paper 17301; Sargan (1958); Hansen (1982); Newey
(1985), J. Econometrics 29: 229-256 (tests of some exclusions).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from spatial_zb.core import Array, chi2_tail, f_tail
from spatial_zb.core.system.moments import by_unit, white

Covariance = Literal["classical", "robust", "cluster"]
#: Fewest clusters for each direction that a clustered Wald statistic tests: below, its F is noise.
CLUSTERS_PER_DIRECTION = 3
#: Fewest clusters for each moment that a clustered J tests.
CLUSTERS_PER_EXCLUSION = 2
#: Singular values below this share of the largest are zero.
RANK_TOLERANCE = 1e-8
_KINDS: dict[str, Covariance] = {"robust": "robust", "cluster": "cluster", "cr1": "cluster", "cr2": "cluster"}


def kind_of(covariance: str) -> Covariance:
    """How scores are summed under this covariance of a fit: all others than these two have one variance."""
    return _KINDS.get(covariance, "classical")


@dataclass(frozen=True, slots=True)
class Strength:
    """First stage of one equation with p endogenous regressors and L excluded instruments.

    ``sw_f`` (p,) Sanderson-Windmeijer F and ``sw_p`` (p,) its p-value, ``partial_r2`` (p,); ``cragg_donald`` and
    ``kleibergen_paap`` are Wald F statistics of rank p − 1 against p, ``effective`` that of Montiel Olea & Pflueger. NaN
    without endogenous regressors.
    """

    sw_f: Array
    sw_p: Array
    partial_r2: Array
    cragg_donald: float
    kleibergen_paap: float
    effective: float


def instrument_strength(
    Y: Array, X: Array, H: Array, observations: int, n_units: int, covariance: Covariance
) -> Strength:
    """Strength of instruments H (M, q) for endogenous Y (M, p) beside included exogenous X (M, k) ⊂ span H.

    Sanderson and Windmeijer's F of each column is that of its part off the others' 2SLS prediction, on the L − p + 1
    directions that these leave, with the variance that ``covariance`` says; Kleibergen and Paap's and the effective F have
    it too, but for ``classical`` are robust to heteroskedasticity, where the former would repeat Cragg-Donald.

    By cluster a Wald statistic W of r = L − p + 1 directions grows with r/n whatever the instruments are worth: it is given
    as W (n − r)/(r (n − 1)), for useless instruments F(r, n − r) (Hotelling), and NaN where n < 3r.

    The effective F is the smallest eigenvalue of Φ^{−1/2} Π̂'Π̂ Φ^{−1/2}, Φ_ab = Σ_l Cov(Π̂_la, Π̂_lb) on orthonormal
    instruments: Π̂'Π̂/tr V for one endogenous regressor (Montiel Olea & Pflueger 2013), Cragg-Donald for one variance (Lewis &
    Mertens 2022). It inverts no covariance of the instruments, and so stands with few clusters.
    """
    p = Y.shape[1]
    if not p:
        return Strength(np.empty(0), np.empty(0), np.empty(0), np.nan, np.nan, np.nan)
    off, Q = _excluded(Y, X, H)
    L, spare = Q.shape[1], observations - H.shape[1]
    if p > L or spare <= 0:
        empty = np.full(p, np.nan)
        return Strength(empty, empty, empty, np.nan, np.nan, np.nan)
    first = _FirstStage(observations, spare, n_units, covariance)
    fitted = Q.T @ off
    rest = off - Q @ fitted
    sw_f, sw_p = first.sanderson_windmeijer(off, Q)
    root = linalg.cholesky(rest.T @ rest / spare, lower=True)
    theta = linalg.solve_triangular(root, fitted.T, lower=True).T  # (L, p), errors of unit variance
    U, s, Vt = linalg.svd(theta)
    errors = linalg.solve_triangular(root, rest.T, lower=True).T
    left, right = U[:, p - 1 :], Vt[p - 1 :].T
    wald = first.wald((left.T @ theta @ right).ravel(), (Q @ left) * (errors @ right))
    rank_f = first.hotelling(wald, L - p + 1)[0] if covariance == "cluster" else wald / L
    r2 = (fitted**2).sum(axis=0) / (off**2).sum(axis=0)
    return Strength(sw_f, sw_p, r2, float(s[-1] ** 2 / L), rank_f, first.effective(fitted, Q, rest))


@dataclass(frozen=True, slots=True)
class _FirstStage:
    """How the variances of first-stage coefficients are taken."""

    observations: int
    spare: int
    n_units: int
    kind: Covariance

    def meat(self, scores: Array) -> Array:
        """Covariance of the sums of scores (M, p), with its degrees of freedom; NaN where units are too few for it."""
        if self.kind == "cluster":
            return _meat(scores, self.n_units, "cluster") * self.n_units / (self.n_units - 1)
        return white(scores) * self.observations / self.spare

    def wald(self, value: Array, scores: Array) -> float:
        """λ'Ω⁻¹λ; NaN where Ω has no inverse."""
        omega = self.meat(scores)
        if np.isnan(omega).any():
            return np.nan
        try:
            return float(value @ linalg.solve(omega, value, assume_a="pos"))
        except linalg.LinAlgError:
            return np.nan

    def hotelling(self, wald: float, directions: int) -> tuple[float, float]:
        """F by clusters and its p-value, blank below three clusters for each direction."""
        n, r = self.n_units, directions
        if n < CLUSTERS_PER_DIRECTION * r:
            return np.nan, np.nan
        f = wald * (n - r) / (r * (n - 1))
        return f, float(f_tail(f, r, n - r))

    def sanderson_windmeijer(self, off: Array, Q: Array) -> tuple[Array, Array]:
        """F of each endogenous regressor with the others partialled out by 2SLS, and its p-value."""
        p, L = off.shape[1], Q.shape[1]
        df = L - p + 1
        values, chances = np.empty(p), np.empty(p)
        for j in range(p):
            others = Q.T @ np.delete(off, j, axis=1)
            coefficient = linalg.lstsq(others, Q.T @ off[:, j])[0] if p > 1 else np.empty(0)
            residual = off[:, j] - np.delete(off, j, axis=1) @ coefficient
            free = (
                Q @ linalg.null_space(others.T) if p > 1 else Q
            )  # what the coefficients of the others leave
            along = free.T @ residual
            rest = residual - Q @ (Q.T @ residual)
            if self.kind == "classical":
                values[j] = along @ along / df / (rest @ rest / self.spare)
                chances[j] = f_tail(values[j], df, self.spare)
                continue
            wald = self.wald(along, free * rest[:, None]) if free.shape[1] == df else np.nan
            if self.kind == "cluster":
                values[j], chances[j] = self.hotelling(wald, df)
            else:
                values[j], chances[j] = wald / df, f_tail(wald / df, df, self.spare)
        return values, chances

    def effective(self, fitted: Array, Q: Array, rest: Array) -> float:
        """Smallest eigenvalue of Φ^{−1/2} Π̂'Π̂ Φ^{−1/2}."""
        phi: Array = np.sum([self.meat(column[:, None] * rest) for column in Q.T], axis=0)
        if np.isnan(phi).any():
            return np.nan
        return float(linalg.eigh(fitted.T @ fitted, phi, eigvals_only=True)[0])


def _excluded(Y: Array, X: Array, H: Array) -> tuple[Array, Array]:
    """Y off X, and an orthonormal basis of what H adds to X."""
    base = linalg.qr(X, mode="economic")[0] if X.shape[1] else X
    off = Y - base @ (base.T @ Y)
    left, _, _ = linalg.svd(H - base @ (base.T @ H), full_matrices=False)
    return off, left[:, : H.shape[1] - X.shape[1]] if X.shape[1] else left


def _meat(scores: Array, n_units: int, kind: Covariance) -> Array:
    """Sum of outer products of scores (M, p), by unit first for ``cluster``; NaN where units are too few for that."""
    if kind != "cluster":
        return white(scores)
    p = scores.shape[1]
    return by_unit(n_units)(scores) if n_units > p else np.full((p, p), np.nan)


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Tests of what is left out of one equation: the moments that no δ can bring to zero, and their variance.

    ``free`` (q, df) is orthonormal and orthogonal to H'Z, ``moments`` (df,) are free'H'y on the scale of ``root``, the lower
    root of their variance; both None where there is none.
    """

    free: Array
    moments: Array | None
    root: Array | None
    n_units: int
    kind: Covariance

    @property
    def df(self) -> int:
        """Instruments less coefficients."""
        return self.free.shape[1]

    def test(self) -> tuple[float, int, float]:
        """J, its degrees of freedom and its p-value."""
        if self.moments is None:
            return np.nan, self.df, np.nan
        J = float(self.moments @ self.moments)
        return J, self.df, self._p_value(J, self.df, J, self.df)

    def without(self, columns: Array) -> tuple[float, int, float, float]:
        """C of the exclusion of some columns H'X (q, c), its degrees of freedom, its p-value, and p of J of the others.

        C is what J falls by when the equation may have the columns, all moments weighted as before. NaN where the equation
        would not be identified with them; p of the others is NaN where none is left.
        """
        c = columns.shape[1]
        if self.moments is None or self.root is None or not 0 < c <= self.df:
            return np.nan, c, np.nan, np.nan
        size = np.sqrt((columns**2).sum(axis=0))
        inside = linalg.solve_triangular(self.root, self.free.T @ (columns / size), lower=True)
        if np.linalg.matrix_rank(self.free.T @ (columns / size), tol=RANK_TOLERANCE) < c:
            return np.nan, c, np.nan, np.nan
        rest = self.moments - inside @ linalg.lstsq(inside, self.moments)[0]
        J, left, spare = float(self.moments @ self.moments), float(rest @ rest), self.df - c
        p_left = self._p_value(left, spare, left, spare) if spare else np.nan
        return J - left, c, self._p_value(J - left, c, J, self.df), p_left

    def _p_value(self, value: float, df: int, total: float, total_df: int) -> float:
        """χ²; by cluster that of n R², which is F(df, n − total df) as in a regression."""
        if self.kind != "cluster":
            return float(chi2_tail(value, df))
        n, scale = self.n_units, self.n_units / (self.n_units - 1)
        spare, rest = n - total_df, n - scale * total
        return float(f_tail(scale * value / df * spare / max(rest, 1e-300), df, spare))


def exclusions(
    e: Array, y: Array, Z: Array, H: Array, observations: int, n_units: int, kind: Covariance
) -> Exclusions:
    """Tests of what is left out of one equation y = Zδ, its moments weighted by the residuals e of the estimate shown.

    J = min over δ of (y − Zδ)'H S⁻¹ H'(y − Zδ): Sargan's with one variance (``classical``), Hansen's for ``robust`` and
    ``cluster``. Of S only the part counts that δ cannot reach. Clustered moments of n units give J as (n − 1)R² of a
    regression of ones on the moments by unit, at most n − 1: its law is taken as that of R², F(df, n − df) of
    (R²/df)/((1 − R²)/(n − df)), since χ² rejects true exclusions too seldom.
    """
    _, _, Vt = linalg.svd((H.T @ Z).T, full_matrices=True)
    free = Vt[Z.shape[1] :].T if H.shape[1] > Z.shape[1] else np.empty((H.shape[1], 0))
    nothing = Exclusions(free, None, None, n_units, kind)
    if not free.shape[1]:
        return nothing
    if kind == "classical":
        S = np.eye(free.shape[1]) * (e @ e) / observations
    else:
        S = _meat((H @ free) * e[:, None], n_units, kind) * (
            1.0 if kind == "robust" else n_units / (n_units - 1)
        )
    if np.isnan(S).any() or (kind == "cluster" and n_units < CLUSTERS_PER_EXCLUSION * len(S)):
        return nothing
    try:
        root = linalg.cholesky(S, lower=True)
    except linalg.LinAlgError:
        return nothing
    moments = linalg.solve_triangular(root, free.T @ (H.T @ y), lower=True)
    return Exclusions(free, moments, root, n_units, kind)


@dataclass(frozen=True, slots=True)
class RankCondition:
    """What the reduced form tells of one equation.

    ``rank`` of its coefficients can be told apart where ``needed`` are to be; ``others`` are the equations of which a
    multiple, or a multiple of a spatial lag, can be added to it without a trace.
    """

    rank: int
    needed: int
    others: tuple[int, ...]

    @property
    def holds(self) -> bool:
        """Whether all coefficients are identified."""
        return self.rank == self.needed


@dataclass(frozen=True, slots=True)
class Identification:
    """Order and rank condition of one equation.

    ``excluded`` variables of the system are not in the equation; at least ``equations`` − 1 must be. The reduced form tells
    ``rank`` of its ``rank_needed`` coefficients apart, and where these differ hides a multiple of the equations ``behind``,
    or of their spatial lags. ``outside`` instruments are not regressors of the equation; there must be one for each of its
    ``endogenous`` regressors. ``alike``: another equation itself could be added to it.
    """

    excluded: int
    equations: int
    rank: int
    rank_needed: int
    outside: int
    endogenous: int
    behind: tuple[str, ...]
    alike: bool

    @property
    def order(self) -> bool:
        """Enough exclusions, and enough instruments."""
        return self.excluded >= self.equations - 1 and self.outside >= self.endogenous

    @property
    def identified(self) -> bool:
        """Order and rank condition hold."""
        return self.order and self.rank == self.rank_needed


def generic_rank(present: NDArray[np.bool_], g: int) -> tuple[int, int]:
    """Rank condition of equation g when others can be added as they are, for almost every value of their coefficients.

    It is what a likelihood needs whose errors are independent over space: the error of a spatial lag that was added would
    not be.

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


def rank_condition(now: NDArray[np.bool_], lagged: NDArray[np.bool_], g: int) -> RankCondition:
    """Rank condition of equation g for almost every value of the coefficients.

    With a row A(ω) = [Γ − ωΨ, −(B + ωΘ)] for each equation, of degree one in the eigenvalue ω of W, any f(ω)'A(ω) that
    obeys the restrictions of equation g cannot be told from it. Its part a(ω)' before y and the rest c(ω)' are tied by
    the reduced form Π(ω) = (Γ − ωΨ)⁻¹(B + ωΘ) alone: a(ω)'Π(ω) = c(ω)' at every ω. Equation g is identified where these
    linear equations in the free coefficients of a and c have one solution up to scale.

    Parameters
    ----------
    now, lagged
        (m, m + k): whether y_l (the own one always) and x_j appear in an equation, and whether their spatial lags do.

    Notes
    -----
    Constant multipliers alone are the textbook condition, which a lag of another equation, ωA_l(ω), can pass. The generic
    rank is that of one random draw of coefficients and ω, with probability one.
    """
    m, k = len(now), now.shape[1] - len(now)
    rng = np.random.default_rng(20040117)
    values = rng.uniform(0.5, 1.5, (2, m, m + k)) * rng.choice([-1, 1], (2, m, m + k)) * [now, lagged]
    values[:, :, :m] *= 0.5 / m  # Γ − ωΨ stays regular
    points = 4 * m + 4  # more than the degree of what is tied has zeros
    omega = 0.9 * np.exp(2j * np.pi * np.arange(points) / points)[:, None, None]
    structural = np.eye(m) - values[0, :, :m] * (1 - np.eye(m)) - omega * values[1, :, :m]
    reduced = np.linalg.solve(structural, values[0, :, m:] + omega * values[1, :, m:])  # (v, m, k)
    whole = np.concatenate([reduced, np.broadcast_to(-np.eye(k), (points, k, k))], axis=1)
    whole = np.concatenate([whole, omega * whole], axis=1)  # (v, 2(m + k), k)
    free = np.flatnonzero([*now[g], *lagged[g]])
    needed = len(free) - 1
    _, s, Vt = np.linalg.svd(whole[:, free].transpose(0, 2, 1).reshape(-1, len(free)))
    rank = int(np.count_nonzero(s > RANK_TOLERANCE * s.max(initial=1.0)))
    if rank >= needed:
        return RankCondition(needed, needed, ())
    a = np.zeros((len(free) - rank, 2 * (m + k)), complex)
    a[:, free] = Vt[rank:].conj()
    row = a[:, :m] + omega * a[:, m + k : 2 * m + k]  # (v, solutions, m)
    f = np.linalg.solve(structural.transpose(0, 2, 1), row.transpose(0, 2, 1))  # (v, m, solutions)
    sizes = np.abs(f).max(axis=(0, 2))
    others = tuple(l for l in range(m) if l != g and sizes[l] > np.sqrt(RANK_TOLERANCE) * sizes.max())
    return RankCondition(rank, needed, others)
