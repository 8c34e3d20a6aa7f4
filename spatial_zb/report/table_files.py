"""Files of one table: a writer for each format, the same words and numbers in all."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from spatial_zb.errors import not_one_of
from spatial_zb.report.files import output_error, slug, write_atomic
from spatial_zb.report.table_style import TableStyle
from spatial_zb.report.tables import Table

__all__ = ["FORMATS", "write_table"]

_WRITERS = {
    "csv": "delimited",
    "tex": "latex",
    "md": "markdown",
    "docx": "word",
    "xlsx": "excel",
    "html": "web",
}
FORMATS: tuple[str, ...] = tuple(_WRITERS)


def write_table(
    table: Table,
    folder: str | Path,
    formats: Sequence[str] = FORMATS,
    style: TableStyle | None = None,
) -> list[Path]:
    """Write ``<folder>/<key>.<format>`` for each format, each file atomically.

    The folder is made when it is missing. Every format shows the same rounded numbers; Excel keeps the
    full precision behind them. CSV holds one header line and the body only; the tidy frames with full
    precision are files of their own. Same table and style, same bytes.

    Parameters
    ----------
    formats
        Any of ``csv``, ``tex``, ``md``, ``docx``, ``xlsx``, ``html``.
    style
        Language and digits; stars and errors were settled by the layout.

    Raises
    ------
    SpecificationError
        For an unknown format.
    OutputError
        When a file cannot be written.
    """
    style = style or TableStyle()
    formats = [formats] if isinstance(formats, str) else list(formats)
    for name in formats:
        if name not in FORMATS:
            raise not_one_of("A table format", name, FORMATS)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    return [
        write_atomic(folder / f"{slug(table.key)}.{name}", _writer(name).render(table, style))
        for name in formats
    ]


def _writer(name: str) -> ModuleType:
    """Import one writer when it is asked for: Word and Excel are slow to load."""
    return import_module(f"spatial_zb.report.writers.{_WRITERS[name]}")
