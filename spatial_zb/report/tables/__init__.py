"""Tables: one neutral table (``table``, ``text``), what stands in it (``layouts``), its files (``writers``).

Nothing is estimated here: layouts take tidy frames.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
