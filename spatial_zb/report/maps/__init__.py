"""Maps: one module for each kind, over the polygons and outlines of ``drawing`` and the classes of ``classes``.

All take a panel, a result or values by unit first, then the polygons, and one
:class:`~spatial_zb.report.drawing.frame.Look`::

    choropleth   one variable, in one or several periods
    bivariate    two variables at once
    clusters     clusters of a local statistic
    links        who is whose neighbour, and how much that weighs
    effect       effects that units receive and emit
    influence    what leaving out a unit does to an estimate
    ellipses     deviation ellipses and the path of the centre

What a chart shows lives in :mod:`spatial_zb.report.figures`.
"""

from spatial_zb.base import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
