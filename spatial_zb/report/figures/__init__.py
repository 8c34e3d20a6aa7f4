"""Figures: one module for each family, over the line charts of ``lines``.

All take data first, and one :class:`~spatial_zb.report.drawing.frame.Look`::

    effects               effects with their intervals, by model
    regimes               the same by regime
    coefficients          coefficients with their intervals, by model
    effects_by_order      effects by round of feedback through neighbours
    effects_by_distance   effects under thresholds of distance
    effects_path          effects over time
    moran_scatter         values against their spatial lag, of one or two variables
    correlogram           Moran's I by distance
    density               kernel densities by period
    specification_curve   one estimate under every choice
    power                 size and power of a simulation study
    probabilities         posterior probabilities of models

Maps live next door; the sheet, type and colours of both in :mod:`spatial_zb.report.drawing`.
"""

from spatial_zb.base import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
