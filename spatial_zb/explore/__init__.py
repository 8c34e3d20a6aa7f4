"""Spatial association of variables: global statistics period by period, and local ones unit by unit.

``overall`` and ``residuals`` hold the global statistics, ``local`` those of every unit, ``tables`` what they give,
``checks`` their options and what a variable must be like.
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
