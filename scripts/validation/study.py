"""The published study: what holds, what warns and what does not, from the tables of the other parts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .places import KINDS, OUT, PERIODS, SIZES
from .test_sections import size_section, spreg_sizes

#: What is asked of a default: |bias| of ρ and λ, coverage of 95 % intervals, size at 5 %.
BIAS, COVERAGE, SIZE = 0.02, (0.92, 0.97), (0.04, 0.06)
FAMILIES = ("SAR", "SDM", "SEM", "SDEM", "SAC")
#: The fit says that n or the precision of ρ is small.
WARNED_UNITS, WARNED_ERROR = 30, 0.16

#: What the tables of the default seeds say; read them again when they change.
READING = """
## Reading

- **Contiguity, 41 and 90 units.** SAR, SDM, SEM and SDEM hold at every ρ: bias between −0.009 and 0.001, coverage
  of ρ and λ 94–96 %, of all coefficients and effects 93–96 %. SAC covers 91–96 % and is off by up to −0.024.
- **Contiguity, 11 units.** Bias between −0.023 and 0.001, coverage of ρ and λ 93–95 %; only the indirect effect at
  ρ = 0.6 drops below the band (SAR 91 %, SDM 90 %; percentile limits 91–93 %). SAC covers 89–95 % and has no
  maximum in up to 5 %. All fits with up to 30 units say that standard errors are approximate.
- **Dense W.** After period effects little is left of Wy but y itself: standard errors of ρ and λ are 0.46–0.58,
  0.26–0.35 and 0.18–0.26 at n = 11, 41, 90, and the fit warns from 0.16. ρ̂ and λ̂ lean low: −0.03 to −0.32, −0.02
  to −0.10 and −0.02 to −0.04 among fits with an interior maximum. Up to 24 % of the fits at n = 11 (7 % and 2 % at
  41 and 90) have none, their estimate being the upper end; with these counted in, the bias is about half at n = 11
  (last column below). Standard errors still cover ρ and λ in 93–98 %, but indirect effects of SAR and SDM only in
  75–93 % at ρ of 0.3 and 0.6.
- **What to read there.** Likelihood-ratio limits cover ρ and λ in 92–98 % (SAR, n = 11, ρ = 0.6: 99.5 %), also
  where there is no maximum. Percentile and BCa limits cover indirect effects in 90–98 % (median 94), ρ and λ in
  89–98 %. Basic and studentised limits do not: 56 % and more, median 86 and 84 % for ρ and λ, because estimate and
  standard error move together below a bound.
- **Point estimates under a dense W.** Less the bias of its replicates, ρ̂ and λ̂ are off by at most 0.024 at n =
  90; at n = 41 by at most 0.025, λ̂ of SDEM by 0.04–0.08; at n = 11 by up to −0.22 at ρ of 0.3 and 0.6. With eleven
  units and a dense W there is no good point estimate of ρ: read the interval.
- **SAC under a dense W** is not identified in practice: at n = 11 up to 63 % of the fits have no maximum. It was
  not resampled.
- **Direct ML with time effects** (offered for comparison) is off by −0.13 to −0.26 at n = 11 with contiguity and
  covers 22–71 %; with dense W it is off by −0.35 to −1.6 and covers 0–47 %. The fit says so.
- **GMM** of SAR is as good as maximum likelihood with contiguity; of SDM with one regressor its instruments are
  weak (n = 11: −0.2; dense W: −0.8 and more, half of the fits outside the admissible interval). Random effects with
  unit means lean low by less than 0.035 with contiguity, by up to −0.13 with dense W.
- **Tests.** At ρ and λ of 0.3 and 0.6, and of 0 where the null has none, all tests keep 5 % within the error of the
  simulation but the robust LM tests, which allow for a small λ or ρ only: at 0.3 they reject up to 16 %, at 0.6 the
  lag up to 33 % and the error up to 30 % (contiguity) or 94 % (dense W, unit effects). `diagnose` says so and names LM
  lag from SEM and LM error from SAR, which hold. Wald and LR of SDM against SEM reject 8–11 % under a dense W with
  unit effects (n = 11 and 41); LM of the common factor holds. With eleven units, contiguity and unit effects LM error
  from SAR and LM random effects given spatial error reject only 2 % at 0.6. Likelihood ratios of dummies (χ²: 8–13 %),
  Hausman (a σ² of each: 10–12 %, undefined in up to a third) and its spatial form (11–32 %, undefined in up to 95 %)
  hold by Bartlett's correction, with one σ², and at one estimate ([test-chain.md](../methods/test-chain.md)). Bootstrap
  p-values bring the robust tests to 3–10 % (median 6; 300 panels, ± 1.8) and Wald and LR of SDM against SEM at n = 41 to
  3–6 %; at n = 11, λ = 0.6 these stay at 10 %.
- **Systems.** With contiguity analytic intervals cover 94 % on average and percentile ones 92 % (40 panels a cell,
  ± 7 points each): there is no need to resample there, and no gain from it. Dense W: [system.md](system.md).
- **spreg.** Its fixed-effects estimates of ρ and λ are ours to rounding (unit effects); its intervals cover one
  point less on average, for σ² divided by nT. Its pooled LM error and both robust tests have our size; its
  `panel_LMlag` puts the square of tr(W² + W'W) where T times it belongs, and rejects 2–9 % (contiguity) or 14–21 %
  (dense W; 400 panels, n = 11 and 41). Its marginal test of a spatial error is one-sided and rejects 6–8 %, ours 3–6 %.
"""
COLOURS = {11: "#B2182B", 41: "#2166AC", 90: "#1B7837"}
STYLES = {"SAR": "-", "SDM": "--", "SEM": "-.", "SDEM": ":"}


def run(replications: int | None = None, workers: int = 1) -> None:
    """Write verdicts.csv, study.md and the figures from the tables that are there."""
    small = pd.read_csv(OUT / "small_sample.csv")
    resampled = _maybe("resampled.csv")
    sizes = pd.read_csv(OUT / "test_size.csv", keep_default_na=False)
    found = verdicts(small, resampled)
    found.to_csv(OUT / "study_verdicts.csv", index=False, float_format="%.4g")
    (OUT / "study.md").write_text(page(found, small, resampled, sizes), encoding="utf-8")
    draw_bias(small)
    if resampled is not None:
        draw_intervals(resampled)
    draw_sizes(sizes)


def _maybe(name: str) -> pd.DataFrame | None:
    path = OUT / name
    return pd.read_csv(path) if path.exists() else None


# --- verdicts


def verdicts(small: pd.DataFrame, resampled: pd.DataFrame | None) -> pd.DataFrame:
    """One row per place, family and strength of the default estimator.

    ``verdict``: *holds* (bias and coverage of ρ, λ and the effects in their bands, up to twice the error of the
    simulation); *warns, intervals hold* (the fit warns, and percentile or likelihood-ratio intervals are in the band);
    *intervals off* (they are not); *not resampled*; *silent* (out of the bands without a warning).
    """
    rows = []
    part = small[small["estimator"] == "lee_yu"]
    for key, group in part.groupby(["weights", "n", "model", "spatial"], sort=False):
        by = group.set_index("parameter")
        spatial = [name for name in ("rho", "lam") if name in by.index]
        effects = [name for name in ("beta", "theta", "direct", "indirect") if name in by.index]
        noise = 2 * by["bias_mcse"]
        bias_ok = all(abs(by.loc[p, "bias"]) <= BIAS + noise[p] for p in spatial)
        covered = all(
            _in_band(by.loc[p, "coverage"], by.loc[p, "coverage_mcse"]) for p in [*spatial, *effects]
        )
        error = by.loc[spatial, "median_std_error"].max()
        warned = key[1] <= WARNED_UNITS or error > WARNED_ERROR
        best, worst = _resampled(resampled, key, [*spatial, *effects])
        rows.append(
            dict(zip(("weights", "n", "model", "spatial"), key, strict=True))
            | {
                "bias": max((by.loc[p, "bias"] for p in spatial), key=abs),
                "std_error": error,
                "coverage_spatial": min(by.loc[p, "coverage"] for p in spatial),
                "coverage_effects": min(by.loc[p, "coverage"] for p in effects),
                "not_converged": by["not_converged"].iloc[0] / by["replications"].iloc[0],
                "warned": warned,
                "percentile_lowest": worst,
                "bias_corrected": _corrected(resampled, key, spatial),
                "verdict": _verdict(bias_ok and covered, warned, best),
            }
        )
    return pd.DataFrame(rows)


def _corrected(resampled: pd.DataFrame | None, key: tuple, spatial: list[str]) -> float:
    """Bias of ρ̂ or λ̂ less that of its replicates."""
    if resampled is None:
        return np.nan
    kind, n, model, strength = key
    place = (resampled["weights"] == kind) & (resampled["n"] == n) & (resampled["model"] == model)
    same = place & (resampled["spatial"] == strength) & resampled["parameter"].isin(spatial)
    rows = resampled[same & (resampled["interval"] == "percentile")]
    return float(rows["bias_corrected"].iloc[0]) if len(rows) else np.nan


def _in_band(coverage: float, error: float) -> bool:
    return COVERAGE[0] - 2 * error <= coverage <= COVERAGE[1] + 2 * error


def _resampled(
    resampled: pd.DataFrame | None, key: tuple, parameters: list[str]
) -> tuple[bool | None, float]:
    """Whether every parameter has percentile (or likelihood-ratio) limits in the band, and the lowest coverage."""
    if resampled is None:
        return None, np.nan
    kind, n, model, spatial = key
    here = resampled[
        (resampled["weights"] == kind)
        & (resampled["n"] == n)
        & (resampled["model"] == model)
        & (resampled["spatial"] == spatial)
    ]
    if here.empty:
        return None, np.nan
    used = here[here["parameter"].isin(parameters)]
    chosen = used[used["interval"] == "percentile"].set_index("parameter")["coverage"]
    ratio = used[used["interval"] == "likelihood_ratio"].set_index("parameter")["coverage"]
    error = np.sqrt(0.95 * 0.05 / used["used"].min())
    good = all(_in_band(c, error) or _in_band(ratio.get(p, 0.0), error) for p, c in chosen.items())
    return good, float(chosen.min())


def _verdict(holds: bool, warned: bool, intervals: bool | None) -> str:
    if holds:
        return "holds"
    if not warned:
        return "silent"
    if intervals is None:
        return "warns, not resampled"
    return "warns, intervals hold" if intervals else "warns, intervals off"


# --- the page


def page(
    found: pd.DataFrame, small: pd.DataFrame, resampled: pd.DataFrame | None, sizes: pd.DataFrame
) -> str:
    """Everything in words, tables and figures."""
    lines = [
        "# The simulation study",
        "",
        "Simulated data on real maps: 11 cities of Zhejiang, 41 cities of the delta, 90 counties of Zhejiang; T = "
        f"{PERIODS}; contiguity and dense inverse distance (every unit a neighbour of every other), row-normalised; two-way "
        "effects; ρ and λ of 0, 0.3, 0.6; normal errors of variance one. `.venv/bin/python scripts/validate.py` makes "
        "everything, from fixed seeds, with the same numbers for any number of workers; an interrupted run goes on where it "
        "stopped.",
        "",
        "| part | numbers | page |",
        "|---|---|---|",
        "| estimators: bias, errors, coverage | [small_sample.csv](small_sample.csv) | [small_sample.md](small_sample.md) |",
        "| intervals by resampling and by likelihood ratio | [resampled.csv](resampled.csv) | below |",
        "| size of the tests | [test_size.csv](test_size.csv) | [test_size.md](test_size.md) |",
        "| systems | [system.csv](system.csv), [system_resampled.csv](system_resampled.csv), "
        "[system_corrected.csv](system_corrected.csv) | [system.md](system.md) |",
        "| the same by spreg | [other_software.csv](other_software.csv) | below |",
        "| verdicts | [study_verdicts.csv](study_verdicts.csv) | below |",
        "",
        "**Asked of every default:** |bias| ≤ 0.02 on ρ and λ, coverage of 95 % intervals between 92 and 97 %, size of "
        "tests at 5 % between 4 and 6 %; or a warning, and resampling that reaches these bands. A cell passes within twice "
        "the error of the simulation (coverage: ± 1.4 points at 1,000 replications, ± 3.1 at 200).",
        "",
        "![Bias and coverage of the default estimator](study_estimates.png)",
        "",
        "## Verdicts",
        "",
        *_counts(found),
        "",
        "| W | n | model | ρ, λ | bias of ρ, λ | standard error | coverage ρ, λ | lowest coverage of β, θ, effects | no "
        "maximum | lowest of percentile limits | bias less that of replicates | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in found.sort_values(["weights", "n", "model", "spatial"]).itertuples():
        less = "" if not np.isfinite(r.bias_corrected) else f"{r.bias_corrected:+.3f}"
        lowest = "" if not np.isfinite(r.percentile_lowest) else f"{100 * r.percentile_lowest:.1f} %"
        lines.append(
            f"| {r.weights} | {r.n} | {r.model} | {r.spatial:g} | {r.bias:+.3f} | {r.std_error:.2f} | "
            f"{100 * r.coverage_spatial:.1f} % | {100 * r.coverage_effects:.1f} % | {100 * r.not_converged:.1f} % | "
            f"{lowest} | {less} | {r.verdict} |"
        )
    lines += [
        READING,
        *_intervals(resampled),
        *size_section(sizes, _maybe("null_sizes.csv")),
        *_others(),
        *_systems(),
    ]
    return "\n".join(lines) + "\n"


def _counts(found: pd.DataFrame) -> list[str]:
    names = ("holds", "warns, intervals hold", "warns, intervals off", "warns, not resampled", "silent")
    lines = [f"| W | n | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for (kind, n), group in found.groupby(["weights", "n"]):
        counts = group["verdict"].value_counts()
        lines.append(f"| {kind} | {n} | " + " | ".join(str(counts.get(name, 0)) for name in names) + " |")
    return lines


def _intervals(resampled: pd.DataFrame | None) -> list[str]:
    if resampled is None:
        return []
    lines = [
        "",
        "## Intervals",
        "",
        f"Coverage in per cent of {resampled['replications'].min()} panels with 199 residual replicates each; *analytic*: "
        "estimate ± 1.96 standard errors. The likelihood ratio is inverted in all panels, also where there is no interior "
        "maximum; the others need one.",
        "",
        "![Coverage of intervals](study_intervals.png)",
        "",
        "| W | n | model | ρ, λ | of | analytic | percentile | BCa | basic | studentised | likelihood ratio | bias of the "
        "fit | less that of its replicates | bias of all panels |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = ["weights", "n", "model", "spatial"]
    kinds = ("standard_error", "percentile", "bca", "basic", "studentised", "likelihood_ratio")
    for (kind, n, model, spatial), group in resampled.sort_values(keys, kind="stable").groupby(
        keys, sort=False
    ):
        for name in ("rho", "lam", "theta", "indirect"):
            rows = group[group["parameter"] == name].set_index("interval")
            if rows.empty:
                continue
            cells = [f"{100 * rows.loc[k, 'coverage']:.1f}" if k in rows.index else "" for k in kinds]
            first = rows.loc["percentile"]
            bias = ["", "", ""]
            if name in ("rho", "lam"):
                every = rows.loc["likelihood_ratio", "bias"]
                bias = [f"{v:+.3f}" for v in (first["bias"], first["bias_corrected"], every)]
            lines.append(
                f"| {kind} | {n} | {model} | {spatial:g} | {name} | {' | '.join(cells)} | {' | '.join(bias)} |"
            )
    return lines


def _others() -> list[str]:
    other = _maybe("other_software.csv")
    if other is None:
        return []
    panels = other.loc[other["model"].isin(["SAR", "SEM"]), "replications"].min()
    lines = [
        "",
        "## The same quantities by spreg",
        "",
        f"Unit effects only, {panels} replications: `Panel_FE_Lag` and `Panel_FE_Error` are direct "
        "maximum likelihood after demeaning. ρ̂ and λ̂ agree to rounding with ours; their standard errors are smaller by "
        "√((T − 1)/T), since σ² is divided by nT and not by n(T − 1), and so are their intervals. Tests: pooled least "
        "squares without effects.",
        "",
        "| n | W | model | ρ, λ | bias, coverage: spatial_zb | bias, coverage: spreg |",
        "|---|---|---|---|---|---|",
    ]
    fits = other[other["parameter"].isin(["rho", "lam"])]
    keys = ["n", "weights", "model", "spatial"]
    for (n, kind, model, spatial), group in fits.sort_values(keys).groupby(keys):
        by = group.set_index("program")
        cells = [
            f"{by.loc[p, 'bias']:+.3f}, {100 * by.loc[p, 'coverage']:.1f} %" if p in by.index else "–"
            for p in ("spatial_zb", "spreg")
        ]
        lines.append(f"| {n} | {kind} | {model} | {spatial:g} | {' | '.join(cells)} |")
    return lines + spreg_sizes(other)


def _systems() -> list[str]:
    found = _maybe("system_resampled.csv")
    if found is None:
        return []
    kinds = ("standard_error", "percentile", "bca", "basic", "studentised")
    lines = [
        "",
        "## Systems",
        "",
        f"Coverage in per cent of {found['replications'].min()} panels with {found['replicates'].min()} residual "
        "replicates, contiguity, first equation and the closed-loop total effect of a talent shock on industry; designs in "
        "[system.md](system.md).",
        "",
        "| n | design | method | of | analytic | percentile | BCa | basic | studentised |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    keys = ["n", "design", "method", "parameter"]
    for (n, design, method, name), group in found.groupby(keys, sort=False):
        by = group.set_index("interval")["coverage"]
        cells = " | ".join(f"{100 * by[k]:.0f}" for k in kinds)
        lines.append(f"| {n} | {design} | {method} | {name} | {cells} |")
    return lines


# --- figures


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
    figure, axes = _axes(3, 2, 6.4)
    panels = (
        ("bias", ("rho", "lam"), "bias of ρ̂ or λ̂", (-BIAS, BIAS)),
        ("coverage", ("rho", "lam"), "coverage of ρ or λ", COVERAGE),
        ("coverage", ("indirect",), "coverage of the indirect effect", COVERAGE),
    )
    for column, kind in enumerate(KINDS):
        for row, (measure, names, label, band) in enumerate(panels):
            ax = axes[row, column]
            ax.axhspan(*band, color="0.9", lw=0)
            for n in SIZES:
                for model, style in STYLES.items():
                    rows = part[
                        (part["n"] == n)
                        & (part["weights"] == kind)
                        & (part["model"] == model)
                        & part["parameter"].isin(names)
                    ].sort_values("spatial")
                    if len(rows):
                        ax.plot(
                            rows["spatial"], rows[measure], style, color=COLOURS[n], lw=1, marker="o", ms=2.5
                        )
            ax.set_xticks([0, 0.3, 0.6])
            if not column:
                ax.set_ylabel(label)
            if row == 2:
                ax.set_xlabel("true ρ or λ")
            if not row:
                ax.set_title({"contiguity": "contiguity", "inverse distance": "dense inverse distance"}[kind])
    for row in range(3):
        low = min(ax.get_ylim()[0] for ax in axes[row])
        high = max(ax.get_ylim()[1] for ax in axes[row])
        for ax in axes[row]:
            ax.set_ylim(low, high)
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=COLOURS[n], lw=1.5, label=f"n = {n}") for n in SIZES]
    handles += [Line2D([], [], color="0.3", ls=style, lw=1, label=model) for model, style in STYLES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=7)
    _save(figure, "study_estimates")


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
