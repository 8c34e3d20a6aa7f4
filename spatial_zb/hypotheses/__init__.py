"""The test chain of a single-equation panel: which spatial lags, which effects, what is left in the residuals."""

from spatial_zb.hypotheses.chain import diagnose
from spatial_zb.hypotheses.table import TESTS, TestTable

__all__ = ["TESTS", "TestTable", "diagnose"]
