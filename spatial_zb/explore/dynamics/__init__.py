"""How a distribution over regions moves: densities, ellipses, inequality and its parts, convergence.

Models with lags in time are no part of it: they live in :mod:`spatial_zb.models`.
"""

from spatial_zb.base import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
