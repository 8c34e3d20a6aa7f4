"""Maximum likelihood of y = ρWy + Zδ + u, u = λWu + ε: one kernel for every single-equation model.

With A = I − ρW, B = I − λW and the transformed sample (N, T*) of :mod:`spatial_zb.core.transforms`,

    ln L = −(N/2) ln(2πσ²) + T* [D(ρ) + D(λ)] − ε'ε / (2σ²),   ε = B(Ay − Zδ),

D(ρ) = ln|I − ρW| (less ln(1 − ρ) when centred). δ and σ² are concentrated out, and what remains depends on
the data through cross-products only. SAR and SDM are λ = 0, SEM and SDEM are ρ = 0, OLS and SLX are both.

References: Anselin (1988), Spatial Econometrics, ch. 6; Lee & Yu (2010), J. Econometrics 154, eqs 10 and 24.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy

from spatial_zb.core import Array, Values
from spatial_zb.core.likelihood.surface import Surface
from spatial_zb.core.logdet import LogDet, NoLag
from spatial_zb.core.transforms import CrossProducts, TransformedSample, holds_its_lags

#: The derivative of a profile, at one value or at many.
Score = Callable[[Values], Array]

#: Points at which the sign of the profile score is read before its roots are bracketed.
SCAN_POINTS = 101
#: The scan stays inside the admissible interval by this share of its length at either end, …
END_MARGIN = 1e-4
#: … or of so many times the end itself, where the other end lies much further from zero.
LOPSIDED = 10.0
#: Modes of the likelihood this far below the best one are not reported.
MODE_WINDOW = 2.0
#: Where exact determinants are dear they are taken within this many standard errors of an approximate root, …
WINDOW_ERRORS = 6.0
#: … in at most so many windows before the whole interval is scanned exactly.
WINDOW_MOVES = 4
#: Twins of modes are one when their coefficients are this near.
SAME_TWIN = 1e-6
#: Roots found from two starts are one when they are this near.
SAME_ROOT = 1e-9


@dataclass(frozen=True, slots=True)
class _Profile:
    """The likelihood with δ and σ² concentrated out, as a function of (ρ, λ)."""

    products: CrossProducts
    logdet: LogDet
    sample: TransformedSample

    def solve(self, rho: float, lam: float) -> tuple[float, Array, float, float]:
        """Give SSR, the full coefficient vector [1, −ρ, −δ_Q], ∂SSR/∂ρ and ∂SSR/∂λ (envelope theorem)."""
        gram, slope = self.products.filtered(lam)
        lead = np.array([1.0, -rho])
        target = gram[2:, :2] @ lead
        filtered = target.size and self.products.gram1 is not None  # else Q'Q is the identity
        delta = np.linalg.solve(gram[2:, 2:], target) if filtered else target
        full = np.concatenate([lead, -delta])
        residual = gram @ full
        return float(full @ residual), full, float(-2 * residual[1]), float(full @ slope @ full)

    def value(self, rho: float, lam: float) -> float:
        """Concentrated log-likelihood up to its constant."""
        ssr = self.solve(rho, lam)[0]
        determinants = self._determinant(rho) + self._determinant(lam)
        return float(self.sample.concentrated(determinants, ssr))

    def score(self, rho: float, lam: float) -> Array:
        """Gradient of :meth:`value` in (ρ, λ)."""
        ssr, _, d_rho, d_lam = self.solve(rho, lam)
        first = self.logdet.first(np.array([rho, lam]), self.sample.centred)
        return self.sample.concentrated_score(first, ssr, np.array([d_rho, d_lam]))

    def lag_score(self, rho: Values) -> Array:
        """∂/∂ρ of :meth:`value` at λ = 0, for an array of ρ: SSR is then a quadratic, since e_y, e_Wy ⟂ Q."""
        s = self.products.gram0
        slope = 2 * (s[1, 1] * rho - s[0, 1])
        ssr = s[0, 0] - 2 * rho * s[0, 1] + rho**2 * s[1, 1]
        return self.sample.concentrated_score(self.logdet.first(rho, self.sample.centred), ssr, slope)

    def error_score(self, lam: Values) -> Array:
        """∂/∂λ of :meth:`value` at ρ = 0, for an array of λ: the regressions at all of them in one solve."""
        p, (cross, gram1) = self.products, self.products.lagged
        keep = [0, *range(2, len(p.gram0))]  # without Wy
        G0, G1, G01 = (gram[np.ix_(keep, keep)] for gram in (p.gram0, gram1, cross))
        at = np.asarray(lam)[..., None, None]
        gram = G0 - at * G01 + at**2 * G1
        delta = np.linalg.solve(gram[..., 1:, 1:], gram[..., 1:, :1])
        full = np.concatenate([np.ones_like(at), -delta], axis=-2)
        ssr, d_lam = ((full * (form @ full)).sum(axis=(-2, -1)) for form in (gram, 2 * at * G1 - G01))
        return self.sample.concentrated_score(self.logdet.first(lam, self.sample.centred), ssr, d_lam)

    def _determinant(self, coefficient: float) -> float:
        return float(self.logdet.value(coefficient, self.sample.centred)) if coefficient else 0.0


@dataclass(frozen=True, slots=True)
class Maximum:
    """Where the likelihood is highest.

    ``delta`` (k,) is on the scale of Z as given, ``sigma2`` on that of y. ``at_bound`` is True when the
    likelihood still rises at an end of the admissible interval: there is then no interior maximum and no
    standard error. ``modes`` lists (ρ, λ, ln L) of every local maximum within two units of the best, best
    first. ``exchangeable``: the likelihood is the same with ρ and λ exchanged; ρ is then the larger in absolute value.
    """

    rho: float
    lam: float
    delta: Array
    sigma2: float
    log_likelihood: float
    at_bound: bool
    gradient: float
    modes: tuple[tuple[float, float, float], ...]
    exchangeable: bool = False


def spatial_values(model: Any, found: Any) -> list[Any]:
    """ρ and λ of an estimate, as far as the model has them (``lag_y``, ``lag_error``)."""
    return [value for value, on in ((found.rho, model.lag_y), (found.lam, model.lag_error)) if on]


def maximise(
    products: CrossProducts, logdet: LogDet, sample: TransformedSample, lag_y: bool, lag_error: bool
) -> Maximum:
    """Maximise the likelihood over the coefficients that are switched on.

    Parameters
    ----------
    products
        Cross-products; with lags when ``lag_error``.
    logdet
        Log-determinant of W; not asked when neither lag is on.
    sample
        Counts of the transformed sample.
    """
    if not (lag_y or lag_error):
        return _finish(_Profile(products, NoLag(), sample), [(0.0, 0.0)], False)
    profile = _Profile(products, logdet, sample)
    bounds = inner_interval(logdet.interval)
    if lag_y and lag_error:
        pairs, dear = _exchangeable(products), logdet.rough is not logdet and logdet.concave
        modes = _modes_near_rough(profile, bounds) if dear and not pairs else []
        if modes:
            return _finish(profile, modes, False)
        logdet.cover(*bounds)
        surface = _surface(profile, bounds)
        modes = surface.modes()
        if pairs:
            return _maximum_of_pairs(profile, modes, bounds)
        if modes and surface.above_edges(max(modes, key=lambda mode: profile.value(*mode))):
            return _finish(profile, modes, False)
    else:
        place = (lambda c: (c, 0.0)) if lag_y else (lambda c: (0.0, c))
        modes = [place(c) for c in _line_modes(profile, bounds, lag_y)]
        if len(modes) == 1 and _above_ends(profile, modes[0], [place(end) for end in bounds]):
            return _finish(profile, modes, False)
    end = _best_end(profile, bounds, lag_y, lag_error)
    if modes and max(profile.value(*mode) for mode in modes) >= profile.value(*end):
        return _finish(profile, modes, False)
    return _finish(profile, [end], True)


def _exchangeable(products: CrossProducts) -> bool:
    """Whether W maps the space of Z into itself: A and B commute, BZ spans what Z spans, SSR(ρ, λ) = SSR(λ, ρ)."""
    assert products.gram01 is not None, "an error process is estimated"
    assert products.gram1 is not None, "an error process is estimated"
    return holds_its_lags(products.gram01[2:, 2:], products.gram1[2:, 2:])


def _maximum_of_pairs(
    profile: _Profile, modes: list[tuple[float, float]], bounds: tuple[float, float]
) -> Maximum:
    """The maximum where every mode has a twin: of both, that with the larger ρ in absolute value.

    Which twin is higher is rounding, and would depend on the order of the units.
    """
    kept: list[tuple[float, float]] = []
    for pair in map(larger_first, modes):
        if all(max(abs(pair[0] - r), abs(pair[1] - s)) > SAME_TWIN for r, s in kept):
            kept.append(pair)
    end = larger_first(_best_end(profile, bounds, True, True))
    inside = bool(kept) and max(profile.value(*pair) for pair in kept) >= profile.value(*end)
    return replace(_finish(profile, kept if inside else [end], not inside), exchangeable=True)


def larger_first(pair: tuple[float, float]) -> tuple[float, float]:
    """(ρ, λ) of a pair that is the same when exchanged: ρ the larger in absolute value, the positive one of ±c."""
    return max(pair, pair[::-1], key=lambda both: (abs(both[0]), both[0]))


def _above_ends(profile: _Profile, mode: tuple[float, float], ends: list[tuple[float, float]]) -> bool:
    """Whether a mode is higher than both ends, by a bound that avoids the costly determinant at an end.

    A concave D lies below its tangent at the mode, D(c) ≤ D(ĉ) + D′(ĉ)(c − ĉ); SSR is known everywhere.
    """
    if not profile.logdet.concave:
        return False
    at = sum(mode)  # the one coefficient that is not zero
    slope = float(profile.logdet.first(at, profile.sample.centred))
    ssr, *others = (profile.solve(*point)[0] for point in (mode, *ends))
    gains = (
        profile.sample.periods * slope * (sum(end) - at)
        - profile.sample.observations / 2 * np.log(other / ssr)
        for end, other in zip(ends, others, strict=True)
    )
    return max(gains) < 0


def _modes_near_rough(profile: _Profile, bounds: tuple[float, float]) -> list[tuple[float, float]]:
    """Maxima over (ρ, λ) where determinants are dear: found on the approximate surface, solved on the exact one.

    Exact determinants are made in a window of six standard errors around each. None where a maximum is not found again
    there, or where an edge of the square could be higher: the whole square is then searched exactly.
    """
    logdet = profile.logdet
    found: list[tuple[float, float]] = []
    rough, exact = (_surface(replace(profile, logdet=one), bounds) for one in (logdet.rough, logdet))
    for start in rough.modes():
        spread = np.sqrt(np.diag(np.linalg.inv(-rough.curve(start))))
        for at, reach in zip(start, WINDOW_ERRORS * spread, strict=True):
            logdet.cover(max(bounds[0], at - reach), min(bounds[1], at + reach))
        top = exact.top(start)
        if top is None or (np.abs(np.subtract(top, start)) > WINDOW_ERRORS * spread).any():
            return []
        if all(np.hypot(*np.subtract(top, other)) >= SAME_TWIN for other in found):
            found.append(top)
    if not found:
        return []
    best = max(found, key=lambda mode: profile.value(*mode))
    return found if exact.above_edges(best) else []


def _best_end(
    profile: _Profile, bounds: tuple[float, float], lag_y: bool, lag_error: bool
) -> tuple[float, float]:
    """Where the likelihood is highest with ρ or λ at an end of its interval; the other one is free.

    An end may beat every interior mode where the determinant does not vanish there: at ρ = 1 under time
    effects, or below when no eigenvalue of W is negative.
    """
    if not (lag_y and lag_error):
        ends = [(end * lag_y, end * lag_error) for end in bounds]
        return max(ends, key=lambda point: profile.value(*point))
    rho, lam, values = max(_surface(profile, bounds).edges(), key=lambda edge: edge[2].max())
    top = int(np.argmax(values))
    one, other = ((c[max(top - 1, 0)], c[min(top + 1, c.size - 1)]) for c in (rho, lam))
    found = scipy.optimize.minimize_scalar(
        lambda share: -profile.value(*_between(one, other, share)), bounds=(0, 1), method="bounded"
    )
    tops = [_between(one, other, float(found.x)), (float(rho[top]), float(lam[top]))]
    return max(tops, key=lambda point: profile.value(*point))


def _between(one: tuple[float, float], other: tuple[float, float], share: float) -> tuple[float, float]:
    """The point between (one[0], other[0]) and (one[1], other[1])."""
    rho, lam = ((1 - share) * pair[0] + share * pair[1] for pair in (one, other))
    return float(rho), float(lam)


def inner_interval(interval: tuple[float, float]) -> tuple[float, float]:
    """The admissible interval less a small share at either end, at which determinants vanish."""
    low, high = interval
    below, above = (END_MARGIN * min(high - low, LOPSIDED * abs(end)) for end in interval)
    return low + below, high - above


def _line_modes(profile: _Profile, bounds: tuple[float, float], lag_y: bool) -> list[float]:
    """Local maxima over ρ at λ = 0, or over λ at ρ = 0.

    Where the determinant is dear (``logdet.rough`` is another object), falls of the score are found on the
    approximate one and solved on the exact one; without any, the whole interval is scanned exactly.
    """
    logdet = profile.logdet
    score = _line_score(profile, lag_y)
    if logdet.rough is not logdet:
        rough = _line_score(replace(profile, logdet=logdet.rough), lag_y)
        near = [_exact_root(score, rough, c, bounds, logdet.cover) for c in _curve_modes(rough, bounds)]
        found = sorted({c for c in near if c is not None})
        if found:
            return [c for i, c in enumerate(found) if not i or c - found[i - 1] > SAME_ROOT]
        logdet.cover(*bounds)
    return _curve_modes(score, bounds)


def _line_score(profile: _Profile, lag_y: bool) -> Score:
    return profile.lag_score if lag_y else profile.error_score


def _exact_root(
    score: Score,
    rough: Score,
    start: float,
    bounds: tuple[float, float],
    cover: Callable[[float, float], None],
) -> float | None:
    """The fall of the score near an approximate one; None where following it leads to an end or nowhere.

    The window of exact determinants is moved uphill until the score falls inside it.
    """
    step = END_MARGIN * (bounds[1] - bounds[0])
    inner = min(max(start, bounds[0] + step), bounds[1] - step)
    slope = (float(rough(inner + step)) - float(rough(inner - step))) / (2 * step)
    reach = max(WINDOW_ERRORS / np.sqrt(max(-slope, 1e-300)), step)
    for _ in range(WINDOW_MOVES):
        low, high = max(bounds[0], start - reach), min(bounds[1], start + reach)
        cover(low, high)
        at_low, at_high = float(score(low)), float(score(high))
        if at_low > 0 >= at_high:
            return float(follow_roots(score, *map(np.atleast_1d, (low, high, at_low, at_high)))[0])
        start = high if at_high > 0 else low
        if start in bounds:
            return None
    return None


def _curve_modes(score: Score, bounds: tuple[float, float]) -> list[float]:
    """Every local maximum of a one-parameter profile: each fall of its score through zero."""
    grid = np.linspace(*bounds, SCAN_POINTS)
    scores = score(grid)
    falls = np.flatnonzero((scores[:-1] > 0) & (scores[1:] <= 0))
    ends = grid[falls], grid[falls + 1], scores[falls], scores[falls + 1]
    return [float(root) for root in follow_roots(score, *ends)] if falls.size else []


def _surface(profile: _Profile, bounds: tuple[float, float]) -> Surface:
    p = profile.products
    return Surface(p.gram0, *p.lagged, profile.logdet, profile.sample, bounds)


def _finish(profile: _Profile, modes: list[tuple[float, float]], at_bound: bool) -> Maximum:
    constant = _constant(profile)
    ranked = sorted(((r, s, profile.value(r, s) + constant) for r, s in modes), key=lambda m: -m[2])
    rho, lam, log_likelihood = ranked[0]
    delta, sigma2 = _given(profile, rho, lam)
    return Maximum(
        rho=rho,
        lam=lam,
        delta=delta,
        sigma2=sigma2,
        log_likelihood=log_likelihood,
        at_bound=at_bound,
        gradient=float(np.abs(profile.score(rho, lam) * [rho != 0, lam != 0]).max()),
        modes=tuple(m for m in ranked if m[2] > log_likelihood - MODE_WINDOW),
    )


def given_spatial(
    products: CrossProducts, sample: TransformedSample, rho: float, lam: float
) -> tuple[Array, float]:
    """δ̂ (k,) and σ̂² given ρ and λ: generalised least squares, σ² by maximum likelihood."""
    return _given(_Profile(products, NoLag(), sample), rho, lam)


def _given(profile: _Profile, rho: float, lam: float) -> tuple[Array, float]:
    ssr, full, _, _ = profile.solve(rho, lam)
    delta = profile.products.back @ np.concatenate([full[:2], -full[2:]])
    return delta, ssr * profile.products.y_norm**2 / profile.sample.observations


def _constant(profile: _Profile) -> float:
    """−(N/2)(ln 2π + 1 − ln N), and the change of units of y."""
    N = profile.sample.observations
    return float(-N / 2 * (np.log(2 * np.pi) + 1 - np.log(N) + 2 * np.log(profile.products.y_norm)))


#: Roots of the score are followed until they move by less than this.
ROOT_STEP = 1e-13
ROOT_ROUNDS = 100


def follow_roots(
    score: Callable[[Array], Array], low: Array, high: Array, at_low: Array, at_high: Array
) -> Array:
    """Roots of many falling functions between low and high: regula falsi (Illinois), a bisection now and then."""
    root, side = high, np.zeros(len(high))
    for step in range(ROOT_ROUNDS):
        trial = (low + high) / 2 if step % 4 == 3 else (low * at_high - high * at_low) / (at_high - at_low)
        value = score(trial)
        rises = value > 0
        settled = np.abs(trial - root) <= ROOT_STEP
        root = trial
        if np.all(settled | (value == 0) | (np.abs(high - low) <= ROOT_STEP)):
            break
        low, high = np.where(rises, trial, low), np.where(rises, high, trial)
        # the end that stays a second time counts half, so that both ends move
        at_low = np.where(rises, value, np.where(side < 0, at_low / 2, at_low))
        at_high = np.where(rises, np.where(side > 0, at_high / 2, at_high), value)
        side = np.where(rises, 1.0, -1.0)
    return root
