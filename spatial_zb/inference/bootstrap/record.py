"""What a bootstrap gives: replicates of coefficients and effects, and the tables read from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.arguments import alpha_of, renamed
from spatial_zb.base.errors import ConvergenceError, not_one_of
from spatial_zb.base.notes import Kind, Note, about, tell
from spatial_zb.base.printing import Printed
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.laws.bootstrap import Scheme, bca_limits, studentised_limits
from spatial_zb.core.likelihood.impacts import average_effects
from spatial_zb.effects.dynamic import long_run_statistics
from spatial_zb.effects.regimes import regime_gradient, regime_values, regimes_admit
from spatial_zb.effects.static import average_effects_at, multipliers_of
from spatial_zb.effects.table import EFFECTS, Horizon, spread
from spatial_zb.models.fit import Estimates, Fit
from spatial_zb.models.regimes import regime_contrast, regime_labels

Interval = Literal["percentile", "basic", "bca", "studentised"]
#: Numbers of resampled panels held at once.
CHUNK = 4_000_000
#: Share of replicates at the end of the admissible interval, or without a solution, from which it is said.
BOUND_WARNING = 0.05
#: Share of the replicates that must have effects for intervals of effects.
DEFINED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Replicated:
    """Estimates of R resampled panels: ``draws`` (R, p), ``covariances`` (R, p, p), ``at_bound`` (R,).

    NaN where a panel has no solution, and covariances where there is none.
    """

    draws: Array
    covariances: Array
    at_bound: NDArray[np.bool_]


def by_the_room(
    many: Callable[[list[np.random.Generator]], tuple[Replicated, NDArray[np.bool_]]],
    alone: Callable[[int, np.random.SeedSequence], dict[str, Any]],
    seeds: list[np.random.SeedSequence],
    room: int,
    progress: Any,
) -> Replicated:
    """Replicates by ``many`` from as many streams as CHUNK holds of ``room`` numbers; ``alone`` those not settled."""
    size, parts = max(1, CHUNK // room), []
    for first in range(0, len(seeds), size):
        some = seeds[first : first + size]
        found, settled = many([np.random.default_rng(seed) for seed in some])
        for place in np.flatnonzero(~settled).tolist():
            again = alone(first + place, some[place])
            found.draws[place], found.covariances[place] = again["params"], again["cov"]
            found.at_bound[place] = again["at_bound"]
        parts.append((found.draws, found.covariances, found.at_bound))
        if progress:
            progress(min(first + size, len(seeds)), len(seeds), 0.0)
    return Replicated(*map(np.concatenate, zip(*parts, strict=True)))


@dataclass(frozen=True)
class Statistics:
    """Functions of the parameters.

    ``names`` has a row for each of the q of them; ``at`` takes (R, p) to (R, q), ``errors`` (R, p) and (R, p, p) to their
    standard errors (R, q), ``defined`` (R, p) to where they exist (R,); ``undefined`` says what is wrong where they do not.
    """

    names: pd.DataFrame
    at: Callable[[Array], Array]
    errors: Callable[[Array, Array], Array]
    defined: Callable[[Array], NDArray[np.bool_]]
    undefined: Text


@Kind
def without_effects(missing: int, replicates: int, why: Text) -> Text:
    """Replicates that tables of effects leave out."""
    return Text(
        f"{missing} of {replicates} replicates {why.en}: they have no effects and are left out, so these intervals are too "
        "short",
        f"{replicates}次自助抽样中有{missing}次{why.zh}：没有效应，未计入区间，区间因此偏窄",
    )


@Kind
def studentised_long_run() -> Text:
    """Limits that do not hold."""
    return Text(
        "in simulations studentised limits of long-run effects held the truth in 65 to 80 % of the panels, percentile "
        "limits in 90 to 97 %: use those (spatial-zb docs validation/resampled_others)",
        "在模拟中，长期效应的学生化区间仅在65%至80%的面板中包含真值，百分位区间为90%至97%："
        "请用后者（spatial-zb docs validation/resampled_others）",
    )


@Kind
def without_maximum(at_bound: int, replicates: int, instead: Text) -> Text:
    """Replicates of one equation at the end of the interval, and what to do."""
    return Text(
        f"{at_bound} of {replicates} replicates had no interior maximum (left out of bias and std_error, kept in "
        f"percentiles): the data say little about the spatial coefficient (spatial-zb docs validation/study). {instead.en}",
        f"{replicates}次自助抽样中有{at_bound}次没有内点极大值（不计入偏差与标准误，仍计入百分位）：数据对空间系数几乎没有信息"
        f"（spatial-zb docs validation/study）。{instead.zh}",
    )


@Kind
def few_at_edge(at_bound: int, replicates: int) -> Text:
    """Replicates at an edge that are too few to doubt the others."""
    return Text(
        f"{at_bound} of {replicates} replicates have no interior solution: they are left out of bias and std_error and kept "
        "in percentiles",
        f"{replicates}次自助抽样中有{at_bound}次没有内点解：不计入偏差与标准误，仍计入百分位",
    )


@Kind
def system_without_maximum(at_bound: int, replicates: int, by: str) -> Text:
    """The same of a system, estimated ``by`` a likelihood, by recentred moments, or by textbook ones with a λ."""
    why = {
        "likelihood": Text(
            "have no interior maximum: the system is weakly identified", "没有内点极大值：方程组识别性弱"
        ),
        "recentred": Text(
            "have no solution of the moments less the bias of many instruments, or a λ at the end of its interval, "
            "and stand with the textbook estimate: bias_correction=False has no such replicates",
            "在扣除多工具变量偏误的矩条件下无解，或λ在区间端点，故用教科书估计代替：bias_correction=False没有这种情形",
        ),
        "moments": Text("have a λ at the end of its interval", "的λ在区间端点"),
    }[by]
    return Text(
        f"{at_bound} of {replicates} replicates {why.en}; do not rely on these intervals "
        "(spatial-zb docs validation/system)",
        f"{replicates}次自助抽样中有{at_bound}次{why.zh}；其区间不可依赖（spatial-zb docs validation/system）",
    )


@Kind
def unsolved_replicates(unsolved: int, replicates: int) -> Text:
    """Replicates without an estimate."""
    return Text(
        f"{unsolved} of {replicates} replicates have no solution and are left out of all tables, so intervals are too short",
        f"{replicates}次自助抽样中有{unsolved}次无解，未计入各表：区间因此偏窄",
    )


@Kind
def explosive_replicates(explosive: int, replicates: int) -> Text:
    """Replicates without a long run."""
    return Text(
        f"{explosive} of {replicates} replicates are explosive: they count for coefficients and short-run effects, and have "
        "no long-run effects",
        f"{replicates}次自助抽样中有{explosive}次为爆炸过程：仍计入系数与短期效应，但没有长期效应",
    )


@dataclass(frozen=True, eq=False, repr=False)
class Resampled(Printed, ABC):
    """Re-estimates of a fit on resampled panels.

    Attributes
    ----------
    fit
        The fit of one equation, or of a system.
    scheme
        How errors were drawn.
    draws
        (R, p) parameters of every replicate, in the order of ``fit.params``; NaN where its panel has no solution.
    covariances
        (R, p, p) their covariances, of the kind of the fit's; NaN where a replicate has none.
    centre
        (p,) what the estimator finds in the bootstrap population: θ̂, except where a scheme keeps what moves it, such as
        variances that differ between units. Replicates are read as deviations from it.
    at_edge
        (R,) whether the likelihood of a replicate has no interior maximum, or its moments no interior solution. Their
        estimates are ends of a region: ``bias`` and ``std_error`` leave them out, percentiles and p-values keep them.
    notes
        What a reader of the replicates should know, as it was warned of.
    """

    fit: Estimates
    scheme: Scheme
    draws: Array
    covariances: Array
    centre: Array
    at_edge: NDArray[np.bool_]
    notes: tuple[Note, ...] = ()

    @property
    def at_bound(self) -> int:
        """Number of replicates at an edge."""
        return int(self.at_edge.sum())

    @property
    @abstractmethod
    def jackknife(self) -> Array | None:
        """(T, p) parameters with one period left out, for BCa limits; None where T is small or an estimate is missing."""

    @cached_property
    def solved(self) -> NDArray[np.bool_]:
        """(R,) whether the panel of a replicate has a solution; tables are of those that have."""
        return np.logical_and.reduce(np.isfinite(self.draws), axis=1)

    @renamed(alpha="level")
    def tidy(self, interval: Interval = "percentile", *, level: float = 0.95) -> pd.DataFrame:
        """Names of the coefficient, estimate, bias, std_error, p_value, conf_low, conf_high.

        ``bias`` is the mean of the replicates less what they are centred at, ``std_error`` their standard deviation,
        both without those at an edge; limits and ``p_value`` are of all that have a solution. ``p_value`` is the
        share of replicates whose deviation (studentised: over its standard error) is larger than that of the estimate
        from zero.
        """
        draws = self.draws[self.solved]
        errors = np.sqrt(np.einsum("rii->ri", self.covariances[self.solved]))
        point, error = self.fit.params.to_numpy(), self.fit.bse.to_numpy()
        left_out = self.jackknife if interval == "bca" else None
        inside = ~self.at_edge[self.solved]
        sample = _Sample(point, error, draws, errors, self.centre, left_out, inside, False)
        index = self.fit.params.index.set_names(list(self.fit.KEYS))
        return pd.DataFrame(sample.table(interval, level), index=index).reset_index()

    def bias_corrected(self, of: Literal["mean", "median"] = "mean") -> pd.Series:
        """Estimates less their bias: θ̂ − (mean of the replicates − centre), or that which moves the median."""
        kept = self.solved & ~self.at_edge if of == "mean" else self.solved
        return _less_bias(self.fit.params, self.draws[kept], self.centre, of)

    def glance(self) -> pd.DataFrame:
        """The fit in one row, and how it was resampled."""
        return self.fit.glance().assign(
            scheme=self.scheme,
            replicates=len(self.draws),
            at_bound=self.at_bound,
            unsolved=int((~self.solved).sum()),
        )

    def table_of(self, what: Statistics, interval: Interval, level: float) -> pd.DataFrame:
        """Names of the statistics, estimate, bias, std_error, p_value, conf_low, conf_high.

        Effects are ratios, whose replicates need have no moments: ``bias`` is that of the median, ``std_error`` from the
        quartiles (over 1.349), both without replicates at an edge.

        Raises
        ------
        ConvergenceError
            Fewer than half of the replicates have them.

        Warns
        -----
        SpatialZbWarning
            Replicates that have none, which are left out.
        """
        kept = self.solved.copy()
        kept[kept] = what.defined(self.draws[kept])
        self._say_undefined(int((self.solved & ~kept).sum()), what.undefined)
        point, draws = self.fit.params.to_numpy()[None], what.at(self.draws[kept])
        error, errors = np.full(draws.shape[1], np.nan), np.full_like(draws, np.nan)
        if interval == "studentised":  # nothing else reads them
            error = what.errors(point, self.fit.cov.to_numpy()[None])[0]
            errors = what.errors(self.draws[kept], self.covariances[kept])
        left_out = self.jackknife if interval == "bca" else None
        if left_out is not None:
            left_out = what.at(left_out) if what.defined(left_out).all() else None
        centre = what.at(self.centre[None])[0]
        inside = ~self.at_edge[kept]
        sample = _Sample(what.at(point)[0], error, draws, errors, centre, left_out, inside, True)
        return pd.DataFrame({**what.names, **sample.table(interval, level)})

    def _say_undefined(self, missing: int, why: Text) -> None:
        total = len(self.draws)
        if total - missing < DEFINED_SHARE * total:
            raise ConvergenceError(
                f"{missing} of {total} replicates of {self.fit!r} {why.en}: too few are left for intervals of effects.",
                f"{self.fit!r}的{total}次自助抽样中有{missing}次{why.zh}：余下的太少，无法给出效应区间。",
            )
        if missing:
            tell(about(self.fit.subject, [without_effects(missing, total, why)]))


def _less_bias(params: pd.Series, draws: Array, centre: Array, of: Literal["mean", "median"]) -> pd.Series:
    """θ̂ − (mean or median of the replicates − centre), by name; refuses another ``of``."""
    if of not in ("mean", "median"):
        raise not_one_of("of", of, ("mean", "median"))
    middle = draws.mean(axis=0) if of == "mean" else np.median(draws, axis=0)
    return (params - (middle - centre)).rename("estimate")


@dataclass(frozen=True, slots=True)
class _Sample:
    """Statistics (q,), their errors (q,), those of R replicates (R, q), and what these are centred at (q,).

    ``inside`` (R,) are those that moments are of; ``ratios`` have none, and are told by quartiles.
    """

    point: Array
    error: Array
    draws: Array
    errors: Array
    centre: Array
    jackknife: Array | None
    inside: NDArray[np.bool_]
    ratios: bool

    def table(self, interval: Interval, level: float) -> dict[str, Array]:
        """Columns of a tidy table."""
        if interval not in get_args(Interval):
            raise not_one_of("interval", interval, get_args(Interval))
        low, high = self._limits(interval, alpha_of(level))
        some = self.draws[self.inside]
        middle = np.median(some, axis=0) if self.ratios else some.mean(axis=0)
        return {
            "estimate": self.point,
            "bias": middle - self.centre,
            "std_error": spread(some) if self.ratios else some.std(axis=0, ddof=1),
            "p_value": self._p_value(interval),
            "conf_low": low,
            "conf_high": high,
        }

    def _limits(self, interval: Interval, alpha: float) -> Array:
        moved = self.draws - self.centre + self.point
        if interval == "studentised":
            return studentised_limits(self.point, self.error, self.draws - self.centre, self.errors, alpha)
        if interval == "bca":
            return bca_limits(self.point, moved, self.jackknife, alpha)
        low, high = np.quantile(moved, [alpha / 2, 1 - alpha / 2], axis=0)
        return np.array([2 * self.point - high, 2 * self.point - low] if interval == "basic" else [low, high])

    def _p_value(self, interval: Interval) -> Array:
        size, target = np.abs(self.draws - self.centre), np.abs(self.point)
        if interval == "studentised":
            with np.errstate(invalid="ignore", divide="ignore"):
                size, target = size / self.errors, target / self.error
        known = np.isfinite(size)
        further = np.sum(known & (size >= target), axis=0)
        return (1 + further) / (1 + known.sum(axis=0))


OUTSIDE = Text("have ρ outside its admissible interval", "的ρ落在容许区间之外")
EXPLOSIVE = Text("are explosive (no long run)", "为爆炸过程（没有长期）")


def effects_of(fit: Fit, horizon: Horizon) -> Statistics:
    """Average direct, indirect and total effects of every regressor, of the short or the long run, or by regime."""
    if horizon not in get_args(Horizon):
        raise not_one_of("horizon", horizon, get_args(Horizon))
    if horizon == "long":
        at, errors, defined = long_run_statistics(fit)
        return Statistics(_names(fit.spec.regressors), at, errors, defined, EXPLOSIVE)
    if fit.spec.regimes:
        return _by_regime(fit)

    def inside(values: Array) -> NDArray[np.bool_]:
        if not fit.spec.lag_y:
            return np.ones(len(values), dtype=bool)
        low, high = fit.design.interval
        rho = values[:, fit.params.index.get_loc("rho")]
        return (low < rho) & (rho < high)

    return Statistics(
        names=_names(fit.spec.regressors),
        at=lambda values: average_effects_at(fit, values).reshape(len(values), -1),
        errors=lambda values, covariances: _delta_errors(fit, values, covariances),
        defined=inside,
        undefined=OUTSIDE,
    )


def differences_of(fit: Fit) -> Statistics:
    """Each further regime less the first: of every coefficient, and of the effects on the units of each.

    With more than two regimes the term says which, ``x[region=3]``.
    """
    names, contrast = regime_contrast(fit)
    _, *others = regime_labels(fit.spec, fit.convergence.regimes)
    ends = others if len(others) > 1 else [""]
    rows = [(f"{name}{end}", "coefficient") for name in dict.fromkeys(names) for end in ends]
    rows += [(f"{x}{end}", effect) for x in fit.spec.x for end in ends for effect in EFFECTS]
    last = len(others) + 1  # beside them stand the effects on all units

    def at(values: Array) -> Array:
        effects = regime_values(fit, values)
        return np.hstack(
            [values @ contrast.T, (effects[:, :, 1:last] - effects[:, :, :1]).reshape(len(values), -1)]
        )

    def errors(values: Array, covariances: Array) -> Array:
        gradient = regime_gradient(fit, values)
        effects = (gradient[:, :, 1:last] - gradient[:, :, :1]).reshape(len(values), -1, values.shape[1])
        every = np.broadcast_to(contrast, (len(values), *contrast.shape))
        return _roots(np.concatenate([every, effects], axis=1), covariances)

    frame = pd.DataFrame(rows, columns=["term", "effect"])
    return Statistics(frame, at, errors, lambda values: regimes_admit(fit, values), OUTSIDE)


def _by_regime(fit: Fit) -> Statistics:
    def at(values: Array) -> Array:
        return regime_values(fit, values).reshape(len(values), -1)

    def errors(values: Array, covariances: Array) -> Array:
        gradient = regime_gradient(fit, values)
        return _roots(gradient.reshape(len(values), -1, values.shape[1]), covariances)

    labels = (*regime_labels(fit.spec, fit.convergence.regimes), "")
    names = _names(tuple(f"{x}{label}" for x in fit.spec.x for label in labels))
    return Statistics(names, at, errors, lambda values: regimes_admit(fit, values), OUTSIDE)


def _names(terms: tuple[str, ...]) -> pd.DataFrame:
    rows = [(term, effect) for term in terms for effect in EFFECTS]
    return pd.DataFrame(rows, columns=["term", "effect"])


def _roots(gradient: Array, cov: Array) -> Array:
    """√(g'Vg) (R, q) of gradients (R, q, p) and covariances (R, p, p)."""
    return np.sqrt(np.einsum("rqi,rij,rqj->rq", gradient, cov, gradient, optimize=True))


def _delta_errors(fit: Fit, values: Array, covariances: Array) -> Array:
    """Standard errors (R, 3 × regressors) of the average effects at parameters (R, p), by the delta method."""
    spec, index = fit.spec, fit.params.index
    at = {name: index.get_loc(name) for name in index}
    rho = values[:, at["rho"]] if spec.lag_y else np.zeros(len(values))
    factors = multipliers_of(fit, rho)
    beta = values[:, [at[name] for name in spec.regressors]]
    theta = np.stack(
        [values[:, at[f"W_{x}"]] if x in spec.lag_x else rho * 0 for x in spec.regressors], axis=1
    )
    gradient = np.broadcast_to(average_effects(beta, theta, factors)[1], (*beta.shape, 3, 3))
    out = np.empty((*beta.shape, 3))
    for k, name in enumerate(spec.regressors):
        places = [at[name], at.get(f"W_{name}", -1) if name in spec.lag_x else -1, at.get("rho", -1)]
        used = [i for i, place in enumerate(places) if place >= 0]
        where = [places[i] for i in used]
        g, V = gradient[:, k][:, :, used], covariances[:, where][:, :, where]
        out[:, k] = np.sqrt(np.einsum("rei,rij,rej->re", g, V, g))
    return out.reshape(len(values), -1)
