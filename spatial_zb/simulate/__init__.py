"""Panels and systems with known truth, and what a planned study can show.

No estimator of its own: power studies call those of :mod:`spatial_zb.models`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
