"""Spatial association of variables: global statistics by period, local ones by unit, and of residuals.

No model is estimated here; the arithmetic lives in :mod:`spatial_zb.core.statistics`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
