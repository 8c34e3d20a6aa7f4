"""What a reader takes away: tables, figures, maps, the offline page, results in words, files on disk.

Nothing is estimated here, and nothing below imports it: it takes tidy frames and results by their protocol.
"""

from spatial_zb.base import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
