"""``[[claims]]``: sentences of a theory, each with the measure by which the run confronts it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.study.values import Finite, Label, Names, Periods, Refusal, Section, Word

Measure = Literal["correlation", "effect", "granger", "rank", "level", "trend", "fall", "none"]

#: What a measure must be told, and may be told, beside the claim.
NEEDS: dict[str, tuple[str, ...]] = {
    "correlation": ("variables",),
    "effect": ("model", "term"),
    "granger": ("system", "response", "source"),
    "rank": ("variables", "units", "top"),
    "level": ("variables", "against"),
    "trend": ("variables",),
    "fall": ("variables",),
    "none": ("reason",),
}
MAY: dict[str, tuple[str, ...]] = {
    "correlation": ("weights", "within", "sample", "periods"),
    "effect": ("effect", "weights", "sample"),
    "granger": ("part", "weights", "sample"),
    "rank": ("sample", "periods"),
    "level": ("units", "sample", "periods"),
    "trend": ("units", "sample", "periods"),
    "fall": ("units", "sample", "periods"),
    "none": (),
}
ALWAYS = ("claim", "measure", "expected")


class Claim(Section):
    """``[[claims]]``: a claim, what is measured for it, and the sign that would support it.

    ``correlation`` of two ``variables``, the second that of neighbours with ``weights``, free of unit and period means with
    ``within``. ``effect`` (direct, indirect, total) of ``term`` in ``model``. ``granger``: whether ``source`` leads
    ``response`` in a ``system`` over time (``part``: own, neighbours, both). ``rank``: how often ``units`` are among the
    ``top`` of a variable. ``level``: its mean over ``units`` ``against`` a number. ``trend``: its change from year to year.
    ``fall``: the share of units where all ``variables`` fell from the first to the last period. ``none`` with a ``reason``:
    not measurable with these data. Blank ``sample``, ``weights``, ``periods``, ``units``: the main sample, the first W of
    the model, all periods, all units.
    """

    claim: Label
    measure: Measure
    expected: Literal["positive", "negative"] = "positive"
    variables: Names = ()
    model: Word | None = None
    term: Word | None = None
    effect: Literal["direct", "indirect", "total"] = "total"
    system: Word | None = None
    response: Word | None = None
    source: Word | None = None
    part: Literal["own", "neighbours", "both"] = "both"
    weights: Word | None = None
    sample: Word | None = None
    within: bool = False
    units: Names = ()
    top: Annotated[int, Field(ge=1)] | None = None
    against: Finite | None = None
    periods: Periods = ()
    reason: Label | None = None

    @model_validator(mode="after")
    def _what_its_measure_is_told(self) -> Claim:
        given = self.model_fields_set - set(ALWAYS)
        lacking = [key for key in NEEDS[self.measure] if key not in given]
        if lacking:
            raise Refusal(
                f"measure = {self.measure!r} needs {listed(lacking)}",
                f"measure = {self.measure!r}须给出{listed_zh(lacking)}",
            )
        extra = sorted(given - set(NEEDS[self.measure]) - set(MAY[self.measure]))
        if extra:
            raise Refusal(
                f"measure = {self.measure!r} does not use {listed(extra)}",
                f"measure = {self.measure!r}用不到{listed_zh(extra)}",
            )
        count = {"correlation": 2, "rank": 1, "level": 1, "trend": 1}.get(self.measure)
        if count is not None and len(self.variables) != count:
            raise Refusal(
                f"measure = {self.measure!r} takes {count} variable(s), not {len(self.variables)}",
                f"measure = {self.measure!r}须有{count}个变量，而不是{len(self.variables)}个",
            )
        return self
