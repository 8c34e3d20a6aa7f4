"""Weights from files and to files, with ids kept as text and units without neighbours kept as units.

Every format is one reader and one writer with the same signatures; :func:`read` and :func:`write` choose by
the suffix. No file can run code: nothing is unpickled, and object arrays are never loaded.
"""

from __future__ import annotations

import os
import re
import secrets
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd
from scipy import sparse

from spatial_zb.base.errors import (
    AlignmentError,
    OutputError,
    SpatialZbError,
    WeightsError,
    listed,
    listed_zh,
    not_one_of,
)
from spatial_zb.base.notes import warn
from spatial_zb.base.text import shown_path
from spatial_zb.data.cells import refuse_large
from spatial_zb.weights.files import links as link_files
from spatial_zb.weights.files import matrices as matrix_files
from spatial_zb.weights.files import tables as table_files
from spatial_zb.weights.files.links import Parsed
from spatial_zb.weights.matrix import Weights, as_weights, text_ids

Form = Literal["matrix", "links"]

READERS: Mapping[str, Callable[[Path, str | None], Parsed]] = {
    ".csv": table_files.read_csv,
    ".xlsx": table_files.read_xlsx,
    ".dta": table_files.read_dta,
    ".txt": table_files.read_txt,
    ".gal": link_files.read_gal,
    ".gwt": link_files.read_gwt,
    ".swm": link_files.read_swm,
    ".mtx": matrix_files.read_mtx,
    ".mat": matrix_files.read_mat,
    ".npz": matrix_files.read_npz,
}
WRITERS: Mapping[str, Callable[[Weights, Path, Form], None]] = {
    ".csv": table_files.write_csv,
    ".xlsx": table_files.write_xlsx,
    ".dta": table_files.write_dta,
    ".txt": table_files.write_txt,
    ".gal": link_files.write_gal,
    ".gwt": link_files.write_gwt,
    ".swm": link_files.write_swm,
    ".mtx": matrix_files.write_mtx,
    ".mat": matrix_files.write_mat,
    ".npz": matrix_files.write_npz,
}
FORMATS = tuple(suffix[1:] for suffix in READERS)
#: Formats that hold a table and can hold it as a matrix or as links.
TABLES = (".csv", ".xlsx", ".dta")
WHOLE_NUMBER = re.compile(r"(\d+)\.0*")


def read(
    path: str | Path,
    ids: Sequence[str] | pd.Index | None = None,
    *,
    name: str | None = None,
    label: str | None = None,
    allow_negative: bool = False,
) -> Weights:
    """Read weights from a file: csv, xlsx, dta, txt (Stata's spmatrix export), gal, gwt, swm, mtx, mat or npz.

    Parameters
    ----------
    path
        Tables (csv, xlsx, dta) hold a matrix with ids as first row and first column, or columns i, j, w
        (i receives from j). A link from a unit to itself with weight zero says that the unit is there.
    ids
        Ids of the units. For a file without ids: those of its rows, in their order. For a file with ids: the
        units wanted, in the order wanted. A list of links cannot name units without neighbours, so those of
        ``ids`` that it does not name are taken as such, with a warning.
    name
        The sheet of an xlsx file or the variable of a mat file, where there are several.
    label
        Short name of the weights; the name of the file without it.
    allow_negative
        Accept negative weights, with a warning.

    Returns
    -------
    Weights, with ``normalisation="row"`` where all rows sum to one.

    Raises
    ------
    WeightsError
        No such file, an unknown format, a file that is cut off or damaged, a blank or text where a weight
        should be, a pair named twice, whatever :class:`Weights` refuses.
    AlignmentError
        No ids in the file and none given; ids of the file and ``ids`` that do not match; a file that lost its
        units without neighbours.
    """
    path = Path(path)
    reader = READERS[_suffix(path, WeightsError)]
    if not os.path.isfile(path):  # Path.is_file raises where a path is too long
        raise WeightsError(
            f"There is no weights file {shown_path(path)}. Give the path of a file on this machine.",
            f"没有权重矩阵文件{shown_path(path)}。请给出本机文件的路径。",
        )
    parsed = _parse(reader, path, name)
    for note in parsed.notes:
        warn(f"{path.name}: {note.en}", f"{path.name}：{note.zh}")
    parsed = _with_clean_ids(parsed, path.name)
    matrix, units = _matched(parsed, None if ids is None else text_ids(ids), path.name)
    weights = as_weights(matrix, units, label or path.stem, allow_negative=allow_negative)
    return replace(weights, recipe={"kind": "file", "file": path.name})


def write(weights: Weights, path: str | Path, *, form: Form = "matrix") -> Path:
    """Write weights to a file: csv, xlsx, dta, txt (for Stata), gal, gwt, swm, mtx, mat or npz, by the suffix.

    :func:`read` gives the same ids, order, links and weights back. An earlier file is replaced only once the
    new one is complete.

    Parameters
    ----------
    form
        Of csv, xlsx and dta: a ``"matrix"`` with ids, or ``"links"`` in columns i, j, w.

    Raises
    ------
    OutputError
        An unknown format or form, a folder that cannot be written to, or weights the format cannot hold
        (gal: weights other than 0 and 1; swm: ids that are not numbers; and so on), naming one that can.
    """
    weights, path = as_weights(weights), Path(path)
    suffix = _suffix(path, OutputError)
    if form not in ("matrix", "links"):
        raise not_one_of("form", form, ("matrix", "links"), kind=OutputError)
    if form == "links" and suffix not in TABLES:
        raise OutputError(
            f"form= is for csv, xlsx and dta; a {suffix} file has one form.",
            f"form=用于csv、xlsx和dta；{suffix}文件只有一种形式。",
        )
    with _replacing(path) as unfinished:
        WRITERS[suffix](weights, unfinished, form)
    return path


def _suffix(path: Path, error: type[SpatialZbError]) -> str:
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise error(
            f"{path.name} has no suffix of a weights file; use one of {listed(FORMATS, 20)}.",
            f"{path.name}的后缀不是权重矩阵文件的后缀；请用{listed_zh(FORMATS, 20)}之一。",
        )
    return suffix


def _parse(reader: Callable[[Path, str | None], Parsed], path: Path, name: str | None) -> Parsed:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign parsers; ours are in Parsed.notes
            refuse_large(path.stat().st_size, link_files.THE_FILE)
            return reader(path, name)
    except SpatialZbError as error:
        raise type(error)(f"{path.name}: {error}", f"{path.name}：{error.zh}") from None
    except Exception as error:  # foreign parsers raise many kinds on damaged files; all mean the same
        raise WeightsError(
            f"{path.name} cannot be read as a {path.suffix.lower()} file ({type(error).__name__}: {error}). "
            "It may be cut off or damaged; save it again from its source.",
            f"{path.name}无法按{path.suffix.lower()}文件读取（{type(error).__name__}：{error}）。可能被截断或损坏，"
            "请从来源重新保存。",
        ) from error


def _with_clean_ids(parsed: Parsed, name: str) -> Parsed:
    """Ids without blanks around them; full-width digits and 330100.0 are mended with a warning."""
    if parsed.ids is None:
        return parsed
    ids = [unit.strip() for unit in parsed.ids]
    plain = [unicodedata.normalize("NFKC", unit) for unit in ids]
    if plain != ids:
        changed = [unit for unit, p in zip(ids, plain, strict=True) if unit != p]
        warn(
            f"{name}: full-width characters in ids were replaced by plain ones ({listed(changed, 3)}).",
            f"{name}：地区编码中的全角字符已改为半角（{listed_zh(changed, 3)}）。",
        )
    whole = [WHOLE_NUMBER.fullmatch(unit) for unit in plain]
    if plain and all(whole):
        warn(
            f"{name}: the ids are stored as decimals such as {plain[0]}; read as whole numbers.",
            f"{name}：地区编码存为小数（如{plain[0]}），已按整数读取。",
        )
        plain = [match.group(1) for match in whole if match]
    if not all(plain):
        raise AlignmentError(f"{name} has a blank where a unit id should be.", f"{name}中有空缺的地区编码。")
    return parsed._replace(ids=plain)


def _matched(parsed: Parsed, wanted: pd.Index | None, name: str) -> tuple[sparse.csr_array, pd.Index]:
    """Bring the file's matrix into the order of the wanted ids."""
    n = parsed.matrix.shape[0]
    if parsed.ids is None:
        if wanted is None:
            raise AlignmentError(
                f"{name} carries no unit ids, so its {n} rows say nothing about which unit they are: give ids in the "
                "order of its rows, ids=[...] of weights.read or ids of [weights] in a study.",
                f"{name}没有地区编码，{n}行不知各是哪个地区：请按行的次序给出编码，即weights.read的ids=[...]，或研究文件[weights]中的ids。",
            )
        if len(wanted) != n:
            raise AlignmentError(
                f"{name} has {n} rows, but {len(wanted)} ids were given.",
                f"{name}有{n}行，而给出的编码有{len(wanted)}个。",
            )
        return sparse.csr_array(parsed.matrix), wanted
    own = pd.Index(parsed.ids, dtype=str)
    if own.has_duplicates:
        raise AlignmentError(
            f"{name} names units twice: {listed(own[own.duplicated()].unique())}.",
            f"{name}中有重复的地区：{listed_zh(own[own.duplicated()].unique())}。",
        )
    if wanted is None:
        if parsed.stated is not None and parsed.stated != len(own):
            raise AlignmentError(
                f"{name} says it has {parsed.stated} units but names {len(own)}: it lost units without "
                "neighbours. Pass ids=[...] of all units; the missing ones then have no neighbours.",
                f"{name}称有{parsed.stated}个地区，而只列出{len(own)}个：没有邻居的地区丢失了。"
                "请给出全部地区的ids=[...]，其余即作为没有邻居的地区。",
            )
        return sparse.csr_array(parsed.matrix), own
    return _selected(parsed, own, wanted, name)


def _selected(
    parsed: Parsed, own: pd.Index, wanted: pd.Index, name: str
) -> tuple[sparse.csr_array, pd.Index]:
    unknown, absent = own.difference(wanted), wanted.difference(own)
    if len(unknown) or (len(absent) and not parsed.links):
        raise AlignmentError(
            f"The units of {name} and those asked for differ: {len(unknown)} only in the file "
            f"({listed(unknown) or 'none'}), {len(absent)} only asked for ({listed(absent) or 'none'}).",
            f"{name}的地区与所要求的不一致：{len(unknown)}个只在文件中（{listed_zh(unknown) or '无'}），{len(absent)}"
            f"个只在要求中（{listed_zh(absent) or '无'}）。",
        )
    if len(absent):
        warn(
            f"{name} names no link of {listed(absent)}; taken as units without neighbours.",
            f"{name}中没有{listed_zh(absent)}的任何联系，按无邻居地区处理。",
        )
    coo = sparse.coo_array(parsed.matrix)
    at = wanted.get_indexer(own)
    shape = (len(wanted), len(wanted))
    return sparse.csr_array((coo.data, (at[coo.row], at[coo.col])), shape=shape), wanted


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a file beside ``path`` to write to, and put it in its place when it is complete."""
    unfinished = path.with_name(f".part-{secrets.token_hex(6)}{path.suffix}")
    try:
        unfinished.open("x").close()  # with the rights that the umask of the caller gives to new files
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}. Choose another folder.",
            f"{path}无法写入：{error.strerror}。请换一个文件夹。",
        ) from None
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}.",
            f"{path}无法写入：{error.strerror or error}。",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
