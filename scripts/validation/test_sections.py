"""The sections of the study's page about tests: their sizes, their bootstrap p-values, and the same by spreg."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from .sizes import off, strength

__all__ = ["size_section", "spreg_sizes"]


def size_section(sizes: pd.DataFrame, drawn: pd.DataFrame | None) -> list[str]:
    """How many tests hold 4-6 % by place, which do not, and the bootstrap p-values."""
    own = sizes[(sizes["usual"].astype(str) == "False") & (sizes["of"] != "each period")]
    found = {strength(truth) for truth in own["truth"] if "=" in truth}
    strengths = ", ".join(f"{c:g}" for c in sorted(found))
    lines = [
        "",
        "## Tests",
        "",
        "![Size of the tests](study_sizes.png)",
        "",
        f"Cells (test and truth; ρ and λ of {strengths} where the null leaves one open) whose size is within 4–6 % up to "
        "twice the error of the simulation, and those that are not (all numbers: [test_size.md](test_size.md)):",
        "",
        "| W | n | effects | replications | inside | outside |",
        "|---|---|---|---|---|---|",
    ]
    for (kind, n, effects), group in own.groupby(["weights", "n", "effects"]):
        outside = group[[off(size, r) for size, r in zip(group["size"], group["replications"], strict=True)]]
        low, high = group["replications"].min(), group["replications"].max()
        panels = f"{low:,}" if low == high else f"{low:,}–{high:,}"
        lines.append(
            f"| {kind} | {n} | {effects} | {panels} | {len(group) - len(outside)} of {len(group)} | "
            f"{', '.join(_said(outside))} |"
        )
    return lines if drawn is None else [*lines, *_bootstrap(drawn)]


def _said(rows: pd.DataFrame) -> Iterator[str]:
    """Test and its sizes, each with its ρ or λ."""
    for test, group in rows.groupby("test", sort=False):
        group = group.assign(at=group["truth"].map(strength)).sort_values("at")
        found = [
            f"{100 * size:.1f} %" + (f" ({at:g})" if "=" in truth else "")
            for size, at, truth in zip(group["size"], group["at"], group["truth"], strict=True)
        ]
        yield f"{test} {', '.join(found)}"


def _bootstrap(drawn: pd.DataFrame) -> list[str]:
    kinds = drawn[["weights", "n"]].drop_duplicates().sort_values(["weights", "n"])
    places = list(kinds.itertuples(index=False, name=None))
    error = 100 * np.sqrt(2 * 0.05 * 0.95 / drawn["replications"].min())
    lines = [
        "",
        f"Bootstrap p-values, {drawn['replications'].min()} panels a cell, one draw of each in a pool "
        "(Giacomini, Politis & White 2013, Econometric Theory 29: 567–589; all numbers: [null_sizes.csv](null_sizes.csv)). "
        f"Rejections at 5 % by the usual and by the bootstrap p-value; the error of the latter is ± {error:.1f} points:",
        "",
        "| test | effects | ρ, λ | " + " | ".join(f"{kind}, n = {n}" for kind, n in places) + " |",
        "|---|---|---|" + "---|" * len(places),
    ]
    for (test, effects, truth), group in drawn.groupby(["test", "effects", "truth"], sort=False):
        by = group.set_index(["weights", "n"])
        cells = [
            f"{100 * by.loc[p, 'usual']:.1f}, {100 * by.loc[p, 'bootstrap']:.1f}" if p in by.index else ""
            for p in places
        ]
        at = f"{strength(truth):g}" if "=" in truth else ""
        lines.append(f"| {test} | {effects} | {at} | {' | '.join(cells)} |")
    return lines


def spreg_sizes(other: pd.DataFrame) -> list[str]:
    """Sizes of the tests that both programs have."""
    tests = other[other["model"].isin(["tests", "Hausman"])]
    lines = ["", "| n | W | test | size: spatial_zb | size: spreg |", "|---|---|---|---|---|"]
    for (n, kind, test), group in tests.groupby(["n", "weights", "parameter"], sort=False):
        by = group.set_index("program")["size"]
        if "spreg" in by:
            lines.append(
                f"| {n} | {kind} | {test} | {100 * by['spatial_zb']:.1f} % | {100 * by['spreg']:.1f} % |"
            )
    return lines if len(tests) else []
