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
information wrong. Scores are then summed over the periods and equations of a unit, Liang & Zeger (1986), Biometrika 73:
13-22. In the score of a spatial likelihood products of the errors of two units belong to neither: they are terms of their
own, one for each pair, as in Kelejian & Prucha (2001), J. Econometrics 104: 219-257, for one equation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core import Array
from spatial_zb.core.clusters import Clusters
from spatial_zb.core.logdet.entries import FEWEST, PAIR_SIGNS, PAIR_UNITS, dissect, inverse_diagonal
from spatial_zb.core.logdet.factors import factorise, largest_sums, random_signs
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.system import (
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
    likelihood: SystemLikelihood, theta: Array, inverse: Array, clusters: Clusters | None = None
) -> tuple[Array, float]:
    """H⁻¹MH⁻¹ from H⁻¹ (p, p), M of :func:`paired_scores`, and the largest relative error that random signs leave in a
    standard error.

    CR1 has the factor n/(n − 1). Given ``clusters`` it is CR2: residuals that leverage has shortened are stretched, and the
    scores, squares of errors in them too, are those of a system with these errors.
    """
    drawn = None
    if clusters is not None:
        delta, lam = likelihood.split(theta)
        e = likelihood.residuals(theta)
        noise = stretched(e, whitening(likelihood.sigma(e)), clusters)
        drawn = SystemGenerator(likelihood.arrays, "none", delta, lam).of_noise(noise)
    sums, pairs, signs = paired_scores(likelihood, theta, drawn)
    factor = len(sums) / (len(sums) - 1) if drawn is None else 1.0
    cov = inverse @ (sums.T @ sums + pairs) @ inverse * factor
    if len(signs) < 2:
        return cov, 0.0
    each = np.einsum("ab,kbc,ca->ka", inverse, signs, inverse, optimize=True) * factor
    return cov, float((each.std(axis=0, ddof=1) / len(each) ** 0.5 / cov.diagonal()).max() / 2)


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

    σ̂_gl moves with θ̂ and by Σ_t e_itg e_itl of each unit, in which no pairs of units stand; when Σ is diagonal by
    assumption there are none, r = 0.
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
    sums, pairs, _ = paired_scores(likelihood, theta)
    own = sums @ inverse
    products = (e[:, rows] * e[:, columns]).reshape(arrays.sample.periods, n, len(rows))
    squares = products.sum(axis=0) - N / n * sigma[rows, columns]
    influence = np.hstack([own, squares / N + own @ slopes.T])
    alone = sigma[np.ix_(rows, rows)] * sigma[np.ix_(columns, columns)]
    alone = (alone + sigma[np.ix_(rows, columns)] * sigma[np.ix_(columns, rows)]) / N
    both = np.vstack([np.eye(len(theta)), slopes])
    information = both @ inverse @ both.T
    information[len(theta) :, len(theta) :] += alone
    values = np.concatenate([theta, sigma[rows, columns]])
    clustered = influence.T @ influence + both @ inverse @ pairs @ inverse @ both.T
    return values, clustered * (n / (n - 1)), information


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


def _images(
    likelihood: SystemLikelihood, theta: Array
) -> Callable[[int, Array], Iterator[tuple[int, Array]]]:
    """How errors of equation h reach the slopes of spatial parameters a: (h, R (n, c)) ↦ (a, K_ah R).

    K_ah = J (I − λ_gW) W^s 𝐒⁻¹_lh B_h⁻¹ for γ and ψ of equation g, J W B_g⁻¹ for λ_g; J with time effects alone.
    """
    arrays = likelihood.arrays
    m, n, links, K = arrays.m, arrays.sample.n_units, arrays.links, int(arrays.bounds[-1])
    delta, lam = likelihood.split(theta)
    solve = system_solver(*coefficient_matrices(delta, links, m), arrays.matrix)
    backward = [filter_solver(arrays.matrix, c) if c else (lambda right: right) for c in lam]

    def images(h: int, right: Array) -> Iterator[tuple[int, Array]]:
        impulse = backward[h](right)
        stacked = np.zeros((m, n, right.shape[1]))
        stacked[h] = impulse
        response = solve(stacked.reshape(m * n, -1)).reshape(m, n, -1)
        for a, g, l, lagged in zip(links.position, links.row, links.column, links.lagged, strict=True):
            yield int(a), _reach(arrays, response[l], bool(lagged), lam[g])
        for row, g in enumerate(likelihood.active):
            if g == h:
                yield K + row, _reach(arrays, impulse, True, 0.0)

    return images


def _images_back(
    likelihood: SystemLikelihood, theta: Array
) -> Callable[[list[Array]], Iterator[tuple[int, int, Array]]]:
    """The transposes: R_g (n, c) of every equation ↦ (a, h, K_ah'R_g), g the equation of a."""
    arrays = likelihood.arrays
    m, n, links, K = arrays.m, arrays.sample.n_units, arrays.links, int(arrays.bounds[-1])
    delta, lam = likelihood.split(theta)
    gamma, psi = coefficient_matrices(delta, links, m)
    transposed = sparse.csr_array(arrays.matrix.T)
    solve = system_solver(gamma.T, psi.T, transposed)
    backward = [filter_solver(transposed, c) if c else (lambda right: right) for c in lam]

    def images(right: list[Array]) -> Iterator[tuple[int, int, Array]]:
        off = [r - r.mean(axis=0) if arrays.sample.centred else r for r in right]
        for a, g, l, lagged in zip(links.position, links.row, links.column, links.lagged, strict=True):
            stacked = np.zeros((m, n, off[g].shape[1]))
            stacked[l] = off[g] - lam[g] * (transposed @ off[g])
            if lagged:
                stacked[l] = transposed @ stacked[l]
            response = solve(stacked.reshape(m * n, -1)).reshape(m, n, -1)
            for h in range(m):
                yield int(a), h, backward[h](response[h])
        for row, g in enumerate(likelihood.active):
            yield K + row, int(g), backward[g](transposed @ off[g])

    return images


def _reaches(
    likelihood: SystemLikelihood, theta: Array
) -> Iterator[tuple[int, int, NDArray[np.intp], Array]]:
    """(a, h, units j, columns (n, j) of K_ah) of :func:`_images`, some units at a time."""
    m, n = likelihood.arrays.m, likelihood.arrays.sample.n_units
    if not (len(likelihood.arrays.links.position) or len(likelihood.active)):
        return
    images = _images(likelihood, theta)
    for first in range(0, n, COLUMNS):
        chosen = np.arange(first, min(n, first + COLUMNS))
        unit = np.zeros((n, len(chosen)))
        unit[chosen, np.arange(len(chosen))] = 1.0
        for h in range(m):
            for a, reach in images(h, unit):
                yield a, h, chosen, reach


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


def paired_scores(
    likelihood: SystemLikelihood, theta: Array, drawn: SystemArrays | None = None
) -> tuple[Array, Array, Array]:
    """Scores by unit (n, p) without products of errors of two units, squares of these (p, p), and by sign (k, p, p).

    The score of γ, ψ or λ holds Σ_ij K_ij q_i'e_j. Summed by unit, as :func:`unit_scores` does, the products of units i and
    j stand in the sums of both, and their covariance K_ij K_ji is lost: here they are one term each, (i, j) and (j, i)
    together, with squares and products (p, p). Sums by unit are taken less their mean, which lags in time give them.
    ``drawn`` as in :func:`unit_scores`. Up to PAIR_UNITS units pairs are exact.
    """
    arrays, p = likelihood.arrays, len(theta)
    sums, each = unit_scores(likelihood, theta, drawn), np.zeros((1, p, p))
    n, (_, owner) = len(sums), slopes_of(likelihood, theta)
    places = np.array([*arrays.links.position, *range(int(arrays.bounds[-1]), p)], int)
    if len(places):
        weights = scaled_inverse(likelihood.sigma(likelihood.residuals(theta)))
        e = (likelihood if drawn is None else replace(likelihood, arrays=drawn)).residuals(theta)
        q, e = (values.reshape(-1, n, arrays.m) for values in (e @ weights, e))
        way = _pairs if n <= PAIR_UNITS else _probed_pairs
        rows, found = way(likelihood, theta, q, e, owner[places], places)
        sums[:, places] -= rows
        each = np.zeros((len(found), p, p))
        each[:, places[:, None], places] = found
    return sums - sums.mean(axis=0), each.mean(axis=0), each


def _pairs(
    likelihood: SystemLikelihood, theta: Array, q: Array, e: Array, owner: Array, places: Array
) -> tuple[Array, Array]:
    """Row sums (n, r) of Q_a = Σ_h K_ah ∘ q_g'e_h off its diagonal; Σ_{i<j} (Q_a + Q_a')_ij (Q_b + Q_b')_ij, (1, r, r)."""
    n = e.shape[1]
    products, of = np.zeros((len(places), n, n)), {int(a): k for k, a in enumerate(places)}
    for a, h, chosen, reach in _reaches(likelihood, theta):
        k = of[a]
        products[k][:, chosen] += reach * (q[:, :, owner[k]].T @ e[:, chosen, h])
    products[:, range(n), range(n)] = 0.0
    rows = products.sum(axis=2).T
    for product in products:
        product += product.T.copy()
    flat = products.reshape(len(places), -1)
    return rows, (flat @ flat.T / 2)[None]


def _probed_pairs(
    likelihood: SystemLikelihood, theta: Array, q: Array, e: Array, owner: Array, places: Array
) -> tuple[Array, Array]:
    """:func:`_pairs` without n solves: half of E[(Q + Q')v · (Q + Q')v] over signs v, the same in every call.

    Qv = Σ_ht q_tg ∘ K_ah(e_th ∘ v), its diagonal known; the row sums are those of v = 1, exact.
    """
    (_, n, m), r, of = e.shape, len(places), {int(a): k for k, a in enumerate(places)}
    own, _ = _diagonals(likelihood, theta)
    diagonal = np.array(
        [(own[:, a] * (q[:, :, [g]] * e).sum(axis=0)).sum(axis=1) for a, g in zip(places, owner, strict=True)]
    )
    images, images_back = _images(likelihood, theta), _images_back(likelihood, theta)

    def ahead(v: Array) -> Array:
        out = np.zeros((r, n))
        for h in range(m):
            for a, image in images(h, np.ascontiguousarray((e[:, :, h] * v).T)):
                out[of[a]] += (q[:, :, owner[of[a]]].T * image).sum(axis=1)
        return out - diagonal * v

    def back(v: Array) -> Array:
        out = np.zeros((r, n))
        for a, h, image in images_back([(q[:, :, g] * v).T for g in range(m)]):
            out[of[a]] += (e[:, :, h].T * image).sum(axis=1)
        return out - diagonal * v

    signs = random_signs(np.random.default_rng(n), (max(FEWEST, -(-PAIR_SIGNS // n)), n))
    both = [ahead(v) + back(v) for v in signs]
    return ahead(np.ones(n)).T, np.array([b @ b.T for b in both]) / 2


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
