"""Finite-sample laws: many samples of one model, their shared arrays, and the maxima of all their profile likelihoods.

For models with one spatial lag, of y or of the error, or none. R samples y* share Z, so that their profile
likelihoods in ρ (or λ) differ by a few numbers each:

    SSR(ρ) = s₀₀ − 2ρ s₀₁ + ρ² s₁₁,                      e_y, e_Wy off Z
    SSR(λ) = c(λ) − b(λ)'A(λ)⁻¹b(λ),  A(λ) = Q'B'BQ,      c, b, A quadratic in λ

Beside it: how samples are drawn (``bootstrap``), tested (``replicates``), and what a score says whose law they give
(``score``, ``nuisance``). Labels, words and p-values of named tests live in ``inference`` and ``hypotheses``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, sparse

from spatial_zb.core import Array
from spatial_zb.core.likelihood import SCAN_POINTS, follow_roots, inner_interval
from spatial_zb.core.logdet import EigenLogDet, LogDet, symmetriser
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.transforms import (
    ColumnBasis,
    FixedEffects,
    TransformedSample,
    demean,
    holds_its_lags,
    spatial_lag,
)

#: W of more units than this is inverted sample by sample, which is slower than estimating one at a time.
SPECTRAL_UNITS = 500
#: Up to this many units lags of many samples are products with the dense W.
DENSE_LAG = 150


@dataclass(frozen=True, slots=True)
class SampleModel:
    """What samples share: W, the regressors and the transform.

    ``Z`` and ``WZ`` (T, n, k) transformed, ``WZ`` None without a spatial error; ``basis`` of the stacked Z.
    """

    matrix: sparse.csr_array
    logdet: LogDet
    sample: TransformedSample
    effects: FixedEffects
    Z: Array
    WZ: Array | None
    basis: ColumnBasis
    lag_y: bool
    lag_error: bool

    @property
    def lagged(self) -> Array:
        """WZ, of a model with a spatial error."""
        assert self.WZ is not None, "a model with a spatial error has the lags of its regressors"
        return self.WZ


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples ``Y`` (R, T, n) and their lags, each made once: ``y``, ``Wy``, ``WWy`` after the transform."""

    matrix: sparse.csr_array
    effects: FixedEffects
    Y: Array

    @cached_property
    def _lag(self) -> Array:
        return lag_all(self.matrix, self.Y)

    @cached_property
    def y(self) -> Array:
        return _transformed(self.Y, self.effects)

    @cached_property
    def Wy(self) -> Array:
        return _transformed(self._lag, self.effects)

    @cached_property
    def WWy(self) -> Array:
        return _transformed(lag_all(self.matrix, self._lag), self.effects)


def fast(matrix: sparse.csr_array, logdet: LogDet, lag_y: bool, lag_error: bool) -> bool:
    """Whether all samples of a model are solved together: one spatial lag at most, and few enough units."""
    return not (lag_y or lag_error) or (spectral(matrix, logdet) and not (lag_y and lag_error))


def spectral(matrix: sparse.csr_array, logdet: LogDet) -> bool:
    """Whether inverses are those of an eigenbasis, for all samples at once."""
    return isinstance(logdet, EigenLogDet) and matrix.shape[0] <= SPECTRAL_UNITS


def symmetric_in_both(model: SampleModel) -> bool:
    """Whether the likelihood of both lags is the same when they are exchanged, so that maxima come in pairs."""
    if not (model.lag_y and model.lag_error):
        return False
    Q, WQ = model.basis.Q, lagged_basis(model)
    return holds_its_lags(Q.T @ WQ, WQ.T @ WQ)


def lag_all(matrix: sparse.csr_array, Y: Array) -> Array:
    """WY of (R, T, n)."""
    if matrix.shape[0] <= DENSE_LAG:
        return Y @ matrix.toarray().T
    R, T, n = Y.shape
    return spatial_lag(matrix, Y.reshape(R * T, n)).reshape(R, T, n)


def solve_all(matrix: sparse.csr_array, coefficient: float, Y: Array) -> Array:
    """(I − cW)⁻¹Y of (R, T, n)."""
    if not coefficient:
        return Y
    return filter_solver(matrix, coefficient)(Y.reshape(-1, Y.shape[2]).T).T.reshape(Y.shape)


def transform_all(model: SampleModel, Y: Array) -> Array:
    """Fixed effects out of (R, T, n)."""
    return _transformed(Y, model.effects)


def _transformed(Y: Array, effects: FixedEffects) -> Array:
    return np.moveaxis(demean(np.moveaxis(Y, 0, 2), effects), 2, 0)


@dataclass(frozen=True, slots=True)
class Moments:
    """The numbers of R samples that their profile likelihoods are made of.

    ``onto_y``, ``onto_Wy`` (R, k) are Q'y and Q'Wy; ``squares`` (R, 3) are (s₀₀, s₀₁, s₁₁), or the coefficients of
    c(λ) by power; ``linear`` (R, 2, k) those of b(λ) in λ and λ², zero without a spatial error.
    """

    onto_y: Array
    onto_Wy: Array
    squares: Array
    linear: Array

    def __getitem__(self, chosen: NDArray | slice) -> Moments:
        return Moments(*(getattr(self, f.name)[chosen] for f in fields(self)))


def moments(model: SampleModel, Y: Array | Samples) -> Moments:
    """Reduce samples Y (R, T, n) to their :class:`Moments`."""
    samples = Y if isinstance(Y, Samples) else Samples(model.matrix, model.effects, Y)
    y, Wyt = (v.reshape(len(v), -1) for v in (samples.y, samples.Wy))
    Q = model.basis.Q
    onto_y, onto_Wy = y @ Q, Wyt @ Q
    e = y - onto_y @ Q.T
    if not model.lag_error:
        lagged = Wyt - onto_Wy @ Q.T
        return Moments(onto_y, onto_Wy, _products(e, lagged), np.zeros((len(y), 2, Q.shape[1])))
    WQ = lagged_basis(model)
    lagged = Wyt - onto_y @ WQ.T
    squares = _products(e, lagged) * [1.0, -2.0, 1.0]
    linear = np.stack([-(lagged @ Q + e @ WQ), lagged @ WQ], axis=1)
    return Moments(onto_y, onto_Wy, squares, linear)


def _products(a: Array, b: Array) -> Array:
    return np.stack([np.einsum("ri,ri->r", *pair) for pair in ((a, a), (a, b), (b, b))], axis=1)


def lagged_basis(model: SampleModel) -> Array:
    """W Q, as combinations of WZ."""
    k = model.Z.shape[2]
    return (model.lagged.reshape(-1, k) / model.basis.scale) @ inverse_of(model.basis)


def to_columns(basis: ColumnBasis) -> Array:
    """(k, k): coefficients on Q, a row, times this are those on the columns of Z."""
    return inverse_of(basis).T / basis.scale


def inverse_of(basis: ColumnBasis) -> Array:
    k = len(basis.scale)
    return linalg.solve_triangular(basis.R, np.eye(k)) if k else np.zeros((0, 0))


def solve_moments(model: SampleModel, found: Moments) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Maximise every profile likelihood: δ̂ (R, k), ρ̂ or λ̂ (R,), σ̂² (R,), and whether it is at an end."""
    back = to_columns(model.basis)
    if not (model.lag_y or model.lag_error):
        zero = np.zeros(len(found.onto_y))
        return found.onto_y @ back, zero, found.squares[:, 0] / model.sample.observations, zero.astype(bool)
    curves = Likelihoods(model, found)
    coefficient, at_bound = curves.best()
    ssr, _ = curves.profile.ssr(coefficient, curves.every)
    delta = curves.profile.coefficients(coefficient) @ back
    return delta, coefficient, ssr / model.sample.observations, at_bound


class _LagProfile:
    """ln L of many samples in ρ."""

    def __init__(self, model: SampleModel, found: Moments) -> None:
        self.model, self.found = model, found

    def ssr(self, at: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """SSR and its derivative at one ρ of each chosen sample, or at (K, S) of them."""
        s = self.found.squares[which]
        s00, s01, s11 = (s[:, j].reshape(-1, *[1] * (at.ndim - 1)) for j in range(3))
        return s00 - 2 * at * s01 + at**2 * s11, 2 * (at * s11 - s01)

    def on_grid(self, grid: Array) -> tuple[Array, Array]:
        """The same of all samples on one grid, (R, S)."""
        every = np.arange(len(self.found.squares))
        return self.ssr(np.broadcast_to(grid, (len(every), len(grid))), every)

    def coefficients(self, at: Array) -> Array:
        """δ on the orthonormal basis, (R, k)."""
        return self.found.onto_y - at[:, None] * self.found.onto_Wy


class _ErrorProfile:
    """ln L of many samples in λ."""

    def __init__(self, model: SampleModel, found: Moments) -> None:
        self.model, self.found = model, found
        Q, WQ = model.basis.Q, lagged_basis(model)
        self.first, self.second = -(Q.T @ WQ + WQ.T @ Q), WQ.T @ WQ

    def ssr(self, at: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """As in :class:`_LagProfile`; the derivative by the envelope theorem."""
        if at.ndim == 2:
            parts = [self.ssr(column, which) for column in at.T]
            return np.stack([p[0] for p in parts], axis=1), np.stack([p[1] for p in parts], axis=1)
        c, b = self.found.squares[which], self.found.linear[which]
        right, delta = self._solve(at, b)
        slope = b[:, 0] + 2 * at[:, None] * b[:, 1]
        curved = delta @ self.first * delta + 2 * at[:, None] * (delta @ self.second * delta)
        value = c[:, 0] + at * c[:, 1] + at**2 * c[:, 2] - (right * delta).sum(axis=1)
        return value, c[:, 1] + 2 * at * c[:, 2] - 2 * (slope * delta).sum(axis=1) + curved.sum(axis=1)

    def on_grid(self, grid: Array) -> tuple[Array, Array]:
        """The same of all samples on one grid, (R, S): A(λ) serves them all, and δ = λA⁻¹b₀ + λ²A⁻¹b₁."""
        c, (b0, b1) = self.found.squares, np.moveaxis(self.found.linear, 1, 0)
        w = grid[:, None, None]
        inverse = np.linalg.inv(self._gram(grid))
        right = w * b0 + w**2 * b1  # (S, R, k)
        delta = right @ inverse
        curved = delta @ (self.first + 2 * w * self.second) - 2 * (b0 + 2 * w * b1)
        value = c[:, :1] + grid * c[:, 1:2] + grid**2 * c[:, 2:] - (right * delta).sum(axis=2).T
        return value, c[:, 1:2] + 2 * grid * c[:, 2:] + (curved * delta).sum(axis=2).T

    def _gram(self, at: ArrayLike) -> Array:
        """A(λ) = Q'B'BQ (…, k, k)."""
        w = np.asarray(at)[..., None, None]
        return np.eye(len(self.first)) + w * self.first + w**2 * self.second

    def _solve(self, at: Array, b: Array) -> tuple[Array, Array]:
        right = at[:, None] * b[:, 0] + at[:, None] ** 2 * b[:, 1]
        if not right.shape[1]:
            return right, right
        return right, np.asarray(np.linalg.solve(self._gram(at), right[:, :, None]), float)[:, :, 0]

    def coefficients(self, at: Array) -> Array:
        return self.found.onto_y + self._solve(at, self.found.linear)[1]


class ManyProfiles(Protocol):
    """Sums of squares of many samples as functions of their spatial coefficient."""

    def ssr(self, at: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """SSR and its derivative at one coefficient of each chosen sample, or at (K, S) of them."""
        ...

    def on_grid(self, grid: Array) -> tuple[Array, Array]:
        """The same of all samples on one grid, (R, S)."""
        ...


class Curves:
    """ln L of many samples as functions of their spatial coefficient, on the inside of its interval."""

    def __init__(self, model: SampleModel, profile: ManyProfiles, count: int) -> None:
        self.model, self._profile = model, profile
        self.low, self.high = inner_interval(model.logdet.interval)
        self.every = np.arange(count)

    def score(self, at: Array, which: NDArray[np.intp]) -> Array:
        """Slopes at one coefficient of each chosen sample (K,), or at several (K, S)."""
        sample = self.model.sample
        return sample.concentrated_score(
            self.model.logdet.first(at, sample.centred), *self._profile.ssr(at, which)
        )

    def height(self, at: Array, which: NDArray[np.intp]) -> Array:
        """Values, up to a constant of each sample."""
        sample = self.model.sample
        ssr = self._profile.ssr(at, which)[0]
        return sample.concentrated(self.model.logdet.value(at, sample.centred), ssr)

    def best(self) -> tuple[Array, NDArray[np.bool_]]:
        """Where each is highest: at a fall of its score through zero, or at an end (True) of the interval."""
        R = len(self.every)
        grid = np.linspace(self.low, self.high, SCAN_POINTS)
        scores = self._scores(grid)
        which, place = np.nonzero((scores[:, :-1] > 0) & (scores[:, 1:] <= 0))
        ends = scores[which, place], scores[which, place + 1]
        roots = follow_roots(lambda at: self.score(at, which), grid[place], grid[place + 1], *ends)
        heights = self.height(roots, which)
        rising = np.argsort(heights, kind="stable")  # the highest mode of a sample is written last
        best, top = np.full(R, np.nan), np.full(R, -np.inf)
        best[which[rising]], top[which[rising]] = roots[rising], heights[rising]
        at_bound = np.zeros(R, dtype=bool)
        for end in (self.low, self.high):
            there = self.height(np.full(R, end), self.every)
            best, at_bound = np.where(there > top, end, best), at_bound | (there > top)
            top = np.maximum(there, top)
        return best, at_bound

    def _scores(self, grid: Array) -> Array:
        """Slopes of all samples on one grid, (R, S); the determinant is taken once."""
        sample = self.model.sample
        first = self.model.logdet.first(grid, sample.centred)
        return sample.concentrated_score(first, *self._profile.on_grid(grid))


class Likelihoods(Curves):
    """Those of samples that share their regressors."""

    def __init__(self, model: SampleModel, found: Moments) -> None:
        self.profile = _LagProfile(model, found) if model.lag_y else _ErrorProfile(model, found)
        super().__init__(model, self.profile, len(found.squares))


def ratio_limits(model: SampleModel, found: Moments, critical: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """Likelihood-ratio limits (R, 2) of ρ or λ, {c: 2[ln L(best) − ln L(c)] ≤ critical}, and which are open (R, 2).

    The part of that set around the best value; an open limit is the end of the admissible interval, at which the
    likelihood has not fallen that far.
    """
    curves = Likelihoods(model, found)
    best, _ = curves.best()
    floor = curves.height(best, curves.every) - np.broadcast_to(critical, best.shape) / 2
    limits = np.tile(model.logdet.interval, (len(best), 1))
    is_open = np.ones((len(best), 2), dtype=bool)
    share = np.linspace(0, 1, SCAN_POINTS)
    for side, end in enumerate((curves.low, curves.high)):
        path = best[:, None] + share * (end - best[:, None])
        left = curves.height(path, curves.every) - floor[:, None]
        below = left < 0
        below[:, 0] = False
        which = np.flatnonzero(below.any(axis=1))
        place = np.argmax(below[which], axis=1)
        at = path[which, place - 1], path[which, place]
        ends = left[which, place - 1], left[which, place]
        drop = lambda c, which=which: curves.height(c, which) - floor[which]  # noqa: E731
        limits[which, side], is_open[which, side] = follow_roots(drop, *at, *ends), False
    return limits, is_open


def likelihood_ratios(model: SampleModel, found: Moments, at: ArrayLike) -> Array:
    """2[ln L(best) − ln L(at)] of every sample, (R,)."""
    curves = Likelihoods(model, found)
    best, _ = curves.best()
    where = np.broadcast_to(np.asarray(at, float), best.shape)
    return 2 * (curves.height(best, curves.every) - curves.height(where, curves.every))


def spectrum(matrix: sparse.csr_array) -> tuple[Array, Array, Array]:
    """P (n, n), P⁻¹ and ω (n,) with W = P diag(ω) P⁻¹; P is complex where W has no real eigenbasis."""
    d = symmetriser(matrix)
    dense = matrix.toarray()
    if d is None:
        omega, P = np.linalg.eig(dense)
        return P, np.linalg.inv(P), omega
    root = np.sqrt(d)
    similar = root[:, None] * dense / root
    omega, U = np.linalg.eigh((similar + similar.T) / 2)
    return U / root[:, None], U.T * root, omega
