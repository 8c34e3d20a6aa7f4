"""Section ``[compare]`` and its parts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from spatial_zb.study.sections.base import Section
from spatial_zb.study.values import (
    CovarianceKind,
    EffectsKind,
    EstimatorKind,
    Family,
    Names,
    Positive,
    Shares,
    Some,
    SomeNames,
    Span,
    Word,
    as_tuple,
    as_where,
    distinct,
)

__all__ = ["Battery", "Compare", "CurveTest", "Probabilities"]


class Battery(Section):
    """``[compare.robustness]``: the base model again under every change, one at a time.

    ``drop`` are units left out together, by name; ``periods`` sub-periods ``[first, last]`` by name. ``y`` and ``x`` are
    measures beside those of ``[compare]``, whose weights it shares.
    """

    lag_x: bool = True
    drop: Annotated[dict[str, SomeNames], BeforeValidator(as_where)] = Field(default_factory=dict)
    winsorise: Shares = (0.01, 0.05)
    periods: dict[str, Span] = Field(default_factory=dict)
    covariances: Annotated[tuple[CovarianceKind, ...], BeforeValidator(as_tuple)] = ()
    y: Names = ()
    x: Annotated[dict[str, SomeNames], BeforeValidator(as_where)] = Field(default_factory=dict)
    leave_one_out: bool = True


class CurveTest(Section):
    """``[compare.curve]``: the joint test of the specification curve."""

    replicates: Annotated[int, Field(ge=19, le=99_999)] = 499
    scheme: Literal["unit", "period"] = "unit"


class Probabilities(Section):
    """``[compare.probabilities]``: posterior probabilities of models × weights, and of what prior."""

    models: Some[Literal["OLS", "SLX", "SAR", "SDM", "SEM", "SDEM"]] = (
        "OLS",
        "SLX",
        "SAR",
        "SDM",
        "SEM",
        "SDEM",
    )
    g: Literal["unit", "benchmark"] | Positive = "benchmark"
    shape: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0


class Compare(Section):
    """``[compare]``: one term of one model over a grid of choices.

    ``model`` is the base; what is not varied is as in it. ``controls`` are sets of regressors by name, one a line;
    regressors of the base that are in no set are always there. ``y`` and ``x`` are other measures of the dependent
    variable and of regressors. Blank weights = all, blank samples = the main sample.
    """

    model: Word
    term: Word
    effect: Literal["coefficient", "direct", "indirect", "total"] = "total"
    weights: Names = ()
    samples: Names = ()
    models: Annotated[tuple[Family, ...], BeforeValidator(as_tuple), AfterValidator(distinct)] = ()
    controls: Annotated[dict[str, Names], BeforeValidator(as_where)] = Field(default_factory=dict)
    y: Names = ()
    x: Annotated[dict[str, SomeNames], BeforeValidator(as_where)] = Field(default_factory=dict)
    fixed_effects: Annotated[
        tuple[EffectsKind, ...], BeforeValidator(as_tuple), AfterValidator(distinct)
    ] = ()
    estimators: Annotated[tuple[EstimatorKind, ...], BeforeValidator(as_tuple), AfterValidator(distinct)] = ()
    covariances: Annotated[
        tuple[CovarianceKind, ...], BeforeValidator(as_tuple), AfterValidator(distinct)
    ] = ()
    robustness: Battery | None = None
    curve: CurveTest | None = None
    probabilities: Probabilities | None = None
