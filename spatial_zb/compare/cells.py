"""The cells of a grid that share W, sample and effects, estimated together; each gives what a single fit gives.

Models with one spatial coefficient or none, by maximum likelihood with the classical covariances, are estimated from
:mod:`spatial_zb.compare.moments`. All other cells, and every one in which something is unusual (a variable that cannot be
used, near collinearity, no interior maximum, a weak spatial coefficient), go through :func:`fit_durbin`, whose words they
then carry.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy import linalg

from spatial_zb.base.errors import SpatialZbError, SpatialZbWarning, joined_notes
from spatial_zb.base.notes import NotesWarning, about, fit_words
from spatial_zb.base.results import TABLE_COLUMNS, coefficient_columns
from spatial_zb.compare.moments import (
    Filtered,
    Moments,
    Option,
    SharedCell,
    SharedModel,
    filtered_mean_products,
    filtered_products,
    interpolated,
    shared_cells,
    shared_moments,
    trace_products,
)
from spatial_zb.core import Array
from spatial_zb.core.likelihood import inner_interval, spatial_values
from spatial_zb.core.likelihood.covariance import Residuals, hessian, information, inverse_or_nan
from spatial_zb.core.likelihood.errors import errors_of
from spatial_zb.core.likelihood.impacts import Multipliers, average_effects, multipliers, no_multipliers
from spatial_zb.core.logdet.traces import Traces
from spatial_zb.core.transforms import demean, spatial_lag
from spatial_zb.data.panel import Panel
from spatial_zb.effects import spatial_effects
from spatial_zb.effects.static import coefficients_of, delta_errors, reached_end
from spatial_zb.effects.table import EFFECTS
from spatial_zb.models.certainty import estimated, least_squares
from spatial_zb.models.durbin import WEAK_SPATIAL_ERROR, fit_durbin, is_lean_looked_at
from spatial_zb.models.ml import may_be_unusual, notes_on
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import PeriodWeights

#: With this many cells, all of the admissible interval of ρ is prepared at once.
MANY = 10


@dataclass(frozen=True)
class Block:
    """Cells of one W: all ``options`` with each of some panels of its units (samples that differ in their periods).

    ``shared`` when they can be estimated together.
    """

    panels: tuple[Panel, ...]
    weights: Weights | PeriodWeights
    options: tuple[Option, ...]
    shared: bool


def shares_moments(option: Option, weights: Weights | PeriodWeights, periods: int) -> bool:
    """Whether :func:`fit_block` can estimate the cell together with others."""
    spec = option.spec
    plain = DurbinSpec(spec.y, spec.x, spec.lag_y, spec.lag_x, spec.lag_error, spec.fixed_effects)
    timed = spec.fixed_effects in ("time", "two_way")
    return (
        isinstance(weights, Weights)
        and spec == plain
        and spec.fixed_effects in ("none", "unit", "time", "two_way")
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


def _single(option: Option, panel: Panel, weights: Weights | PeriodWeights) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        try:
            fit = fit_durbin(option.spec, panel, weights, option.estimator, option.covariance)
            effects = spatial_effects(fit).frame  # the notes say why it is blank
        except SpatialZbError as error:
            return {"facts": {"converged": False, "notes": "", "reason": str(error)}}
    notes = {"notes": joined_notes(caught), "reason": ""}
    return {
        "facts": fit.glance().iloc[0].to_dict() | notes,
        "estimates": fit.tidy(),
        "effects": effects,
    }


def _together(block: Block) -> dict[int, Record]:
    """Records of the cells that the shared moments can answer, by number."""
    assert isinstance(block.weights, Weights), "a W by period shares no moments"
    _prepare(block, block.weights)
    kinds = dict.fromkeys(option.spec.transform for option in block.options)
    runs = []
    for (place, panel), effects in product(enumerate(block.panels), kinds):
        first = place * len(block.options)
        mine = {
            first + i: option for i, option in enumerate(block.options) if option.spec.transform == effects
        }
        moments = _moments(panel, block.weights, effects, [option.spec for option in mine.values()])
        if moments is not None:
            runs.append((moments, shared_cells(mine, moments)))
    traces = CrossTraces(block.weights, [c for _, asked in runs for c in asked.values()])
    out: dict[int, Any] = {}
    for moments, asked in runs:
        answers = Answers(moments, list(asked.values()), traces)
        records = {i: cell_record(cell, moments, answers) for i, cell in asked.items()}
        out |= {i: record for i, record in records.items() if record is not None}
    return out


def _prepare(block: Block, weights: Weights) -> None:
    """With many cells, make the log-determinant ready for all admissible ρ."""
    spatial = sum(bool(option.spec.spatial_terms) for option in block.options)
    if spatial * len(block.panels) >= MANY:
        weights.logdet.cover(*inner_interval(weights.logdet.interval))


def _moments(panel: Panel, weights: Weights, effects: Any, specs: Sequence[DurbinSpec]) -> Moments | None:
    y = dict.fromkeys(spec.y for spec in specs)
    x = dict.fromkeys(name for spec in specs for name in spec.x)
    lagged = dict.fromkeys(name for spec in specs for name in spec.lag_x)
    known = set(panel.columns)
    if not known.issuperset([*y, *x]):
        y, x, lagged = (dict.fromkeys(name for name in part if name in known) for part in (y, x, lagged))
        if not y:
            return None
    errors = any(spec.lag_error for spec in specs)
    return shared_moments(panel, weights, effects, list(y), list(x), list(lagged), errors)


@dataclass(frozen=True, slots=True)
class Record:
    """A cell as arrays: estimates and errors (p,), effects and errors (k, 3)."""

    facts: dict[str, Any]
    terms: tuple[str, ...]
    regressors: tuple[str, ...]
    estimate: Array
    std_error: Array
    effect: Array
    effect_error: Array
    df: int | None


def cell_frames(records: Sequence[Record | dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """Frames ``cells``, ``estimates`` and ``effects`` of some cells, numbered in the order of their records.

    A record is a :class:`Record`, or what a single fit gives: ``facts`` and, where it succeeded, the frames ``estimates``
    and ``effects``.
    """
    facts = [r.facts if isinstance(r, Record) else r["facts"] for r in records]
    cells = pd.DataFrame(facts, columns=list(max(facts, key=len)))
    cells.insert(0, "cell", range(len(records)))
    own = {i: r for i, r in enumerate(records) if isinstance(r, Record)}
    alone = {i: r for i, r in enumerate(records) if not isinstance(r, Record)}
    return {
        "cells": cells,
        "estimates": _long(_estimate_rows(own), alone, "estimates"),
        "effects": _long(_effect_rows(own), alone, "effects"),
    }


def _long(own: list[pd.DataFrame], alone: Mapping[int, dict[str, Any]], kind: str) -> pd.DataFrame:
    frames = list(own)
    for i, record in alone.items():
        if kind in record:
            frame = record[kind].reset_index(drop=True)
            frame.insert(0, "cell", i)
            frames.append(frame)
    if not frames:
        names = ["cell", "term", *(["effect"] if kind == "effects" else []), *TABLE_COLUMNS]
        return pd.DataFrame(columns=names).astype({"cell": int})
    return pd.concat(frames, ignore_index=True).sort_values("cell", kind="stable", ignore_index=True)


def _estimate_rows(own: Mapping[int, Record]) -> list[pd.DataFrame]:
    cell = np.repeat(list(own), [len(r.terms) for r in own.values()])
    terms = [term for r in own.values() for term in r.terms]
    numbers = [(r.estimate, r.std_error, r.df) for r in own.values()]
    return _table({"cell": cell, "term": terms}, numbers)


def _effect_rows(own: Mapping[int, Record]) -> list[pd.DataFrame]:
    cell = np.repeat(list(own), [3 * len(r.regressors) for r in own.values()])
    terms = [name for r in own.values() for name in r.regressors for _ in EFFECTS]
    effects = [effect for r in own.values() for _ in r.regressors for effect in EFFECTS]
    numbers = [(r.effect.ravel(), r.effect_error.ravel(), r.df) for r in own.values()]
    return _table({"cell": cell, "term": terms, "effect": effects}, numbers)


def _table(names: dict[str, Any], numbers: list[tuple[Array, Array, int | None]]) -> list[pd.DataFrame]:
    """Statistics of all cells at once, for each number of degrees of freedom."""
    if not numbers:
        return []
    estimate, error = (np.concatenate([each[i] for each in numbers]) for i in (0, 1))
    df = np.repeat([each[2] or 0 for each in numbers], [len(each[0]) for each in numbers])
    columns = np.empty((len(estimate), len(TABLE_COLUMNS)))
    for value in np.unique(df):
        rows = df == value
        columns[rows] = coefficient_columns(estimate[rows], error[rows], 0.05, int(value) or None)
    return [pd.DataFrame(names).join(pd.DataFrame(columns, columns=TABLE_COLUMNS))]


def cell_record(cell: SharedCell, moments: Moments, answers: Answers) -> Record | None:
    """The cell as arrays; None where it is left to a single fit: no covariance, no effects, something to be said of it."""
    point = cell.point
    spec, best, sample = point.option.spec, point.best, point.sample
    cov = _covariance(cell, moments, answers)
    if cov is None:
        return None
    k, spatial = len(spec.terms), spatial_values(spec, best)
    errors = np.sqrt(cov.diagonal())
    if spatial and errors[k] > WEAK_SPATIAL_ERROR:
        return None
    if spatial and is_lean_looked_at(spec, sample.n_units, sample.observations, float(errors[k])):
        return None
    if _errors_are_unusual(point, moments):
        return None
    if spec.lag_y and reached_end(best.rho, float(errors[k]), moments.weights.logdet.interval) is not None:
        return None
    sigma2, df = best.sigma2, None
    if not spatial:  # ordinary least squares: classical degrees of freedom
        sigma2, cov, df = least_squares(sample, k, sigma2, cov)
        errors = np.sqrt(cov.diagonal())
    estimate = np.array([*best.delta, *spatial, sigma2])
    effect, effect_error = _effects(
        spec, estimate, cov, answers.multipliers(best.rho if spec.lag_y else None)
    )
    facts = _facts(cell, moments, sigma2)
    terms = (*spec.terms, *spec.spatial_terms, "sigma2")
    return Record(facts, terms, spec.regressors, estimate, errors, effect, effect_error, df)


@dataclass(frozen=True)
class CrossTraces:
    """tr G'G at the ρ̂ and λ̂ of all cells of one W."""

    weights: Weights
    asked: Sequence[SharedCell]

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
class Answers:
    """What the models of one panel and kind of effects ask of G, at any of their ρ̂ or λ̂."""

    moments: Moments
    asked: Sequence[SharedCell]
    traces: CrossTraces

    @cached_property
    def _table(self) -> Callable[[float], Array] | None:
        """All products with G as functions of ρ; None where computing one for each cell costs no more."""
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

    def mean_products(self, point: SharedModel) -> tuple[Array, float]:
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


def _covariance(cell: SharedCell, moments: Moments, answers: Answers) -> Array | None:
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
    active = estimated(spec)
    cov, positive = inverse_or_nan(matrix[np.ix_(active, active)])
    return cov if positive else None


def _errors_are_unusual(point: SharedModel, moments: Moments) -> bool:
    """Whether a single fit may have something to say of its errors."""
    spec, best, W = point.option.spec, point.best, moments.weights.matrix
    y, Wy = np.moveaxis(moments.sides[spec.y].full, -1, 0)
    e = y - best.rho * Wy - moments.full[:, :, point.where] @ best.delta
    if best.lam:
        e = e - best.lam * demean(spatial_lag(W, e), moments.effects)
    errors = errors_of(e, np.zeros((*e.shape, 0)), np.zeros_like(e), moments.effects)
    return may_be_unusual(errors, spec, W)


def _residuals(point: SharedModel, moments: Moments, products: tuple[Array, float] | None) -> Residuals:
    """As :func:`spatial_zb.models.certainty.residual_arrays`, in the basis of the moments with one row more.

    BGZδ is known by its products with Z and with itself: its part along Z, and what is left in the row of its own.
    """
    spec, best, side = point.option.spec, point.best, moments.sides[point.option.spec.y]
    rho, lam, delta = best.rho, best.lam, best.delta
    Z = moments.columns[:, point.where]
    u = side.y - rho * side.Wy - Z @ delta
    BZ, BWy, Wu = Z, side.Wy, np.zeros_like(u)
    lags: tuple[Array, Array] | tuple[None, None] = None, None
    if spec.lag_error:
        WZ, WWy = moments.lagged(spec.y, point.where)
        lags = _taller(WZ), _taller(WWy)
        BZ, BWy, Wu = Z - lam * WZ, side.Wy - lam * WWy, side.Wy - rho * WWy - WZ @ delta
    BGm = np.zeros(len(u) + 1)
    if products is not None:
        along = point.basis
        scaled = linalg.solve_triangular(along.R, products[0] / along.scale, trans="T")
        rest = products[1] - float(scaled @ scaled)
        BGm = np.append(along.Q @ scaled, np.sqrt(max(rest, 0.0)))
    return Residuals(_taller(BZ), BGm, _taller(BWy), _taller(Wu), lags[0], lags[1], _taller(u - lam * Wu))


def _taller(values: Array) -> Array:
    return np.concatenate([values, np.zeros((1, *values.shape[1:]))])


def _traces(point: SharedModel, moments: Moments, square: float) -> Traces:
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
    beta, theta, _ = coefficients_of(spec, estimate)
    effect, gradient = average_effects(beta, theta, m)
    return effect, delta_errors(spec, gradient, cov)


def _facts(cell: SharedCell, moments: Moments, sigma2: float) -> dict[str, Any]:
    """What ``Fit.glance()`` says, and the notes."""
    option, best, sample = cell.point.option, cell.point.best, cell.point.sample
    weights, covariance = moments.weights, cell.covariance
    spec, n, T = option.spec, sample.n_units, sample.n_periods
    parameters = len(spec.terms) + len(spec.spatial_terms) + 1
    parameters += sample.absorbed if option.estimator == "direct" else 0
    squares = best.sigma2 * sample.observations
    notes = notes_on(spec, weights, option.estimator, best, sample, True)
    subject = fit_words(spec.title, spec.y, weights.label)
    return {
        "model": spec.family,
        "y": spec.y,
        "fixed_effects": spec.fixed_effects,
        "estimator": option.estimator,
        "weights": weights.label,
        "normalisation": weights.normalisation,
        "covariance": covariance,
        "df_min": np.nan,
        "df_max": np.nan,
        "nobs": sample.observations,
        "n_units": n,
        "n_periods": T,
        "log_likelihood": best.log_likelihood,
        "aic": -2 * best.log_likelihood + 2 * parameters,
        "bic": -2 * best.log_likelihood + np.log(sample.observations) * parameters,
        "sigma2": sigma2,
        "r2_within": 1 - squares / moments.sides[spec.y].variation,
        "converged": True,
        "notes": str(NotesWarning.of(about(subject, notes))) if notes else "",
        "reason": "",
    }
