"""What a study knows of its units: polygons, tables, codes, blank cells, and the balanced :class:`Panel` at the gate.

Nothing spatial is computed here: weights and statistics live above.
"""

from spatial_zb.base import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
