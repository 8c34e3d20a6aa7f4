"""The sections of the study's page about tests: verdicts, their sizes by bootstrap p-values, and the same by spreg."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .test_verdicts import CSV, VERDICTS

__all__ = ["size_section", "spreg_sizes"]


def size_section(found: pd.DataFrame) -> list[str]:
    """Verdicts by place, the cells that do not hold by the usual p-value, and all bootstrap p-values."""
    strengths = ", ".join(f"{c:g}" for c in sorted(found["spatial"].dropna().unique()))
    drawn = found[found["bootstrap"].notna()]
    outside = drawn[drawn["bootstrap_holds"] != 1]
    lines = [
        "",
        "## Tests",
        "",
        "![Size of the tests](study_sizes.png)",
        "",
        f"Cells: test and truth, ρ and λ of {strengths} where the null leaves one open. *Holds*: rejections of a true "
        "hypothesis at 5 % are within 4–6 % up to twice the error of the simulation; *warns*: they are not, and `diagnose` "
        "says so; *bootstrap holds*: its bootstrap p-value rejects within these bounds. Every cell with both sizes and "
        f"their errors: [{CSV}]({CSV}); all usual sizes: [test_size.md](test_size.md).",
        "",
        f"| W | n | effects | cells | {' | '.join(VERDICTS)} |",
        "|---|---|---|---|" + "---|" * len(VERDICTS),
    ]
    for (kind, n, effects), group in found.groupby(["weights", "n", "effects"]):
        counts = group["verdict"].value_counts()
        numbers = " | ".join(str(counts.get(name, 0)) for name in VERDICTS)
        lines.append(f"| {kind} | {n} | {effects} | {len(group)} | {numbers} |")
    lines += [
        "",
        "Cells whose usual p-value does not hold, and their bootstrap:",
        "",
        "| test | W | n | effects | ρ, λ | usual (± 2 errors) | bootstrap (± 2 errors) | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in (
        found[found["verdict"] != VERDICTS[0]].sort_values(["test", "weights", "n", "effects"]).itertuples()
    ):
        at = f"{r.spatial:g}" if np.isfinite(r.spatial) else ""
        lines.append(
            f"| {r.test} | {r.weights} | {r.n} | {r.effects} | {at} | {_share(r.size, r.size_error)} | "
            f"{_share(r.bootstrap, r.bootstrap_error)} | {r.verdict} |"
        )
    return [*lines, *_bootstrap(drawn, outside)] if len(drawn) else lines


def _share(size: float, error: float) -> str:
    return f"{100 * size:.1f} ± {100 * error:.1f} %" if np.isfinite(size) else ""


def _bootstrap(drawn: pd.DataFrame, outside: pd.DataFrame) -> list[str]:
    kinds = drawn[["weights", "n"]].drop_duplicates().sort_values(["weights", "n"])
    places = list(kinds.itertuples(index=False, name=None))
    real, pool = drawn[drawn["draws"] > 1], drawn[drawn["draws"] == 1]
    lines = [
        "",
        f"Bootstrap p-values hold in {len(drawn) - len(outside)} of {len(drawn)} cells. Tests whose null is a static model "
        f"with fixed effects: p-values of {real['panels'].min():,.0f} to {real['panels'].max():,.0f} panels a cell, "
        f"{real['draws'].max():.0f} draws each. The others, in italics: one draw of each of {pool['panels'].min():,.0f} "
        "panels in a pool (Giacomini, Politis & White 2013, Econometric Theory 29: 567–589). "
        "Rejections at 5 % by the usual and by the bootstrap p-value; "
        "**bold**: the latter outside 4–6 % by more than twice the error of the simulation:",
        "",
        "| test | effects | ρ, λ | " + " | ".join(f"{kind}, n = {n}" for kind, n in places) + " |",
        "|---|---|---|" + "---|" * len(places),
    ]
    for (test, effects, at), group in drawn.groupby(["test", "effects", "spatial"], sort=False, dropna=False):
        by = {(r.weights, r.n): r for r in group.itertuples()}
        cells = [_cell(by[place]) if place in by else "" for place in places]
        lines.append(f"| {test} | {effects} | {'' if np.isnan(at) else f'{at:g}'} | {' | '.join(cells)} |")
    return lines


def _cell(row) -> str:
    text = f"{100 * row.bootstrap:.1f}"
    text = f"_{text}_" if row.draws == 1 else text
    return f"{100 * row.size:.1f}, " + (text if row.bootstrap_holds == 1 else f"**{text}**")


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
