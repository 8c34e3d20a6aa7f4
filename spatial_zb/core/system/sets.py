"""What one equation says of its coefficients however weak its instruments: a clustered Anderson-Rubin statistic, inverted.

An equation with its exogenous regressors and effects taken out is Vc = u, V = [y, endogenous regressors] and
c = (1, −b). Its k excluded instruments Z (orthonormal, off the same regressors) have nothing to do with u. With
P_i = Z_i'V_i of cluster i (a unit with all its periods) and P = Σ P_i, g(c) = Pc,

    AR(c) = g'Ω(c)⁻¹g,   Ω(c) = G/(G − 1) Σ (R_i c)(R_i c)',   reject if AR (G − k)/(k (G − 1)) > F(k, G − k).

R_i = P_i − P/G imposes the null (``score``): with the uncentred A = g'(Σ P_i cc'P_i')⁻¹g it is (G − 1)A/(G − A), Hotelling's
statistic of G independent vectors. R_i = (G − 1)/G Z_i'M_ii⁻¹ê_i with first-stage residuals ê and M_ii the block of their
annihilator (``cr3``) leaves its size near the level with fewer clusters and grows less with the distance from the truth.
All is of degree zero in c, and Ω(c) is a quadratic form in p² blocks, made once: a value costs no pass over the data.

A scalar has a profile, m(b) = min AR over c in the span of c₀ + b c₁ and directions N. m ≤ k (G − 1)/(G − k) F(k, G − k)
keeps the level always (projection); with d = k less the directions of N in place of k it is shorter (plug-in). At b = ∞ the
span is that of c₁ and N: a set is unbounded where m(∞) is not rejected. Without N its ends are eigenvalues of the quadratic
pencil κΩ(b) − g(b)g(b)', exact, however many pieces.

Anderson & Rubin (1949), Annals of Mathematical Statistics 20: 46-63; Hotelling (1931), Annals of Mathematical Statistics 2:
360-378; Bell & McCaffrey (2002), Survey Methodology 28: 169-181. Sizes were measured: spatial-zb docs validation/sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

from spatial_zb.core import Array, f_tail

Form = Literal["score", "cr3"]
Pieces = tuple[tuple[float, float], ...]
#: From this many clusters on the null is imposed; below, residuals of the first stage are used (docs/validation/sets.md).
SCORE_CLUSTERS = 30
#: Clusters that one instrument needs: with fewer the sets are unbounded whatever the instruments are worth.
CLUSTERS_PER_INSTRUMENT = 5
#: Directions from which every minimum is also looked for, beside the eigenvectors of LIML.
CHANCE = np.random.default_rng(20490146).standard_normal((8, 64))
#: Share of the variances of the moments below which one is none.
LEAST = 1e-14
#: Points of the circle on which a profile is looked at before its borders are halved so often.
POINTS, HALVINGS = 120, 30
#: Steps of a minimum, and of one that starts from a neighbour's.
STEPS, FEWER = 40, 15


@dataclass(frozen=True, slots=True)
class WeakMoments:
    """P (k, p), the blocks f Σ R_ij R_il' (p, p, k, k), first-stage residual products (p, p), G, and the form.

    Columns of V are divided by ``scale`` (p,); vectors c of every function are in the units of the data.
    """

    sums: Array
    blocks: Array
    rest: Array
    scale: Array
    clusters: int
    form: Form

    @property
    def k(self) -> int:
        """Number of excluded instruments."""
        return self.sums.shape[0]

    @property
    def p(self) -> int:
        """One for y and one for each endogenous regressor."""
        return self.sums.shape[1]

    def critical(self, level: float, directions: int = 0) -> float:
        """Largest value that is not rejected at a confidence level, with ``directions`` minimised over (plug-in)."""
        d, G = self.k - directions, self.clusters
        return float(d * (G - 1) / (G - d) * special.fdtri(d, G - d, level))

    def f(self, value: float, directions: int = 0) -> tuple[float, float]:
        """A value as F, and its p-value, with ``directions`` minimised over; NaN where none are left to test."""
        d, G = self.k - directions, self.clusters
        if d < 1:
            return np.nan, np.nan
        F = value * (G - d) / (d * (G - 1))
        return float(F), float(f_tail(F, d, G - d))

    def value(self, c: Array) -> Array:
        """AR at vectors c (…, p), (…)."""
        c = np.asarray(c) * self.scale
        return self._at(c.reshape(-1, self.p))[0].reshape(c.shape[:-1])

    def two_stage(self) -> Array:
        """b of 2SLS (p − 1,)."""
        return (
            np.linalg.lstsq(self.sums[:, 1:], self.sums[:, 0], rcond=None)[0] * self.scale[0] / self.scale[1:]
        )

    def _at(self, c: Array) -> tuple[Array, Array, Array]:
        """Values (B,), half gradients (B, p) and halves of Gauss-Newton's Hessian (B, p, p) at scaled c (B, p)."""
        g = c @ self.sums.T
        turned = self.blocks.transpose(1, 0, 2, 3)
        half = (c @ turned.reshape(self.p, -1)).reshape(-1, self.p, self.k, self.k)  # Σ_l c_l Ω_jl
        omega = np.einsum("bj,bjqr->bqr", c, half)
        # Where an equation fits without an error Ω is zero and AR infinite, not what rounding makes of it.
        least = LEAST * np.einsum("jjqq->", self.blocks) * (c**2).sum(axis=1)
        omega = omega + least[:, None, None] * np.eye(self.k)
        x = np.linalg.solve(omega, g[..., None])[..., 0]
        D = self.sums - np.einsum("bjqr,br->bqj", half, x)
        square = np.swapaxes(D, 1, 2) @ np.linalg.solve(omega, D)
        return np.einsum("bq,bq->b", g, x), np.einsum("bqj,bq->bj", D, x), square


def weak_moments(
    y: Array,
    Y: Array,
    X: Array,
    H: Array,
    n_units: int,
    centred: bool,
    form: Form | None = None,
    effects: Array | None = None,
) -> WeakMoments:
    """The moments of one equation, clustered by unit.

    Parameters
    ----------
    y, Y
        (M,) and (M, p − 1), transformed; row t·n + i.
    X, H
        Exogenous regressors (M, ·) and instruments (M, ·), which may hold X too.
    centred
        Whether each period was demeaned.
    form
        Without it ``score`` from 30 units on, else ``cr3``.
    effects
        (M, r) orthonormal effects that are out of all, where rows are not in deviations that leave nothing of them out.
    """
    V = np.column_stack([y, Y])
    base = linalg.qr(_unit(X), mode="economic")[0] if X.shape[1] else X
    V = V - base @ (base.T @ V)
    scale = np.sqrt((V**2).sum(axis=0))
    V = V / scale
    Z = _off(base, _unit(H))
    k, n = Z.shape[1], n_units
    form = form or ("score" if n >= SCORE_CLUSTERS else "cr3")
    by_unit = np.moveaxis(Z.reshape(-1, n, k), 1, 0), np.moveaxis(V.reshape(-1, n, V.shape[1]), 1, 0)
    products = np.swapaxes(by_unit[0], 1, 2) @ by_unit[1]  # (n, k, p)
    sums = products.sum(axis=0)
    residuals = V - Z @ sums
    if form == "score":
        R = (products - sums / n) * np.sqrt(n / (n - 1))
    else:
        used = np.hstack([base, Z] if effects is None else [base, Z, effects])
        R = _jackknifed(by_unit[0], residuals, used, n, centred) * np.sqrt((n - 1) / n)
    blocks = np.einsum("iqj,irl->jlqr", R, R, optimize=True)
    return WeakMoments(sums, blocks, residuals.T @ residuals, scale, n, form)


def _unit(columns: Array) -> Array:
    sizes = np.sqrt((columns**2).sum(axis=0))
    return columns / np.where(sizes > 0, sizes, 1.0)


def _off(base: Array, H: Array) -> Array:
    """An orthonormal basis of what H adds to an orthonormal base."""
    left, s, _ = linalg.svd(H - base @ (base.T @ H), full_matrices=False)
    return left[:, s > 1e-8 * max(1.0, s.max(initial=0.0))]


def _jackknifed(Z: Array, residuals: Array, used: Array, n: int, centred: bool) -> Array:
    """Z_i'M_ii⁻¹ê_i (n, k, p), over the directions of a unit that regressors and effects leave."""
    rows = used.reshape(-1, n, used.shape[1])
    e = residuals.reshape(-1, n, residuals.shape[1])
    own = (1 - 1 / n if centred else 1.0) * np.eye(len(rows))
    out = np.empty((n, Z.shape[2], e.shape[2]))
    for i in range(n):
        lengths, axes = linalg.eigh(own - rows[:, i] @ rows[:, i].T)
        left = lengths > 1e-8
        out[i] = (Z[i].T @ axes[:, left] / lengths[left]) @ (axes[:, left].T @ e[:, i])
    return out


# Minima --------------------------------------------------------------------------------------------------


def lowest(
    moments: WeakMoments, spans: Array, starts: Array | None = None, wide: bool = True
) -> tuple[Array, Array]:
    """The smallest AR over spans (B, p, r) of vectors c: values (B,) and c (B, p).

    Levenberg-Marquardt on the unit sphere from the eigenvectors of LIML, from eight fixed directions (``wide``) and from
    ``starts`` (B, s, p). A minimum that is missed makes a set too small, hence so many.
    """
    Q = np.linalg.qr(spans * moments.scale[:, None])[0]
    B, _, r = Q.shape
    if r == 1:
        return moments.value(Q[..., 0] / moments.scale), Q[..., 0] / moments.scale
    parts = [_liml(moments, Q)]
    if wide:
        parts.append(np.broadcast_to(CHANCE[:, :r], (B, len(CHANCE), r)))
    if starts is not None:
        parts.append(np.einsum("bsp,bpr->bsr", starts * moments.scale, Q))
    a = np.concatenate(parts, axis=1)
    a = a / np.maximum(np.linalg.norm(a, axis=2, keepdims=True), 1e-300)
    values, a = _descend(moments, Q, a, STEPS if wide else FEWER)
    best = values.argmin(axis=1)
    each = np.arange(B)
    return values[each, best], np.einsum("bpr,br->bp", Q, a[each, best]) / moments.scale


def _liml(moments: WeakMoments, Q: Array) -> Array:
    """Stationary points with one variance, (B, r, r): rows are directions."""
    fitted = np.swapaxes(moments.sums @ Q, 1, 2) @ (moments.sums @ Q)
    rest = np.swapaxes(Q, 1, 2) @ moments.rest @ Q
    size = np.trace(rest, axis1=1, axis2=2)[:, None, None]
    root = np.linalg.cholesky(rest + 1e-12 * size * np.eye(Q.shape[2]))
    inverse = np.linalg.inv(root)
    vectors = np.linalg.eigh(inverse @ fitted @ np.swapaxes(inverse, 1, 2))[1]
    return np.swapaxes(np.swapaxes(inverse, 1, 2) @ vectors, 1, 2)


def _descend(moments: WeakMoments, Q: Array, a: Array, steps: int) -> tuple[Array, Array]:
    """Values (B, s) and directions (B, s, r) downhill from a (B, s, r)."""
    B, s, r = a.shape
    Q, a = np.repeat(Q, s, axis=0), a.reshape(B * s, r)
    turned = np.swapaxes(Q, 1, 2)
    values, slope, square = moments._at(_in(Q, a))
    damping, open_ = np.full(B * s, 1e-3), np.arange(B * s)
    for _ in range(steps):
        at = turned[open_]
        gradient = np.einsum("brp,bp->br", at, slope)
        H = at @ square @ Q[open_]
        size = np.trace(H, axis1=1, axis2=2) / r
        damped = H + (damping[open_] * size + 1e-14)[:, None, None] * np.eye(r)
        trial = a[open_] - np.linalg.solve(damped, gradient[..., None])[..., 0]
        trial /= np.linalg.norm(trial, axis=1, keepdims=True)
        new, slope_new, square_new = moments._at(_in(Q[open_], trial))
        better = new < values[open_]
        gain = np.where(better, values[open_] - new, np.inf)
        kept = open_[better]
        a[kept], values[kept] = trial[better], new[better]
        slope[better], square[better] = slope_new[better], square_new[better]
        damping[open_] = np.where(better, np.maximum(damping[open_] / 5, 1e-9), damping[open_] * 5)
        going = (gain > 1e-10 * (1 + values[open_])) & (damping[open_] < 1e8)
        open_, slope, square = open_[going], slope[going], square[going]
        if not len(open_):
            break
    return values.reshape(B, s), a.reshape(B, s, r)


def _in(Q: Array, a: Array) -> Array:
    return np.einsum("bpr,br->bp", Q, a)


# Sets ----------------------------------------------------------------------------------------------------


def line_pieces(moments: WeakMoments, c0: Array, c1: Array, critical: float) -> Pieces:
    """{b : AR(c₀ + b c₁) ≤ critical}, exactly; rays end in ±∞."""
    far = bool(moments.value(c1) <= critical)
    here, along = c0 * moments.scale, c1 * moments.scale
    centre, unit = -(here @ along) / (along @ along), 1.0
    here = here + centre * along
    unit = float(np.linalg.norm(here) / np.linalg.norm(along)) or 1.0
    along = along * unit
    S, blocks = moments.sums, moments.blocks
    g0, g1 = S @ here, S @ along
    form = lambda a, b: np.einsum("j,l,jlqr->qr", a, b, blocks)  # noqa: E731
    M0 = critical * form(here, here) - np.outer(g0, g0)
    M1 = critical * (form(here, along) + form(along, here)) - np.outer(g0, g1) - np.outer(g1, g0)
    M2 = critical * form(along, along) - np.outer(g1, g1)
    one, none = np.eye(len(g0)), np.zeros((len(g0), len(g0)))
    left = np.block([[none, one], [-M0, -M1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = linalg.eigvals(left, np.block([[one, none], [none, M2]]))
    roots = roots[np.isfinite(roots)]
    real = np.sort(roots[np.abs(roots.imag) < 1e-7 * (1 + np.abs(roots.real))].real)
    ends = centre + unit * real
    middles = (ends[:-1] + ends[1:]) / 2
    held = moments.value(c0 + middles[:, None] * c1) <= critical if len(ends) else np.empty(0, bool)
    whole = bool(moments.value(c0) <= critical)
    inside = [far, *held, far] if len(ends) else [whole]
    return _joined(np.array([-np.inf, *ends, np.inf]), np.array(inside, bool))


def _joined(ends: Array, inside: NDArray[np.bool_]) -> Pieces:
    """Neighbouring segments that are inside, as pieces."""
    pieces: list[tuple[float, float]] = []
    for low, high, held in zip(ends[:-1], ends[1:], inside, strict=True):
        if held and pieces and pieces[-1][1] == low:
            pieces[-1] = pieces[-1][0], float(high)
        elif held:
            pieces.append((float(low), float(high)))
    return tuple(pieces)


@dataclass(frozen=True, slots=True)
class Scalar:
    """c = c₀ + b c₁ + N a: what b means, and the directions N (p, r) that are minimised over; ``size`` is a scale of b."""

    c0: Array
    c1: Array
    N: Array
    centre: float
    size: float

    def spans(self, angle: Array) -> Array:
        """(B, p, 1 + r) at angles of the circle, b = centre + size tan φ; ±π/2 is infinity."""
        near, far = self.c0 + self.centre * self.c1, self.size * self.c1
        first = np.cos(angle)[:, None] * near + np.sin(angle)[:, None] * far
        own = np.broadcast_to(self.N, (len(angle), *self.N.shape))
        return np.concatenate([first[..., None], own], axis=2)

    def at(self, angle: Array) -> Array:
        """b at angles."""
        return self.centre + self.size * np.tan(angle)


def scalar_pieces(moments: WeakMoments, scalar: Scalar, criticals: tuple[float, ...]) -> list[Pieces]:
    """{b : m(b) ≤ critical} for each critical value, in ascending pieces; rays end in ±∞.

    Without directions to minimise over it is exact. Else the profile is looked at on a circle that infinity is a point of,
    minima are followed along it both ways, and borders are halved.
    """
    if not scalar.N.shape[1]:
        return [line_pieces(moments, scalar.c0, scalar.c1, value) for value in criticals]
    angles = np.pi * (np.arange(POINTS) + 0.5) / POINTS - np.pi / 2
    least = np.arctan((_least(moments, scalar) - scalar.centre) / scalar.size)
    angles = np.sort(np.append(angles, [least, np.pi / 2]))  # a short set lies around its minimum
    spans = scalar.spans(angles)
    values, c = lowest(moments, spans)
    for _ in range(2):
        starts = np.stack([np.roll(c, 1, axis=0), np.roll(c, -1, axis=0), c], axis=1)
        again, other = lowest(moments, spans, starts, wide=False)
        better = again < values
        values, c = np.where(better, again, values), np.where(better[:, None], other, c)
    return [_halved(moments, scalar, angles, values, c, critical) for critical in criticals]


def _least(moments: WeakMoments, scalar: Scalar) -> float:
    """b where the profile is smallest."""
    whole = np.column_stack([scalar.c0, scalar.c1, scalar.N])
    c = lowest(moments, whole[None])[1][0]
    parts = np.linalg.lstsq(whole * moments.scale[:, None], c * moments.scale, rcond=None)[0]
    return float(parts[1] / parts[0]) if abs(parts[0]) > 1e-12 * abs(parts[1]) else scalar.centre


def _halved(
    moments: WeakMoments, scalar: Scalar, angles: Array, values: Array, c: Array, critical: float
) -> Pieces:
    """Pieces from a profile on the circle: the arcs that are inside, their borders found by halving."""
    inside = values <= critical
    following = np.append(angles[1:], angles[0] + np.pi)
    cuts = np.flatnonzero(inside != np.roll(inside, -1))
    if not len(cuts):
        return ((-np.inf, np.inf),) if inside.all() else ()
    low, high, opening = angles[cuts], following[cuts], ~inside[cuts]
    near = np.where(opening[:, None], np.roll(c, -1, axis=0)[cuts], c[cuts])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found, c_found = lowest(moments, scalar.spans(middle), near[:, None, :], wide=False)
        held = found <= critical
        near = np.where(held[:, None], c_found, near)
        low, high = np.where(held == opening, low, middle), np.where(held == opening, middle, high)
    borders = (low + high) / 2
    borders = np.where(borders > np.pi / 2, borders - np.pi, borders)
    order = np.argsort(borders)
    ends, opens = scalar.at(borders[order]), opening[order]
    far = bool(inside[-1])  # the last angle is infinity
    return _joined(np.array([-np.inf, *ends, np.inf]), np.array([far, *opens], bool))
