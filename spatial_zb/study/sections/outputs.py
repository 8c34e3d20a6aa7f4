"""Sections on what comes out: maps, figures, files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from spatial_zb.study.sections.base import Section
from spatial_zb.study.values import (
    FigureFormat,
    Listed,
    Names,
    Periods,
    Positive,
    Refusal,
    Some,
    SomeNames,
    TableFormat,
    Word,
    as_tuple,
    distinct,
    filled,
)

__all__ = ["Figures", "Maps", "Output"]


class Maps(Section):
    """``[maps]``: choropleths of some variables in some periods.

    ``labels`` names all units, the groups, none, or a list of units; ``auto`` leaves it to their number.
    ``clusters`` names the weights of maps of local clusters (local Moran's I); none are drawn without it.
    ``bivariate`` names two variables for one map of both, in three classes each. ``locator`` shows in a small map
    where among all regions of the file those of the main sample are.
    """

    variables: SomeNames
    periods: Annotated[Periods, AfterValidator(filled)]
    scheme: Literal["quantile", "natural", "equal", "std"] = "quantile"
    classes: Annotated[int, Field(ge=2, le=9)] = 5
    labels: Literal["auto", "all", "groups", "none"] | Listed = "auto"
    clusters: Word | None = None
    bivariate: Annotated[Names, Field(max_length=2)] = ()
    locator: bool = False

    @model_validator(mode="after")
    def _two_or_none(self) -> Maps:
        if len(self.bivariate) == 1:
            raise Refusal("bivariate needs two variables", "bivariate须有两个变量")
        return self


class Figures(Section):
    """``[figures]``: what the models say by unit, by order of neighbour and by distance.

    ``effects`` are ``"model.variable"``: maps of the effects each unit receives and emits, and effects by order of
    neighbour up to ``orders``, from the model's last fixed effects, first weights and first sample.
    ``system_effects`` are ``"system.equation.source"``, the source an exogenous variable or another equation.
    ``correlogram`` names variables whose Moran's I is drawn by distance in the first and the last period.
    ``thresholds`` are kilometres: every one of ``effects`` is estimated again under inverse-distance weights that
    reach ``beyond`` or ``within`` them.
    """

    effects: Names = ()
    system_effects: Names = ()
    orders: Annotated[int, Field(ge=1, le=50)] = 6
    correlogram: Names = ()
    thresholds: Annotated[tuple[Positive, ...], BeforeValidator(as_tuple), AfterValidator(distinct)] = ()
    reach: Literal["beyond", "within"] = "beyond"


class Output(Section):
    """``[output]``: where results go (``folder/<study name>``) and in which formats.

    ``report`` is the offline page ``report.html``.

    ``journal`` sets the habits of a kind of journal for tables; ``digits``, ``stars``, ``errors`` and
    ``error_position`` change them one by one.
    """

    folder: Word = "results"
    tables: Some[TableFormat] = ("docx", "xlsx", "csv")
    journal: Literal["default", "aea", "t_ratios", "columns"] = "default"
    digits: Annotated[int, Field(ge=0, le=8)] | None = None
    stars: bool | None = None
    errors: Literal["std_error", "t", "p"] | None = None
    error_position: Literal["below", "column"] | None = None
    figures: Some[FigureFormat] = ("png", "svg")
    dpi: Annotated[int, Field(ge=72, le=1200)] = 300
    report: bool = True

    @property
    def table_settings(self) -> dict[str, Any]:
        """What :func:`spatial_zb.report.table_style.journal_style` takes."""
        changes = {name: getattr(self, name) for name in ("digits", "stars", "errors", "error_position")}
        return {"journal": self.journal} | {name: v for name, v in changes.items() if v is not None}
