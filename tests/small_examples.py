"""Small weights and a small system that tests of several modules use."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb import DurbinSpec, Panel, SpatialZbWarning, Weights, as_weights, build_panel, fit_durbin
from spatial_zb.simulate import durbin as simulate_durbin

#: Coefficients of two equations that act on each other and are far from instability.
MUTUAL = {
    ("industry", "tal"): 0.3,
    ("industry", "W_ind"): 0.3,
    ("industry", "a"): 1.0,
    ("talent", "ind"): 0.2,
    ("talent", "W_tal"): 0.25,
    ("talent", "c"): 1.0,
}


def weights_of(matrix: np.ndarray | sparse.sparray, label: str, how: str = "row") -> Weights:
    """The matrix with ids u000, u001, …, normalised."""
    ids = pd.Index([f"u{i:03d}" for i in range(matrix.shape[0])])
    return Weights(sparse.csr_array(matrix), ids, label).standardise(how)


def rook(rows: int, columns: int) -> sparse.csr_array:
    """Squares that share a side, 0 and 1."""
    parts = [sparse.diags_array([np.ones(k - 1)] * 2, offsets=[-1, 1], shape=(k, k)) for k in (rows, columns)]
    across, along = (sparse.eye_array(k) for k in (rows, columns))
    return sparse.csr_array(sparse.kron(parts[0], along) + sparse.kron(across, parts[1]))


def ring(units: int | Sequence[str], step: int = 1) -> Weights:
    """A neighbour ``step`` places away on either side, row-normalised; ids u00, u01, … where only their number is given."""
    ids = [f"u{i:02d}" for i in range(units)] if isinstance(units, int) else list(units)
    one = np.roll(np.eye(len(ids)), step, axis=1)
    return Weights(sparse.csr_array((one + one.T) / 2), ids, f"ring{step}", "row")


def ring_with_chords(n: int, normalisation: str = "row", seed: int = 0) -> Weights:
    """A lopsided ring with a few links across it: W has complex eigenvalues."""
    dense = np.roll(np.eye(n), 1, 1) + 0.5 * np.roll(np.eye(n), -1, 1)
    dense += (np.random.default_rng(seed).random((n, n)) < 2 / n) * (1 - np.eye(n))
    return as_weights(dense, [f"u{i:02d}" for i in range(n)]).standardise(normalisation)


def circle(n: int) -> Weights:
    """One neighbour on either side."""
    return weights_of(np.roll(np.eye(n), 1, axis=1) + np.roll(np.eye(n), -1, axis=1), "circle")


def lopsided_circle(n: int) -> Weights:
    """One neighbour on either side and half a one further on: W is not similar to a symmetric matrix."""
    near = np.roll(np.eye(n), 1, axis=1) + np.roll(np.eye(n), -1, axis=1)
    return weights_of(near + 0.5 * np.roll(np.eye(n), 2, axis=1), "lopsided circle")


def unequal_circle(n: int, how: str = "row") -> Weights:
    """Two neighbours on either side with unequal symmetric weights."""
    rng = np.random.default_rng(8)
    A = np.zeros((n, n))
    for i in range(n):
        for step in (1, 2):
            A[i, (i + step) % n] = A[(i + step) % n, i] = rng.uniform(0.5, 1.5)
    return weights_of(A, "unequal circle", how)


def directed_knn(n: int, k: int = 3, seed: int = 4, how: str = "row") -> Weights:
    """The k nearest of random points, directed: W has complex eigenvalues."""
    points = np.random.default_rng(seed).random((n, 2))
    far = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(n)
    near = np.argsort(far, axis=1)[:, :k]
    A = sparse.csr_array((np.ones(n * k), (np.repeat(np.arange(n), k), near.ravel())), shape=(n, n))
    return weights_of(A, "knn", how)


def star() -> Weights:
    """One unit is the neighbour of all others, which also have two of their own."""
    n = 31
    links = ring(n).matrix.toarray() > 0
    links[0, 1:] = links[1:, 0] = True
    return Weights(
        sparse.csr_array(links.astype(float)), [f"u{k:02d}" for k in range(n)], "star"
    ).standardise("row")


def twelve_units(kind: str) -> Weights:
    """A symmetric, an asymmetric (two nearest) or a dense W of 12 random points."""
    rng = np.random.default_rng(5)
    place = rng.random((12, 2))
    distance = np.linalg.norm(place[:, None] - place[None], axis=2) + np.eye(12) * 9
    links = {
        "symmetric": (distance < 0.45) | (distance <= distance.min(axis=1, keepdims=True)),
        "asymmetric": distance <= np.sort(distance, axis=1)[:, [1]],
        "dense": 1 / distance,
    }[kind].astype(float)
    if kind == "symmetric":
        links = np.maximum(links, links.T)
    np.fill_diagonal(links, 0)
    return Weights(sparse.csr_array(links), [f"u{i:02d}" for i in range(12)], kind).standardise("row")


def durbin_fit(n: int = 30, T: int = 10, seed: int = 3, **options):
    """A fit of simulated data on a ring; any option of ``DurbinSpec``."""
    W = ring(n)
    panel = simulate_durbin(W, T, {"a": 1.0, "b": -0.5}, theta={"a": 0.4}, rho=0.3, rng=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        return fit_durbin(DurbinSpec("y", ["a", "b"], **options), panel, W)


def cities(sample: str) -> tuple[Panel, Weights]:
    """The real panel and W of ``delta`` (41 cities) or ``zhejiang`` (11)."""
    folder = Path(__file__).parent / "reference" / "city_panels"
    rows = pd.read_csv(folder / "panel.csv", dtype={"unit": str}).query("sample == @sample")
    edges = pd.read_csv(folder / "edges.csv", dtype={"i": str, "j": str}).query("sample == @sample")
    ids = sorted(rows["unit"].unique())
    places = ([ids.index(i) for i in edges["i"]], [ids.index(j) for j in edges["j"]])
    W = sparse.csr_array((edges["w"], places), shape=(len(ids), len(ids)))
    return build_panel(rows.drop(columns="sample"), "unit", "period", ids), as_weights(W, ids=ids)
