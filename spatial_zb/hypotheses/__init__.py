"""The test chain of a single-equation panel: which spatial lags, which effects, what is left in the residuals."""

from spatial_zb.chain_table import TESTS, TestTable
from spatial_zb.hypotheses.chain import diagnose

__all__ = ["TESTS", "TestTable", "diagnose"]
