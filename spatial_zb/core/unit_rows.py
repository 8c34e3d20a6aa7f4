"""Units with rows of any number: what effects and coefficients took out of the residuals of each.

As :mod:`spatial_zb.core.clusters` and :mod:`spatial_zb.core.likelihood.errors` for panels whose units come and go. Of all
rows M = A − QQ', A = I − UU' within units, U the effects that one unit has alone, Q an orthonormal basis of the effects that
units share and of the regressors: its blocks are small whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core import Array
from spatial_zb.core.clusters import COLLINEAR, LEAST_SEEN, NOTHING_LEFT

#: A column whose squares off its mean are below this share of the others is constant.
CONSTANT = 1e-12
#: Units whose rows are worked on at a time.
TOGETHER = 16


@dataclass(frozen=True, eq=False)
class RowClusters:
    """M_X by unit where units have rows of any number: made by :func:`row_clusters`.

    ``rows`` (n, S) are the rows of each unit, filled up by −1, ``roots`` (n, S, S) M_X,ii^{−1/2}; ``shared`` (N, c) is the
    part of the effects that units share and ``V`` (N, q) the regressors, orthonormal; ``back`` as in :class:`Clusters`.
    """

    rows: NDArray[np.intp]
    roots: Array
    shared: Array
    V: Array
    back: Array

    @property
    def number(self) -> int:
        """Of clusters."""
        return len(self.rows)

    def _by_unit(self, values: Array) -> Array:
        """Rows (N, m) as (n, S, m), zero where a unit has no row."""
        return np.where((self.rows >= 0)[..., None], values[self.rows], 0.0)

    def adjusted(self, e: Array) -> Array:
        """e*_i = M_X,ii^{−1/2}e_i of residuals (N,)."""
        moved = self.roots @ self._by_unit(e[:, None])
        out, there = np.empty_like(e), self.rows >= 0
        out[self.rows[there]] = moved[..., 0][there]
        return out

    def degrees(self, gradients: Array) -> Array:
        """Degrees of freedom of c'θ̂ for gradients (…, q); NaN where single units determine it nearly alone."""
        flat = gradients.reshape(-1, gradients.shape[-1])
        regressors, shared = self._by_unit(self.V), self._by_unit(np.hstack([self.shared, self.V]))
        found = [self._degrees_of(self.back @ c, regressors, shared) for c in flat]
        return np.array(found).reshape(gradients.shape[:-1])

    def _degrees_of(self, v: Array, regressors: Array, shared: Array) -> float:
        size = float(np.sqrt(v @ v))
        if not np.isfinite(size):
            return np.nan
        if size == 0.0:
            return float(self.number - 1)
        a = (self.roots @ (regressors @ (v / size))[..., None])[..., 0]
        taken, own = np.einsum("isk,is->ik", shared, a), (a**2).sum(axis=1)
        trace = own.sum() - (taken**2).sum()
        small = taken.T @ taken if taken.shape[1] <= len(taken) else taken @ taken.T
        square = (own**2).sum() - 2 * (own * (taken**2).sum(axis=1)).sum() + (small**2).sum()
        return float(trace**2 / square) if trace > LEAST_SEEN else np.nan


def row_clusters(
    unit: NDArray[np.intp], X: Array, own: tuple[NDArray[np.intp], Array], shared: Array
) -> RowClusters:
    """The clusters of regressors X (N, q) off the effects, of panels of any shape.

    Parameters
    ----------
    unit
        (N,) number of the unit of each row.
    X
        (N, q); columns may be collinear or zero.
    own, shared
        An orthonormal basis of the effects: positions and values (N, p) of the entries of columns that belong to one unit,
        and the other columns (N, c).
    """
    V, back = _orthonormal(X)
    rows, A = _own_blocks(unit, own)
    others = np.where((rows >= 0)[..., None], np.hstack([shared, V])[rows], 0.0)
    share, axes = np.linalg.eigh(A - others @ np.swapaxes(others, 1, 2))
    stretch = np.where(share > NOTHING_LEFT, 1 / np.sqrt(np.maximum(share, NOTHING_LEFT)), 0.0)
    roots = (axes * stretch[:, None, :]) @ np.swapaxes(axes, 1, 2)
    return RowClusters(rows, roots, shared, V, back)


#: By the place of a score: Y (n, n) of products of errors of two units or, of m probes v = ±1, Yv/√m (n, m); Y_ii and what
#: is taken off it, as one column or by probe.
UnitPairs = dict[int, tuple[Array, Array, Array]]


def clustered_meat(sums: Array, found: UnitPairs, factor: float, usual: bool) -> Array:
    """Ω of scores Σ_i s̃_i + Σ_{i≠j} Y_ij, s̃_i = s_i + Y_ii, of independent units: Σ_i s̃_i s̃_i' + 2 Σ_{i≠j} Y_ij Y_ij'.

    ``sums`` s_i (n, c). ``factor`` n/(n − 1) counts twice for pairs; ``usual``: once, and s̃_i less their mean.
    """
    sums = sums.copy()
    pairs, left = np.zeros((2, sums.shape[1], sums.shape[1]))
    for one, (Y, own, less) in found.items():
        sums[:, one] += (own - less).mean(axis=1)
        for two, (X, other, also) in found.items():
            # probes leave noise in products of diagonals: its mean is taken off
            pairs[one, two] = np.vdot(Y, X) - own.mean(axis=1) @ other.mean(axis=1) + _noise(own, other)
            left[one, two] = _noise(own - less, other - also)
    sums -= sums.mean(axis=0) if usual else 0
    return np.asarray(factor * (sums.T @ sums - left) + 2 * (factor if usual else factor**2) * pairs)


def _noise(one: Array, two: Array) -> float:
    """Sum over units of the covariance of two means over probes (n, m); zero of exact numbers (m = 1)."""
    m = one.shape[1]
    off = (one - one.mean(axis=1, keepdims=True)) * (two - two.mean(axis=1, keepdims=True))
    return float(off.sum()) / (m * (m - 1)) if m > 1 else 0.0


def _orthonormal(X: Array) -> tuple[Array, Array]:
    """An orthonormal basis of columns that may be collinear or zero, and what takes coefficients of them to its own."""
    scale = np.sqrt((X**2).sum(axis=0))
    size = np.where(scale > 0, scale, 1.0)
    left, sizes, right = np.linalg.svd(X / size, full_matrices=False)
    kept = sizes > COLLINEAR * sizes.max(initial=0.0)
    return left[:, kept], right[kept] / sizes[kept, None] / size


def _own_blocks(
    unit: NDArray[np.intp], own: tuple[NDArray[np.intp], Array]
) -> tuple[NDArray[np.intp], Array]:
    """Rows (n, S) of each unit, filled up by −1, and I − UU' of them (n, S, S), U the effects of the unit alone."""
    numbers, at = np.unique(unit, return_inverse=True)
    counts = np.bincount(at)
    rows = np.full((len(numbers), int(counts.max())), -1)
    rows[np.arange(rows.shape[1]) < counts[:, None]] = np.argsort(at, kind="stable")
    there = (rows >= 0)[..., None]
    columns, values = np.where(there, own[0][rows], -1), np.where(there, own[1][rows], 0.0)
    A = np.eye(rows.shape[1]) * there
    for a, b in np.ndindex(values.shape[2], values.shape[2]):
        same = columns[:, :, None, a] == columns[:, None, :, b]
        A -= same * values[:, :, None, a] * values[:, None, :, b]
    return rows, A


@dataclass(frozen=True, eq=False)
class RowErrors:
    """Residuals of units with rows of any number, and what effects and coefficients took out: made by :func:`row_errors`.

    What :class:`spatial_zb.core.likelihood.errors.Errors` is for complete panels. ``e`` (n, S), ``when`` (n, S) the number
    of the period of a row, −1 where there is none, ``A`` (n, S, S), ``Q`` (n, S, c), ``periods`` how many there are;
    ``within``: means of units are out. ``units`` (n,) numbers those of which effects leave something.
    """

    e: Array
    when: NDArray[np.intp]
    A: Array
    Q: Array
    periods: int
    within: bool
    units: NDArray[np.intp]

    @property
    def n(self) -> int:
        """Units."""
        return len(self.e)

    @property
    def T(self) -> int:
        """Rows of the longest unit."""
        return self.e.shape[1]

    @cached_property
    def M(self) -> Array:
        """M_ii (n, S, S)."""
        return self.A - self.Q @ np.swapaxes(self.Q, 1, 2)

    @cached_property
    def squares(self) -> tuple[Array, Array]:
        """e_i'e_i and tr M_ii, each (n,)."""
        return (self.e**2).sum(axis=1), np.trace(self.M, axis1=1, axis2=2)

    @property
    def variances(self) -> Array:
        """(n,) e_i'e_i / tr M_ii."""
        value, left = self.squares
        return value / left

    @property
    def sizes(self) -> Array:
        """(n,) what the errors of a unit are drawn with."""
        return np.sqrt(self.variances)

    @cached_property
    def follows(self) -> NDArray[np.bool_]:
        """(n, S, S) where row t is of the period after that of row s."""
        there = self.when >= 0
        return (self.when[:, :, None] == self.when[:, None, :] + 1) & there[:, :, None] & there[:, None, :]

    @property
    def lag_form(self) -> Array:
        """Q_i (n, S, S) of Σ e_te_{t−1} over rows of successive periods; with unit effects Σ e_{t−1}²/(S_i − 1) more."""
        Q = self.follows.astype(float)
        if self.within:
            pairs, at = self.follows.sum(axis=1), np.arange(self.T)
            Q[:, at, at] = pairs / np.maximum((self.when >= 0).sum(axis=1) - 1, 1)[:, None]
        return (Q + np.swapaxes(Q, 1, 2)) / 2

    @property
    def crossing_form(self) -> Array:
        """As that of complete panels: rows ahead off the mean of those ahead, rows behind off that of those behind."""
        out, counts = np.zeros_like(self.A), (self.when >= 0).sum(axis=1)
        for i, t in np.argwhere(self.follows[:, 2:, 1:].any(axis=2)):
            ahead, behind, t, last = np.zeros(self.T), np.zeros(self.T), t + 2, counts[i]
            if t >= last - 1 or not self.follows[i, t, t - 1]:
                continue
            ahead[t], behind[t - 1] = 1, 1
            ahead[t:last] -= 1 / (last - t)
            behind[:t] -= 1 / t
            out[i] += np.outer(ahead, behind)
        return (out + np.swapaxes(out, 1, 2)) / 2

    def left_over(self, form: Array) -> Array:
        """z_i = e_i'Q_ie_i − e_i'e_i tr(Q_iM_ii)/tr M_ii of the units that have such rows."""
        value, trace = np.einsum("is,ist,it->i", self.e, form, self.e), (form * self.M).sum(axis=(1, 2))
        square, left = self.squares
        some = form.any(axis=(1, 2)) & (left > NOTHING_LEFT)
        return value[some] - (square * trace)[some] / left[some]

    def by_shift(self) -> tuple[float, Array, Array]:
        """As that of complete panels."""
        return self._by_shift

    @cached_property
    def _by_shift(self) -> tuple[float, Array, Array]:
        """Σe_te_{t−1}/Σe² as seen, and what both have as mean where errors s periods apart alone go together, by s."""
        there, Q, follows = self.when >= 0, self.Q, self.follows
        apart = np.where(
            there[:, :, None] & there[:, None, :], np.abs(self.when[:, :, None] - self.when[:, None, :]), -1
        )
        ahead, total = np.empty(self.periods), np.empty(self.periods)
        for s in range(self.periods):
            D = (apart == s).astype(float)
            AD = self.A @ D
            cross = Q @ (np.swapaxes(Q, 1, 2) @ D @ self.A)
            inner = np.einsum("isc,ist,itd->cd", Q, D, Q, optimize=True)
            block = AD @ self.A - cross - np.swapaxes(cross, 1, 2) + Q @ inner @ np.swapaxes(Q, 1, 2)
            ahead[s], total[s] = (block * follows).sum(), np.trace(block, axis1=1, axis2=2).sum()
        seen = (self.e[:, :, None] * self.e[:, None, :] * follows).sum() / (self.e**2).sum()
        return float(seen), ahead, total

    def overlaps(self) -> Array:
        """Σ of squares of M_ij (n, n): what units' variances have to do with each other's residuals."""
        (n, T, c), out = self.Q.shape, np.empty((self.n, self.n))
        if c <= T:
            flat = (np.swapaxes(self.Q, 1, 2) @ self.Q).reshape(n, -1)
            out[:] = flat @ flat.T  # Q'Q of one unit with that of another
        rows, step = self.Q.reshape(n * T, c), TOGETHER
        for first in range(0, n if c > T else 0, step):
            some = (rows[first * T : (first + step) * T] @ rows.T) ** 2
            out[first : first + step] = some.reshape(-1, T, n, T).sum(axis=(1, 3))
        out[np.diag_indices(n)] = (self.M**2).sum(axis=(1, 2))
        return out

    @property
    def grid(self) -> Array:
        """(T, n) residuals at their places, zero where there is none."""
        return self._placed(self.e[..., None])[..., 0]

    def taken_out(self, u: Array) -> Array:
        """M of errors (T, n, B), zero where there is no row."""
        rows = np.swapaxes(u, 0, 1)[np.arange(self.n)[:, None], self.when] * (self.when >= 0)[..., None]
        onto = np.einsum("isc,isb->cb", self.Q, rows)
        return self._placed(self.A @ rows - self.Q @ onto)

    def within_units(self) -> RowErrors:
        """The same off the means of units too."""
        there = (self.when >= 0).astype(float)
        means = there / np.sqrt(there.sum(axis=1, keepdims=True))
        A = np.eye(self.T) * there[:, None, :] - means[:, :, None] * means[:, None, :]
        flat = (A @ self.Q).reshape(-1, self.Q.shape[2])
        Q = _orthonormal(flat)[0].reshape(*self.e.shape, -1)
        return RowErrors((A @ self.e[..., None])[..., 0], self.when, A, Q, self.periods, True, self.units)

    def _placed(self, rows: Array) -> Array:
        out = np.zeros((self.periods, self.n, rows.shape[2]))
        i, s = np.nonzero(self.when >= 0)
        out[self.when[i, s], i] = rows[i, s]
        return out

    def by_period(self) -> tuple[Array, float]:
        """(T,) mean square of each period over that of all, and the variance that chance gives it."""
        own, i = np.diagonal(self.M, axis1=1, axis2=2), np.nonzero(self.when >= 0)
        left = np.bincount(self.when[i], weights=own[i], minlength=self.periods)
        squares = (self.e**2 / ((self.e**2).sum() / own.sum()))[i]
        first, second = (
            np.bincount(self.when[i], weights=squares**p, minlength=self.periods) for p in (1, 2)
        )
        counts = np.bincount(self.when[i], minlength=self.periods)
        v, spread = first / np.maximum(left, NOTHING_LEFT), second / counts - (first / counts) ** 2
        return v, float((spread / counts).mean())


def row_errors(
    unit: NDArray[np.intp],
    period: NDArray[np.intp],
    e: Array,
    X: Array,
    own: tuple[NDArray[np.intp], Array],
    shared: Array,
    left: tuple[NDArray[np.intp], Array] | None = None,
) -> RowErrors:
    """Residuals e (N,) with the numbers of their units and periods; the others as in :func:`row_clusters`.

    ``left``: rows (n, S) of some units and what all effects leave of them (n, S, S), where effects are no unit's alone.
    """
    rows, A = _own_blocks(unit, own) if left is None else left
    kept = np.flatnonzero(np.trace(A, axis1=1, axis2=2) > NOTHING_LEFT)
    rows, A = rows[kept], A[kept]
    there = rows >= 0
    Q = np.where(there[..., None], np.hstack([shared, _orthonormal(X)[0]])[rows], 0.0)
    when = np.where(there, period[rows], -1)
    within = bool(own[0].shape[1])
    return RowErrors(np.where(there, e[rows], 0.0), when, A, Q, int(period.max()) + 1, within, kept)


def left_of_some(
    unit: NDArray[np.intp], most: int, D: sparse.csr_array, solve: Callable[[Array], Array]
) -> tuple[NDArray[np.intp], Array]:
    """Rows (n, S) of at most so many units, evenly spaced, and I − D(D'D)⁻¹D' of each, ``solve`` being v ↦ (D'D)⁻¹v."""
    numbers = np.unique(unit)
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(most, len(numbers))).astype(int)]
    at = np.flatnonzero(np.isin(unit, chosen))
    rows, A = _own_blocks(unit[at], (np.zeros((len(at), 0), dtype=np.intp), np.zeros((len(at), 0))))
    for first in range(0, len(rows), TOGETHER):
        some = slice(first, first + TOGETHER)
        own = D[at[rows[some].ravel()]]
        inside = own @ solve(np.asarray(own.T.toarray()))
        for i, block in enumerate(np.split(np.arange(len(inside)), len(rows[some]))):
            there = rows[some][i] >= 0
            A[first + i] -= inside[np.ix_(block, block)] * np.outer(there, there)
    return np.where(rows >= 0, at[rows], -1), A


def row_moran(u: Array, Q: sparse.csr_array, W: sparse.csr_array) -> tuple[float, float, float]:
    """Moran's I = (n/S₀) u'Wu/u'u of residuals with its mean and standard deviation, their variance being I − QQ'.

    As :func:`spatial_zb.core.likelihood.tests.residual_moran`, for rows of any shape: ``u`` (n,) those of all periods or of
    one, ``Q`` (n, r) these rows of an orthonormal basis of effects and regressors, sparse but for few columns, ``W`` (n, n).
    """
    n, half = len(u), sparse.csr_array((W + W.T) / 2)
    AQ = half @ Q
    inner, gram = Q.T @ AQ, Q.T @ Q
    trace, size = float(half.trace()), n - float(gram.trace())
    squared = n - 2 * float(gram.trace()) + float(gram.multiply(gram).sum())
    mean = (trace - float(inner.trace())) / size
    second = (
        float((half.data**2).sum()) - 2 * float(AQ.multiply(AQ).sum()) + float(inner.multiply(inner).sum())
    )
    cross = trace - 2 * float(inner.trace()) + float(inner.multiply(gram).sum())
    d = size**2 / squared
    variance = 2 * (second - 2 * mean * cross + mean**2 * squared) / size**2 * d / (d + 2)
    scale = n / W.sum()
    return scale * float(u @ (W @ u) / (u @ u)), scale * mean, float(scale * np.sqrt(variance))


def row_places(W: sparse.csr_array, unit: NDArray[np.intp], timed: bool) -> Array:
    """Columns (n, q), off their means, that the diagonal of MGM begins with: means by unit of (W²)_ii, and of ι'W.

    As :func:`spatial_zb.core.likelihood.errors.places`, ``W`` (N, N) that of all rows; the second with effects of periods
    (``timed``). Columns that are constant are left out.
    """
    counts = np.bincount(unit)
    rows = [np.asarray(W.multiply(W.T).sum(axis=1)).ravel()]
    rows += [np.asarray(W.sum(axis=0)).ravel()] if timed else []
    means = [np.bincount(unit, weights=row) / counts for row in rows]
    off = [mean - mean.mean() for mean in means]
    kept = [c for c, mean in zip(off, means, strict=True) if c @ c > CONSTANT * (mean @ mean)]
    return np.stack(kept, axis=1) if kept else np.empty((len(counts), 0))


class RowLag(Protocol):
    """G of all rows, block-diagonal by period: its diagonal (N,), Gv and G'v."""

    @property
    def diagonal(self) -> Array: ...
    def ahead(self, values: Array) -> Array: ...
    def back(self, values: Array) -> Array: ...


def row_feedback(G: RowLag, unit: NDArray[np.intp], U: sparse.csr_array, C: Array) -> Array:
    """What ties variances of units to ρ̂ (n,): Σ_t (MGM)_it over Σ_t M_it, M = I − UU' − CC'.

    ``U`` (N, r) has one unit in a column, ``C`` (N, c) is any other part of an orthonormal basis. UU' and G meet on the
    diagonal of G alone.
    """
    g, GC, GtC = G.diagonal, G.ahead(C), G.back(C)
    h = np.asarray(U.multiply(U).sum(axis=1)).ravel()
    twice = sparse.csr_array(U.T @ (sparse.diags_array(g) @ U))
    own = g * (1 - 2 * h) + np.asarray((U @ twice).multiply(U).sum(axis=1)).ravel()
    own += (C * (U @ (U.T @ (GC + GtC)) + C @ (C.T @ GC).T - GC - GtC)).sum(axis=1)
    return np.bincount(unit, weights=own) / np.bincount(unit, weights=1 - h - (C**2).sum(axis=1))
