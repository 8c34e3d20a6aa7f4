"""Sections on what is estimated: equations and systems."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from spatial_zb.study.sections.base import Section
from spatial_zb.study.values import (
    EffectsKind,
    Label,
    Names,
    Some,
    SomeNames,
    Word,
)

__all__ = ["Equation", "Model", "System"]


class Model(Section):
    """``[models.<name>]``: one equation over weights, samples and fixed effects.

    Blank weights = the first of the file, blank samples = the main sample. ``time_lag`` and ``lag_time_lag`` add y and
    Wy of the period before; ``regimes`` names a variable with two values, by which the coefficients differ;
    ``bias_correction`` is that of ``gmm``.
    """

    name: str
    title: Label
    y: Word
    x: SomeNames
    lag_y: bool = True
    lag_x: Literal["all"] | Names = "all"
    lag_error: bool = False
    fixed_effects: Some[EffectsKind] = ("two_way",)
    weights: Names = ()
    samples: Names = ()
    time_lag: bool = False
    lag_time_lag: bool = False
    regimes: Word | None = None
    estimator: Literal["lee_yu", "direct", "gmm", "yang", "uncorrected"] = "lee_yu"
    covariance: Literal[
        "information", "hessian", "sandwich", "cluster", "driscoll_kraay", "spatial_hac", "robust"
    ] = "information"
    bias_correction: bool | None = None

    @property
    def fit_options(self) -> dict[str, Any]:
        """How ``fit_durbin`` is asked for it."""
        return {name: getattr(self, name) for name in ("estimator", "covariance", "bias_correction")}


class Equation(Section):
    """``[systems.<name>.equations.<equation>]``: one equation of a system."""

    y: Word
    endog: Names = ()
    x: Names = ()
    lag_y: bool = True
    lag_endog: Literal["all"] | Names = "all"
    lag_x: Literal["all"] | Names = ()
    lag_error: bool = False


class System(Section):
    """``[systems.<name>]``: spatial simultaneous equations over weights, samples and methods.

    ``covariance`` and ``bias_correction`` are those of the instrumental methods; FIML has its information matrix.
    Blank weights and samples are those of :class:`Model`.
    """

    name: str
    title: Label
    equations: Annotated[dict[str, Equation], Field(min_length=1)]
    fixed_effects: Literal["none", "unit", "time", "two_way"] = "two_way"
    methods: Some[Literal["2sls", "3sls", "gs2sls", "gs3sls", "fiml"]] = ("gs3sls",)
    covariance: Literal["classical", "robust", "cluster"] = "classical"
    bias_correction: bool | None = None
    weights: Names = ()
    samples: Names = ()
