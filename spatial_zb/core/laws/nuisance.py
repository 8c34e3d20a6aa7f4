"""Laws of the score of one coefficient where others are estimated under each of its values, for laws/score.py to invert.

With both lags, at ρ₀, (I − ρ₀W)y is a sample with a spatial error alone, so that δ̃, λ̃, σ̃² given ρ₀ are a maximum in
one dimension, for the data and for every sample drawn from them; the score of ρ is taken there. At λ₀, (I − λ₀W)y is a
sample with a lag of y alone, on (I − λ₀W)Z. Laws depend on the nuisance coefficient: inverted, they are the grid
bootstrap of Hansen (1999).

With random unit effects, at ρ₀ (λ₀), the sample filtered by B = I − ρ₀W (I − λ₀W) is a linear model z = Zδ + e with
random effects, e = μ + ε, or e = Bμ + ε where only ε spreads (Baltagi). δ, σ² and s = ln(1 + Tφ) are estimated there, s
by restricted likelihood, which knows how many coefficients the means of units have paid for; samples are drawn from these
with normal μ and ε, each is estimated the same way, and the profile score of ρ (λ) is taken of all of them
(``core/random/maximum.py``):

    s(ρ₀) = T D′(ρ₀) + N (e_w'l_w + e_b'K⁻¹l_b) / (e_w'e_w + e_b'K⁻¹e_b),    l = Wy = W(I − ρ₀W)⁻¹z, or l = Wu for λ,

w deviations from the means of units, b these means times √T, K = e^s I or I + (e^s − 1)BB'. Given ρ and λ, the score of s
is a ratio of quadratic forms in (μ, ε) whose law at s₀ has nothing else in it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spatial_zb.core import Array
from spatial_zb.core.laws import (
    SampleModel,
    lag_all,
    moments,
    solve_all,
    solve_moments,
    transform_all,
)
from spatial_zb.core.laws.bootstrap import Generator
from spatial_zb.core.laws.random import CURVE, S_END, Estimates, MixedModel, RandomModel
from spatial_zb.core.laws.score import DrawnErrors
from spatial_zb.core.likelihood import inner_interval
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.transforms import column_basis, spatial_lag


class _Beside:
    """What the two laws share: ``model`` with both lags, ``y`` (T, n) as observed."""

    dear = True

    def __init__(self, model: SampleModel, y: Array, replicates: int, seed: np.random.SeedSequence) -> None:
        self.model, self.y, self.errors = model, y, DrawnErrors(model, replicates, seed)
        self.Wy = spatial_lag(model.matrix, y)
        self.bounds = inner_interval(model.logdet.interval)

    def scores(self, at: Array) -> tuple[Array, Array]:
        """As in :class:`spatial_zb.core.laws.score.ScoreLaw`."""
        found = [self._at(float(c)) for c in at]
        return np.array([one[0] for one in found]), np.stack([one[1] for one in found], axis=1)

    def height(self, at: Array) -> Array:
        """As in :class:`spatial_zb.core.laws.score.ScoreLaw`."""
        return np.array([self._height(float(c)) for c in at])

    def given(self, c: float) -> tuple[SampleModel, Array]:
        """The model that is left at one value, and its sample (1, T, n)."""
        raise NotImplementedError

    def estimates(self, c: float) -> tuple[Array, float, float]:
        """δ (k,), the other coefficient and σ² at one value."""
        rest, filtered = self.given(c)
        delta, other, sigma2, _ = solve_moments(rest, moments(rest, filtered))
        return delta[0], float(other[0]), float(sigma2[0])

    def _at(self, c: float) -> tuple[float, Array]:
        """Observed score and drawn scores (R,)."""
        rest, filtered = self.given(c)
        delta, other, sigma2, _ = solve_moments(rest, moments(rest, filtered))
        N, k = self.model.sample.observations, delta.shape[1]
        scale = np.sqrt(sigma2[0] * N / (N - k))
        places = (0.0, float(other[0])) if rest.lag_error else (float(other[0]), 0.0)
        source = Generator(rest, delta[0], *places)
        drawn = []
        for errors in self.errors:
            samples = source.panels(scale * errors)
            own = solve_moments(rest, moments(rest, samples))
            drawn.append(self.score(c, rest, samples, own[0], own[1]))
        return float(self.score(c, rest, filtered, delta, other)[0]), np.concatenate(drawn)

    def score(self, c: float, rest: SampleModel, samples: Array, delta: Array, other: Array) -> Array:
        """The score (R,) at c of filtered samples (R, T, n), given their δ (R, k) and other coefficient (R,)."""
        raise NotImplementedError

    def _score(self, c: float, e: Array, slope: Array) -> Array:
        """T* D′(c) + N e'v / e'e for e, v (R, T, n)."""
        sample = self.model.sample
        ssr, falls = np.einsum("rti,rti->r", e, e), np.einsum("rti,rti->r", e, slope)
        return sample.concentrated_score(self.model.logdet.first(c, sample.centred), ssr, -2 * falls)

    def _height(self, c: float) -> float:
        _, other, sigma2 = self.estimates(c)
        sample, logdet = self.model.sample, self.model.logdet
        determinants = sum(logdet.value(np.array([c, other]), sample.centred))
        return float(sample.concentrated(determinants, sigma2))


class LagBesideErrorLaw(_Beside):
    """The law of the score of ρ, λ re-estimated at every value."""

    def given(self, c: float) -> tuple[SampleModel, Array]:
        """(I − ρW)y, with a spatial error."""
        return replace(self.model, lag_y=False), (self.y - c * self.Wy)[None]

    def score(self, c: float, rest: SampleModel, samples: Array, delta: Array, other: Array) -> Array:
        """v = BWy with y = (I − ρW)⁻¹ of the sample."""
        model, R = self.model, len(samples)
        lam = other[:, None, None]
        solve = filter_solver(model.matrix, c)
        lagged = lag_all(
            model.matrix, solve(samples.reshape(-1, samples.shape[2]).T).T.reshape(samples.shape)
        )
        u = transform_all(model, samples) - np.einsum("rk,tik->rti", delta, model.Z)
        Wu = transform_all(model, lag_all(model.matrix, samples)) - np.einsum(
            "rk,tik->rti", delta, model.lagged
        )
        again = transform_all(model, lag_all(model.matrix, lagged))
        return self._score(c, u - lam * Wu, transform_all(model, lagged) - lam * again).reshape(R)


class ErrorBesideLagLaw(_Beside):
    """The law of the score of λ, ρ re-estimated at every value."""

    def given(self, c: float) -> tuple[SampleModel, Array]:
        """(I − λW)y on (I − λW)Z, with a lag of y."""
        model = self.model
        Z = model.Z - c * model.lagged
        basis = column_basis(Z.reshape(-1, Z.shape[2]))
        rest = replace(model, Z=Z, WZ=None, basis=basis, lag_error=False)
        return rest, (self.y - c * self.Wy)[None]

    def score(self, c: float, rest: SampleModel, samples: Array, delta: Array, other: Array) -> Array:
        """v = W(I − λW)⁻¹e."""
        model, matrix = self.model, self.model.matrix
        lagged = transform_all(model, lag_all(matrix, samples))
        mean = np.einsum("rk,tik->rti", delta, rest.Z)
        e = transform_all(model, samples) - other[:, None, None] * lagged - mean
        return self._score(c, e, lag_all(matrix, solve_all(matrix, c, e)))


# --- random unit effects


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
