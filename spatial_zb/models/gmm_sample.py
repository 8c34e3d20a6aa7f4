"""The sample that instrumental estimation of one equation sees: stacked arrays without effects, and the instruments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.likelihood.shape_rows import RowWeights
from spatial_zb.core.system import Links, SystemArrays
from spatial_zb.core.system.moments import (
    Instruments,
    Projected,
    forward_deviations,
    independent_columns,
    row_deviations,
    two_stage,
)
from spatial_zb.core.system.sets import SCORE_CLUSTERS
from spatial_zb.core.transforms import EffectSpace, TransformedSample, demean, spatial_lag
from spatial_zb.core.unit_rows import RowErrors, row_errors, row_places
from spatial_zb.models.design import ABSORBED, Design, stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.shape import REASONS, ShapeDesign, placed
from spatial_zb.models.spec import INTERCEPT


@dataclass(frozen=True, slots=True)
class GmmSample:
    """Stacked arrays without effects: y (M,), Z (M, k) with Wy last, and the spatial lags of both.

    The lags are None without an error process. ``names`` are the terms of Z, ``endogenous`` positions among
    them; ``used`` and ``dropped`` are names of instruments; ``shape`` is (T*, n); ``centred`` says that each
    period was demeaned. Of a panel of another shape T* is T, rows that are absent are zero, so that sums over rows and by
    unit do not see them, ``rows`` are as in :class:`~spatial_zb.core.system.SystemArrays`, and ``effects`` (M, r) an
    orthonormal basis of them where rows are not in deviations and units are few.
    """

    y: Array
    Z: Array
    lag_y: Array | None
    lag_Z: Array | None
    names: tuple[str, ...]
    endogenous: tuple[int, ...]
    instruments: Instruments
    used: tuple[str, ...]
    dropped: tuple[str, ...]
    shape: tuple[int, int]
    centred: bool
    rows: tuple[tuple[sparse.csr_array, Array], ...] = ()
    effects: Array | None = None

    @property
    def lags(self) -> tuple[Array, Array]:
        """``lag_y`` and ``lag_Z``, with an error process."""
        assert self.lag_y is not None, "made with an error process"
        assert self.lag_Z is not None, "made with an error process"
        return self.lag_y, self.lag_Z

    def filtered(self, lam: float) -> tuple[Array, Array]:
        """y* and Z*."""
        if self.lag_Z is None:
            return self.y, self.Z
        lag_y, lag_Z = self.lags
        return self.y - lam * lag_y, self.Z - lam * lag_Z

    def stage(self, lam: float, what: Text) -> Projected:
        """2SLS of the filtered data; exogenous Z are their own instruments."""
        y, Z = self.filtered(lam)
        basis = self.instruments.basis if self.endogenous else np.linalg.qr(Z)[0]
        fit = two_stage(y, Z, basis)
        if fit is None:
            raise SpecificationError(
                f"The instruments do not identify {listed(self.names[j] for j in self.endogenous)} in the {what.en}: "
                f"{self.instruments.count} independent instruments ({listed(self.used)}) for {len(self.names)} "
                "coefficients. Add instruments, or raise powers.",
                f"{what.zh}的工具变量不能识别{listed_zh(self.names[j] for j in self.endogenous)}："
                f"独立的工具变量{self.instruments.count}个（{listed_zh(self.used)}），系数{len(self.names)}个。"
                "请增加工具变量，或提高powers。",
            )
        return fit

    def residuals(self, delta: Array) -> tuple[Array, Array]:
        """u = y − Zδ and its spatial lag, (T*, n)."""
        lag_y, lag_Z = self.lags
        u, lag = self.y - self.Z @ delta, lag_y - lag_Z @ delta
        return u.reshape(self.shape), lag.reshape(self.shape)


def system_of(sample: GmmSample, design: Design) -> SystemArrays:
    """The equation as the first of a system: each endogenous regressor w has one of its own, w = HΠ + v.

    That reduced form is exactly identified: it moves nothing, and says how v goes with ε.
    """
    spec, H = design.spec, sample.instruments.basis
    column = {name: j for j, name in enumerate(spec.endog, start=1)} | {spec.y: 0}
    terms = [sample.names[j] for j in sample.endogenous]
    names = [
        spec.y if term == "rho" else term.removeprefix("W_") if term not in column else term for term in terms
    ]
    links = Links(
        np.array(sample.endogenous, dtype=np.intp),
        np.zeros(len(terms), dtype=np.intp),
        np.array([column[name] for name in names], dtype=np.intp),
        np.array([term == "rho" or term not in column for term in terms]),
    )
    q = len(spec.endog)
    own = np.column_stack([sample.y, *(sample.Z[:, sample.names.index(name)] for name in spec.endog)])
    Wy: Array | None = None
    WZ: tuple[Array, ...] | None = None
    if spec.lag_error:  # that of w has none
        lag_y, lag_Z = sample.lags
        Wy, WZ = np.column_stack([lag_y, np.zeros((len(own), q))]), (lag_Z, *[H] * q)
    return SystemArrays(
        y=own,
        Z=(sample.Z, *[H] * q),
        H=H,
        endogenous=(len(terms), *[0] * q),
        links=links,
        lag_error=(bool(spec.lag_error), *[False] * q),
        Wy=Wy,
        WZ=WZ,
        matrix=design.weights.matrix if (rows := rows_of(design, False)) is None else rows.weights.matrix,
        sample=left_of(design),
        rows=sample.rows,
    )


def gmm_sample(design: Design, powers: int, by_row: bool = False) -> GmmSample:
    """The sample of a model, with the instruments up to this power of W.

    ``by_row``: scores are not only summed by unit, so that rows of a unit should be uncorrelated after its effects are out.
    """
    spec, n, rows = design.spec, len(design.panel.units), rows_of(design, by_row)
    names = (*spec.terms, *(("rho",) if spec.lag_y else ()))

    def taken(values: Array) -> Array:
        return stacked(forward_deviations(values, spec.transform)) if rows is None else rows.taken(values)

    def columns(Z: Array, Wy: Array) -> Array:
        return taken(np.concatenate([Z, Wy[:, :, None]], axis=2) if spec.lag_y else Z)

    def turned(values: Array) -> Array:
        return values if rows is None else rows.deviated(values)

    lags: tuple[Array, Array] | tuple[None, None] = None, None
    if design.WZ is not None:
        lags = taken(design.Wy), columns(*design.lags)
    Z = columns(design.Z, design.Wy)
    endogenous_names = {*spec.endog, *(f"W_{name}" for name in spec.endog), "rho"}
    endogenous = tuple(j for j, name in enumerate(names) if name in endogenous_names)
    included = np.delete(Z, endogenous, axis=1)
    used, dropped, basis = _instruments(design, powers, included, bool(endogenous), taken)
    kept = tuple(name for j, name in enumerate(names) if j not in endogenous)
    return GmmSample(
        y=turned(taken(design.y)),
        Z=turned(Z),
        lag_y=lags[0],
        lag_Z=lags[1],
        names=names,
        endogenous=endogenous,
        instruments=Instruments(turned(basis), turned(included), left_of(design).observations),
        used=(*kept, *used),
        dropped=dropped,
        shape=(len(Z) // n, n),
        centred=rows is None and spec.transform in ("time", "two_way"),
        rows=() if rows is None else rows.grouped(basis),
        effects=None if rows is None or by_row else rows.stacked_effects,
    )


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a panel of any shape as instruments see them: ``present`` (T, n), their W, the space of their effects.

    Stacked rows (M,) or (M, k), M = T·n, are zero where there is none, so that sums over rows and by unit do not see them.
    Scores that are squared row by row need ``deviations`` where there are effects of units.
    """

    present: NDArray[np.bool_]
    weights: RowWeights
    effects: EffectSpace
    deviations: bool

    @property
    def sample(self) -> TransformedSample:
        """What the effects leave."""
        (T, n), rank = self.present.shape, self.effects.rank
        return TransformedSample(n, T, int(self.present.sum()) - rank, T, False, rank)

    def facts(self, reasons: tuple[str, ...]) -> dict[str, Any]:
        """What ``glance()`` says of them, as :attr:`ShapeDesign.shape_facts`."""
        count, reason = int(self.present.sum()), "; ".join(REASONS[name].en for name in reasons)
        return {"rows": count, "present": count / self.present.size, "reason": reason}

    def lag(self, values: Array) -> Array:
        """W times (T, n)."""
        return placed(self.weights.matrix @ values[self.present], self.present)

    def taken(self, values: Array) -> Array:
        """(T, n, …) off the effects, as stacked rows."""
        return stacked(np.nan_to_num(placed(self.effects.off(values[self.present]), self.present)))

    def deviated(self, values: Array) -> Array:
        """Stacked rows, in deviations where these are asked for; sums by unit are what they were."""
        if not self.deviations:
            return values
        cube = values.reshape(*self.present.shape, *values.shape[1:])
        return stacked(row_deviations(cube, self.present))

    def placed(self, values: Array) -> Array:
        """Stacked rows (M, k) as (T, n, k), NaN where there is none."""
        return np.where(self.present[..., None], values.reshape(*self.present.shape, -1), np.nan)

    def errors(self, e: Array, X: Array) -> RowErrors:
        """Residuals (T, n) and what effects and regressors (M, k) took out of them, for tests of them."""
        (period, unit), space = np.nonzero(self.present), self.effects
        rows = X.reshape(*self.present.shape, -1)[self.present]
        own = space.columns, space.values
        return row_errors(unit, period, e[self.present], rows, own, space.others)

    @property
    def places(self) -> Array:
        """What of W variances of units are held against, (n, q)."""
        unit = np.nonzero(self.present)[1]
        return row_places(self.weights.matrix, unit, self.effects.others.shape[1] > 0)

    def grouped(self, basis: Array) -> tuple[tuple[sparse.csr_array, Array], ...]:
        """Each W_t that differs, with the instruments (T_t, n_t, q) of its periods."""
        return self.weights.grouped(basis.reshape(*self.present.shape, -1)[self.present])

    @property
    def stacked_effects(self) -> Array | None:
        """The effects (M, r), which a few units' own share of the rows is judged beside; None with more units."""
        if self.present.shape[1] >= SCORE_CLUSTERS:
            return None
        return stacked(np.nan_to_num(placed(self.effects.full, self.present)))

    def arrays(self, found: SystemArrays) -> SystemArrays:
        """Arrays of a system on these rows, with their W."""
        return replace(
            found,
            matrix=self.weights.matrix,
            rows=self.grouped(found.H),
            present=self.present,
            effects=self.effects,
        )

    def turned(self, whole: SystemArrays) -> SystemArrays:
        """The same with rows in deviations where these are asked for."""
        y, H = self.deviated(whole.y), self.deviated(whole.H)
        return replace(whole, y=y, H=H, Z=tuple(self.deviated(block) for block in whole.Z))


def rows_of(design: Design, by_row: bool) -> Rows | None:
    """The rows of a design of any shape, under the W of y, or of x where y has no lag; None of a complete panel."""
    if not isinstance(design, ShapeDesign):
        return None
    W, effects = design.shape.W or design.rows_x, design.shape.effects
    return Rows(design.present, W, effects, by_row and "unit" in design.spec.effects)


def left_of(design: Design) -> TransformedSample:
    """What the effects leave of the rows of a design."""
    rows = rows_of(design, False)
    return design.sample() if rows is None else rows.sample


def _lags(design: Design) -> tuple[Callable[[Array], Array], Callable[[Array], Array], bool]:
    """The W of y and the W of x on values (T, n), and whether all rows of the former sum to one."""
    rows = rows_of(design, False)
    if rows is None or not isinstance(design, ShapeDesign):
        W = design.weights

        def lag(values: Array) -> Array:
            return spatial_lag(W.matrix, values)

        return lag, lag, W.row_normalised
    sums = np.asarray(rows.weights.matrix.sum(axis=1)).ravel()
    return rows.lag, replace(rows, weights=design.rows_x).lag, bool(np.ptp(sums) < ABSORBED)


def _instruments(
    design: Design, powers: int, included: Array, needed: bool, taken: Callable[[Array], Array]
) -> tuple[tuple[str, ...], tuple[str, ...], Array]:
    """Excluded instruments used, those dropped as collinear, and an orthonormal basis of all."""
    if not needed:
        return (), (), np.linalg.qr(included)[0]
    names, raw = _candidates(design, powers)
    candidates = taken(raw)
    sizes = np.nanmax(np.abs(raw), axis=(0, 1), initial=0)  # NaN where a shape has no row
    absorbed = np.abs(candidates).max(axis=0, initial=0) <= ABSORBED * sizes
    candidates = np.where(absorbed, 0.0, candidates)
    keep = independent_columns(included, candidates)
    basis = np.hstack([included, candidates[:, keep]])
    basis = np.linalg.qr(basis / np.sqrt((basis**2).sum(axis=0)))[0]
    used = tuple(names[j] for j in keep)
    return used, tuple(name for name in names if name not in used), basis


def _candidates(design: Design, powers: int) -> tuple[tuple[str, ...], Array]:
    """Lags of the exogenous variables that are not regressors, the excluded instruments, and their lags.

    A variable whose lag is itself a regressor goes one power further, so that the instruments are always the
    exogenous regressors times I, W, …, W^powers. Never a lag of y or of an endogenous regressor. Where x has a W of its own
    these are the powers of the W of y on x and on W_x x, which stand for themselves.
    """
    spec, panel, (lag, lag_of_x, constant) = design.spec, design.panel, _lags(design)
    order = powers if spec.spatial_terms else 0
    one_more = any(name in spec.lag_x for name in spec.endog)
    own = "W_x" in design.own_lags and bool(spec.spatial_terms)
    sources = {name: panel.array(name) for name in (*spec.x, *spec.instruments)}
    regressors = {name: 1 + (name in spec.lag_x and not own) for name in spec.x}
    highest = {name: order + (name in spec.lag_x and not own) for name in spec.x}
    highest |= dict.fromkeys(spec.instruments, order + (one_more and not own))
    if own:
        lagged = [name for name in spec.x if name in spec.lag_x]
        sources |= {
            f"W_{name}": lag_of_x(sources[name])
            for name in (*lagged, *(spec.instruments if one_more else ()))
        }
        regressors |= {f"W_{name}": 1 for name in lagged}
        highest |= dict.fromkeys(set(sources) - set(highest), order)
    if spec.fixed_effects == "none" and not constant:
        sources[INTERCEPT] = np.ones(panel.values.shape[:2])
        regressors[INTERCEPT], highest[INTERCEPT] = 1, order
    columns: dict[str, Array] = {}
    for name, values in sources.items():
        for power in range(highest[name] + 1):
            if power >= regressors.get(name, 0):
                columns[_lag_name(name, power, own)] = values
            values = lag(values)
    if not columns:
        return (), np.empty((*panel.values.shape[:2], 0))
    return tuple(columns), np.stack(list(columns.values()), axis=2)


def reduced_form_residuals(fit: Fit) -> Array:
    """v̂ (T, n, q) = w − HΠ̂ of the q endogenous regressors, without effects, H the instruments of the fit.

    Π̂ comes from the regression of w on H and the structural residuals ε̂: what ε̂ tells of v makes it efficient (Davidson &
    MacKinnon 2010, J. Business & Economic Statistics 28: 128-144, section 2).
    """
    spec, design = fit.spec, fit.design
    if isinstance(design, ShapeDesign):
        sample = gmm_sample(design, fit.convergence.powers)
        H, shape = sample.instruments.basis, design.present.shape
        w = sample.Z[:, [sample.names.index(name) for name in spec.endog]].reshape(*shape, -1)
    else:
        names, raw = _candidates(design, fit.convergence.powers)
        used = fit.convergence.instruments
        excluded = demean(raw[:, :, [j for j, name in enumerate(names) if name in used]], spec.transform)
        included = design.Z[:, :, [j for j, name in enumerate(spec.terms) if name in used]]
        H = stacked(np.concatenate([included, excluded], axis=2))
        w = design.Z[:, :, [spec.terms.index(name) for name in spec.endog]]
    columns = np.column_stack([H, np.nan_to_num(fit.residuals).ravel()])
    scale = np.sqrt((columns**2).sum(axis=0))
    slopes = np.linalg.lstsq(columns / scale, stacked(w), rcond=None)[0]
    return w - (H / scale[:-1] @ slopes[:-1]).reshape(w.shape)


def _lag_name(name: str, power: int, own: bool) -> str:
    """x, W_x, W2_x, …; where x has a W of its own, powers of that of y are Wy_x, Wy2_x, …"""
    return name if power == 0 else f"W{'y' * own}{power if power > 1 else ''}_{name}"
