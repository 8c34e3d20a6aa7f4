"""Spatial association of variables: global statistics by period, local ones by unit, and of residuals.

No model is estimated here; the arithmetic lives in :mod:`spatial_zb.core.statistics`.
"""

from spatial_zb.base import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
