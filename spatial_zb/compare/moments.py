"""Maximum likelihood of all models of a grid under one W and sample, from moments that they share.

What all models of one W, sample and kind of effects share: their variables once, and the filter at a few ρ.

The columns of [X, WX, y, Wy] (and of their lags, for error models) after the fixed-effects transform enter a likelihood
by their inner products only. One QR decomposition turns them into as many rows as there are columns, with the same
inner products and without the loss of digits of a Gram matrix: every model, subset of controls and left-hand side is
then estimated by the kernels of :mod:`spatial_zb.core` on these few rows.

The expected information also needs Z'GZ, Z'G'GZ and tr G'G, with G = W(I − ρW)⁻¹. They are analytic in ρ, so that a
dozen values of ρ, interpolated by Chebyshev polynomials in u = ln[(ρ − low)/(high − ρ)] as in
:mod:`spatial_zb.core.logdet.interpolated`, serve all models; how well is seen from the last coefficients.

The models of a grid at the maximum of their likelihood, from moments that they share.

A model in which something is unusual has no maximum here: a variable that cannot be used, near collinearity, a y that
is nearly explained, no interior maximum. It is left to a single fit, which has words for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from spatial_zb.core import Array
from spatial_zb.core.likelihood import Maximum, maximise
from spatial_zb.core.likelihood.impacts import multipliers
from spatial_zb.core.logdet import NoLag
from spatial_zb.core.logdet.traces import filter_solver, filter_traces
from spatial_zb.core.transforms import (
    ColumnBasis,
    FixedEffects,
    TransformedSample,
    column_basis,
    cross_products,
    demean,
    spatial_lag,
    transformed_sample,
)
from spatial_zb.data.panel import Panel
from spatial_zb.models.design import ABSORBED, CONDITION_WARNING, RANK_TOLERANCE
from spatial_zb.models.spec import Covariance, DurbinSpec, Estimator
from spatial_zb.weights.matrix import Weights

#: Chebyshev coefficients left out may be this large, relative to the largest value of their function.
TAIL = 1e-11
#: Half-width in u of the strip around the real line where the functions of ρ are analytic, for any W.
STRIP = math.pi / 2
#: The largest number of values of ρ before one at a time is no dearer.
MOST_NODES = 65


@dataclass(frozen=True, slots=True)
class LeftSide:
    """One dependent variable in the common basis.

    ``y, Wy`` (q,), ``WWy`` (q,) or None; ``full`` (T, n, 2): y and Wy before the change of basis; ``variation``: its sum of
    squares after the effects, or about its mean where there are none; ``usable`` is False when it has blanks or does not
    vary.
    """

    y: Array
    Wy: Array
    WWy: Array | None
    full: Array
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

    def lagged(self, y: str, where: Sequence[int] | NDArray[np.intp]) -> tuple[Array, Array]:
        """Spatial lags of the columns ``where`` and of Wy, of moments that were made for error models."""
        WWy = self.sides[y].WWy
        assert self.lags is not None, "made for error models"
        assert WWy is not None, "made for error models"
        return self.lags[:, where], WWy


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
    sides = _left_sides(y, Y, clean[1:3], parts, ~blank[1] & _varies(Y, clean[1]), effects)
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
    lags: Sequence[Array],
    parts: Sequence[Array],
    usable: NDArray[np.bool_],
    effects: FixedEffects,
) -> dict[str, LeftSide]:
    transformed, lagged = lags
    centred = transformed - raw.mean(axis=(0, 1)) if effects == "none" else transformed
    variation = (centred**2).sum(axis=(0, 1))
    return {
        name: LeftSide(
            parts[1][:, i],
            parts[2][:, i],
            parts[4][:, i] if len(parts) > 3 else None,
            np.stack([transformed[:, :, i], lagged[:, :, i]], axis=-1),
            float(variation[i]),
            bool(usable[i]),
        )
        for i, name in enumerate(names)
    }


@dataclass(frozen=True, slots=True)
class Filtered:
    """Products with G at one ρ.

    ``zgz, zggz`` (p, p): Z'GZ and Z'G'GZ of the transformed columns Z, with the transform after G; ``sums`` (4,): p, q
    and their derivatives of :class:`spatial_zb.core.likelihood.impacts.Multipliers`, zero when W is row-normalised.
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


#: Shares of y left by W and the regressors below which a cell is left to the checks of a single fit.
NEARLY_NOTHING = 1e-12
#: A single fit refuses or warns from a limit; a cell that comes this near to it is left to the single fit.
CAUTION = 0.5


@dataclass(frozen=True, slots=True)
class Option:
    """What distinguishes the cells of a block."""

    spec: DurbinSpec
    estimator: Estimator
    covariance: Covariance


@dataclass(frozen=True, slots=True)
class SharedModel:
    """A model at its maximum: which columns of the moments it has, their basis, and where the likelihood is highest."""

    option: Option
    where: NDArray[np.intp]
    basis: ColumnBasis
    sample: TransformedSample
    best: Maximum

    @property
    def coefficient(self) -> float:
        """ρ̂, or λ̂."""
        return self.best.rho + self.best.lam


@dataclass(frozen=True, slots=True)
class SharedCell:
    """A model at its maximum, and the covariance asked for."""

    covariance: Covariance
    point: SharedModel

    @property
    def expected(self) -> bool:
        """Whether tr G'G and products with G are needed for the information matrix."""
        return self.covariance == "information" and bool(self.point.option.spec.spatial_terms)


def shared_cells(mine: Mapping[int, Option], moments: Moments) -> dict[int, SharedCell]:
    """The maximum of every model, once for all its covariances."""
    points: dict[tuple[DurbinSpec, str], SharedModel | None] = {}
    for option in mine.values():
        key = option.spec, option.estimator
        if key not in points:
            points[key] = _maximum(option, moments)
    found = {i: points[option.spec, option.estimator] for i, option in mine.items()}
    return {i: SharedCell(mine[i].covariance, point) for i, point in found.items() if point is not None}


def _maximum(option: Option, moments: Moments) -> SharedModel | None:
    """The maximum of the likelihood; None where the model is left to a single fit."""
    spec = option.spec
    T, n = moments.full.shape[:2]
    sample = transformed_sample(n, T, spec.transform, "direct" if option.estimator == "direct" else "lee_yu")
    side = moments.sides.get(spec.y)
    if side is None or not side.usable or not moments.usable.issuperset(spec.terms):
        return None
    left = transformed_sample(n, T, spec.transform, "lee_yu").observations
    if left <= len(spec.terms) + len(spec.spatial_terms) + 1:
        return None
    where = np.array([moments.place[term] for term in spec.terms], dtype=int)
    Z = moments.columns[:, where]
    basis = column_basis(Z)
    if _doubtful(spec, basis, Z, side.y, side.Wy):
        return None
    lagged: tuple[Array, Array, Array] | None = None
    if spec.lag_error:
        WZ, WWy = moments.lagged(spec.y, where)
        lagged = WZ, side.Wy, WWy
    if lagged and _only_multiplies(side.y, side.Wy, Z, lagged[0]):
        return None
    products = cross_products(Z, side.y, side.Wy, lagged, basis)
    logdet = moments.weights.logdet if spec.spatial_terms else NoLag()
    best = maximise(products, logdet, sample, bool(spec.lag_y), bool(spec.lag_error))
    return None if best.at_bound else SharedModel(option, where, basis, sample, best)


def _doubtful(spec: DurbinSpec, basis: ColumnBasis, Z: Array, y: Array, Wy: Array) -> bool:
    """Whether regressors are nearly collinear, or y or Wy nearly explained."""
    if np.abs(basis.R.diagonal()).min() * CAUTION <= RANK_TOLERANCE:
        return True
    R = basis.R
    if spec.transform == "none":
        if Z.shape[1] == 1:
            return False
        one = Z[:, 0]
        deviations = Z[:, 1:] - np.outer(one, one @ Z[:, 1:]) / (one @ one)
        R = column_basis(deviations).R
    values = np.linalg.svd(R, compute_uv=False)
    if values[0] > CAUTION * CONDITION_WARNING * values[-1]:
        return True
    both = np.column_stack([y, Wy])
    off = both - basis.Q @ (basis.Q.T @ both)
    size, left = (both**2).sum(axis=0), (off**2).sum(axis=0)
    flat = spec.lag_y and (
        left[1] <= NEARLY_NOTHING * left[0] or (off[:, 0] @ off[:, 1]) ** 2 >= (1 - 1e-9) * left.prod()
    )
    return bool(left[0] <= NEARLY_NOTHING * size[0] or flat)


def _only_multiplies(y: Array, Wy: Array, Z: Array, WZ: Array) -> bool:
    """Whether W nearly multiplies y and every regressor by one number."""
    before, after = np.column_stack([y, Z]), np.column_stack([Wy, WZ])
    off = after - (y @ Wy) / (y @ y) * before
    return bool(np.all((off**2).sum(axis=0) <= NEARLY_NOTHING * (before**2).sum(axis=0)))
