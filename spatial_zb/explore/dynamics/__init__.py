"""How a distribution over regions moves: densities, ellipses, inequality and its parts, convergence.

Models with lags in time are no part of it: they live in :mod:`spatial_zb.models`.
"""

from spatial_zb.explore.dynamics.convergence import (
    GROWTH,
    INITIAL,
    BetaConvergence,
    SigmaConvergence,
    beta_convergence,
    sigma_convergence,
)
from spatial_zb.explore.dynamics.densities import Densities, kernel_densities
from spatial_zb.explore.dynamics.spread import (
    Decomposition,
    EllipsePath,
    dagum_decomposition,
    deviation_ellipses,
    theil_decomposition,
)

__all__ = [
    "GROWTH",
    "INITIAL",
    "BetaConvergence",
    "Decomposition",
    "Densities",
    "EllipsePath",
    "SigmaConvergence",
    "beta_convergence",
    "dagum_decomposition",
    "deviation_ellipses",
    "kernel_densities",
    "sigma_convergence",
    "theil_decomposition",
]
