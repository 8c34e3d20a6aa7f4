"""Weights as matrices of numeric programs (mtx, mat, npz), with a reader of MATLAB 5 files.

Numeric, sparse and character variables of a MATLAB 5 file (what ``save -v6`` and ``-v7`` write).

Read here and not by SciPy, whose reader ends the process on some damaged files. Cells, structures, objects
and functions are listed by name and never looked into. Format: MathWorks, "MAT-File Format", Level 5.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import OutputError, WeightsError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.data.cells import MAX_BYTES, refuse_large
from spatial_zb.weights.files.links import THE_FILE, Parsed, check_zip, decoded, is_number, need_dense
from spatial_zb.weights.matrix import Weights

#: Bytes in the order of the machine that wrote them.
Order = Literal["<", ">"]
ORDERS: Mapping[bytes, Order] = {b"IM": "<", b"MI": ">"}
HEADER_BYTES = 128
MATRIX, COMPRESSED = 14, 15
#: Storage types of elements (miINT8 …); text is stored as UTF-8, UTF-16 or UTF-32.
STORAGE = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXT = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
#: Classes of variables (mxCELL_CLASS …).
CHARACTER, SPARSE, NUMERIC = 4, 5, frozenset(range(6, 16))
COMPLEX_FLAG, LOGICAL_FLAG = 0x0800, 0x0200


class Variable(NamedTuple):
    """A variable: ``value`` is an array, a csr_array, a list of text rows, or None for anything else."""

    name: str
    value: Any


class _Element(NamedTuple):
    kind: int
    body: bytes


def variables(content: bytes) -> list[Variable]:
    """All variables of a file.

    Raises
    ------
    WeightsError
        Not a MATLAB 5 file, a file that is cut off or damaged.
    """
    if b"\x89HDF\r\n\x1a\n" in content[:1024]:
        raise WeightsError("is of MATLAB version 7.3; save it with -v7.", "为MATLAB 7.3版；请用-v7保存。")
    order = ORDERS.get(content[126:128])
    if order is None:
        raise WeightsError(
            "is not a MATLAB 5 file, or is damaged; save it with -v7.",
            "不是MATLAB 5文件，或已损坏；请用-v7保存。",
        )
    try:
        return [_variable(element.body, order) for element in _matrices(content[HEADER_BYTES:], order)]
    except (struct.error, zlib.error, ValueError, IndexError, OverflowError) as error:
        raise WeightsError(
            f"is cut off or damaged ({error}); save it again from its source.",
            f"被截断或损坏（{error}）；请从来源重新保存。",
        ) from error


def _matrices(content: bytes, order: Order) -> Iterator[_Element]:
    size = 0
    for element in _elements(content, order):
        if element.kind == COMPRESSED:
            inflate = zlib.decompressobj()
            unpacked = inflate.decompress(element.body, MAX_BYTES)
            size += len(unpacked) + bool(inflate.unconsumed_tail)
            refuse_large(size, THE_FILE)
            if not inflate.eof:
                raise ValueError("a compressed variable does not end")
            yield from (each for each in _elements(unpacked, order) if each.kind == MATRIX)
        elif element.kind == MATRIX:
            yield element


def _elements(content: bytes, order: Order) -> Iterator[_Element]:
    """Data elements one after the other; each must lie inside the content."""
    at = 0
    while at < len(content):
        (first,) = struct.unpack_from(f"{order}I", content, at)
        if first >> 16:  # a small element: its size and up to four bytes of data in one word
            kind, size, start, end = first & 0xFFFF, first >> 16, at + 4, at + 8
        else:
            kind, start = first, at + 8
            (size,) = struct.unpack_from(f"{order}I", content, at + 4)
            end = start + size if kind == COMPRESSED else start + -(-size // 8) * 8
        if start + size > len(content) or (end == at + 8 and size > 4 and start == at + 4):
            raise ValueError("an element ends outside its file")
        yield _Element(kind, content[start : start + size])
        at = end


def _variable(body: bytes, order: Order) -> Variable:
    flags, dims, name, *data = _elements(body, order)
    word = int(_numbers(flags, order)[0])
    kind, shape = word & 0xFF, tuple(int(side) for side in _numbers(dims, order))
    label = name.body.decode("ascii", "replace")
    if len(shape) != 2 or min(shape) < 0 or word & COMPLEX_FLAG:
        return Variable(label, None)
    if kind == SPARSE:
        return Variable(label, _sparse(data, shape, order, bool(word & LOGICAL_FLAG)))
    if kind in NUMERIC:
        return Variable(label, _numbers(data[0], order).reshape(shape, order="F"))
    if kind == CHARACTER:
        return Variable(label, _text_rows(data[0], shape, order))
    return Variable(label, None)


def _numbers(element: _Element, order: Order) -> NDArray[Any]:
    if element.kind not in STORAGE:
        raise ValueError(f"an element of type {element.kind} where numbers should be")
    return np.frombuffer(element.body, np.dtype(STORAGE[element.kind]).newbyteorder(order))


def _sparse(data: list[_Element], shape: tuple[int, ...], order: Order, logical: bool) -> sparse.csr_array:
    rows, starts = (_numbers(element, order) for element in data[:2])
    as_bytes = logical and len(data[2].body) == rows.size  # bytes that call themselves doubles
    values = np.frombuffer(data[2].body, "u1") if as_bytes else _numbers(data[2], order)
    n = shape[1]
    if starts.size != n + 1 or starts[0] != 0 or np.any(np.diff(starts.astype(np.int64)) < 0):
        raise ValueError("the columns of a sparse matrix do not fit together")
    used = int(starts[-1])  # MATLAB may keep room for more
    if used > min(rows.size, values.size) or np.any((rows[:used] < 0) | (rows[:used] >= shape[0])):
        raise ValueError("the rows of a sparse matrix do not fit together")
    starts = starts.astype(np.int64)
    column = np.repeat(np.arange(n), starts[1:] - starts[:-1])
    entries = (values[:used].astype(float), (rows[:used].astype(np.int64), column))
    return sparse.csr_array(sparse.coo_array(entries, shape=shape))


def _text_rows(element: _Element, shape: tuple[int, ...], order: Order) -> list[str]:
    """Rows of a character matrix, which is stored column by column."""
    if element.kind in TEXT:
        ending = {"<": "-le", ">": "-be"}[order] if element.kind > 16 else ""
        letters = list(element.body.decode(TEXT[element.kind] + ending))
    else:
        letters = [chr(int(code)) for code in _numbers(element, order)]
    if len(letters) != shape[0] * shape[1]:
        raise ValueError("a text does not fill its rows")
    return ["".join(row) for row in np.array(letters, dtype=object).reshape(shape, order="F")]


#: Comment lines of an mtx file that carry ids begin so.
ID_MARK = "%id "
#: Kinds of entries that are read as real weights.
ENTRIES = ("real", "integer", "double", "pattern")
#: Names under which ids are looked for.
ID_NAMES = ("ids", "id", "names", "units", "codes")
NPZ_PARTS = ("data", "indices", "indptr", "shape")


def read_mtx(path: Path, name: str | None = None) -> Parsed:
    """Coordinate or array; ids stand in comment lines ``%id 330100`` where this package wrote the file.

    Read here and not by SciPy, whose reader ends the process on a file that is cut off in a line.
    """
    first, *lines = decoded(path).splitlines()
    words = first.lower().split()
    if words[:2] != ["%%matrixmarket", "matrix"] or len(words) != 5:
        raise WeightsError(
            "its first line is not ‘%%MatrixMarket matrix …’.", "首行不是‘%%MatrixMarket matrix …’。"
        )
    layout, field, symmetry = words[2:]
    if (
        layout not in ("coordinate", "array")
        or field not in ENTRIES
        or symmetry not in ("general", "symmetric")
    ):
        raise WeightsError(
            f"holds a matrix that is {layout}, {field}, {symmetry}; real and general is read.",
            f"其矩阵为{layout}、{field}、{symmetry}；只读取real和general。",
        )
    ids = [line.removeprefix(ID_MARK) for line in lines if line.startswith(ID_MARK)]
    tokens = " ".join(line for line in lines if not line.startswith("%")).split()
    wrong = [token for token in tokens if not is_number(token)]
    if wrong:
        raise WeightsError(
            f"has {listed(map(repr, wrong), 3)} where numbers should be; it is damaged.",
            f"在应为数字处有{listed_zh(map(repr, wrong), 3)}；文件已损坏。",
        )
    sizes = [int(token) for token in tokens[: 3 if layout == "coordinate" else 2]]
    _need_square(*sizes[:2])
    body = tokens[len(sizes) :]
    if layout == "array":
        matrix = _full(body, sizes[0], symmetry)
    else:
        matrix = _triplets(body, sizes, 2 if field == "pattern" else 3, symmetry)
    return Parsed(matrix, ids or None)


def write_mtx(weights: Weights, path: Path, form: str) -> None:
    """Ids go into comment lines, which other programs skip."""
    wrong = [unit for unit in weights.ids if unit.splitlines() != [unit]]
    if wrong:
        raise OutputError(
            f"An mtx file cannot hold ids with line breaks: {listed(map(repr, wrong), 3)}.",
            f"mtx文件的编码不能含换行：{listed_zh(map(repr, wrong), 3)}。",
        )
    coo = weights.matrix.tocoo()
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write("%%MatrixMarket matrix coordinate real general\n")
        stream.writelines(f"{ID_MARK}{unit}\n" for unit in weights.ids)
        stream.write(f"{weights.n} {weights.n} {coo.nnz}\n")
        entries = zip(coo.row.tolist(), coo.col.tolist(), coo.data.tolist(), strict=True)
        stream.writelines(f"{i + 1} {j + 1} {w!r}\n" for i, j, w in entries)


def _triplets(body: list[str], sizes: list[int], width: int, symmetry: str) -> sparse.csr_array:
    n, _, count = sizes
    if len(body) != count * width:
        raise WeightsError(
            f"claims {count:,} entries but holds {len(body) / width:g}; it is cut off.",
            f"称有{count:,}个元素，实有{len(body) / width:g}个；文件被截断。",
        )
    cells = np.array(body, dtype=object).reshape(count, width)
    row, col = (cells[:, at].astype(np.int64) - 1 for at in (0, 1))
    if np.any((row < 0) | (row >= n) | (col < 0) | (col >= n)):
        raise WeightsError(
            f"has entries outside its {n} rows and columns; it is damaged.",
            f"有元素超出其{n}行{n}列；文件已损坏。",
        )
    data = cells[:, 2].astype(float) if width == 3 else np.ones(count)
    if symmetry == "symmetric":
        off = row != col
        row, col, data = np.r_[row, col[off]], np.r_[col, row[off]], np.r_[data, data[off]]
    return sparse.csr_array(sparse.coo_array((data, (row, col)), shape=(n, n)))


def _full(body: list[str], n: int, symmetry: str) -> NDArray[np.float64]:
    """Columns one after the other; of a symmetric matrix the lower triangle only."""
    need_dense(n, n)
    lower = symmetry == "symmetric"
    count = n * (n + 1) // 2 if lower else n * n
    if len(body) != count:
        raise WeightsError(
            f"claims {count:,} numbers but holds {len(body):,}; it is cut off.",
            f"称有{count:,}个数，实有{len(body):,}个；文件被截断。",
        )
    values = np.array(body, dtype=object).astype(float)
    if not lower:
        return values.reshape(n, n).T
    out = np.zeros((n, n))
    j, i = np.triu_indices(n)
    out[i, j] = out[j, i] = values
    return out


def read_mat(path: Path, name: str | None = None) -> Parsed:
    """The square numeric variable (``name`` where there are several) and, where there, ids as text or numbers."""
    held = {variable.name: variable.value for variable in variables(path.read_bytes())}
    square = [v for v, value in held.items() if _is_square(value)]
    chosen = _chosen(name, square, list(held))
    names = [v for v in held if v.lower() in ID_NAMES and v != chosen]
    refused = [v for v in names if held[v] is None]
    note = Text(
        f"the variable {listed(refused)} is not text or numbers and was not read; save it as char(ids).",
        f"变量{listed_zh(refused)}既非文本也非数字，未读取；请存为char(ids)。",
    )
    readable = [v for v in names if v not in refused]
    ids = _mat_ids(held[readable[0]]) if readable else None
    return Parsed(held[chosen], ids, notes=(note,) if refused else ())


def write_mat(weights: Weights, path: Path, form: str) -> None:
    """Variables ``W`` (sparse) and ``ids`` (a character matrix)."""
    from scipy.io import savemat

    wrong = [unit for unit in weights.ids if unit != unit.strip() or not unit]
    if wrong:
        raise OutputError(
            f"A mat file cannot hold ids with blanks at their ends: {listed(map(repr, wrong), 3)}.",
            f"mat文件的编码首尾不能有空格：{listed_zh(map(repr, wrong), 3)}。",
        )
    matrix = sparse.csc_matrix(weights.matrix)
    ids = np.array(list(weights.ids), dtype=str)
    with path.open("wb") as stream:
        savemat(stream, {"W": matrix, "ids": ids}, do_compression=True)


def read_npz(path: Path, name: str | None = None) -> Parsed:
    """Arrays of a csr matrix as ``scipy.sparse.save_npz`` names them, and ``ids``."""
    check_zip(path)
    with zipfile.ZipFile(path) as archive:
        parts = {
            entry.removesuffix(".npy"): archive.read(entry)
            for entry in archive.namelist()
            if entry.removesuffix(".npy") in (*NPZ_PARTS, "ids", "format")
        }
    missing = [part for part in NPZ_PARTS if part not in parts]
    if missing:
        raise WeightsError(
            f"has no array {listed(missing)}; write it with scipy.sparse.save_npz or here.",
            f"没有数组{listed_zh(missing)}；请用scipy.sparse.save_npz或本程序写出。",
        )
    arrays = {part: _array(content, part) for part, content in parts.items()}
    layout = _text(arrays.get("format", np.array("csr")))
    maker = {"csr": sparse.csr_array, "csc": sparse.csc_array}.get(layout)
    if maker is None:
        raise WeightsError(
            f"holds a sparse matrix in the layout {layout!r}; save it as csr.",
            f"其稀疏矩阵的格式为{layout!r}；请存为csr。",
        )
    if any(arrays[part].dtype.kind not in "iu" for part in ("indices", "indptr", "shape")):
        raise WeightsError(
            "has places of cells that are not whole numbers; it is damaged.",
            "单元格位置不是整数；文件已损坏。",
        )
    rows, columns = (int(side) for side in arrays["shape"].ravel()[:2])
    _need_square(rows, columns)
    if arrays["indptr"].size != rows + 1:
        raise WeightsError("its parts do not fit together; it is damaged.", "其各部分不相符；文件已损坏。")
    matrix = maker((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(rows, columns))
    matrix.check_format(full_check=True)
    ids = _npz_ids(arrays["ids"].ravel()) if "ids" in arrays else None
    return Parsed(sparse.csr_array(matrix), ids)


def _npz_ids(found: NDArray[Any]) -> list[str]:
    return [str(unit) for unit in found] if found.dtype.kind == "U" else _mat_ids(found)


def write_npz(weights: Weights, path: Path, form: str) -> None:
    """``scipy.sparse.load_npz`` reads it too."""
    matrix = weights.matrix
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            format=np.array("csr".encode("ascii")),
            shape=np.array(matrix.shape),
            data=matrix.data,
            indices=matrix.indices,
            indptr=matrix.indptr,
            ids=np.array(list(weights.ids), dtype=str),
        )


def _array(content: bytes, part: str) -> NDArray[Any]:
    """One array of an npz file; its claimed size must fit its bytes, and it must hold no objects."""
    stream = io.BytesIO(content)
    major, _ = np.lib.format.read_magic(stream)
    read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[major]
    shape, _, dtype = read_header(stream)
    if dtype.hasobject or dtype.kind not in "biufUS":
        raise WeightsError(
            f"its array {part!r} holds objects, which are never loaded.",
            f"其数组{part!r}含对象，一概不读取。",
        )
    if any(side < 0 for side in shape):
        raise WeightsError(f"its array {part!r} is damaged.", f"其数组{part!r}已损坏。")
    size = 1
    for side in shape:
        size *= int(side)
    if size * max(dtype.itemsize, 1) > len(content):
        raise WeightsError(f"its array {part!r} is cut off.", f"其数组{part!r}被截断。")
    return np.frombuffer(content, dtype, size, stream.tell()).reshape(shape)


def _text(value: NDArray[Any]) -> str:
    item = value.item() if value.size == 1 else ""
    return item.decode("ascii", "replace") if isinstance(item, bytes) else str(item)


def _chosen(name: str | None, square: list[str], held: list[str]) -> str:
    if name is not None and name not in square:
        raise WeightsError(
            f"has no square numeric variable {name!r}; it has {listed(square) or 'none'}.",
            f"没有名为{name!r}的数值方阵；已有{listed_zh(square) or '无'}。",
        )
    if name is None and len(square) != 1:
        which = (
            Text(
                f"several ({listed(square)}); choose with name=",
                f"有几个（{listed_zh(square)}）；请用name=选一个",
            )
            if square
            else Text(f"none among {listed(held)}", f"在{listed_zh(held)}中没有")
        )
        raise WeightsError(
            f"needs one square numeric variable, but has {which.en}.", f"须有一个数值方阵，而{which.zh}。"
        )
    return name or square[0]


def _is_square(value: Any) -> bool:
    return value is not None and not isinstance(value, list) and value.shape[0] == value.shape[1] > 1


def _mat_ids(value: Any) -> list[str]:
    if isinstance(value, list):
        return [unit.strip() for unit in value]
    numbers = (value.toarray() if sparse.issparse(value) else value).ravel().astype(float)
    if not np.all(np.isfinite(numbers)) or np.any(numbers % 1 != 0):
        raise WeightsError("its ids are not whole numbers.", "其编码不是整数。")
    return [str(int(number)) for number in numbers]


def _need_square(rows: int, columns: int) -> None:
    if rows != columns or rows < 2:
        raise WeightsError(
            f"holds a matrix of {rows} × {columns}; weights are square.",
            f"其矩阵为{rows} × {columns}；权重矩阵须为方阵。",
        )
    if rows * 8 > MAX_BYTES:
        raise WeightsError(f"claims {rows:,} units; refused.", f"称有{rows:,}个地区；不予读取。")
