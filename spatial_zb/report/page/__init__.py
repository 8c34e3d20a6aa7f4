"""The offline report: one HTML file with maps, figures, tables and readings that asks nothing of a network.

``content`` says what is shown, ``outlines`` turns polygons into small paths, ``data`` into JSON, ``html`` into a page
with the files of ``assets/`` (skeleton, style sheet, scripts).
"""

from spatial_zb.report.page.content import (
    Atlas,
    ChartItem,
    Content,
    MoranSeries,
    Paragraphs,
    Remarks,
    Section,
    TableItem,
    UnitEffects,
    UnitPaths,
    Variable,
)
from spatial_zb.report.page.html import write_report
from spatial_zb.report.page.outlines import Outlines, draw_outlines

__all__ = [
    "Atlas",
    "ChartItem",
    "Content",
    "MoranSeries",
    "Outlines",
    "Paragraphs",
    "Remarks",
    "Section",
    "TableItem",
    "UnitEffects",
    "UnitPaths",
    "Variable",
    "draw_outlines",
    "write_report",
]
