"""Many specifications side by side: the grid, its joint test, tests between fits, model probabilities, robustness.

Single fits and their tests live in :mod:`spatial_zb.models` and :mod:`spatial_zb.hypotheses`.
"""

from spatial_zb.compare.family import SpecFamily, spec_family, subsets
from spatial_zb.compare.grid import Grid, specification_grid
from spatial_zb.compare.nested import Comparison, compare_fits

__all__ = ["Comparison", "Grid", "SpecFamily", "compare_fits", "spec_family", "specification_grid", "subsets"]
