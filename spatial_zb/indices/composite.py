"""Indices made of several indicators, on labelled tables: entropy weights, TOPSIS, coupling coordination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from spatial_zb.base.errors import AlignmentError, SpecificationError, listed, listed_zh
from spatial_zb.base.printing import Printed
from spatial_zb.base.text import Text
from spatial_zb.core.indices import composite as arrays
from spatial_zb.indices.tables import amounts_table, matched, numeric_series


@dataclass(frozen=True, eq=False, repr=False)
class EntropyIndex(Printed):
    """An entropy-weighted index.

    ``indicators`` is a DataFrame by indicator with ``direction, entropy, weight, zeros``, the last the number of
    scaled values that are zero, where p ln p is taken as its limit zero; ``scores`` a Series by row, in [0, 1].
    """

    indicators: pd.DataFrame
    scores: pd.Series

    def tidy(self) -> pd.DataFrame:
        """One row per indicator."""
        return self.indicators.rename_axis("indicator").reset_index()

    def glance(self) -> pd.DataFrame:
        """What was computed, in one row."""
        return pd.DataFrame({"indicators": [len(self.indicators)], "rows": [len(self.scores)]})


def entropy_weights(
    indicators: pd.DataFrame, *, less: Sequence[str] = (), shift: float = 0.0
) -> EntropyIndex:
    """Weigh indicators by entropy; all rows, units and periods alike, are pooled so that years can be compared.

    With z scaled to [0, 1] over the pool, p_ij = z_ij/Σ_i z_ij, e_j = −(1/ln N) Σ_i p_ij ln p_ij,
    w_j = (1 − e_j)/Σ_j (1 − e_j); score Σ_j w_j z_ij.

    Parameters
    ----------
    indicators
        Units, or (unit, period), in rows, indicators in columns.
    less
        Columns of which less is better.
    shift
        Added to the scaled values before p is formed, as some authors do against ln 0; zero takes the limit.

    Raises
    ------
    DataError
        Blank or infinite cells, a constant indicator, fewer than two rows.
    SpecificationError
        A column of ``less`` that is not there, a negative shift.

    Examples
    --------
    Scaled columns (0, 1, 1) and (0, 0, 1): entropies ln 2/ln 3 = 0.6309 and 0.

    >>> table = pd.DataFrame({"jobs": [0.0, 2.0, 2.0], "wage": [0.0, 0.0, 5.0]}, index=["hz", "nb", "wz"])
    >>> result = entropy_weights(table)
    >>> result.indicators[["entropy", "weight", "zeros"]].round(4).values.tolist()
    [[0.6309, 0.2696, 1.0], [0.0, 0.7304, 2.0]]
    >>> result.scores.round(4).to_dict()
    {'hz': 0.0, 'nb': 0.2696, 'wz': 1.0}
    """
    table = amounts_table(indicators, "indicators", least=-np.inf)
    found = arrays.entropy_weights(table, _directions(table, less), shift=shift)
    parts = pd.DataFrame(
        {
            "direction": _directions(table, less),
            "entropy": found.entropy,
            "weight": found.weights,
            "zeros": found.zeros,
        },
        index=table.columns,
    )
    # The last digit of a weighted sum may pass one, which a score does not.
    return EntropyIndex(parts, pd.Series(np.clip(found.scores, 0.0, 1.0), table.index, name="score"))


def topsis(
    indicators: pd.DataFrame, weights: pd.Series | None = None, *, less: Sequence[str] = ()
) -> pd.Series:
    """Closeness of every row to the ideal, C = d⁻/(d⁺ + d⁻), from zero (worst in all) to one (best in all).

    Parameters
    ----------
    indicators, less
        As in :func:`entropy_weights`.
    weights
        By indicator, scaled to sum one; by default those of :func:`entropy_weights`.

    Raises
    ------
    DataError, SpecificationError
        As :func:`entropy_weights`.
    AlignmentError
        An indicator without weight.

    Notes
    -----
    Hwang, C.-L. & Yoon, K. (1981), Multiple Attribute Decision Making. Springer.

    Examples
    --------
    Best in both, half way, worst in both:

    >>> table = pd.DataFrame({"jobs": [4.0, 3.0, 2.0], "wage": [8.0, 6.0, 4.0]}, index=["hz", "nb", "wz"])
    >>> topsis(table, pd.Series({"wage": 0.5, "jobs": 0.5})).round(4).to_dict()
    {'hz': 1.0, 'nb': 0.5, 'wz': 0.0}
    """
    table = amounts_table(indicators, "indicators", least=-np.inf)
    if weights is None:
        weights = entropy_weights(table, less=less).indicators["weight"]
    own = matched(numeric_series(weights, "weights"), table.columns, "weights", Text("an indicator", "指标"))
    return pd.Series(arrays.topsis(table, own, _directions(table, less)), table.index, name="closeness")


def coupling_coordination(first: pd.Series, second: pd.Series, *, alpha: float = 0.5) -> pd.DataFrame:
    """Coupling C, joint level T and coordination D of two indices in [0, 1], with the grade of D.

    C = 2√(U₁U₂)/(U₁ + U₂), T = αU₁ + (1 − α)U₂, D = √(CT); both zero give C = D = 0.

    Parameters
    ----------
    first, second
        U₁ and U₂ of the same rows, in any order, such as ``scores`` of :func:`entropy_weights`.
    alpha
        Weight of the first.

    Returns
    -------
    DataFrame by row of ``first`` with ``coupling, level, coordination, grade_en, grade_zh``.

    Raises
    ------
    DataError
        An index outside [0, 1] or blank.
    AlignmentError
        Rows that only one of them has.
    SpecificationError
        alpha outside [0, 1].

    Notes
    -----
    Liao, C. (1999), Tropical Geography 19: 171-177 (廖重斌, 热带地理), for the grades.

    Examples
    --------
    0.64 and 0.16: C = 2 · 0.32/0.8 = 0.8, T = 0.4, D = √0.32.

    >>> result = coupling_coordination(pd.Series({"hz": 0.64}), pd.Series({"hz": 0.16}))
    >>> result.loc["hz", ["coupling", "level", "coordination"]].astype(float).round(4).tolist()
    [0.8, 0.4, 0.5657]
    >>> result.loc["hz", "grade_zh"]
    '勉强协调'
    """
    own, other = numeric_series(first, "first"), numeric_series(second, "second")
    alone = own.index.symmetric_difference(other.index)
    if len(alone):
        raise AlignmentError(
            f"Only one of the two indices has {listed(alone)}. Give both for the same rows.",
            f"两个指数中只有一个含{listed_zh(alone)}。请给出相同的行。",
        )
    found = arrays.coupling_coordination(own, other.reindex(own.index), alpha=alpha)
    grades = [arrays.coordination_grade(min(degree, 1.0)) for degree in found.coordination]
    return pd.DataFrame(
        {
            "coupling": found.coupling,
            "level": found.level,
            "coordination": found.coordination,
            "grade_en": [grade.en for grade in grades],
            "grade_zh": [grade.zh for grade in grades],
        },
        index=own.index,
    )


def _directions(table: pd.DataFrame, less: Sequence[str]) -> list[arrays.Direction]:
    unknown = [name for name in less if name not in table]
    if unknown:
        raise SpecificationError(
            f"less names {listed(map(repr, unknown))}, not among the indicators {listed(table.columns)}.",
            f"less中的{listed_zh(map(repr, unknown))}不在指标{listed_zh(table.columns)}之中。",
        )
    return ["less" if name in less else "more" for name in table.columns]
