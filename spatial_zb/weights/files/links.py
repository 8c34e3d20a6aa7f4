"""Weights as links (gal, gwt, swm), and what every reader of a weights file gives back and checks."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import OutputError, WeightsError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.data.cells import MAX_BYTES, refuse_large
from spatial_zb.weights.matrix import Weights

#: Encodings of text files met in practice, tried in this order.
ENCODINGS = ("utf-8-sig", "gb18030")


class Parsed(NamedTuple):
    """Weights as a file holds them.

    ``matrix`` (n, n); ``ids`` of its rows, or None where the file has none; ``links``: the file lists links,
    so that it may name fewer units than there are; ``count``: the number of units the file says it has;
    ``notes``: what a user should be told.
    """

    matrix: Any
    ids: list[str] | None
    links: bool = False
    stated: int | None = None
    notes: tuple[Text, ...] = ()


def from_links(
    i: Sequence[str],
    j: Sequence[str],
    w: NDArray[np.float64],
    *,
    units: Sequence[str] = (),
    count: int | None = None,
    notes: tuple[Text, ...] = (),
) -> Parsed:
    """Put links i → row, j → column together; units are numbered by ``units``, then as they appear."""
    ends, others = np.asarray(i, dtype=object), np.asarray(j, dtype=object)
    everyone = np.concatenate([np.asarray(units, dtype=object), ends, others])
    number, names = pd.factorize(everyone)
    row, col = number[len(units) : len(units) + len(i)], number[len(units) + len(i) :]
    n = len(names)
    twice = pd.Index(row.astype(np.int64) * n + col).duplicated()
    if twice.any():
        pairs = [f"{a} – {b}" for a, b in zip(ends[twice], others[twice], strict=True)]
        raise WeightsError(
            f"names these links twice: {listed(pairs, 5)}.", f"重复列出了这些联系：{listed_zh(pairs, 5)}。"
        )
    bad = ~np.isfinite(w)
    if bad.any():
        pairs = [f"{a} – {b}" for a, b in zip(ends[bad], others[bad], strict=True)]
        raise WeightsError(
            f"has no number as weight of {listed(pairs, 5)}.", f"{listed_zh(pairs, 5)}的权重不是数值。"
        )
    matrix = sparse.csr_array(sparse.coo_array((w, (row, col)), shape=(n, n)))
    return Parsed(matrix, [str(name) for name in names], links=True, stated=count, notes=notes)


def decoded(path: Path) -> str:
    """The text of a file in UTF-8, UTF-16 with a mark, or GB18030."""
    content = path.read_bytes()
    if not content.strip():
        raise WeightsError("the file is empty.", "文件是空的。")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    for encoding in ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise WeightsError(
        "the file is not text in UTF-8 or GB18030. Save it as UTF-8.",
        "文件不是UTF-8或GB18030文字。请另存为UTF-8。",
    )


def need_dense(rows: int, columns: int) -> None:
    """Refuse a matrix by the size it claims, before anything of that size is made."""
    if rows < 0 or columns < 0 or rows * columns * 8 > MAX_BYTES or max(rows, columns) > 2**31 - 1:
        raise WeightsError(
            f"claims {rows:,} × {columns:,} numbers, above the limit of {MAX_BYTES:,} bytes. "
            "Save it as links or as a sparse matrix.",
            f"称有{rows:,} × {columns:,}个数，超过{MAX_BYTES:,}字节的上限。请存为联系列表或稀疏矩阵。",
        )


def check_zip(path: Path) -> None:
    """Refuse a compressed file that unpacks to more than is read."""
    with zipfile.ZipFile(path) as archive:
        refuse_large(sum(info.file_size for info in archive.infolist()), THE_FILE)


#: What a refusal calls the file whose name stands before it.
THE_FILE = Text("the file", "该文件")
#: Name of the layer in headers of files written here.
OWN_MARK = "spatial_zb"
CUT_OFF = Text(
    "the file is cut off or damaged; save it again from its source.", "文件被截断或损坏，请从来源重新保存。"
)


def read_gal(path: Path, name: str | None = None) -> Parsed:
    """``n`` or ``0 n layer variable``, then for each unit its id, its number of neighbours, and their ids."""
    count, _, lines = _header(path)
    tokens = " ".join(lines).split()
    i: list[str] = []
    j: list[str] = []
    units: list[str] = []
    at = 0
    while at < len(tokens):
        unit, size = tokens[at], _whole(tokens[at + 1 : at + 2])
        if size is None or at + 2 + size > len(tokens):
            raise WeightsError(f"after unit {unit}, {CUT_OFF.en}", f"在地区{unit}之后，{CUT_OFF.zh}")
        neighbours = list(dict.fromkeys(tokens[at + 2 : at + 2 + size]))
        units.append(unit)
        i += [unit] * len(neighbours)
        j += neighbours
        at += 2 + size
    known = set(units)
    strangers = list(dict.fromkeys(unit for unit in j if unit not in known))
    if strangers or len(units) != count:
        raise WeightsError(
            f"its header says {count} units, {len(units)} are there; neighbours without a line of their own: "
            f"{listed(strangers, 3) or 'none'}; {CUT_OFF.en}",
            f"文件头称有{count}个地区，实有{len(units)}个；没有自己一行的邻居：{listed_zh(strangers, 3) or '无'}；"
            f"{CUT_OFF.zh}",
        )
    return from_links(i, j, np.ones(len(i)), units=units, count=count)


def read_gwt(path: Path, name: str | None = None) -> Parsed:
    """``0 n layer variable``, then a line ``i j w`` for each link.

    GeoDa puts the distance into the third column of its gwt files, not a weight; that is said in a warning.
    """
    count, header, lines = _header(path)
    i, j, w = [], [], []
    for number, line in enumerate(lines, start=2):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 3 or not is_number(parts[2]):
            raise WeightsError(
                f"line {number} is not ‘i j w’: {line.strip()[:60]!r}; {CUT_OFF.en}",
                f"第{number}行不是‘i j w’：{line.strip()[:60]!r}；{CUT_OFF.zh}",
            )
        i.append(parts[0])
        j.append(parts[1])
        w.append(float(parts[2]))
    note = Text(
        "the third column of a gwt file is the weight here; GeoDa writes the distance there. If this file is "
        "GeoDa's, build the weights from the polygons instead.",
        "此处将gwt文件第三列作为权重；GeoDa在该列存放距离。若为GeoDa的文件，请改由多边形生成权重。",
    )
    notes = () if OWN_MARK in header else (note,)
    return from_links(i, j, np.array(w, dtype=float), count=count, notes=notes)


def read_swm(path: Path, name: str | None = None) -> Parsed:
    """ArcGIS, both versions: a header line, then little-endian binary records of each unit."""
    content = path.read_bytes()
    end = content.find(b"\n") + 1
    if not end:
        raise WeightsError(CUT_OFF.en, CUT_OFF.zh)
    header = content[:end].decode("utf-8", "replace").upper()
    fixed = header.startswith("VERSION@") and "FIXEDWEIGHTS@TRUE" in header.replace(" ", "")
    count, _ = struct.unpack_from("<2i", content, end)
    at = end + 8
    i, j, w, units = [], [], [], []
    for _ in range(count):
        unit, size = struct.unpack_from("<2i", content, at)
        at += 8
        units.append(str(unit))
        if not size:
            continue
        numbers = 1 if fixed else size
        if size < 0 or at + 4 * size + 8 * numbers + 8 > len(content):
            raise WeightsError(f"after unit {unit}, {CUT_OFF.en}", f"在地区{unit}之后，{CUT_OFF.zh}")
        i += [str(unit)] * size
        j += np.frombuffer(content, "<i4", size, at).astype(str).tolist()
        w += np.broadcast_to(np.frombuffer(content, "<f8", numbers, at + 4 * size), size).tolist()
        at += 4 * size + 8 * numbers + 8  # the sum of the weights closes the record
    strangers = sorted(set(j) - set(units))
    if strangers:
        raise WeightsError(
            f"it names {listed(strangers, 3)} as neighbours but has no record of them; {CUT_OFF.en}",
            f"{listed_zh(strangers, 3)}被列为邻居，但没有其记录；{CUT_OFF.zh}",
        )
    return from_links(i, j, np.array(w, dtype=float), units=units, count=count)


def write_gal(weights: Weights, path: Path, form: str) -> None:
    """Only who is whose neighbour: other weights than 0 and 1 are refused."""
    if np.any(weights.matrix.data != 1):
        raise OutputError(
            f"A gal file holds neighbours but no weights, and those of {weights.label!r} are not all one; "
            "write gwt, csv or npz.",
            f"gal文件只有邻居没有权重，而{weights.label!r}的权重不全为1；请写为gwt、csv或npz。",
        )
    ids = _without_blanks(weights, "gal")
    matrix = weights.matrix
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(f"0 {weights.n} {OWN_MARK} id\n")
        for at, unit in enumerate(ids):
            own = [ids[j] for j in matrix.indices[matrix.indptr[at] : matrix.indptr[at + 1]]]
            stream.write(f"{unit} {len(own)}\n{' '.join(own)}\n")


def write_gwt(weights: Weights, path: Path, form: str) -> None:
    """A unit without neighbours is kept as a link to itself with weight zero."""
    ids = _without_blanks(weights, "gwt")
    matrix = weights.matrix
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(f"0 {weights.n} {OWN_MARK} id\n")
        for at, unit in enumerate(ids):
            row = slice(matrix.indptr[at], matrix.indptr[at + 1])
            for j, w in zip(matrix.indices[row], matrix.data[row], strict=True):
                stream.write(f"{unit} {ids[j]} {float(w)!r}\n")
            if row.start == row.stop:
                stream.write(f"{unit} {unit} 0.0\n")


def write_swm(weights: Weights, path: Path, form: str) -> None:
    """The version that every ArcGIS reads; ids must be whole numbers of 32 bits."""
    wrong = [unit for unit in weights.ids if not _is_int32(unit)]
    if wrong:
        raise OutputError(
            f"A swm file holds whole numbers as ids, without zeros in front: not {listed(wrong, 3)}; write npz.",
            f"swm文件的编码为不带前导零的整数，不能是{listed_zh(wrong, 3)}；请写为npz。",
        )
    ids = weights.ids.astype("int64").to_numpy()
    matrix = weights.matrix
    with path.open("wb") as stream:
        stream.write(b"id;Unknown\n")
        stream.write(struct.pack("<2i", weights.n, weights.normalisation == "row"))
        for at, unit in enumerate(ids):
            row = slice(matrix.indptr[at], matrix.indptr[at + 1])
            stream.write(struct.pack("<2i", unit, row.stop - row.start))
            if row.stop > row.start:
                stream.write(ids[matrix.indices[row]].astype("<i4").tobytes())
                stream.write(matrix.data[row].astype("<f8").tobytes())
                stream.write(struct.pack("<d", matrix.data[row].sum()))


def _header(path: Path) -> tuple[int, list[str], list[str]]:
    """Number of units, words of the header, and the other lines of a gal or gwt file."""
    first, *lines = decoded(path).lstrip().splitlines()
    words = first.split()
    count = _whole(words[:1]) if len(words) == 1 else _whole(words[1:2])
    if count is None or (len(words) > 1 and words[0] != "0"):
        raise WeightsError(
            f"its first line is not ‘0 n layer variable’ but {first.strip()[:60]!r}.",
            f"首行不是‘0 n layer variable’，而是{first.strip()[:60]!r}。",
        )
    return count, words, lines


def _without_blanks(weights: Weights, kind: str) -> list[str]:
    wrong = [unit for unit in weights.ids if not unit or unit.split() != [unit]]
    if wrong:
        raise OutputError(
            f"A {kind} file cannot hold ids with blanks: {listed(wrong, 3)}; write csv or npz.",
            f"{kind}文件的编码不能含空格：{listed_zh(wrong, 3)}；请写为csv或npz。",
        )
    return list(weights.ids)


def _whole(words: list[str]) -> int | None:
    return (
        int(words[0]) if words and words[0].isascii() and words[0].isdigit() and len(words[0]) < 10 else None
    )


def is_number(word: str) -> bool:
    """Whether a text is a number as other programs write it; Python alone takes 1_0 for 10."""
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word


def _is_int32(unit: str) -> bool:
    try:
        number = int(unit)
    except ValueError:
        return False
    return str(number) == unit and -(2**31) <= number < 2**31
