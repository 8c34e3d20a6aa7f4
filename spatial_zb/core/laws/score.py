"""The finite-sample law of the profile score of ρ or λ, drawn at any value of it, and its inversion.

At ρ₀ the profile score of :mod:`spatial_zb.core.likelihood` is

    s(ρ₀) = T* D′(ρ₀) + N e'Wy / e'e,        e = M(I − ρ₀W)y,  M off Z,

and a sample drawn under ρ₀ has y = (I − ρ₀W)⁻¹(Zδ + σε), so that its own is, with G = W(I − ρ₀W)⁻¹,

    s*(ρ₀) = T* D′(ρ₀) + N [(Mε)'Gε + (Mε)'GZδ/σ] / (Mε)'(Mε),

δ and σ those estimated under ρ₀. For λ₀, with M off (I − λ₀W)Z, it is T* D′(λ₀) + N (Mε)'G(Mε)/(Mε)'(Mε): free of δ and
σ, hence known exactly under normal errors. The same ε serve all values, so that the law is continuous in them. With
W = P diag(ω) P⁻¹ all quadratic forms are sums over ω of numbers that are made once; without eigenvectors G is applied by
solves.

The value at which the score observed is the median of its law is median-unbiased (Andrews 1993, Econometrica 61: 139-165);
those between its α/2 and 1 − α/2 quantiles are an interval (the grid bootstrap: Hansen 1999, Review of Economics and
Statistics 81: 594-607).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy

from spatial_zb.core import Array
from spatial_zb.core.laws import (
    Likelihoods,
    SampleModel,
    lagged_basis,
    moments,
    to_columns,
    transform_all,
)
from spatial_zb.core.laws.replicates import spectrum
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.transforms import spatial_lag

#: Numbers of drawn errors held at once.
CHUNK = 4_000_000
#: Up to this many units G is taken apart by the eigenvectors of W, …
SPECTRAL_UNITS = 500
#: … if they give W back to this share of its largest entry.
SPECTRAL_TOLERANCE = 1e-8
#: Points of the admissible interval at which the law is read before its crossings are bracketed.
GRID = 25
#: The same where the law is dear, and how far they reach in standard errors of the score.
DEAR_GRID, DEAR_REACH = 9, 4.0
#: Step, as a share of the interval, with which the curvature of the likelihood is taken.
START_STEP = 1e-3
#: Crossings are followed to this share of the points looked at; where the law is dear, to the second.
STEP, DEAR_STEP = 1e-9, 1e-4


class ScoreLaw(Protocol):
    """A profile score, observed and drawn, as a function of its coefficient c on the inside of its interval.

    ``dear`` says that every value asks for much work.
    """

    @property
    def bounds(self) -> tuple[float, float]: ...
    @property
    def dear(self) -> bool: ...

    def scores(self, at: Array) -> tuple[Array, Array]:
        """Observed (S,) and drawn (R, S) at values (S,)."""
        ...

    def height(self, at: Array) -> Array:
        """Profile log-likelihood of the data (S,), up to a constant."""
        ...


class DrawnErrors:
    """Standard normal ε off the effects, (r, T, n) at a time; the same ones whenever they are asked for."""

    def __init__(self, model: SampleModel, replicates: int, seed: np.random.SeedSequence) -> None:
        self.model, self.replicates, self.seed = model, replicates, seed
        self.kept = list(self._drawn()) if replicates * model.Z[..., 0].size <= CHUNK else None

    def __iter__(self) -> Iterator[Array]:
        return iter(self._drawn() if self.kept is None else self.kept)

    def _drawn(self) -> Iterator[Array]:
        T, n, _ = self.model.Z.shape
        size = max(1, CHUNK // (T * n))
        for part, first in enumerate(range(0, self.replicates, size)):
            own = np.random.SeedSequence(self.seed.entropy, spawn_key=(*self.seed.spawn_key, part))
            shape = (min(size, self.replicates - first), T, n)
            yield transform_all(self.model, np.random.default_rng(own).standard_normal(shape))


# --- quadratic forms in G


@dataclass(frozen=True, slots=True)
class _SpectralForms:
    """ε'-forms in G(c) as sums over the eigenvalues: ``quadratic`` (R, n), ``linear`` (R, m, n), ``omega`` (n,)."""

    quadratic: Array
    linear: Array
    omega: Array

    def __call__(self, c: float) -> tuple[Array, Array]:
        g = self.omega / (1 - c * self.omega)
        return np.real(self.quadratic @ g), np.real(self.linear @ g)


@dataclass(frozen=True, slots=True)
class _SolvedForms:
    """The same by solves with I − cW, a chunk of ε at a time. ``left`` turns ε into what stands left of G."""

    model: SampleModel
    errors: DrawnErrors
    left: Callable[[Array], Array]
    fixed: Array
    fixed_left: bool

    def __call__(self, c: float) -> tuple[Array, Array]:
        solve = filter_solver(self.model.matrix, c)
        fixed = self.fixed if self.fixed_left else self._filtered(self.fixed, solve)
        quadratic, linear = [], []
        for errors in self.errors:
            left, right = self.left(errors), self._filtered(errors, solve)
            quadratic.append(np.einsum("rti,rti->r", left, right))
            other = right if self.fixed_left else left
            linear.append(other.reshape(len(other), -1) @ fixed.reshape(len(fixed), -1).T)
        return np.concatenate(quadratic), np.concatenate(linear)

    def _filtered(self, values: Array, solve: Callable[[Array], Array]) -> Array:
        """Gv for v (m, T, n)."""
        m, T, n = values.shape
        return spatial_lag(self.model.matrix, solve(values.reshape(m * T, n).T).T).reshape(m, T, n)


def _eigenbasis(model: SampleModel) -> tuple[Array, Array, Array] | None:
    """P, P⁻¹ and ω, or None where there are too many units or no good eigenvectors."""
    if model.matrix.shape[0] > SPECTRAL_UNITS:
        return None
    try:
        P, inverse, omega = spectrum(model.matrix)
    except np.linalg.LinAlgError:
        return None
    W = model.matrix.toarray()
    return (
        (P, inverse, omega)
        if np.abs((P * omega) @ inverse - W).max() <= SPECTRAL_TOLERANCE * W.max()
        else None
    )


def _forms(
    model: SampleModel,
    errors: DrawnErrors,
    left: Callable[[Array], Array],
    fixed: Array,
    fixed_left: bool,
) -> Callable[[float], tuple[Array, Array]]:
    """Left(ε)'Gε (R,) and, for fixed v (m, T, n), v'Gε or Left(ε)'Gv (R, m), as functions of c."""
    basis = _eigenbasis(model)
    if basis is None:
        return _SolvedForms(model, errors, left, fixed, fixed_left)
    P, inverse, omega = basis
    quadratic, linear = [], []
    for drawn in errors:
        before, after = left(drawn) @ P, drawn @ inverse.T
        quadratic.append(np.einsum("rti,rti->ri", before, after))
        pair = (after, fixed @ P) if fixed_left else (before, fixed @ inverse.T)
        linear.append(np.einsum("rti,mti->rmi", *pair, optimize=True))
    return _SpectralForms(np.concatenate(quadratic), np.concatenate(linear), omega)


def _columns(Q: Array, model: SampleModel) -> Array:
    """Stacked columns (T·n, k) as (k, T, n)."""
    T, n, _ = model.Z.shape
    return Q.T.reshape(-1, T, n)


# --- the two laws of one coefficient


class _OneCoefficient:
    """What the two laws share: ``model`` with one spatial lag, ``y`` (T, n) as observed."""

    forms: Callable[[float], tuple[Array, Array]]

    def __init__(self, model: SampleModel, y: Array, replicates: int, seed: np.random.SeedSequence) -> None:
        self.model, self.seed = model, seed
        # of one sample, at as many values as are asked
        self.curves = Likelihoods(model, moments(model, y[None]))
        self.bounds = self.curves.low, self.curves.high
        self.degrees = model.sample.observations - model.Z.shape[2]
        self.errors = DrawnErrors(model, replicates, seed)

    @property
    def dear(self) -> bool:
        """Whether every value needs linear solves."""
        return isinstance(self.forms, _SolvedForms)

    def scores(self, at: Array) -> tuple[Array, Array]:
        """As in :class:`ScoreLaw`."""
        sample = self.model.sample
        trace = sample.periods * self.model.logdet.first(at, sample.centred)
        drawn = np.stack([self.ratios(float(c)) for c in at], axis=1)
        return self.curves.score(at, self.curves.every), trace + sample.observations * drawn

    def ratios(self, c: float) -> Array:
        """e*'Wy* / e*'e* (R,) of the samples drawn at one value."""
        raise NotImplementedError

    def height(self, at: Array) -> Array:
        """As in :class:`ScoreLaw`."""
        return self.curves.height(at, self.curves.every)

    def estimates(self, at: Array) -> tuple[Array, Array]:
        """δ on the basis Q (S, k) and the sum of squares (S,) given values (S,)."""
        profile = self.curves.profile
        return profile.coefficients(at), profile.ssr(at, self.curves.every)[0]

    def factors(self, at: Array) -> Array:
        """F (S, k, k) with FF' the inverse of the cross-products of the regressors at values (S,)."""
        raise NotImplementedError

    def drawn_estimates(self, at: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """δ (S, k) on Z and σ² (S,) as likely as the data make them at each value: δ̂ + σFz, SSR/χ²."""
        delta, ssr = self.estimates(at)
        sigma2 = ssr / rng.chisquare(self.degrees, len(at))
        noise = np.einsum("sij,sj->si", self.factors(at), rng.standard_normal(delta.shape))
        return (delta + np.sqrt(sigma2)[:, None] * noise) @ to_columns(self.model.basis), sigma2


class LagLaw(_OneCoefficient):
    """The law of the score of ρ in y = ρWy + Zδ + ε."""

    def __init__(self, model: SampleModel, y: Array, replicates: int, seed: np.random.SeedSequence) -> None:
        super().__init__(model, y, replicates, seed)
        Q = model.basis.Q

        def off(errors: Array) -> Array:
            flat = errors.reshape(len(errors), -1)
            return (flat - (flat @ Q) @ Q.T).reshape(errors.shape)

        self.squares = np.concatenate([np.einsum("rti,rti->r", e, e) for e in map(off, self.errors)])
        self.forms = _forms(model, self.errors, off, _columns(Q, model), fixed_left=False)

    def ratios(self, c: float) -> Array:
        """As in :class:`_OneCoefficient`, σ̂² unbiased."""
        delta, ssr = self.estimates(np.array([c]))
        quadratic, linear = self.forms(c)
        return (quadratic + linear @ (delta[0] / np.sqrt(ssr[0] / self.degrees))) / self.squares

    def factors(self, at: Array) -> Array:
        """As in :class:`_OneCoefficient`: Q is orthonormal."""
        return np.broadcast_to(np.eye(self.model.Z.shape[2]), (len(at), *[self.model.Z.shape[2]] * 2))


class ErrorLaw(_OneCoefficient):
    """The law of the score of λ in y = Zδ + u, u = λWu + ε."""

    def __init__(self, model: SampleModel, y: Array, replicates: int, seed: np.random.SeedSequence) -> None:
        super().__init__(model, y, replicates, seed)
        Q, WQ = model.basis.Q, lagged_basis(model)
        self.k, self.cross, self.square = Q.shape[1], Q.T @ WQ, WQ.T @ WQ
        both = np.hstack([Q, WQ])
        flat = [(np.einsum("rti,rti->r", e, e), e.reshape(len(e), -1) @ both) for e in self.errors]
        self.squares, self.onto = (np.concatenate(parts) for parts in zip(*flat, strict=True))
        self.forms = _forms(model, self.errors, lambda e: e, _columns(both, model), fixed_left=True)

    def factors(self, at: Array) -> Array:
        """R⁻¹ with R'R = (BQ)'(BQ), so that BQR⁻¹ is orthonormal."""
        w = np.asarray(at)[:, None, None]
        gram = np.eye(self.k) - w * (self.cross + self.cross.T) + w**2 * self.square
        return np.linalg.inv(np.linalg.cholesky(gram)).transpose(0, 2, 1)

    def ratios(self, c: float) -> Array:
        """(Mε)'G(Mε) / (Mε)'(Mε) with U = BQR⁻¹ orthonormal: GU = WQR⁻¹."""
        k, F = self.k, self.factors(np.array([c]))[0]
        quadratic, linear = self.forms(c)
        onto = (self.onto[:, :k] - c * self.onto[:, k:]) @ F  # U'ε
        after = (linear[:, :k] - c * linear[:, k:]) @ F  # U'Gε
        before = self.onto[:, k:] @ F  # (GU)'ε
        inner = F.T @ (self.cross - c * self.square) @ F  # U'GU
        form = quadratic - ((after + before - onto @ inner.T) * onto).sum(axis=1)
        return form / (self.squares - (onto**2).sum(axis=1))


def one_coefficient_law(
    model: SampleModel, y: Array, replicates: int, seed: np.random.SeedSequence
) -> LagLaw | ErrorLaw:
    """The law for the one spatial lag of a model."""
    return (LagLaw if model.lag_y else ErrorLaw)(model, y, replicates, seed)


# --- inversion


@dataclass(frozen=True, slots=True)
class Solution:
    """``estimate``, ``low``, ``high`` of a coefficient.

    ``at_bound`` when no value in the interval has the score at its median: the estimate is the end; ``open_low``,
    ``open_high`` when the values that are not rejected reach an end.
    """

    estimate: float
    low: float
    high: float
    at_bound: bool
    open_low: bool
    open_high: bool


def invert(law: ScoreLaw, alpha: float, start: float | None = None) -> Solution:
    """Solve the score for the median of its law, and for its α/2 and 1 − α/2 quantiles.

    Quantiles are order statistics at p(R + 1): the interval is then exact where the law is. The limits hold every value
    that is not rejected; where the median is crossed more than once the likelihood chooses. ``start``: the maximum of
    the likelihood, near which a dear law is read first.
    """
    levels = np.array([0.5, 1 - alpha / 2, alpha / 2])
    grid, values = _scan(law, levels, start)

    def root(level: int, place: int) -> float:
        """The crossing of one level between two points of the grid."""
        step = (DEAR_STEP if law.dear else STEP) * (grid[-1] - grid[0])
        one = levels[[level]]
        return scipy.optimize.brentq(
            lambda c: float(_excess(law, np.array([c]), one)[0, 0]), grid[place], grid[place + 1], xtol=step
        )

    middle, upper, lower = values
    found = [root(0, place) for place in map(int, np.flatnonzero((middle[:-1] > 0) & (middle[1:] <= 0)))]
    ends = [law.bounds[0]] * bool(middle[0] <= 0) + [law.bounds[1]] * bool(middle[-1] > 0)
    candidates = np.array(found + ends)
    best = int(np.argmax(law.height(candidates))) if len(candidates) > 1 else 0
    first, last = int(np.argmax(upper <= 0)), len(grid) - 1 - int(np.argmax(lower[::-1] >= 0))
    open_low, open_high = upper[0] <= 0 or upper.min() > 0, lower[-1] >= 0 or lower.max() < 0
    return Solution(
        estimate=float(candidates[best]),
        low=law.bounds[0] if open_low else root(1, first - 1),
        high=law.bounds[1] if open_high else root(2, last),
        at_bound=best >= len(found),
        open_low=bool(open_low),
        open_high=bool(open_high),
    )


def _excess(law: ScoreLaw, at: Array, levels: Array) -> Array:
    """Observed score less quantiles of its law, (levels, S)."""
    observed, drawn = law.scores(at)
    return observed - np.quantile(drawn, levels, axis=0, method="weibull")  # order statistics at p(R + 1)


def _scan(law: ScoreLaw, levels: Array, start: float | None) -> tuple[Array, Array]:
    """Points of the interval and the excess there: near the start, if all levels are crossed there, or everywhere."""
    low, high = law.bounds
    if law.dear and start is not None:
        step = START_STEP * (high - low)
        inner = min(max(start, low + step), high - step)
        below, at, above = law.height(np.array([inner - step, inner, inner + step]))
        error = step / np.sqrt(max(2 * at - below - above, step**2))
        reach = np.linspace(-DEAR_REACH, DEAR_REACH, DEAR_GRID) * error
        grid = np.unique(np.clip(start + reach, low, high))
        values = _excess(law, grid, levels)
        if (values[:, 0] > 0).all() and (values[:, -1] < 0).all():
            return grid, values
    grid = np.linspace(low, high, GRID)
    return grid, _excess(law, grid, levels)


def below_observed(law: ScoreLaw, at: Array) -> Array:
    """Share of draws below the score observed at values (S,): about one far below the estimate, zero far above."""
    observed, drawn = law.scores(at)
    return (drawn < observed).mean(axis=0)
