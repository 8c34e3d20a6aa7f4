"""Widths and archives: what the writers of paged formats share."""

from __future__ import annotations

import io
import zipfile
from itertools import accumulate

from spatial_zb.report.table_style import TableStyle
from spatial_zb.report.table_text import shown, words
from spatial_zb.report.tables import HeaderCell, Row, Table
from spatial_zb.text import display_width

__all__ = ["column_widths", "continues", "same_bytes", "starts"]

# The first moment a zip archive can hold: documents carry no time of writing, so that equal means equal.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def continues(row: Row | None) -> bool:
    """Say whether a row belongs to the one above: it has no name of its own (standard errors)."""
    return row is not None and row.kind == "body" and row.cells[0] == ""


def starts(level: tuple[HeaderCell, ...]) -> list[int]:
    """Give the first column of each heading of a level."""
    return [0, *accumulate(cell.span for cell in level)][:-1]


def column_widths(
    table: Table, style: TableStyle, widest: int = 28, *, narrow: int = 14, wrap_header: bool = True
) -> list[int]:
    """Estimate the width of each column in characters, for text that wraps.

    Columns of text (aligned left) wrap beyond ``widest``, words among numbers beyond ``narrow``, headings
    at about two lines. A heading over several columns widens them evenly when it needs more than they have
    together.
    """
    widths = [2] * table.n_columns
    for row in table.rows:
        for j, cell in enumerate(row.cells if row.kind == "body" else ()):
            printed = shown(cell, style)
            # Superscript stars take about half their width.
            width = display_width(printed.text) + (len(printed.stars) + 1) // 2
            most = widest if table.alignment[j] == "l" else narrow
            widths[j] = max(widths[j], width if printed.numeric else min(width, most))
    for level in reversed(table.header):
        for start, cell in zip(starts(level), level, strict=True):
            columns = range(start, start + cell.span)
            have = sum(widths[j] for j in columns)
            needed = display_width(words(cell.text, style))
            if wrap_header and needed > 12:
                needed = -(-min(needed, widest) * 2 // 3)
            for j in columns:
                widths[j] += -(-max(0, needed - have) // cell.span)
    return widths


def same_bytes(archive: bytes) -> bytes:
    """Rewrite a zip archive (docx, xlsx) without the times and the system it was made on."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            new.writestr(entry, old.read(name))
    return target.getvalue()
