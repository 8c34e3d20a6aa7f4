"""Cells of a table as ids, periods and numbers, generous in reading, every change said; and how many a file may hold."""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import IO, Any, BinaryIO
from xml.parsers import expat

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.errors import DataError, listed, listed_zh
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.data.units import padded, warn_padded

#: A file above this, or one that unpacks to more, is neither a table of regions nor their weights.
MAX_BYTES = 500_000_000
#: Rows × columns that are read: a hundred years of 3,000 regions with a hundred columns.
MAX_CELLS = 30_000_000
DATES = (date, np.datetime64, pd.Period)


def numbers_of(
    frame: pd.DataFrame, column: str, unit: str, period: str, thousands: str | None = None
) -> NDArray[np.float64]:
    """A column as floats; numbers stored as text are read, with a warning, also in full-width digits.

    Raises
    ------
    DataError
        Text, dates, complex or infinite numbers; the cells are named by ``unit`` and ``period``.
    """
    raw = frame[column]
    _refuse_other_kinds(frame, raw, unit, period)
    as_text = raw.dtype == object or isinstance(raw.dtype, pd.StringDtype)
    plain = raw.map(lambda cell: _plain(cell, thousands)) if as_text else raw
    number = pd.to_numeric(plain, errors="coerce").astype(float)
    lost = number.isna() & plain.notna()
    if lost.any():
        raise DataError(
            f"Column {column!r} holds text where numbers are needed: {_cells(frame, lost, unit, period, raw)}. "
            'Leave unknown cells blank, write 12% as 12, and for 1,234 set thousands="," under [data] of a study, or '
            "pass zb.data.without_marks(frame) to build_panel.",
            f"{column!r}列在应为数字处有文本：{_cells(frame, lost, unit, period, raw, listed_zh)}。未知数据请留空，"
            '12%写作12；若有1,234这样的千分位，请在研究文件的[data]中设thousands=","，或将zb.data.without_marks(frame)传给build_panel。',
        )
    if any(isinstance(cell, str) for cell in plain):
        warn(
            f"Column {column!r} stores its numbers as text; read as numbers.",
            f"{column!r}列的数字存为文本，已按数字读取。",
        )
    infinite = np.isinf(number)
    if infinite.any():
        raise DataError(
            f"Column {column!r} is infinite at {_cells(frame, infinite, unit, period, raw)}.",
            f"{column!r}列有无穷大：{_cells(frame, infinite, unit, period, raw, listed_zh)}。",
        )
    return number.to_numpy()


def real_values(values: Any, what: Text) -> NDArray[np.float64]:
    """A copy as floats; blanks of objects are NaN.

    Raises
    ------
    DataError
        Text, dates, complex numbers, or rows of different lengths.
    """
    try:
        found = np.asarray(values)
        if found.dtype.kind == "O" and not any(isinstance(cell, str) for cell in found.flat):
            found = np.where(pd.isna(found), np.nan, found).astype(float)
    except (TypeError, ValueError):
        found = np.array("")
    if found.dtype.kind == "c":
        raise DataError(
            f"{what.en}: complex numbers; real ones are needed. Pass their real part or their modulus, whichever is meant.",
            f"{what.zh}为复数，而此处须为实数。请按本意取实部或模。",
        )
    if found.dtype.kind not in "biuf":
        raise DataError(f"{what.en} must be numbers, blank ones NaN.", f"{what.zh}须为数值，空缺为NaN。")
    return np.array(found, dtype=float)


def without_marks(frame: pd.DataFrame, mark: str = ",") -> pd.DataFrame:
    """A table whose text cells that are numbers have no marks between thousands: ``"1,234"`` becomes ``"1234"``.

    For :func:`~spatial_zb.data.gate.build_panel`, which reads numbers stored as text but guesses at no marks.

    Examples
    --------
    >>> without_marks(pd.DataFrame({"gdp": ["1,234.5", "12,3"]}))["gdp"].tolist()
    ['1234.5', '12,3']
    """
    texts = [c for c in frame if frame[c].dtype == object or isinstance(frame[c].dtype, pd.StringDtype)]
    out = frame.copy()
    for column in texts:
        out[column] = frame[column].map(lambda cell: _plain(cell, mark))
    return out


def _refuse_other_kinds(frame: pd.DataFrame, raw: pd.Series, unit: str, period: str) -> None:
    """Dates, spans of time, complex numbers, and TRUE among numbers would turn into floats of no meaning."""
    if raw.dtype.kind in "biuf":
        return
    cells, name = raw.astype(object), raw.name
    yes_or_no = cells.map(lambda cell: isinstance(cell, bool | np.bool_))
    if yes_or_no.any() and not (yes_or_no | raw.isna()).all():
        raise DataError(
            f"Column {name!r} holds TRUE or FALSE among other cells: {_cells(frame, yes_or_no, unit, period, raw)}. Write "
            "the number that is meant, or leave the cell blank.",
            f"{name!r}列在其他内容之间有TRUE或FALSE：{_cells(frame, yes_or_no, unit, period, raw, listed_zh)}。"
            "请写明所指的数值，或留空。",
        )
    dates = cells.map(lambda cell: isinstance(cell, DATES)) & raw.notna()
    if dates.any():
        raise DataError(
            f"Column {name!r} holds dates, not amounts: {_cells(frame, dates, unit, period, raw)}. Take a number from "
            "them, such as the year (frame[column].dt.year).",
            f"{name!r}列是日期而非数值：{_cells(frame, dates, unit, period, raw, listed_zh)}。请取其中的数，"
            "如年份（frame[column].dt.year）。",
        )
    spans = cells.map(lambda cell: isinstance(cell, timedelta | np.timedelta64)) & raw.notna()
    if spans.any():
        raise DataError(
            f"Column {name!r} holds spans of time: {_cells(frame, spans, unit, period, raw)}. Choose their unit of "
            "measurement, such as days (frame[column].dt.days).",
            f"{name!r}列是时间间隔：{_cells(frame, spans, unit, period, raw, listed_zh)}。请选定计量单位，"
            "如天（frame[column].dt.days）。",
        )
    twofold = cells.map(lambda cell: isinstance(cell, complex | np.complexfloating))
    if twofold.any():
        raise DataError(
            f"Column {name!r} holds complex numbers: {_cells(frame, twofold, unit, period, raw)}. Take their real part or "
            "their modulus, whichever is meant.",
            f"{name!r}列含复数：{_cells(frame, twofold, unit, period, raw, listed_zh)}。请按本意取实部或模。",
        )


def _cells(
    frame: pd.DataFrame, where: pd.Series, unit: str, period: str, raw: pd.Series, join: Callable = listed
) -> str:
    found = frame.loc[where, [unit, period]].assign(value=raw[where])
    return join((f"{u} {p} ({v!r})" for u, p, v in found.itertuples(index=False)), 5)


def _plain(cell: Any, thousands: str | None) -> Any:
    """A cell of text without blanks around it and in plain digits; one of blanks alone is blank."""
    if not isinstance(cell, str):
        return cell
    plain = unicodedata.normalize("NFKC", cell).strip()
    return (_without_marks(plain, thousands) if thousands else plain) or None


def _without_marks(cell: str, mark: str) -> str:
    """1,234,567 without its marks; left alone where they do not part groups of three digits."""
    groups = rf"\s*[-+]?\d{{1,3}}(?:{re.escape(mark)}\d{{3}})+(?:\.\d*)?\s*"
    return cell.replace(mark, "") if re.fullmatch(groups, cell) else cell


def cells_among(column: pd.Series, wanted: Iterable[Any]) -> dict[Any, NDArray[np.bool_]]:
    """For each value the cells that have it: words by their letters, numbers by their size, so that 3 finds 3.0."""
    texts, numbers = column.astype(str).str.strip(), pd.to_numeric(column, errors="coerce")
    return {
        w: ((texts == str(w)) | (False if isinstance(w, str) else numbers == w)).to_numpy() for w in wanted
    }


def unit_ids(column: pd.Series, wanted: Sequence[str] | pd.Index | None = None) -> pd.Series:
    """Ids as clean text; lost leading zeros are put back where exactly one of ``wanted`` fits. Both are said.

    Raises
    ------
    DataError
        A blank id, or one that is not a whole number in a column of decimals.
    """
    if column.isna().any():
        raise DataError(
            f"Column {column.name!r} has {int(column.isna().sum())} row(s) without a unit id. Delete rows of notes and of "
            "units of measurement, and fill merged cells: every row needs its id.",
            f"{column.name!r}列有{int(column.isna().sum())}行没有地区编码。请删去注释行与单位行，并填满合并的单元格：每行都要有编码。",
        )
    if pd.api.types.is_float_dtype(column):
        if (column % 1 != 0).any():
            raise DataError(
                f"Unit ids in column {column.name!r} are not whole numbers; read the column as text.",
                f"列{column.name!r}中的地区编码不是整数；请按文本读取该列。",
            )
        _mention_decimals(column.name)
        column = column.astype("int64")
    text = column.astype(str)
    clean = text.str.normalize("NFKC").str.replace("\ufeff", "").str.strip()
    if len(clean) and clean.str.fullmatch(r"\d+\.0+").all():  # a column of decimals that was read as text
        _mention_decimals(column.name)
        text = clean = clean.str.replace(r"\.0+$", "", regex=True)
    if (clean != text).any():
        warn(
            f"Blanks or full-width characters were removed from unit ids in column {column.name!r}.",
            f"{column.name!r}列的地区编码含空格或全角字符，已清除。",
        )
    changed = {} if wanted is None else padded(list(clean.unique()), [str(unit) for unit in wanted])
    if changed:
        warn_padded(changed, column.name)
        clean = clean.replace(changed)
    return clean.reset_index(drop=True)


def _mention_decimals(column: object) -> None:
    warn(
        f"Unit ids in column {column!r} are stored as decimals; read as whole numbers.",
        f"{column!r}列的地区编码存为小数，已按整数读取。",
    )


def period_numbers(column: pd.Series) -> pd.Series:
    """Periods as whole numbers; "2019年" and full-width digits are read, with a warning.

    Raises
    ------
    DataError
        Dates, fractions, two-digit years such as "07", or anything else that is not a whole number.
    """
    column = column.reset_index(drop=True)
    text = np.array([isinstance(cell, str) for cell in column], dtype=bool)
    words = column[text].astype(str).str.normalize("NFKC").str.replace("\ufeff", "").str.strip()
    short = words.str.fullmatch(r"['’]?0\d年?|['’]\d\d年?")
    years = words.str.replace(r"^(\d+)年度?$", r"\1", regex=True)
    plain = column.astype(object).where(~text, years.reindex(column.index))
    number = pd.Series([_whole(cell) for cell in plain], index=column.index, dtype=float)
    number[words.index[short]] = np.nan
    wrong = number.isna() | (number % 1 != 0)
    if wrong.any():
        found = column[wrong].drop_duplicates().tolist()
        blank = Text("a blank cell", "空单元格")
        shown = [blank if pd.isna(cell) else Text.of(repr(cell)) for cell in found]
        seen = Text(listed((w.en for w in shown), 3), listed_zh((w.zh for w in shown), 3))
        raise DataError(
            f"Periods must be whole numbers such as 2019; column {column.name!r} has {seen.en}. Of a date, keep the year "
            "(frame[column].dt.year); write a year with four digits; delete notes below the table.",
            f"时期须为整数（如2019），{column.name!r}列有{seen.zh}。日期只保留年份，年份写四位数字；请删去表格下方的注释。",
        )
    if (years != column[text]).any():
        warn(
            f"Periods in column {column.name!r} such as {column[text].iloc[0]!r} were read as years.",
            f"{column.name!r}列的时期（如{column[text].iloc[0]!r}）已按年份读取。",
        )
    return number.astype("int64")


def _whole(cell: Any) -> float:
    if (
        pd.isna(cell) or isinstance(cell, bool | date | np.datetime64) or "_" in str(cell)
    ):  # float("20_10") is 2010
        return np.nan
    try:
        return float(cell)
    except (TypeError, ValueError):
        return np.nan


# --- how many cells a file may hold


def refuse_large(size: int, name: str | Text) -> None:
    """Refuse a file that unpacks to more than a table of regions or their weights has."""
    if size > MAX_BYTES:
        name = Text.of(name)
        raise DataError(
            f"{name.en} has more than {MAX_BYTES:,} bytes, unpacked, and was not opened. Keep the rows and columns "
            "needed; of weights, those that are not zero.",
            f"{name.zh}（解压后）超过{MAX_BYTES:,}字节，未打开。请只保留需要的行和列；权重矩阵只保留非零的权重。",
        )


def refuse_cells(rows: int, columns: int, name: str | Text) -> None:
    """Refuse a table of more cells than a table of regions has, before it is read."""
    if rows * columns > MAX_CELLS:
        name = Text.of(name)
        raise DataError(
            f"{name.en} has {rows:,} rows × {columns:,} columns, more than {MAX_CELLS:,} cells, and was not opened. Keep "
            "the rows and columns needed; in a workbook a single cell far from the table counts too.",
            f"{name.zh}有{rows:,}行×{columns:,}列，超过{MAX_CELLS:,}个单元格，未打开。请只保留需要的行和列；"
            "工作簿中远离表格的单个单元格也计入。",
        )


def check_workbook(file: Path | BinaryIO, name: str | Text) -> None:
    """Refuse a workbook by what it unpacks to, and by the cells of its sheets, before it is read.

    Its parts are read as the reader behind will read them, since addresses, counts and names of parts may be anything.

    Raises
    ------
    DataError
        Too large, or a document type definition, which may unpack to anything and which no spreadsheet program writes.
    """
    with zipfile.ZipFile(file) as parts:
        refuse_large(sum(part.file_size for part in parts.infolist()), name)
        for part in parts.namelist():
            with (
                parts.open(part) as stream,
                suppress(expat.ExpatError),
            ):  # a picture, or damaged, which the reader says
                _Sheet(name).read(stream)


class _Sheet:
    """Counts rows, columns and cells of a part of a workbook; stops where they are too many."""

    def __init__(self, name: str | Text) -> None:
        self.name, self.row, self.column, self.rows, self.width, self.strings = name, 0, 0, 0, 0, 0

    def read(self, stream: IO[bytes]) -> None:
        parser = expat.ParserCreate()
        parser.StartElementHandler = self.start
        parser.StartDoctypeDeclHandler = self.refuse
        while block := stream.read(1 << 20):
            parser.Parse(block)
            refuse_cells(self.rows, self.width, self.name)
            refuse_cells(self.strings, 1, self.name)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        kind = tag.rpartition(":")[2]
        if kind == "c":
            letters = attributes.get("r", "").rstrip("0123456789")
            self.column = _column_number(letters) if letters else self.column + 1
            self.width = max(self.width, self.column)
        elif kind == "row":
            place = attributes.get("r", "")
            self.row = int(place) if place.isdecimal() else self.row + 1
            self.rows, self.column = max(self.rows + 1, self.row), 0
        elif kind == "si":
            self.strings += 1

    def refuse(self, *declared: object) -> None:
        name = Text.of(self.name)
        raise DataError(
            f"{name.en} holds a document type definition, which no spreadsheet program writes, and was not opened. Save it "
            "again from a spreadsheet program.",
            f"{name.zh}含文档类型定义，电子表格软件不会写出，故未打开。请用电子表格软件重新保存。",
        )


def _column_number(letters: str) -> int:
    """A is 1, Z is 26, AA is 27, XFD is 16,384."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number
