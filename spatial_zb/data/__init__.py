"""What a study knows of its units: polygons, tables, codes, blank cells, and the balanced :class:`Panel` at the gate.

Nothing spatial is computed here: weights and statistics live above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
