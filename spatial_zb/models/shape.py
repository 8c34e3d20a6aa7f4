"""Panels of any shape: the adjusted score where the Lee-Yu transform does not reach.

Units that come and go, blank cells left out, W by period, a W of its own for each lag, any fixed effects, and time
effects under a W whose rows do not sum to one. On a balanced panel with one row-normalised W and effects of units and
periods the two give the same numbers, and ``fit_durbin`` takes the faster one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.notes import Kind, Note
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.likelihood.covariance import DistanceKernel, bartlett_bandwidth, sandwiched
from spatial_zb.core.likelihood.shape import Shape, shape_estimate
from spatial_zb.core.likelihood.shape_covariance import (
    PAIRED_ROWS,
    ShapePoint,
    any_law_meat,
    clustered_covariance,
    clusters_at,
    distance_meat,
    expected_derivative,
    period_meat,
    score_variance,
)
from spatial_zb.core.likelihood.shape_rows import DENSE_PERIOD, RowWeights, row_weights
from spatial_zb.core.transforms import FixedEffects, TransformedSample, effect_space
from spatial_zb.data.panel import Panel
from spatial_zb.models.design import (
    Design,
    checked_columns,
    notes_on_data,
    refuse_blanks,
    refuse_flat_error_lag,
)
from spatial_zb.models.fit import Fit, term_index
from spatial_zb.models.ml import SMALL_N, degrees_of, least_squares, notes_on_dependence, notes_on_rows
from spatial_zb.models.notes import PROFILE, few_units, no_root, not_positive, weak_pair
from spatial_zb.models.spec import (
    CLUSTERED,
    COVARIANCES,
    Convergence,
    Covariance,
    DurbinSpec,
    corrects_leverage,
)
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import PeriodWeights, any_weights, notes_on_absence, of_units, row_blocks

#: Why a model is estimated by the adjusted score.
REASONS = {
    "rows": Text("unit-periods are absent or blank", "有缺失的地区-时期"),
    "periods": Text("W differs by period", "W随时期变化"),
    "own": Text("a W of its own for x or the error", "x或误差另用W"),
    "effects": Text("effects beside those of units and periods", "个体、时间以外的固定效应"),
    "rows of W": Text("time effects, and rows of W that do not sum to one", "有时间效应而W的行和不为一"),
}
#: Up to this many units SAC and GNS off balanced panels are said to be weak (docs/validation/shape.md).
WEAK_PAIR = 30


@dataclass(frozen=True, slots=True)
class Lags:
    """The W of y, of x and of the error."""

    y: Weights | PeriodWeights
    x: Weights | PeriodWeights
    error: Weights | PeriodWeights

    @property
    def one(self) -> Weights:
        """The W of y, where there is one for all periods."""
        assert isinstance(self.y, Weights), "a W by period is estimated by the adjusted score"
        return self.y

    def used(self, spec: DurbinSpec) -> list[Weights | PeriodWeights]:
        """Those that the model has a lag for."""
        pairs = (self.y, spec.lag_y), (self.x, bool(spec.lag_x)), (self.error, spec.lag_error)
        return [W for W, on in pairs if on]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeDesign(Design):
    """A model on the rows that exist; ``y``, ``Wy`` and ``Z`` are after the effects, NaN where there is no row.

    ``present`` (T, n) says which rows there are, ``values`` (N,) is y by period and then by unit, ``shape`` all that does
    not depend on it, and ``rows_x`` the W of x. ``weights`` is the W of y, one or by period; ``own`` has the three of them.
    """

    present: NDArray[np.bool_]
    values: Array
    shape: Shape
    rows_x: RowWeights
    own: Lags
    reasons: tuple[str, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """Where ρ may lie."""
        return self.shape.W.interval if self.shape.W is not None else (-np.inf, np.inf)

    @property
    def own_lags(self) -> dict[str, Any]:
        """``W_x`` and ``W_error`` where they are not the W of y."""
        pairs = ("W_x", self.own.x), ("W_error", self.own.error)
        return {name: W for name, W in pairs if W is not self.own.y}

    @property
    def shape_facts(self) -> dict[str, Any]:
        """What ``glance()`` says of the shape."""
        reason = "; ".join(REASONS[name].en for name in self.reasons)
        return {"rows": len(self.values), "present": len(self.values) / self.present.size, "reason": reason}


def read_lags(spec: DurbinSpec, panel: Panel, W: Any, W_x: Any, W_error: Any) -> Lags:
    """The three W, aligned with the units of the panel; one that is the same in all periods as one matrix.

    A W for a lag that the model has not is refused.
    """
    for name, given, on, option in (
        ("W_x", W_x, spec.lag_x, "lag_x"),
        ("W_error", W_error, spec.lag_error, "lag_error"),
    ):
        if given is not None and not on:
            raise SpecificationError(
                f"{name} is given, but the model has no such lag: set {option}, or leave {name} out.",
                f"给出了{name}，而模型没有相应的滞后：请设定{option}，或去掉{name}。",
            )
    own = aligned_weights(W, panel)
    return Lags(*(own if given is None else aligned_weights(given, panel) for given in (W, W_x, W_error)))


def aligned_weights(given: Any, panel: Panel) -> Weights | PeriodWeights:
    weights = any_weights(given)
    if isinstance(weights, PeriodWeights):
        weights = weights.one_of(panel.periods)
    return weights.align(panel.units)


def used_rows(spec: DurbinSpec, panel: Panel) -> NDArray[np.bool_]:
    """Which unit-periods (T, n) are present with every variable of the model; all, where the panel must be complete."""
    if not panel.uneven:
        return np.ones(panel.present.shape, dtype=bool)
    return panel.present & ~np.isnan(panel.array(list(_names(spec)))).any(axis=2)


def _names(spec: DurbinSpec) -> tuple[str, ...]:
    columns = {part for name in spec.effects for part in name.split("*")} - {"unit", "period", "trend"}
    return (spec.y, *spec.regressors, *spec.instruments, *sorted(columns))


def reasons_for_shape(spec: DurbinSpec, panel: Panel, lags: Lags) -> tuple[str, ...]:
    """What of a model the Lee-Yu transform does not reach; nothing where it does."""
    used = lags.used(spec)
    timed = spec.fixed_effects in ("time", "two_way")
    found = {
        "rows": not used_rows(spec, panel).all(),
        "periods": any(isinstance(W, PeriodWeights) for W in (lags.y, *used)),
        "own": any(not _same(W, lags.y) for W in used),
        "effects": spec.fixed_effects not in (*get_args(FixedEffects), "random"),
        "rows of W": bool(spec.spatial_terms) and timed and not all(W.row_normalised for W in used),
    }
    return tuple(name for name, on in found.items() if on)


def _same(one: Weights | PeriodWeights, two: Weights | PeriodWeights) -> bool:
    if one is two or not (isinstance(one, Weights) and isinstance(two, Weights)):
        return one is two
    return one.matrix.shape == two.matrix.shape and (one.matrix != two.matrix).nnz == 0


# --- The design


def build_shape(spec: DurbinSpec, panel: Panel, lags: Lags, reasons: tuple[str, ...]) -> ShapeDesign:
    """The rows that exist, their lags among units that are there, and checks of both.

    Raises
    ------
    DataError
        As :func:`~spatial_zb.models.design.build_design`.
    SpecificationError
        Effects that leave nothing, or more than can be held.
    """
    there = used_rows(spec, panel)
    if "rows" not in reasons:
        refuse_blanks(replace(panel, uneven=False), _names(spec))
    blank = int((panel.present & ~there).sum())
    units, periods = there.any(axis=0), there.any(axis=1)
    panel = panel.select(list(panel.units[units]), [panel.periods[t] for t in np.flatnonzero(periods)])
    there = there[np.ix_(periods, units)]
    unit = np.nonzero(there)[1]
    three = {id(W): W for W in (lags.y, lags.x, lags.error)}
    known = {at: row_weights(row_blocks(W, panel.units, panel.periods, there)) for at, W in three.items()}
    left = {at: of_units(W, panel.units) for at, W in three.items()}
    rows = {"y": known[id(lags.y)], "x": known[id(lags.x)], "error": known[id(lags.error)]}
    y, X = panel.array(spec.y)[there], panel.array(list(spec.regressors))[there]
    Z = np.hstack([X, rows["x"].matrix @ panel.array(list(spec.lag_x))[there]])
    if spec.fixed_effects == "none":
        Z = np.hstack([np.ones((len(y), 1)), Z])
    effects = effect_space(effect_columns(spec.effects, panel, there), unit)
    own, error = (rows[name] if on else None for name, on in (("y", spec.lag_y), ("error", spec.lag_error)))
    Wy = rows["y"].matrix @ y
    off = effects.off(y), effects.off(Wy), effects.off(Z)
    basis = checked_columns(
        spec,
        (y[None], Wy[None], Z[None]),
        (off[0][None], off[1][None], off[2][None]),
        len(y) - effects.rank,
        lags.y.label,
    )
    if error is not None:
        filtered = effects.off(error.matrix @ np.column_stack([y, Z]))
        refuse_flat_error_lag(off[0], filtered[:, 0], off[2], filtered[:, 1:], lags.error.label)
    starts = (0, *np.cumsum(there.sum(axis=1)).tolist())
    notes = list(notes_on_data(spec, lags.y, off[2][None], basis))
    notes += [
        note
        for W in dict.fromkeys(lags.used(spec))
        for note in notes_on_absence(W, panel.units, panel.periods, there)
    ]
    notes += [rows_left_out(blank, len(y))] if blank else []
    return ShapeDesign(
        spec=spec,
        panel=panel,
        # By period too: what needs one matrix refuses such a fit by its estimator.
        weights=cast(Weights, left[id(lags.y)]),
        y=placed(off[0], there),
        Wy=placed(off[1], there),
        Z=placed(off[2], there),
        WZ=None,
        WWy=None,
        basis=basis,
        notes=tuple(notes),
        present=there,
        values=y,
        shape=Shape(Z, unit, starts, effects, own, error),
        rows_x=rows["x"],
        own=Lags(*(left[id(W)] for W in (lags.y, lags.x, lags.error))),
        reasons=reasons,
    )


def placed(rows: Array, there: NDArray[np.bool_]) -> Array:
    """Rows (N, …) at their places (T, n, …), NaN where there is none."""
    out = np.full((*there.shape, *rows.shape[1:]), np.nan)
    out[there] = rows
    return out


def effect_columns(named: Sequence[str], panel: Panel, there: NDArray[np.bool_]) -> sparse.csc_array:
    """Dummies and trends of all effects, (N, m)."""
    period, unit = np.nonzero(there)
    when = np.asarray(panel.periods, dtype=float)[period]
    codes = {"unit": unit, "period": period}
    parts = [sparse.csc_array((len(unit), 0))]
    for name in named:
        names = name.split("*")
        groups = [
            codes[part] if part in codes else panel.array(part)[there] for part in names if part != "trend"
        ]
        slope = when - when.mean() if "trend" in names else np.ones(len(unit))
        keys = np.zeros((len(unit), 1)) if not groups else np.column_stack(groups)
        _, number = np.unique(keys, axis=0, return_inverse=True)
        number = np.ravel(number)
        count = int(number.max()) + 1
        if count == len(unit):
            raise SpecificationError(
                f'fixed_effects {name!r} gives every row an effect of its own. For trends of units write "unit*trend".',
                f'fixed_effects中的{name!r}使每一行各有一个效应。个体趋势请写"unit*trend"。',
            )
        parts.append(
            sparse.csc_array(
                sparse.coo_array((slope, (np.arange(len(unit)), number)), shape=(len(unit), count))
            )
        )
    return sparse.csc_array(sparse.hstack(parts, format="csc"))


# --- The estimate


def fit_shape(
    design: ShapeDesign,
    covariance: Covariance,
    bandwidth: int | None = None,
    kernel: DistanceKernel | None = None,
    noted: bool = True,
    kept: dict | None = None,
) -> Fit:
    """Solve the adjusted score; errors as ``covariance`` says, ``kernel`` that of ``"conley"``; ``noted``: with notes."""
    _check_size(design.shape, covariance)
    point = ShapePoint(shape_estimate(design.shape, design.values), kept={} if kept is None else kept)
    made = shape_cov(point, covariance, bandwidth, kernel) if point.found.solved else (None, False)
    fit, positive = assembled(design, point, covariance, made), made[1]
    fit = fit if kernel is None else replace(fit, convergence=replace(fit.convergence, kernel=kernel))
    return replace(fit, notes=_notes(fit, point, positive)) if noted else fit


def _check_size(shape: Shape, covariance: Covariance) -> None:
    """Refuse what is not written for any shape, and what needs dense filters or all pairs of rows of too large a panel."""
    allowed = COVARIANCES["adjusted_score"]
    if covariance not in allowed:
        raise SpecificationError(
            f"covariance must be one of {listed(allowed)} for a panel of this shape, not {covariance!r}.",
            f"此形态面板的covariance须为{listed_zh(allowed)}之一，而不是{covariance!r}。",
        )
    if covariance == "sandwich" and not (shape.few and len(shape.Z) <= PAIRED_ROWS):
        raise SpecificationError(
            f'covariance="sandwich" in this shape of panel is for {PAIRED_ROWS:,} rows and periods of up to {DENSE_PERIOD} '
            'units. Use "cluster", "information", "driscoll_kraay" or "conley".',
            f'此形态的面板用covariance="sandwich"时，至多{PAIRED_ROWS:,}行、每期至多{DENSE_PERIOD}个地区。'
            '请用"cluster"、"information"、"driscoll_kraay"或"conley"。',
        )
    if not (shape.few or shape.V is None) and corrects_leverage(covariance, len(np.unique(shape.unit))):
        raise SpecificationError(
            f'With λ and {shape.effects.rank:,} effects CR2 is not computed (covariance="{covariance}"). Use "cr1": with '
            "many units both are nearly the same.",
            f'含λ与{shape.effects.rank:,}个效应时不算CR2（covariance="{covariance}"）。请用"cr1"：地区多时两者相近。',
        )


def shape_cov(
    point: ShapePoint, kind: Covariance, bandwidth: int | None, kernel: DistanceKernel | None = None
) -> tuple[Array | None, bool]:
    """Covariance of what is estimated, and whether it exists; σ² has no error under clusters.

    ``"information"`` and ``"sandwich"`` are those of the likelihood where the score is one's, as on balanced panels and
    cross-sections; else the observed derivative on either side of the variance of the score (spatial-zb docs shape).
    """
    shape = point.found.score.shape
    if kind in CLUSTERED:
        return clustered_covariance(point, corrects_leverage(kind, len(np.unique(shape.unit))))
    on = np.ix_(point.active, point.active)
    if kind == "driscoll_kraay":
        periods = len(shape.starts) - 1
        meat = period_meat(point, bartlett_bandwidth(periods) if bandwidth is None else bandwidth)
    elif kind == "conley":
        assert kernel is not None, "kilometres were asked for"
        meat = distance_meat(point, kernel)
    else:
        excess = 0.0 if point.traces.likelihood else None
        meat = (any_law_meat if kind == "sandwich" else score_variance)(point, excess)
        if point.traces.likelihood:
            return sandwiched(expected_derivative(point, excess)[on], meat[on])
    return sandwiched(point.derivative[on], meat[on])


def assembled(
    design: ShapeDesign,
    point: ShapePoint,
    covariance: Covariance,
    made: tuple[Array | None, bool],
    apart: tuple[tuple[str, ...], list[float]] | None = None,
) -> Fit:
    """The fit without its notes, with what :func:`shape_cov` made; names and the ρ where regimes have them ``apart``."""
    found, shape, spec, (cov, positive) = point.found, design.shape, design.spec, made
    units, sigma2, df, loglik = len(design.panel.units), found.sigma2, None, np.nan
    both = (found.rho, spec.lag_y), (found.lam, spec.lag_error)
    terms, spatial = apart or ((*spec.terms, *spec.spatial_terms), [value for value, on in both if on])
    index = term_index((*terms, "sigma2"))
    cov = np.full((len(index), len(index)), np.nan) if cov is None else cov
    few = corrects_leverage(covariance, units)
    if not spec.spatial_terms:  # ordinary least squares: classical degrees of freedom, and a likelihood
        rows = TransformedSample(len(found.e), 1, shape.free, 1, False, shape.effects.rank)
        loglik = -shape.free / 2 * (np.log(2 * np.pi * sigma2) + 1)
        sigma2, cov, df = least_squares(rows, len(found.delta), sigma2, cov, few)
    return Fit(
        design=design,
        estimator="adjusted_score",
        covariance=covariance,
        params=pd.Series(np.array([*found.delta, *spatial, sigma2]), index=index, name="estimate"),
        cov=pd.DataFrame(cov, index=index, columns=index),
        log_likelihood=float(loglik),
        nobs=shape.free,
        absorbed=shape.effects.rank,
        residuals=placed(found.e, design.present),
        df_resid=degrees_of(covariance, units, df),
        clusters=clusters_at(point) if few and positive else None,
        convergence=Convergence(
            converged=positive and found.solved,
            at_bound=not found.solved,
            probe_error=point.traces.probe_error if found.solved and spec.spatial_terms else None,
            roots=tuple(rho if spec.lag_y else lam for rho, lam in found.roots) if spec.spatial_terms else (),
        ),
    )


def _notes(fit: Fit, point: ShapePoint, positive: bool) -> tuple[Note, ...]:
    spec, units, found = fit.spec, len(fit.panel.units), point.found
    rows = TransformedSample(units, len(fit.panel.periods), fit.nobs, 1, False, fit.absorbed)
    notes = notes_on_dependence(fit.covariance, rows, 0.0)
    notes += notes_on_rows(point, fit.covariance) if positive else []
    if not found.solved:
        notes.append(no_root())
    elif not positive:
        notes.append(not_positive())
    if len(found.roots) > 1:
        notes.append(several_roots(found.roots, bool(spec.lag_y), bool(spec.lag_error)))
    if spec.lag_y and spec.lag_error and units <= WEAK_PAIR:
        notes.append(weak_pair(units))
    elif spec.spatial_terms and units <= SMALL_N:
        beside = PROFILE if fit.covariance in CLUSTERED else f'{PROFILE}, covariance="cluster"'
        notes.append(few_units(units, len(found.e), beside, "spatial-zb docs validation/shape"))
    return tuple(notes)


@Kind
def rows_left_out(blank: int, rows: int) -> Text:
    """Unit-periods that are present but lack a variable of the model."""
    return Text(
        f"{blank:,} unit-periods are present but lack a variable of the model and are left out, as neighbours too; {rows:,} "
        "rows remain",
        f"{blank:,}个地区-时期存在但缺模型变量，已剔除（也不再作为邻居）；余{rows:,}行",
    )


@Kind
def several_roots(roots: tuple[tuple[float, float], ...], lag_y: bool, lag_error: bool) -> Text:
    """Values at which the adjusted score falls through zero; the first is the estimate."""
    both = lag_y and lag_error
    name = "(ρ, λ)" if both else "ρ" if lag_y else "λ"
    shown = ", ".join(f"({r:.3f}, {s:.3f})" if both else f"{r if lag_y else s:.3f}" for r, s in roots)
    return Text(
        f"the score is zero at {len(roots)} values of {name} ({shown}): the one uphill of the others is shown, and standard "
        "errors do not cover the choice between them",
        f"得分在{name}的{len(roots)}个值处为零（{shown}）：此处取得分积分最高者，标准误不反映这一选择",
    )
