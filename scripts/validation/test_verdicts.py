"""Which tests hold their level, which warn and hold by the bootstrap, and which do not: one row per test and cell."""

from __future__ import annotations

import numpy as np
import pandas as pd

from spatial_zb.hypotheses.sizes import CORRELATED, MEASURED, SPATIAL, TIED, UNSEEN

from .sizes import BOUNDS, KEYS, LEVEL, strength

__all__ = ["CSV", "VERDICTS", "lifelike_tests", "test_verdicts"]

CSV = "test_verdicts.csv"
VERDICTS = ("holds", "warns, bootstrap holds", "warns, bootstrap off", "warns, not drawn", "silent")
SPARSE = {"contiguity": "sparse", "inverse distance": "dense"}


def test_verdicts(sizes: pd.DataFrame, drawn: pd.DataFrame | None) -> pd.DataFrame:
    """The table, from ``test_size.csv`` and ``null_sizes.csv``.

    ``size``, ``size_error``: rejections at 5 % by the usual p-value, and twice the error of the simulation; ``undefined``
    the share of panels without it. ``bootstrap``, ``bootstrap_error``, ``panels``, ``draws``: the same by the bootstrap
    p-value, from so many draws per panel (1: one draw in a pool). ``warned``: ``diagnose`` says that the test is off at
    this place. ``verdict``: *holds* (the size is in 4-6 % up to its error), *warns, bootstrap holds* (it is not,
    ``diagnose`` says so, and the bootstrap is), *warns, bootstrap off*, *warns, not drawn*, *silent*.
    """
    own = sizes[(sizes["usual"].astype(str) == "False") & (sizes["of"] != "each period")]
    table = own[["test", *KEYS, "size", "undefined", "replications"]].copy()
    table.insert(2, "spatial", [strength(t) if "=" in t else np.nan for t in table["truth"]])
    table["size_error"] = 2 * np.sqrt(LEVEL * (1 - LEVEL) / table["replications"])
    table["warned"] = [
        (SPARSE[r.weights], r.effects, r.n) in MEASURED.get(r.test, {}) for r in table.itertuples()
    ]
    if drawn is None:
        drawn = pd.DataFrame(columns=["test", *KEYS, "bootstrap", "undefined", "replications", "replicates"])
    names = {"undefined": "bootstrap_undefined", "replications": "panels", "replicates": "draws"}
    # of two measurements the one with a p-value of every panel
    best = drawn.rename(columns=names).sort_values("draws").drop_duplicates(["test", *KEYS], keep="last")
    table = table.merge(best, on=["test", *KEYS], how="left")
    pool = np.where(table["draws"] == 1, np.sqrt(2), 1)
    table["bootstrap_error"] = 2 * pool * np.sqrt(LEVEL * (1 - LEVEL) / table["panels"].astype(float))
    holds, drawn_holds = (_inside(table[name], table[f"{name}_error"]) for name in ("size", "bootstrap"))
    table["bootstrap_holds"] = np.where(table["bootstrap"].isna(), np.nan, drawn_holds)
    by_draws = np.where(
        table["bootstrap"].isna(), VERDICTS[3], np.where(drawn_holds, VERDICTS[1], VERDICTS[2])
    )
    table["verdict"] = np.where(holds, VERDICTS[0], np.where(table["warned"], by_draws, VERDICTS[4]))
    return table[
        [
            *["test", "truth", "spatial", "effects", "n", "weights"],
            *["size", "size_error", "undefined", "replications", "warned"],
            *["bootstrap", "bootstrap_error", "bootstrap_undefined", "panels", "draws", "bootstrap_holds"],
            "verdict",
        ]
    ]


def _inside(size: pd.Series, error: pd.Series) -> pd.Series:
    return (size >= BOUNDS[0] - error) & (size <= BOUNDS[1] + error)


#: The test that finds errors → what `diagnose` names then: a test of the same table, or an estimator.
NAMES = {CORRELATED: "Wald SDM to SAR, clustered", TIED: "robust_score"}
#: `diagnose` is taken to find errors where it does in so many panels.
FOUND = 0.5


def lifelike_tests(sizes: pd.DataFrame, fits: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Verdicts of tests whose hypothesis is true, from ``lifelike_tests.csv``.

    ``fits``: the verdicts of fits in the same cells; ``keys``: the columns of a cell. *holds*; *warns, what it names holds*
    or *warns, off*: `diagnose` finds errors in at least half of the panels, or says that it cannot at this n and T, says
    that they put tests of spatial terms off, and the clustered Wald test or SDM by robust score, which it names, holds
    or not; *rejects too rarely*, which misleads nobody; *silent*.
    """
    shares = sizes.set_index([*keys, "test"])["rejects"]
    scored = fits[(fits["estimator"] == "robust_score") & (fits["model"] == "SDM")].set_index(keys)["verdict"]
    table = sizes[sizes["hypothesis"] == "holds"].copy()
    table["size_error"] = 2 * np.sqrt(LEVEL * (1 - LEVEL) / table["panels"])
    inside = _inside(table["rejects"], table["size_error"])
    words = []
    for (_, row), holds in zip(table.iterrows(), inside, strict=True):
        cell = tuple(row[keys])
        found = [c for c in NAMES if shares.get((*cell, c), 0.0) >= FOUND]
        unseen = row["weights"] == "contiguity" and (row["n"], row["periods"]) in UNSEEN
        found += [CORRELATED] if unseen and CORRELATED not in found else []
        if not holds and row["rejects"] < BOUNDS[0]:
            words.append("rejects too rarely")
            continue
        if holds or not found or row["test"] not in SPATIAL:
            words.append("holds" if holds else "silent")
        elif CORRELATED in found:
            error = 2 * np.sqrt(LEVEL * (1 - LEVEL) / row["panels"])
            there = shares[*cell, NAMES[CORRELATED]]
            words.append("warns, what it names holds" if there <= BOUNDS[1] + error else "warns, off")
        else:
            known = scored.get(cell, "")
            words.append("warns, what it names holds" if known.startswith("holds") else "warns, off")
    return table.assign(verdict=words)
