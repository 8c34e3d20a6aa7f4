"""Figures of the published study."""

from __future__ import annotations

import pandas as pd

from .places import KINDS, OUT, SIZES
from .verdicts import BIAS, COVERAGE

COLOURS = {11: "#B2182B", 41: "#2166AC", 90: "#1B7837"}
STYLES = {"SAR": "-", "SDM": "--", "SEM": "-.", "SDEM": ":"}
#: Size of tests at 5 % that is asked for.
SIZE = (0.04, 0.06)
TITLES = {"contiguity": "contiguity", "inverse distance": "dense inverse distance"}


def _axes(rows: int, columns: int, height: float):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 8,
            "legend.frameon": False,
        }
    )
    return plt.subplots(rows, columns, figsize=(6.9, height), squeeze=False, layout="constrained")


def _save(figure, name: str) -> None:
    import matplotlib.pyplot as plt

    for kind in ("png", "pdf"):
        figure.savefig(
            OUT / f"{name}.{kind}", dpi=200, metadata={"CreationDate": None} if kind == "pdf" else None
        )
    plt.close(figure)


def draw_bias(small: pd.DataFrame) -> None:
    """Bias of ρ or λ, coverage of it and of the indirect effect, by strength, n and W."""
    part = small[small["estimator"] == "lee_yu"]
    panels = (
        ("bias", ("rho", "lam"), "bias of ρ̂ or λ̂", (-BIAS, BIAS)),
        ("coverage", ("rho", "lam"), "coverage of ρ or λ", COVERAGE),
        ("coverage", ("indirect",), "coverage of the indirect effect", COVERAGE),
    )
    _by_strength(part, panels, "study_estimates")


def draw_median_unbiased(unbiased: pd.DataFrame) -> None:
    """Median bias of ρ or λ by maximum likelihood and median-unbiased, and coverage of ρ or λ and of the indirect effect."""
    panels = (
        ("ml_median_bias", ("rho", "lam"), "median bias of ρ̂ or λ̂,\nmaximum likelihood", (-BIAS, BIAS)),
        ("estimate_median_bias", ("rho", "lam"), "median bias of ρ̂ or λ̂,\nmedian-unbiased", (-BIAS, BIAS)),
        ("coverage", ("rho", "lam"), "coverage of ρ or λ", COVERAGE),
        ("coverage", ("indirect",), "coverage of the\nindirect effect", COVERAGE),
    )
    _by_strength(unbiased, panels, "study_median_unbiased", alike=[(0, 1)])


def _by_strength(
    table: pd.DataFrame, panels: tuple, name: str, alike: list[tuple[int, ...]] | None = None
) -> None:
    """One row per measure and one column per W; rows that are ``alike`` share their scale."""
    from matplotlib.lines import Line2D

    figure, axes = _axes(len(panels), 2, 1.75 * len(panels) + 1.1)
    for column, kind in enumerate(KINDS):
        for row, (measure, names, label, band) in enumerate(panels):
            ax = axes[row, column]
            ax.axhspan(*band, color="0.9", lw=0)
            for n in SIZES:
                for model, style in STYLES.items():
                    rows = table[
                        (table["n"] == n)
                        & (table["weights"] == kind)
                        & (table["model"] == model)
                        & table["parameter"].isin(names)
                    ].sort_values("spatial")
                    ax.plot(rows["spatial"], rows[measure], style, color=COLOURS[n], lw=1, marker="o", ms=2.5)
            ax.set_xticks([0, 0.3, 0.6])
            ax.set_xlim(-0.04, 0.64)
            if not column:
                ax.set_ylabel(label)
            if row == len(panels) - 1:
                ax.set_xlabel("true ρ or λ")
            if not row:
                ax.set_title(TITLES[kind])
    together = alike or []
    together = together + [(row,) for row in range(len(panels)) if not any(row in rows for rows in together)]
    for rows in together:
        low = min(ax.get_ylim()[0] for row in rows for ax in axes[row])
        high = max(ax.get_ylim()[1] for row in rows for ax in axes[row])
        for row in rows:
            for ax in axes[row]:
                ax.set_ylim(low, high)
    handles = [Line2D([], [], color=COLOURS[n], lw=1.5, label=f"n = {n}") for n in SIZES]
    handles += [Line2D([], [], color="0.3", ls=style, lw=1, label=model) for model, style in STYLES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=7)
    _save(figure, name)


def draw_intervals(resampled: pd.DataFrame) -> None:
    """Coverage of each kind of interval by cell, of ρ or λ and of the indirect effect."""
    kinds = {
        "standard_error": "analytic",
        "percentile": "percentile",
        "bca": "BCa",
        "likelihood_ratio": "likelihood ratio",
        "studentised": "studentised",
        "basic": "basic",
    }
    markers = dict(zip(kinds, "o^vDsx", strict=True))
    colours = dict(zip(kinds, ("0.35", "#D6604D", "#2166AC", "#1B7837", "#8073AC", "0.6"), strict=True))
    figure, axes = _axes(1, 2, 6.6)
    cells = resampled.drop_duplicates(["weights", "n", "model", "spatial"])
    cells = cells.sort_values(["weights", "n", "model", "spatial"], ascending=[True, True, True, True])
    places = {
        tuple(r): i for i, r in enumerate(cells[["weights", "n", "model", "spatial"]].itertuples(index=False))
    }
    for ax, names, title in (
        (axes[0, 0], ("rho", "lam"), "ρ or λ"),
        (axes[0, 1], ("indirect",), "indirect effect"),
    ):
        ax.axvspan(*COVERAGE, color="0.9", lw=0)
        for kind, label in kinds.items():
            rows = resampled[resampled["parameter"].isin(names) & (resampled["interval"] == kind)]
            if rows.empty:
                continue
            y = [places[tuple(r)] for r in rows[["weights", "n", "model", "spatial"]].itertuples(index=False)]
            ax.plot(
                rows["coverage"],
                y,
                markers[kind],
                color=colours[kind],
                ms=3.5,
                mfc="none",
                mew=0.9,
                label=label,
            )
        ax.set_title(title)
        ax.set_xlabel("coverage of 95 % intervals")
        ax.set_ylim(len(places) - 0.5, -0.5)
    short = {"contiguity": "contiguity", "inverse distance": "dense"}
    axes[0, 0].set_yticks(
        range(len(places)), [f"{short[k]}, n = {n}, {m}, {s:g}" for k, n, m, s in places], fontsize=6
    )
    axes[0, 1].set_yticks([])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6)
    _save(figure, "study_intervals")


def draw_sizes(sizes: pd.DataFrame) -> None:
    """Rejection of true hypotheses by test and place, at every ρ or λ; below 1 % on the edge."""
    own = sizes[(sizes["usual"].astype(str) == "False") & (sizes["of"] != "each period")]
    tests = list(dict.fromkeys(own["test"]))
    figure, axes = _axes(1, 2, 6.8)
    for ax, effects in zip(axes[0], ("unit", "two_way"), strict=True):
        ax.axvspan(*SIZE, color="0.9", lw=0)
        for kind, marker in zip(KINDS, "os", strict=True):
            for n in SIZES:
                rows = own[(own["effects"] == effects) & (own["weights"] == kind) & (own["n"] == n)]
                if len(rows):
                    label = f"{'dense' if kind != 'contiguity' else kind}, n = {n}"
                    y = rows["test"].map(tests.index)
                    ax.plot(
                        rows["size"].clip(0.01),
                        y,
                        marker,
                        color=COLOURS[n],
                        ms=3.5,
                        mfc="none",
                        mew=0.9,
                        label=label,
                    )
        ax.set_title(f"{effects.replace('_', '-')} effects")
        ax.set_xlabel("rejected at 5 %, in %")
        ax.set_ylim(len(tests) - 0.5, -0.5)
        ax.set_xscale("log")  # the robust LM tests reject up to nine times in ten, the others near 5 %
        ax.set_xlim(0.01, 1)
        ax.set_xticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1], ["1", "2", "5", "10", "20", "50", "100"])
        ax.minorticks_off()
    axes[0, 0].set_yticks(range(len(tests)), tests, fontsize=6.5)
    axes[0, 1].set_yticks([])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    _save(figure, "study_sizes")
