"""Agglomeration indices on labelled tables: ids of units, periods and sectors go in and come out.

Labels are matched, never positions, and each period is computed by itself. Formulas live in
:mod:`spatial_zb.core.indices`.
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
