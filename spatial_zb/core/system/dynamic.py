"""Systems with the period before among the regressors: the adjusted likelihood, its maximum, and what follows a shock.

    𝐒 y_t = 𝐀 y_{t−1} + X_t B + W X_t Θ + μ + α_t + u_t,   𝐒 = Γ⊗I − Ψ⊗W,   𝐀 = T⊗I + H⊗W,

T = [τ_gl], H = [η_gl], given y_0. The transformed likelihood ℓ is that of :mod:`spatial_zb.core.system.fiml` with y_{t−1}
and Wy_{t−1} among the columns of Z. Taking out μ makes errors correlate with the y_{t−1} of later periods, so that its
score has a mean of −b at the truth, whatever y_0, μ, X and Σ are. With S_i = Γ − ω_iΨ, A_i = T + ω_iH, 𝒜_i = S_i⁻¹A_i over
the eigenvalues ω_i of W (without that of ι under time effects) and T explained periods,

    F_i = Σ_{h=0}^{T−2} (1 − (h+1)/T) 𝒜_i^h S_i⁻¹,
    b_τ = Σ (F_i)_lg,   b_η = Σ ω_i(F_i)_lg,   b_γ = Σ (𝒜_iF_i)_lg,   b_ψ = Σ ω_i(𝒜_iF_i)_lg,   zero for β, θ, λ, Σ,

and b is the gradient of a(θ) = Σ_{k=1}^{T−1} (T−k)/(Tk) Σ_i tr 𝒜_i^k. What is maximised is therefore the adjusted likelihood
ℓ + a, near the maximum of ℓ: far from it ℓ + a has no bound, since a grows with an explosive 𝒜. Where processes are
persistent and T is short ℓ + a may have no such local maximum. It is then followed from the maximum of ℓ, as ℓ + w·a with w
growing from zero, as far as there is one; w is part of the result.

One equation: the score of Yang (2018), J. Econometrics 205: 423-447 (:mod:`spatial_zb.core.likelihood.dynamic`). That the
correction is a potential is for an autoregression in Lancaster (2002), Review of Economic Studies 69: 647-666, and Dhaene &
Jochmans (2016), Econometric Theory 32: 1178-1215.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core import Array
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.system import Links, SystemArrays, coefficient_matrices, system_solver
from spatial_zb.core.system.fiml import DECREMENT, EDGE, MAX_STEPS, SystemLikelihood, maximise_system
from spatial_zb.core.system.moments import forward_deviations
from spatial_zb.core.transforms import FixedEffects, spatial_lag

#: Steps of the weight of the correction: the first, and the least before the path is given up.
FIRST_STEP, LEAST_STEP = 0.5, 1 / 64
#: A climb that goes beyond this radius of 𝒜 runs away: there is no local maximum.
RUNAWAY = 1.5
#: Scaled curvature below this is treated as flat while climbing, and below the second as no maximum.
FLAT, CONCAVE = 1e-3, 1e-6


@dataclass(frozen=True, slots=True)
class Carried:
    """The places of τ and η: a system given the period before. ``links.lagged`` is True for η."""

    likelihood: SystemLikelihood
    links: Links

    @property
    def periods(self) -> int:
        """T, the explained periods."""
        return self.likelihood.arrays.sample.n_periods

    def matrices(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        """Γ, Ψ, T, H, each (…, m, m), of coefficients (…, p)."""
        arrays = self.likelihood.arrays
        delta = theta[..., : int(arrays.bounds[-1])]
        gamma, psi = coefficient_matrices(delta, arrays.links, arrays.m)
        return gamma, psi, *carried_matrices(delta, self.links, arrays.m)

    def process(self, theta: Array, omega: NDArray) -> tuple[NDArray, NDArray]:
        """S_i⁻¹ and 𝒜_i, each (n, m, m)."""
        gamma, psi, tau, eta = self.matrices(theta)
        w = omega[:, None, None]
        inverse = np.linalg.inv(gamma - w * psi)
        return inverse, inverse @ (tau + w * eta)

    def adjustment(self, theta: Array) -> float:
        """a(θ)."""
        T = self.periods
        _, process = self.process(theta, self.likelihood.determinant_eigenvalues)
        roots = np.linalg.eigvals(process)
        k = np.arange(1, T)
        sums = (roots.ravel() ** k[:, None]).sum(axis=1).real
        return float(((T - k) / (T * k)) @ sums)

    def adjustment_derivatives(self, theta: Array) -> tuple[Array, Array]:
        """b (p,) and ∂b/∂θ (p, p), exact: F and its derivatives by the same recursion (Horner)."""
        links, omega, T = self.all_links(), self.likelihood.determinant_eigenvalues, self.periods
        inverse, process = self.process(theta, omega)
        n, m, q = len(omega), inverse.shape[-1], len(links.position)
        load = np.where(links.lagged, omega[:, None], 1.0)  # (n, q)
        now = np.arange(q) < len(self.likelihood.arrays.links.position)
        column = load[:, None, :, None] * inverse[:, :, links.row, None]  # (n, m, q, 1): S⁻¹ι_g, times ω
        inner = np.where(
            now[:, None], process[:, links.column], np.eye(m)[links.column]
        )  # (n, q, m): d𝒜 = column × inner
        outer = np.where(now[:, None], inverse[:, links.column], 0.0)  # the same of S⁻¹
        F, dF = np.zeros_like(inverse), np.zeros((n, m, q, m), inverse.dtype)
        for h in range(T - 2, -1, -1):
            share = 1 - (h + 1) / T
            dF = column * (share * outer + inner @ F)[:, None] + (process @ dF.reshape(n, m, -1)).reshape(
                dF.shape
            )
            F = share * inverse + process @ F
        further = process @ F
        d_further = column * (inner @ F)[:, None] + (process @ dF.reshape(n, m, -1)).reshape(dF.shape)
        g, l = links.row, links.column
        value = np.where(now, further[:, l, g], F[:, l, g])
        slope = np.where(
            now, d_further.swapaxes(1, 2)[:, :, l, g], dF.swapaxes(1, 2)[:, :, l, g]
        )  # (n, q of d, q)
        gradient, hessian = np.zeros(len(theta)), np.zeros((len(theta),) * 2)
        gradient[links.position] = (load * value).sum(axis=0).real
        hessian[np.ix_(links.position, links.position)] = (load[:, None] * slope).sum(axis=0).real
        return gradient, (hessian + hessian.T) / 2

    def all_links(self) -> Links:
        """γ and ψ, then τ and η."""
        first, second = self.likelihood.arrays.links, self.links
        parts = ((getattr(first, f), getattr(second, f)) for f in ("position", "row", "column", "lagged"))
        return Links(*(np.concatenate(pair) for pair in parts))

    def value(self, theta: Array, weight: float) -> float:
        """ℓ + w·a."""
        value = self.likelihood.value(theta)
        return value + weight * self.adjustment(theta) if weight else value

    def radius(self, theta: Array, centred: bool) -> float:
        """Largest modulus of an eigenvalue of 𝒜; ``centred``: of deviations from the mean of the period."""
        omega = self.likelihood.determinant_eigenvalues if centred else self.spectrum
        return float(np.abs(np.linalg.eigvals(self.process(theta, omega)[1])).max())

    @property
    def spectrum(self) -> NDArray:
        """All eigenvalues of W; a zero stands for all where no spatial lag is estimated."""
        return self.likelihood.omega if self.likelihood.omega.size else np.zeros(1)

    def radius_slope(self, theta: Array) -> Array:
        """∂radius/∂θ (p,): Re(λ̄ w'd𝒜v/(w'v))/|λ| with the eigenvectors w and v of the largest λ."""
        inverse, process = self.process(theta, self.spectrum)
        values, right = np.linalg.eig(process)
        i, k = np.unravel_index(np.argmax(np.abs(values)), values.shape)
        root, v = values[i, k], right[i, :, k]
        left = np.linalg.inv(right[i])[k]  # w' with w'v = 1
        omega, now = self.spectrum[i], len(self.likelihood.arrays.links.position)
        out = np.zeros(len(theta))
        if not np.abs(root):
            return out
        links = self.all_links()
        into, onto = left @ inverse[i], np.array([root * v, v])
        for a, (place, g, l, lagged) in enumerate(
            zip(links.position, links.row, links.column, links.lagged, strict=True)
        ):
            change = into[g] * onto[int(a >= now), l] * (omega if lagged else 1.0)
            out[place] = np.real(np.conj(root) * change) / np.abs(root)
        return out


def carried_matrices(delta: Array, links: Links, m: int) -> tuple[Array, Array]:
    """T = [τ] and H = [η], each (…, m, m)."""
    gamma, eta = coefficient_matrices(delta, links, m)
    return np.eye(m) - gamma, eta


def compressed(arrays: SystemArrays) -> SystemArrays:
    """The same cross-products in as few rows as there are columns: what a likelihood sees, at a fraction of the work."""
    parts = [arrays.y, *arrays.Z]
    if arrays.WZ is not None:
        parts += [arrays.lagged[0], *arrays.WZ]
    R = np.linalg.qr(np.column_stack(parts), mode="r")
    cuts = np.split(R, np.cumsum([part.shape[1] for part in parts])[:-1], axis=1)
    m = arrays.m
    small = replace(arrays, y=cuts[0], Z=tuple(cuts[1 : m + 1]), H=np.empty((len(R), 0)))
    if arrays.WZ is None:
        return small
    return replace(small, Wy=cuts[m + 1], WZ=tuple(cuts[m + 2 :]))


# The maximum ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Followed:
    """Where the path ended.

    ``theta`` (p,), the ``weight`` w of the correction reached, ℓ there and ``adjusted`` = ℓ + w·a; ``before`` (p,) the
    maximum of ℓ, and ℓ ``before_value`` there; Newton ``steps`` in all; ``solved``: whether ℓ has an interior maximum at
    all; ``modes`` and ``edge`` those of :class:`spatial_zb.core.system.fiml.SystemMaximum` before the correction.
    """

    theta: Array
    weight: float
    log_likelihood: float
    adjusted: float
    before: Array
    before_value: float
    steps: int
    decrement: float
    solved: bool
    modes: tuple[float, ...] = ()
    edge: float = -np.inf


def follow(carried: Carried, starts: list[Array]) -> Followed:
    """Maximise ℓ from every start, then ℓ + w·a along w = 0 → 1, while there is a local maximum beside the one before."""
    model = _small(carried)
    best = maximise_system(model.likelihood, starts)
    first = _Climbed(best.theta, best.steps, best.decrement, not best.at_bound)
    found = _follow(model, first, np.arange(len(best.theta)), 1.0)
    return replace(found, modes=best.modes, edge=best.edge)


def follow_restricted(carried: Carried, near: Array, gone: NDArray[np.intp], weight: float = 1.0) -> Followed:
    """The same as far as w = ``weight`` with the parameters ``gone`` at zero; ``near`` (p,) is the estimate there without.

    The maximum at that weight is looked for from ``near`` first, and along its own path only where there is none.
    """
    model, start = _small(carried), near.copy()
    start[gone] = 0.0
    moving = np.setdiff1d(np.arange(len(start)), gone)
    found = _climb(model, start, weight, moving)
    if not found.settled:
        return _follow(model, _climb(model, start, 0.0, moving), moving, weight)
    value, adjusted = model.likelihood.value(found.theta), model.value(found.theta, weight)
    nothing = np.full_like(start, np.nan)
    return Followed(
        found.theta, weight, value, adjusted, nothing, np.nan, found.steps, found.decrement, solved=True
    )


def _small(carried: Carried) -> Carried:
    return Carried(replace(carried.likelihood, arrays=compressed(carried.likelihood.arrays)), carried.links)


def _follow(model: Carried, first: _Climbed, moving: NDArray[np.intp], last: float) -> Followed:
    """Along the path from the maximum of ℓ."""
    steps, theta, weight, step = first.steps, first.theta, 0.0, FIRST_STEP
    decrement = first.decrement
    while first.settled and weight < last and step >= LEAST_STEP:
        aim = min(last, weight + step)
        found = _climb(model, theta, aim, moving)
        steps += found.steps
        if found.settled:
            theta, weight, decrement = found.theta, aim, found.decrement
        else:
            step /= 2
    return Followed(
        theta=theta,
        weight=weight,
        log_likelihood=model.likelihood.value(theta),
        adjusted=model.value(theta, weight),
        before=first.theta,
        before_value=model.likelihood.value(first.theta),
        steps=steps,
        decrement=decrement,
        solved=first.settled,
    )


@dataclass(frozen=True, slots=True)
class _Climbed:
    theta: Array
    steps: int
    decrement: float
    settled: bool


def _climb(model: Carried, theta: Array, weight: float, moving: NDArray[np.intp]) -> _Climbed:
    """Newton's method that leaps over no maximum; not settled where the climb leaves the concave region and runs away."""
    reach = max(1.0, 0.25 * np.sqrt(model.likelihood.arrays.sample.observations))
    value, decrement, concave, steps = model.value(theta, weight), np.inf, False, 0
    for steps in range(MAX_STEPS):
        gradient, hessian = model.likelihood.derivatives(theta)
        size = 1 / np.sqrt(np.maximum(np.abs(np.diag(hessian)[moving]), 1e-300))
        if weight:
            b, slope = model.adjustment_derivatives(theta)
            gradient, hessian = gradient + weight * b, hessian + weight * slope
        gradient, curvature = gradient[moving], -hessian[np.ix_(moving, moving)]
        values, vectors = np.linalg.eigh(curvature * np.outer(size, size))
        concave = bool(values.min() > CONCAVE)
        along = vectors.T @ (size * gradient)
        scaled = vectors @ (along / np.maximum(np.abs(values), CONCAVE if concave else FLAT))
        decrement = float(along @ (along / np.maximum(np.abs(values), CONCAVE)))
        step = np.zeros(len(theta))
        step[moving] = size * scaled * min(1.0, reach / np.abs(scaled).max(initial=1e-300))
        if decrement < DECREMENT:
            theta = theta + step * concave  # quadratic: what is left of the error after it is rounding
            break
        moved = _search(model, theta, value, step, weight)
        if moved is None:
            break
        theta, value = moved
        if model.likelihood.at_edge(theta) or (weight and model.radius(theta, True) > RUNAWAY):
            return _Climbed(theta, steps, decrement, False)
    return _Climbed(theta, steps, decrement, decrement < 1e-7 and concave)


def _search(
    model: Carried, theta: Array, value: float, step: Array, weight: float
) -> tuple[Array, float] | None:
    """Halve the step until the objective does not fall; None when rounding leaves nothing to gain."""
    length = min(1.0, EDGE * float(model.likelihood.room(theta, step)))
    for _ in range(40):
        trial = theta + length * step
        risen = model.value(trial, weight)
        if np.isfinite(risen) and risen > value:
            return trial, risen
        length /= 2
    return None


# Samples --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CarriedGenerator:
    """The fitted system as a source of samples, given the first period.

    Panels differ from the data by what their errors differ by: 𝐒 d_t = 𝐀 d_{t−1} + B⁻¹(ε*_t − ε̂_t), d_0 = 0, so that
    effects and regressors need not be known. ``levels`` (T + 1, n, m) of the data with the first period; ``residuals`` (T,
    n, m) ε̂.
    """

    carried: Carried
    effects: FixedEffects
    theta: Array
    lam: Array
    levels: Array
    residuals: Array

    @property
    def arrays(self) -> SystemArrays:
        """Of the data."""
        return self.carried.likelihood.arrays

    def sample(self, errors: Array) -> SystemArrays:
        """The system with y drawn anew from errors (T, n, m)."""
        arrays = self.arrays
        gamma, psi, tau, eta = self.carried.matrices(self.theta)
        solve, m = system_solver(gamma, psi, arrays.matrix), arrays.m
        moves = errors - self.residuals
        for g in np.flatnonzero(self.lam):
            moves[:, :, g] = filter_solver(arrays.matrix, self.lam[g])(moves[:, :, g].T).T
        y = self.levels.copy()
        apart: Array = np.zeros(self.levels.shape[1:])
        for t, move in enumerate(moves):
            right = apart @ tau.T + (arrays.matrix @ apart) @ eta.T + move
            apart = solve(right.T.ravel()).reshape(m, -1).T
            y[t + 1] += apart
        return self.of_levels(y)

    def of_levels(self, y: Array) -> SystemArrays:
        """The system with responses y (T + 1, n, m), the first period among them."""
        arrays, links, later = self.arrays, self.arrays.links, self.carried.links
        columns = [[y[1:], spatial_lag(arrays.matrix, y[1:])], [y[:-1], spatial_lag(arrays.matrix, y[:-1])]]
        done = [[forward_deviations(v, self.effects).reshape(-1, arrays.m) for v in pair] for pair in columns]
        Z = [block.copy() for block in arrays.Z]
        for found, pair in ((links, done[0]), (later, done[1])):
            places = found.position - arrays.bounds[found.row]
            for g, l, place, lagged in zip(found.row, found.column, places, found.lagged, strict=True):
                Z[g][:, place] = pair[int(lagged)][:, l]
        out = replace(arrays, y=done[0][0], Z=tuple(Z))
        if arrays.WZ is None:
            return out
        return replace(out, Wy=arrays.lag(out.y), WZ=tuple(arrays.lag(block) for block in Z))
