"""Finished results on disk, found again by what they were computed from.

One Parquet file per task, named by a digest of the function, the version of the package and everything that goes
into the task. A result is a table, or tables, arrays and words by name; nothing in a file can run, and nothing is
unpickled.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_zb.base.errors import OutputError, SpecificationError
from spatial_zb.base.notes import warn

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


#: Version of the files; raised when their layout changes, so that older ones are computed again.
LAYOUT = "1"
#: Entries of the file's own metadata.
META = b"spatial_zb"
#: Name of the column of a result that is one table.
WHOLE = "table"
Result = Any


@dataclass(frozen=True)
class ResultStore:
    """A folder of results by task.

    Parameters
    ----------
    path
        The folder; made when the first result is written.
    tag
        Anything that should keep these results apart from others of the same function and inputs.
    """

    path: str | Path
    tag: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | Path):
            raise SpecificationError(
                f"A store is a folder, given by its path, not {self.path!r}.",
                f"store是一个文件夹，由路径给出，而不是{self.path!r}。",
            )

    @classmethod
    def of(cls, store: ResultStore | str | Path | None) -> ResultStore | None:
        """A store, or the one in the folder of this path; None stays None."""
        return store if store is None or isinstance(store, ResultStore) else cls(store)

    def key(self, function: Any, *inputs: Any) -> str:
        """Digest (64 hexadecimal digits) of a function, the version of the package, the tag and the inputs.

        Raises
        ------
        SpecificationError
            A function without a name of its own (a lambda, one defined inside another), or an input whose
            content is not defined.
        """
        return self.keys(function, [inputs])[0]

    def keys(self, function: Any, inputs: Sequence[tuple[Any, ...]]) -> list[str]:
        """Give :meth:`key` of several tasks of one function, reading what they share once."""
        digest = _Digest()
        head = digest.of((*self._head(), function))
        return [digest.of((head, *each)).hex() for each in inputs]

    def prepare(self) -> None:
        """Make the folder and try it.

        Raises
        ------
        OutputError
            It cannot be made or written.
        """
        folder = Path(self.path)
        trial = folder / f".part-{secrets.token_hex(6)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            trial.touch()
            trial.unlink()
        except OSError as error:
            raise _unwritable(folder, error) from error

    def read(self, key: str) -> Result | None:
        """Read what is stored under a key; None when there is nothing.

        A file that is damaged, or that is not what its name says, is left alone with a
        :class:`SpatialZbWarning`: its task is then computed again and the file replaced.
        """
        import pyarrow as pa
        from pyarrow import parquet

        path = self._file(key)
        if not path.exists():
            return None
        try:
            table = parquet.read_table(path, page_checksum_verification=True, partitioning=None)
            return _unpack(table, key)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = _first_line(error)
            warn(
                f"The stored result {path} cannot be used ({why}): it is computed again.",
                f"已存结果{path}无法使用（{why}），重新计算。",
            )
            return None

    def write(self, key: str, result: Result) -> Result:
        """Store a result under a key, whole or not at all, and give it as :meth:`read` will.

        ``result`` is a DataFrame with text column names, or a tuple, or a mapping of names, of DataFrames, numeric
        arrays, numbers or text.

        Raises
        ------
        SpecificationError
            A result of another kind.
        OutputError
            The file cannot be written.
        """
        from pyarrow import parquet

        table = _pack(result, key)
        path = self._file(key)
        temporary = path.with_name(f".part-{secrets.token_hex(6)}.parquet")
        try:
            parquet.write_table(table, temporary, write_page_checksum=True)
            _flush(temporary)
            os.replace(temporary, path)
        except OSError as error:
            raise _unwritable(path, error) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return _unpack(table, key)

    def _head(self) -> tuple[str, ...]:
        return sys.modules["spatial_zb"].__version__, LAYOUT, self.tag

    def _file(self, key: str) -> Path:
        return Path(self.path) / f"{key}.parquet"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _unwritable(path: Path, error: OSError) -> OutputError:
    full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    system = error.strerror or str(error)
    reason, reason_zh = ("the disk is full", "磁盘已满") if full else (system, system)
    return OutputError(
        f"Cannot write {path}: {reason}. Choose another folder for the store, or make room.",
        f"无法写入{path}：{reason_zh}。请换一个存储文件夹，或腾出空间。",
    )


def _flush(path: Path) -> None:
    """Send the bytes to the disk before the rename; Windows flushes no read-only descriptor."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pack(result: Result, key: str) -> pa.Table:
    """One row: a list of records for every table, a list of numbers for every array."""
    import pandas as pd
    import pyarrow as pa

    if isinstance(result, pd.DataFrame):
        kind, named = "table", {WHOLE: result}
    elif isinstance(result, tuple):
        kind, named = "tuple", {str(i): part for i, part in enumerate(result)}
    elif isinstance(result, Mapping):
        kind, named = "mapping", dict(result)
    else:
        raise SpecificationError(
            "A stored result is a DataFrame, or DataFrames, arrays, numbers and text by name or in a tuple, not "
            f"{type(result).__name__}.",
            f"存储的结果须为DataFrame，或按名称或以元组给出的DataFrame、数组、数值和文字，而不是{type(result).__name__}"
            "。",
        )
    columns, notes = {}, {}
    for name, part in named.items():
        columns[str(name)], notes[str(name)] = _packed(str(name), part)
    if not columns:
        columns[""], notes[""] = _packed("", 0)
    about = {"key": key, "kind": kind, "parts": notes}
    return pa.table(columns).replace_schema_metadata({META: json.dumps(about)})


def _packed(name: str, part: Any) -> tuple[pa.Array, dict[str, Any]]:
    import pandas as pd
    import pyarrow as pa

    if isinstance(part, pd.DataFrame):
        return _packed_frame(name, part)
    if isinstance(part, np.ndarray) and part.dtype.kind in "fiub":
        flat = pa.array(np.ascontiguousarray(part).ravel())
        note = {"kind": "array", "shape": list(part.shape), "type": str(part.dtype)}
        return _one_list(flat), note
    if isinstance(part, str | bool | int | float | np.bool_ | np.integer | np.floating):
        return pa.array([part.item() if isinstance(part, np.generic) else part]), {"kind": "single"}
    raise SpecificationError(
        f"Part {name!r} of a result is a {type(part).__name__}; it can be a DataFrame, a numeric array, a number or "
        "text.",
        f"结果的{name!r}部分为{type(part).__name__}；它可为DataFrame、数值数组、数值或文字。",
    )


def _packed_frame(name: str, frame: pd.DataFrame) -> tuple[pa.Array, dict[str, Any]]:
    import pyarrow as pa

    named = [c for c in frame.columns if isinstance(c, str)]
    if len(named) < len(frame.columns) or not named or len(set(named)) < len(named):
        raise SpecificationError(
            f"Columns of the table {name!r} of a result need different names that are text, not "
            f"{list(frame.columns)!r}.",
            f"结果表{name!r}的列须为互不相同的文字名称，而不是{list(frame.columns)!r}。",
        )
    try:
        table = pa.Table.from_pandas(frame).combine_chunks()
    except pa.ArrowException as error:
        raise SpecificationError(
            f"Table {name!r} of a result cannot be stored: {_first_line(error)}",
            f"结果表{name!r}无法存储：{_first_line(error)}",
        ) from None
    records = pa.StructArray.from_arrays(
        [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in table.columns],
        fields=list(table.schema),
    )
    return _one_list(records), {
        "kind": "frame",
        "pandas": table.schema.metadata[b"pandas"].decode(),
        "names": table.column_names,
    }


def _one_list(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)


def _unpack(table: pa.Table, key: str) -> Result:
    about = json.loads(table.schema.metadata[META])
    if about["key"] != key:
        raise ValueError("it belongs to another task")
    parts = {name: _unpacked(table.column(name), note) for name, note in about["parts"].items() if name}
    if about["kind"] == "mapping":
        return parts
    return parts[WHOLE] if about["kind"] == "table" else tuple(parts.values())


def _unpacked(column: pa.ChunkedArray, note: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    if note["kind"] == "single":
        return column[0].as_py()
    values = column.combine_chunks().flatten()
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if note["kind"] == "array":
        return values.to_numpy(zero_copy_only=False).astype(note["type"]).reshape(note["shape"])
    table = pa.table(dict(zip(note["names"], values.flatten(), strict=True)))
    return table.replace_schema_metadata({b"pandas": note["pandas"]}).to_pandas()


def content_key(*parts: Any) -> str:
    """SHA-256 of the content of plain values, arrays, tables and frozen dataclasses: the same in every process.

    Dataclasses count by their fields, never by what they have cached.

    Raises
    ------
    SpecificationError
        A part whose content is not defined.
    """
    return _Digest().of(parts).hex()


class _Digest:
    """Digests of nested content; an object that comes again is not read again."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, bytes]] = {}

    def of(self, part: Any) -> bytes:
        known = self._seen.get(id(part))
        if known is not None:
            return known[1]
        digest = hashlib.sha256()
        for piece in self._pieces(part):
            digest.update(len(piece).to_bytes(8, "little"))
            digest.update(piece)
        out = digest.digest()
        if not isinstance(part, str | bytes | int | float | bool | None):
            self._seen[id(part)] = part, out  # held, so that its id stays its own
        return out

    def _pieces(self, part: Any) -> list[Any]:
        """Type first, then content, as bytes."""
        if part is None or isinstance(part, bool | int | float | complex | str | date | PurePath | range):
            return [type(part).__name__.encode(), repr(part).encode()]
        if isinstance(part, bytes):
            return [b"bytes", part]
        if isinstance(part, Enum):
            return [type(part).__qualname__.encode(), self.of(part.value)]
        if isinstance(part, np.random.SeedSequence):
            return [b"seeds", repr((part.entropy, part.spawn_key, part.pool_size)).encode()]
        if isinstance(part, np.generic | np.ndarray):
            return self._array(np.asarray(part))
        if isinstance(part, functools.partial):
            return [b"partial", *map(self.of, (part.func, part.args, part.keywords))]
        if isinstance(part, Mapping):
            pairs = sorted((self.of(k), self.of(v)) for k, v in part.items())
            return [b"mapping", *(piece for pair in pairs for piece in pair)]
        if isinstance(part, Set):
            return [b"set", *sorted(map(self.of, part))]
        if isinstance(part, Sequence):
            return [b"sequence", *map(self.of, part)]
        if is_dataclass(part) and not isinstance(part, type):
            named = [(f.name, getattr(part, f.name)) for f in fields(part) if not f.name.startswith("_")]
            return [_name_of(type(part)), *(self.of(piece) for pair in named for piece in pair)]
        return self._labelled(part)

    def _array(self, array: np.ndarray) -> list[Any]:
        if array.dtype.hasobject:
            return [b"objects", repr(array.shape).encode(), *map(self.of, array.ravel().tolist())]
        head = f"{array.dtype.str}{array.shape}".encode()
        return [b"array", head, np.ascontiguousarray(array).view(np.uint8).reshape(-1).data
                if array.size else b""]  # fmt: skip

    def _labelled(self, part: Any) -> list[Any]:
        """Tables, sparse matrices and functions."""
        import pandas as pd
        from scipy import sparse

        if isinstance(part, pd.DataFrame):
            return [b"frame", self.of(part.index), self.of(part.columns), *(
                self.of(np.asarray(part.iloc[:, i])) for i in range(part.shape[1])
            )]  # fmt: skip
        if isinstance(part, pd.Series):
            return [b"series", self.of(part.name), self.of(part.index), self.of(np.asarray(part))]
        if isinstance(part, pd.Index):
            return [b"index", self.of(list(part.names)), self.of(np.asarray(part))]
        if sparse.issparse(part):
            rows = sparse.csr_array(part, copy=True)
            rows.sum_duplicates()
            return [b"sparse", *map(self.of, (rows.shape, rows.indptr.astype(np.int64),
                                              rows.indices.astype(np.int64), rows.data))]  # fmt: skip
        if callable(part):
            return [_name_of(part)]
        raise SpecificationError(
            f"A stored result is found again by its arguments, and one of them is a {type(part).__name__}, which cannot be "
            "compared by content. Use plain values, arrays, tables, or frozen dataclasses of these.",
            f"存储的结果按其参数查找，而{type(part).__name__}无法按内容比较。请用普通数值、数组、表，"
            "或由它们组成的frozen dataclass。",
        )


def _name_of(part: Any) -> bytes:
    name = f"{getattr(part, '__module__', '')}.{getattr(part, '__qualname__', '<')}"
    if "<" in name:
        raise SpecificationError(
            f"Results are stored under the name of their function, and {part!r} has none: use a function at the top of a "
            "module.",
            f"{part!r}没有可据以存储结果的名称：请用模块顶层的函数。",
        )
    return name.encode()
