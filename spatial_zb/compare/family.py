"""Families of specifications: one base and the choices a referee would vary, each a column of the grid.

And fits side by side, with tests where one is inside another, criteria where likelihoods are alike, and else neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations, product
from typing import Any, Literal

import numpy as np
import pandas as pd

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.printing import Printed
from spatial_zb.core.likelihood.tests import likelihood_ratio_p_value, quadratic_form, wald_p_value
from spatial_zb.hypotheses.nested import counts, likelihood_ratio_of
from spatial_zb.hypotheses.nonnested import j_test, nested, refuse_other_likelihoods, same_model, vuong_test
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import FAMILIES, DurbinSpec

#: Which lags each family has: (y, x, error).
LAGS = {name: lags for lags, name in FAMILIES.items()}


@dataclass(frozen=True, eq=False)
class SpecFamily(Mapping[str, DurbinSpec]):
    """Specifications by name, and the choices each of them is made of.

    Attributes
    ----------
    specs
        By name.
    choices
        One row per name: ``model`` and whatever else was varied (``y``, ``x``, ``controls``, ``fixed_effects``).
    roles
        For variables that stand in for another one, whose place they take: {alternative: main}.
    """

    specs: Mapping[str, DurbinSpec]
    choices: pd.DataFrame
    roles: Mapping[str, str]

    def __getitem__(self, name: str) -> DurbinSpec:
        return self.specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)


def spec_family(
    base: DurbinSpec,
    *,
    models: Sequence[str] | None = None,
    controls: Sequence[Sequence[str]] | Mapping[str, Sequence[str]] | None = None,
    y: Sequence[str] | None = None,
    x_swaps: Mapping[str, Sequence[str]] | None = None,
    fixed_effects: Sequence[str] | None = None,
    lag_controls: bool = True,
) -> SpecFamily:
    """Vary a specification in all combinations of the choices given.

    Parameters
    ----------
    base
        Its x are in every specification; what is not varied is as in it.
    models
        Families: ``"OLS"``, ``"SLX"``, ``"SAR"``, ``"SDM"``, ``"SEM"``, ``"SDEM"``, ``"SAC"``, ``"GNS"``.
    controls
        Sets of further regressors, by name or in a list (see :func:`subsets`); a set may be empty.
    y
        Dependent variables.
    x_swaps
        Other measures of a regressor of the base: ``{"lq_talent": ["talent_share"]}`` takes the one or the other.
    fixed_effects
        Kinds of effects.
    lag_controls
        Whether models with lags of x lag the controls as well.

    Returns
    -------
    A mapping of names to specifications that :func:`specification_grid` takes, with their choices as columns.

    Raises
    ------
    SpecificationError
        Nothing to vary, an unknown family, a swap of something that is not in x, a control that is in x already, or
        what :class:`DurbinSpec` refuses.
    """
    _check(base, models, x_swaps)
    families = list(models) if models else [base.family]
    measures = [(main, (main, *others)) for main, others in (x_swaps or {}).items()]
    sets = _control_sets(controls)
    axes: dict[str, list[Any]] = {"model": families}
    if y:
        axes["y"] = list(y)
    for main, names in measures:
        axes["x" if len(measures) == 1 else f"x for {main}"] = list(names)
    if controls is not None:
        axes["controls"] = list(sets)
    if fixed_effects:
        axes["fixed_effects"] = list(fixed_effects)
    specs, rows = {}, []
    for values in product(*axes.values()):
        row = dict(zip(axes, values, strict=True))
        swap = dict(zip([m for m, _ in measures], [v for k, v in row.items() if _is_swap(k)], strict=True))
        specs[" · ".join(map(str, values))] = _varied(base, row, swap, sets, lag_controls)
        rows.append(row)
    _refuse_repeats(len(rows), specs)
    roles = {name: main for main, names in measures for name in names[1:]}
    return SpecFamily(specs, pd.DataFrame(rows, index=pd.Index(specs, name="spec")), roles)


def subsets(names: Iterable[str], least: int = 0, most: int | None = None) -> list[tuple[str, ...]]:
    """All subsets of some controls with at least ``least`` and at most ``most`` of them, small ones first."""
    names = list(names)
    sizes = range(least, (len(names) if most is None else most) + 1)
    return [chosen for size in sizes for chosen in combinations(names, size)]


def _is_swap(axis: str) -> bool:
    return axis == "x" or axis.startswith("x for ")


def _check(
    base: DurbinSpec, models: Sequence[str] | None, x_swaps: Mapping[str, Sequence[str]] | None
) -> None:
    unknown = [name for name in models or () if name not in LAGS]
    if unknown:
        raise SpecificationError(
            f"models may be {listed(LAGS)}, not {listed(unknown)}.",
            f"models可为{listed_zh(LAGS)}，而不是{listed_zh(unknown)}。",
        )
    absent = [name for name in x_swaps or {} if name not in base.x]
    if absent:
        raise SpecificationError(
            f"x_swaps exchanges {listed(absent)}, not among x of the base ({listed(base.x)}).",
            f"x_swaps要替换的{listed_zh(absent)}不在基准设定的x（{listed_zh(base.x)}）之中。",
        )
    if x_swaps and isinstance(next(iter(x_swaps.values())), str):
        raise SpecificationError(
            "x_swaps gives a list of alternatives for each regressor, not one text.",
            "x_swaps对每个解释变量给出替代变量的列表，而不是一段文字。",
        )


def _control_sets(controls: Any) -> dict[str, tuple[str, ...]]:
    if controls is None:
        return {"": ()}
    if isinstance(controls, Mapping):
        return {name: tuple(chosen) for name, chosen in controls.items()}
    wrong = [chosen for chosen in controls if isinstance(chosen, str)]
    if wrong:
        raise SpecificationError(
            f"controls must be a list of lists of names; put {listed(wrong)} in a list: [[...], [...]].",
            f"controls须为名称列表的列表；请把{listed_zh(wrong)}放入列表：[[...], [...]]。",
        )
    return {" + ".join(chosen) or "none": tuple(chosen) for chosen in controls}


def _varied(
    base: DurbinSpec,
    row: Mapping[str, Any],
    swap: Mapping[str, str],
    sets: Mapping[str, tuple[str, ...]],
    lag_controls: bool,
) -> DurbinSpec:
    lag_y, lag_x, lag_error = LAGS[row["model"]]
    extra = sets[row.get("controls", "")]
    taken = [name for name in extra if name in base.x]
    if taken:
        raise SpecificationError(
            f"{listed(taken)} cannot be controls: they are in x of the base.",
            f"{listed_zh(taken)}已在基准设定的x中，不能再作控制变量。",
        )
    lagged = [*(base.lag_x or base.x), *(extra if lag_controls else ())] if lag_x else []
    return replace(
        base,
        y=row.get("y", base.y),
        x=[swap.get(name, name) for name in (*base.x, *extra)],
        lag_y=lag_y,
        lag_x=[swap.get(name, name) for name in lagged],
        lag_error=lag_error,
        fixed_effects=row.get("fixed_effects", base.fixed_effects),
    )


def _refuse_repeats(rows: int, specs: Mapping[str, DurbinSpec]) -> None:
    if len(specs) < rows:
        raise SpecificationError(
            "A choice is named twice among models, controls, y, x_swaps or fixed_effects.",
            "models、controls、y、x_swaps或fixed_effects中有重复的选择。",
        )


# --- Fits side by side

_TEST_COLUMNS = ["restricted", "general", "statistic", "df", "p_value", "wald", "wald_p_value"]
_OTHER_COLUMNS = ["test", "null", "alternative", "statistic", "df", "p_value", "favours", "note"]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Printed):
    """Several fits of the same data.

    Attributes
    ----------
    fits
        One row per fit: model, W, parameters, ln L, AIC, BIC, distance from the best and Akaike weight.
    tests
        One row per nested pair: ``restricted, general``, likelihood ratio ``statistic, df, p_value``, and the Wald test of
        the same restrictions with the covariance of the general fit, ``wald, wald_p_value``; p-values by the laws of
        :func:`spatial_zb.tests.simplification_tests`, so that they are those of the test chain.
    nonnested
        One row per test of a pair that is not nested: ``test`` (``"J"`` or ``"Vuong"``), ``null``, ``alternative``,
        ``statistic, df, p_value, favours, note``. A J test is of the null, so that each pair has two; Vuong's is of
        their being equally good, so that it has one.
    """

    fits: pd.DataFrame
    tests: pd.DataFrame
    nonnested: pd.DataFrame

    def tidy(self) -> pd.DataFrame:
        """Likelihood-ratio and Wald tests of the nested pairs; ``nonnested`` has the other tests."""
        return self.tests.copy()

    def glance(self) -> pd.DataFrame:
        """One row per fit: model, parameters, ln L, AIC, BIC and their distance from the best."""
        return self.fits.copy()


def compare_fits(
    fits: Mapping[str, Fit],
    *,
    nonnested: Sequence[Literal["j", "vuong"]] = (),
    covariance: Literal["information", "robust", "cluster"] = "robust",
) -> Comparison:
    """Compare fits of the same y, sample, effects and likelihood.

    LR = 2(ln L₁ − ln L₀) is given for pairs where the terms of one are among those of the other under the same W, and
    the Wald test beside it, which holds with a robust covariance where LR does not.
    Fits with different W are not nested; AIC and BIC still compare them, since y and the sample are the same, and so do
    the tests asked for.

    Parameters
    ----------
    fits
        Converged maximum-likelihood fits by name.
    nonnested
        ``"j"`` (both ways round) and ``"vuong"``, for every pair that is not nested: :func:`j_test` and
        :func:`vuong_test`.
    covariance
        Of the J tests.

    Raises
    ------
    SpecificationError
        Fewer than two fits, a fit that did not converge or has no likelihood, or fits whose likelihoods are not of the
        same data: other y, units, periods, effects or estimator.
    """
    if len(fits) < 2:
        raise SpecificationError("Comparing needs at least two fits.", "比较至少需要两个估计结果。")
    unknown = sorted(set(nonnested) - {"j", "vuong"})
    if unknown:
        raise SpecificationError(
            f'nonnested may name "j" and "vuong", not {listed(unknown)}.',
            f'nonnested可为"j"和"vuong"，而不是{listed_zh(unknown)}。',
        )
    refuse_other_likelihoods(fits)
    tests = [
        _nested_pair(a, fits[a], b, fits[b]) for a, b in permutations(fits, 2) if nested(fits[a], fits[b])
    ]
    pairs = [
        (a, b)
        for a, b in combinations(fits, 2)
        if not (nested(fits[a], fits[b]) or nested(fits[b], fits[a]) or same_model(fits[a], fits[b]))
    ]
    rows = [row for pair in pairs for row in _unnested(fits, *pair, nonnested, covariance)]
    return Comparison(
        _criteria(fits),
        pd.DataFrame(tests, columns=_TEST_COLUMNS),
        pd.DataFrame(rows, columns=_OTHER_COLUMNS),
    )


def _criteria(fits: Mapping[str, Fit]) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "fit": list(fits),
            "model": [f.spec.family for f in fits.values()],
            "weights": [f.weights.label for f in fits.values()],
            "parameters": [len(f.params) for f in fits.values()],
            "log_likelihood": [f.log_likelihood for f in fits.values()],
            "aic": [f.aic for f in fits.values()],
            "bic": [f.bic for f in fits.values()],
        }
    )
    rows["delta_aic"] = rows["aic"] - rows["aic"].min()
    rows["akaike_weight"] = np.exp(-rows["delta_aic"] / 2) / np.exp(-rows["delta_aic"] / 2).sum()
    return rows


def _unnested(
    fits: Mapping[str, Fit],
    a: str,
    b: str,
    asked: Sequence[str],
    covariance: Literal["information", "robust", "cluster"],
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    if "j" in asked:
        for null, other in ((a, b), (b, a)):
            (found,) = j_test(fits[null], {other: fits[other]}, covariance=covariance).rows
            rows.append(("J", null, other, found.statistic, found.df, found.p_value, "", found.note.en))
    if "vuong" in asked:
        (found,) = vuong_test(fits[a], fits[b]).rows
        favours = {"first": a, "second": b, "neither": ""}[found.more["favours"]]
        rows.append(("Vuong", a, b, found.statistic, np.nan, found.p_value, favours, found.note.en))
    return rows


def _nested_pair(a: str, small: Fit, b: str, large: Fit) -> tuple[object, ...]:
    """Likelihood ratio, and the Wald statistic of the terms that only the large fit has (NaN where V is singular)."""
    statistic = likelihood_ratio_of(large, small)
    extra = [term for term in large.params.index if term not in small.params.index]
    theta, V = large.params[extra].to_numpy(), large.cov.loc[extra, extra].to_numpy()
    wald = float(quadratic_form(theta, V))
    df, size = len(extra), counts(large)
    ratio_p, wald_p = likelihood_ratio_p_value(statistic, df, *size), wald_p_value(wald, df, *size)
    return a, b, statistic, df, float(ratio_p), wald, float(wald_p)
