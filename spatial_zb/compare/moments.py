r"""What all models of one W, sample and kind of effects share: their variables once, and the filter at a few ρ.

The columns of [X, WX, y, Wy] (and of their lags, for error models) after the fixed-effects transform enter a likelihood
by their inner products only. One QR decomposition turns them into as many rows as there are columns, with the same
inner products and without the loss of digits of a Gram matrix: every model, subset of controls and left-hand side is
then estimated by the kernels of :mod:`spatial_zb.core` on these few rows.

The expected information also needs Z'GZ, Z'G'GZ and tr G'G, with G = W(I − ρW)⁻¹. They are analytic in ρ, so that a
dozen values of ρ, interpolated by Chebyshev polynomials in u = ln[(ρ − low)/(high − ρ)] as in
:mod:`spatial_zb.core.sparse_logdet`, serve all models; how well is seen from the last coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from spatial_zb.core.impacts import multipliers
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.traces import filter_solver, filter_traces
from spatial_zb.core.within import FixedEffects, demean
from spatial_zb.data.panel import Panel
from spatial_zb.models.design import ABSORBED
from spatial_zb.weights.matrix import Weights

__all__ = [
    "Filtered",
    "LeftSide",
    "Moments",
    "filtered_mean_products",
    "filtered_products",
    "interpolated",
    "shared_moments",
    "trace_products",
]

Array = NDArray[np.float64]

#: Chebyshev coefficients left out may be this large, relative to the largest value of their function.
TAIL = 1e-11
#: Half-width in u of the strip around the real line where the functions of ρ are analytic, for any W.
STRIP = math.pi / 2
#: The largest number of values of ρ before one at a time is no dearer.
MOST_NODES = 65


@dataclass(frozen=True, slots=True)
class LeftSide:
    """One dependent variable in the common basis.

    ``y, Wy`` (q,), ``WWy`` (q,) or None; ``variation``: its sum of squares after the effects, or about its mean where
    there are none; ``usable`` is False when it has blanks or does not vary.
    """

    y: Array
    Wy: Array
    WWy: Array | None
    variation: float
    usable: bool


@dataclass(frozen=True, slots=True)
class Moments:
    """All variables of one W, sample and kind of effects, in an orthonormal basis of their span.

    ``columns`` (q, p) of the terms at ``place``, ``lags`` (q, p) their spatial lags or None, ``usable`` the terms that
    have no blank and are neither constant nor absorbed. ``full`` (T, n, p): the columns before the change of basis.
    """

    effects: FixedEffects
    weights: Weights
    place: Mapping[str, int]
    columns: Array
    lags: Array | None
    sides: Mapping[str, LeftSide]
    usable: frozenset[str]
    full: Array


def shared_moments(
    panel: Panel,
    weights: Weights,
    effects: FixedEffects,
    y: Sequence[str],
    x: Sequence[str],
    lagged: Sequence[str],
    errors: bool,
) -> Moments:
    """Transform all variables once and bring them into a common basis.

    Parameters
    ----------
    y, x
        Dependent variables and regressors of any of the models.
    lagged
        Those of x whose spatial lag enters somewhere.
    errors
        Whether some model has a spatial error, which takes one more lag of everything.
    """
    W = weights.matrix
    Y, X = (_known(panel.array(list(names))) for names in (y, x))
    places = [list(x).index(name) for name in lagged]
    raw = np.concatenate([X, spatial_lag(W, X[:, :, places])], axis=2)
    terms = [*x, *(f"W_{name}" for name in lagged)]
    if effects == "none":
        raw, terms = np.concatenate([np.ones((*raw.shape[:2], 1)), raw], axis=2), ["(Intercept)", *terms]
    WY = spatial_lag(W, Y)
    blocks = [raw, Y, WY]
    if errors:
        blocks += [spatial_lag(W, raw), spatial_lag(W, WY)]
    blank = [np.isnan(block).any(axis=(0, 1)) for block in blocks[:2]]
    clean = [np.nan_to_num(demean(block, effects)) for block in blocks]
    R = np.linalg.qr(np.concatenate([c.reshape(-1, c.shape[2]) for c in clean], axis=1), mode="r")
    parts = np.split(R, np.cumsum([block.shape[2] for block in blocks])[:-1], axis=1)
    good = ~blank[0] & _varies(raw, clean[0])
    if effects == "none":
        good[0] = True
    sides = _left_sides(y, Y, clean[1], parts, ~blank[1] & _varies(Y, clean[1]), effects)
    usable = frozenset(term for term, fine in zip(terms, good, strict=True) if fine)
    place = {term: i for i, term in enumerate(terms)}
    return Moments(effects, weights, place, parts[0], parts[3] if errors else None, sides, usable, clean[0])


def _known(values: Array) -> Array:
    """The values, with blanks for infinite ones, which would spoil the basis of all columns."""
    return np.where(np.isfinite(values), values, np.nan)


def _varies(raw: Array, transformed: Array) -> NDArray[np.bool_]:
    """Whether columns (T, n, k) are neither constant nor absorbed by the effects."""
    size = np.abs(raw).max(axis=(0, 1))
    spread = raw.max(axis=(0, 1)) - raw.min(axis=(0, 1))
    return (spread > ABSORBED * size) & (np.abs(transformed).max(axis=(0, 1)) > ABSORBED * size)


def _left_sides(
    names: Sequence[str],
    raw: Array,
    transformed: Array,
    parts: Sequence[Array],
    usable: NDArray[np.bool_],
    effects: FixedEffects,
) -> dict[str, LeftSide]:
    centred = transformed - raw.mean(axis=(0, 1)) if effects == "none" else transformed
    variation = (centred**2).sum(axis=(0, 1))
    return {
        name: LeftSide(
            parts[1][:, i],
            parts[2][:, i],
            parts[4][:, i] if len(parts) > 3 else None,
            float(variation[i]),
            bool(usable[i]),
        )
        for i, name in enumerate(names)
    }


@dataclass(frozen=True, slots=True)
class Filtered:
    """Products with G at one ρ.

    ``zgz, zggz`` (p, p): Z'GZ and Z'G'GZ of the transformed columns Z, with the transform after G; ``sums`` (4,): p, q
    and their derivatives of :class:`spatial_zb.core.impacts.Multipliers`, zero when W is row-normalised.
    """

    zgz: Array
    zggz: Array
    sums: Array

    def packed(self) -> Array:
        """All numbers in one vector."""
        return np.concatenate([self.zgz.ravel(), self.zggz.ravel(), self.sums])

    @classmethod
    def unpacked(cls, values: Array, p: int) -> Filtered:
        """Undo :meth:`packed`."""
        square = p * p
        shaped = values[:square].reshape(p, p), values[square : 2 * square].reshape(p, p)
        return cls(*shaped, values[2 * square :])


def filtered_products(moments: Moments, rho: float) -> Filtered:
    """Apply G to all columns, with one factorisation."""
    W = moments.weights.matrix
    T, n, p = moments.full.shape
    solve = filter_solver(W, rho)
    units_first = np.moveaxis(moments.full, 1, 0).reshape(n, T * p)
    moved = np.moveaxis((W @ solve(units_first)).reshape(n, T, p), 0, 1)
    moved = demean(moved, moments.effects).reshape(T * n, p)
    sums = np.zeros(4)
    if not moments.weights.row_normalised:
        m = multipliers(rho, W, moments.weights.logdet, False)
        sums = np.array([m.p, m.q, m.dp, m.dq])
    return Filtered(moments.full.reshape(T * n, p).T @ moved, moved.T @ moved, sums)


def trace_products(weights: Weights, centred: bool, points: Array) -> Callable[[float], float]:
    """Give tr G'G as a function of ρ or λ, for all ``points`` where it is needed."""

    def exactly(c: float) -> Array:
        return np.array([filter_traces(weights.matrix, weights.logdet, c, c, centred).gtg])

    answer = interpolated(exactly, points, weights.logdet.interval) or exactly
    return lambda c: float(answer(c)[0])


def filtered_mean_products(
    moments: Moments, rho: float, where: NDArray[np.intp], delta: Array
) -> tuple[Array, float]:
    """Z'GZδ (k,) and δ'Z'G'GZδ of one model with the columns ``where``, without the products of all others."""
    T, n, _ = moments.full.shape
    Z = moments.full[:, :, where]
    moved = spatial_lag(moments.weights.matrix, filter_solver(moments.weights.matrix, rho)((Z @ delta).T).T)
    moved = demean(moved, moments.effects).ravel()
    return Z.reshape(T * n, -1).T @ moved, float(moved @ moved)


def interpolated(
    function: Callable[[float], Array], points: Array, interval: tuple[float, float]
) -> Callable[[float], Array] | None:
    """Give a function of ρ that agrees with ``function`` (values (m,)) between the ends of ``points``.

    From Chebyshev nodes in u, twice as many as long as the last coefficients are not small. None where there are no
    more points than nodes, or where no number of nodes is enough: the function itself is then no dearer.
    """
    low, high = interval
    u = np.log((points - low) / (high - points))
    centre, reach = (u.max() + u.min()) / 2, max((u.max() - u.min()) / 2, 1e-3)
    count = math.ceil(-math.log(TAIL) / math.asinh(STRIP / reach)) + 2
    while count <= MOST_NODES and count < len(np.unique(points)):
        nodes = chebyshev.chebpts1(count)
        rho = low + (high - low) / (1 + np.exp(-(centre + reach * nodes)))
        values = np.array([function(float(r)) for r in rho])
        series = chebyshev.chebvander(nodes, count - 1).T @ values * (2 / count)
        series[0] /= 2
        if np.all(np.abs(series[-2:]) <= TAIL * np.abs(values).max(axis=0) + np.finfo(float).tiny):
            return lambda r: chebyshev.chebval((math.log((r - low) / (high - r)) - centre) / reach, series)
        count = 2 * count
    return None
