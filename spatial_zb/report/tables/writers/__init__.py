"""Writers of one table, a module for each format, all of one shape: ``render(table, style)``.

A writer gets resolved words and numbers from :mod:`spatial_zb.report.tables.table`, escapes all of them for its
format and decides nothing else. It returns the text or the bytes of the file, the same for the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from spatial_zb.base.errors import not_one_of
from spatial_zb.report.files import output_error, slug, write_atomic
from spatial_zb.report.tables.table import Table, TableStyle

#: Format → the module of its writer and the function that prints a table.
_WRITERS = {
    "csv": ("markup", "render_csv"),
    "tex": ("latex", "render"),
    "md": ("markup", "render_markdown"),
    "docx": ("word", "render"),
    "xlsx": ("excel", "render"),
    "html": ("markup", "render_html"),
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
        write_atomic(folder / f"{slug(table.key)}.{name}", _writer(name)(table, style)) for name in formats
    ]


def write_file(table: Table, path: str | Path, style: TableStyle) -> Path:
    """Write one table to one file, whose ending is the format; see :func:`write_table`, whose errors are the same."""
    path = Path(path)
    name = path.suffix.removeprefix(".").lower()
    if name not in FORMATS:
        raise not_one_of("The ending of the file", name, FORMATS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path.parent, error) from error
    return write_atomic(path, _writer(name)(table, style))


def shown(table: Table) -> str:
    """The table as a notebook shows it, escaped."""
    from spatial_zb.report.tables.writers import markup

    return f"<style>{markup.CSS}</style>{markup.fragment(table, TableStyle())}"


def _writer(name: str) -> Callable[[Table, TableStyle], str | bytes]:
    """Import one writer when it is asked for: Word and Excel are slow to load."""
    module, function = _WRITERS[name]
    return getattr(import_module(f"spatial_zb.report.tables.writers.{module}"), function)
