"""Many specifications side by side: the grid, and tests between fits."""

from spatial_zb.compare.family import SpecFamily, spec_family, subsets
from spatial_zb.compare.grid import Grid, specification_grid
from spatial_zb.compare.nested import Comparison, compare_fits

__all__ = ["Comparison", "Grid", "SpecFamily", "compare_fits", "spec_family", "specification_grid", "subsets"]
