"""Maps: one module for each kind, over the polygons and outlines of ``drawing`` and the classes of ``classes``.

What a chart shows lives in :mod:`spatial_zb.report.figures`.
"""
