"""Spatial weights: the frozen matrix, and how to build, read, describe and combine it.

Statistics and models that use weights live above.
"""

from spatial_zb.base import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
