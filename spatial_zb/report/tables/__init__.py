"""Tables: one neutral table (``table``, ``text``), what stands in it (``layouts``), its files (``writers``).

Nothing is estimated here: layouts take tidy frames.
"""

from spatial_zb.base import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
