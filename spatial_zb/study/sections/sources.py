"""Sections on what goes in: the study itself, polygons, data, variables and samples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from spatial_zb.study.sections.base import Section
from spatial_zb.study.values import (
    Finite,
    Label,
    Names,
    SomeNames,
    Span,
    Word,
    as_where,
    by_period,
    crs_code,
    from_list,
    one_or_some,
    replicates,
    slug,
)

__all__ = [
    "Constant",
    "Coupling",
    "Data",
    "General",
    "Index",
    "Missing",
    "Regions",
    "Sample",
    "Suspect",
    "Variable",
]


class General(Section):
    """``[study]``: who the study is and the numbers every stage shares.

    ``bootstrap``: replicates for p-values of the test chain under its null hypotheses, and for median-unbiased ρ and λ; 0
    for none.
    """

    name: Annotated[str, AfterValidator(slug)]
    title: Label
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20190101
    permutations: Annotated[int, Field(ge=99, le=999_999)] = 9999
    draws: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    bootstrap: Annotated[int, AfterValidator(replicates), Field(ge=0, le=1_000_000)] = 0
    language: Literal["en", "zh", "both"] = "en"
    sample: Word | None = None


class Regions(Section):
    """``[regions]``: the polygons; ``file`` is a layer, or a list of layers laid side by side.

    ``names``: the column that names the units, or one for each language.
    """

    file: Annotated[Word | tuple[Word, ...], BeforeValidator(from_list), AfterValidator(one_or_some)]
    id: Word
    names: Label | None = None
    projected_crs: Annotated[str, AfterValidator(crs_code)] = "EPSG:4549"
    source: Label | None = None
    review_number: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The layers, one or several."""
        return (self.file,) if isinstance(self.file, str) else self.file


class Data(Section):
    """``[data]``: the long table of units and periods, and the table of the reference region.

    ``limits`` says in sentences what a reader must know of the data: what is a proxy, or simulated. ``thousands`` is
    the mark that parts groups of three digits in numbers stored as text, such as 1,234.
    """

    file: Word
    unit: Word
    period: Word
    periods: Span
    reference: Word | None = None
    codebook: Word | None = None
    flag: Word | None = None
    thousands: Literal[",", " ", "'"] | None = None
    source: Label | None = None
    limits: Annotated[tuple[Label, ...], BeforeValidator(from_list)] = ()


class Missing(Section):
    """``[[missing]]``: what happens to blank cells of some columns, and why."""

    columns: SomeNames
    rule: Literal["error", "interpolate", "median_growth", "drop_units", "drop_periods"]
    reason: Label


class Suspect(Section):
    """``[[suspect]]``: a printed figure that is treated as a blank cell, and why.

    The rule of its column in ``[[missing]]`` then says what happens to it.
    """

    column: Word
    unit: Word
    period: int
    reason: Label


class Constant(Section):
    """``[constants.<name>]``: one number per period, the same for all units, usable in expressions."""

    name: str
    label: Label
    source: Label
    values: Annotated[dict[int, Finite], BeforeValidator(by_period)]


class Variable(Section):
    """``[variables.<name>]``: a derived variable, or a column of the data file that gets a label.

    Without an expression it is the column of its own name; ``expression = "gdp"`` of a variable ``gdp`` says the same.
    """

    name: str
    label: Label
    expression: Word

    @model_validator(mode="before")
    @classmethod
    def _own_column(cls, given: Any) -> Any:
        """Names of variables are identifiers: they stand in an expression as they are."""
        return (
            {"expression": given["name"], **given} if isinstance(given, dict) and "name" in given else given
        )

    @property
    def is_column(self) -> bool:
        """Whether it is the column of its own name."""
        return self.expression.strip().strip("`") == self.name


class Index(Section):
    """``[indices.<name>]``: a score from 0 to 1 of several variables, weighted by entropy.

    All units and periods of the study are pooled. ``less`` names those of which less is better. ``method``:
    ``"entropy"`` sums the scaled variables, ``"topsis"`` gives the closeness to the ideal, both with entropy weights.
    """

    name: str
    label: Label
    columns: Annotated[SomeNames, Field(min_length=2)]
    less: Names = ()
    method: Literal["entropy", "topsis"] = "entropy"


class Coupling(Section):
    """``[coupling.<name>]``: coupling coordination D of two indices; ``alpha`` is the weight of the first."""

    name: str
    label: Label
    first: Word
    second: Word
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Sample(Section):
    """``[samples.<name>]``: all units, those listed, or those whose region columns have given values."""

    name: str
    label: Label
    units: Names | None = None
    where: Annotated[dict[str, SomeNames], BeforeValidator(as_where)] | None = None
