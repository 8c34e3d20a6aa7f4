"""The sections of a study file, as frozen records; every key that is not named here is refused.

What a section asks for is done by :mod:`spatial_zb.pipeline`, not here.
"""

from __future__ import annotations

from collections.abc import Mapping

from spatial_zb.study.sections.analyses import (
    Battery,
    Compare,
    Concentration,
    CurveTest,
    Dynamics,
    Equation,
    Figures,
    Maps,
    Model,
    Moran,
    Output,
    Probabilities,
    Scenario,
    System,
)
from spatial_zb.study.sections.claims import Claim
from spatial_zb.study.sections.inputs import (
    OF_POLYGONS,
    OF_TABLE,
    WEIGHT_KINDS,
    Block,
    Combination,
    Constant,
    Contiguity,
    Coupling,
    Data,
    DistanceBand,
    Economic,
    EconomicDistance,
    ExponentialDecay,
    General,
    Gravity,
    IdsOfTable,
    Index,
    InverseDistance,
    Missing,
    NearestNeighbours,
    Regions,
    Sample,
    Suspect,
    Variable,
    Weight,
    WeightsFile,
)
from spatial_zb.study.values import Section

TABLES: Mapping[str, type[Section]] = {
    "study": General,
    "regions": Regions,
    "data": Data,
    "moran": Moran,
    "concentration": Concentration,
    "dynamics": Dynamics,
    "compare": Compare,
    "maps": Maps,
    "figures": Figures,
    "output": Output,
}
NAMED: Mapping[str, type[Section] | None] = {
    "constants": Constant,
    "variables": Variable,
    "indices": Index,
    "coupling": Coupling,
    "weights": None,  # by kind
    "samples": Sample,
    "models": Model,
    "systems": System,
    "scenarios": Scenario,
}
LISTS: Mapping[str, type[Section]] = {"missing": Missing, "suspect": Suspect, "claims": Claim}
REQUIRED = ("study", "weights")
SECTION_NAMES = ("version", *TABLES, *NAMED, *LISTS)

__all__ = [
    "LISTS",
    "NAMED",
    "OF_POLYGONS",
    "OF_TABLE",
    "REQUIRED",
    "SECTION_NAMES",
    "TABLES",
    "WEIGHT_KINDS",
    "Battery",
    "Block",
    "Claim",
    "Combination",
    "Compare",
    "Concentration",
    "Constant",
    "Contiguity",
    "Coupling",
    "CurveTest",
    "Data",
    "DistanceBand",
    "Dynamics",
    "Economic",
    "EconomicDistance",
    "Equation",
    "ExponentialDecay",
    "Figures",
    "General",
    "Gravity",
    "IdsOfTable",
    "Index",
    "InverseDistance",
    "Maps",
    "Missing",
    "Model",
    "Moran",
    "NearestNeighbours",
    "Output",
    "Probabilities",
    "Regions",
    "Sample",
    "Scenario",
    "Section",
    "Suspect",
    "System",
    "Variable",
    "Weight",
    "WeightsFile",
]
