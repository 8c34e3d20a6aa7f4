"""The published study: what holds, what warns and what does not, from the tables of the other parts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .places import OUT, PERIODS
from .study_figures import draw_bias, draw_intervals, draw_median_unbiased, draw_sizes
from .test_sections import size_section, spreg_sizes
from .test_verdicts import CSV, test_verdicts
from .verdicts import KEYS, VERDICTS, verdicts

#: What the tables of the default seeds say; read them again when they change.
READING = """
## Reading

- **Contiguity, 41 and 90 units.** SAR, SDM, SEM and SDEM hold at every ρ: bias between −0.009 and 0.001, coverage
  of ρ and λ 94–96 %, of all coefficients and effects 93–96 %. SAC covers 91–96 % and is off by up to −0.024.
- **Contiguity, 11 units.** Bias between −0.023 and 0.001, coverage of ρ and λ 93–95 %; only the indirect effect at
  ρ = 0.6 drops below the band (SAR 91 %, SDM 90 %; percentile limits 91–93 %). SAC covers 89–95 % and has no
  maximum in up to 5 %. All fits with up to 30 units say that standard errors are approximate.
- **Dense W, maximum likelihood.** After period effects little is left of Wy but y itself: standard errors of ρ and λ
  are 0.46–0.58, 0.26–0.35 and 0.18–0.26 at n = 11, 41, 90, and the fit warns from 0.16. ρ̂ and λ̂ lean low: −0.03 to
  −0.32, −0.02 to −0.10 and −0.02 to −0.04 among fits with an interior maximum. Up to 24 % of the fits at n = 11 (7 %
  and 2 % at 41 and 90) have none, their estimate being the upper end; with these counted in, the bias is −0.02 to
  −0.17, −0.02 to −0.08 and −0.01 to −0.05. Standard errors still cover ρ and λ in 93–98 %, but indirect effects of
  SAR and SDM only in 75–93 % at ρ of 0.3 and 0.6.
- **Dense W, median-unbiased.** `zb.median_unbiased(fit)` does not lean: the median bias is between −0.030 and +0.010
  at n = 11 (two errors: ± 0.03), −0.018 and +0.027 at 41, −0.016 and +0.025 at 90; 47–54 % of the estimates are above
  the truth (maximum likelihood: 40–52 %). Its spread is that of the fit or less. Its intervals cover ρ and λ in 94–97 %
  at n = 11 and 41 and 93–98 % at 90 (400 panels and more), those of β, θ and effects in 90–98 % (median 95, 300 panels
  ± 2.5). Every cell with one spatial lag that warns is in the bands there.
- **Median, not mean.** No coefficient exceeds one, and a standard error of half puts a long tail below: at ρ, λ = 0.6
  and n = 11 the mean of the same estimates is off by −0.08 to −0.11 (maximum likelihood −0.10 to −0.17), at 41 by up
  to −0.04. In 20–27 % of these panels no value inside the interval has its score at the median: the estimate is the
  end, and says so. Intervals reach that end in 54–92 % of the panels at n = 11 and then set no bound to effects: eleven
  cities and a dense W do not tell them.
- **Other intervals of ρ and λ under a dense W.** Likelihood-ratio limits cover in 92–98 % (SAR, n = 11, ρ = 0.6:
  99.5 %), also where there is no maximum. Percentile and BCa limits cover indirect effects in 90–98 % (median 94), ρ
  and λ in 89–98 %. Basic and studentised limits do not: 56 % and more, median 86 and 84 % for ρ and λ, because estimate
  and standard error move together below a bound. Less the bias of its replicates ρ̂ is still off by up to −0.22 at n =
  11.
- **SAC.** With contiguity and eleven units `zb.median_unbiased(fit)` has median biases within 0.01 and intervals of ρ and λ
  that cover 95–98 % (800 panels and more; standard errors 89–92 %). Under a dense W ρ and λ are hard to tell apart: at
  n = 11 up to 63 % of the fits have no maximum and the spread is 0.5–0.8 (0.4–0.6 at n = 41). The intervals still cover
  both in 95–98.5 % (n = 11: 800 panels, 41: 400, 90: 200), reaching an end of the admissible interval in 37–96 % of the
  panels; the medians are off by −0.08 to +0.07, two errors of the simulation being 0.05–0.08: one of them is beyond that
  (ρ at n = 11 and 0.3, −0.085), the others cannot be told from 0.02. Those of maximum likelihood, ends counted in, are off
  by −0.08 to +0.09, with less spread. Percentile and BCa limits cover ρ, λ and indirect effects in 85–100 % (18–40
  panels with a maximum, 99 replicates), basic and studentised ones down to 33 %. The fit sends to a sparser W or to a
  model with one spatial lag.
- **Direct ML with time effects** (offered for comparison) is off by −0.13 to −0.26 at n = 11 with contiguity and
  covers 22–71 %; with dense W it is off by −0.35 to −1.6 and covers 0–47 %. The fit says so.
- **GMM** is without the bias of many instruments by default ([gmm.md](gmm.md), 1,000 panels a cell). With contiguity the
  median of ρ is within 0.02 of the truth for SAR, SDM and SAC (textbook: SDM −0.05 to +0.07). Under a dense W it is within
  0.07 at n = 11, 0.04 at 41 and 0.02 at 90 for SAR, SAC and SAR with an endogenous regressor (textbook: up to +0.08, and
  +0.14 with the regressor); standard errors cover ρ in 95–100 %, of the fits inside the admissible interval, whose mean is
  low because those above one are not among them. SDM with one regressor has weak instruments (F of 2–8 at n = 11 with
  contiguity; of 1–26 under a dense W, standard error 2–4, half of the fits outside): there is nothing to correct, the fit
  says so in every panel, and the limits of `zb.anderson_rubin(fit)` that it names cover ρ in 93–97 % in every cell.
- **Random effects** lean low: ρ and λ with unit means (Mundlak) by less than 0.035 with contiguity and by up to −0.13 with
  dense W, φ in the median by −0.13 to −0.21 at n = 11, where standard errors cover it in 82–88 % (n = 41: 90 %), and the
  fit says so. `zb.median_unbiased(fit)` ([random_effects.md](random_effects.md), 200 panels a cell, ± 3 points) has median
  biases of ρ and λ within 0.01 and of φ within 0.08 (two errors of the simulation: 0.03 and 0.1), and covers ρ and λ in
  92–98 %, φ in 92–97 % and indirect effects in 92–97 %.
- **Tests.** At ρ and λ of 0, 0.3 and 0.6 (1,000 panels and more) all tests keep 5 % within the error of the simulation but
  the robust LM tests, which allow for a small λ or ρ only: at 0.3 they reject up to 16 %, at 0.6 the lag up to 32 % and
  the error up to 31 % (contiguity) or 93 % (dense W, unit effects). `diagnose` says so, names LM lag from SEM and LM
  error from SAR, which hold, and says what the bootstrap rejects. Under a dense W with unit effects Wald and LR of SDM
  against SEM reject 7–9 % (n = 11 and 41; LM of the common factor holds), and three more 7–8 %: Wald against SAR at
  n = 11, LR against SAR and LM error from SDM at n = 41. No cell is off in silence. Bootstrap p-values of these tests
  (1,000 panels × 199 draws a cell, ± 1.4 points; 400 panels in some at n = 90) reject within 4–6 % up to that error in every
  cell whose usual size is off: the robust tests 2.8–6.7 % where the usual p-value rejects 2–93 %, the others 5.0–6.7 %. A
  bootstrap of the robust tests at the estimate alone rejects 0.2 % where the usual one rejects 92 %; theirs is prepivoted
  ([test-chain.md](../methods/test-chain.md)). Likelihood ratios of dummies (χ²: 8–13 %), Hausman (a σ² of each: 10–12 %,
  undefined in up to a third) and its spatial form (11–32 %, undefined in up to 95 %) hold by Bartlett's correction, with
  one σ², and at one estimate. Likelihood ratios of SDM against SAR and SEM are defined in every panel, also where a
  likelihood is highest at an end of the interval (4–6 % with two-way effects); Wald and LM are not (in up to a quarter
  of panels at n = 11 under a dense W with two-way effects).
- **Systems.** With contiguity analytic intervals cover 93–96 % on average and percentile ones 93–96 % (100 panels a cell
  and more, ± 4 points each): there is no need to resample there. At n = 11 studentised limits of the effect go down to
  77 %. Dense W: [system.md](system.md).
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
    unbiased = _maybe("median_unbiased.csv")
    found = verdicts(small, resampled, unbiased)
    found.to_csv(OUT / "study_verdicts.csv", index=False, float_format="%.4g")
    tests = test_verdicts(sizes, _maybe("null_sizes.csv"))
    tests.to_csv(OUT / CSV, index=False, float_format="%.4g")
    (OUT / "study.md").write_text(page(found, resampled, unbiased, tests), encoding="utf-8")
    draw_bias(small)
    if resampled is not None:
        draw_intervals(resampled)
    if unbiased is not None:
        draw_median_unbiased(unbiased)
    draw_sizes(sizes)


def _maybe(name: str) -> pd.DataFrame | None:
    path = OUT / name
    return pd.read_csv(path) if path.exists() else None


# --- the page


def page(
    found: pd.DataFrame, resampled: pd.DataFrame | None, unbiased: pd.DataFrame | None, tests: pd.DataFrame
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
        "| instruments, textbook and corrected | [gmm.csv](gmm.csv) | [gmm.md](gmm.md) |",
        "| random effects, likelihood and median-unbiased | [random_effects.csv](random_effects.csv) | "
        "[random_effects.md](random_effects.md) |",
        "| intervals by resampling and by likelihood ratio | [resampled.csv](resampled.csv) | below |",
        "| median-unbiased ρ and λ, and their intervals | [median_unbiased.csv](median_unbiased.csv) | below |",
        "| the bootstrap of dynamic, two-regime, random-effects and GMM fits | "
        "[resampled_others.csv](resampled_others.csv) | [resampled_others.md](resampled_others.md) |",
        "| size of the tests | [test_size.csv](test_size.csv) | [test_size.md](test_size.md) |",
        "| the same of their bootstrap p-values, and verdicts | [null_sizes.csv](null_sizes.csv), "
        "[test_verdicts.csv](test_verdicts.csv) | below |",
        "| systems | [system.csv](system.csv), [system_resampled.csv](system_resampled.csv), "
        "[system_corrected.csv](system_corrected.csv) | [system.md](system.md) |",
        "| the same by spreg | [other_software.csv](other_software.csv) | below |",
        "| verdicts | [study_verdicts.csv](study_verdicts.csv) | below |",
        "",
        "**Asked of every default:** |bias| ≤ 0.02 on ρ and λ, coverage of 95 % intervals between 92 and 97 %, size of "
        "tests at 5 % between 4 and 6 %; or a warning, and resampling that reaches these bands: for ρ and λ the median bias "
        "and the limits of `zb.median_unbiased(fit)`, for β, θ and the effects its limits too; with two spatial lags, for "
        "which it has none, the usual ones or percentile limits of `zb.bootstrap(fit)`. A cell passes within twice the "
        "error of the simulation (coverage: ± 1.4 points at 1,000 replications, ± 2.5 at 300).",
        "",
        "![Bias and coverage of the default estimator](study_estimates.png)",
        "",
        "## Verdicts",
        "",
        *_counts(found),
        "",
        "| W | n | model | ρ, λ | bias of ρ, λ | standard error | coverage ρ, λ | lowest coverage of β, θ, effects | no "
        "maximum | median bias of the median-unbiased (± 2 errors) | its coverage | lowest of its other limits | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in found.sort_values(KEYS).itertuples():
        median = f"{r.median_bias:+.3f} ± {2 * r.median_bias_error:.3f}" if np.isfinite(r.median_bias) else ""
        lines.append(
            f"| {r.weights} | {r.n} | {r.model} | {r.spatial:g} | {r.bias:+.3f} | {r.std_error:.2f} | "
            f"{_percent(r.coverage_spatial)} | {_percent(r.coverage_effects)} | {_percent(r.not_converged)} | {median} | "
            f"{_percent(r.median_unbiased_coverage)} | {_percent(r.median_unbiased_effects)} | {r.verdict} |"
        )
    lines += [
        READING,
        *_median_unbiased(unbiased),
        *_intervals(resampled),
        *size_section(tests),
        *_others(),
        *_systems(),
    ]
    return "\n".join(lines) + "\n"


def _counts(found: pd.DataFrame) -> list[str]:
    lines = [f"| W | n | {' | '.join(VERDICTS)} |", "|---|---|" + "---|" * len(VERDICTS)]
    for (kind, n), group in found.groupby(["weights", "n"]):
        counts = group["verdict"].value_counts()
        lines.append(f"| {kind} | {n} | " + " | ".join(str(counts.get(name, 0)) for name in VERDICTS) + " |")
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
        "the error of a median is 1.25 standard deviations over the root of their number.",
        "",
        "![Median-unbiased estimates](study_median_unbiased.png)",
        "",
        "| W | n | model | ρ, λ | of | panels | ML: mean bias | median bias | RMSE | at an end | median-unbiased: mean bias "
        "| median bias | RMSE | above | at an end | coverage | open | median length |",
        "|" + "---|" * 18,
    ]
    rows = unbiased[unbiased["parameter"].isin(["rho", "lam"])]
    for r in rows.sort_values(KEYS, kind="stable").itertuples():
        lines.append(
            f"| {r.weights} | {r.n} | {r.model} | {r.spatial:g} | {r.parameter} | {r.used} | {r.ml_bias:+.3f} | "
            f"{r.ml_median_bias:+.3f} | {r.ml_rmse:.2f} | {_percent(r.ml_at_bound)} | {r.estimate_bias:+.3f} | "
            f"{r.estimate_median_bias:+.3f} ± {2 * r.median_mcse:.3f} | {r.estimate_rmse:.2f} | "
            f"{_percent(r.estimate_above)} | {_percent(r.at_bound)} | {_percent(r.coverage)} | {_percent(r.open)} | "
            f"{r.median_length:.2f} |"
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
