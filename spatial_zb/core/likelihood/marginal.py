"""Log marginal likelihoods of y = ρWy + Zδ + u, u = λWu + ε, with at most one of ρ and λ.

Prior: δ | σ² ~ N(0, σ² g (Z'Z)⁻¹) for all coefficients but an intercept, which is flat; σ² inverse gamma
(ν/2, νs²/2), or 1/σ² where ν = 0; ρ (or λ) on its admissible interval (a, b) with density
((c − a)(b − c))^{q−1} / [B(q, q)(b − a)^{2q−1}], uniform where q = 1. δ and σ² integrate out exactly,

    m(c) = (2π)^{−M/2} |P|^{1/2} |H(c)|^{−1/2} ∫ σ^{−M} e^{−S(c)/2σ²} p(σ²) dσ² · |I − cW|^{T*} p(c),

M = N less the number of flat coefficients, P the prior precision over σ², H(c) = Z_c'Z_c + P and S(c) the
penalised sum of squares at its minimum (Z_c = (I − λW)Z in error models), and c by quadrature in log space.

References: Zellner (1986), in Bayesian Inference and Decision Techniques: 233-243; LeSage & Parent (2007),
Geographical Analysis 39: 241-267; LeSage & Pace (2009), Introduction to Spatial Econometrics, ch. 6; LeSage
(2014), Spatial Statistics 9: 122-145.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import betaln, gammaln, logsumexp

from spatial_zb.core import Array
from spatial_zb.core.logdet import LogDet
from spatial_zb.core.transforms import ColumnBasis, CrossProducts, TransformedSample, cross_products

Curve = Callable[[Array], Array]

#: Nodes of the Gauss-Legendre rule in a panel, and panels at the start.
NODES, PANELS = 21, 16
#: A panel is halved until that moves the integral by less than this share, …
INTEGRAL_TOLERANCE = 1e-11
#: … or it has been halved so often: rounding, not curvature, is then what moves.
HALVINGS = 40
#: Points of the scan for where the integrand is worth integrating, …
SCAN_POINTS = 201
#: … which is where it is within e to this power of its highest value.
NEGLIGIBLE = -60.0


@dataclass(frozen=True, slots=True)
class PriorNumbers:
    """``g`` of Zellner's prior (inf: flat coefficients), ``shape`` q of the Beta, ``nu`` and ``scale`` s² of σ²."""

    g: float
    shape: float = 1.0
    nu: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Data:
    """Stacked, transformed columns: Z (M, k) with its basis, y and Wy (M,), and their lags in error models.

    ``flat`` counts the leading columns of Z with a flat prior (1: an intercept, 0: none).
    """

    Z: Array
    y: Array
    Wy: Array
    basis: ColumnBasis
    flat: int
    lagged: tuple[Array, Array, Array] | None = None


@dataclass(frozen=True, slots=True)
class Integral:
    """ln ∫ exp f, and mean and standard deviation under the density ∝ exp f; NaN where nothing is integrated."""

    log_value: float
    mean: float = float("nan")
    std_dev: float = float("nan")


def log_marginal(
    data: Data,
    logdet: LogDet,
    sample: TransformedSample,
    prior: PriorNumbers,
    lag: Literal["none", "y", "error"],
) -> Integral:
    """Log marginal likelihood, and the posterior mean and standard deviation of ρ or λ.

    Parameters
    ----------
    data
        Columns; with ``lagged`` when ``lag`` is ``"error"``.
    logdet
        Log-determinant of W; not asked when ``lag`` is ``"none"``.
    """
    squares, constant = _conditional(data, sample, prior, lag)
    if lag == "none":
        return Integral(float(squares(np.zeros(1))[0]) + constant)
    low, high = logdet.interval
    support = -betaln(prior.shape, prior.shape) - (2 * prior.shape - 1) * np.log(high - low)

    def integrand(c: Array, determinant: LogDet = logdet) -> Array:
        inside = (prior.shape - 1) * np.log((c - low) * (high - c)) if prior.shape != 1 else 0.0
        return sample.periods * determinant.value(c, sample.centred) + squares(c) + inside

    window = _window(lambda c: integrand(c, logdet.rough), low, high)
    logdet.cover(*window)
    found = log_integral(integrand, *window)
    return Integral(found.log_value + constant + support, found.mean, found.std_dev)


def _conditional(data: Data, sample: TransformedSample, prior: PriorNumbers, lag: str) -> tuple[Curve, float]:
    """ln m given c without ln|I − cW| and p(c): what depends on c, and what does not."""
    k = data.Z.shape[1]
    free = k if np.isinf(prior.g) else data.flat
    precision = np.r_[np.zeros(free), np.full(k - free, 1 / prior.g)]
    N = sample.observations - free
    products = cross_products(data.Z, data.y, data.Wy, data.lagged, data.basis)
    onto = data.basis.Q.T @ np.column_stack([data.y, data.Wy]) / products.y_norm
    quadratic = _lag_squares if data.lagged is None or lag != "error" else _error_squares
    penalised = quadratic(products, onto, precision, lag == "y")
    floor = prior.nu * prior.scale / products.y_norm**2

    def varying(c: Array) -> Array:
        squares, log_h = penalised(c)
        return -(N + prior.nu) / 2 * np.log(squares + floor) - log_h / 2

    units = -(N + prior.nu) / 2 * 2 * np.log(products.y_norm)
    jacobian = np.log(np.abs(np.diag(data.basis.R)[:free] * data.basis.scale[:free])).sum()
    proper = np.log(precision[free:]).sum() / 2 - jacobian
    return varying, float(units + proper + _variance_constant(N, prior))


def _variance_constant(N: int, prior: PriorNumbers) -> float:
    """What integrating σ² out leaves besides S^{−(N+ν)/2}."""
    nu = prior.nu
    if nu == 0:
        return float(gammaln(N / 2) - N / 2 * np.log(np.pi))
    spread = nu / 2 * np.log(nu * prior.scale / 2) - gammaln(nu / 2)
    return float(spread + gammaln((N + nu) / 2) - N / 2 * np.log(2 * np.pi) + (N + nu) / 2 * np.log(2.0))


def _lag_squares(
    products: CrossProducts, onto: Array, precision: Array, lag_y: bool
) -> Callable[[Array], tuple[Array, Array]]:
    """S(ρ) and ln|H| without an error process: Q'Q = I and e ⟂ Q, so S is a quadratic in ρ."""
    shrunk = (onto * (precision / (1 + precision))[:, None]).T @ onto
    form = products.gram0[:2, :2] + shrunk
    log_h = float(np.log1p(precision).sum())

    def squares(c: Array) -> tuple[Array, Array]:
        rho = c if lag_y else np.zeros_like(c)
        return form[0, 0] - 2 * rho * form[0, 1] + rho**2 * form[1, 1], np.full_like(c, log_h)

    return squares


def _error_squares(
    products: CrossProducts, onto: Array, precision: Array, _: bool
) -> Callable[[Array], tuple[Array, Array]]:
    """S(λ) and ln|H(λ)| of the filtered columns, for an array of λ."""
    G0, (G01, G1) = products.gram0, products.lagged
    keep = [0, *range(2, len(G0))]
    G0, G1, G01 = (gram[np.ix_(keep, keep)] for gram in (G0, G1, G01))
    target, penalty = precision * onto[:, 0], float(precision @ onto[:, 0] ** 2)

    def squares(c: Array) -> tuple[Array, Array]:
        lam = c[:, None, None]
        gram = G0 - lam * G01 + lam**2 * G1
        H = gram[:, 1:, 1:] + np.diag(precision)
        right = gram[:, 1:, 0] - target
        if not right.shape[1]:
            return gram[:, 0, 0], np.zeros_like(c)
        solved = np.linalg.solve(H, right[:, :, None])[:, :, 0]
        return gram[:, 0, 0] + penalty - np.sum(right * solved, axis=1), np.linalg.slogdet(H)[1]

    return squares


def _window(curve: Curve, low: float, high: float) -> tuple[float, float]:
    """The part of (low, high) outside of which the integrand is negligible."""
    edges = np.linspace(low, high, SCAN_POINTS + 1)
    values = curve((edges[:-1] + edges[1:]) / 2)
    kept = np.flatnonzero(values > values.max() + NEGLIGIBLE)
    return float(edges[max(kept[0] - 1, 0)]), float(edges[min(kept[-1] + 2, SCAN_POINTS)])


def log_integral(curve: Curve, low: float, high: float) -> Integral:
    """ln ∫ exp(curve) over (low, high), with mean and standard deviation: panels halved until they agree.

    ``curve`` (m,) → (m,) is never asked at the ends.
    """
    edges = np.linspace(low, high, PANELS + 1)
    pending = _panels(curve, edges[:-1], edges[1:])
    done: list[Array] = []
    for _ in range(HALVINGS):
        middle = (pending[0] + pending[1]) / 2
        halves = _panels(curve, np.concatenate([pending[0], middle]), np.concatenate([middle, pending[1]]))
        finer = logsumexp(halves[2].reshape(2, -1), axis=0)
        total = logsumexp(np.hstack([finer, *(panels[2] for panels in done)]))
        settled = np.abs(np.exp(finer - total) - np.exp(pending[2] - total)) < INTEGRAL_TOLERANCE
        both = np.r_[settled, settled]
        done.append(halves[:, both])
        pending = halves[:, ~both]
        if not pending.size:
            break
    panels = np.hstack([*done, pending])
    value = float(logsumexp(panels[2]))
    share = np.exp(panels[2] - value)
    mean = float(share @ panels[3])
    return Integral(value, mean, float(np.sqrt(max(share @ panels[4] - mean**2, 0.0))))


_ROOTS, _SHARES = np.polynomial.legendre.leggauss(NODES)


def _panels(curve: Curve, left: Array, right: Array) -> Array:
    """Rows left, right, ln ∫, E c and E c² of each panel, (5, m)."""
    half = (right - left) / 2
    nodes = (left + right)[:, None] / 2 + half[:, None] * _ROOTS
    values = curve(nodes.ravel()).reshape(nodes.shape) + np.log(_SHARES)
    level = logsumexp(values, axis=1)
    share = np.exp(values - np.where(np.isfinite(level), level, 0.0)[:, None])
    return np.vstack([left, right, level + np.log(half), (share * nodes).sum(1), (share * nodes**2).sum(1)])
