"""The robustness battery: one estimate again under every change a referee would ask for, a row each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.arguments import gathered
from spatial_zb.base.errors import (
    SpatialZbError,
    SpatialZbWarning,
    SpecificationError,
    joined_notes,
    listed,
    listed_zh,
    not_one_of,
)
from spatial_zb.base.execute import Execution, by_execution, run_tasks
from spatial_zb.base.printing import Printed
from spatial_zb.base.results import coefficient_columns
from spatial_zb.base.text import Language, Text
from spatial_zb.base.threads import one_thread
from spatial_zb.compare.grid import weights_of
from spatial_zb.data.panel import Panel, require_consecutive
from spatial_zb.effects import spatial_effects
from spatial_zb.effects.table import EFFECTS
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import Covariance, DurbinSpec, Estimation, Estimator, by_estimation
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import PeriodWeights, any_weights

#: What every row says of its estimate.
NUMBERS = ("estimate", "std_error", "p_value", "conf_low", "conf_high", "n_units", "n_periods", "nobs")


@dataclass(frozen=True, eq=False, repr=False)
class Robustness(Printed):
    """One coefficient or effect under many changes.

    Attributes
    ----------
    frame
        One row per variant, the base first: ``kind`` (``"base"``, ``"weights"``, ``"lag_x"``, ``"drop"``, ``"y"``,
        ``"x"``, ``"winsorise"``, ``"periods"``, ``"covariance"``, ``"estimator"``), ``variant``, ``term`` (another measure
        of x has its own name), ``effect``, ``estimate, std_error, p_value, conf_low, conf_high, n_units, n_periods, nobs``,
        ``notes`` (warnings) and ``reason`` (why there is no estimate; empty otherwise).
    influence
        One row per unit left out: ``unit, estimate, std_error, change`` (from the base), ``change_se`` (in standard
        errors of the base) and ``reason``; None when it was not asked for.
    term, effect
        What is followed; ``effect`` is blank for a coefficient.
    chinese
        The reasons in Chinese, by the English ones.
    """

    frame: pd.DataFrame
    influence: pd.DataFrame | None
    term: str
    effect: str
    chinese: Mapping[str, str] = field(default_factory=dict)

    def tidy(self, language: Language = "en") -> pd.DataFrame:
        """One row per variant; its reason in one language."""
        if language == "en":
            return self.frame.copy()
        return self.frame.assign(reason=[self.chinese.get(words, words) for words in self.frame["reason"]])

    def glance(self) -> pd.DataFrame:
        """How the variants fare in one row: how many, of the base's sign, significant with it, failed, and the range."""
        base, variants = self.frame.iloc[0], self.frame.iloc[1:]
        done = variants[variants["reason"] == ""]
        same = np.sign(done["estimate"]) == np.sign(base["estimate"])
        row = {
            "term": self.term,
            "effect": self.effect,
            "base": base["estimate"],
            "variants": len(variants),
            "same_sign": int(same.sum()),
            "significant": int((same & (done["p_value"] < 0.05)).sum()),
            "failed": int((variants["reason"] != "").sum()),
            "lowest": done["estimate"].min(),
            "highest": done["estimate"].max(),
        }
        if self.influence is not None:
            furthest = self.influence["change_se"].abs()
            row["most_influential"] = (
                self.influence["unit"][furthest.idxmax()] if furthest.notna().any() else ""
            )
            row["largest_change_se"] = furthest.max()
        return pd.DataFrame([row])


@dataclass(frozen=True)
class _Variant:
    """One fit to make."""

    kind: str
    name: str
    spec: DurbinSpec
    panel: Panel
    weights: Weights | PeriodWeights
    term: str
    effect: str | None
    estimator: Estimator
    covariance: Covariance | None


@dataclass(frozen=True)
class Changes:
    """What :func:`robustness` changes in the base, one at a time.

    Parameters
    ----------
    weights
        Other W, by name, of all units of the panel.
    lag_x
        All regressors one period earlier; the first period is lost.
    drop
        Units left out together, by name: ``{"without Hangzhou and Ningbo": ["330100", "330200"]}``.
    y, x
        Other measures: of the dependent variable, and of regressors by name, ``{"talent": ["talent_students"]}``.
    winsorise
        Shares: 0.01 sets y and all regressors below their 1 % and above their 99 % quantile (of all units and
        periods) to these.
    periods
        Sub-periods by name.
    covariances
        Other standard errors of the same estimates.
    estimators
        Other estimators, with the standard errors that each has by default.
    leave_one_out
        Also without every unit in turn: ``influence``.
    rebuild
        Gives the base W of fewer units, such as one that links those whose only neighbour has gone. Without it rows
        and columns of W are kept and normalised again.

    Examples
    --------
    >>> Changes(winsorise=[0.01], leave_one_out=True).drop
    {}
    """

    weights: Mapping[str, Any] = field(default_factory=dict)
    lag_x: bool = False
    drop: Mapping[str, Sequence[str]] = field(default_factory=dict)
    y: Sequence[str] = ()
    x: Mapping[str, Sequence[str]] = field(default_factory=dict)
    winsorise: Sequence[float] = ()
    periods: Mapping[str, Sequence[int]] = field(default_factory=dict)
    covariances: Sequence[Covariance] = ()
    estimators: Sequence[Estimator] = ()
    leave_one_out: bool = False
    rebuild: Callable[[Sequence[str]], Weights | PeriodWeights] | None = None

    def with_(self, **more: Any) -> Changes:
        """These changes and others; None takes a kind of change out."""
        return replace(self, **{name: value for name, value in more.items() if value is not None})


@gathered("changes", Changes.with_, *(part.name for part in fields(Changes)))
@by_estimation
@by_execution
@one_thread
def robustness(
    spec: DurbinSpec,
    panel: Panel,
    W: Any,
    term: str,
    effect: str | None = None,
    *,
    changes: Changes = Changes(),
    estimator: Estimator | Estimation = "lee_yu",
    workers: int | Execution = 1,
) -> Robustness:
    """Estimate a model again under every change asked for, one at a time.

    Parameters
    ----------
    spec, panel, W
        The base.
    term, effect
        The coefficient that is followed (``"rho"``, ``"lam"``, a regressor or ``W_<regressor>``), or, with ``effect``
        (``"direct"``, ``"indirect"``, ``"total"``), the effect of a regressor.
    changes
        Other weights, samples, measures and errors, and whether every unit is left out in turn.
    estimator
        The name of an estimator, or an :class:`~spatial_zb.models.spec.Estimation` that names a covariance too.
    workers
        Processes, or an :class:`spatial_zb.Execution`; numbers do not depend on it.

    Raises
    ------
    SpecificationError
        A term or effect the base does not have, or a change that is not understood.
    SpatialZbError
        What the base is refused for; a variant that cannot be estimated is a row with its reason.
    """
    own = any_weights(W).align(panel.units)
    _check(spec, term, effect, changes.x, changes.winsorise)
    how = Estimation.of(estimator)
    base = _Variant("base", "base", spec, panel, own, term, effect, how.estimator, how.covariance)
    first = _tried(base)  # a base that fails is refused, not a row
    variants: list[_Variant | dict[str, Any]] = [
        *_other_weights(base, changes.weights),
        *_other_times(base, changes.lag_x, changes.periods),
        *_without(
            base, {str(name): list(units) for name, units in changes.drop.items()}, "drop", changes.rebuild
        ),
        *_other_measures(base, changes.y, changes.x),
        *(
            replace(base, kind="winsorise", name=f"{q:g}", panel=_winsorised(base, q))
            for q in changes.winsorise
        ),
        *(replace(base, kind="covariance", name=c, covariance=c) for c in changes.covariances),
        *(replace(base, kind="estimator", name=e, estimator=e, covariance=None) for e in changes.estimators),
    ]
    one_by_one = {u: [u] for u in panel.units} if changes.leave_one_out else {}
    alone = [*_without(base, one_by_one, "unit", changes.rebuild)]
    todo = [v for v in (*variants, *alone) if isinstance(v, _Variant)]
    found = iter(run_tasks(_estimated, todo, workers=workers))
    rows = [next(found) if isinstance(v, _Variant) else v for v in (*variants, *alone)]
    chinese = {row["reason"]: row["reason_zh"] for row in rows if row["reason"]}
    top = _words(base) | first
    frame = pd.DataFrame([top, *rows[: len(variants)]])
    influence = _influence(rows[len(variants) :], first) if changes.leave_one_out else None
    frame = frame[[*_words(base), *NUMBERS, "notes", "reason"]]
    return Robustness(frame, influence, term, effect or "", chinese)


def term_row(
    spec: DurbinSpec,
    panel: Panel,
    W: Weights | PeriodWeights,
    term: str,
    effect: str | None,
    estimator: Estimator = "lee_yu",
    covariance: Covariance | None = None,
) -> dict[str, Any]:
    """Estimate, error, p-value, limits and sample of one coefficient or effect; ``notes``; ``reason`` if not converged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        fit = fit_durbin(spec, panel, W, estimator, covariance)
        numbers, why = estimate_of(fit, term, effect)
    return {
        **dict(zip(NUMBERS[:5], map(float, numbers), strict=True)),
        "n_units": len(panel.units),
        "n_periods": len(panel.periods),
        "nobs": fit.nobs,
        "notes": " ".join(filter(None, [_general_form(fit, estimator), joined_notes(caught)])),
        "reason": why.en,
        "reason_zh": why.zh,
    }


def _general_form(fit: Fit, asked: Estimator) -> str:
    """That a change of the data or of W asks for the adjusted score, which the row then is by."""
    if fit.estimator == asked or fit.estimator != "adjusted_score":
        return ""
    return f"By the adjusted score: {fit.glance()['reason'].iloc[0]}."


def estimate_of(fit: Fit, term: str, effect: str | None) -> tuple[NDArray[np.float64], Text]:
    """Estimate, standard error, p-value and limits (5,) of a coefficient or effect; NaN and why where there are none."""
    if not fit.converged:
        return np.full(5, np.nan), Text("not converged", "未收敛")
    why = Text("", "")
    if effect is None:
        place = [fit.params.index.get_loc(term)]
        columns = coefficient_columns(
            fit.params.to_numpy()[place],
            fit.bse.to_numpy()[place],
            0.05,
            fit.degrees(np.eye(len(fit.params))[place]),
        )[0]
    else:
        found = spatial_effects(fit)
        columns = found.columns[found.axes["term"].index(term) * len(EFFECTS) + EFFECTS.index(effect)]
        why = why if found.reason is None else found.reason.text
    return columns[[0, 1, 3, 4, 5]], why


def _check(
    spec: DurbinSpec,
    term: str,
    effect: str | None,
    x: Mapping[str, Sequence[str]],
    winsorise: Sequence[float],
) -> None:
    if effect is not None and effect not in EFFECTS:
        raise not_one_of("effect", effect, EFFECTS)
    if spec.regimes:
        raise SpecificationError(
            "The base model has one estimate per regime, and robustness follows a single estimate. Drop regimes and select "
            "the units of one regime.",
            "基准模型对每个区制各有一个估计值，而稳健性检验只跟踪一个估计值。请去掉regimes并选取一个区制的地区。",
        )
    known = spec.regressors if effect is not None else (*spec.terms, *spec.spatial_terms)
    if term not in known:
        raise SpecificationError(
            f"The base has no {effect or 'term'} of {term!r}; it has {listed(known)}.",
            f"基准设定没有{term!r}的{effect or '系数'}；已有{listed_zh(known)}。",
        )
    strange = [name for name in x if name not in spec.x]
    if strange:
        raise SpecificationError(
            f"x gives other measures of {listed(strange)}, not among x ({listed(spec.x)}).",
            f"x给出了{listed_zh(strange)}的其他度量，但它不在x（{listed_zh(spec.x)}）之中。",
        )
    texts = [name for name, others in x.items() if isinstance(others, str)]
    if texts:
        raise SpecificationError(
            f"x gives a list of other measures of {listed(texts)}, not one text.",
            f"x对{listed_zh(texts)}须给出其他度量的列表，而不是一段文字。",
        )
    wrong = [q for q in winsorise if not 0 < q < 0.5]
    if wrong:
        raise SpecificationError(
            f"winsorise takes shares between 0 and 0.5, such as 0.01, not {listed(wrong)}.",
            f"winsorise取0与0.5之间的比例，如0.01，而不是{listed_zh(wrong)}。",
        )


def _words(v: _Variant) -> dict[str, str]:
    return {"kind": v.kind, "variant": v.name, "term": v.term, "effect": v.effect or ""}


def _failed(v: _Variant, why: SpatialZbError) -> dict[str, Any]:
    blank = dict.fromkeys(NUMBERS, np.nan)
    return _words(v) | blank | {"notes": "", "reason": str(why), "reason_zh": why.zh}


def _estimated(v: _Variant) -> dict[str, Any]:
    try:
        return _words(v) | _tried(v)
    except SpatialZbError as error:
        return _failed(v, error)


def _tried(v: _Variant) -> dict[str, Any]:
    return term_row(v.spec, v.panel, v.weights, v.term, v.effect, v.estimator, v.covariance)


def _other_weights(base: _Variant, weights: Mapping[str, Any]) -> Iterator[_Variant]:
    for name, W in weights.items():
        yield replace(
            base,
            kind="weights",
            name=str(name),
            weights=any_weights(W, label=str(name)).align(base.panel.units),
        )


def _other_times(
    base: _Variant, lag_x: bool, periods: Mapping[str, Sequence[int]]
) -> Iterator[_Variant | dict[str, Any]]:
    if lag_x:
        earlier = replace(base, kind="lag_x", name="lag_x")
        try:
            yield replace(earlier, panel=_earlier_x(base.panel, base.spec))
        except SpatialZbError as error:
            yield _failed(earlier, error)
    for name, chosen in periods.items():
        yield replace(base, kind="periods", name=str(name), panel=base.panel.select(periods=list(chosen)))


def _earlier_x(panel: Panel, spec: DurbinSpec) -> Panel:
    """Regressors of the period before, under their own names."""
    require_consecutive(panel, Text("A lag of the regressors", "解释变量滞后"))
    later = panel.select(periods=panel.periods[1:])
    names = dict.fromkeys((*spec.regressors, *spec.instruments))
    return later.with_columns({name: panel.array(name)[:-1] for name in names})


def _without(
    base: _Variant,
    groups: Mapping[str, Sequence[str]],
    kind: str,
    rebuild: Callable[[Sequence[str]], Weights | PeriodWeights] | None,
) -> Iterator[_Variant | dict[str, Any]]:
    """Variants without some units, with the W of the others."""
    for name, units in groups.items():
        base.panel.select(units=list(units))  # refuses ids that are not there
        left = base.panel.units.difference(list(units), sort=False)
        variant = replace(base, kind=kind, name=name)
        try:
            panel = base.panel.select(units=list(left))
            W = weights_of(base.weights, left) if rebuild is None else rebuild(list(left)).align(left)
            yield replace(variant, panel=panel, weights=W)
        except SpatialZbError as error:
            yield _failed(variant, error)


def _other_measures(base: _Variant, y: Sequence[str], x: Mapping[str, Sequence[str]]) -> Iterator[_Variant]:
    for name in y:
        base.panel.array(name)
        yield replace(base, kind="y", name=name, spec=replace(base.spec, y=name))
    for main, others in x.items():
        for other in others:
            base.panel.array(other)
            spec = replace(
                base.spec,
                x=[other if name == main else name for name in base.spec.x],
                lag_x=[other if name == main else name for name in base.spec.lag_x],
            )
            followed = {main: other, f"W_{main}": f"W_{other}"}.get(base.term, base.term)
            yield replace(base, kind="x", name=other, spec=spec, term=followed)


def _winsorised(base: _Variant, share: float) -> Panel:
    """Tails of y and of every regressor set to the quantiles ``share`` and 1 − ``share``."""
    spec = base.spec
    names = dict.fromkeys((spec.y, *spec.regressors, *spec.instruments))
    return base.panel.with_columns({name: _clipped(base.panel.array(name), share) for name in names})


def _clipped(values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    return np.clip(values, *np.nanquantile(values, [share, 1 - share]))


def _influence(rows: Sequence[Mapping[str, Any]], base: Mapping[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(rows).rename(columns={"variant": "unit"})
    frame["change"] = frame["estimate"] - base["estimate"]
    frame["change_se"] = frame["change"] / base["std_error"]
    return frame[["unit", "estimate", "std_error", "p_value", "change", "change_se", "reason"]]
