"""The laws of the scores of ρ and of λ in a model with both: the other coefficient is estimated under each value.

At ρ₀, (I − ρ₀W)y is a sample with a spatial error alone, so that δ̃, λ̃, σ̃² given ρ₀ are a maximum in one dimension, for
the data and for every sample drawn from them; the score of ρ is taken there. At λ₀, (I − λ₀W)y is a sample with a lag of y
alone, on (I − λ₀W)Z. Laws depend on the nuisance coefficient: inverted, they are the grid bootstrap of Hansen (1999).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spatial_zb.core import Array
from spatial_zb.core.laws.bootstrap import Generator
from spatial_zb.core.laws.samples import SampleModel, lag_all, moments, solve_moments, transform_all
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
        u = filter_solver(matrix, c)(e.reshape(-1, e.shape[2]).T).T.reshape(e.shape)
        return self._score(c, e, lag_all(matrix, u))
