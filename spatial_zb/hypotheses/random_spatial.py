"""Random or fixed unit effects beside spatial lags."""

from __future__ import annotations

import numpy as np
from scipy import stats

from spatial_zb.core import diagnostics as core
from spatial_zb.data.panel import Panel
from spatial_zb.errors import (
    DataError,
)
from spatial_zb.hypotheses.case import Case, quiet_fit
from spatial_zb.hypotheses.rows import Step, chi2_row
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.recommendation import Row
from spatial_zb.text import Text

__all__ = ["random_spatial", "spatial_hausman", "unit_model", "with_period_dummies"]


def random_spatial(case: Case) -> list[Step]:
    if case.T == 1 or not case.spec.spatial_terms:
        return []
    return [
        (("Hausman, spatial",), lambda: spatial_hausman(case)),
        (("Mundlak, spatial",), lambda: _spatial_mundlak(case)),
    ]


def with_period_dummies(case: Case) -> tuple[Panel, tuple[str, ...]]:
    """The panel with a column per period but the first, where the specification has time effects."""
    if not case.period_means:
        return case.panel, ()
    names = tuple(f"in_{period}" for period in case.panel.periods[1:])
    ones = np.ones((case.T, case.n))
    marks = {
        name: np.where(np.arange(case.T)[:, None] == t, ones, 0.0) for t, name in enumerate(names, start=1)
    }
    return case.panel.with_columns(marks), names


def unit_model(
    case: Case, effects: str, dummies: tuple[str, ...], mundlak: tuple[str, ...] = ()
) -> DurbinSpec:
    s = case.spec
    return DurbinSpec(
        s.y,
        (*s.x, *dummies),
        s.lag_y,
        s.lag_x,
        s.lag_error,
        fixed_effects=effects,
        error_structure=s.error_structure,
        mundlak=mundlak,
    )


def _spatial_words(case: Case) -> Text:
    en, zh = f"{case.spec.family} by maximum likelihood", f"{case.spec.family}，极大似然"
    if case.period_means:
        en, zh = f"{en}, time effects as dummies on both sides", f"{zh}，双方均含时间虚拟变量"
    return Text(en, zh)


def spatial_hausman(case: Case) -> list[Row]:
    panel, dummies = with_period_dummies(case)
    fixed = quiet_fit(case, unit_model(case, "unit", dummies), panel)
    random = quiet_fit(case, unit_model(case, "random", dummies), panel)
    terms = [*case.spec.x, *(f"W_{name}" for name in case.spec.lag_x), *(("rho",) * case.spec.lag_y)]
    difference = (fixed.params[terms] - random.params[terms]).to_numpy()
    value = core.hausman(
        difference, fixed.cov.loc[terms, terms].to_numpy(), random.cov.loc[terms, terms].to_numpy()
    )
    words = _spatial_words(case)
    note = Text(f"fixed against random unit effects, {words.en}", f"固定与随机个体效应之比较，{words.zh}")
    if not np.isfinite(value):
        note = Text(
            f"undefined: V_FE − V_RE is not positive definite; read the spatial Mundlak test; {note.en}",
            f"无定义：V_FE − V_RE 非正定；请看空间 Mundlak 检验；{note.zh}",
        )
    return [chi2_row("Hausman, spatial", value, len(terms), note)]


def _spatial_mundlak(case: Case) -> list[Row]:
    panel, dummies = with_period_dummies(case)
    spec = unit_model(case, "random", dummies, case.spec.x)
    means = [term for term in spec.terms if term.startswith("mean_")]
    q, left = len(means), case.n - 1 - len(means)
    if left < 1:
        raise DataError(f"{case.n} units cannot carry {q} unit means. Drop regressors or lags.")
    fit = quiet_fit(case, spec, panel)
    wald = core.quadratic_form(fit.params[means].to_numpy(), fit.cov.loc[means, means].to_numpy())
    # Maximum likelihood divides the variance between units by n; its degrees of freedom are those of the means.
    F = wald / q * left / case.n
    words = _spatial_words(case)
    note = Text(
        f"unit means of x and W_x add nothing to random effects, {words.en}; never negative; Wald × {left}/{case.n}/{q} "
        f"read from F({q}, {left})",
        f"x 与 W_x 的个体均值系数为零（相关随机效应），{words.zh}；不会为负；Wald × {left}/{case.n}/{q}，按 F({q}, {left})",
    )
    return [Row("Mundlak, spatial", F, float(q), float(stats.f.sf(F, q, left)), note)]
