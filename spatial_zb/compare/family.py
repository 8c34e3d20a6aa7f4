"""Families of specifications: one base and the choices a referee would vary, each a column of the grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

import pandas as pd

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
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
