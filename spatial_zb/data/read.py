"""Tables from files: csv, xlsx, dta, dbf, parquet, feather, codes kept as text; and what a polygon file may be."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from spatial_zb.base.errors import DataError, SpatialZbWarning, listed, listed_zh
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text, shown_path
from spatial_zb.data.cells import check_workbook, refuse_cells, refuse_large

if TYPE_CHECKING:
    import pyarrow as pa


MAX_COLUMNS = 5_000
#: Rows that are unpacked before their size is looked at again.
BATCH_ROWS = 10_000
#: The kinds of polygon files, by suffix.
KINDS = {".shp": "shapefile", ".gpkg": "GeoPackage", ".geojson": "GeoJSON", ".json": "GeoJSON"}


def read_table(path: str | Path, text: Sequence[str] = (), *, sheet: str | None = None) -> pd.DataFrame:
    """Read a table, keeping codes as text so that leading zeros stay.

    Parameters
    ----------
    path
        A .csv (UTF-8, with or without a mark, or GB18030), .xlsx, .dta, .dbf, .parquet or .feather file on this machine.
    text
        Columns of codes, kept as text; a whole number stored as a decimal becomes text without the point.
    sheet
        Sheet of a workbook; the first without it.

    Returns
    -------
    DataFrame with one column per heading; blank cells are NaN.

    Raises
    ------
    DataError
        The file is missing, empty, too large, truncated, garbled or of another kind; a heading is blank or
        stands twice; a line has more or fewer cells than the heading; a column of ``text`` is not there.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path.name} is not a table this program reads: use {listed(_READERS)}.",
            f"{path.name}不是本程序能读取的表格：请用{listed_zh(_READERS)}。",
        )
    content = _content(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", SpatialZbWarning)
            frame = reader(content, path.name, text, sheet)
    except DataError:
        raise
    except Exception as error:  # damaged files make the parsers raise nearly anything
        raise DataError(
            f"{path.name} cannot be read as a table: {str(error)[:200] or type(error).__name__}. "
            "The file is damaged or of another kind; save it again from its source.",
            f"{path.name}无法读作表格：{str(error)[:200] or type(error).__name__}。文件已损坏或格式不符，"
            "请从来源重新保存。",
        ) from error
    _check_headings(frame.columns, path.name)
    absent = [column for column in text if column not in frame]
    if absent:
        sheets = _other_sheets(frame)
        raise DataError(
            f"{path.name} has no column {listed(map(repr, absent))}; it has {listed(frame.columns)}.{sheets.en}",
            f"{path.name}没有列{listed_zh(map(repr, absent))}；已有{listed_zh(frame.columns)}。{sheets.zh}",
        )
    out = frame.copy(deep=False)
    for column in text:
        out[column] = _as_text(frame[column], path.name)
    return out


def _content(path: Path) -> bytes:
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for without end
            raise DataError(
                f"{path.name} cannot be read: it is not a file.", f"{path.name}无法读取：它不是文件。"
            )
        refuse_large(path.stat().st_size, path.name)
        content = path.read_bytes()
    except (FileNotFoundError, ValueError):  # a name with a zero byte is none
        raise DataError(
            f"There is no file {shown_path(path)}. Check the name and the folder.",
            f"没有文件{shown_path(path)}。请核对文件名和文件夹。",
        ) from None
    except OSError as error:
        raise DataError(
            f"{shown_path(path.name)} cannot be read: {error.strerror}.",
            f"{shown_path(path.name)}无法读取：{error.strerror}。",
        ) from None
    if not content.strip():
        raise DataError(
            f"{path.name} is empty. It needs a line of headings and one row per unit and period.",
            f"{path.name}是空文件。须有一行列名，以及每个地区每个时期一行数据。",
        )
    return content


def _csv(content: bytes, name: str, text: Sequence[str], sheet: str | None) -> pd.DataFrame:
    decoded = _decoded(content, name)
    headings = _check_lines(decoded, name)
    wanted = {column: str for column in headings if column in text}
    frame = pd.read_csv(io.StringIO(decoded), dtype=wanted, index_col=False, skip_blank_lines=True)
    return frame.set_axis(headings, axis=1)


def _decoded(content: bytes, name: str) -> str:
    if b"\0" in content:
        raise DataError(
            f"{name} is not plain text (it holds zero bytes). Save it as CSV in UTF-8.",
            f"{name}不是纯文本（含零字节）。请另存为UTF-8编码的CSV。",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
    try:
        decoded = content.decode("gb18030")
    except UnicodeDecodeError:
        raise DataError(
            f"Line {line} of {name} is neither UTF-8 nor GB18030 text. Save it as CSV in UTF-8.",
            f"{name}第{line}行既不是UTF-8也不是GB18030文字。请另存为UTF-8编码的CSV。",
        ) from None
    warn(
        f"{name} is not UTF-8; it was read as GB18030 (Chinese Windows). Save it as CSV in UTF-8.",
        f"{name}不是UTF-8编码，已按GB18030（中文Windows）读取。建议另存为UTF-8编码的CSV。",
    )
    return decoded


def _check_lines(text: str, name: str) -> list[str]:
    """Headings of a csv; a line of another length is refused, since a cut-off file ends in one."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    headings = [heading.strip() for heading in next((row for row in rows if row), [])]
    _check_headings(headings, name)
    wrong = [(rows.line_num, len(row)) for row in rows if row and len(row) != len(headings)]
    refuse_cells(rows.line_num, len(headings), name)
    if wrong:
        line, cells = wrong[0]
        raise DataError(
            f"Line {line} of {name} has {cells} cell(s), the heading has {len(headings)} ({len(wrong)} such line(s)). "
            "A cut-off file ends like this; a comma inside a cell needs quotes around it.",
            f"{name}第{line}行有{cells}个单元格，而列名有{len(headings)}个（这样的行共{len(wrong)}行）。"
            "文件被截断时末行会如此；单元格内含逗号时须加引号。",
        )
    return headings


def _xlsx(content: bytes, name: str, text: Sequence[str], sheet: str | None) -> pd.DataFrame:
    check_workbook(io.BytesIO(content), name)
    with pd.ExcelFile(io.BytesIO(content), engine="openpyxl") as book:
        if sheet is not None and sheet not in book.sheet_names:
            raise DataError(
                f"{name} has no sheet {sheet!r}; it has {listed(book.sheet_names)}.",
                f"{name}没有工作表{sheet!r}；已有{listed_zh(book.sheet_names)}。",
            )
        rows = book.parse(sheet or book.sheet_names[0], header=None, dtype=object)
    if rows.empty:
        raise DataError(
            f"The sheet of {name} is empty. Its first row must be the headings.",
            f"{name}的工作表是空的。第一行须为列名。",
        )
    headings = ["" if pd.isna(cell) else str(cell).strip() for cell in rows.iloc[0]]
    _check_headings(headings, name)
    body = rows.iloc[1:].dropna(how="all").set_axis(headings, axis=1).reset_index(drop=True)
    for column in body:
        if column not in text:
            body[column] = body[column].infer_objects()
    body.attrs["sheets"] = book.sheet_names if sheet is None else []
    return body


def _other_sheets(frame: pd.DataFrame) -> Text:
    """That only the first sheet of a workbook was read, where it has more."""
    first, *others = frame.attrs.get("sheets") or [""]
    if not others:
        return Text("", "")
    return Text(
        f" Of its sheets {first!r} was read, not {listed(others)}: put the table first.",
        f"读取的是工作表{first!r}，而不是{listed_zh(others)}：请把数据表放在最前。",
    )


def _dta(content: bytes, name: str, text: Sequence[str], sheet: str | None) -> pd.DataFrame:
    frame = pd.read_stata(io.BytesIO(content), convert_categoricals=False)
    return frame.replace({column: {"": None} for column in text if column in frame})


def dbf_length(head: bytes) -> int:
    """Bytes of a dBase table by its heading: its start, and its rows of one width."""
    if len(head) < 12:
        return 33
    rows, start, width = struct.unpack("<IHH", head[4:12])
    return start + rows * width


def _dbf(content: bytes, name: str, text: Sequence[str], sheet: str | None) -> pd.DataFrame:
    """A dBase table, such as that of a shapefile: numbers (N, F) are numbers, all else is text."""
    if len(content) < dbf_length(content[:12]):
        raise DataError(
            f"{name} is cut off: {len(content)} of {dbf_length(content[:12])} bytes. Copy it again.",
            f"{name}被截断：{len(content)}字节，应有{dbf_length(content[:12])}字节。请重新复制。",
        )
    rows, start, width = struct.unpack("<IHH", content[4:12])
    heads = [content[at : at + 32] for at in range(32, start - 1, 32) if content[at] != 0x0D]
    refuse_cells(rows, len(heads), name)
    lines = [content[start + k * width : start + (k + 1) * width] for k in range(rows)]
    kept = [line for line in lines if line[:1] != b"*"]  # rows that were deleted are still in the file
    columns, at = {}, 1
    names = [_decoded(head[:11].partition(b"\0")[0], name).strip() for head in heads]
    _check_headings(names, name)
    for head, column in zip(heads, names, strict=True):
        end = at + head[16]
        cells = _decoded(
            b"\n".join(line[at:end].replace(b"\0", b" ").replace(b"\n", b" ") for line in kept), name
        )
        series = pd.Series([cell.strip() or None for cell in cells.split("\n")] if kept else [], dtype=object)
        columns[column] = pd.to_numeric(series) if head[11:12] in b"NF" and column not in text else series
        at = end
    return pd.DataFrame(columns)


def _parquet(content: bytes, name: str, text: Sequence[str], sheet: str | None) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import parquet

    file = parquet.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    columns = range(file.metadata.num_columns)
    refuse_large(sum(group.total_byte_size for group in groups), name)
    refuse_cells(sum(group.num_rows for group in groups), len(columns), name)
    refuse_cells(
        sum(group.column(j).num_values for group in groups for j in columns), 1, name
    )  # of lists in cells
    batches = file.iter_batches(BATCH_ROWS)
    return _from_arrow(pa.Table.from_batches(_within_limit(batches, name), file.schema_arrow))


def _feather(content: bytes, name: str, text: Sequence[str], sheet: str | None) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import dataset

    with pa.ipc.open_file(io.BytesIO(content)) as file:
        rows = dataset.IpcFileFormat().make_fragment(pa.BufferReader(content)).count_rows()
        refuse_cells(rows, len(file.schema), name)
    with pa.ipc.open_file(io.BytesIO(content)) as file:
        batches = (file.get_batch(number) for number in range(file.num_record_batches))
        return _from_arrow(pa.Table.from_batches(_within_limit(batches, name), file.schema))


def _within_limit(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    """The batches as they are read, until they are too large: what a file says of its size may be untrue."""
    size = 0
    for batch in batches:
        size += batch.nbytes
        refuse_large(size, name)
        yield batch


def _from_arrow(table: pa.Table) -> pd.DataFrame:
    """The columns as the file has them; what pandas kept as an index becomes a column again if it has a name."""
    table.validate(full=True)
    named = [i for i, n in enumerate(table.column_names) if not re.fullmatch(r"__index_level_\d+__", n)]
    return table.select(named).to_pandas(ignore_metadata=True)


_READERS: Mapping[str, Callable[[bytes, str, Sequence[str], str | None], pd.DataFrame]] = {
    ".csv": _csv,
    ".xlsx": _xlsx,
    ".dta": _dta,
    ".dbf": _dbf,
    ".parquet": _parquet,
    ".feather": _feather,
}


def _check_headings(headings: Sequence[str], name: str) -> None:
    index = pd.Index([str(heading) for heading in headings])
    if not len(index):
        raise DataError(
            f"{name} has no headings. Its first line must name the columns.",
            f"{name}没有列名。第一行须为各列名称。",
        )
    if len(index) > MAX_COLUMNS:
        raise DataError(
            f"{name} has {len(index):,} columns, more than {MAX_COLUMNS:,}. Is it a long table?",
            f"{name}有{len(index):,}列，超过{MAX_COLUMNS:,}。是否应为长表？",
        )
    blank = [str(number) for number, heading in enumerate(index, start=1) if not heading.strip()]
    if blank:
        raise DataError(
            f"{name} has no heading over column {listed(blank)}. Its first row must name every column: delete title rows "
            "above it, unmerge cells, and name or delete the columns without a name.",
            f"{name}有的列没有列名（列号{listed_zh(blank)}）。第一行须为全部列名：请删去上方的标题行，取消合并单元格，补上列名或删去该列。",
        )
    if index.has_duplicates:
        twice = index[index.duplicated()].unique()
        raise DataError(
            f"{name} has columns named twice: {listed(twice)}. Rename one of each.",
            f"{name}有重名的列：{listed_zh(twice)}。请改名。",
        )


def _as_text(column: pd.Series, name: str) -> pd.Series:
    """Codes as text: 330102 and 330102.0 become "330102"; blanks stay blank."""
    cells = [None if pd.isna(cell) else cell for cell in column.tolist()]
    broken = sorted({repr(cell) for cell in cells if isinstance(cell, float) and cell % 1 != 0})
    if broken:
        raise DataError(
            f"Codes in column {column.name!r} of {name} are not whole numbers: {listed(broken, 3)}.",
            f"{name}的编码列{column.name!r}不是整数：{listed_zh(broken, 3)}。",
        )
    if any(isinstance(cell, float) for cell in cells):
        warn(
            f"Codes in column {column.name!r} of {name} are stored as decimals; read as whole numbers.",
            f"{name}中{column.name!r}列的编码存为小数，已按整数读取。",
        )
    texts = [None if cell is None else str(int(cell) if isinstance(cell, float) else cell) for cell in cells]
    return pd.Series(texts, index=column.index, name=column.name, dtype="str")


def layer_columns(path: Path) -> list[str]:
    """Names of the attributes of a polygon file, without its shapes; none where it cannot be read."""
    import pyogrio

    try:
        if path.suffix.lower() == ".shp":
            tables = [path.with_suffix(end) for end in (".dbf", ".DBF") if path.with_suffix(end).is_file()]
            return list(_dbf(tables[0].read_bytes(), tables[0].name, (), None))
        check_layer_kind(path)
        return [str(name) for name in pyogrio.read_info(path)["fields"]]
    except Exception:  # whoever reads the polygons says what is wrong with them
        return []


def check_layer_kind(path: Path) -> None:
    """Refuse a file that is not a shapefile, GeoPackage or GeoJSON by name and content.

    The reader behind knows some eighty kinds more and chooses by content; several of them (VRT, WFS, GML, KML …) name
    other files or addresses, which it then opens.
    """
    kind = KINDS.get(path.suffix.lower())
    with path.open("rb") as stream:
        head = stream.read(64)
    is_one = {
        "shapefile": lambda: head.startswith(b"\0\0\x27\x0a") or not head,
        "GeoPackage": lambda: head.startswith(b"SQLite format 3\0") and not _virtual_tables(path),
        "GeoJSON": lambda: head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") and _is_geojson(path),
    }
    if kind is None:
        raise DataError(
            f"{path.name} is not a .shp, .gpkg or .geojson file. Other kinds are not read, because they may point to files "
            "elsewhere: export the layer as one of these.",
            f"{path.name}不是.shp、.gpkg或.geojson文件。其他格式可能指向别处的文件，故不读取：请将图层导出为其中之一。",
        )
    if not is_one[kind]():
        raise DataError(
            f"The content of {path.name} is not that of a {kind}, or it is damaged. Export the layer again from its source.",
            f"{path.name}的内容不是{kind}，或已损坏。请从来源重新导出图层。",
        )


def _virtual_tables(path: Path) -> list[str]:
    """Tables of a GeoPackage whose rows come from elsewhere; its own index of places (rtree) does not count."""
    import sqlite3

    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as base:
            base.text_factory = lambda text: text.decode("utf-8", "replace")
            found = base.execute("SELECT name, sql FROM sqlite_master WHERE sql LIKE '%VIRTUAL%'").fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return ["damaged"]
    return [name for name, sql in found if not re.search(r"\bUSING\s+\"?rtree\"?\s*\(", sql, re.IGNORECASE)]


#: How a GeoJSON file names its reference system; an address would be asked for it.
_CRS_NAME = re.compile(
    r"(?:urn:(?:x-)?ogc:def:crs:|https?://www\.opengis\.net/def/crs/|[A-Za-z]+:)[\w:./-]*", re.ASCII
)


def _is_geojson(path: Path) -> bool:
    """Whether a JSON file says of itself that it is a collection of features, or one; damaged JSON is the reader's."""
    systems: list[dict[str, object]] = []

    def held(pairs: list[tuple[str, object]]) -> dict[str, object]:
        systems.extend(value for key, value in pairs if key == "crs" and isinstance(value, dict))
        return dict(pairs)

    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=held)
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict) or found.get("type") not in ("FeatureCollection", "Feature"):
        return False
    for system in systems:  # a geometry may have one of its own, which the reader behind looks at too
        _check_crs(system, path.name)
    return True


def _check_crs(given: dict[str, object], name: str) -> None:
    """Refuse a reference system that is not known: the reader behind would take WGS 84 for it, or ask an address."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    held = given.get("properties")
    said = held.get("name", held.get("code")) if isinstance(held, dict) else None
    said = f"EPSG:{said}" if isinstance(said, int) else said
    try:
        if isinstance(said, str) and _CRS_NAME.fullmatch(said):
            CRS.from_user_input(said)
            return
    except CRSError:
        pass
    shown = repr(given if said is None else said)[:80]
    raise DataError(
        f"{name} names a coordinate reference system that is not known: {shown}. Write a code of the EPSG list, such as "
        "EPSG:4490 (CGCS2000), or export the layer again.",
        f"{name}所写的坐标参照系无法识别：{shown}。请写EPSG编码，如EPSG:4490（CGCS2000），或重新导出图层。",
    )
