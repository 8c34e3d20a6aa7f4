"""Agglomeration indices on labelled tables: ids of units, periods and sectors go in and come out.

A table of amounts has units in rows, or units and periods, and a column for each sector. Everything is matched by
label, never by position; each period is computed by itself. ``sectors`` holds the indices of such tables,
``composite`` those made of several indicators, ``tables`` the checks. Formulas are those of
``spatial_zb.data.agglomeration`` and ``spatial_zb.data.composite``.
"""

from spatial_zb.indices.composite import EntropyIndex, coupling_coordination, entropy_weights, topsis
from spatial_zb.indices.sectors import (
    coagglomeration,
    density,
    ellison_glaeser,
    herfindahl,
    krugman_specialisation,
    location_quotients,
    locational_gini,
    pairwise_coagglomeration,
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
