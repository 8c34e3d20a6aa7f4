"""Figures: one module for each family, over the line charts of ``lines``.

Maps live next door; the sheet, type and colours of both in :mod:`spatial_zb.report.drawing`.
"""
