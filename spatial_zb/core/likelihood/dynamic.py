"""Bias of the likelihood with y_{t−1} and W y_{t−1} among the regressors, and the estimate without it.

y_t = τy_{t−1} + ρWy_t + ηWy_{t−1} + X_t β + μ + u_t, u_t = λWu_t + ε_t, over T periods after a given y_0. Given y_0 the
concentrated likelihood is that of :mod:`spatial_zb.core.likelihood`, with two more columns. Taking out μ makes ε_t
correlate with the y_{t−1} of later periods. With S = I − ρW, P = τI + ηW, A = S⁻¹P and

    F = Σ_{h=0}^{T−2} (1 − (h+1)/T) A^h S⁻¹  →  [(1 − τ)I − (ρ + η)W]⁻¹  for T → ∞,

the score s of the transformed likelihood has the mean −b, whatever y_0, μ and X are:

    b_τ = tr F,   b_η = tr WF,   b_ρ = tr W S⁻¹ P F,   and zero for β, λ, σ².

Two estimates follow. With I the information and b at its limit, θ̂ + I(θ̂)⁻¹ b(θ̂) is the correction of Yu, de Jong & Lee
(2008), J. Econometrics 146: 118-134; their further terms tr G and 1/2σ² belong to the likelihood with dummies and are
absent from the transformed one. Solving s(θ) + b(θ) = 0 with the b of T is consistent at fixed T: Yang (2018), J.
Econometrics 205: 423-447. With time effects Wι = ι is needed and every trace leaves out the eigenvalue of ι: Lee & Yu
(2010), Econometric Theory 26: 564-597.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import linalg, sparse

from spatial_zb.core import Array, Values
from spatial_zb.core.likelihood import Maximum
from spatial_zb.core.logdet import EigenLogDet, LogDet
from spatial_zb.core.logdet.factors import random_signs
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.transforms import CrossProducts, TransformedSample

#: (τ, η, ρ, model) ↦ (b_τ, b_η, b_ρ).
Bias = Callable[..., Array]

#: Rademacher probes of the traces where eigenvalues are dear.
PROBES = 64
#: ρ and κ nearer than this: their quotients are taken at the midpoint, the limit.
NEAR = 1e-5
#: Step of the derivative of b: central differences of a smooth function of size one.
STEP = 1e-5
#: A solution of the corrected score must leave no more of it than this, on the scale of its standard deviation.
SOLVED = 1e-6


@dataclass(frozen=True, slots=True)
class Recursion:
    """What the bias needs to know: W, its log-determinant, T after the initial period, whether ι is out."""

    matrix: sparse.csr_array
    logdet: LogDet
    periods: int
    centred: bool


def limit_bias(tau: Values, eta: Values, rho: Values, model: Recursion) -> Array:
    """(b_τ, b_η, b_ρ) at T → ∞, from the log-determinant alone; κ = (ρ + η)/(1 − τ) must be admissible.

    With g(c) = tr W(I − cW)⁻¹, tr F = [n + κ g(κ)]/(1 − τ), and W S⁻¹ F by partial fractions. Of one model, or (3, R) of the
    values (R,) of many.
    """
    kappa, logdet = (rho + eta) / (1 - tau), model.logdet
    apart = rho - kappa
    near = np.abs(apart) < NEAR
    apart = np.where(near, 1.0, apart)

    def g(c: Values) -> Array:
        return -logdet.first(c, model.centred)

    at_rho, at_kappa = g(rho), g(kappa)
    once, twice = (rho * at_rho - kappa * at_kappa) / apart, (at_rho - at_kappa) / apart
    if near.any():
        middle = (rho + kappa) / 2
        slope = -logdet.second(middle, model.centred)
        once, twice = np.where(near, g(middle) + middle * slope, once), np.where(near, slope, twice)
    own = logdet.n - model.centred + kappa * at_kappa
    return np.array([own, at_kappa, tau * once + eta * twice]) / (1 - tau)


def score_bias(tau: float, eta: float, rho: float, model: Recursion) -> Array:
    """(b_τ, b_η, b_ρ) at T; from the eigenvalues where they are known, else from random probes (Hutchinson 1990)."""
    if isinstance(model.logdet, EigenLogDet):
        return _spectral_bias(model.logdet.omega, tau, eta, rho, model)
    W = model.matrix
    solve = filter_solver(W, rho) if rho else lambda right: right
    probes = random_signs(np.random.default_rng(W.shape[0]), (W.shape[0], PROBES))
    parts = _products(probes, lambda right: W @ right, solve, tau, eta, model.periods)
    found = np.array([(probes * part).sum() / PROBES for part in parts])
    return found - _spectral_bias(np.ones(1), tau, eta, rho, model, all_of_it=True) * model.centred


def _spectral_bias(
    omega: NDArray, tau: float, eta: float, rho: float, model: Recursion, all_of_it: bool = False
) -> Array:
    if model.centred and not all_of_it:
        omega = np.delete(omega, np.argmin(np.abs(omega - 1)))
    inverse = 1 / (1 - rho * omega)
    parts = _products(
        np.ones_like(omega),
        lambda right: omega * right,
        lambda right: inverse * right,
        tau,
        eta,
        model.periods,
    )
    return np.array([np.real(part).sum() for part in parts])


def _products(
    right: Array, lag: Callable, solve: Callable, tau: float, eta: float, T: int
) -> tuple[Array, Array, Array]:
    """F, WF and W S⁻¹ P F times ``right``; the sum over h by Horner's rule."""
    start = solve(right)
    F = np.zeros_like(start)
    for h in range(T - 2, -1, -1):
        F = (1 - (h + 1) / T) * start + solve(tau * F + eta * lag(F))
    return F, lag(F), lag(solve(tau * F + eta * lag(F)))


def bias_slope(bias: Bias, tau: Values, eta: Values, rho: Values, model: Recursion) -> Array:
    """∂b/∂(τ, η, ρ), (3, 3), or (3, 3, R) of many, by central differences."""
    at = np.array([tau, eta, rho])
    steps = STEP * np.eye(3).reshape(3, 3, *[1] * (at.ndim - 1))
    return np.stack([(bias(*at + h, model) - bias(*at - h, model)) / (2 * STEP) for h in steps], axis=1)


def carry_over_radius(tau: Values, eta: Values, rho: Values, logdet: LogDet, centred: bool) -> Array:
    """Largest modulus of an eigenvalue of A, (τ + ηω)/(1 − ρω), of one model or (R,) of many: below one, shocks die out.

    ``centred``: with ι out, that of deviations from the mean of the period. Without eigenvalues: at the ends of the
    whole spectrum, ι included, between which the ratio is monotone (complex ω: its modulus on a disc is largest at
    a real point).
    """
    if isinstance(logdet, EigenLogDet):
        omega: NDArray[Any] = logdet.omega
        if centred:
            omega = np.delete(omega, np.argmin(np.abs(omega - 1)))
    else:
        omega = 1 / np.array(logdet.interval)
    tau, eta, rho = (np.asarray(value)[..., None] for value in (tau, eta, rho))
    return np.abs((tau + eta * omega) / (1 - rho * omega)).max(axis=-1)


def corrected(
    products: CrossProducts,
    maximum: Maximum,
    sample: TransformedSample,
    model: Recursion,
    lags: tuple[bool, bool, bool, bool],
) -> Maximum | None:
    """Solve s(θ) + b(θ) = 0, b at T, from the likelihood's maximum; None where no solution is found.

    The unknowns are ρ, λ and the coefficients d of the residual on the last columns of Q, those of y_{t−1} and
    Wy_{t−1}; the regressors before them and σ² are concentrated out.

    Parameters
    ----------
    products
        Cross-products of Z with y_{t−1} and Wy_{t−1} (as far as they are there) as its last columns.
    lags
        Whether τ, η, ρ, λ are estimated.
    """
    system = _Corrected(products, sample, model, lags)
    start = system.start(maximum)
    scale = system.scale(start)
    found = scipy.optimize.root(
        lambda v: system.score(start + scale * v) * scale, np.zeros(start.size), tol=1e-12
    )
    end = start + scale * found.x
    low, high = model.logdet.interval
    inside = all(low < c < high for c in system.split(end)[:2])
    if not inside or not np.abs(system.score(end) * scale).max() < SOLVED:
        return None
    return system.maximum(end, maximum)


@dataclass(frozen=True, slots=True)
class _Corrected:
    """The corrected score as a function of z = (ρ, λ, d), as far as they are estimated."""

    products: CrossProducts
    sample: TransformedSample
    model: Recursion
    lags: tuple[bool, bool, bool, bool]

    @property
    def carried(self) -> int:
        """How many of y_{t−1}, Wy_{t−1} there are."""
        return sum(self.lags[:2])

    def start(self, maximum: Maximum) -> Array:
        """z at the maximum of the likelihood."""
        full = self._full(maximum.rho, maximum.delta)
        d = -full[len(full) - self.carried :]
        return np.array([*self._on(maximum.rho, maximum.lam), *d])

    def _on(self, rho: float, lam: float) -> list[float]:
        return [c for c, on in ((rho, self.lags[2]), (lam, self.lags[3])) if on]

    def _full(self, rho: float, delta: Array) -> Array:
        """[1, −ρ, −d] of coefficients on Z: the inverse of ``back``."""
        back = self.products.back
        lead = np.array([1.0, -rho])
        d = linalg.solve(back[:, 2:], delta - back[:, :2] @ lead)
        return np.concatenate([lead, -d])

    def split(self, z: Array) -> tuple[float, float, Array]:
        """ρ, λ and d."""
        own = iter(z[: len(z) - self.carried])
        rho, lam = (float(next(own)) if on else 0.0 for on in self.lags[2:])
        return rho, lam, z[len(z) - self.carried :]

    def solve(self, z: Array) -> tuple[Array, Array, Array, float]:
        """[1, −ρ, −d] with the first d concentrated out, gram × it, ∂gram/∂λ × it, and σ²."""
        rho, lam, last = self.split(z)
        p, c = self.products, self.carried
        gram, slope = p.filtered(lam)
        first = slice(2, len(gram) - c)
        tail = np.concatenate([[1.0, -rho], -last])
        where = np.r_[0:2, len(gram) - c : len(gram)]
        full = np.empty(len(gram))
        full[where] = tail
        full[first] = -np.linalg.solve(gram[first, first], gram[first, where] @ tail)
        residual = gram @ full
        return full, residual, slope @ full, float(full @ residual) / self.sample.observations

    def carried_coefficients(self, full: Array) -> tuple[float, float]:
        """τ and η."""
        delta = self.products.back @ np.concatenate([full[:2], -full[2:]])
        last = iter(delta[len(delta) - self.carried :])
        tau, eta = (float(next(last)) if on else 0.0 for on in self.lags[:2])
        return tau, eta

    def score(self, z: Array) -> Array:
        """Corrected score in z: b enters through ∂(τ, η)/∂z, and directly for ρ."""
        rho, lam, _ = self.split(z)
        full, residual, sloped, sigma2 = self.solve(z)
        b = score_bias(*self.carried_coefficients(full), rho, self.model)
        carried = b[:2][list(self.lags[:2])]
        rows = self.products.back[len(self.products.back) - self.carried :]
        T, logdet, centred = self.sample.periods, self.model.logdet, self.sample.centred
        out = []
        if self.lags[2]:
            own = residual[1] / sigma2 + T * float(logdet.first(rho, centred))
            out.append(own + b[2] - carried @ rows[:, 1])
        if self.lags[3]:
            out.append(-full @ sloped / (2 * sigma2) + T * float(logdet.first(lam, centred)))
        d = residual[len(residual) - self.carried :] / sigma2
        return np.array([*out, *(d + carried @ rows[:, len(full) - self.carried :])])

    def scale(self, z: Array) -> Array:
        """Rough standard errors of z."""
        _, _, _, sigma2 = self.solve(z)
        sizes = np.sqrt(np.diag(self.products.gram0))
        T, n = self.sample.periods, self.sample.n_units
        spatial = [(sizes[1] ** 2 / sigma2 + T * n / 10) ** -0.5] * self.lags[2] + [
            (T * n) ** -0.5
        ] * self.lags[3]
        return np.array([*spatial, *np.full(self.carried, np.sqrt(sigma2))])

    def maximum(self, z: Array, uncorrected: Maximum) -> Maximum:
        """The solution on the scale of the data; the log-likelihood is that at the solution."""
        rho, lam, _ = self.split(z)
        full, _, _, sigma2 = self.solve(z)
        T, N, centred = self.sample.periods, self.sample.observations, self.sample.centred
        y_norm = self.products.y_norm
        value = -N / 2 * (np.log(2 * np.pi * sigma2 * y_norm**2) + 1) + T * sum(
            float(self.model.logdet.value(c, centred)) for c in (rho, lam) if c
        )
        return Maximum(
            rho=rho,
            lam=lam,
            delta=self.products.back @ np.concatenate([full[:2], -full[2:]]),
            sigma2=sigma2 * y_norm**2,
            log_likelihood=float(value),
            at_bound=False,
            gradient=float(np.abs(self.score(z)).max()),
            modes=uncorrected.modes,
        )
