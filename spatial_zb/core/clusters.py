"""Few clusters or periods: what a fit took out of the residuals of each, and what a variance of so few is worth.

Residuals e = M_X ε are shorter than errors, the more so where a unit has leverage: E e_i e_i' = σ² M_X,ii for equal
variances, with M_X = J ⊗ A − VV', A = I − ιι'/T under unit effects (else I), J = I − ιι'/n under effects of periods
(else I), and V an orthonormal basis of the regressors after that transform. CR2 puts M_X,ii^{−1/2} e_i in place of e_i,
over the eigenvalues of M_X,ii that are not zero: the variance of every c'θ̂ is then unbiased for equal variances.

Few clusters make that variance itself uncertain. It is a quadratic form in ε: with p_i = M_X E_i M_X,ii^{−1/2} X_i (X'X)⁻¹c,
E_i the columns of unit i, it is Σ (p_i'ε)², and Satterthwaite's degrees of freedom are tr(Γ)²/tr(Γ²), Γ_ij = p_i'p_j. The
blocks are p_i'p_j = J_ij a_i'a_j − (V_i'a_i)'(V_j'a_j) with a_i = M_X,ii^{−1/2} X_i (X'X)⁻¹c, so that no matrix of n·T rows
and columns is formed.

Few periods: the Driscoll-Kraay variance sums scores by period and weighs pairs of periods by a Bartlett kernel. Where it
is not negligible beside T, the statistic is not normal (fixed-b asymptotics). :class:`BartlettLaw` is the law of
t = √T h̄/√(h'QKQh/T) for T normal independent sums h, with Q the projection off their mean and K the weights: exact at
any T, t(T − 1) without lags, and as T grows that of Kiefer & Vogelsang at b = (lags + 1)/T. With λ the eigenvalues of
QKQ/T, P(|t| > s) = (2/π) ∫ Π_j (1 + s²λ_j/sin²θ)^{−1/2} dθ over (0, π/2): the mean of Craig's form of the normal tail.

Kiefer & Vogelsang (2005), Econometric Theory 21: 1130-1164; Vogelsang (2012), J. Econometrics 166: 303-319; Craig (1991),
IEEE MILCOM: 571-575.

Bell & McCaffrey (2002), Survey Methodology 28: 169-181; with effects that are absorbed, Pustejovsky & Tipton (2018), J.
Business & Economic Statistics 36: 672-683.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from scipy import sparse, special

from spatial_zb.core import Array
from spatial_zb.core.transforms import FixedEffects

#: Eigenvalues of M_X,ii up to this are zero: the unit determines a coefficient or an effect alone.
NOTHING_LEFT = 1e-8
#: Share of the variance of c'θ̂ that its clusters must be able to show, where leverage leaves some of them nothing.
LEAST_SEEN = 0.5
#: Numbers of gradients by rows that are worked on together.
AT_ONCE = 2**18
#: A column whose part off the others has at most this share of its length is their combination.
COLLINEAR = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """M_X of a sample by unit: made by :func:`clusters_of`, never by hand.

    ``basis`` (n, R, r) holds V by unit, R = T rows (m·T of a system) and r columns, ``back`` (r, q) takes a gradient c to
    V-coordinates of X(X'X)⁻¹c; ``axes`` (n, R, s) and ``lengths`` (n, s) are the directions of a unit in which M_X,ii is
    not J_ii, and what M_X,ii^{−1/2} √J_ii is there less one; ``kept`` = J_ii; ``timed``: effects of periods; ``free`` =
    tr A, the rows of a unit less those that its effects took.
    """

    basis: Array
    back: Array
    axes: Array
    lengths: Array
    kept: float
    timed: bool
    free: int

    @property
    def number(self) -> int:
        """Of clusters."""
        return len(self.basis)

    def adjusted(self, e: Array) -> Array:
        """e*_i = M_X,ii^{−1/2} e_i of residuals (…, T, n), which are after the transform; of the same shape."""
        return _periods_first(self._stretched(_units_first(e[..., None])), e.shape[:-1])[..., 0]

    def left(self) -> Array:
        """tr(M_X,ii) by unit (n,): E e_i'e_i/σ² for equal variances."""
        return self.kept * self.free - (self.basis**2).sum(axis=(1, 2))

    def degrees(self, gradients: Array) -> Array:
        """Degrees of freedom of c'θ̂ for gradients c (…, q) in the coefficients of the regressors X.

        Equal variances without correlation are the working assumption. Where nothing of c is in the regressors, as for a
        parameter that has no linear part in its score, n − 1. NaN where single units determine it nearly alone, so that
        residuals do not show how uncertain it is: its standard error is not to be claimed.
        """
        flat = gradients.reshape(int(np.prod(gradients.shape[:-1])), gradients.shape[-1])
        v = flat @ self.back.T
        size = np.sqrt((v**2).sum(axis=1))
        found = np.where(size == 0.0, self.number - 1.0, np.nan)
        some = np.flatnonzero(np.isfinite(size) & (size > 0.0))
        at_once = max(1, AT_ONCE // max(1, self.basis.shape[0] * self.basis.shape[1]))
        for part in (some[k : k + at_once] for k in range(0, len(some), at_once)):
            found[part] = self._degrees_of(v[part] / size[part, None])
        return found.reshape(gradients.shape[:-1])

    def _degrees_of(self, v: Array) -> Array:
        """Of directions (g, r) of length one, (g,)."""
        a = self._stretched(self.basis @ v.T)
        h = np.swapaxes(self.basis, 1, 2) @ a
        own = (a**2).sum(axis=1)
        taken = (
            np.concatenate([a / np.sqrt(self.number), h], axis=1) if self.timed else h
        )  # Γ = diag(own) − taken taken'
        by_gradient = np.ascontiguousarray(np.moveaxis(taken, 2, 0))
        gram = np.swapaxes(by_gradient, 1, 2) @ by_gradient
        trace = own.sum(axis=0) - np.trace(gram, axis1=1, axis2=2)  # one, less what no unit can show
        square = (
            (own**2).sum(axis=0) - 2 * (own * (taken**2).sum(axis=1)).sum(axis=0) + (gram**2).sum(axis=(1, 2))
        )
        seen = trace > LEAST_SEEN
        return np.where(seen, trace**2 / np.where(seen, square, 1.0), np.nan)

    def _stretched(self, values: Array) -> Array:
        """M_X,ii^{−1/2} of values (n, R, c)."""
        along = self.lengths[..., None] * (np.swapaxes(self.axes, 1, 2) @ values)
        return (values + self.axes @ along) / np.sqrt(self.kept)


def clusters_of(X: Array, effects: FixedEffects) -> Clusters:
    """The clusters of regressors X (T, n, q) after the transform, [Z̃, η̃] with η̃ the derivative of the mean in ρ.

    Parameters
    ----------
    X
        (T, n, q), or (m, T, n, q) of m equations whose errors are correlated within a unit: whitened then, so that equal
        variances without correlation are a fair working assumption. Columns may be collinear or zero.
    effects
        Which the transform has taken out; X must be free of them.

    Examples
    --------
    Three units of two periods, the mean as the only regressor: as many degrees of freedom as a t-test has.

    >>> found = clusters_of(np.ones((2, 3, 1)), "none")
    >>> found.degrees(np.ones(1)).round(6)
    np.float64(2.0)
    >>> found.adjusted(np.ones((2, 3))).round(4)[0]
    array([1.2247, 1.2247, 1.2247])
    """
    stacked = _units_first(X)
    n, rows, q = stacked.shape
    scale = np.sqrt((stacked**2).sum(axis=(0, 1)))
    unit = np.where(scale > 0, scale, 1.0)
    left, sizes, right = np.linalg.svd((stacked / unit).reshape(n * rows, q), full_matrices=False)
    kept = sizes > COLLINEAR * sizes.max(initial=0.0)
    V = left[:, kept].reshape(n, rows, int(kept.sum()))
    back = right[kept] / sizes[kept, None] / unit
    timed = effects in ("time", "two_way")
    own = 1 - 1 / n if timed else 1.0
    axes, lengths, _ = np.linalg.svd(V, full_matrices=False)
    remains = 1 - lengths**2 / own
    stretch = np.where(remains * own > NOTHING_LEFT, 1 / np.sqrt(np.maximum(remains, NOTHING_LEFT)), 0.0)
    equations = int(np.prod(X.shape[:-3]))
    free = rows - equations * (effects in ("unit", "two_way"))
    return Clusters(V, back, axes, stretch - 1, own, timed, free)


def _units_first(values: Array) -> Array:
    """(…, T, n, c) as (n, rows, c), periods within equations."""
    moved = np.moveaxis(values, -2, 0)
    return moved.reshape(len(moved), int(np.prod(moved.shape[1:-1])), values.shape[-1])


def _periods_first(values: Array, before: tuple[int, ...]) -> Array:
    """Back from (n, rows, c) to (…, T, n, c)."""
    return np.moveaxis(values.reshape(len(values), *before, values.shape[-1]), 0, -2)


# --- few periods

#: Nodes of the integral of the law: what is left is below 1e-10 for |t| up to :data:`FURTHEST`.
NODES = 200
#: Up to so many units the law of a kernel between them is from its eigenvalues.
EXACT_KERNEL = 1500
#: Statistics beyond have a p-value of less than rounding, or next to no periods.
FURTHEST = 1e4


@dataclass(frozen=True, slots=True)
class BartlettLaw:
    """Law of a t statistic whose variance weighs pairs of few periods; ``shares`` are the eigenvalues of QKQ/T.

    Without lags t(9), but for the factor T/(T − 1):

    >>> round(bartlett_law(10, 0).quantile(0.025) / (10 / 9) ** 0.5, 4)
    2.2622
    """

    shares: tuple[float, ...]

    def tail(self, statistic: Array) -> Array:
        """P(t > s) of statistics s ≥ 0, any shape; NaN of NaN."""
        flat = np.ravel(statistic)
        nodes, weights = special.roots_legendre(NODES)
        square = np.sin((nodes + 1) * np.pi / 4) ** 2
        ratio = (flat[:, None, None] ** 2) * np.asarray(self.shares)[:, None] / square
        return np.reshape(np.exp(-0.5 * np.log1p(ratio).sum(axis=1)) @ weights / 4, np.shape(statistic))

    def radii(self, draws: int, generator: np.random.Generator) -> Array:
        """What a standard normal value is multiplied by to have this law (draws,)."""
        return 1 / np.sqrt(generator.chisquare(1, (draws, len(self.shares))) @ np.asarray(self.shares))

    def quantile(self, share: float) -> float:
        """s with P(t > s) = ``share``."""
        return float(scipy.optimize.brentq(lambda s: float(self.tail(np.array(s))) - share, 0.0, FURTHEST))


@lru_cache(maxsize=64)
def bartlett_law(periods: int, lags: int) -> BartlettLaw:
    """The law for T ``periods`` and weights 1 − |t − s|/(lags + 1)."""
    apart = np.abs(np.subtract.outer(np.arange(periods), np.arange(periods)))
    kernel = np.clip(1 - apart / (lags + 1), 0, None)
    centred = kernel - kernel.mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    values = np.linalg.eigvalsh((centred + centred.T) / 2)[1:]  # the first is that of the mean, zero
    return BartlettLaw(tuple(float(v) for v in np.maximum(values, 0.0) / periods))


def kernel_law(kernel: sparse.csr_array) -> BartlettLaw:
    """The law of t = √n h̄/√(h'QKQh/n) for n independent sums h of units and a kernel K (n, n) between them.

    Exact to :data:`EXACT_KERNEL` units; above, as many equal eigenvalues as have the same sum and sum of squares. Those
    below zero, which a triangular kernel in the plane may have, count as zero.

    Without links it is t(n − 1), but for the factor n/(n − 1):

    >>> round(kernel_law(sparse.eye_array(10, format="csr")).quantile(0.025) / (10 / 9) ** 0.5, 4)
    2.2622
    """
    n = kernel.shape[0]
    if n <= EXACT_KERNEL:
        centred = kernel.toarray()
        centred = centred - centred.mean(axis=0)
        centred = centred - centred.mean(axis=1, keepdims=True)
        values = np.linalg.eigvalsh((centred + centred.T) / 2)[1:]
        return BartlettLaw(tuple(float(v) for v in np.maximum(values, 0.0) / n))
    rows = np.asarray(kernel.sum(axis=1)).ravel()
    trace = float(kernel.diagonal().sum() - rows.sum() / n)
    square = float((kernel.data**2).sum() - 2 * (rows @ rows) / n + (rows.sum() / n) ** 2)
    number = max(1, min(EXACT_KERNEL, round(trace**2 / square)))
    return BartlettLaw((trace / number / n,) * number)
