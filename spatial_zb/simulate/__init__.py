"""Panels and systems with known truth, and what a planned study can show.

No estimator of its own: power studies call those of :mod:`spatial_zb.models`.
"""

from spatial_zb.base import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
