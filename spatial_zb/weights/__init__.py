"""Spatial weights: the frozen matrix, and how to build, read, describe and combine it.

Statistics and models that use weights live above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
