"""The sample that instrumental estimation of one equation sees: stacked arrays without effects, and the instruments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.system.arrays import Links, SystemArrays
from spatial_zb.core.system.moments import (
    Instruments,
    Projected,
    forward_deviations,
    independent_columns,
    two_stage,
)
from spatial_zb.core.transforms import demean, spatial_lag
from spatial_zb.models.design import ABSORBED, Design, stacked
from spatial_zb.models.fit import Fit


@dataclass(frozen=True, slots=True)
class GmmSample:
    """Stacked arrays without effects: y (M,), Z (M, k) with Wy last, and the spatial lags of both.

    The lags are None without an error process. ``names`` are the terms of Z, ``endogenous`` positions among
    them; ``used`` and ``dropped`` are names of instruments; ``shape`` is (T*, n); ``centred`` says that each
    period was demeaned.
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
        matrix=design.weights.matrix,
        sample=design.sample(),
    )


def gmm_sample(design: Design, powers: int) -> GmmSample:
    """The sample of a model, with the instruments up to this power of W."""
    spec, effects, n = design.spec, design.spec.transform, design.weights.n
    names = (*spec.terms, *(("rho",) if spec.lag_y else ()))

    def columns(Z: Array, Wy: Array) -> Array:
        both = np.concatenate([Z, Wy[:, :, None]], axis=2) if spec.lag_y else Z
        return stacked(forward_deviations(both, effects))

    lags: tuple[Array, Array] | tuple[None, None] = None, None
    if design.WZ is not None:
        lags = stacked(forward_deviations(design.Wy, effects)), columns(*design.lags)
    Z = columns(design.Z, design.Wy)
    endogenous_names = {*spec.endog, *(f"W_{name}" for name in spec.endog), "rho"}
    endogenous = tuple(j for j, name in enumerate(names) if name in endogenous_names)
    included = np.delete(Z, endogenous, axis=1)
    used, dropped, basis = _instruments(design, powers, included, bool(endogenous))
    kept = tuple(name for j, name in enumerate(names) if j not in endogenous)
    return GmmSample(
        y=stacked(forward_deviations(design.y, effects)),
        Z=Z,
        lag_y=lags[0],
        lag_Z=lags[1],
        names=names,
        endogenous=endogenous,
        instruments=Instruments(basis, included, design.sample().observations),
        used=(*kept, *used),
        dropped=dropped,
        shape=(len(Z) // n, n),
        centred=effects in ("time", "two_way"),
    )


def _instruments(
    design: Design, powers: int, included: Array, needed: bool
) -> tuple[tuple[str, ...], tuple[str, ...], Array]:
    """Excluded instruments used, those dropped as collinear, and an orthonormal basis of all."""
    if not needed:
        return (), (), np.linalg.qr(included)[0]
    names, raw = _candidates(design, powers)
    candidates = stacked(forward_deviations(raw, design.spec.transform))
    absorbed = np.abs(candidates).max(axis=0, initial=0) <= ABSORBED * np.abs(raw).max(axis=(0, 1), initial=0)
    candidates = np.where(absorbed, 0.0, candidates)
    keep = independent_columns(included, candidates)
    basis = np.hstack([included, candidates[:, keep]])
    basis = np.linalg.qr(basis / np.sqrt((basis**2).sum(axis=0)))[0]
    used = tuple(names[j] for j in keep)
    return used, tuple(name for name in names if name not in used), basis


def _candidates(design: Design, powers: int) -> tuple[tuple[str, ...], Array]:
    """Lags of the exogenous variables that are not regressors, the excluded instruments, and their lags.

    A variable whose lag is itself a regressor goes one power further, so that the instruments are always the
    exogenous regressors times I, W, …, W^powers. Never a lag of y or of an endogenous regressor.
    """
    spec, panel, weights = design.spec, design.panel, design.weights
    order = powers if spec.spatial_terms else 0
    one_more = any(name in spec.lag_x for name in spec.endog)
    columns: dict[str, Array] = {}
    sources = {name: panel.array(name) for name in (*spec.x, *spec.instruments)}
    highest = {name: order + (name in spec.lag_x) for name in spec.x}
    highest |= dict.fromkeys(spec.instruments, order + one_more)
    if spec.transform == "none" and not weights.row_normalised:
        sources["(Intercept)"] = np.ones(panel.values.shape[:2])
        highest["(Intercept)"] = order
    for name, values in sources.items():
        regressors = 0 if name in spec.instruments else 1 + (name in spec.lag_x)
        for power in range(highest[name] + 1):
            if power >= regressors:
                columns[_lag_name(name, power)] = values
            values = spatial_lag(weights.matrix, values)
    if not columns:
        return (), np.empty((*panel.values.shape[:2], 0))
    return tuple(columns), np.stack(list(columns.values()), axis=2)


def reduced_form_residuals(fit: Fit) -> Array:
    """v̂ (T, n, q) = w − HΠ̂ of the q endogenous regressors, without effects, H the instruments of the fit.

    Π̂ comes from the regression of w on H and the structural residuals ε̂: what ε̂ tells of v makes it efficient (Davidson &
    MacKinnon 2010, J. Business & Economic Statistics 28: 128-144, section 2).
    """
    spec, design, effects = fit.spec, fit.design, fit.spec.transform
    names, raw = _candidates(design, fit.convergence.powers)
    used = fit.convergence.instruments
    excluded = demean(raw[:, :, [j for j, name in enumerate(names) if name in used]], effects)
    included = design.Z[:, :, [j for j, name in enumerate(spec.terms) if name in used]]
    H = stacked(np.concatenate([included, excluded], axis=2))
    w = design.Z[:, :, [spec.terms.index(name) for name in spec.endog]]
    columns = np.column_stack([H, fit.residuals.ravel()])
    scale = np.sqrt((columns**2).sum(axis=0))
    slopes = np.linalg.lstsq(columns / scale, stacked(w), rcond=None)[0]
    return w - (H / scale[:-1] @ slopes[:-1]).reshape(w.shape)


def _lag_name(name: str, power: int) -> str:
    """x, W_x, W2_x, …"""
    return name if power == 0 else f"W{power if power > 1 else ''}_{name}"
