"""Many samples with random unit effects and a spatial lag of y, followed to their maxima together.

The likelihood is that of :mod:`spatial_zb.core.random.maximum`, the expected information that of its ``random_information``.

Here is also the model of a sample filtered at a value of ρ or of λ, for the laws of :mod:`spatial_zb.core.laws.nuisance`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core import Array
from spatial_zb.core.laws import SampleModel, Samples, spectrum, to_columns, transform_all
from spatial_zb.core.laws.replicates import inverses, means, quadratic_traces
from spatial_zb.core.likelihood import inner_interval
from spatial_zb.core.logdet import LogDet
from spatial_zb.core.random import Mixed
from spatial_zb.core.random.maximum import LAG_POINTS, S_GRID, S_MAX

#: Newton steps of the climb at most, halvings of one; steps this small need no look at the height; where it ends.
ROUNDS, HALVINGS, SMALL, DONE = 100, 40, 1e-6, 1e-12


@dataclass(frozen=True, slots=True)
class RandomReplicates:
    """Estimates of R samples with random unit effects and a spatial lag of y.

    ``delta`` (R, k); ``rho``, ``phi``, ``sigma2``, ``at_bound`` (R,); ``cov`` (R, k + 3, k + 3) of (δ, ρ, φ, σ²), NaN where
    there is none, as of φ at zero.
    """

    delta: Array
    cov: Array
    rho: Array
    phi: Array
    sigma2: Array
    at_bound: NDArray[np.bool_]


def estimate_random(model: SampleModel, samples: Samples) -> RandomReplicates:
    """What :func:`spatial_zb.core.random.maximum.maximise_random` finds, of samples with a spatial lag of y.

    The transform of ``model`` takes nothing, or period means as Lee and Yu do.
    """
    mixed = Mixed.of(model.basis, samples.y, samples.Wy)
    surface = _RandomSurface(model, mixed)
    at, at_bound = surface.best()
    rho, s = at.T
    products, found, _ = mixed.at(np.exp(-s))
    lead = np.stack([np.ones_like(rho), -rho], axis=1)
    sigma2 = np.einsum("ri,rij,rj->r", lead, products, lead) / model.sample.observations
    delta = mixed.coefficients(found, lead) @ to_columns(model.basis)
    cov, k = inverses(_random_information(model, delta, rho, s, sigma2)), delta.shape[1]
    cov[s == 0, k + 1], cov[s == 0, :, k + 1] = np.nan, np.nan
    cov[at_bound] = np.nan
    return RandomReplicates(delta, cov, rho, np.expm1(s) / model.sample.n_periods, sigma2, at_bound)


@dataclass(frozen=True, slots=True)
class _RandomSurface:
    """T ln|I − ρW| − (U/2)s − (UT/2) ln SSR(ρ, e⁻ˢ) of many samples, as a function of points (K, 2) of (ρ, s)."""

    model: SampleModel
    mixed: Mixed

    @property
    def box(self) -> Array:
        """Lowest and highest (ρ, s)."""
        low, high = inner_interval(self.model.logdet.interval)
        return np.array([[low, 0.0], [high, S_MAX]])

    def height(self, which: NDArray[np.intp], at: Array) -> Array:
        """Values (K,)."""
        products = self.mixed[which].at(np.exp(-at[:, 1]))[0]
        lead = np.stack([np.ones(len(at)), -at[:, 0]], axis=1)
        return self._height(at[:, 0], at[:, 1], np.einsum("ri,rij,rj->r", lead, products, lead))

    def _height(self, rho: Array, s: Array, ssr: Array) -> Array:
        sample = self.model.sample
        determinant = sample.n_periods * self.model.logdet.value(rho, sample.centred)
        N = sample.observations
        return determinant - N / sample.n_periods * s / 2 - N / 2 * np.log(ssr)

    def slopes(self, which: NDArray[np.intp], at: Array) -> tuple[Array, Array]:
        """Gradients (K, 2) and Hessians (K, 2, 2)."""
        (rho, s), mixed = at.T, self.mixed[which]
        q = np.exp(-s)
        products, *parts = mixed.at(q)
        lead = np.stack([np.ones_like(rho), -rho], axis=1)[:, :, None]
        value, first, second = ((form @ lead)[..., 0] for form in (products, *mixed.slopes(*parts)))
        ssr, in_q, in_qq = ((form * lead[..., 0]).sum(axis=1) for form in (value, first, second))
        slope = np.stack([-2 * value[:, 1], -q * in_q], axis=1) / ssr[:, None]
        mixed_slope = 2 * q * first[:, 1]
        curve = np.stack([2 * products[:, 1, 1], mixed_slope, mixed_slope, q * in_q + q**2 * in_qq], axis=1)
        curve = (curve / ssr[:, None]).reshape(-1, 2, 2) - slope[:, :, None] * slope[:, None]
        sample, logdet = self.model.sample, self.model.logdet
        T, N = sample.n_periods, sample.observations
        slope, curve = -N / 2 * slope, -N / 2 * curve
        slope[:, 0] += T * logdet.first(rho, sample.centred)
        slope[:, 1] -= N / T / 2
        curve[:, 0, 0] += T * logdet.second(rho, sample.centred)
        return slope, curve

    def best(self) -> tuple[Array, NDArray[np.bool_]]:
        """Where each is highest (R, 2), climbed to from all local maxima of a grid, and whether that is at an end."""
        low, high = self.box
        rhos = np.linspace(low[0], high[0], LAG_POINTS)
        R = len(self.mixed.within)
        values = np.empty((R, len(rhos), len(S_GRID)))
        for m, s in enumerate(S_GRID):
            P = self.mixed.at(np.full(R, np.exp(-s)))[0]
            ssr = P[:, :1, 0] - 2 * rhos * P[:, :1, 1] + rhos**2 * P[:, 1:, 1]
            values[:, :, m] = self._height(rhos, s, ssr)
        padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        near = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).max(axis=(3, 4))
        which, *place = np.nonzero(values >= near)
        found = self._climb(which, np.stack([rhos[place[0]], S_GRID[place[1]]], axis=1))
        rising = np.argsort(self.height(which, found), kind="stable")  # the highest is written last
        at = np.empty((R, 2))
        at[which[rising]] = found[rising]
        return at, (at[:, 0] <= low[0]) | (at >= high).any(axis=1)

    def _climb(self, which: NDArray[np.intp], at: Array) -> Array:
        """Newton steps, halved until they rise, kept in the box."""
        low, high = self.box
        left = np.arange(len(which))
        for _ in range(ROUNDS):
            here, chosen = at[left], which[left]
            slope, curve = self.slopes(chosen, here)
            held = ((here <= low) & (slope <= 0)) | ((here >= high) & (slope >= 0))
            step, value = _ascent(slope, curve, held), self.height(chosen, here)
            for _ in range(HALVINGS):
                trial = np.clip(here + step, low, high)
                falls = (self.height(chosen, trial) < value) & (np.abs(trial - here).max(axis=1) > SMALL)
                if not falls.any():
                    break
                step[falls] /= 2
            at[left] = trial
            left = left[np.abs(trial - here).max(axis=1) > DONE]
            if not len(left):
                break
        return at


def _ascent(slope: Array, curve: Array, held: NDArray[np.bool_]) -> Array:
    """Newton steps (K, 2) of the coordinates that are not held, upwards also where the surface is not concave."""
    slope, curve = np.where(held, 0.0, slope), np.where(held[:, :, None] | held[:, None], 0.0, curve)
    curve -= held[:, :, None] * np.eye(2)
    sizes, axes = np.linalg.eigh(curve)
    sizes = np.maximum(np.abs(sizes), 1e-8 * np.abs(sizes).max(axis=1, keepdims=True))
    return (axes @ (np.swapaxes(axes, 1, 2) @ slope[..., None] / sizes[..., None]))[..., 0]


def _random_information(model: SampleModel, delta: Array, rho: Array, s: Array, sigma2: Array) -> Array:
    """Expected information (R, k + 3, k + 3) of (δ, ρ, φ, σ²); φ is no parameter where it is zero."""
    (T, n, k), sample = model.Z.shape, model.sample
    P, inverse, omega = spectrum(model.matrix)
    g, U, q = omega / (1 - rho[:, None] * omega), sample.observations / T, np.exp(-s)
    mean = transform_all(model, np.real((means(model.Z, delta) @ inverse.T * g[:, None]) @ P.T))
    columns = np.concatenate([np.broadcast_to(model.Z, (len(rho), T, n, k)), mean[..., None]], axis=3)
    centre = columns.mean(axis=1)
    moved = (columns - centre[:, None]).reshape(len(rho), T * n, k + 1)
    gram = np.swapaxes(moved, 1, 2) @ moved + q[:, None, None] * T * np.swapaxes(centre, 1, 2) @ centre
    out = np.zeros((len(rho), k + 3, k + 3))
    out[:, : k + 1, : k + 1] = gram / sigma2[:, None, None]
    out[:, k, k] += T * quadratic_traces(model, rho)
    trace = -T * model.logdet.first(rho, sample.centred)
    out[:, k, k + 1] = out[:, k + 1, k] = trace * q
    out[:, k, k + 2] = out[:, k + 2, k] = trace / sigma2
    out[:, k + 1, k + 1] = T**2 * U * q**2 / 2
    out[:, k + 1, k + 2] = out[:, k + 2, k + 1] = T * U * q / (2 * sigma2)
    out[:, k + 2, k + 2] = T * U / (2 * sigma2**2)
    none = s == 0
    out[none, k + 1], out[none, :, k + 1] = 0.0, 0.0
    out[none, k + 1, k + 1] = 1.0
    return out


# --- one sample, filtered at a value of ρ or of λ

#: Where s is looked for, and how often its maximum is brought nearer by a parabola.
S_PLACES = np.array([0.0, 0.3, 0.6, 1.0, 1.4, 1.9, 2.5, 3.2, 4.0, 5.0, 6.5, 8.5, 11.0])
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
        best = np.clip(heights.argmax(axis=0), 1, len(S_PLACES) - 2)
        at = np.stack([S_PLACES[best + i] for i in (-1, 0, 1)])
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
        variances = 1 + np.expm1(S_PLACES)[:, None] * self.spread
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
