"""Scores of the likelihood of a spatial system by unit, and the covariances that are made of them.

When ε is not normal this is quasi-maximum likelihood. With H the observed information of (δ, λ) after Σ is
concentrated out, the covariance is H⁻¹(H + C)H⁻¹. The score of a coefficient is
linear-quadratic in ε_t; its quadratic part has on the diagonal of unit i

    (Σ⁻¹ε_i)_g · Σ_h r_ih ε_ih,   r_ih = [W^s B_g 𝐒⁻¹_{lh} B_h⁻¹]_ii less its mean over i (s = 0 for γ, 1 for ψ),

the mean going to the score of Σ. C holds the third and fourth cumulants of ε on these diagonals; it vanishes
for normal errors, and when every unit has the same r. Lee (2004), Econometrica 72: 1899-1925, theorem 3.2,
carried over to systems.

These r are diagonals of functions of W, (1 − λ_gω) ω^s [𝐒(ω)⁻¹]_lh/(1 − λ_hω) at ω = W, 𝐒(ω) = Γ − ωΨ: rational, with poles
where 1 − cω = 0 for c an eigenvalue of Γ⁻¹Ψ or a λ. In partial fractions they are those of I, W, W², W³ and of a few
(I − cW)⁻¹, which a dissection of the graph gives without m·n solves.

Errors that go together over time, or have variances of their own in every unit, leave the estimate what it is and the
information wrong. Scores are then summed over the periods and equations of a unit, and the covariance is
H⁻¹(Σ_i s_i s_i')H⁻¹ n/(n − 1): Liang & Zeger (1986), Biometrika 73: 13-22, for the score of a spatial likelihood.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core import Array
from spatial_zb.core.clusters import Clusters
from spatial_zb.core.logdet.entries import dissect, inverse_diagonal
from spatial_zb.core.logdet.factors import factorise, largest_sums
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.system.arrays import (
    COLUMNS,
    SystemArrays,
    SystemGenerator,
    coefficient_matrices,
    system_solver,
    within_residuals,
)
from spatial_zb.core.system.fiml import SystemLikelihood, slopes_of
from spatial_zb.core.system.instrumental import scaled_inverse, stretched, system_clusters, whitening
from spatial_zb.core.transforms import TransformedSample

#: Up to this many units diagonals are read from all columns.
FEW = 300
#: Poles of at most this size are none; functions are fitted at so many points, and must hold at the eigenvalues of W to
#: ACCURACY, with coefficients of at most LARGEST: near each other poles take large ones that cancel.
POLE, SAMPLED, ACCURACY, LARGEST = 1e-9, 60, 1e-9, 1e5


def quasi_covariance(likelihood: SystemLikelihood, theta: Array, inverse: Array) -> Array:
    """H⁻¹(H + C)H⁻¹ from H⁻¹ (p, p)."""
    arrays = likelihood.arrays
    e = likelihood.residuals(theta)
    diagonals, owner = score_diagonals(likelihood, theta)
    inverse_sigma = scaled_inverse(likelihood.sigma(e))
    weighted = e @ inverse_sigma
    fourth = _fourth(within_residuals(e, arrays.sample), inverse_sigma, arrays.sample)
    C = np.einsum("iah,ibk,abhk->ab", diagonals, diagonals, fourth[np.ix_(owner, owner)], optimize=True)
    if arrays.sample.periods == arrays.sample.n_periods:  # else Σ_t of demeaned slopes is zero
        C = C + _third(likelihood, theta, e, weighted, diagonals, owner)
    cov = inverse + inverse @ C @ inverse
    return (cov + cov.T) / 2


def clustered_covariance(
    likelihood: SystemLikelihood,
    theta: Array,
    inverse: Array,
    clusters: Clusters | None = None,
    paired: bool = False,
) -> Array:
    """H⁻¹MH⁻¹ from H⁻¹ (p, p), M the outer products of the scores of the units, in which Σ̂ moves along with θ̂.

    CR1 has the factor n/(n − 1). Given ``clusters`` it is CR2: residuals that leverage has shortened are stretched, and the
    scores, squares of errors in them too, are those of a system with these errors. ``paired``: M of :func:`paired_meat`.
    """
    if clusters is None and paired:
        return inverse @ paired_meat(likelihood, theta) @ inverse
    if clusters is None:
        scores = unit_scores(likelihood, theta) @ inverse
        return scores.T @ scores * (len(scores) / (len(scores) - 1))
    arrays = likelihood.arrays
    delta, lam = likelihood.split(theta)
    e = likelihood.residuals(theta)
    noise = stretched(e, whitening(likelihood.sigma(e)), clusters)
    drawn = SystemGenerator(arrays, "none", delta, lam).of_noise(noise)
    if paired:
        return inverse @ paired_meat(likelihood, theta, drawn) @ inverse
    scores = unit_scores(likelihood, theta, drawn) @ inverse
    return scores.T @ scores


def likelihood_clusters(likelihood: SystemLikelihood, theta: Array) -> Clusters:
    """Clusters of the derivatives of the mean of every filtered equation in its δ, whitened by Σ̂⁻¹.

    The mean of an endogenous regressor is that of the reduced form; λ and Σ are not in the mean.
    """
    arrays = likelihood.arrays
    delta, lam = likelihood.split(theta)
    shape = (arrays.sample.periods, arrays.sample.n_units, arrays.m)
    mean = SystemGenerator(arrays, "none", delta, lam).of_noise(np.zeros(shape))
    sigma = likelihood.sigma(likelihood.residuals(theta))
    return system_clusters(list(mean.filtered(lam)[1]), whitening(sigma), arrays.sample)


def with_error_covariances(
    likelihood: SystemLikelihood, theta: Array, inverse: Array
) -> tuple[Array, Array, Array]:
    """Covariances between equations σ_gl, g < l, below θ: values (p + r,), their covariance clustered and by information.

    σ̂_gl moves with θ̂ and by Σ_t e_itg e_itl of each unit; when Σ is diagonal by assumption there are none, r = 0.
    """
    arrays = likelihood.arrays
    n, N = arrays.sample.n_units, arrays.sample.observations
    rows, columns = np.triu_indices(arrays.m, 1)
    if likelihood.sigma_form == "diagonal":
        rows = columns = np.empty(0, int)
    e = likelihood.residuals(theta)
    D, owner = slopes_of(likelihood, theta)
    sigma, v = e.T @ e / N, e.T @ D
    slopes = -(v[rows] * (columns[:, None] == owner) + v[columns] * (rows[:, None] == owner)) / N  # (r, p)
    own = unit_scores(likelihood, theta) @ inverse
    products = (e[:, rows] * e[:, columns]).reshape(arrays.sample.periods, n, len(rows))
    squares = products.sum(axis=0) - N / n * sigma[rows, columns]
    influence = np.hstack([own, squares / N + own @ slopes.T])
    alone = sigma[np.ix_(rows, rows)] * sigma[np.ix_(columns, columns)]
    alone = (alone + sigma[np.ix_(rows, columns)] * sigma[np.ix_(columns, rows)]) / N
    both = np.vstack([np.eye(len(theta)), slopes])
    information = both @ inverse @ both.T
    information[len(theta) :, len(theta) :] += alone
    values = np.concatenate([theta, sigma[rows, columns]])
    return values, influence.T @ influence * (n / (n - 1)), information


def unit_scores(likelihood: SystemLikelihood, theta: Array, drawn: SystemArrays | None = None) -> Array:
    """Scores of the concentrated likelihood by unit, (n, p), all equations and periods of a unit together.

    Unit i has Σ_t q_itg D_ita − T*r_i,a of parameter a of equation g, q = Σ⁻¹e, and, since Σ̂ follows θ, its score of Σ
    along dΣ/dθ_a = −(v_a ι_g' + ι_g v_a')/N, v_a = E'D_a. They sum to the gradient, and each has a mean of zero however
    the errors of a unit go together over time, where their covariance is Σ in every period. ``drawn``: the same of a system
    with other errors, Σ̂ and its derivative staying.
    """
    arrays = likelihood.arrays
    n, periods, N = arrays.sample.n_units, arrays.sample.periods, arrays.sample.observations
    e = likelihood.residuals(theta)
    inverse = scaled_inverse(likelihood.sigma(e))
    D, owner = slopes_of(likelihood, theta)
    v = e.T @ D
    if drawn is not None:
        other = replace(likelihood, arrays=drawn)
        e, (D, _) = other.residuals(theta), slopes_of(other, theta)
    q = e @ inverse
    out = (q[:, owner] * D).reshape(-1, n, len(theta)).sum(axis=0)
    raw, _ = _diagonals(likelihood, theta)
    out -= periods * raw[:, np.arange(len(theta)), owner]
    if likelihood.sigma_form == "diagonal":
        v = np.where(np.arange(arrays.m)[:, None] == owner, v, 0.0)
    along = ((q @ v) * q[:, owner]).reshape(-1, n, len(theta)).sum(axis=0)
    return out - (along - N / n * (inverse @ v)[owner, np.arange(len(theta))]) / N


def score_diagonals(likelihood: SystemLikelihood, theta: Array) -> tuple[Array, NDArray[np.intp]]:
    """r (n, p, m), zero for coefficients of exogenous variables, and the equation (p,) of each parameter."""
    out, owner = _diagonals(likelihood, theta)
    return out - out.mean(axis=0), owner


def _diagonals(likelihood: SystemLikelihood, theta: Array) -> tuple[Array, NDArray[np.intp]]:
    """The same with their means."""
    _, owner = slopes_of(likelihood, theta)
    n, m = likelihood.arrays.sample.n_units, likelihood.arrays.m
    out = np.zeros((n, len(theta), m))
    if n > FEW and (len(likelihood.arrays.links.position) or len(likelihood.active)):
        delta, lam = likelihood.split(theta)
        found = _in_fractions(likelihood, *coefficient_matrices(delta, likelihood.arrays.links, m), lam)
        if found is not None:
            return found, owner
    for a, h, chosen, reach in _reaches(likelihood, theta):
        out[chosen, a, h] = reach[chosen, np.arange(len(chosen))]
    return out, owner


def _reaches(
    likelihood: SystemLikelihood, theta: Array
) -> Iterator[tuple[int, int, NDArray[np.intp], Array]]:
    """(a, h, units j, columns (n, j) of K_ah): how errors of equation h in units j reach the slope of parameter a.

    K_ah = J (I − λ_gW) W^s 𝐒⁻¹_lh B_h⁻¹ for γ and ψ of equation g, J W B_g⁻¹ for λ_g; J with time effects alone.
    """
    arrays = likelihood.arrays
    m, n, links = arrays.m, arrays.sample.n_units, arrays.links
    delta, lam = likelihood.split(theta)
    if not (len(links.position) or len(likelihood.active)):
        return
    gamma, psi = coefficient_matrices(delta, links, m)
    solve = system_solver(gamma, psi, arrays.matrix)
    backward = [filter_solver(arrays.matrix, c) if c else (lambda right: right) for c in lam]
    K = int(arrays.bounds[-1])
    for first in range(0, n, COLUMNS):
        chosen = np.arange(first, min(n, first + COLUMNS))
        for h in range(m):
            unit = np.zeros((n, len(chosen)))
            unit[chosen, np.arange(len(chosen))] = 1.0
            impulse = backward[h](unit)
            stacked = np.zeros((m, n, len(chosen)))
            stacked[h] = impulse
            response = solve(stacked.reshape(m * n, -1)).reshape(m, n, -1)
            for a, g, l, lagged in zip(links.position, links.row, links.column, links.lagged, strict=True):
                yield int(a), h, chosen, _reach(arrays, response[l], bool(lagged), lam[g])
            for row, g in enumerate(likelihood.active):
                if g == h:
                    yield K + row, h, chosen, _reach(arrays, impulse, True, 0.0)


def _in_fractions(likelihood: SystemLikelihood, gamma: Array, psi: Array, lam: Array) -> Array | None:
    """:func:`_diagonals` by partial fractions; None where poles are too near each other, or the graph has no cuts."""
    arrays, W = likelihood.arrays, likelihood.arrays.matrix
    c = np.concatenate([np.linalg.eigvals(np.linalg.solve(gamma, psi)), lam[likelihood.active]])
    c = np.unique(c[np.abs(c) > POLE].round(14))
    c = c.real if not c.imag.any() else c
    if (np.abs(c) * largest_sums(W) >= 1).any() or (tree := dissect(W)) is None:
        return None
    reach = np.abs(likelihood.omega).max()
    angles = np.pi * (np.arange(SAMPLED) + 0.5) / SAMPLED
    fit, check = _fractions(reach * np.cos(angles), c), _fractions(likelihood.omega, c)
    coefficients = np.linalg.lstsq(
        fit, _functions(likelihood, gamma, psi, lam, reach * np.cos(angles)), rcond=None
    )[0]
    wanted = _functions(likelihood, gamma, psi, lam, likelihood.omega)
    if np.abs(check @ coefficients - wanted).max() > ACCURACY or np.abs(coefficients).max() > LARGEST:
        return None
    square = sparse.csr_array(W @ W)
    third = square.multiply(W.T).sum(axis=1)  # diag(W³) = Σ_j (W²)_ij w_ji
    own = [
        np.ones(W.shape[0]),
        W.diagonal(),
        square.diagonal(),
        third,
        *(inverse_diagonal(tree, pole) for pole in c),
    ]
    if arrays.sample.centred:
        own = [a - b for a, b in zip(own, _column_means(W, c), strict=True)]
    K, active = int(arrays.bounds[-1]), len(likelihood.active)
    out = np.zeros((W.shape[0], K + active, arrays.m))
    spatial = [*arrays.links.position, *range(K, K + active)]
    found = (np.column_stack(own) @ coefficients).real.reshape(W.shape[0], len(spatial), arrays.m)
    out[:, np.array(spatial, int)] = found
    return out


def _fractions(omega: NDArray, c: NDArray) -> NDArray:
    """1, ω, ω², ω³ and 1/(1 − cω), a column each."""
    return np.column_stack([*(omega**power for power in range(4)), *(1 / (1 - pole * omega) for pole in c)])


def _functions(likelihood: SystemLikelihood, gamma: Array, psi: Array, lam: Array, omega: NDArray) -> NDArray:
    """What W is put into: (q, spatial parameters · m)."""
    links, m = likelihood.arrays.links, len(gamma)
    inverse = np.linalg.inv(gamma - omega[:, None, None] * psi)
    ahead, back = 1 - omega[:, None] * lam, 1 / (1 - omega[:, None] * lam)
    out = []
    for g, l, lagged in zip(links.row, links.column, links.lagged, strict=True):
        out.append(inverse[:, l] * back * (ahead[:, g] * omega ** int(lagged))[:, None])
    for g in likelihood.active:
        out.append(np.eye(m)[g] * (omega * back[:, g])[:, None])
    return np.hstack(out)


def _column_means(W: sparse.csr_array, c: NDArray) -> list[NDArray]:
    """Means of the columns of I, W, W², W³ and of every (I − cW)⁻¹, (n,) each."""
    n, transposed = W.shape[0], sparse.csr_array(W.T)
    out: list[NDArray] = [np.full(n, 1 / n)]
    for _ in range(3):
        out.append(transposed @ out[-1])
    for pole in c:
        system = sparse.csc_array(sparse.eye_array(n, format="csc") - pole * W)
        out.append(factorise(system, True).solve(np.full(n, 1 / n, system.dtype), trans="T"))
    return out


def _reach(arrays: SystemArrays, columns: Array, lagged: bool, lam: float) -> Array:
    """J (I − λW) W^s applied to columns."""
    moved = arrays.matrix @ columns if lagged else columns
    if lam:
        moved = moved - lam * (arrays.matrix @ moved)
    return moved - moved.mean(axis=0) if arrays.sample.centred else moved


def paired_meat(likelihood: SystemLikelihood, theta: Array, drawn: SystemArrays | None = None) -> Array:
    """M (p, p) of scores whose products of errors of two units are counted as pairs, with their factor n/(n − 1).

    The score of γ, ψ or λ holds Σ_ij K_ij q_i'e_j. Summed by unit, as :func:`unit_scores` does, the products of units i and
    j stand in the sums of both, and their covariance K_ij K_ji is lost: here they are one term each, (i, j) and (j, i)
    together. Sums by unit are taken less their mean, which lags in time give them. ``drawn`` as in :func:`unit_scores`.
    """
    arrays = likelihood.arrays
    sums = unit_scores(likelihood, theta, drawn)
    n, (_, owner) = len(sums), slopes_of(likelihood, theta)
    weights = scaled_inverse(likelihood.sigma(likelihood.residuals(theta)))
    e = (likelihood if drawn is None else replace(likelihood, arrays=drawn)).residuals(theta)
    shape = (arrays.sample.periods, n, arrays.m)
    q, e = (e @ weights).reshape(shape), e.reshape(shape)
    products: dict[int, Array] = {}
    for a, h, chosen, reach in _reaches(likelihood, theta):
        pair = products.setdefault(a, np.zeros((n, n)))
        pair[:, chosen] += reach * (q[:, :, owner[a]].T @ e[:, chosen, h])
    places = np.array(sorted(products), int)
    for a in places:
        np.fill_diagonal(products[a], 0.0)
        sums[:, a] -= products[a].sum(axis=1)
    sums = sums - sums.mean(axis=0)
    meat = sums.T @ sums
    if len(places):
        both = np.array([(products[a] + products[a].T).ravel() for a in places])
        meat[np.ix_(places, places)] += both @ both.T / 2
    return meat * (n / (n - 1) if drawn is None else 1.0)


def _fourth(within: Array, inverse_sigma: Array, sample: TransformedSample) -> Array:
    """Σ_t of the cumulants κ of [(Σ⁻¹ε)_a, (Σ⁻¹ε)_b, ε_h, ε_k], (m, m, m, m), from within residuals (T, n, m).

    With Q = I − ιι'/T (and J likewise) within residuals have cumulants Σ_s Q_ts⁴ as large as those of ε, and
    the score has Σ_t Q_tt² of them.
    """
    e = within.reshape(-1, within.shape[2])
    weighted, M = e @ inverse_sigma, len(e)
    raw = np.einsum("ra,rb,rh,rk->abhk", weighted, weighted, e, e, optimize=True) / M
    ww, we, ee = weighted.T @ weighted / M, weighted.T @ e / M, e.T @ e / M
    pairs = (
        np.einsum("ab,hk->abhk", ww, ee) + np.einsum("ah,bk->abhk", we, we) + np.einsum("ak,bh->abhk", we, we)
    )
    T = sample.n_periods
    demeaned = sample.periods < T
    shrink = (_fourth_powers(T) if demeaned else 1.0) * (
        _fourth_powers(sample.n_units) if sample.centred else 1.0
    )
    return (raw - pairs) / shrink * (T * (1 - demeaned / T) ** 2)


def _fourth_powers(size: int) -> float:
    """Σ_s Q_ts⁴ of the demeaning matrix of this size."""
    return (1 - 1 / size) ** 4 + (size - 1) / size**4


def _third(
    likelihood: SystemLikelihood, theta: Array, e: Array, weighted: Array, diagonals: Array, owner: NDArray
) -> Array:
    """Third cumulants: sums over periods of the mean slopes times r; zero under unit effects."""
    arrays = likelihood.arrays
    n = arrays.sample.n_units
    _, lam = likelihood.split(theta)
    _, Z = arrays.filtered(lam)
    slopes = np.column_stack([*Z, np.zeros((len(e), len(likelihood.active)))])
    sums = slopes.reshape(-1, n, slopes.shape[1]).sum(axis=0)  # (n, p)
    cumulant = np.einsum("ra,rb,rh->abh", weighted, weighted, e, optimize=True) / len(e)
    half = np.einsum("ia,ibh,abh->ab", sums, diagonals, cumulant[np.ix_(owner, owner)], optimize=True)
    return half + half.T
