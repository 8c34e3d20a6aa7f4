"""Cases that fool common tools, each run with the tool and with spatial_zb, side by side.

    python scripts/validate_common_tools.py [--write]

Prints the table; ``--write`` puts it with the versions into docs/validation/common_tools.md. Every case is a few lines
on small made-up data, so that a reader can repeat it. tests/whole/test_common_tools.py runs them all: what spatial_zb gives
must be right; a defect that a tool has mended since is skipped there and said here.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
from shapely.geometry import Point, box

import spatial_zb as zb

PAGE = Path(__file__).resolve().parents[2] / "docs" / "validation" / "common_tools.md"
TOOLS = ("libpysal", "esda", "spreg")
#: Numbers that are equal up to rounding.
SAME = 1e-9


@dataclass(frozen=True)
class Case:
    """One case: ``theirs`` and ``ours`` in words, whether the tool is ``fooled`` and spatial_zb is ``right``."""

    title: str
    call: str
    theirs: str
    ours: str
    why: str
    fooled: bool
    right: bool


def quiet(call: Callable[[], Any]) -> Any:
    """Run without the tools' printing and warnings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return call()


def refusal(call: Callable[[], Any]) -> str:
    """The message of spatial_zb's refusal; empty where it does not refuse."""
    try:
        quiet(call)
    except zb.SpatialZbError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def panel_of(ids, **columns) -> zb.Panel:
    return quiet(lambda: zb.build_panel(pd.DataFrame({"unit": ids, "period": 1, **columns})))


def written(*numbers: float) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers)


# --- alignment ---------------------------------------------------------------------------------------------

IDS = list("abcd")
LINE = geopandas.GeoDataFrame(
    geometry=[box(1000 * i, 0, 1000 * (i + 1), 1000) for i in range(4)], index=IDS, crs=32650
)
VALUES = pd.Series([1.0, 2.0, 3.0, 10.0], IDS)
#: Of the row of four: the mean of the neighbours.
LAG = pd.Series([2.0, 2.0, 6.0, 3.0], IDS)


def misordered_graph() -> Case:
    from libpysal.graph import Graph

    graph = quiet(lambda: Graph.build_contiguity(LINE, rook=False).transform("r"))
    theirs = np.asarray(quiet(lambda: graph.lag(VALUES[::-1])))
    ours = our_lag(VALUES[::-1])
    return Case(
        "A labelled series in another order",
        "`libpysal.graph.Graph.lag(series)`",
        f"lags of a, b, c, d: {written(*theirs)}, without a word",
        f"{written(*ours)}",
        "The series carries its ids (d, c, b, a), the graph its own; only the length is compared. Matched by id the lags "
        f"are {written(*LAG)}.",
        bool(np.abs(theirs - LAG.to_numpy()).max() > SAME),
        bool(np.abs(ours - LAG).max() < SAME),
    )


def our_lag(series: pd.Series) -> pd.Series:
    """W y by id: the panel takes the order of W."""
    W = quiet(lambda: zb.weights.contiguity(LINE).standardise("row"))
    frame = pd.DataFrame({"unit": series.index, "period": 1, "y": series.to_numpy()})
    panel = zb.build_panel(frame, units=W.ids)
    return pd.Series(W.matrix @ panel.array("y")[0], W.ids)


def misordered_w() -> Case:
    from libpysal.weights import Queen, lag_spatial

    W = quiet(lambda: Queen.from_dataframe(LINE, use_index=True))
    W.transform = "r"
    theirs = np.asarray(lag_spatial(W, VALUES[::-1]))
    ours = our_lag(VALUES[::-1])
    return Case(
        "The same with the older weights class, which all of spreg uses",
        "`libpysal.weights.lag_spatial(W, series)`",
        f"{written(*theirs)}",
        f"{written(*ours)}",
        "spreg takes bare arrays, so a table sorted otherwise than the map gives a model of other places.",
        bool(np.abs(theirs - LAG.to_numpy()).max() > SAME),
        bool(np.abs(ours - LAG).max() < SAME),
    )


# --- statistics that are no numbers -------------------------------------------------------------------------


def square_with_hole() -> tuple[Any, np.ndarray, zb.Weights, list[str]]:
    from libpysal.weights import lat2W

    W = lat2W(5, 5)
    y = np.random.default_rng(0).normal(size=25)
    y[3] = np.nan
    ids = [f"u{i:02d}" for i in range(25)]
    return W, y, zb.Weights(W.full()[0], ids, "rook"), ids


def nan_global() -> Case:
    from esda import Moran

    W, y, ours, ids = square_with_hole()
    theirs = quiet(lambda: Moran(y, W, permutations=99))
    said = refusal(lambda: zb.moran(panel_of(ids, y=y), "y", ours, permutations=99))
    return Case(
        "A blank cell and a global statistic",
        "`esda.Moran(y, W, permutations=99)`",
        f"I = {theirs.I}, p_sim = {theirs.p_sim}",
        said,
        "Comparisons with NaN are false, so no permutation counts as more extreme and p is the least there is.",
        bool(np.isnan(theirs.I) and theirs.p_sim <= 0.05),
        "blank at u03" in said,
    )


def nan_local() -> Case:
    from esda import Moran_Local

    W, y, ours, ids = square_with_hole()
    theirs = quiet(lambda: Moran_Local(y, W, permutations=99, seed=1))
    said = refusal(lambda: zb.local_moran(panel_of(ids, y=y), "y", ours, permutations=99))
    low = int(np.count_nonzero((theirs.p_sim <= 0.05) & (theirs.q == 3)))
    return Case(
        "A blank cell and local statistics",
        "`esda.Moran_Local(y, W, permutations=99)`",
        f"all 25 statistics NaN; {low} units “Low–Low” with p = {theirs.p_sim.min():.2g}",
        said,
        "One blank cell of 25 makes the mean NaN, and every unit significant.",
        bool(np.isnan(theirs.Is).all() and low > 1),
        "blank at u03" in said,
    )


def constant() -> Case:
    from esda import Moran

    W, _, ours, ids = square_with_hole()
    theirs = quiet(lambda: Moran(np.ones(25), W, permutations=99))
    said = refusal(lambda: zb.moran(panel_of(ids, y=np.ones(25)), "y", ours, permutations=99))
    return Case(
        "A variable that does not vary",
        "`esda.Moran(np.ones(25), W, permutations=99)`",
        f"I = {theirs.I}, p_sim = {theirs.p_sim}",
        said,
        "0/0 is NaN, and then as above.",
        bool(np.isnan(theirs.I) and theirs.p_sim <= 0.05),
        "same for all units" in said,
    )


# --- islands -----------------------------------------------------------------------------------------------


def with_island() -> tuple[Any, np.ndarray, zb.Weights, list[str]]:
    from libpysal.weights import W as PysalW
    from libpysal.weights import lat2W

    A = np.zeros((26, 26))
    A[:25, :25] = lat2W(5, 5).full()[0]
    links = {i: [int(j) for j in np.flatnonzero(A[i])] for i in range(26)}
    y = np.random.default_rng(3).normal(size=26)
    y[25] = -2.0
    ids = [f"u{i:02d}" for i in range(26)]
    return PysalW(links, silence_warnings=True), y, zb.Weights(A, ids, "rook"), ids


def island_local() -> Case:
    from esda import Moran_Local

    W, y, ours, ids = with_island()
    theirs = quiet(lambda: Moran_Local(y, W, permutations=999, seed=1))
    row = (
        quiet(lambda: zb.local_moran(panel_of(ids, y=y), "y", ours, permutations=999, rng=1))
        .table()
        .loc["u25"]
    )
    quadrant = {1: "High–High", 2: "Low–High", 3: "Low–Low", 4: "High–Low"}[int(theirs.q[25])]
    return Case(
        "A unit without neighbours and local Moran",
        "`esda.Moran_Local(y, W, permutations=999)`",
        f"I = {theirs.Is[25]:g}, “{quadrant}”, p = {theirs.p_sim[25]:.2g}",
        f"I = {row['I']}, p = {row['p_sim']}, “{row['cluster']}”",
        "Its lag is zero in every permutation: the p-value is that of a constant. Zhoushan is such a unit.",
        bool(theirs.p_sim[25] <= 0.01),
        bool(np.isnan(row["p_sim"]) and row["cluster"] == "no neighbours"),
    )


def island_g() -> Case:
    from esda import G_Local

    W, y, ours, ids = with_island()
    positive = y - y.min() + 1
    theirs = quiet(lambda: G_Local(positive, W, permutations=999, seed=1))
    row = (
        quiet(lambda: zb.explore.local_g(panel_of(ids, y=positive), "y", ours, permutations=999, rng=1))
        .table()
        .loc["u25"]
    )
    return Case(
        "A unit without neighbours and Getis–Ord G",
        "`esda.G_Local(y, W, permutations=999)`",
        f"G = {theirs.Gs[25]:g}, z = {theirs.Zs[25]:g}, p = {theirs.p_sim[25]:.2g}",
        f"G = {row['G']}, p = {row['p_sim']}, “{row['cluster']}”",
        "As above.",
        bool(theirs.p_sim[25] <= 0.01),
        bool(np.isnan(row["p_sim"]) and row["cluster"] == "no neighbours"),
    )


# --- geometry ----------------------------------------------------------------------------------------------

#: Three squares of a kilometre in a row; a gap of two centimetres, then an overlap of two.
SLIVERS = geopandas.GeoDataFrame(
    geometry=[box(0, 0, 1000, 1000), box(1000.02, 0, 2000, 1000), box(1999.98, 0, 3000, 1000)],
    index=list("abc"),
    crs=32650,
)


def slivers() -> Case:
    from libpysal.graph import Graph

    graph = quiet(lambda: Graph.build_contiguity(SLIVERS, rook=False))
    ours = zb.weights.contiguity(SLIVERS)
    degrees = np.diff(ours.matrix.indptr)
    return Case(
        "Borders that miss each other by two centimetres",
        "`Graph.build_contiguity(squares, rook=False)`",
        f"{len(graph.isolates)} of 3 squares in a row are islands, without a word",
        f"neighbours of a, b, c: {written(*degrees)}; `read_regions` names the pairs",
        "Shared vertices are compared exactly. Digitised borders gape and overlap by centimetres.",
        len(graph.isolates) > 0,
        degrees.tolist() == [1, 2, 1],
    )


#: At 60° north: b is 1.5° east of a (84 km), c is 1° north of it (111 km).
NORTH = geopandas.GeoDataFrame(
    geometry=[Point(20, 60), Point(21.5, 60), Point(20, 61)], index=list("abc"), crs=4326
)


def degrees_nearest() -> Case:
    from libpysal.weights import KNN

    theirs = quiet(lambda: KNN.from_dataframe(NORTH, k=1, use_index=True)).neighbors["a"][0]
    squares = NORTH.set_geometry(
        [box(p.x - 0.01, p.y - 0.01, p.x + 0.01, p.y + 0.01) for p in NORTH.geometry]
    )
    W = quiet(lambda: zb.weights.knn(squares, 1))
    ours = W.ids[W.matrix[[0]].indices[0]]
    return Case(
        "The nearest neighbour on a layer in degrees",
        "`libpysal.weights.KNN.from_dataframe(layer, k=1)`",
        f"nearest to a: {theirs} (111 km away)",
        f"{ours} (84 km)",
        "Degrees of longitude and latitude are taken for one length; at 30° north they differ by 13 %, at 60° by half.",
        str(theirs) == "c",
        ours == "b",
    )


def degrees_band() -> Case:
    from libpysal.weights import DistanceBand

    theirs = quiet(lambda: DistanceBand.from_dataframe(NORTH, 100, use_index=True, silence_warnings=True))
    squares = NORTH.set_geometry(
        [box(p.x - 0.01, p.y - 0.01, p.x + 0.01, p.y + 0.01) for p in NORTH.geometry]
    )
    W = quiet(lambda: zb.weights.distance_band(squares, 100, islands="zero"))
    links = W.matrix.nnz
    return Case(
        "A band of 100 on a layer in degrees",
        "`libpysal.weights.DistanceBand.from_dataframe(layer, 100)`",
        f"all pairs are linked: {sum(theirs.cardinalities.values())} links (100 degrees)",
        f"{links} links: a and b (100 km)",
        "Distances are kilometres on the ellipsoid whatever the reference system.",
        sum(theirs.cardinalities.values()) == 6,
        links == 2,
    )


# --- models ------------------------------------------------------------------------------------------------


def ordered_determinant() -> Case:
    from libpysal.weights import lat2W
    from spreg import ML_Lag

    W, rng = lat2W(7, 7), np.random.default_rng(1)
    A = W.full()[0]
    x = rng.normal(size=49)
    y = np.linalg.solve(np.eye(49) - 0.2 * A, 1 + x + rng.normal(size=49))
    ids = [f"u{i:02d}" for i in range(49)]
    theirs = quiet(lambda: ML_Lag(y[:, None], x[:, None], W, method="ord"))
    again = quiet(lambda: ML_Lag(y[:, None], x[:, None], W, method="full"))
    spec = zb.DurbinSpec("y", ["x"], lag_x=[], fixed_effects="none")
    ours = zb.Weights(A, ids, "rook")
    fit = quiet(lambda: zb.fit_durbin(spec, panel_of(ids, y=y, x=x), ours))
    exact = direct_likelihood(fit.params["rho"], y, x, A)
    return Case(
        "A model that changes the weights it is given",
        '`spreg.ML_Lag(y, x, W, method="ord")`, binary W, true ρ = 0.2',
        f"ρ = {theirs.rho:.4f}, log-likelihood {float(theirs.logll):.2f}; W is row-normalised from then on, and the exact "
        f'method="full" on the same W now gives ρ = {again.rho:.4f}, log-likelihood {float(again.logll):.2f}',
        f"ρ = {fit.params['rho']:.4f}, log-likelihood {fit.log_likelihood:.4f} (by definition {exact:.4f}); W as it was",
        "The caller’s object is altered on the way: residuals come from the W that was given, the determinant from its "
        "row-normalised form. Objects do not change here.",
        bool(not np.array_equal(W.full()[0], A) and abs(float(theirs.logll) - exact) > 1e-3),
        bool(abs(fit.log_likelihood - exact) < 1e-6 and np.array_equal(ours.matrix.toarray(), A)),
    )


def direct_likelihood(rho: float, y: np.ndarray, x: np.ndarray, A: np.ndarray) -> float:
    """ln L of a SAR with β and σ² concentrated out, from a dense determinant."""
    n = len(y)
    S, X = np.eye(n) - rho * A, np.column_stack([np.ones(n), x])
    e = S @ y - X @ np.linalg.lstsq(X, S @ y, rcond=None)[0]
    return float(np.linalg.slogdet(S)[1] - n / 2 * (np.log(2 * np.pi * (e @ e) / n) + 1))


def simple_impacts() -> Case:
    from libpysal.weights import KNN
    from spreg import ML_Lag

    rng = np.random.default_rng(5)
    W = quiet(lambda: KNN(rng.random((40, 2)), k=3))
    W.transform = "r"
    A = W.full()[0]
    x = rng.normal(size=40)
    y = np.linalg.solve(np.eye(40) - 0.5 * A, 1 + x + rng.normal(size=40))
    ids = [f"u{i:02d}" for i in range(40)]
    theirs = quiet(
        lambda: ML_Lag(y[:, None], x[:, None], W, method="full", slx_lags=1, spat_impacts="simple")
    )
    direct = float(theirs.betas[1, 0])
    printed = f"{direct:.4f}" in theirs.summary.split("IMPACTS")[-1]
    fit = quiet(
        lambda: zb.fit_durbin(
            zb.DurbinSpec("y", ["x"], fixed_effects="none"),
            panel_of(ids, y=y, x=x),
            zb.Weights(A, ids, "knn3"),
        )
    )
    ours = zb.spatial_effects(fit).tidy().set_index("effect").loc["direct", "estimate"]
    rho, beta, theta = fit.params[["rho", "x", "W_x"]]
    exact = np.trace(np.linalg.solve(np.eye(40) - rho * A, beta * np.eye(40) + theta * A)) / 40
    return Case(
        "Direct effects of a spatial Durbin model",
        '`spreg.ML_Lag(..., slx_lags=1, spat_impacts="simple")`, its default',
        f"direct effect {direct:.4f}: the coefficient itself; feedback and θ all count as indirect",
        f"{ours:.4f} (by definition tr[S⁻¹(βI + θW)]/n = {exact:.4f})",
        "The direct effect holds the feedback through neighbours (LeSage & Pace 2009, ch. 2.7).",
        printed and abs(direct - exact) > 1e-3,
        abs(ours - exact) < 1e-8,
    )


def demeaned_first() -> Case:
    """Two-way effects removed by hand, then a tool that has unit effects only: T ln|S| and W after demeaning."""
    from spreg import Panel_FE_Lag

    regions = quiet(lambda: zb.read_regions(PAGE.parents[2] / "shapefiles" / "delta_cities.shp"))
    regions = regions[regions["prov"] == "浙江省"]
    W = quiet(lambda: zb.weights.contiguity(regions, islands="nearest").standardise("row"))
    peer = as_pysal(W)
    theirs, ours = [], []
    for seed in range(60):
        panel = zb.simulate.durbin(W, 11, {"x": 1.0}, rho=0.3, rng=seed)
        spec = zb.DurbinSpec("y", ["x"], lag_x=[], fixed_effects="two_way")
        ours.append(quiet(lambda spec=spec, panel=panel: zb.fit_durbin(spec, panel, W)).params["rho"])
        y, x = (demeaned(panel.array(name)) for name in ("y", "x"))
        stacked = [v.reshape(-1, 1) for v in (y, x)]
        theirs.append(float(quiet(lambda s=stacked: Panel_FE_Lag(s[0], s[1], peer)).rho))
    error = np.std(theirs) / np.sqrt(len(theirs))
    return Case(
        "Two-way effects removed before the model, 11 cities",
        "`spreg.Panel_FE_Lag` on doubly demeaned data (spreg has no time effects), true ρ = 0.3",
        f"mean ρ = {np.mean(theirs):.2f} over 60 simulated panels (± {error:.2f})",
        f"mean ρ = {np.mean(ours):.2f} (two-way effects by the Lee–Yu transform)",
        "W times demeaned y is not demeaned Wy, and T ln|S| is not the determinant of the transformed data.",
        bool(abs(np.mean(theirs) - 0.3) > 5 * error),
        bool(abs(np.mean(ours) - 0.3) < 0.06),
    )


def demeaned(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()


def as_pysal(W: zb.Weights) -> Any:
    """The same links for spreg."""
    from libpysal.weights import W as PysalW

    rows = [W.matrix[[i]] for i in range(W.n)]
    links = {i: list(map(int, row.indices)) for i, row in enumerate(rows)}
    values = {i: list(map(float, row.data)) for i, row in enumerate(rows)}
    return PysalW(links, values, id_order=list(range(W.n)), silence_warnings=True)


def units_dropped() -> Case:
    """Half the units come late: a tool for complete panels gets those that are always there, and W among them."""
    from spreg import Panel_FE_Lag

    regions = quiet(lambda: zb.read_regions(PAGE.parents[2] / "shapefiles" / "delta_cities.shp"))
    W = quiet(lambda: zb.weights.contiguity(regions, islands="nearest").standardise("row"))
    rng, T, n = np.random.default_rng(5), 6, W.n
    there = np.ones((T, n), dtype=bool)
    late = rng.permutation(n)[: n // 2]
    there[:, late] = np.arange(T)[:, None] >= rng.integers(1, T - 1, len(late))
    always = there.all(axis=0)
    left = quiet(lambda: W.subset(W.ids[always]).standardise("row"))
    peer, spec = as_pysal(left), zb.DurbinSpec("y", ["x"], lag_x=[], fixed_effects="unit")
    theirs, ours = [], []
    for _ in range(40):
        y, x = np.full((T, n), np.nan), np.where(there, rng.standard_normal((T, n)), np.nan)
        unit = rng.standard_normal(n)
        for t, on in enumerate(there):
            part = W.matrix.toarray()[np.ix_(on, on)]
            part = part / np.maximum(part.sum(axis=1, keepdims=True), SAME)
            right = unit[on] + x[t, on] + rng.standard_normal(on.sum())
            y[t, on] = np.linalg.solve(np.eye(on.sum()) - 0.3 * part, right)
        values = np.stack([y, x], axis=2)
        panel = zb.Panel(values, tuple(range(2001, 2001 + T)), W.ids, ("y", "x"), present=there)
        ours.append(quiet(lambda panel=panel: zb.fit_durbin(spec, panel, W)).params["rho"])
        stacked = [v[:, always].reshape(-1, 1) for v in (y, x)]
        theirs.append(float(quiet(lambda s=stacked: Panel_FE_Lag(s[0], s[1], peer)).rho))
    error = [np.std(values) / np.sqrt(len(values)) for values in (theirs, ours)]
    return Case(
        f"Half of {n} cities come late, {T} periods",
        "`spreg.Panel_FE_Lag`, which needs every unit in every period, on the units that are always there, true ρ = 0.3",
        f"mean ρ = {np.mean(theirs):.2f} over 40 simulated panels (± {error[0]:.2f})",
        f"mean ρ = {np.mean(ours):.2f} (± {error[1]:.2f}), on the rows that there are",
        "With the units their part in the lag of their neighbours is dropped: Wy of the rest is another variable.",
        bool(abs(np.mean(theirs) - 0.3) > 4 * error[0]),
        bool(abs(np.mean(ours) - 0.3) < 4 * error[1]),
    )


CASES: tuple[Callable[[], Case], ...] = (
    misordered_graph,
    misordered_w,
    nan_global,
    nan_local,
    constant,
    island_local,
    island_g,
    slivers,
    degrees_nearest,
    degrees_band,
    ordered_determinant,
    simple_impacts,
    demeaned_first,
    units_dropped,
)


def page(cases: list[Case]) -> str:
    """The page of docs/validation."""
    versions = ", ".join(f"{tool} {version(tool)}" for tool in TOOLS)
    rows = [
        "| {} | {} | {}{} | {} | {} |".format(
            *(cell.replace("|", "\\|").replace("\n", " ") for cell in (case.title, case.call, case.theirs)),
            "" if case.fooled else " (mended)",
            case.ours.replace("|", "\\|").replace("\n", " "),
            case.why.replace("|", "\\|"),
        )
        for case in cases
    ]
    return "\n".join(
        [
            "# Cases that fool common tools",
            "",
            f"Each was run with {versions} and with spatial_zb, on the same made-up data, by",
            "`python scripts/validate_common_tools.py --write`; `tests/whole/test_common_tools.py` runs them again.",
            "These are widely used and careful packages, whose values agree with ours on clean input (see the other pages",
            "here and `tests/reference`); the cases show what happens at the edge, and why this package refuses, warns or",
            "matches by id there. Panel tests and estimators beside spreg's over many simulated panels are in",
            "`other_software`.",
            "",
            "| case | call | what it gives | spatial_zb | why |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def show(write: bool) -> None:
    """Print the cases, or write the page."""
    text = page([case() for case in CASES])
    if write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)
