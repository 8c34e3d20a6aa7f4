"""The opening of the study's page: what to use at which number of units and under which W, with the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from .test_verdicts import VERDICTS as TEST_VERDICTS

__all__ = ["answer"]

ONE_LAG = ("SAR", "SDM", "SEM", "SDEM")
#: W and numbers of units that share an answer → the answer. What it says is in the numbers beside it.
USE = {
    ("contiguity", (41, 90)): "the fit as it is: its estimate, standard errors and effects",
    ("contiguity", (11,)): "the fit; where an indirect effect matters and ρ̂ is above a half, the limits of "
    "`zb.median_unbiased(fit)`",
    ("inverse distance", (41, 90)): "`zb.median_unbiased(fit)` for ρ, λ and effects, or a sparser W",
    (
        "inverse distance",
        (11,),
    ): "a sparser W. With this one `zb.median_unbiased(fit)` is honest and wide: most of its "
    "intervals set no bound to effects",
}


#: Errors of the cells that look like city panels, in words, and what to use where they are so at 41 and at 11 units.
CLUSTER, ANY = '`covariance="cluster"`', "any; `cluster` costs little"
FEW = "`cluster`, whose limits are wide, and effects often blank"
LIFELIKE = {
    "AR 0.6": ("AR(1) of 0.6", CLUSTER, FEW),
    "own residuals": (
        "the study's own residuals",
        CLUSTER,
        "nothing holds; `cluster` is nearest, its effects too sure",
    ),
    "sd × 3 at high (W²)_ii": (
        "three times the spread in hubs of W",
        '`estimator="robust_score"` with `covariance="cluster"`',
        ANY,
    ),
    "unit variances": ("unequal between units", ANY, ANY),
    "t(5)": ("heavy tails, t(5)", ANY, ANY),
    "independent": ("independent, normal", ANY, "any; with four periods `cluster`"),
}
FITTED = (("lee_yu", "information"), ("lee_yu", "cluster"), ("robust_score", "cluster"))


def lifelike(real: pd.DataFrame) -> list[str]:
    """The table that opens the page: errors like those of city panels, and which fit holds under them.

    Parameters
    ----------
    real
        The frame of :func:`validation.study.real_verdicts`.
    """
    found = real[real["what"] == "fit"]
    lines = [
        "## What to use",
        "",
        "**Cities first**: errors of city panels last over time. `diagnose` tests that, fits warn of it, and there "
        '`covariance="cluster"` is the fit to read. SAR and SDM with two-way effects and regressors of autocorrelation 0.7, '
        f"at the T, W and ρ of [lifelike.md](lifelike.md), {found['panels'].max()} panels a cell "
        f"({found['panels'].min()} in those added last): how many cells hold, the range of the median bias of ρ, and of the "
        "lowest coverage among ρ, β and the effects, which is known to ± 3 points (± 6; two errors).",
        "",
        "| errors | units | default errors (`information`) | `cluster` | `robust_score`, `cluster` | use |",
        "|---|---|---|---|---|---|",
    ]
    for errors, (words, *uses) in LIFELIKE.items():
        for n, use in zip((41, 11), uses, strict=True):
            rows = found[(found["errors"] == errors) & (found["n"] == n)]
            cells = [_fitted(rows, *how) for how in FITTED]
            lines.append(f"| {words} | {n} | {' | '.join(cells)} | {use} |")
    return [*lines, "", *_counted(real), ""]


def _counted(real: pd.DataFrame) -> list[str]:
    """Cells by verdict, of tests and systems."""
    lines = []
    for what, words in (("fit", "fits (all estimators)"), ("test", "tests"), ("system", "systems")):
        counts = real.loc[real["what"] == what, "verdict"].value_counts()
        listed = "; ".join(f"{name} {count}" for name, count in counts.items())
        lines.append(f"- Cells of {words}: {listed}.")
    return lines


def _fitted(rows: pd.DataFrame, estimator: str, covariance: str) -> str:
    """Range of the bias of ρ, the lowest coverages, and how many cells hold."""
    rows = rows[(rows["estimator"] == estimator) & (rows["covariance"] == covariance)]
    if rows.empty:
        return "–"
    lowest = rows[["coverage_spatial", "coverage_others"]].min(axis=1)
    held = rows["verdict"].str.startswith("holds").sum()
    return f"{held} of {len(rows)} hold; ρ {_signed(rows['median_bias'])}; covers {_percents(lowest)}"


def answer(found: pd.DataFrame, tests: pd.DataFrame) -> list[str]:
    """Lines of half a page: estimates and intervals by W and units, two lags, tests, and what to leave alone.

    Parameters
    ----------
    found
        The frame of :func:`validation.verdicts.verdicts`.
    tests
        The frame of :func:`validation.test_verdicts.test_verdicts`.
    """
    lines = [
        "**Independent, equal errors.** One spatial lag (SAR, SDM, SEM, SDEM), eleven periods, two-way effects. Ranges over "
        "models and ρ, λ of 0, 0.3 and 0.6; *effects*: the lowest coverage among β, θ, direct and indirect effects.",
        "",
        "| W, units | the fit: bias of ρ, λ | its 95 % intervals: ρ, λ; effects | `zb.median_unbiased`: median bias | its "
        "intervals: ρ, λ; effects | use |",
        "|---|---|---|---|---|---|",
    ]
    one = found[found["model"].isin(ONE_LAG)]
    for (kind, units), words in USE.items():
        rows = one[(one["weights"] == kind) & one["n"].isin(units)]
        name = "dense (inverse distance)" if kind == "inverse distance" else kind
        cells = [
            f"{name}, n = {' and '.join(map(str, units))}",
            _signed(rows["bias"]),
            _coverage(rows, "coverage_spatial", "coverage_effects"),
            _signed(rows["median_bias"]),
            _coverage(rows, "median_unbiased_coverage", "median_unbiased_effects"),
            words,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *_two_lags(found), *_tests(tests), *CAUTIONS, ""]


def _two_lags(found: pd.DataFrame) -> list[str]:
    rows = found[found["model"] == "SAC"]
    sparse, dense = (rows[rows["weights"] == kind] for kind in ("contiguity", "inverse distance"))
    few, more = sparse[sparse["n"] == 11], sparse[sparse["n"] > 11]
    none = 100 * dense.loc[dense["n"] == 11, "not_converged"].max()
    return [
        f"- **Two spatial lags** (SAC). Contiguity: the fit from 41 units on (bias {_signed(more['bias'])}, intervals of ρ "
        f"and λ {_percents(more['coverage_spatial'])}); with eleven `zb.median_unbiased(fit)` (the fit: "
        f"{_percents(few['coverage_spatial'])}). Under a dense W ρ and λ are hard to tell apart (no maximum in up to "
        f"{none:.0f} % of the fits at n = 11): take a sparser W or one lag, or read the intervals of "
        "`zb.median_unbiased(fit)`, which gives an estimate only where W and T tell them apart (here n = 90)."
    ]


def _tests(tests: pd.DataFrame) -> list[str]:
    holds = tests["verdict"] == TEST_VERDICTS[0]
    robust = tests["test"].str.contains("robust")
    drawn = tests[tests["bootstrap"].notna() & ~holds]
    kept = int((drawn["bootstrap_holds"] == 1).sum())
    others = tests[~holds & ~robust]
    return [
        f"- **Tests.** The usual p-value keeps its level of 5 % in {holds.sum()} of {len(tests)} cells. The robust LM "
        "tests do not where the other coefficient is large (rejections of a true hypothesis up to "
        f"{100 * tests.loc[robust, 'size'].max():.0f} %): read LM lag from SEM and LM error from SAR. The others that miss "
        f"it, with few units or a dense W, reject {100 * others['size'].max():.0f} % at most. `diagnose` names each, and "
        f"its bootstrap p-value (`bootstrap = 999`) holds in {kept} of these {len(drawn)} cells."
    ]


CAUTIONS = [
    '- **Leave alone** dummies for units and periods by maximum likelihood (`estimator="direct"`) with few units, basic and '
    "studentised bootstrap intervals under a dense W, and any reading of effects where an interval reaches the end of the "
    "admissible ρ.",
    "- **Elsewhere**: instruments [gmm.md](gmm.md), random effects [random_effects.md](random_effects.md), systems "
    "[system.md](system.md), lags in time [dynamic.md](dynamic.md), two regimes [regimes.md](regimes.md). For a sample "
    "unlike these, `python3 scripts/power.py STUDY.toml` simulates your own model, W and years.",
]


def _signed(values: Iterable[float]) -> str:
    known = np.asarray([v for v in values if np.isfinite(v)])
    if not len(known):
        return "–"
    return f"{known.min():+.3f} to {known.max():+.3f}".replace("-", "−")


def _percents(shares: pd.Series) -> str:
    low, high = 100 * shares.min(), 100 * shares.max()
    return f"{low:.0f}–{high:.0f} %"


def _coverage(rows: pd.DataFrame, spatial: str, effects: str) -> str:
    if rows[spatial].isna().all():
        return "–"
    return f"{_percents(rows[spatial].dropna())}; {_percents(rows[effects].dropna())}"
