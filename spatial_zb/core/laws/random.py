"""Finite-sample laws of the scores of ρ, λ and φ with random unit effects, for :mod:`spatial_zb.core.laws.score` to invert.

At ρ₀ (λ₀) the sample filtered by B = I − ρ₀W (I − λ₀W) is a linear model z = Zδ + e with random effects, e = μ + ε, or
e = Bμ + ε where only ε spreads (Baltagi). δ, σ² and s = ln(1 + Tφ) are estimated there, s by restricted likelihood, which
knows how many coefficients the means of units have paid for; samples are drawn from these with normal μ and ε, each is
estimated the same way, and the profile score of ρ (λ) is taken of all of them (``core/random/maximum.py``):

    s(ρ₀) = T D′(ρ₀) + N (e_w'l_w + e_b'K⁻¹l_b) / (e_w'e_w + e_b'K⁻¹e_b),    l = Wy = W(I − ρ₀W)⁻¹z, or l = Wu for λ,

w deviations from the means of units, b these means times √T, K = e^s I or I + (e^s − 1)BB'. Given ρ and λ, the score of s
is a ratio of quadratic forms in (μ, ε) whose law at s₀ has nothing else in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spatial_zb.core import Array
from spatial_zb.core.likelihood import inner_interval
from spatial_zb.core.logdet import LogDet

#: Where s is looked for, and how often its maximum is brought nearer by a parabola.
S_GRID = np.array([0.0, 0.3, 0.6, 1.0, 1.4, 1.9, 2.5, 3.2, 4.0, 5.0, 6.5, 8.5, 11.0])
PARABOLAS = 4
#: Points between which s is interpolated for drawn coefficients.
CURVE = 21
#: Largest s of the interval of φ.
S_END = 9.0


@dataclass(frozen=True, slots=True)
class RandomModel:
    """``Z`` (T, n, k), dense ``W`` (n, n); ``lag_y`` has ρ, else λ; ``apart``: only ε spreads (Baltagi)."""

    Z: Array
    W: Array
    logdet: LogDet
    lag_y: bool
    apart: bool

    @property
    def periods(self) -> int:
        """T."""
        return self.Z.shape[0]

    @property
    def units(self) -> int:
        """n."""
        return self.Z.shape[1]

    def filtered(self, values: Array, c: float) -> Array:
        """(I − cW) applied to (..., n)."""
        return values - c * values @ self.W.T

    def given(self, c: float) -> MixedModel:
        """The linear model with random effects that is left at ρ or λ = c."""
        Z = self.Z if self.lag_y else np.moveaxis(self.filtered(np.moveaxis(self.Z, 2, 0), c), 0, 2)
        if not self.apart:
            return MixedModel.of(Z, None)
        return MixedModel.of(Z, np.eye(self.units) - c * self.W)


@dataclass(frozen=True, slots=True)
class Estimates:
    """Of R samples: δ (R, k), s (R,) and e_w'e_w + e_b'K⁻¹e_b (R,)."""

    delta: Array
    s: Array
    ssr: Array

    def phi(self, periods: int) -> Array:
        """σ²_μ/σ²."""
        return np.expm1(self.s) / periods


@dataclass(frozen=True, slots=True)
class MixedModel:
    """z = Zδ + e, e = Bμ + ε: √T × means turned by the eigenvectors of BB' have variances σ²(1 + (e^s − 1)d).

    ``Z`` (T, n, k), ``gram`` of its deviations (k, k), ``means`` (n, k) turned and their ``products`` (n, k²), ``turn``
    (n, n) or None, ``spread`` d (n,), ``B`` (n, n) or None.
    """

    Z: Array
    gram: Array
    means: Array
    products: Array
    turn: Array | None
    spread: Array
    B: Array | None

    @classmethod
    def of(cls, Z: Array, B: Array | None) -> MixedModel:
        """From Z and B, which is None where K is a multiple of I."""
        T, n, k = Z.shape
        mean = Z.mean(axis=0)
        off = (Z - mean).reshape(T * n, k)
        d, turn = (np.ones(n), None) if B is None else np.linalg.eigh(B @ B.T)
        means = np.sqrt(T) * (mean if turn is None else turn.T @ mean)
        products = (means[:, :, None] * means[:, None]).reshape(n, k * k)
        return cls(Z, off.T @ off, means, products, turn, d, B)

    @property
    def degrees(self) -> int:
        """N − k."""
        T, n, k = self.Z.shape
        return T * n - k

    def turned(self, values: Array) -> Array:
        """√T × means of (R, T, n), (R, n)."""
        mean = np.sqrt(values.shape[1]) * values.mean(axis=1)
        return mean if self.turn is None else mean @ self.turn

    def drawn(self, unit: Array, noise: Array, phi: float, sigma: float) -> Array:
        """Errors (R, T, n) from standard normal μ (R, n) and ε (R, T, n)."""
        effects = unit if self.B is None else unit @ self.B.T
        return sigma * (np.sqrt(phi) * effects[:, None] + noise)

    def estimates(self, samples: Array) -> Estimates:
        """Of samples (R, T, n), s by restricted likelihood."""
        data = self.data(samples)
        heights = self._over_grid(data)
        best = np.clip(heights.argmax(axis=0), 1, len(S_GRID) - 2)
        at = np.stack([S_GRID[best + i] for i in (-1, 0, 1)])
        values = np.stack([np.take_along_axis(heights, best[None] + i, 0)[0] for i in (-1, 0, 1)])
        for _ in range(PARABOLAS):
            point = _vertex(at, values)
            at, values = _closer(at, values, point, self.solve(point, data)[0])
        s = np.take_along_axis(at, values.argmax(axis=0)[None], 0)[0]
        _, delta, ssr = self.solve(s, data)
        return Estimates(delta, s, ssr)

    def cross_products(self, s: float) -> Array:
        """Z_w'Z_w + Z_b'K⁻¹Z_b (k, k)."""
        return self._grams(1 / (1 + np.expm1(s) * self.spread[None]))[0]

    def data(self, samples: Array) -> tuple[Array, Array, Array]:
        """Z_w'z_w (R, k), z_w'z_w (R,), turned means (R, n)."""
        T, n, k = self.Z.shape
        off = (samples - samples.mean(axis=1, keepdims=True)).reshape(-1, T * n)
        return off @ self.Z.reshape(T * n, k), (off**2).sum(axis=1), self.turned(samples)

    def solve(self, s: Array, data: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """Restricted log-likelihood (R,), δ (R, k) and SSR (R,) at s, (1,) for all or (R,)."""
        cross, squares, means = data
        variances = 1 + np.expm1(s)[:, None] * self.spread
        weights = 1 / variances
        gram = self._grams(weights)
        right = cross + (weights * means) @ self.means
        grams = np.broadcast_to(gram, (len(right), *gram.shape[1:]))
        delta = np.asarray(np.linalg.solve(grams, right[..., None]), float)[..., 0]
        ssr = squares + (weights * means**2).sum(axis=1) - (right * delta).sum(axis=1)
        return self._height(variances, gram, ssr), delta, ssr

    def _over_grid(self, data: tuple[Array, Array, Array]) -> Array:
        """Restricted log-likelihood (S, R) on the grid of s."""
        cross, squares, means = data
        variances = 1 + np.expm1(S_GRID)[:, None] * self.spread
        weights = 1 / variances
        gram = self._grams(weights)
        right = cross.T + np.matmul(self.means.T * weights[:, None], means.T)  # (S, k, R)
        explained = (right * np.linalg.solve(gram, right)).sum(axis=1)
        ssr = squares + weights @ (means**2).T - explained
        return self._height(variances[:, None], gram[:, None], ssr)

    def _grams(self, weights: Array) -> Array:
        """Z_w'Z_w + Z_b'K⁻¹Z_b (S, k, k) with 1/K as weights (S, n)."""
        k = len(self.gram)
        return self.gram + (weights @ self.products).reshape(-1, k, k)

    def _height(self, variances: Array, gram: Array, ssr: Array) -> Array:
        log_gram = np.linalg.slogdet(gram)[1]
        return -(np.log(variances).sum(axis=-1) + log_gram + self.degrees * np.log(ssr)) / 2


def _vertex(at: Array, values: Array) -> Array:
    """Where the parabola through three points (3, R) is highest, kept between them; the middle of the longer side else."""
    (a, b, c), (fa, fb, fc) = at, values
    left, right = (b - a) * (fb - fc), (b - c) * (fb - fa)
    with np.errstate(invalid="ignore", divide="ignore"):
        point = b - ((b - a) * left - (b - c) * right) / (2 * (left - right))
    longer = np.where(b - a > c - b, (a + b) / 2, (b + c) / 2)
    inside = (point > a) & (point < c) & (np.abs(point - b) > 1e-9)
    return np.where(inside, point, longer)


def _closer(at: Array, values: Array, point: Array, height: Array) -> tuple[Array, Array]:
    """The three neighbouring points of four with the highest one in the middle, or at the end that it is."""
    x, f = np.concatenate([at, point[None]]), np.concatenate([values, height[None]])
    order = np.argsort(x, axis=0)
    x, f = np.take_along_axis(x, order, 0), np.take_along_axis(f, order, 0)
    first = np.clip(f.argmax(axis=0) - 1, 0, 1)[None] + np.arange(3)[:, None]
    return np.take_along_axis(x, first, 0), np.take_along_axis(f, first, 0)


class _RandomLaw:
    """What the laws of ρ and λ share; ``y`` (T, n) as observed."""

    dear = True

    def __init__(self, model: RandomModel, y: Array, replicates: int, seed: np.random.SeedSequence) -> None:
        self.model, self.y, self.seed = model, y, seed
        self.bounds = inner_interval(model.logdet.interval)
        rng = np.random.default_rng(seed)
        self.unit = rng.standard_normal((replicates, model.units))
        self.noise = rng.standard_normal((replicates, model.periods, model.units))

    def scores(self, at: Array) -> tuple[Array, Array]:
        """As in :class:`spatial_zb.core.laws.score.ScoreLaw`."""
        found = [self._at(float(c)) for c in at]
        return np.array([one[0] for one in found]), np.stack([one[1] for one in found], axis=1)

    def height(self, at: Array) -> Array:
        """As in :class:`spatial_zb.core.laws.score.ScoreLaw`, of the restricted likelihood."""
        out = []
        for c in at:
            given, sample = self.given(float(c))
            data = given.data(sample)
            height = given.solve(given.estimates(sample).s, data)[0]
            out.append(self.model.periods * float(self.model.logdet.value(c)) + float(height[0]))
        return np.array(out)

    def given(self, c: float) -> tuple[MixedModel, Array]:
        """The linear model at one value, and its sample (1, T, n)."""
        return self.model.given(c), self.model.filtered(self.y, c)[None]

    def _at(self, c: float) -> tuple[float, Array]:
        """Observed score and drawn scores (R,)."""
        model = self.model
        given, sample = self.given(c)
        own = given.estimates(sample)
        sigma = float(np.sqrt(own.ssr[0] / given.degrees))
        errors = given.drawn(self.unit, self.noise, float(own.phi(model.periods)[0]), sigma)
        drawn = given.Z @ own.delta[0] + errors
        return (
            float(self.score(c, given, sample, own)[0]),
            self.score(c, given, drawn, given.estimates(drawn)),
        )

    def score(self, c: float, given: MixedModel, samples: Array, found: Estimates) -> Array:
        """The profile score (R,) of filtered samples (R, T, n) at c."""
        raise NotImplementedError

    def _score(self, c: float, given: MixedModel, e: Array, lagged: Array, found: Estimates) -> Array:
        """T D′(c) + N (e_w'l_w + e_b'K⁻¹l_b) / SSR."""
        model = self.model
        T, n = e.shape[1:]
        mean, other = e.mean(axis=1), lagged.mean(axis=1)
        within = (e * lagged).sum(axis=(1, 2)) - T * (mean * other).sum(axis=1)
        weights = 1 / (1 + np.expm1(found.s)[:, None] * given.spread)
        between = (weights * given.turned(e) * given.turned(lagged)).sum(axis=1)
        return T * float(model.logdet.first(c)) + n * T * (within + between) / found.ssr

    def _resolved(self, values: Array, c: float) -> Array:
        """W(I − cW)⁻¹ applied to (R, T, n)."""
        G = np.linalg.solve((np.eye(self.model.units) - c * self.model.W).T, self.model.W.T).T
        return values @ G.T

    def drawn_estimates(self, at: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """δ (S, k) and σ² (S,) as likely as the data make them at each value of ρ or λ, s at its estimate there."""
        grid = np.linspace(at.min(), at.max(), CURVE)
        on_grid = []
        for c in grid:
            given, sample = self.given(float(c))
            on_grid.append(given.estimates(sample).s[0])
        delta, sigma2 = [], []
        for c, s in zip(at, np.interp(at, grid, on_grid), strict=True):
            given, sample = self.given(float(c))
            _, own, ssr = given.solve(np.full(1, s), given.data(sample))
            variance = ssr[0] / rng.chisquare(given.degrees)
            noise = np.linalg.solve(
                np.linalg.cholesky(given.cross_products(s)).T, rng.standard_normal(own.size)
            )
            delta.append(own[0] + np.sqrt(variance) * noise)
            sigma2.append(variance)
        return np.array(delta), np.array(sigma2)


class RandomLagLaw(_RandomLaw):
    """The law of the score of ρ."""

    def score(self, c: float, given: MixedModel, samples: Array, found: Estimates) -> Array:
        """l = Wy with y = (I − ρW)⁻¹z."""
        e = samples - np.einsum("tik,rk->rti", given.Z, found.delta)
        return self._score(c, given, e, self._resolved(samples, c), found)


class RandomErrorLaw(_RandomLaw):
    """The law of the score of λ."""

    def score(self, c: float, given: MixedModel, samples: Array, found: Estimates) -> Array:
        """l = Wu with u = B⁻¹e; where only ε spreads K moves with λ too."""
        e = samples - np.einsum("tik,rk->rti", given.Z, found.delta)
        out = self._score(c, given, e, self._resolved(e, c), found)
        if given.turn is None:
            return out
        W, N = self.model.W, e.shape[1] * e.shape[2]
        slope = given.turn.T @ (2 * c * W @ W.T - W - W.T) @ given.turn
        strength = np.expm1(found.s)[:, None]
        weights = 1 / (1 + strength * given.spread)
        v = weights * given.turned(e)
        moved = np.einsum("ri,ij,rj->r", v, slope, v, optimize=True) * N / found.ssr
        return out + strength[:, 0] / 2 * (moved - weights @ np.diag(slope))


class VarianceLaw:
    """The law of the restricted score of s = ln(1 + Tφ), given ρ and λ: exact under normal errors."""

    dear = False
    bounds = (0.0, S_END)

    def __init__(
        self, given: MixedModel, sample: Array, replicates: int, seed: np.random.SeedSequence
    ) -> None:
        self.given, self.sample = given, given.data(sample)
        rng = np.random.default_rng(seed)
        T, n, _ = given.Z.shape
        unit, noise = rng.standard_normal((replicates, n)), rng.standard_normal((replicates, T, n))
        # unit effects are in the means only
        effects = unit if given.B is None else unit @ given.B.T
        self.effects, self.noise = given.turned(np.repeat(effects[:, None], T, axis=1)), given.data(noise)

    def height(self, at: Array) -> Array:
        """As in :class:`spatial_zb.core.laws.score.ScoreLaw`."""
        return np.array([self.given.solve(np.full(1, s), self.sample)[0][0] for s in at])

    def scores(self, at: Array) -> tuple[Array, Array]:
        """As in :class:`spatial_zb.core.laws.score.ScoreLaw`."""
        found = [(self._slope(s, self.sample)[0], self._slope(s, self._drawn(s))) for s in at]
        return np.array([one[0] for one in found]), np.stack([one[1] for one in found], axis=1)

    def _drawn(self, s: float) -> tuple[Array, Array, Array]:
        cross, squares, means = self.noise
        return cross, squares, np.sqrt(np.expm1(s) / len(self.given.Z)) * self.effects + means

    def _slope(self, s: float, data: tuple[Array, Array, Array]) -> Array:
        """Slope of the restricted likelihood at s but for a constant, over the sum of squares (R,)."""
        _, delta, ssr = self.given.solve(np.full(1, s), data)
        e = data[2] - delta @ self.given.means.T
        weights = 1 / (1 + np.expm1(s) * self.given.spread)
        return (weights**2 * self.given.spread * e**2).sum(axis=1) / ssr
