"""The Weights object: scaling, alignment, exchange with libpysal, frozenness."""

from __future__ import annotations

import pickle

import libpysal
import numpy as np
import pandas as pd
import pytest
from dense_matrices import all_matrices
from scipy import sparse

from spatial_zb import AlignmentError, Weights, WeightsError, as_weights

MATRICES = all_matrices()


def make(name: str) -> Weights:
    n = MATRICES[name].shape[0]
    return Weights(MATRICES[name], pd.Index([f"0{i}" for i in range(n)]), name)


@pytest.mark.parametrize("name", MATRICES)
def test_row(name):
    W = make(name).standardise("row")
    sums = W.matrix.sum(axis=1)
    island = np.isin(W.ids, W.islands)
    np.testing.assert_allclose(sums[~island], 1)
    np.testing.assert_array_equal(sums[island], 0)
    assert W.row_normalised == (not island.any())
    ratio = W.matrix.toarray() * MATRICES[name].toarray().sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ratio, MATRICES[name].toarray())


@pytest.mark.parametrize("name", MATRICES)
def test_spectral(name):
    W = make(name).standardise("spectral")
    assert np.abs(np.linalg.eigvals(W.matrix.toarray())).max() == pytest.approx(1, rel=1e-6)
    proportional(W, name)


@pytest.mark.parametrize("name", MATRICES)
def test_minmax(name):
    W = make(name).standardise("minmax")
    A = W.matrix.toarray()
    assert min(A.sum(axis=0).max(), A.sum(axis=1).max()) == pytest.approx(1)
    assert np.abs(np.linalg.eigvals(A)).max() <= 1 + 1e-9
    proportional(W, name)


def proportional(W: Weights, name: str) -> None:
    A, B = W.matrix.toarray(), MATRICES[name].toarray()
    np.testing.assert_allclose(A * B.sum(), B * A.sum(), rtol=1e-10)


def test_standardise_gives_a_new_object_and_keeps_the_rest():
    W = make("symmetric")
    before = W.matrix.toarray()
    new = W.standardise("row")
    assert (new.normalisation, new.label, W.normalisation) == ("row", "symmetric", "none")
    np.testing.assert_array_equal(W.matrix.toarray(), before)
    assert W.standardise("none") is W
    assert new.logdet is not W.logdet
    with pytest.raises(WeightsError, match="minmax"):
        W.standardise("column")


@pytest.mark.parametrize("name", MATRICES)
def test_round_trip_through_a_graph_keeps_ids_islands_and_weights(name):
    W = make(name)
    back = as_weights(W.to_graph())
    assert list(back.ids) == list(W.ids)
    assert list(back.islands) == list(W.islands)
    np.testing.assert_allclose(back.matrix.toarray(), W.matrix.toarray())


@pytest.mark.parametrize("name", ["row", "knn_complex", "islands_row"])
def test_a_libpysal_w_is_read_by_its_ids(name):
    W = make(name)
    coo = W.matrix.tocoo()
    neighbours = {i: [] for i in W.ids}
    strength = {i: [] for i in W.ids}
    for i, j, w in zip(coo.row, coo.col, coo.data, strict=True):
        neighbours[W.ids[i]].append(W.ids[j])
        strength[W.ids[i]].append(w)
    order = list(np.random.default_rng(0).permutation(W.ids))
    peer = libpysal.weights.W(neighbours, strength, id_order=order, silence_warnings=True)
    np.testing.assert_allclose(as_weights(peer, ids=W.ids).matrix.toarray(), W.matrix.toarray())


def test_a_frame_is_read_by_its_labels():
    W = make("row")
    frame = pd.DataFrame(W.matrix.toarray(), W.ids, W.ids)
    assert as_weights(frame).row_normalised
    with pytest.raises(AlignmentError, match="same order"):
        as_weights(frame[frame.columns[::-1]])


def test_align_moves_rows_and_columns_with_their_ids():
    W = make("knn_complex")
    order = np.random.default_rng(1).permutation(W.n)
    moved = W.align(W.ids[order])
    a, b = (pd.DataFrame(x.matrix.toarray(), x.ids, x.ids) for x in (W, moved))
    pd.testing.assert_frame_equal(b.loc[W.ids, W.ids], a, check_names=False)
    assert W.align(W.ids) is W
    with pytest.raises(AlignmentError, match="only in the weights"):
        W.align(W.ids[:-1])


def test_lag_matches_by_id():
    W = make("row")
    x = pd.Series(np.arange(12.0), W.ids)
    shuffled = x.sample(frac=1, random_state=0)
    np.testing.assert_allclose(W.lag(shuffled), W.matrix @ x.to_numpy())
    with pytest.raises(AlignmentError, match="011"):
        W.lag(x.iloc[:-1])


def test_the_callers_matrix_is_copied_and_never_changed():
    """52: dense, sparse with explicit zeros and duplicates, and unsorted indices stay as they were."""
    rows, cols, data = [0, 0, 1, 2, 0], [2, 1, 0, 0, 1], [1.0, 0.5, 1.0, 1.0, 0.5]
    coo = sparse.coo_array((data, (rows, cols)), shape=(3, 3))
    csr = sparse.csr_array(np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0.0]]))
    csr.data[1] = 0.0
    kept = csr.data.copy(), csr.indices.copy(), coo.data.copy()
    for given in (coo, csr, csr.toarray()):
        Weights(given, pd.Index(list("abc"))).standardise("row")
    np.testing.assert_array_equal(csr.data, kept[0])
    np.testing.assert_array_equal(csr.indices, kept[1])
    np.testing.assert_array_equal(coo.data, kept[2])
    made = Weights(csr, pd.Index(list("abc")))
    csr.data[:] = 7.0
    assert made.matrix.max() == 1.0
    for part in (made.matrix.data, made.matrix.indices, made.matrix.indptr):
        assert not part.flags.writeable


def test_ids_are_text():
    assert list(Weights(MATRICES["equal"], pd.Index(range(6))).ids) == list("012345")
    with pytest.raises(AlignmentError, match=r"1\.0"):
        Weights(MATRICES["equal"], pd.Index([1.0, 2, 3, 4, 5, 6]))
    with pytest.raises(AlignmentError, match="twice: a"):
        Weights(MATRICES["equal"], pd.Index(list("abcaef")))
    with pytest.raises(AlignmentError, match="6 rows but 5 ids"):
        Weights(MATRICES["equal"], pd.Index(list("abcde")))
    with pytest.raises(WeightsError, match="square"):
        Weights(np.ones((2, 3)), pd.Index(list("ab")))
    with pytest.raises(WeightsError, match="str"):
        as_weights("queen")


def test_components_and_islands():
    W = make("disconnected_row")
    assert W.components.nunique() == 3
    assert list(make("islands_symmetric").islands) == ["00"]


def test_pickling():
    W = make("row").standardise("row")
    again = pickle.loads(pickle.dumps(W))
    np.testing.assert_array_equal(again.matrix.toarray(), W.matrix.toarray())
    assert (again.label, again.normalisation, list(again.ids)) == (W.label, W.normalisation, list(W.ids))


FULL = np.ones((4, 4)) - np.eye(4)
WORDS = FULL.astype(object)
WORDS[0, 1] = "near"
BLANK = FULL.astype(object)
BLANK[0, 1] = None
NO_NUMBERS = {
    "words": (WORDS, r"numbers.*b → a \('near'\).*astype"),
    "text": (FULL.astype(str), "numbers.*type <U"),
    "dates": (np.full((4, 4), np.datetime64("2020-01-01")), "numbers.*datetime64"),
    "blank": (BLANK, "not finite.*b → a"),
    "one row": (np.ones(4), r"n × n, not an array of 1 dim"),
    "one sparse row": (sparse.coo_array(np.ones(4)), r"n × n, not an array of 1 dim"),
    "a cube": (np.ones((4, 4, 4)), "3 dim"),
    "one number": (np.array(1.0), "0 dim"),
    "complex": (FULL * (1 + 1j), "complex.*real part or their modulus"),
    "complex sparse": (sparse.csr_array(FULL * 1j), "complex"),
    "complex objects": ((FULL * 1j).astype(object), "numbers.*b → a"),
}


@pytest.mark.parametrize("make", [as_weights, Weights], ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", NO_NUMBERS)
def test_matrices_that_hold_no_weights_are_refused_in_words(case, make):
    matrix, words = NO_NUMBERS[case]
    with pytest.raises(WeightsError, match=words):
        make(matrix, ids=list("abcd"))
    if case in ("words", "text", "complex"):
        with pytest.raises(WeightsError):
            as_weights(pd.DataFrame(matrix, list("abcd"), list("abcd")))


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(WeightsError, match="different lengths"):
        Weights([[0, 1], [1]], ["a", "b"])


def test_numbers_kept_as_objects_are_read():
    for given in (FULL.astype(object), FULL.astype(bool), FULL.astype(int)):
        np.testing.assert_array_equal(as_weights(given, ids=list("abcd")).matrix.toarray(), FULL)
    frame = pd.DataFrame(FULL, list("abcd"), list("abcd")).astype("Float64")
    np.testing.assert_array_equal(as_weights(frame).matrix.toarray(), FULL)


@pytest.mark.parametrize("ids", ["abcd", 4])
def test_ids_that_are_no_list_are_refused(ids):
    with pytest.raises(AlignmentError, match="a list"):
        as_weights(FULL, ids=ids)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_links_that_never_lead_back_have_no_spectral_scale(order):
    """All eigenvalues are zero, in any order of units."""
    W = as_weights(np.triu(FULL)[np.ix_(order, order)], ids=list("abcd"), label="upstream")
    with pytest.raises(WeightsError, match=r"'upstream'.*eigenvalues are zero.*\"row\" or \"minmax\""):
        W.standardise("spectral")
    assert W.standardise("minmax").matrix.max() == pytest.approx(1 / 3)


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_a_table_read_back_has_numbers_over_its_rows(tmp_path, suffix):
    """pandas reads ids of rows as numbers and those of columns as text."""
    ids = ["330100", "330200", "330300"]
    path = tmp_path / f"W.{suffix}"
    frame = pd.DataFrame([[0, 1, 0], [1, 0, 1], [0, 1, 0]], ids, ids)
    frame.to_csv(path) if suffix == "csv" else frame.to_excel(path)
    read = (pd.read_csv if suffix == "csv" else pd.read_excel)(path, index_col=0)
    assert not read.index.equals(read.columns)
    assert list(as_weights(read).ids) == ids
    with pytest.raises(AlignmentError, match="same order"):
        as_weights(read.iloc[::-1])
