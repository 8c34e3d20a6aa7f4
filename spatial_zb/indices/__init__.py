"""Agglomeration indices on labelled tables: ids of units, periods and sectors go in and come out.

Labels are matched, never positions, and each period is computed by itself. Formulas live in
:mod:`spatial_zb.core.indices`.
"""

from spatial_zb.base import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
