"""Sections ``[weights.<name>]``, one record for each kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from spatial_zb.study.sections.base import Section
from spatial_zb.study.values import (
    Alone,
    Base,
    Islands,
    Label,
    Metric,
    Normalisation,
    Positive,
    Refusal,
    SomeNames,
    Word,
)

__all__ = [
    "WEIGHT_KINDS",
    "Block",
    "Combination",
    "Contiguity",
    "DistanceBand",
    "Economic",
    "EconomicDistance",
    "ExponentialDecay",
    "Gravity",
    "InverseDistance",
    "NearestNeighbours",
    "Weight",
    "WeightsFile",
]


class _Weights(Section):
    """What all ``[weights.<name>]`` have."""

    name: str
    label: Label
    normalisation: Normalisation = "row"


class _ByDistance(_Weights):
    """Weights from distances between centroids, in kilometres.

    ``metric`` is ``"geodesic"`` (on the ellipsoid) or ``"projected"`` (on the plane of a projected layer).
    """

    cutoff_km: Positive | None = None
    islands: Islands = "error"
    metric: Metric = "geodesic"


class Economic(Section):
    """A variable of the data file or of ``[variables]``, averaged by unit over base periods.

    ``periods`` is ``"mean"`` (all of ``data.periods``), ``[first, last]`` or one period; they may lie before
    ``data.periods``, if the data file has them.
    """

    variable: Word
    periods: Base = "mean"


class Contiguity(_Weights):
    """``kind = "contiguity"``: units whose borders meet, up to (or exactly) ``order`` steps away."""

    kind: Literal["contiguity"]
    rule: Literal["queen", "rook"] = "queen"
    order: Annotated[int, Field(ge=1, le=10)] = 1
    cumulative: bool = True
    islands: Islands = "error"


class NearestNeighbours(_Weights):
    """``kind = "knn"``: the k nearest centroids."""

    kind: Literal["knn"]
    k: Annotated[int, Field(ge=1)]
    metric: Metric = "geodesic"


class DistanceBand(_ByDistance):
    """``kind = "distance_band"``: one within ``cutoff_km``; blank = the smallest band without islands."""

    kind: Literal["distance_band"]


class InverseDistance(_ByDistance):
    """``kind = "inverse_distance"``: distance to the power ``-power``."""

    kind: Literal["inverse_distance"]
    power: Positive = 1.0


class ExponentialDecay(_ByDistance):
    """``kind = "exponential_decay"``: exp(-rate · distance), ``rate`` per kilometre."""

    kind: Literal["exponential_decay"]
    rate: Positive


class Block(_Weights):
    """``kind = "block"``: units with the same value of a column of the polygons, such as ``prov``."""

    kind: Literal["block"]
    column: Word
    islands: Islands = "error"


class EconomicDistance(Economic, _Weights):
    """``kind = "economic_distance"``: 1/|difference of the variable|; ``floor`` = least difference."""

    kind: Literal["economic_distance"]
    floor: Positive | None = None


class Gravity(Economic, _ByDistance):
    """``kind = "gravity"``: product of the variable of both units over distance to the power ``power``."""

    kind: Literal["gravity"]
    power: Positive = 2.0


class Combination(_Weights):
    """``kind = "combine"``: product, or mixture with share ``alpha`` of the first, of two other weights."""

    kind: Literal["combine"]
    parts: Annotated[SomeNames, Field(min_length=2, max_length=2)]
    how: Literal["product", "mix"] = "product"
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    islands: Alone = "error"

    @model_validator(mode="after")
    def _alpha_of_a_mixture(self) -> Combination:
        if (self.how == "mix") != (self.alpha is not None):
            raise Refusal(
                "a mixture (how = 'mix') needs alpha, a product has none",
                "混合（how = 'mix'）须有alpha，乘积则不得有",
            )
        return self


class WeightsFile(_Weights):
    """``kind = "file"``: csv, xlsx, dta, gal, gwt, swm, mtx, mat or npz, with ids; see ``weights.read``.

    ``sheet`` names the sheet of an xlsx file or the variable of a mat file.
    """

    kind: Literal["file"]
    file: Word
    sheet: Word | None = None
    islands: Alone = "error"
    allow_negative: bool = False


Weight = (
    Contiguity
    | NearestNeighbours
    | DistanceBand
    | InverseDistance
    | ExponentialDecay
    | Block
    | EconomicDistance
    | Gravity
    | Combination
    | WeightsFile
)

WEIGHT_KINDS: Mapping[str, type[Section]] = {
    "contiguity": Contiguity,
    "knn": NearestNeighbours,
    "distance_band": DistanceBand,
    "inverse_distance": InverseDistance,
    "exponential_decay": ExponentialDecay,
    "block": Block,
    "economic_distance": EconomicDistance,
    "gravity": Gravity,
    "combine": Combination,
    "file": WeightsFile,
}
