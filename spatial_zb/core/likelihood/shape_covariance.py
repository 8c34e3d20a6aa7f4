r"""Covariances of the estimate of a panel of any shape; parameters are ordered (δ, ρ, λ, σ²).

Off balanced panels the variance Ω of the scores and their derivative 𝓗 are two matrices, V = 𝓗⁻¹Ω𝓗⁻ᵀ. With P = I − M,
η = BG(Zδ + Dα), and the notation of :mod:`spatial_zb.core.likelihood.shape`,

    Ω_δδ = Z'B'MBZ/σ²,  Ω_δρ = Z'B'Mη/σ²,  Ω_ρρ = η'Mη/σ² + tr(F'MF) + tr(MFMF),
    Ω_λλ = tr(MHMH) + tr(MHMH'),  Ω_ρλ = tr(MH'MF) + tr(MHMF),
    Ω_ρσ = tr(MF)/σ²,  Ω_λσ = tr(MH)/σ²,  Ω_σσ = (N − r)/2σ⁴,  Ω_δλ = Ω_δσ = 0.

η has the effects in it, and its estimate is η̂ = η + F P_Q ε, P_Q onto [BD, BZ]: η̂'M_Zη̂ is too large by
σ²tr(M_Z F P_Q F'M_Z), which is taken off. 𝓗 is observed; with dM = (MHP + PH'M)dλ its traces are exact. On balanced
panels with a constant row-normalised W, F maps BD into itself: Ω is the expected information, and so is E𝓗.

Clustered by unit: ψ_ρ = η'ε + ε'Kε, K = sym(MFM) − tr(MF)/(N − r) M, so that with Y_ij = e_i'K_ij e_j
Ω = Σ_i s_i s_i' + 2 Σ_{i≠j} Y_ij Y_ij',  s_i = (linear parts)_i'e_i + Y_ii.
CR1 is that of complete panels (:func:`spatial_zb.core.likelihood.covariance.unit_meat`): K = sym(MFM) − tr(MF)/(N − r) I,
and s_i less σ̂²tr(K_ii M_ii) and their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core import Array
from spatial_zb.core.likelihood.covariance import (
    DistanceKernel,
    concentrated,
    conley_sum,
    kernel_sum,
    row_moments,
    sandwiched,
)
from spatial_zb.core.likelihood.shape import AT_ONCE, Filtered, ShapeEstimate, ShapeScore, estimate_at
from spatial_zb.core.likelihood.shape_rows import DenseForm, RowFilter, ShapeTraces, between_units
from spatial_zb.core.logdet.factors import random_signs
from spatial_zb.core.transforms import EffectSpace
from spatial_zb.core.unit_rows import RowClusters, UnitPairs, clustered_meat, row_clusters

#: Probes of traces of the second order where filters are not dense.
PROBES = 96
#: Forms that points of one W, V and effects hold between them.
FORMS = 4
#: Probes of sums over pairs of units there.
PAIR_PROBES = 32
#: Third and fourth moments of the errors are taken from residuals of at most so many rows: all pairs of them are visited.
PAIRED_ROWS = 8000
#: A derivative of the mean in ρ of at most this share of BWy is rounding.
MEAN_IS_ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class ShapePoint:
    """An estimate, or a value under test, with what its covariances are made of.

    ``kept``: forms of the last points of one W, V and effects, whose models may differ.
    """

    found: ShapeEstimate
    kept: dict[tuple[float | None, float], DenseForm] = field(default_factory=dict, repr=False, kw_only=True)

    @property
    def k(self) -> int:
        """Regressors."""
        return self.found.score.shape.Z.shape[1]

    @property
    def rho(self) -> slice:
        """Where ρ stands among the parameters; λ and σ² come after it."""
        return slice(self.k, self.k + 1)

    @property
    def places(self) -> dict[str, int]:
        """Where the coefficients of ``forms`` stand."""
        return {"rho": self.k, "lam": self.k + 1}

    @property
    def active(self) -> list[int]:
        """Which parameters are estimated."""
        return self.found.score.shape.active

    @property
    def excess(self) -> Any:
        """What estimated effects add to η̂'Mη̂/σ²."""
        return self.traces.excess

    @property
    def derivative(self) -> Array:
        """What stands on either side of the variance of the scores."""
        return observed_derivative(self)

    @cached_property
    def BZ(self) -> Array:
        """MBZ (N, k)."""
        at = self.found.at
        return at.off(at.apply(self.found.score.shape.Z))

    @cached_property
    def BWy(self) -> Array:
        """MBWy (N,)."""
        at = self.found.at
        return at.off(at.apply(self.found.score.Wy))

    @cached_property
    def He(self) -> tuple[Array, Array]:
        """Hê and H'ê (N,), zero without a spatial error."""
        e = self.found.e
        if self.found.score.shape.V is None:
            return np.zeros_like(e), np.zeros_like(e)
        return self.found.at.error_filter.ahead(e), self.found.at.error_filter.back(e)

    @cached_property
    def mean(self) -> Array:
        """Mη̂ = M(BWy − Fê) (N,): the derivative of the mean in ρ, with the effects that are estimated."""
        e = self.found.e
        if self.found.score.shape.W is None:
            return np.zeros_like(e)
        return self.BWy - self.found.at.off(self.ahead("rho", e))

    @cached_property
    def lag(self) -> RowFilter:
        """G at ρ̂."""
        assert self.found.score.shape.W is not None, "there is a lag of y"
        return RowFilter(self.found.score.shape.W, self.found.rho)

    @property
    def names(self) -> list[str]:
        """``"rho"`` and ``"lam"``, as far as the model has them: F and H are known by these."""
        shape = self.found.score.shape
        return [name for name, W in (("rho", shape.W), ("lam", shape.V)) if W is not None]

    def ahead(self, name: str, values: Array) -> Array:
        """Fv or Hv of rows (N,) or (N, m)."""
        at, plain = self.found.at, self.found.score.shape.V is None
        if name == "lam":
            return at.error_filter.ahead(values)
        return at.apply(self.lag.ahead(values if plain else at.error_filter.solve(values)))

    def back(self, name: str, values: Array) -> Array:
        """F'v or H'v."""
        at, plain = self.found.at, self.found.score.shape.V is None
        if name == "lam":
            return at.error_filter.back(values)
        lagged = self.lag.back(at.apply_transposed(values))
        return lagged if plain else at.error_filter.solve_back(lagged)

    @cached_property
    def forms(self) -> dict[str, DenseForm]:
        """F under ``"rho"`` and H under ``"lam"``, as far as the model has them, where periods have few enough units."""
        shape, rho, lam, out = self.found.score.shape, self.found.rho, self.found.lam, {}
        if shape.W is not None:
            out["rho"] = self._form((rho, lam), self._own_blocks)
        if shape.V is not None:
            H, slices = self.found.at.error_filter, shape.V.slices()
            out["lam"] = self._form((None, lam), lambda: ((rows, H.full[d]) for d, rows in slices))
        return out

    def _form(
        self, at: tuple[float | None, float], blocks: Callable[[], Iterator[tuple[slice, Array]]]
    ) -> DenseForm:
        form = self.kept.pop(at, None) or DenseForm(list(blocks()), self.space)
        while len(self.kept) >= FORMS:
            del self.kept[next(iter(self.kept))]
        self.kept[at] = form
        return form

    def _own_blocks(self) -> Iterator[tuple[slice, Array]]:
        """F_t (n_t, n_t) by period, with its rows."""
        W, V = self.found.score.shape.W, self.found.score.shape.V
        assert W is not None, "there is a lag of y"
        known: dict[tuple[int, int], Array] = {}
        for t, (d, rows) in enumerate(W.slices()):
            v = -1 if V is None else V.which[t]
            if (d, v) not in known:
                F = self.lag.full[d]
                if V is not None and self.found.lam:
                    F = (F - self.found.lam * (V.distinct[v] @ F)) @ self.found.at.error_filter.inverse(v)
                known[d, v] = F
            yield rows, known[d, v]

    @cached_property
    def space(self) -> EffectSpace:
        """An orthonormal basis of BD."""
        N, lam = len(self.found.e), self.found.lam
        if not lam:
            return self.found.score.shape.effects
        known = [form.space for (_, of), form in self.kept.items() if of == lam]
        return (
            known[0]
            if known
            else EffectSpace(np.zeros((N, 0), dtype=np.intp), np.zeros((N, 0)), 0, self.found.at.basis)
        )

    @cached_property
    def traces(self) -> ShapeTraces:
        """Exact while periods and effects are few enough for dense filters, else by probes."""
        if not self.names:
            return ShapeTraces()
        return (_dense_traces if self.found.score.shape.few else _probed_traces)(self)


def _dense_traces(point: ShapePoint) -> ShapeTraces:
    found: dict[str, Any] = {}
    F, H = point.forms.get("rho"), point.forms.get("lam")
    if F is not None:
        found = F.traces(F, point.found.at.regressors.Q)
    if H is not None:
        R = H.inner
        squared, inside = H.product(H, False, False)
        norm, rows = H.product(H, False, True)
        columns, square, size = H.product(H, True, False)[1], float(np.vdot(R.T, R)), float(np.vdot(R, R))
        found["h"] = H.trace
        found["hh"] = squared - 2 * inside + square + norm - rows - columns + size
        found["slope_h"] = squared - square + columns - size
        found["excess_of_error"] = columns - size
    if F is not None and H is not None:
        whole, columns = H.product(F, True, False)  # tr H'F, <HQ, FQ>
        rows = F.product(H, False, True)[1]  # <Q'F, Q'H>
        product, inside = H.product(F, False, False)  # tr HF, tr PHF
        other = F.product(H, False, False)[1]  # tr PFH
        both = float(np.vdot(H.inner, F.inner))
        found["cross"] = whole - rows - columns + both
        found["straight"] = product - inside - other + float(np.vdot(H.inner.T, F.inner))
        found["across"] = product - other + columns - both
    return ShapeTraces(**found)


def _probed_traces(point: ShapePoint) -> ShapeTraces:
    """Traces of second order from ±1 probes; tr MF and tr MH are those of the score, and ∂tr(MH)/∂λ is of exact ones."""
    found, shape, N = point.found, point.found.score.shape, len(point.found.e)
    draws = random_signs(np.random.default_rng(N), (N, PROBES))
    parts = [_probed(point, draws[:, first : first + AT_ONCE]) for first in range(0, PROBES, AT_ONCE)]
    probed = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    means = {name: float(value.mean()) for name, value in probed.items()}
    seen = [probed["ftf"] + probed["ff"]] if shape.W is not None else []
    seen += [probed["hh"]] if shape.V is not None else []
    error = max(float(each.std(ddof=1) / np.sqrt(PROBES) / each.mean()) for each in seen)
    if shape.W is not None:
        means["f"] = float(np.asarray(found.at.trace_f(found.rho)))
    if shape.V is not None:
        low, high = shape.V.interval
        step = 1e-4 * min(1.0, found.lam - low, high - found.lam)
        one, other = (Filtered(found.at.shape, found.lam + way * step).trace_h for way in (1, -1))
        means |= {"h": found.at.trace_h, "slope_h": (one - other) / (2 * step)}
    return ShapeTraces(**means, probe_error=error)


def _probed(point: ShapePoint, z: Array) -> dict[str, Array]:
    """Of each probe (N, m), what has these traces as mean."""
    at, shape, out = point.found.at, point.found.score.shape, {}
    v = at.off(z)
    if shape.V is not None:
        Hv, Htv = point.ahead("lam", v), point.back("lam", v)
        mh = at.off(Hv)
        out["hh"] = ((Htv + mh) * mh).sum(axis=0)
    if shape.W is None:
        return out
    turned, m = point.back("rho", v), at.off(point.ahead("rho", v))
    k = point.back("rho", at.residual(z))
    inside = k - at.off(k)
    out |= {"ftf": (turned**2).sum(axis=0), "ff": (turned * m).sum(axis=0)}
    out["f2"] = (point.back("rho", turned) * z).sum(axis=0)
    out["excess"] = (inside**2).sum(axis=0) + ((at.regressors.Q.T @ k) ** 2).sum(axis=0)
    out["excess_of_effects"] = out["ftf"] - (m**2).sum(axis=0)
    if shape.V is not None:
        out |= {"cross": (Hv * m).sum(axis=0), "straight": (Htv * m).sum(axis=0)}
        beside = point.ahead("lam", z) + point.back("lam", z)
        out["across"] = (turned * beside).sum(axis=0) - out["cross"]
    return out


# --- Variance of the scores and their derivative


def score_variance(point: ShapePoint, excess: float | None = None) -> Array:
    """Ω (k + 3, k + 3) for independent normal errors; ``excess``: what is taken off η̂'Mη̂/σ²."""
    rho, lam, t, s2 = point.rho, point.rho.stop, point.traces, point.found.sigma2
    out, linear = np.zeros((lam + 2, lam + 2)), np.column_stack([point.BZ, point.mean])
    out[:lam, :lam] = linear.T @ linear / s2
    out[rho, rho] += t.ftf + t.ff - (point.excess if excess is None else excess)
    out[rho, lam] = out[lam, rho] = t.cross + t.straight
    out[lam, lam] = t.hh
    out[rho, -1] = out[-1, rho] = t.f / s2
    out[lam, -1] = out[-1, lam] = t.h / s2
    out[-1, -1] = point.found.score.shape.free / (2 * s2**2)
    return out


def expected_derivative(point: ShapePoint, excess: float | None = None) -> Array:
    """𝓗 (k + 3, k + 3), −E∂ψ_a/∂θ_b in row a and column b."""
    rho, t, out = point.rho, point.traces, score_variance(point, excess)
    out[rho, rho] += t.f2 - t.ff
    out[rho, rho.stop] = t.cross + t.across
    return out


def observed_derivative(point: ShapePoint) -> Array:
    """−∂ψ_a/∂θ_b (k + 3, k + 3) at the estimate."""
    rho, lam, t, s2, e = point.rho, point.rho.stop, point.traces, point.found.sigma2, point.found.e
    a, b = point.He
    off = point.found.at.off
    both, Pb = off(a + b), b - off(b)
    out, linear = np.zeros((lam + 2, lam + 2)), np.column_stack([point.BZ, point.BWy])
    out[:lam, :lam] = linear.T @ linear / s2
    out[rho, rho] += t.f2
    out[lam, :lam] = out[:lam, lam] = linear.T @ both / s2
    out[rho, lam] += t.across - t.straight
    out[lam, lam] = (a @ off(a) - 2 * a @ Pb - b @ Pb) / s2 + t.slope_h
    out[:lam, -1] = out[-1, :lam] = linear.T @ e / s2**2
    out[lam, -1] = out[-1, lam] = e @ a / s2**2
    out[-1, -1] = e @ e / s2**3 - point.found.score.shape.free / (2 * s2**2)
    return out


def any_law_meat(point: ShapePoint, excess: float | None = None) -> Array:
    """Ω for independent errors of any law, by third and fourth moments of e = M_Z ε (M ε where ``excess`` is given)."""
    lam, s2, e = point.rho.stop, point.found.sigma2, point.found.e
    Q = np.hstack([point.space.full, *([point.found.at.regressors.Q] if excess is None else [])])
    third, fourth = row_moments(e, s2, Q)
    linear, quadratic = np.zeros((len(e), lam + 2)), np.zeros((len(e), lam + 2))
    linear[:, :lam] = np.column_stack([point.BZ, point.mean]) / s2
    C = point.space.full
    for name, form in point.forms.items():
        diagonal = form.diagonal - (C * form.times(C, turned=True)).sum(axis=1)
        if name == "lam":
            ahead = form.times(C)
            diagonal = diagonal - (C * ahead).sum(axis=1) + ((C @ (C.T @ ahead)) * C).sum(axis=1)
        quadratic[:, point.places[name]] = diagonal / s2
    quadratic[:, -1] = (1 - (C**2).sum(axis=1)) / (2 * s2**2)
    mixed = linear.T @ quadratic
    return score_variance(point, excess) + third * (mixed + mixed.T) + fourth * quadratic.T @ quadratic


def row_scores(point: ShapePoint) -> Array:
    """Scores of (δ, ρ, λ, σ²) by row, (N, k + 3)."""
    e, s2, He = point.found.e, point.found.sigma2, point.found.at.off(point.He[0])  # e'He is e'MHe
    return np.column_stack([point.BZ, point.BWy, He, e / (2 * s2)]) * (e / s2)[:, None]


def period_meat(point: ShapePoint, bandwidth: int) -> Array:
    """Driscoll-Kraay: sums of scores by period, with Bartlett weights over ``bandwidth`` lags."""
    sums = np.add.reduceat(row_scores(point), point.found.score.shape.starts[:-1])
    return kernel_sum(sums - sums.mean(axis=0), bandwidth)


def distance_meat(point: ShapePoint, kernel: DistanceKernel) -> Array:
    """Conley: over all pairs of rows of units near one another, less their mean; ``kernel`` is of the units by number."""
    shape, scores = point.found.score.shape, row_scores(point)
    period = np.repeat(np.arange(len(shape.starts) - 1), np.diff(shape.starts))
    placed = np.zeros((len(shape.starts) - 1, kernel.matrix.shape[0], scores.shape[1]))
    placed[period, shape.unit] = scores - scores.mean(axis=0)
    return conley_sum(placed, kernel)


# --- Clusters


def clusters_at(point: ShapePoint) -> RowClusters:
    """The clusters of an estimate by unit: regressors [MBZ, Mη̂] beside the effects."""
    mean, lag = np.column_stack([point.mean]), np.column_stack([point.BWy])
    some = (mean**2).sum(axis=0) > MEAN_IS_ROUNDING**2 * (lag**2).sum(axis=0)  # none without regressors
    U, C = (point.space.columns, point.space.values), point.space.others
    return row_clusters(point.found.score.shape.unit, np.column_stack([point.BZ, mean * some]), U, C)


def cluster_meat(point: ShapePoint, errors: Array, factor: float, usual: bool = False) -> Array:
    """Ω of (δ, ρ, λ), (k + 2, k + 2), clustered by unit, σ² concentrated out.

    ``errors`` (N,) are residuals or, for CR2, e*; ``factor`` is n/(n − 1) for residuals, once for sums and twice for pairs.
    ``usual``: CR1 as complete panels have it, own terms less their means under equal variances, ``factor`` once.
    """
    size, s2, shape = point.rho.stop + 1, point.found.sigma2, point.found.score.shape
    units, number = np.unique(shape.unit, return_inverse=True)
    sums = np.zeros((len(units), size))
    np.add.at(sums, number, np.column_stack([point.BZ, point.mean, np.zeros(len(errors))]) * errors[:, None])
    found = (_pairs if shape.few else _probed_pairs)(point, errors, number, usual)
    return clustered_meat(sums, found, factor, usual) / s2**2


def _pairs(point: ShapePoint, errors: Array, number: NDArray[np.intp], usual: bool) -> UnitPairs:
    """Where filters are dense."""
    free, s2, out = point.found.score.shape.free, point.found.sigma2, {}
    for name, form in point.forms.items():
        Y = between_units(form, errors, number, free, usual)
        less = s2 * form.own_means(number, free) if usual else np.zeros(len(Y))
        out[point.places[name]] = Y, np.column_stack([Y.diagonal()]), np.column_stack([less])
    return out


def _probed_pairs(point: ShapePoint, errors: Array, number: NDArray[np.intp], usual: bool) -> UnitPairs:
    """Y_ii and the means by probe (n, m); means take M_ij of two units for zero."""
    at, t, rng = point.found.at, point.traces, np.random.default_rng(n := int(number.max()) + 1)
    signs, out = random_signs(rng, (n, PAIR_PROBES)), {}
    rows = [random_signs(rng, (len(errors), PAIR_PROBES))] if usual else []
    for name in point.names:
        k = (t.f if name == "rho" else t.h) / point.found.score.shape.free
        found = np.zeros((2, n, PAIR_PROBES))
        for which, w in enumerate([errors[:, None] * signs[number], *rows]):  # products; their means
            u = at.off(w)
            image = at.off(point.ahead(name, u) + point.back(name, u)) / 2 - k * (w if usual else u)
            np.add.at(found[which], number, (point.found.sigma2 * u if which else errors[:, None]) * image)
        out[point.places[name]] = found[0] / PAIR_PROBES**0.5, signs * found[0], found[1]
    return out


def clustered_covariance(point: ShapePoint, leverage: bool) -> tuple[Array, bool]:
    """Clustered covariance, and whether it exists: CR2 with ``leverage``, else CR1; σ² has none."""
    shape, e = point.found.score.shape, point.found.e
    on = point.active[:-1]
    n, inner = len(np.unique(shape.unit)), np.ix_(on, on)
    errors, factor = (clusters_at(point).adjusted(e), 1.0) if leverage else (e, n / (n - 1))
    meat = cluster_meat(point, errors, factor, usual=not leverage)
    cov = np.full((len(on) + 1, len(on) + 1), np.nan)
    cov[:-1, :-1], found = sandwiched(concentrated(point.derivative)[inner], meat[inner])
    return cov, found


def score_statistic(score: ShapeScore, value: float, clustered: bool) -> float:
    """ψ²/Var(ψ) of the one spatial coefficient held at a value, the others at their best for it.

    Residuals and effects are those under the value, which few units do not shrink as they do at the estimate. Normal
    independent errors, or ``clustered`` by unit (CR1).
    """
    shape, of_rho = score.shape, score.shape.W is not None
    point = ShapePoint(estimate_at(score, *((value, 0.0) if of_rho else (0.0, value))))
    k, place = point.k, point.k if of_rho else point.k + 1
    slope = float(score.of_rho(value)) if of_rho else score.of_lambda(value)
    if clustered:
        n, weight = len(np.unique(shape.unit)), np.zeros(k + 2)
        weight[place] = 1.0
        if of_rho and k:
            weight[:k] = -np.linalg.lstsq(point.BZ, point.mean, rcond=None)[0]
        variance = float(weight @ cluster_meat(point, point.found.e, n / (n - 1)) @ weight)
    else:
        meat, others = score_variance(point), [*range(k), k + 2]
        cross = meat[place, others]
        variance = float(meat[place, place] - cross @ np.linalg.solve(meat[np.ix_(others, others)], cross))
    return slope**2 / variance if variance > 0 else np.inf
