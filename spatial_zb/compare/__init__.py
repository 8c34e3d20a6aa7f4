"""Many specifications side by side: the grid, and tests between fits."""

from spatial_zb.compare.grid import Grid, specification_grid
from spatial_zb.compare.nested import Comparison, compare_fits

__all__ = ["Comparison", "Grid", "compare_fits", "specification_grid"]
