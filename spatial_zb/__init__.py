"""Spatial econometrics of industry and talent agglomeration.

The public names stand in ``__init__.pyi`` and load on first use, so that importing the package, or asking the command
line for help, costs nothing.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
