"""Collinearity of the regressors as they enter the regression."""

from __future__ import annotations

from spatial_zb.chain_table import EFFECTS_WORDS, Row
from spatial_zb.core import diagnostics as core
from spatial_zb.hypotheses.case import Case, quiet_design
from spatial_zb.hypotheses.rows import NAN, Step
from spatial_zb.models.design import Design, stacked
from spatial_zb.text import Text

__all__ = ["collinearity"]


def collinearity(case: Case) -> list[Step]:
    """Variance inflation of each regressor, and the condition number of all."""
    return [(("VIF",), lambda: _inflation(case)), (("Condition number",), lambda: _condition(case))]


def _own_design(case: Case) -> Design:
    return quiet_design(case, case.model(lag_x=case.spec.lag_x))


def _inflation(case: Case) -> list[Row]:
    design = _own_design(case)
    terms = [i for i, term in enumerate(design.spec.terms) if term != "(Intercept)"]
    columns = stacked(design.Z)[:, terms]
    words = EFFECTS_WORDS[case.effects]
    note = Text(
        f"share of its variance shared with the other regressors, after {words.en}; above 10 is high",
        f"去除{words.zh}之后；大于 10 表示共线性严重",
    )
    values = core.variance_inflation(columns - columns.mean(axis=0))
    return [
        Row("VIF", float(v), NAN, NAN, note, design.spec.terms[i]) for i, v in zip(terms, values, strict=True)
    ]


def _condition(case: Case) -> list[Row]:
    note = Text(
        "of the transformed regressors at unit length; above 30 is high",
        "变换后单位长度的自变量；大于 30 为高",
    )
    return [Row("Condition number", core.condition_number(stacked(_own_design(case).Z)), NAN, NAN, note)]
