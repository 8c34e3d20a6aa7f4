"""The tables behind the study's page: every cell of estimates, intervals, tests, and the same quantities by spreg."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .places import maybe
from .test_sections import size_section, spreg_sizes
from .verdicts import KEYS

__all__ = ["tables_page"]


def tables_page(
    found: pd.DataFrame, resampled: pd.DataFrame | None, unbiased: pd.DataFrame | None, tests: pd.DataFrame
) -> str:
    """All cells, one section for each kind; what they say is in study.md."""
    lines = [
        "# Tables of the simulation study",
        "",
        "Every cell behind [study.md](study.md), which says what to use and what they say in words.",
        "",
        *_verdicts(found),
        *_median_unbiased(unbiased),
        *_intervals(resampled),
        *size_section(tests),
        *_others(),
        *_systems(),
    ]
    return "\n".join(lines) + "\n"


def _verdicts(found: pd.DataFrame) -> list[str]:
    lines = [
        "## Verdicts",
        "",
        "| W | n | model | ρ, λ | bias of ρ, λ | standard error | coverage ρ, λ | lowest coverage of β, θ, effects | no "
        "maximum | median bias of the median-unbiased (± 2 errors) | its coverage | lowest of its other limits | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in found.sort_values(KEYS).itertuples():
        median = f"{r.median_bias:+.3f} ± {2 * r.median_bias_error:.3f}" if np.isfinite(r.median_bias) else ""
        median = f"({median})" if r.verdict == "warns, limits hold" else median
        lines.append(
            f"| {r.weights} | {r.n} | {r.model} | {r.spatial:g} | {r.bias:+.3f} | {r.std_error:.2f} | "
            f"{_percent(r.coverage_spatial)} | {_percent(r.coverage_effects)} | {_percent(r.not_converged)} | {median} | "
            f"{_percent(r.median_unbiased_coverage)} | {_percent(r.median_unbiased_effects)} | {r.verdict} |"
        )
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if np.isfinite(share) else ""


def _median_unbiased(unbiased: pd.DataFrame | None) -> list[str]:
    if unbiased is None:
        return []
    lines = [
        "",
        "## Median-unbiased ρ and λ",
        "",
        "`zb.median_unbiased(fit)` in all panels, also those without an interior maximum, beside maximum likelihood, whose "
        "estimate is then the upper end. *Above*: share of panels whose estimate is above the truth, 50 % for a "
        "median-unbiased one. *Open*: the interval reaches an end of the admissible interval. 199 draws. How many panels: "
        "the error of a median is 1.25 standard deviations over the root of their number. In parentheses: where the score "
        "is at its median, which is not reported as an estimate because the data do not tell two lags apart.",
        "",
        "![Median-unbiased estimates](study_median_unbiased.png)",
        "",
        "| W | n | model | ρ, λ | of | panels | ML: mean bias | median bias | RMSE | at an end | median-unbiased: mean bias "
        "| median bias | RMSE | above | at an end | coverage | open | median length |",
        "|" + "---|" * 18,
    ]
    rows = unbiased[unbiased["parameter"].isin(["rho", "lam"])]
    for r in rows.sort_values(KEYS, kind="stable").itertuples():
        ours = [
            f"{r.estimate_bias:+.3f}",
            f"{r.estimate_median_bias:+.3f} ± {2 * r.median_mcse:.3f}",
            f"{r.estimate_rmse:.2f}",
            _percent(r.estimate_above),
        ]
        shown = ours if r.reported else [f"({value})" for value in ours]
        lines.append(
            f"| {r.weights} | {r.n} | {r.model} | {r.spatial:g} | {r.parameter} | {r.used} | {r.ml_bias:+.3f} | "
            f"{r.ml_median_bias:+.3f} | {r.ml_rmse:.2f} | {_percent(r.ml_at_bound)} | {' | '.join(shown)} | "
            f"{_percent(r.at_bound)} | {_percent(r.coverage)} | {_percent(r.open)} | {r.median_length:.2f} |"
        )
    return lines


def _intervals(resampled: pd.DataFrame | None) -> list[str]:
    if resampled is None:
        return []
    lines = [
        "",
        "## Intervals",
        "",
        f"Coverage in per cent of {resampled['replications'].max()} panels with 199 residual replicates each (SAC: "
        f"{resampled['replications'].min()} and 99, of those panels that have a maximum); *analytic*: "
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
                every = rows["bias"].get("likelihood_ratio", np.nan)  # with two lags there is none
                bias = [
                    f"{v:+.3f}" if np.isfinite(v) else ""
                    for v in (first["bias"], first["bias_corrected"], every)
                ]
            lines.append(
                f"| {kind} | {n} | {model} | {spatial:g} | {name} | {' | '.join(cells)} | {' | '.join(bias)} |"
            )
    return lines


def _others() -> list[str]:
    other = maybe("other_software.csv")
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
    found = maybe("system_resampled.csv")
    if found is None:
        return []
    kinds = ("standard_error", "percentile", "bca", "basic", "studentised")
    lines = [
        "",
        "## Systems",
        "",
        f"Coverage in per cent of {found['replications'].min()} panels and more with {found['replicates'].min()} residual "
        "replicates, default estimators, first equation and the closed-loop total effect of a talent shock on industry; "
        "designs in [system.md](system.md). *Panels*: how many have intervals of all; the others are unstable systems.",
        "",
        "| n | W | design | method | of | panels | analytic | percentile | BCa | basic | studentised |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = ["n", "W", "design", "method", "parameter"]
    for (n, kind, design, method, name), group in found.groupby(keys, sort=False):
        by = group.set_index("interval")["coverage"]
        cells = " | ".join(f"{100 * by[k]:.0f}" for k in kinds)
        used = f"{group['used'].iloc[0]} of {group['replications'].iloc[0]}"
        lines.append(f"| {n} | {kind} | {design} | {method} | {name} | {used} | {cells} |")
    return lines
