"""Many specifications side by side: the grid, its joint test, tests between fits, model probabilities, robustness.

Single fits and their tests live in :mod:`spatial_zb.models` and :mod:`spatial_zb.hypotheses`.
"""

from spatial_zb.base import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
