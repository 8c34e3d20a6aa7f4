"""Agglomeration indices on labelled tables: ids of units, periods and sectors go in and come out.

A table of amounts has units in rows, or units and periods, and a column for each sector. Everything is matched by
label, never by position; each period is computed by itself. ``specialisation`` holds the indices of what a unit has,
``concentration`` those of where a sector is, ``composite`` those made of several indicators, ``tables`` the checks.
Formulas are those of the modules of the same names in ``spatial_zb.data``.
"""

from spatial_zb.indices.composite import EntropyIndex, coupling_coordination, entropy_weights, topsis
from spatial_zb.indices.concentration import (
    coagglomeration,
    ellison_glaeser,
    locational_gini,
    pairwise_coagglomeration,
)
from spatial_zb.indices.specialisation import (
    density,
    herfindahl,
    krugman_specialisation,
    location_quotients,
    shares,
)

__all__ = [
    "EntropyIndex",
    "coagglomeration",
    "coupling_coordination",
    "density",
    "ellison_glaeser",
    "entropy_weights",
    "herfindahl",
    "krugman_specialisation",
    "location_quotients",
    "locational_gini",
    "pairwise_coagglomeration",
    "shares",
    "topsis",
]
