"""Numeric, sparse and character variables of a MATLAB 5 file (what ``save -v6`` and ``-v7`` write).

Read here and not by SciPy, whose reader ends the process on some damaged files. Cells, structures, objects
and functions are listed by name and never looked into. Format: MathWorks, "MAT-File Format", Level 5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.errors import WeightsError
from spatial_zb.weights import common

__all__ = ["Variable", "variables"]

HEADER_BYTES = 128
MATRIX, COMPRESSED = 14, 15
#: Storage types of elements (miINT8 …); text is stored as UTF-8, UTF-16 or UTF-32.
STORAGE = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXT = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
#: Classes of variables (mxCELL_CLASS …).
CHARACTER, SPARSE, NUMERIC = 4, 5, frozenset(range(6, 16))
COMPLEX_FLAG, LOGICAL_FLAG = 0x0800, 0x0200


class Variable(NamedTuple):
    """A variable: ``value`` is an array, a csr_array, a list of text rows, or None where it is no such thing."""

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
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise WeightsError(
            "is no MATLAB 5 file, or damaged; save it with -v7.", "不是MATLAB 5文件，或已损坏；请用-v7保存。"
        )
    try:
        return [_variable(element.body, order) for element in _matrices(content[HEADER_BYTES:], order)]
    except (struct.error, zlib.error, ValueError, IndexError, OverflowError) as error:
        raise WeightsError(
            f"is cut off or damaged ({error}); save it again from its source.",
            f"被截断或损坏（{error}）；请从来源重新保存。",
        ) from error


def _matrices(content: bytes, order: str) -> Iterator[_Element]:
    for element in _elements(content, order):
        if element.kind == COMPRESSED:
            inflate = zlib.decompressobj()
            unpacked = inflate.decompress(element.body, common.LIMIT_BYTES)
            if not inflate.eof:
                raise ValueError("a compressed variable does not end")
            yield from _matrices(unpacked, order)
        elif element.kind == MATRIX:
            yield element


def _elements(content: bytes, order: str) -> Iterator[_Element]:
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


def _variable(body: bytes, order: str) -> Variable:
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


def _numbers(element: _Element, order: str) -> NDArray[Any]:
    if element.kind not in STORAGE:
        raise ValueError(f"an element of type {element.kind} where numbers should be")
    return np.frombuffer(element.body, np.dtype(STORAGE[element.kind]).newbyteorder(order))


def _sparse(data: list[_Element], shape: tuple[int, ...], order: str, logical: bool) -> sparse.csr_array:
    rows, starts = (_numbers(element, order) for element in data[:2])
    as_bytes = logical and len(data[2].body) == rows.size  # bytes that call themselves doubles
    values = np.frombuffer(data[2].body, "u1") if as_bytes else _numbers(data[2], order)
    n = shape[1]
    if starts.size != n + 1 or starts[0] != 0 or np.any(np.diff(starts.astype(np.int64)) < 0):
        raise ValueError("the columns of a sparse matrix do not fit together")
    used = int(starts[-1])  # MATLAB may keep room for more
    if used > min(rows.size, values.size) or np.any((rows[:used] < 0) | (rows[:used] >= shape[0])):
        raise ValueError("the rows of a sparse matrix do not fit together")
    column = np.repeat(np.arange(n), np.diff(starts.astype(np.int64)))
    entries = (values[:used].astype(float), (rows[:used].astype(np.int64), column))
    return sparse.csr_array(sparse.coo_array(entries, shape=shape))


def _text_rows(element: _Element, shape: tuple[int, ...], order: str) -> list[str]:
    """Rows of a character matrix, which is stored column by column."""
    if element.kind in TEXT:
        ending = {"<": "-le", ">": "-be"}[order] if element.kind > 16 else ""
        letters = list(element.body.decode(TEXT[element.kind] + ending))
    else:
        letters = [chr(int(code)) for code in _numbers(element, order)]
    if len(letters) != shape[0] * shape[1]:
        raise ValueError("a text does not fill its rows")
    return ["".join(row) for row in np.array(letters, dtype=object).reshape(shape, order="F")]
