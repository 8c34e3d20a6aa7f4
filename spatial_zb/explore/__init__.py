"""Spatial association of variables: global statistics by period, local ones by unit, and of residuals.

No model is estimated here; the arithmetic lives in :mod:`spatial_zb.core.statistics`.
"""

from spatial_zb.explore.checks import LocalTable, MoranTable, StatisticTable
from spatial_zb.explore.local import local_bivariate_moran, local_g, local_moran
from spatial_zb.explore.others import esda_statistic, residual_moran
from spatial_zb.explore.overall import bivariate_moran, geary, general_g, lee, moran, pooled_moran

__all__ = [
    "LocalTable",
    "MoranTable",
    "StatisticTable",
    "bivariate_moran",
    "esda_statistic",
    "geary",
    "general_g",
    "lee",
    "local_bivariate_moran",
    "local_g",
    "local_moran",
    "moran",
    "pooled_moran",
    "residual_moran",
]
