"""How a distribution over regions moves: densities, ellipses, inequality and its parts, convergence.

Models with lags in time are no part of it: they live in :mod:`spatial_zb.models`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
