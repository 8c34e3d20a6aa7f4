"""What every reader of a weights file gives back, and what all readers check."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.errors import WeightsError, listed, listed_zh
from spatial_zb.text import Text
from spatial_zb.weights import common

__all__ = ["Parsed", "check_zip", "decoded", "from_links", "need_dense"]

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
    count: int | None = None
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
    i, j = np.asarray(i, dtype=object), np.asarray(j, dtype=object)
    everyone = np.concatenate([np.asarray(units, dtype=object), i, j])
    number, names = pd.factorize(everyone)
    row, col = number[len(units) : len(units) + len(i)], number[len(units) + len(i) :]
    n = len(names)
    twice = pd.Index(row.astype(np.int64) * n + col).duplicated()
    if twice.any():
        pairs = [f"{a} – {b}" for a, b in zip(i[twice], j[twice], strict=True)]
        raise WeightsError(
            f"names these links twice: {listed(pairs, 5)}.", f"重复列出了这些联系：{listed_zh(pairs, 5)}。"
        )
    bad = ~np.isfinite(w)
    if bad.any():
        pairs = [f"{a} – {b}" for a, b in zip(i[bad], j[bad], strict=True)]
        raise WeightsError(
            f"has no number as weight of {listed(pairs, 5)}.", f"{listed_zh(pairs, 5)}的权重不是数值。"
        )
    matrix = sparse.csr_array(sparse.coo_array((w, (row, col)), shape=(n, n)))
    return Parsed(matrix, [str(name) for name in names], links=True, count=count, notes=notes)


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
    if rows < 0 or columns < 0 or rows * columns * 8 > common.LIMIT_BYTES or max(rows, columns) > 2**31 - 1:
        raise WeightsError(
            f"claims {rows:,} × {columns:,} numbers, above the limit of {common.LIMIT_BYTES / 1024**3:.1f} GB. "
            "Save it as links or as a sparse matrix.",
            f"称有{rows:,} × {columns:,}个数，超过{common.LIMIT_BYTES / 1024**3:.1f} GB的上限。"
            "请存为联系列表或稀疏矩阵。",
        )


def check_zip(path: Path) -> None:
    """Refuse a compressed file that unpacks to more than fits into memory."""
    with zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > common.LIMIT_BYTES:
        raise WeightsError(
            f"unpacks to {size / 1024**3:.1f} GB; refused.", f"解压后为{size / 1024**3:.1f} GB；不予读取。"
        )
