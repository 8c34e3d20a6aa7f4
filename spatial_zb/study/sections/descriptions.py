"""Sections on what describes the data: Moran's I, concentration, dynamics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spatial_zb.errors import listed, listed_zh
from spatial_zb.study.sections.base import Section
from spatial_zb.study.values import (
    Names,
    Pairs,
    Periods,
    Refusal,
    SomeNames,
    Word,
)

__all__ = ["Concentration", "Dynamics", "Moran"]


class Moran(Section):
    """``[moran]``: variables, weights and samples of the Moran tables. Blank = all weights, main sample.

    ``bivariate`` are pairs of variables: the first of a unit with the second of its neighbours. ``pooled`` adds one I of
    all periods together to every variable.
    """

    variables: SomeNames
    bivariate: Pairs = ()
    pooled: bool = False
    weights: Names = ()
    samples: Names = ()


class Concentration(Section):
    """``[concentration]``: who has more than its share of some sectors, over the main sample.

    ``sectors`` are variables of amounts, such as employees. By period: Herfindahl and locational Gini of each sector
    and, with ``plant_hhi`` (Herfindahl index of plant sizes by sector), Ellison and Glaeser's γ; co-agglomeration of
    every pair; Krugman's specialisation of each unit. ``total`` is the variable of which the sectors are parts: the
    reference of Gini and γ, and its rest is a sector of Krugman's index; without it the sectors are all there is.
    """

    sectors: Annotated[SomeNames, Field(min_length=2)]
    total: Word | None = None
    plant_hhi: dict[str, Annotated[float, Field(ge=0, lt=1)]] | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables it asks for."""
        return (*self.sectors, *([self.total] if self.total else []))

    @model_validator(mode="after")
    def _a_plant_index_for_every_sector(self) -> Concentration:
        if self.plant_hhi is not None and set(self.plant_hhi) != set(self.sectors):
            raise Refusal(
                f"plant_hhi needs one number for each of {listed(self.sectors)}, and no other",
                f"plant_hhi须为{listed_zh(self.sectors)}各给一个数，且不得有其他",
            )
        return self


class Dynamics(Section):
    """``[dynamics]``: how distributions over the main sample move.

    Each list names variables, which must be positive but in ``densities``. ``densities``: kernel density by period,
    of values over their mean with ``relative``. ``ellipses``: centre of gravity and deviation ellipse of amounts.
    ``inequality``: Theil (weighted by ``population``) and Dagum's Gini, parted by ``groups``, a column of the
    polygons. ``sigma``: dispersion and its trend, by ``groups`` too. ``beta``: growth on the initial level,
    absolute, and with ``fixed_effects`` and ``controls`` over growth periods of ``horizon`` without W and, with
    ``weights``, as a spatial Durbin model. ``periods`` are those that figures show; blank = first, middle, last.
    """

    densities: Names = ()
    relative: bool = False
    ellipses: Names = ()
    inequality: Names = ()
    groups: Word | None = None
    population: Word | None = None
    sigma: Names = ()
    beta: Names = ()
    controls: Names = ()
    weights: Word | None = None
    fixed_effects: Literal["none", "unit", "time", "two_way"] = "two_way"
    horizon: Annotated[int, Field(ge=1)] = 1
    periods: Periods = ()

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables it asks for, each once."""
        names = (*self.densities, *self.ellipses, *self.inequality, *self.sigma, *self.beta, *self.controls)
        return tuple(dict.fromkeys((*names, *([self.population] if self.population else []))))

    @model_validator(mode="after")
    def _something_to_do(self) -> Dynamics:
        if not (self.densities or self.ellipses or self.inequality or self.sigma or self.beta):
            raise Refusal(
                "needs variables in densities, ellipses, inequality, sigma or beta",
                "densities、ellipses、inequality、sigma或beta中须有变量",
            )
        if self.inequality and self.groups is None:
            raise Refusal(
                "inequality needs groups, a column of the polygons such as 'prov'",
                "inequality须有groups，即底图中的一列，如'prov'",
            )
        if (self.controls or self.weights) and not self.beta:
            raise Refusal(
                "controls and weights belong to beta, which names no variable",
                "controls与weights属于beta，而beta没有变量",
            )
        return self
