"""Weights in tables (csv, xlsx, dta, txt of Stata): a matrix with ids around it, or columns i, j, w."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.errors import AlignmentError, OutputError, WeightsError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.data.cells import check_workbook
from spatial_zb.weights.files.links import THE_FILE, Parsed, decoded, from_links, is_number, need_dense
from spatial_zb.weights.matrix import Weights

#: Column names of lists of links: who receives, from whom, how much.
RECEIVER = ("i", "focal", "from", "origin", "row", "id", "id1", "source", "unit")
SENDER = ("j", "neighbor", "neighbour", "to", "destination", "col", "column", "nid", "id2", "target")
WEIGHT = ("w", "weight", "weights", "wij", "w_ij", "value")
MOST_COLUMNS = {"xlsx": 16_383, "dta": 32_765}
MOST_ROWS_XLSX = 1_048_575


def read_csv(path: Path, name: str | None = None) -> Parsed:
    """Comma, semicolon or tab between cells."""
    text = decoded(path)
    first = text.lstrip().split("\n", 1)[0]
    mark = max(",;\t", key=first.count)
    table = pd.read_csv(
        io.StringIO(text), sep=mark, header=None, dtype=str, keep_default_na=False, na_filter=False
    )
    return _from_cells(table.to_numpy(dtype=object))


def read_xlsx(path: Path, name: str | None = None) -> Parsed:
    """The only sheet, or the sheet ``name``."""
    from openpyxl import load_workbook

    check_workbook(path, THE_FILE)
    book = load_workbook(path, read_only=True, data_only=True)
    try:
        if name is None and len(book.sheetnames) > 1:
            raise WeightsError(
                f"has several sheets ({listed(book.sheetnames)}); name one with name=.",
                f"有几个工作表（{listed_zh(book.sheetnames)}）；请用name=选一个。",
            )
        if name is not None and name not in book.sheetnames:
            raise WeightsError(
                f"has no sheet {name!r}; it has {listed(book.sheetnames)}.",
                f"没有工作表{name!r}；已有{listed_zh(book.sheetnames)}。",
            )
        sheet = book[name or book.sheetnames[0]]
        need_dense(sheet.max_row or 0, sheet.max_column or 0)
        rows = [[_cell_text(value) for value in row] for row in sheet.iter_rows(values_only=True)]
    finally:
        book.close()
    return _from_cells(_rectangle(rows))


def read_dta(path: Path, name: str | None = None) -> Parsed:
    """Variables i, j, w; or an id variable and one variable per unit, in the order of the rows."""
    with pd.io.stata.StataReader(path, convert_categoricals=False, convert_dates=False) as reader:
        labels = reader.variable_labels()
        table = reader.read()
    names = [str(column) for column in table.columns]
    body = np.array([[_cell_text(v) for v in table[c]] for c in table.columns], dtype=object).T
    if _link_columns(names) is not None:
        return _from_cells(np.vstack([np.array(names, dtype=object), body]))
    if body.size and len(names) == len(body):
        return Parsed(_numbers(body, None, None), None)
    if len(names) != len(body) + 1:
        raise WeightsError(
            f"has {len(body)} rows and {len(names)} variables: neither a square matrix, nor one with an id "
            "variable before it, nor variables i, j, w.",
            f"有{len(body)}行、{len(names)}个变量：既不是方阵，也不是前带编码变量的方阵，也没有变量i、j、w。",
        )
    columns = _columns_of(names[1:], [labels.get(c, "") for c in names[1:]], list(body[:, 0]))
    return _from_cells(np.vstack([np.array(["", *columns], dtype=object), body]))


def read_txt(path: Path, name: str | None = None) -> Parsed:
    """Text that Stata's ``spmatrix export`` writes: the number of units n, then n lines of an id and n weights.

    ``spmat export`` of the community has the same lines, without ids too, and banded ones, which are refused.
    """
    first, *lines = [line.split() for line in decoded(path).splitlines() if line.strip()]
    if not all(re.fullmatch(r"\d{1,9}", word) for word in first):
        raise WeightsError(
            "is not what Stata's spmatrix export writes, whose first line is the number of units. Save the weights in "
            "another format, such as csv.",
            "不是Stata的spmatrix export所写的文件（首行应为地区数）。请另存为csv等格式。",
        )
    if len(first) == 3:
        raise WeightsError(
            "holds a banded matrix of spmat; export it from a matrix that is not banded.",
            "为spmat的带状矩阵；请由非带状矩阵导出。",
        )
    n = int(first[0])
    widths = {len(line) for line in lines}
    if len(first) != 1 or len(lines) != n or widths not in ({n}, {n + 1}):
        raise WeightsError(
            f"claims {listed(first)} units, and has {len(lines)} lines of {listed(sorted(widths), 3)} words; each needs an "
            "id and a weight for each unit. It is cut off, or a list of neighbours.",
            f"称有{listed_zh(first)}个地区，实有{len(lines)}行，每行{listed_zh(sorted(widths), 3)}个词；"
            "每行须有一个编码和各地区的权重。文件被截断，或为邻居列表。",
        )
    need_dense(n, n)
    cells = np.array(lines, dtype=object)
    ids = [str(unit) for unit in cells[:, 0]] if widths == {n + 1} else None
    return Parsed(_numbers(cells[:, -n:], ids, ids), ids)


def write_txt(weights: Weights, path: Path, form: str) -> None:
    """The form of Stata's ``spmatrix export``, which ``spmatrix import`` reads: ids are whole numbers there."""
    wrong = [unit for unit in weights.ids if not re.fullmatch(r"\d{1,15}", unit)]
    if wrong:
        raise OutputError(
            f"Stata needs whole numbers as ids, not {listed(wrong, 3)}; write dta or csv.",
            f"Stata的编码须为整数，而不是{listed_zh(wrong, 3)}；请写为dta或csv。",
        )
    rows = _rows(weights, "matrix", text=True)
    next(rows)
    with path.open("w", encoding="ascii", newline="\n") as stream:
        stream.write(f"{weights.n}\n")
        stream.writelines(" ".join(row) + "\n" for row in rows)


def write_csv(weights: Weights, path: Path, form: str) -> None:
    """Numbers in the shortest form that reads back to the same number."""
    import csv

    risky = [unit for unit in weights.ids if re.match(r"[=+@\t\r-]", unit) and not is_number(unit)]
    if risky:
        raise OutputError(
            f"Ids such as {listed(risky, 3)} would run as formulas in a spreadsheet; write npz, or rename them.",
            f"{listed_zh(risky, 3)}之类的编码在电子表格中会作为公式执行；请写为npz，或改名。",
        )
    with path.open("w", encoding="utf-8", newline="") as stream:
        out = csv.writer(stream, lineterminator="\n")
        out.writerows(_rows(weights, form, text=True))


def write_xlsx(weights: Weights, path: Path, form: str) -> None:
    """Ids as text cells, so that no zero in front is lost and none is taken for a formula."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    if form == "matrix" and weights.n > MOST_COLUMNS["xlsx"]:
        raise OutputError(
            f"An xlsx sheet has no room for {weights.n:,} columns; write links or npz.",
            f"xlsx工作表容不下{weights.n:,}列；请写为联系列表或npz。",
        )
    if form == "links" and weights.matrix.nnz + len(weights.islands) > MOST_ROWS_XLSX:
        raise OutputError(
            f"An xlsx sheet has no room for {weights.matrix.nnz:,} links; write npz.",
            f"xlsx工作表容不下{weights.matrix.nnz:,}条联系；请写为npz。",
        )
    book = Workbook(write_only=True)
    sheet = book.create_sheet("weights")

    def cell(value: Any) -> Any:
        made = WriteOnlyCell(sheet, value if isinstance(value, str) else _shortest(value))
        made.data_type = "s" if isinstance(value, str) else "n"  # openpyxl rounds floats, not texts of them
        return made

    for row in _rows(weights, form, text=False):
        sheet.append([cell(value) for value in row])
    book.save(path)


def write_dta(weights: Weights, path: Path, form: str) -> None:
    """Stata 14 and later; the variables of a matrix are w1, w2, … and carry the ids as labels."""
    labels: dict[str, str] = {}
    if form == "links":
        rows = list(_rows(weights, form, text=False))[1:]
        table = pd.DataFrame(rows, columns=["i", "j", "w"]).astype({"w": float})
    else:
        if weights.n > MOST_COLUMNS["dta"]:
            raise OutputError(
                f"A Stata file has no room for {weights.n:,} variables; write links or npz.",
                f"Stata文件容不下{weights.n:,}个变量；请写为联系列表或npz。",
            )
        names = [f"w{number}" for number in range(1, weights.n + 1)]
        table = pd.DataFrame(weights.matrix.toarray(), columns=names)
        table.insert(0, "id", list(weights.ids))
        if all(len(unit) <= 80 for unit in weights.ids):
            labels = dict(zip(names, weights.ids, strict=True))
    table.to_stata(path, write_index=False, variable_labels=labels or None, version=118)


def _rows(weights: Weights, form: str, *, text: bool) -> Iterator[list[Any]]:
    """Rows of the table, header first; numbers as text where asked."""
    matrix, ids = weights.matrix, list(weights.ids)
    number = _shortest if text else float
    if form == "links":
        yield ["i", "j", "w"]
        for at, unit in enumerate(ids):
            row = slice(matrix.indptr[at], matrix.indptr[at + 1])
            for j, w in zip(matrix.indices[row], matrix.data[row], strict=True):
                yield [unit, ids[j], number(w)]
            if row.start == row.stop:
                yield [unit, unit, number(0.0)]
        return
    yield ["id", *ids]
    zero = number(0.0)
    for at, unit in enumerate(ids):
        row = slice(matrix.indptr[at], matrix.indptr[at + 1])
        cells = [zero] * len(ids)
        for j, w in zip(matrix.indices[row], matrix.data[row], strict=True):
            cells[j] = number(w)
        yield [unit, *cells]


def _shortest(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def _from_cells(cells: NDArray[Any]) -> Parsed:
    """Tell a list of links, a matrix with ids and a bare matrix apart."""
    if cells.ndim != 2 or cells.size == 0:
        raise WeightsError("the table is empty.", "表是空的。")
    header = [str(value).strip() for value in cells[0]]
    columns = _link_columns(header)
    if columns is not None:
        return _from_link_cells(cells[1:], columns)
    if cells.shape[0] != cells.shape[1]:
        raise WeightsError(
            f"the table is {cells.shape[0]} × {cells.shape[1]}, header included: neither a square matrix with "
            "ids as first row and first column, nor columns named i, j, w. It may be cut off.",
            f"表（含表头）为{cells.shape[0]} × {cells.shape[1]}：既不是首行首列为编码的方阵，也没有名为i、j、w的列。"
            "可能被截断。",
        )
    if is_number(header[0]):
        return Parsed(_numbers(cells, None, None), None)
    rows = [str(value).strip() for value in cells[1:, 0]]
    return _labelled(rows, header[1:], cells[1:, 1:])


def _labelled(rows: list[str], columns: list[str], body: NDArray[Any]) -> Parsed:
    """A matrix with ids on both sides; columns are put in the order of the rows."""
    if not rows:
        raise WeightsError("the table has a header but no rows.", "表只有表头而没有数据行。")
    for side, ids in ((Text("rows", "行"), rows), (Text("columns", "列"), columns)):
        twice = pd.Index(ids)[pd.Index(ids).duplicated()].unique()
        if len(twice):
            raise AlignmentError(
                f"its {side.en} name units twice: {listed(twice)}.",
                f"其{side.zh}中有重复的地区：{listed_zh(twice)}。",
            )
    only_rows, only_columns = pd.Index(rows).difference(columns), pd.Index(columns).difference(rows)
    if len(only_rows) or len(only_columns):
        raise AlignmentError(
            f"rows and columns name different units: only in rows {listed(only_rows) or 'none'}, only in "
            f"columns {listed(only_columns) or 'none'}.",
            f"行与列的地区不一致：只在行中的为{listed_zh(only_rows) or '无'}，"
            f"只在列中的为{listed_zh(only_columns) or '无'}。",
        )
    numbers = _numbers(body, rows, columns)
    return Parsed(numbers[:, pd.Index(columns).get_indexer(rows)], rows)


def _from_link_cells(body: NDArray[Any], columns: tuple[int, int, int]) -> Parsed:
    i, j, w = (body[:, at] for at in columns)
    if not len(body):
        raise WeightsError("the table has a header but no links.", "表只有表头而没有联系。")
    weights = _numbers(w[:, None], [f"{a} – {b}" for a, b in zip(i, j, strict=True)], ["w"]).ravel()
    return from_links([str(a).strip() for a in i], [str(b).strip() for b in j], weights)


def _link_columns(header: Iterable[str]) -> tuple[int, int, int] | None:
    """Places of i, j and w in a header, or None where it names no links."""
    names = [name.strip().lower() for name in header]
    found = [[at for at, name in enumerate(names) if name in words] for words in (RECEIVER, SENDER, WEIGHT)]
    if len(names) == 3 and all(len(at) == 1 for at in found):
        return found[0][0], found[1][0], found[2][0]
    return None


def _columns_of(names: list[str], labels: list[str], ids: list[str]) -> list[str]:
    """Which unit each Stata variable stands for: by its label, its name, or its number in order."""
    bare = [re.sub(r"^[A-Za-z_]+", "", name) for name in names]
    for candidate in (labels, names, bare):
        if sorted(candidate) == sorted(ids):
            return candidate
    if bare == [str(number) for number in range(1, len(ids) + 1)]:
        return ids
    raise AlignmentError(
        f"its variables ({listed(names, 3)}) do not say which unit they stand for: label them with the ids, "
        "or name them w1, w2, … in the order of the rows.",
        f"其变量（{listed_zh(names, 3)}）没有说明各是哪个地区：请以编码作标签，或按行的次序命名为w1、w2……",
    )


def _numbers(body: NDArray[Any], rows: list[str] | None, columns: list[str] | None) -> NDArray[np.float64]:
    """Cells as floats; an error names those that are not numbers."""
    try:
        numbers = body.astype(float)  # Python's own reading of text: right to the last bit
        for at, cell in enumerate(body.flat):
            if isinstance(cell, str) and "_" in cell:  # 1_0 is 10 to Python alone
                numbers.flat[at] = np.nan
    except (TypeError, ValueError):
        flat = pd.to_numeric(pd.Series(body.ravel(), dtype=object), errors="coerce").to_numpy(float)
        numbers = flat.reshape(body.shape)
    wrong = np.argwhere(~np.isfinite(numbers))
    if len(wrong):
        named = [_cell_name(a, b, body[a, b], rows, columns) for a, b in wrong[:4]]
        raise WeightsError(
            f"{len(wrong)} cell(s) hold no finite number: {listed(named, 3)}.",
            f"{len(wrong)}个单元格不是有限的数值：{listed_zh(named, 3)}。",
        )
    return numbers


def _cell_name(a: int, b: int, value: Any, rows: list[str] | None, columns: list[str] | None) -> str:
    row = rows[a] if rows else f"row {a + 1}"
    column = columns[b] if columns else f"column {b + 1}"
    return f"{row} / {column} ({value!r})"


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float | np.floating):
        return _shortest(float(value)) if np.isfinite(value) else ""
    return str(value).strip()


def _rectangle(rows: list[list[str]]) -> NDArray[Any]:
    """Rows of a sheet without empty rows and columns at its ends."""
    width = max((len(row) for row in rows), default=0)
    cells = np.array([row + [""] * (width - len(row)) for row in rows], dtype=object).reshape(-1, width)
    full = cells != ""
    at_rows, at_columns = np.flatnonzero(full.any(axis=1)), np.flatnonzero(full.any(axis=0))
    if not len(at_rows):
        raise WeightsError("the sheet is empty.", "工作表是空的。")
    # The corner of a matrix is often blank, so only ends are cut, never the first row or column of the block.
    return cells[at_rows[0] : at_rows[-1] + 1, at_columns[0] : at_columns[-1] + 1]
