"""The cells of a grid that share W, sample and effects, estimated together; each gives what a single fit gives.

Models with one spatial coefficient or none, by maximum likelihood with the classical covariances, are estimated from
:mod:`spatial_zb.compare.moments`. All other cells, and every one in which something is unusual (a variable that cannot be
used, near collinearity, no interior maximum, a weak spatial coefficient), go through :func:`fit_durbin`, whose words they
then carry.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from spatial_zb.compare.cell_frames import Record, cell_frames
from spatial_zb.compare.moments import (
    Filtered,
    Moments,
    filtered_mean_products,
    filtered_products,
    interpolated,
    shared_moments,
    trace_products,
)
from spatial_zb.core.covariance import Residuals, hessian, information, inverse_or_nan
from spatial_zb.core.impacts import Multipliers, average_effects, multipliers, no_multipliers
from spatial_zb.core.spatial_ml import (
    ColumnBasis,
    Maximum,
    column_basis,
    cross_products,
    inner_interval,
    maximise,
)
from spatial_zb.core.traces import Traces
from spatial_zb.core.within import TransformedSample, transformed_sample
from spatial_zb.data.panel import Panel
from spatial_zb.effects import spatial_effects
from spatial_zb.errors import SpatialZbError, SpatialZbWarning
from spatial_zb.models.design import CONDITION_WARNING, RANK_TOLERANCE
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.ml import say_what_matters
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.models.weak_notes import WEAK_SPATIAL_ERROR
from spatial_zb.weights.matrix import Weights

__all__ = ["Block", "Option", "fit_block", "shares_moments"]

Array = NDArray[np.float64]

#: Shares of y left by W and the regressors below which a cell is left to the checks of a single fit.
NEARLY_NOTHING = 1e-12
#: A single fit refuses or warns from a limit; a cell that comes this near to it is left to the single fit.
CAUTION = 0.5
#: With this many cells, all of the admissible interval of ρ is prepared at once.
MANY = 10


@dataclass(frozen=True, slots=True)
class Option:
    """What distinguishes the cells of a block."""

    spec: DurbinSpec
    estimator: str
    covariance: str


@dataclass(frozen=True)
class Block:
    """Cells of one W: all ``options`` with each of some panels of its units (samples that differ in their periods).

    ``shared`` when they can be estimated together.
    """

    panels: tuple[Panel, ...]
    weights: Weights
    options: tuple[Option, ...]
    shared: bool


def shares_moments(option: Option, weights: Weights, periods: int) -> bool:
    """Whether a cell is of the kind that :func:`fit_block` estimates together with others."""
    spec = option.spec
    plain = DurbinSpec(spec.y, spec.x, spec.lag_y, spec.lag_x, spec.lag_error, spec.fixed_effects)
    timed = spec.fixed_effects in ("time", "two_way")
    return (
        spec == plain
        and spec.fixed_effects != "random"
        and option.estimator in ("lee_yu", "direct")
        and option.covariance in ("information", "hessian")
        and not (spec.lag_y and spec.lag_error)
        and not (timed and spec.spatial_terms and not weights.row_normalised)
        and not (periods == 1 and spec.fixed_effects != "none")
        and spec.y not in weights.variables
        and bool(spec.terms)
    )


def fit_block(block: Block) -> dict[str, pd.DataFrame]:
    """Estimate the cells of a block.

    Returns
    -------
    ``cells``, ``estimates`` and ``effects`` as in :class:`spatial_zb.compare.grid.Grid`, with the number of the cell
    instead of its choices as column ``cell``; options count up within panels.
    """
    cells = list(product(block.panels, block.options))
    found = _together(block) if block.shared else {}
    records = [
        found[i] if i in found else _single(option, panel, block.weights)
        for i, (panel, option) in enumerate(cells)
    ]
    return cell_frames(records)


# --- one cell by fit_durbin


def _single(option: Option, panel: Panel, weights: Weights) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        try:
            fit = fit_durbin(option.spec, panel, weights, option.estimator, option.covariance)
            effects = spatial_effects(fit).tidy()
        except SpatialZbError as error:
            return {"facts": {"converged": False, "notes": "", "reason": str(error)}}
    notes = {"notes": _notes(caught), "reason": ""}
    return {
        "facts": fit.glance().iloc[0].to_dict() | notes,
        "estimates": fit.tidy(),
        "effects": effects,
    }


def _notes(caught: Iterable[warnings.WarningMessage]) -> str:
    said = [str(note.message) for note in caught if issubclass(note.category, SpatialZbWarning)]
    return "; ".join(dict.fromkeys(said))


# --- many cells from shared moments


@dataclass(frozen=True, slots=True)
class _Point:
    """A model at its maximum: which columns of the moments it has, their basis, and where the likelihood is highest."""

    option: Option
    where: NDArray[np.intp]
    basis: ColumnBasis
    sample: TransformedSample
    best: Maximum

    @property
    def coefficient(self) -> float:
        """ρ̂, or λ̂."""
        return self.best.rho + self.best.lam


@dataclass(frozen=True, slots=True)
class _Cell:
    """A model at its maximum, and the covariance asked for."""

    covariance: str
    point: _Point

    @property
    def expected(self) -> bool:
        """Whether tr G'G and products with G are needed for the information matrix."""
        return self.covariance == "information" and bool(self.point.option.spec.spatial_terms)


def _together(block: Block) -> dict[int, Record]:
    """Records of the cells that the shared moments can answer, by number."""
    _prepare(block)
    kinds = dict.fromkeys(option.spec.transform for option in block.options)
    runs = []
    for (place, panel), effects in product(enumerate(block.panels), kinds):
        first = place * len(block.options)
        mine = {
            first + i: option for i, option in enumerate(block.options) if option.spec.transform == effects
        }
        moments = _moments(panel, block.weights, effects, [option.spec for option in mine.values()])
        if moments is not None:
            runs.append((moments, _points(mine, moments, panel)))
    traces = _CrossTraces(block.weights, [c for _, asked in runs for c in asked.values()])
    out = {}
    for moments, asked in runs:
        answers = _Answers(moments, list(asked.values()), traces)
        records = {i: _record(cell, moments, answers) for i, cell in asked.items()}
        out |= {i: record for i, record in records.items() if record is not None}
    return out


def _prepare(block: Block) -> None:
    """With many cells, make the log-determinant ready for all admissible ρ."""
    spatial = sum(bool(option.spec.spatial_terms) for option in block.options)
    if spatial * len(block.panels) >= MANY:
        block.weights.logdet.cover(*inner_interval(block.weights.logdet.interval))


def _moments(panel: Panel, weights: Weights, effects: Any, specs: Sequence[DurbinSpec]) -> Moments | None:
    names = (
        dict.fromkeys(spec.y for spec in specs),
        dict.fromkeys(name for spec in specs for name in spec.x),
        dict.fromkeys(name for spec in specs for name in spec.lag_x),
    )
    known = set(panel.columns)
    if not known.issuperset([*names[0], *names[1]]):
        names = tuple({name: None for name in part if name in known} for part in names)
        if not names[0]:
            return None
    return shared_moments(panel, weights, effects, *map(list, names), any(spec.lag_error for spec in specs))


def _points(mine: Mapping[int, Option], moments: Moments, panel: Panel) -> dict[int, _Cell]:
    """The maximum of every model, once for all its covariances."""
    points: dict[tuple[DurbinSpec, str], _Point | None] = {}
    for option in mine.values():
        key = option.spec, option.estimator
        if key not in points:
            points[key] = _maximum(option, moments, panel)
    found = {i: points[option.spec, option.estimator] for i, option in mine.items()}
    return {i: _Cell(mine[i].covariance, point) for i, point in found.items() if point is not None}


def _maximum(option: Option, moments: Moments, panel: Panel) -> _Point | None:
    """The maximum of the likelihood; None where the model is left to a single fit."""
    spec = option.spec
    T, n = len(panel.periods), len(panel.units)
    sample = transformed_sample(n, T, spec.transform, option.estimator)
    side = moments.sides.get(spec.y)
    if side is None or not side.usable or not moments.usable.issuperset(spec.terms):
        return None
    left = transformed_sample(n, T, spec.transform, "lee_yu").observations
    if left <= len(spec.terms) + len(spec.spatial_terms) + 1:
        return None
    where = np.array([moments.place[term] for term in spec.terms], dtype=int)
    Z = moments.columns[:, where]
    basis = column_basis(Z)
    if _doubtful(spec, basis, Z, side.y, side.Wy):
        return None
    lagged = (moments.lags[:, where], side.Wy, side.WWy) if spec.lag_error else None
    if lagged and _only_multiplies(side.y, side.Wy, Z, lagged[0]):
        return None
    products = cross_products(Z, side.y, side.Wy, lagged, basis)
    logdet = moments.weights.logdet if spec.spatial_terms else None
    best = maximise(products, logdet, sample, bool(spec.lag_y), bool(spec.lag_error))
    return None if best.at_bound else _Point(option, where, basis, sample, best)


def _doubtful(spec: DurbinSpec, basis: ColumnBasis, Z: Array, y: Array, Wy: Array) -> bool:
    """Whether regressors are nearly collinear, or y or Wy nearly explained."""
    if np.abs(basis.R.diagonal()).min() * CAUTION <= RANK_TOLERANCE:
        return True
    R = basis.R
    if spec.transform == "none":
        if Z.shape[1] == 1:
            return False
        one = Z[:, 0]
        deviations = Z[:, 1:] - np.outer(one, one @ Z[:, 1:]) / (one @ one)
        R = column_basis(deviations).R
    values = np.linalg.svd(R, compute_uv=False)
    if values[0] > CAUTION * CONDITION_WARNING * values[-1]:
        return True
    both = np.column_stack([y, Wy])
    off = both - basis.Q @ (basis.Q.T @ both)
    size, left = (both**2).sum(axis=0), (off**2).sum(axis=0)
    flat = spec.lag_y and (
        left[1] <= NEARLY_NOTHING * left[0] or (off[:, 0] @ off[:, 1]) ** 2 >= (1 - 1e-9) * left.prod()
    )
    return bool(left[0] <= NEARLY_NOTHING * size[0] or flat)


def _only_multiplies(y: Array, Wy: Array, Z: Array, WZ: Array) -> bool:
    """Whether W nearly multiplies y and every regressor by one number."""
    before, after = np.column_stack([y, Z]), np.column_stack([Wy, WZ])
    off = after - (y @ Wy) / (y @ y) * before
    return bool(np.all((off**2).sum(axis=0) <= NEARLY_NOTHING * (before**2).sum(axis=0)))


@dataclass(frozen=True)
class _CrossTraces:
    """tr G'G at the ρ̂ and λ̂ of all cells of one W."""

    weights: Weights
    asked: Sequence[_Cell]

    def at(self, c: float, centred: bool) -> float:
        """tr (JG)'(JG), with J = I when not centred."""
        return (self._centred if centred else self._plain)(c)

    @cached_property
    def _centred(self) -> Callable[[float], float]:
        return self._of(True)

    @cached_property
    def _plain(self) -> Callable[[float], float]:
        return self._of(False)

    def _of(self, centred: bool) -> Callable[[float], float]:
        asking = [c.point for c in self.asked if c.expected and c.point.sample.centred == centred]
        return trace_products(self.weights, centred, np.array([point.coefficient for point in asking]))


@dataclass(frozen=True)
class _Answers:
    """What the models of one panel and kind of effects ask of G, at any of their ρ̂ or λ̂."""

    moments: Moments
    asked: Sequence[_Cell]
    traces: _CrossTraces

    @cached_property
    def _table(self) -> Callable[[float], Array] | None:
        """All products with G as functions of ρ; None where a product for each cell is no dearer."""
        moments = self.moments
        asking = [
            c.point.best.rho
            for c in self.asked
            if c.point.option.spec.lag_y and (c.expected or not moments.weights.row_normalised)
        ]
        return interpolated(
            lambda c: filtered_products(moments, c).packed(),
            np.array(asking),
            moments.weights.logdet.interval,
        )

    def mean_products(self, point: _Point) -> tuple[Array, float]:
        """Z'GZδ and δ'Z'G'GZδ of a model at its maximum."""
        rho, delta = point.best.rho, point.best.delta
        if self._table is None:
            return filtered_mean_products(self.moments, rho, point.where, delta)
        found = Filtered.unpacked(self._table(rho), self.moments.full.shape[2])
        some = np.ix_(point.where, point.where)
        return found.zgz[some] @ delta, float(delta @ found.zggz[some] @ delta)

    def multipliers(self, rho: float | None) -> Multipliers:
        """Multipliers of effects; ``rho`` None in models without a lag of y."""
        weights = self.moments.weights
        if rho is None:
            return self.plain
        if weights.row_normalised or self._table is None:
            return multipliers(rho, weights.matrix, weights.logdet, weights.row_normalised)
        p, q, dp, dq = Filtered.unpacked(self._table(rho), self.moments.full.shape[2]).sums
        n, first, second = weights.n, weights.logdet.first(rho), weights.logdet.second(rho)
        slopes = -(first + rho * second) / n, -second / n
        return Multipliers(1 - rho * first / n, -first / n, p, q, *slopes, dp, dq)

    @cached_property
    def plain(self) -> Multipliers:
        """Multipliers at ρ = 0."""
        return no_multipliers(self.moments.weights.matrix)


def _record(cell: _Cell, moments: Moments, answers: _Answers) -> Record | None:
    point = cell.point
    spec, best, sample = point.option.spec, point.best, point.sample
    cov = _covariance(cell, moments, answers)
    if cov is None:
        return None
    k, spatial = len(spec.terms), [best.rho] * bool(spec.lag_y) + [best.lam] * bool(spec.lag_error)
    errors = np.sqrt(cov.diagonal())
    if spatial and errors[k] > WEAK_SPATIAL_ERROR:
        return None
    sigma2, df = best.sigma2, None
    if not spatial:  # ordinary least squares: classical degrees of freedom
        df = sample.n_units * sample.n_periods - sample.absorbed - k
        inflate = sample.observations / df
        sigma2, cov = sigma2 * inflate, cov * inflate
        cov[-1, -1] *= inflate**2
        errors = np.sqrt(cov.diagonal())
    estimate = np.array([*best.delta, *spatial, sigma2])
    effect, effect_error = _effects(
        spec, estimate, cov, answers.multipliers(best.rho if spec.lag_y else None)
    )
    facts = _facts(cell, moments, sigma2)
    terms = (*spec.terms, *spec.spatial_terms, "sigma2")
    return Record(facts, terms, spec.regressors, estimate, errors, effect, effect_error, df)


def _covariance(cell: _Cell, moments: Moments, answers: _Answers) -> Array | None:
    """Covariance of (δ, ρ or λ, σ²); None where it does not exist."""
    point = cell.point
    spec, best, sample = point.option.spec, point.best, point.sample
    products = answers.mean_products(point) if cell.expected and spec.lag_y else None
    square = answers.traces.at(point.coefficient, sample.centred) if cell.expected else 0.0
    parts = _residuals(point, moments, products)
    expected = cell.covariance == "information"
    matrix = (information if expected else hessian)(
        parts, _traces(point, moments, square), best.sigma2, sample
    )
    k = len(point.where)
    active = [*range(k), *([k] if spec.lag_y else []), *([k + 1] if spec.lag_error else []), k + 2]
    cov, positive = inverse_or_nan(matrix[np.ix_(active, active)])
    return cov if positive else None


def _residuals(point: _Point, moments: Moments, products: tuple[Array, float] | None) -> Residuals:
    """As :func:`spatial_zb.models.ml.residual_arrays`, in the basis of the moments with one row more.

    BGZδ is known by its products with Z and with itself: its part along Z, and what is left in the row of its own.
    """
    spec, best, side = point.option.spec, point.best, moments.sides[point.option.spec.y]
    rho, lam, delta = best.rho, best.lam, best.delta
    Z = moments.columns[:, point.where]
    u = side.y - rho * side.Wy - Z @ delta
    BZ, BWy, Wu, WZ, WWy = Z, side.Wy, np.zeros_like(u), None, None
    if spec.lag_error:
        WZ, WWy = moments.lags[:, point.where], side.WWy
        BZ, BWy, Wu = Z - lam * WZ, side.Wy - lam * WWy, side.Wy - rho * WWy - WZ @ delta
    BGm = np.zeros(len(u) + 1)
    if products is not None:
        along = point.basis
        scaled = linalg.solve_triangular(along.R, products[0] / along.scale, trans="T")
        rest = products[1] - float(scaled @ scaled)
        BGm = np.append(along.Q @ scaled, np.sqrt(max(rest, 0.0)))
    return Residuals(
        _taller(BZ), BGm, _taller(BWy), _taller(Wu), *(None if a is None else _taller(a) for a in (WZ, WWy)),
        _taller(u - lam * Wu),
    )  # fmt: skip


def _taller(values: Array) -> Array:
    return np.concatenate([values, np.zeros((1, *values.shape[1:]))])


def _traces(point: _Point, moments: Moments, square: float) -> Traces:
    """Traces of G or H, ``square`` that of G'G or H'H; those of a coefficient held at zero are not looked at."""
    spec, logdet, centred = point.option.spec, moments.weights.logdet, point.sample.centred
    if not spec.spatial_terms:
        return Traces(*[0.0] * 9)
    c = point.coefficient
    one, two = -float(logdet.first(c, centred)), -float(logdet.second(c, centred))
    if spec.lag_y:
        return Traces(one, 0.0, two, 0.0, 0.0, square, 0.0, 0.0, 0.0)
    return Traces(0.0, one, 0.0, 0.0, two, 0.0, 0.0, square, 0.0)


def _effects(spec: DurbinSpec, estimate: Array, cov: Array, m: Multipliers) -> tuple[Array, Array]:
    """Average effects (k, 3) and their delta errors."""
    place = {term: i for i, term in enumerate(spec.terms)}
    beta = [place[name] for name in spec.regressors]
    theta = [place[f"W_{name}"] if name in spec.lag_x else -1 for name in spec.regressors]
    rho = len(place) if spec.lag_y else -1
    where = np.array([beta, theta, [rho] * len(beta)]).T
    padded = np.append(estimate, 0.0)  # −1 is the zero at the end
    wide = np.zeros((len(padded), len(padded)))
    wide[:-1, :-1] = cov
    effect, gradient = average_effects(padded[where[:, 0]], padded[where[:, 1]], m)
    blocks = wide[where[:, :, None], where[:, None, :]]
    return effect, np.sqrt(((gradient @ blocks) * gradient).sum(axis=2))


def _facts(cell: _Cell, moments: Moments, sigma2: float) -> dict[str, Any]:
    """What ``Fit.glance()`` says, and the notes."""
    option, best, sample = cell.point.option, cell.point.best, cell.point.sample
    weights, covariance = moments.weights, cell.covariance
    spec, n, T = option.spec, sample.n_units, sample.n_periods
    parameters = len(spec.terms) + len(spec.spatial_terms) + 1
    parameters += sample.absorbed if option.estimator == "direct" else 0
    squares = best.sigma2 * sample.observations
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        say_what_matters(spec, weights, option.estimator, covariance, best, n, T, True)
    return {
        "model": spec.family,
        "y": spec.y,
        "fixed_effects": spec.fixed_effects,
        "estimator": option.estimator,
        "weights": weights.label,
        "normalisation": weights.normalisation,
        "covariance": covariance,
        "nobs": sample.observations,
        "n_units": n,
        "n_periods": T,
        "log_likelihood": best.log_likelihood,
        "aic": -2 * best.log_likelihood + 2 * parameters,
        "bic": -2 * best.log_likelihood + np.log(sample.observations) * parameters,
        "sigma2": sigma2,
        "r2_within": 1 - squares / moments.sides[spec.y].variation,
        "converged": True,
        "notes": _notes(caught),
        "reason": "",
    }
