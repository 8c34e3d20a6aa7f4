"""The published study: what holds, what warns and what does not, from the tables of the other parts."""

from __future__ import annotations

import pandas as pd

from .answer import answer, lifelike
from .lifelike import ESTIMATES, PLACE, SYSTEMS, TESTS
from .places import OUT, PERIODS, maybe
from .study_figures import draw_bias, draw_intervals, draw_median_unbiased, draw_sizes
from .test_verdicts import CSV, lifelike_tests, test_verdicts
from .verdicts import VERDICTS, lifelike_verdicts, verdicts

#: What the tables of the default seeds say; read them again when they change.
READING = """
## Reading

- **Contiguity, 41 and 90 units.** SAR, SDM, SEM and SDEM hold at every ρ: bias between −0.009 and 0.001, coverage
  of ρ and λ 94–96 %, of all coefficients and effects 93–96 %. SAC covers 91–96 % and is off by up to −0.024.
- **Contiguity, 11 units.** Bias between −0.023 and 0.001, coverage of ρ and λ 93–95 %; only the indirect effect at
  ρ = 0.6 drops below the band (SAR 91 %, SDM 90 %; percentile limits 91–93 %). SAC covers 89–95 % and has no
  maximum in up to 5 %. All fits with up to 30 units say that standard errors are approximate.
- **Dense W, maximum likelihood.** After period effects little is left of Wy but y itself: standard errors of ρ and λ
  are 0.46–0.58, 0.26–0.35 and 0.18–0.26 at n = 11, 41, 90, and the fit warns from 0.16. ρ̂ and λ̂ are too low: −0.03 to
  −0.32, −0.02 to −0.10 and −0.02 to −0.04 among fits with an interior maximum. Up to 24 % of the fits at n = 11 (7 %
  and 2 % at 41 and 90) have none, their estimate being the upper end; with these counted in, the bias is −0.02 to
  −0.17, −0.02 to −0.08 and −0.01 to −0.05. Standard errors still cover ρ and λ in 93–98 %, but indirect effects of
  SAR and SDM only in 75–93 % at ρ of 0.3 and 0.6.
- **Dense W, median-unbiased.** `zb.median_unbiased(fit)` has no bias: its median bias is between −0.030 and +0.010
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
- **SAC.** With contiguity and eleven units `zb.median_unbiased(fit)` has median biases within 0.01 and intervals of ρ
  and λ that cover 95–98 % (800 panels and more; standard errors 89–92 %). Under a dense W ρ and λ are hard to tell
  apart: at n = 11 up to 63 % of the fits have no maximum and the spread of estimates is 0.5–0.8 (0.4–0.6 at n = 41).
  The intervals still cover both in 95–98 % at every n (1,600, 1,000 and 500 panels at 11, 41 and 90), reaching an end
  of the admissible interval in 37–96 % of the panels. At n = 90 the medians are within 0.023 of the truth, two errors
  of the simulation being 0.04; at 41 one of ρ and λ is low by 0.05 in two of three cells, at 11 by 0.05 to 0.10. There
  `zb.median_unbiased` gives the intervals and no estimate: W and the number of periods alone say so ([the
  rule](../methods/median-unbiased.md)). The medians of maximum likelihood, ends counted in, are off by −0.07 to +0.13.
  Percentile limits cover indirect effects in 88–100 % (42–120 panels with a maximum, 99 replicates), basic and
  studentised ones of ρ and λ down to 67 %. The fit sends to a sparser W or to a model with one spatial lag.
- **Direct ML with time effects** (offered for comparison) is off by −0.13 to −0.26 at n = 11 with contiguity and
  covers 22–71 %; with dense W it is off by −0.35 to −1.6 and covers 0–47 %. The fit says so.
- **GMM** is without the bias of many instruments by default ([gmm.md](gmm.md), 1,000 panels a cell). With contiguity the
  median of ρ is within 0.02 of the truth for SAR, SDM and SAC (textbook: SDM −0.05 to +0.07). Under a dense W it is within
  0.07 at n = 11, 0.04 at 41 and 0.02 at 90 for SAR, SAC and SAR with an endogenous regressor (textbook: up to +0.08, and
  +0.14 with the regressor); standard errors cover ρ in 95–100 %, of the fits inside the admissible interval, whose mean is
  low because those above one are not among them. SDM with one regressor has weak instruments (F of 2–8 at n = 11 with
  contiguity; of 1–26 under a dense W, standard error 2–4, half of the fits outside): there is nothing to correct, the fit
  says so in every panel, and the limits of `zb.anderson_rubin(fit)` that it names cover ρ in 93–97 % in every cell.
- **Random effects** are too low: ρ and λ with unit means (Mundlak) by less than 0.035 with contiguity and by up to −0.13
  with dense W, φ in the median by −0.10 to −0.21 at n = 11, where standard errors cover it in 77–88 % (n = 41: 88–94 %), and
  the fit says so. `zb.median_unbiased(fit)` ([random_effects.md](random_effects.md), 200 panels a cell, ± 3 points) has
  median biases of ρ and λ within 0.024 and of φ within 0.08 (two errors of the simulation: up to 0.04 and 0.1), and covers
  ρ and λ in 91–98.5 %, φ and indirect effects in 92–97.5 %.
- **Tests.** At ρ and λ of 0, 0.3 and 0.6 (1,000 panels and more) all tests keep 5 % within the error of the simulation but
  the robust LM tests, which allow for a small λ or ρ only: at 0.3 they reject up to 16 %, at 0.6 the lag up to 32 % and
  the error up to 31 % (contiguity) or 93 % (dense W, unit effects). `diagnose` says so, names LM lag from SEM and LM
  error from SAR, which hold, and says what the bootstrap rejects. Under a dense W with unit effects Wald and LR of SDM
  against SEM reject 7–9 % (n = 11 and 41; LM of the common factor holds), and three more 7–8 %: Wald against SAR at
  n = 11, LR against SAR and LM error from SDM at n = 41. No cell is off in silence. Bootstrap p-values of these tests
  (1,000 panels × 199 draws a cell, ± 1.4 points) reject within 4–6 % up to that error in every
  cell whose usual size is off: the robust tests 3.0–6.7 % where the usual p-value rejects 2–93 %, the others 5.0–6.7 %. A
  bootstrap of the robust tests at the estimate alone rejects 0.2 % where the usual one rejects 92 %; theirs is prepivoted
  ([test-chain.md](../methods/test-chain.md)). Likelihood ratios of dummies (χ²: 8–13 %), Hausman (a σ² of each: 10–12 %,
  undefined in up to a third) and its spatial form (11–32 %, undefined in up to 95 %) hold by Bartlett's correction, with
  one σ², and at one estimate. Likelihood ratios of SDM against SAR and SEM are defined in every panel, also where a
  likelihood is highest at an end of the interval (4–6 % with two-way effects); Wald and LM are not (in up to a quarter
  of panels at n = 11 under a dense W with two-way effects).
- **Systems.** With contiguity analytic intervals cover 93–96 % on average and percentile ones 93–96 % (100 panels a cell
  and more, ± 4 points each): there is no need to resample there. At n = 11 studentised limits of the effect go down to
  77 %. Dense W, 41 units: FIML 94–97 % (percentile 93–96 %), 3SLS 88–96 % (88–96 %; 84 panels, ± 5, the other 16 are
  unstable systems); studentised limits of the effect 58–63 %. More of the dense W: [system.md](system.md).
- **spreg.** Its fixed-effects estimates of ρ and λ are ours to rounding (unit effects); its intervals cover one
  point less on average, for σ² divided by nT. Its pooled LM error and both robust tests have our size; its
  `panel_LMlag` puts the square of tr(W² + W'W) where T times it belongs, and rejects 0–9 % (contiguity) or 14–21 %
  (dense W; 400 panels). Its marginal test of a spatial error is one-sided and rejects 6–9 %, ours 3–6 %. Its
  `panel_Hausman` rejects 1–7 % with contiguity and in none of 1,200 panels under a dense W; ours 4–7 %.
"""
#: Verdicts of the cells that look like city panels.
REAL = "lifelike_verdicts.csv"
#: Where the numbers are.
PARTS = [
    "## The parts",
    "",
    "`.venv/bin/python scripts/validate.py` makes everything, from fixed seeds, with the same numbers for any number of "
    "workers; an interrupted run goes on where it stopped.",
    "",
    "| part | numbers | page |",
    "|---|---|---|",
    "| data that look like city panels: fits, tests, systems, verdicts | [lifelike.csv](lifelike.csv), "
    "[lifelike_tests.csv](lifelike_tests.csv), [lifelike_systems.csv](lifelike_systems.csv), "
    "[lifelike_verdicts.csv](lifelike_verdicts.csv) | [lifelike.md](lifelike.md) |",
    "| estimators: bias, errors, coverage | [small_sample.csv](small_sample.csv) | [small_sample.md](small_sample.md) |",
    "| instruments, textbook and corrected | [gmm.csv](gmm.csv) | [gmm.md](gmm.md) |",
    "| random effects, likelihood and median-unbiased | [random_effects.csv](random_effects.csv) | "
    "[random_effects.md](random_effects.md) |",
    "| intervals by resampling and by likelihood ratio | [resampled.csv](resampled.csv) | |",
    "| median-unbiased ρ and λ, and their intervals | [median_unbiased.csv](median_unbiased.csv) | |",
    "| the bootstrap of dynamic, two-regime, random-effects and GMM fits | "
    "[resampled_others.csv](resampled_others.csv) | [resampled_others.md](resampled_others.md) |",
    "| size of the tests | [test_size.csv](test_size.csv) | [test_size.md](test_size.md) |",
    "| tests of errors over time and between units, and the warnings of fits | [errors.csv](errors.csv) | "
    "[errors.md](errors.md) |",
    "| the same of their bootstrap p-values, and verdicts | [null_sizes.csv](null_sizes.csv), "
    "[test_verdicts.csv](test_verdicts.csv) | |",
    "| systems | [system.csv](system.csv), [system_resampled.csv](system_resampled.csv), "
    "[system_corrected.csv](system_corrected.csv) | [system.md](system.md) |",
    "| the same by spreg | [other_software.csv](other_software.csv) | |",
    "| verdicts | [study_verdicts.csv](study_verdicts.csv) | |",
]


def run(replications: int | None = None, workers: int = 1) -> None:
    """Write the verdicts, study.md and the figures from the tables that are there."""
    small = pd.read_csv(OUT / "small_sample.csv")
    resampled = maybe("resampled.csv")
    sizes = pd.read_csv(OUT / "test_size.csv", keep_default_na=False)
    unbiased = maybe("median_unbiased.csv")
    found = verdicts(small, resampled, unbiased)
    found.to_csv(OUT / "study_verdicts.csv", index=False, float_format="%.4g")
    tests = test_verdicts(sizes, maybe("null_sizes.csv"))
    tests.to_csv(OUT / CSV, index=False, float_format="%.4g")
    real = real_verdicts()
    real.to_csv(OUT / REAL, index=False, float_format="%.4g")
    (OUT / "study.md").write_text(page(found, tests, real), encoding="utf-8")
    draw_bias(small)
    if resampled is not None:
        draw_intervals(resampled)
    if unbiased is not None:
        draw_median_unbiased(unbiased)
    draw_sizes(sizes)


def real_verdicts() -> pd.DataFrame:
    """Verdicts of fits, systems and tests in the cells that look like city panels."""
    fits = lifelike_verdicts(pd.read_csv(ESTIMATES), [*PLACE, "model"], ("rho",))
    systems = lifelike_verdicts(pd.read_csv(SYSTEMS), [*PLACE, "strength"], ("tal", "W_ind", "W_tal"))
    systems = systems.rename(columns={"method": "estimator"}).assign(model="system")
    tests = lifelike_tests(pd.read_csv(TESTS), fits, PLACE)
    parts = [fits.assign(what="fit"), systems.assign(what="system"), tests.assign(what="test")]
    columns = [
        "what",
        *PLACE,
        "model",
        "strength",
        "estimator",
        "covariance",
        "test",
        "panels",
        "blank",
        "median_bias",
    ]
    columns += [
        "bias_error",
        "coverage_spatial",
        "coverage_others",
        "coverage_error",
        "rejects",
        "size_error",
    ]
    return pd.concat(parts)[[*columns, "says", "verdict"]]


# --- the page


def page(found: pd.DataFrame, tests: pd.DataFrame, real: pd.DataFrame) -> str:
    """What to use, what was asked and kept, and what the tables say."""
    lines = [
        "# The simulation study",
        "",
        "Simulated data on real maps: 11 cities of Zhejiang, 41 cities of the delta, 90 counties of Zhejiang; T = "
        f"{PERIODS}; contiguity and dense inverse distance (every unit a neighbour of every other), row-normalised; two-way "
        "effects; ρ and λ of 0, 0.3, 0.6; normal errors of variance one. On data that look like city "
        "panels errors, T, ρ and W are others: [lifelike.md](lifelike.md).",
        "",
        *lifelike(real),
        *answer(found, tests),
        "## What was asked",
        "",
        "Of every default: |bias| ≤ 0.02 on ρ and λ, coverage of 95 % intervals between 92 and 97 %, size of "
        "tests at 5 % between 4 and 6 %; or a warning, and resampling that reaches these bands: for ρ and λ the median bias "
        "and the limits of `zb.median_unbiased(fit)`, for β, θ and the effects its limits too; with two spatial lags, for "
        "which it has none, the usual ones or percentile limits of `zb.bootstrap(fit)`. *Limits hold*: two lags that the "
        "data do not tell apart, for which it gives limits of ρ and λ and no estimate. A cell passes within twice the error "
        "of the simulation (coverage: ± 1.4 points at 1,000 replications, ± 2.5 at 300). Cells of estimators by verdict "
        "(every one: [study_verdicts.csv](study_verdicts.csv)):",
        "",
        *_counts(found),
        "",
        "![Bias and coverage of the default estimator](study_estimates.png)",
        "",
        "![Median-unbiased estimates](study_median_unbiased.png)",
        "",
        "![Coverage of intervals](study_intervals.png)",
        READING,
        *PARTS,
    ]
    return "\n".join(lines) + "\n"


def _counts(found: pd.DataFrame) -> list[str]:
    lines = [f"| W | n | {' | '.join(VERDICTS)} |", "|---|---|" + "---|" * len(VERDICTS)]
    for (kind, n), group in found.groupby(["weights", "n"]):
        counts = group["verdict"].value_counts()
        lines.append(f"| {kind} | {n} | " + " | ".join(str(counts.get(name, 0)) for name in VERDICTS) + " |")
    return lines
