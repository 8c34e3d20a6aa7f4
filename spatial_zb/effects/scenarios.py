"""What follows where given variables change in given units: scenarios of a fit, by unit and period, with their errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.arguments import alpha_of
from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import Note
from spatial_zb.base.printing import Printed
from spatial_zb.base.results import coefficient_columns
from spatial_zb.base.threads import one_thread
from spatial_zb.core import Array
from spatial_zb.core.system import Links
from spatial_zb.core.system.paths import Process, no_links, path_slopes, paths
from spatial_zb.effects.dynamic import stable_processes
from spatial_zb.effects.static import Among, reason_of_equation, refuse_without_effects, rows_of_period
from spatial_zb.effects.system import SHOCK, reason_of_system, refuse_unstable, sources_of, stable_systems
from spatial_zb.effects.table import check_fit, draws_reason, spread, tell_rejected
from spatial_zb.models.fit import Fit
from spatial_zb.models.system.dynamic import carried_links
from spatial_zb.models.system.fit import SystemFit

Change = Literal["permanent", "one_off"]
#: Horizons of a model with lags in time where none are asked for.
HORIZONS = 10


class Replicates(Protocol):
    """Re-estimates of a fit, as :func:`spatial_zb.bootstrap` gives them: parameters (R, p) in the order of the fit's."""

    @property
    def draws(self) -> Array: ...
    @property
    def solved(self) -> NDArray[np.bool_]: ...


@dataclass(frozen=True, eq=False, repr=False)
class Scenario(Printed):
    """What changes in some units do to all of them.

    Attributes
    ----------
    frame
        What ``tidy()`` gives.
    fit
        The fit.
    changes
        What was changed: unit → variable → by how much.
    facts
        How, for ``glance()``.
    """

    frame: pd.DataFrame
    fit: Fit | SystemFit
    changes: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    def tidy(self) -> pd.DataFrame:
        """One row for each unit and response (and horizon): change, std_error, conf_low, conf_high."""
        return self.frame.copy()

    def glance(self) -> pd.DataFrame:
        """One row for each response at the last horizon: the sum over units, how many surely gain and how many lose."""
        last = self.frame
        if "horizon" in last:
            last = last[last["horizon"] == last["horizon"].max()]
        rows = [
            {
                "response": response,
                **self.facts,
                "sum": own["change"].sum(),
                "gain": int((own["conf_low"] > 0).sum()),
                "lose": int((own["conf_high"] < 0).sum()),
                "n_units": len(own),
            }
            for response, own in last.groupby("response", sort=False)
        ]
        return pd.DataFrame(rows)


@one_thread
def scenario(
    fit: Fit | SystemFit,
    changes: Mapping[str, Mapping[str, float]],
    horizons: int | None = None,
    *,
    change: Change = "permanent",
    level: float = 0.95,
    bootstrap: Replicates | None = None,
    period: int | None = None,
) -> Scenario:
    """What happens to every unit if variables of some units change: ``{"330100": {"talent": 0.10}}``.

    One equation: Δy = (I − ρW)⁻¹ Σ_k (β_k I + θ_k W)Δx_k, with lags in time its path over the horizons. A system: all its
    equations together, 𝐒Δy = Σ (b⊗Δx + t⊗WΔx). A dependent variable of a system is pushed from outside by so much, a
    shock to its equation, and then moves with all others. All else stays as it is; nothing is said of how the change would
    be brought about.

    Parameters
    ----------
    fit
        One equation without regimes, or a system.
    changes
        By unit and variable, in units of the variable: 0.10 of a logarithm is 10.5 %.
    horizons
        With lags in time, how many periods ahead (by default 10).
    change
        With lags in time: ``"permanent"``, the variable stays changed, or ``"one_off"``, for one period.
    level
        Of the limits: by the delta method, with the degrees of freedom of the fit's clustered errors.
    bootstrap
        Of the same fit, by :func:`spatial_zb.bootstrap`: limits are then percentiles of its replicates, and errors are from
        their quartiles.
    period
        Of a fit whose W or units change between periods: the period in which the change happens, among the units that are
        there, under the W of that period.

    Returns
    -------
    Scenario, whose ``tidy()`` has unit, response, (horizon,) change, std_error, conf_low, conf_high. What is zero by
    construction, as y of units that a change cannot reach, has the limits zero.

    Raises
    ------
    DataError
        An unknown unit or variable, a unit that is absent in the period; a change that is no number.
    SpecificationError
        Regimes; horizons of a static model; a bootstrap of another fit; no period where W or units change between periods,
        or one where they do not.
    ConvergenceError
        A fit that has no effects, see :func:`spatial_zb.spatial_effects`.

    Examples
    --------
    >>> import spatial_zb as zb, scipy.sparse as sp
    >>> path = sp.csr_array(sp.diags_array([1.0, 1.0], offsets=[1, -1], shape=(30, 30)))
    >>> W = zb.Weights(path, range(30), "path").standardise()
    >>> panel = zb.simulate.durbin(W, 8, {"x": 1.0, "W_x": 0.5}, rho=0.4, rng=1)
    >>> fit = zb.fit_durbin(zb.DurbinSpec("y", ["x"]), panel, W)
    >>> found = zb.scenario(fit, {"15": {"x": 1.0}}).tidy().set_index("unit")
    >>> bool(found.loc["15", "change"] > found.loc["14", "change"] > found.loc["10", "change"] > 0)
    True
    """
    check_fit(fit, "scenario", Fit | SystemFit)
    alpha = alpha_of(level)
    if change not in get_args(Change):
        raise not_one_of("change", change, get_args(Change))
    steps = _steps(fit, horizons)
    at = _among(fit, period)
    process = _process(fit, at, _checked(fit, at.units, changes), change == "permanent")
    values, slopes = path_slopes(process, _delta(fit), steps)
    gradient = _over_parameters(fit, slopes)
    facts: dict[str, Any] = {"change": change} if _dynamic(fit) else {}
    facts |= {} if period is None else {"period": period}
    notes: tuple[Note, ...] = ()
    if bootstrap is not None:
        columns, notes = _by_replicates(fit, process, values, bootstrap, alpha)
        facts |= {"method": "bootstrap", "replicates": int(bootstrap.solved.sum())}
    else:
        flat = gradient.reshape(-1, gradient.shape[-1])
        error = np.sqrt(
            np.maximum(np.einsum("ri,ij,rj->r", flat, np.nan_to_num(fit.cov.to_numpy()), flat), 0.0)
        )
        moved = flat.any(axis=1)
        columns = np.zeros((len(flat), 3))
        df = fit.degrees(flat[moved])
        found = coefficient_columns(values.ravel()[moved], error[moved], alpha, df)
        columns[moved] = found[:, [1, 4, 5]]
        facts |= {"method": "delta"}
    return Scenario(_frame(fit, at.units, values, columns), fit, changes, facts | {"level": level}, notes)


def _among(fit: Fit | SystemFit, period: int | None) -> Among:
    """The units whose y moves, and W among them."""
    if fit.design.shape_facts:
        return rows_of_period(fit, period)
    if period is not None:
        raise SpecificationError(
            "period is for fits whose W or units change between periods; this one has one W. Leave it out.",
            "period用于各期W或地区不同的估计；此估计各期相同。请去掉该选项。",
        )
    return Among(fit.panel.units, fit.weights.matrix, fit.weights.matrix)


def _dynamic(fit: Fit | SystemFit) -> bool:
    return bool(fit.spec.dynamic)


def _steps(fit: Fit | SystemFit, horizons: int | None) -> int:
    if isinstance(fit, Fit) and fit.spec.regimes:
        raise SpecificationError(
            "scenario is for models with one set of coefficients; with regimes multiply zb.effect_matrix(fit, term) by the "
            "changes.",
            "scenario用于只有一组系数的模型；含区制时请将zb.effect_matrix(fit, term)乘以变化量。",
        )
    if horizons is None:
        return HORIZONS if _dynamic(fit) else 0
    if isinstance(horizons, bool) or not isinstance(horizons, int) or horizons < 0:
        raise SpecificationError(
            f"horizons must be a whole number from 0, not {horizons!r}.",
            f"horizons须为非负整数，而不是{horizons!r}。",
        )
    if horizons and not _dynamic(fit):
        raise SpecificationError(
            f"{fit!r} has no lags in time: a change works itself out within the period. Leave horizons out, or fit a model "
            "with time_lag.",
            f"{fit!r}没有时间滞后：变化在当期内完成。请去掉horizons，或估计含time_lag的模型。",
        )
    return horizons


def _checked(
    fit: Fit | SystemFit, there: pd.Index, changes: Mapping[str, Mapping[str, float]]
) -> dict[str, Array]:
    """Changes (n,) of the units that are there, by variable; dependent variables of a system as shocks."""
    units = {str(unit): i for i, unit in enumerate(there)}
    shocks: dict[str, str] = {}
    if isinstance(fit, SystemFit):
        known = [*fit.spec.exogenous]
        for name, y in zip(fit.spec.names, fit.spec.endogenous, strict=True):
            shocks |= {name: f"{SHOCK}{name}", y: f"{SHOCK}{name}", f"{SHOCK}{name}": f"{SHOCK}{name}"}
    else:
        known = [*fit.spec.regressors]
    out: dict[str, Array] = {}
    if not isinstance(changes, Mapping) or not changes:
        raise DataError(
            'changes are by unit and variable, such as {"330100": {"talent": 0.10}}.',
            '变化须按地区和变量给出，例如{"330100": {"talent": 0.10}}。',
        )
    for unit, moved in changes.items():
        if str(unit) not in units and str(unit) in set(map(str, fit.panel.units)):
            raise DataError(
                f"{unit!r} is absent in this period, so that nothing of it can change. Take a period in which it is there.",
                f"{unit!r}在该期缺失，无从变化。请取其存在的时期。",
            )
        if str(unit) not in units:
            raise DataError(
                f"{unit!r} is not a unit of this fit; it has {listed(units, 6)}.",
                f"此估计没有地区{unit!r}；已有{listed_zh(units, 6)}。",
            )
        for name, value in moved.items():
            target = shocks.get(name, name)
            if target == name and name not in known and name not in shocks:
                names = [*known, *dict.fromkeys(shocks.values())]
                raise DataError(
                    f"{name!r} cannot be changed: the fit has {listed(names)}.",
                    f"不能改变{name!r}：此估计可改变的有{listed_zh(names)}。",
                )
            if isinstance(value, bool) or not np.isfinite(number := float(value)):
                raise DataError(
                    f"The change of {name!r} in {unit!r} is {value!r}: it must be a number.",
                    f"{unit!r}的{name!r}变化量为{value!r}：须为数值。",
                )
            out.setdefault(target, np.zeros(len(units)))[units[str(unit)]] += number
    return out


def _process(fit: Fit | SystemFit, at: Among, moved: Mapping[str, Array], lasting: bool) -> Process:
    """The equations of a fit with the changes on their right side; refuses a fit without effects."""
    W, n = at.W, len(at.units)
    if isinstance(fit, Fit):
        refuse_without_effects(fit, reason_of_equation(fit, fieller=False))
        place = {name: i for i, name in enumerate(fit.params.index)}
        before = [place[name] for name in ("tau", "eta") if name in place]
        kinds = [name == "eta" for name in ("tau", "eta") if name in place]
        entries = [(name, d) for x, dx in moved.items() for name, d in ((x, dx), (f"W_{x}", at.Wx @ dx))]
        entries = [(name, d) for name, d in entries if name in place]
        position = [place[name] for name, _ in entries]
        now = _links([place["rho"]], [0], [0], [True]) if "rho" in place else no_links()
        zero = [0] * len(before)
        return Process(
            W,
            1,
            now,
            _links(before, zero, zero, kinds),
            np.array(position, dtype=np.intp),
            np.zeros(len(position), dtype=np.intp),
            np.array([d for _, d in entries]).reshape(-1, n),
            np.zeros((1, n)),
            lasting,
        )
    refuse_unstable(fit)
    refuse_without_effects(fit, reason_of_system(fit, fieller=False))
    names, sources = sources_of(fit.spec)
    m = len(fit.spec.names)
    positions, rows, columns, constant = [], [], [], np.zeros((m, n))
    for name, dx in moved.items():
        k = names.index(name)
        constant += sources.constant[:, [k]] * dx
        for places, d in ((sources.b, dx), (sources.t, W @ dx)):
            for g in np.flatnonzero(places[:, k] >= 0):
                positions.append(places[g, k])
                rows.append(g)
                columns.append(d)
    return Process(
        W,
        m,
        fit.design.arrays.links,
        carried_links(fit.spec) if fit.spec.dynamic else no_links(),
        np.array(positions, dtype=np.intp),
        np.array(rows, dtype=np.intp),
        np.array(columns).reshape(-1, n),
        constant,
        lasting,
    )


def _links(position: list[int], row: list[int], column: list[int], lagged: list[bool]) -> Links:
    first, second, third = (np.array(values, dtype=np.intp) for values in (position, row, column))
    return Links(first, second, third, np.array(lagged, dtype=bool))


def _delta(fit: Fit | SystemFit) -> Array:
    return fit.params.to_numpy(float) if isinstance(fit, Fit) else fit.delta


def _over_parameters(fit: Fit | SystemFit, slopes: Array) -> Array:
    """Derivatives in δ as those in the parameters of the fit, λ among them with none."""
    if isinstance(fit, Fit):
        return slopes
    out = np.zeros((*slopes.shape[:-1], len(fit.params)))
    out[..., fit.coefficient_positions] = slopes
    return out


def _by_replicates(
    fit: Fit | SystemFit, process: Process, values: Array, bootstrap: Replicates, alpha: float
) -> tuple[Array, tuple[Note, ...]]:
    """Errors and percentile limits from the replicates that have effects, (rows, 3)."""
    draws = np.asarray(bootstrap.draws)[np.asarray(bootstrap.solved)]
    if draws.shape[1:] != (len(fit.params),):
        raise SpecificationError(
            f"The bootstrap is of another fit: it has {draws.shape[1]} parameters, this one {len(fit.params)}.",
            f"该自助抽样属于另一估计：有{draws.shape[1]}个参数，而此估计有{len(fit.params)}个。",
        )
    if isinstance(fit, SystemFit):
        draws = draws[:, fit.coefficient_positions]
        inside = stable_systems(fit, draws)
    elif fit.spec.lag_y:
        low, high = fit.design.interval
        rho = draws[:, list(fit.params.index).index("rho")]
        inside = (rho > low) & (rho < high)
    else:
        inside = np.ones(len(draws), bool)
    if isinstance(fit, Fit) and fit.spec.dynamic:
        inside &= stable_processes(fit, draws)
    kind = "system" if isinstance(fit, SystemFit) else "process" if _dynamic(fit) else "rho"
    rejected = int(len(draws) - inside.sum())
    refuse_without_effects(fit, draws_reason(rejected, len(draws), kind, False))
    notes = tell_rejected(fit, rejected, len(draws), kind)
    every = np.stack([paths(process, one, len(values) - 1).ravel() for one in draws[inside]])
    return np.column_stack([spread(every), *np.quantile(every, [alpha / 2, 1 - alpha / 2], axis=0)]), notes


def _frame(fit: Fit | SystemFit, units: pd.Index, values: Array, columns: Array) -> pd.DataFrame:
    """Rows by response, horizon and unit."""
    H, m, n = values.shape
    names = (fit.spec.y,) if isinstance(fit, Fit) else fit.spec.names
    order = np.arange(H * m * n).reshape(H, m, n).transpose(1, 0, 2).ravel()
    frame = pd.DataFrame(
        {
            "unit": np.tile(np.asarray(units), H * m),
            "response": np.repeat(names, H * n),
            "horizon": np.tile(np.repeat(np.arange(H), n), m),
            "change": values.ravel()[order],
            "std_error": columns[order, 0],
            "conf_low": columns[order, 1],
            "conf_high": columns[order, 2],
        }
    )
    return frame if _dynamic(fit) else frame.drop(columns="horizon")
