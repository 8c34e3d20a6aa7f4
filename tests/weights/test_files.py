"""Weights files: ids, islands, order and numbers survive; damaged files raise our own errors only."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import io, sparse

from spatial_zb.base.errors import AlignmentError, OutputError, SpatialZbError, SpatialZbWarning, WeightsError
from spatial_zb.data import cells
from spatial_zb.weights import read, write
from spatial_zb.weights.files import FORMATS, TABLES, matrices
from spatial_zb.weights.matrix import Weights

IDS = ("0330102", "330100", "330200", "7", "330900")
BINARY = np.array(
    [[0, 1, 0, 1, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], float
)
WEIGHTED = BINARY * (np.arange(25).reshape(5, 5) + 1 / 3)
FORMS = [
    (kind, form)
    for kind in FORMATS
    for form in (("matrix", "links") if f".{kind}" in TABLES else ("matrix",))
]


def sample(kind: str, ids: tuple[str, ...] = IDS) -> Weights:
    """Unsymmetric weights with an island, with what the format can hold."""
    if kind == "swm":
        ids = tuple(unit.lstrip("0") for unit in ids)
    return Weights(sparse.csr_array(BINARY if kind == "gal" else WEIGHTED), pd.Index(ids), "sample")


def quiet(path: Path, *args: object, **options: object) -> Weights:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        return read(path, *args, **options)


def same(a: Weights, b: Weights) -> None:
    assert list(a.ids) == list(b.ids)
    assert np.array_equal(a.matrix.toarray(), b.matrix.toarray())


# --- round trips -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_ids_islands_order_and_every_bit_survive(tmp_path: Path, kind: str, form: str) -> None:
    W = sample(kind)
    path = write(W, tmp_path / f"w.{kind}", form=form)
    back = read(path)
    same(back, W)
    assert list(back.islands) == ["330900"]
    assert back.recipe == {"kind": "file", "file": f"w.{kind}"}
    assert back.label == "w"
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_wanted_order_is_matched_by_id(tmp_path: Path, kind: str, form: str) -> None:
    W = sample(kind)
    path = write(W, tmp_path / f"w.{kind}", form=form)
    order = [W.ids[at] for at in (3, 0, 4, 2, 1)]
    same(quiet(path, order), W.align(order))


@pytest.mark.parametrize("kind", [k for k in FORMATS if k not in ("gal", "gwt", "swm", "txt")])
def test_chinese_ids_with_blanks_survive(tmp_path: Path, kind: str) -> None:
    W = sample(kind, ("杭州 市", "宁波", "a b", "温州,x", "舟山"))
    same(read(write(W, tmp_path / f"w.{kind}")), W)


def test_row_normalised_files_say_so(tmp_path: Path) -> None:
    full = Weights(sparse.csr_array(np.ones((4, 4)) - np.eye(4)), pd.Index(list("abcd"))).standardise()
    for kind in ("csv", "npz", "dta"):
        assert read(write(full, tmp_path / f"w.{kind}")).normalisation == "row"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_matrix_survives(tmp_path: Path, data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 7))
    cells = data.draw(
        st.lists(st.one_of(st.just(0.0), st.floats(1e-300, 1e300)), min_size=n * n, max_size=n * n)
    )
    dense = np.array(cells).reshape(n, n)
    np.fill_diagonal(dense, 0)
    dense[0, 1] = 1.0
    words = st.from_regex(r"[A-Za-z一-龥][A-Za-z0-9一-龥]{0,8}", fullmatch=True)
    ids = data.draw(st.lists(words, min_size=n, max_size=n, unique=True))
    W = Weights(sparse.csr_array(dense), pd.Index(ids))
    for kind, form in FORMS:
        if kind not in ("gal", "swm", "txt"):
            same(read(write(W, tmp_path / f"w.{kind}", form=form)), W)


# --- other programs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gal", "gwt", "swm"])
def test_libpysal_reads_what_is_written(tmp_path: Path, kind: str) -> None:
    import libpysal

    W = sample(kind).subset([unit for unit in sample(kind).ids if unit != "330900"])  # it fails on islands
    theirs = libpysal.io.open(str(write(W, tmp_path / f"w.{kind}")), "r").read()
    dense, ids = theirs.full()
    order = [[str(unit) for unit in ids].index(unit) for unit in W.ids]
    assert np.array_equal(dense[np.ix_(order, order)], W.matrix.toarray())


@pytest.mark.parametrize("kind", ["gal", "gwt", "swm"])
def test_what_libpysal_writes_is_read(tmp_path: Path, kind: str) -> None:
    import libpysal

    neighbours = {1: [2, 3], 2: [1], 3: [2]}
    theirs = libpysal.weights.W(neighbours, silence_warnings=True)
    path = tmp_path / f"w.{kind}"
    stream = libpysal.io.open(str(path), "w")
    stream.write(theirs)
    stream.close()
    W = quiet(path)
    found = {
        int(unit): sorted(int(W.ids[j]) for j in W.matrix[[at], :].nonzero()[1])
        for at, unit in enumerate(W.ids)
    }
    assert found == neighbours


def test_scipy_reads_npz_mtx_and_mat(tmp_path: Path) -> None:
    from scipy.io import loadmat, mmread

    W = sample("npz")
    read_back = {
        "npz": sparse.load_npz(write(W, tmp_path / "w.npz")),
        "mtx": mmread(write(W, tmp_path / "w.mtx")),
        "mat": loadmat(write(W, tmp_path / "w.mat"))["W"],
    }
    for matrix in read_back.values():
        assert np.array_equal(matrix.toarray(), WEIGHTED)


def test_arcgis_files_with_fixed_weights(tmp_path: Path) -> None:
    import struct

    header = b"VERSION@10.1;UNIQUEID@id;SPATIALREFNAME@x;FIXEDWEIGHTS@True\n"
    body = struct.pack("<2i", 2, 1)
    for own, other in ((1, 2), (2, 1)):
        body += struct.pack("<3i2d", own, 1, other, 0.5, 0.5)
    (tmp_path / "w.swm").write_bytes(header + body)
    assert read(tmp_path / "w.swm").matrix.toarray().tolist() == [[0, 0.5], [0.5, 0]]


TEXTS = {
    "gal header of one number": ("w.gal", "2\na 1\nb\nb 1\na\n"),
    "gal island without its empty line": ("w.gal", "0 3 x id\na 1\nb\nc 0\nb 1\na\n"),
    "csv links by other names": ("w.csv", "focal,neighbor,weight\na,b,1\nb,a,1\n"),
    "csv links in other order": ("w.csv", "w,j,i\n1,b,a\n1,a,b\n"),
    "csv columns in other order": ("w.csv", "id,b,a\na,1,0\nb,0,1\n"),
    "csv semicolons": ("w.csv", ";a;b\na;0;1\nb;1;0\n"),
    "csv byte order mark and windows lines": ("w.csv", "\ufeffid,a,b\r\na,0,1\r\nb,1,0\r\n"),
    "gwt without trailing newline": ("w.gwt", "0 2 x id\na b 1\nb a 1"),
    "txt of Stata, windows lines": ("w.txt", "2\r\na 0 1\r\nb 1 0\r\n"),
}


@pytest.mark.parametrize("case", TEXTS, ids=str)
def test_variants_in_the_wild(tmp_path: Path, case: str) -> None:
    name, text = TEXTS[case]
    (tmp_path / name).write_text(text, "utf-8")
    W = quiet(tmp_path / name)
    at = W.ids.get_indexer(["a", "b"])
    assert W.matrix.toarray()[np.ix_(at, at)].tolist() == [[0, 1], [1, 0]]


def test_gb18030_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_bytes("id,杭州,宁波\n杭州,0,1\n宁波,1,0\n".encode("gb18030"))
    assert list(read(tmp_path / "w.csv").ids) == ["杭州", "宁波"]


def test_stata_matrix_without_labels_but_numbered(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["0a", "b"], "w1": [0.0, 2.0], "w2": [1.0, 0.0]})
    table.to_stata(tmp_path / "w.dta", write_index=False)
    W = read(tmp_path / "w.dta")
    assert list(W.ids) == ["0a", "b"]
    assert W.matrix.toarray().tolist() == [[0, 1], [2, 0]]


# --- what is mended, and said ------------------------------------------------------------------------------


def test_decimal_and_full_width_ids_are_mended_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("id,330100.0,330200.0\n330100.0,0,1\n330200.0,1,0\n", "utf-8")
    with pytest.warns(SpatialZbWarning, match="whole numbers"):
        assert list(read(tmp_path / "w.csv").ids) == ["330100", "330200"]
    (tmp_path / "w.csv").write_text("id,３３,b\n３３,0,1\nb,1,0\n", "utf-8")
    with pytest.warns(SpatialZbWarning, match="full-width"):
        assert list(read(tmp_path / "w.csv").ids) == ["33", "b"]


def test_units_a_list_of_links_cannot_name_are_islands(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("i,j,w\na,b,1\nb,a,1\n", "utf-8")
    with pytest.warns(SpatialZbWarning, match="names no link of c"):
        W = read(tmp_path / "w.csv", ["c", "a", "b"])
    assert list(W.ids) == ["c", "a", "b"]
    assert list(W.islands) == ["c"]


def test_the_distance_column_of_gwt_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "w.gwt").write_text("0 2 cities id\na b 91.5\nb a 91.5\n", "utf-8")
    with pytest.warns(SpatialZbWarning, match="GeoDa writes the distance"):
        read(tmp_path / "w.gwt")


def test_negative_weights_only_where_allowed(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("i,j,w\na,b,-1\nb,a,1\n", "utf-8")
    with pytest.raises(WeightsError, match=r"negative weight.*b → a"):
        read(tmp_path / "w.csv")
    with pytest.warns(SpatialZbWarning, match="1 negative"):
        W = read(tmp_path / "w.csv", allow_negative=True)
    with pytest.raises(WeightsError, match="spectral"):
        W.standardise("row")
    assert pickle.loads(pickle.dumps(W)).matrix.min() == -1


# --- what is refused ---------------------------------------------------------------------------------------

BAD_TEXTS = {
    "matrix without ids": ("w.csv", "0,1\n1,0\n", AlignmentError, "carries no unit ids"),
    "blank cell": ("w.csv", "id,a,b\na,0,\nb,1,0\n", WeightsError, r"a / b \(''\)"),
    "text cell": ("w.csv", "id,a,b\na,0,x\nb,1,0\n", WeightsError, r"a / b \('x'\)"),
    "cut off matrix": ("w.csv", "id,a,b,c\na,0,1,1\nb,1,0,1\n", WeightsError, "cut off"),
    "other ids in rows": ("w.csv", "id,a,b\na,0,1\nc,1,0\n", AlignmentError, "only in rows c"),
    "ids twice": ("w.csv", "id,a,a\na,0,1\na,1,0\n", AlignmentError, "units twice: a"),
    "link twice": ("w.csv", "i,j,w\na,b,1\na,b,2\n", WeightsError, "twice: a – b"),
    "link without weight": ("w.csv", "i,j,w\na,b,\nb,a,1\n", WeightsError, "a – b / w"),
    "link to itself": ("w.csv", "i,j,w\na,a,1\nb,a,1\n", WeightsError, "a → a"),
    "header only": ("w.csv", "i,j,w\n", WeightsError, "no links"),
    "header of a matrix only": ("w.csv", "id\n", WeightsError, "no rows"),
    "empty": ("w.csv", "", WeightsError, "empty"),
    "blank id": ("w.csv", "id,,b\n,0,1\nb,1,0\n", AlignmentError, "blank"),
    "gal that lost its islands": ("w.gal", "0 3 x id\na 1\nb\nb 1\na\n", WeightsError, "says 3 units, 2 are"),
    "gal cut off": ("w.gal", "0 2 x id\na 1\nb\nb 2\na\n", WeightsError, "after unit b"),
    "gal of strangers": ("w.gal", "0 2 x id\na 1\nb\nc 1\na\n", WeightsError, "own: b"),
    "txt of words": ("w.txt", "a b\n0 1\n1 0\n", WeightsError, "spmatrix export"),
    "txt cut off": (
        "w.txt",
        "3\n1 0 1 0\n2 1 0 0\n",
        WeightsError,
        "claims 3 units, and has 2 lines of 4 words",
    ),
    "txt of neighbours": ("w.txt", "2\n1 2\n2\n", WeightsError, "list of neighbours"),
    "txt in bands": ("w.txt", "3 1 1\n1 0 1 0\n2 1 0 1\n3 0 1 0\n", WeightsError, "banded"),
    "txt without ids": ("w.txt", "2\n0 1\n1 0\n", AlignmentError, "carries no unit ids"),
    "gwt that lost its islands": ("w.gwt", "0 3 x id\na b 1\nb a 1\n", AlignmentError, "lost units"),
    "gwt line": ("w.gwt", "0 2 x id\na b 1\nb a\n", WeightsError, "line 3"),
    "gwt header": ("w.gwt", "hello\n", WeightsError, "first line"),
    "mtx without ids": (
        "w.mtx",
        "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 2 1\n",
        AlignmentError,
        "no unit ids",
    ),
    "mtx of a huge claim": (
        "w.mtx",
        "%%MatrixMarket matrix coordinate real general\n999999999 999999999 1\n1 2 1\n",
        WeightsError,
        "claims",
    ),
    "mtx not square": (
        "w.mtx",
        "%%MatrixMarket matrix coordinate real general\n2 3 1\n1 2 1\n",
        WeightsError,
        "square",
    ),
}


@pytest.mark.parametrize("case", BAD_TEXTS, ids=str)
def test_bad_files_are_refused_by_name(tmp_path: Path, case: str) -> None:
    name, text, error, words = BAD_TEXTS[case]
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(error, match=words) as caught:
        quiet(tmp_path / name)
    assert name in str(caught.value) or "Weights 'w'" in str(caught.value)


def test_a_bare_matrix_needs_as_many_ids_as_rows(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("0,1\n1,0\n", "utf-8")
    assert list(read(tmp_path / "w.csv", ["a", "b"]).ids) == ["a", "b"]
    with pytest.raises(AlignmentError, match="2 rows, but 3 ids"):
        read(tmp_path / "w.csv", ["a", "b", "c"])


def test_other_units_than_wanted_are_refused(tmp_path: Path) -> None:
    path = write(sample("csv"), tmp_path / "w.csv")
    with pytest.raises(AlignmentError, match=r"1 only in the file \(7\), 1 only asked for \(8\)"):
        read(path, ["0330102", "330100", "330200", "8", "330900"])


def test_what_is_no_file_of_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no suffix"):
        read(tmp_path / "w.pkl")
    for missing in (tmp_path / "w.csv", "/vsicurl/http://x/w.csv", "http://x/w.gal"):
        with pytest.raises(WeightsError, match="no weights file"):
            read(missing)


def test_pickles_and_objects_are_never_loaded(tmp_path: Path) -> None:
    from scipy.io import savemat

    class Bomb:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "exploded",)

    evil = np.array([Bomb()], dtype=object)
    good = sample("npz").matrix
    parts = {"data": good.data, "indices": good.indices, "indptr": good.indptr, "shape": np.array((5, 5))}
    np.savez(tmp_path / "w.npz", **parts, ids=evil)
    with pytest.raises(WeightsError, match="objects"):
        read(tmp_path / "w.npz")
    assert not (tmp_path / "exploded").exists()
    savemat(tmp_path / "w.mat", {"W": WEIGHTED, "ids": np.array(list(IDS), dtype=object)})
    with (
        pytest.warns(SpatialZbWarning, match=r"char\(ids\)"),
        pytest.raises(AlignmentError, match="no unit ids"),
    ):
        read(tmp_path / "w.mat")


def test_several_matrices_in_one_file_need_a_name(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "w.mat", {"A": WEIGHTED, "B": BINARY, "ids": np.array([1, 2, 3, 4, 5])})
    with pytest.raises(WeightsError, match="A, B"):
        read(tmp_path / "w.mat")
    assert np.array_equal(read(tmp_path / "w.mat", name="B").matrix.toarray(), BINARY)
    with pd.ExcelWriter(tmp_path / "w.xlsx") as book:
        for sheet in ("one", "two"):
            pd.DataFrame(BINARY, index=IDS, columns=IDS).to_excel(book, sheet_name=sheet)
    with pytest.raises(WeightsError, match="one, two"):
        read(tmp_path / "w.xlsx")
    assert np.array_equal(read(tmp_path / "w.xlsx", name="two").matrix.toarray(), BINARY)


UNWRITABLE = {
    "gal of weights": ("w.gal", sample("csv"), "matrix", "not all one"),
    "gal of blanks": ("w.gal", sample("gal", ("a b", "c", "d", "e", "f")), "matrix", "a b"),
    "gwt of blanks": ("w.gwt", sample("gwt", ("a b", "c", "d", "e", "f")), "matrix", "a b"),
    "swm of text": ("w.swm", sample("csv"), "matrix", "0330102"),
    "txt of text": ("w.txt", sample("csv", ("a", "c", "d", "e", "f")), "matrix", "whole numbers"),
    "formula": ("w.csv", sample("csv", ("=1+1", "c", "d", "e", "f")), "matrix", "formulas"),
    "format": ("w.pkl", sample("csv"), "matrix", "no suffix"),
    "form": ("w.npz", sample("npz"), "links", "one form"),
    "folder": ("nowhere/w.csv", sample("csv"), "matrix", "another folder"),
}


@pytest.mark.parametrize("case", UNWRITABLE, ids=str)
def test_what_a_format_cannot_hold_is_not_written(tmp_path: Path, case: str) -> None:
    name, W, form, words = UNWRITABLE[case]
    with pytest.raises(OutputError, match=words):
        write(W, tmp_path / name, form=form)
    assert not list(tmp_path.iterdir())


def test_a_formula_as_id_stays_text_in_xlsx(tmp_path: Path) -> None:
    from openpyxl import load_workbook

    W = sample("xlsx", ("=1+1", "b", "c", "d", "e"))
    path = write(W, tmp_path / "w.xlsx")
    assert load_workbook(path).active["B1"].data_type == "s"
    same(read(path), W)


# --- damage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_truncated_files_raise_only_our_errors(tmp_path: Path, kind: str, form: str) -> None:
    content = write(sample(kind), tmp_path / f"whole.{kind}", form=form).read_bytes()
    path = tmp_path / f"w.{kind}"
    cuts = range(len(content)) if len(content) < 400 else np.linspace(0, len(content) - 1, 60).astype(int)
    for cut in cuts:
        path.write_bytes(content[:cut])
        try:
            W = quiet(path, IDS if kind != "swm" else None)
        except SpatialZbError:
            continue
        if kind in (
            "csv",
            "gwt",
            "mtx",
            "gal",
            "txt",
        ):  # cut inside the last number or after a line: still a file
            assert W.matrix.nnz <= 6
        else:  # only what stands behind the matrix is gone
            same(W, sample(kind))


@pytest.mark.parametrize(("kind", "form"), FORMS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_raise_only_our_errors(
    tmp_path: Path, kind: str, form: str, data: st.DataObject
) -> None:
    whole = tmp_path / f"whole.{kind}"
    content = bytearray(
        whole.read_bytes() if whole.exists() else write(sample(kind), whole, form=form).read_bytes()
    )
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"w.{kind}"
    path.write_bytes(content)
    with contextlib.suppress(SpatialZbError):
        quiet(path)


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_random_bytes_raise_only_our_errors(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / f"w.{kind}"
    path.write_bytes(content)
    with pytest.raises(SpatialZbError):
        quiet(path)


@pytest.mark.parametrize("kind", ["npz", "mat"])
def test_zeros_are_measured_unpacked(tmp_path, monkeypatch, kind):
    """A few bytes may unpack to more than the machine holds."""
    path = tmp_path / f"zeros.{kind}"
    if kind == "npz":
        arrays = {"data": np.zeros(10_000), "indices": np.zeros(10_000, int), "indptr": [0, 10_000, 10_000]}
        np.savez_compressed(path, **arrays, shape=[2, 2], ids=["a", "b"])
    else:
        io.savemat(path, {"W": np.zeros((120, 120))}, do_compression=True)
    for module in (cells, matrices):
        monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    assert path.stat().st_size < 2_000
    with pytest.raises(SpatialZbError, match="more than 100,000 bytes, unpacked"):
        read(path)
