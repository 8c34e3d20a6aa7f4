"""What holds, what warns and what does not: one row per place, family and strength of the default estimator."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: What is asked of a default: |bias| of ρ and λ, coverage of 95 % intervals.
BIAS, COVERAGE = 0.02, (0.92, 0.97)
#: The fit says that n or the precision of ρ is small.
WARNED_UNITS, WARNED_ERROR = 30, 0.16
KEYS = ["weights", "n", "model", "spatial"]
VERDICTS = (
    "holds",
    "warns, resampling holds",
    "warns, limits hold",
    "warns, off",
    "warns, not judged",
    "silent",
)
#: A median whose error is larger than this cannot be told to be in its band.
JUDGEABLE = 0.025
#: A coverage whose error is larger than this cannot be told to be in its band: 300 panels have 0.0126.
FINE = 0.013
OTHERS = ("beta", "theta", "direct", "indirect")


def verdicts(
    small: pd.DataFrame, resampled: pd.DataFrame | None, unbiased: pd.DataFrame | None
) -> pd.DataFrame:
    """The table, from those of the parts.

    ``verdict``: *holds* (bias and coverage of ρ, λ and the effects in their bands, up to twice the error of the
    simulation); *warns, resampling holds* (the fit warns, and what it names is in the bands: the median bias and the
    limits of `zb.median_unbiased` for ρ and λ, its limits for all others, with two spatial lags the usual ones or
    percentile limits); *warns, limits hold* (the same, where `zb.median_unbiased` gives limits and no estimate of ρ and λ,
    because the data do not tell them apart); *warns, off* (it is not); *warns, not judged* (too few panels, or none, to
    tell); *silent* (out of the bands without a warning).
    """
    rows = []
    part = small[small["estimator"] == "lee_yu"]
    for key, group in part.groupby(KEYS, sort=False):
        by = group.set_index("parameter")
        spatial = [name for name in ("rho", "lam") if name in by.index]
        others = [name for name in OTHERS if name in by.index]
        noise = 2 * by["bias_mcse"]
        bias_ok = all(abs(by.loc[p, "bias"]) <= BIAS + noise[p] for p in spatial)
        covered, others_covered = (
            all(in_band(by.loc[p, "coverage"], by.loc[p, "coverage_mcse"]) for p in names)
            for names in (spatial, others)
        )
        error = by.loc[spatial, "median_std_error"].max()
        warned = key[1] <= WARNED_UNITS or error > WARNED_ERROR
        drawn = _of(resampled, key)
        limits = _limits(drawn, others)
        median = _median_unbiased(_of(unbiased, key), spatial, others)
        if median["covers_others"] is None:  # two spatial lags
            median["covers_others"] = others_covered or limits["holds"]
        rows.append(
            dict(zip(KEYS, key, strict=True))
            | {
                "bias": max((by.loc[p, "bias"] for p in spatial), key=abs),
                "std_error": error,
                "coverage_spatial": min(by.loc[p, "coverage"] for p in spatial),
                "coverage_effects": min(by.loc[p, "coverage"] for p in others),
                "not_converged": by["not_converged"].iloc[0] / by["replications"].iloc[0],
                "warned": warned,
                "percentile_lowest": limits["lowest"],
                "bias_corrected": _corrected(drawn, spatial),
                "median_bias": median["bias"],
                "median_bias_error": median["error"],
                "median_unbiased_coverage": median["coverage"],
                "median_unbiased_effects": median["lowest"],
                "verdict": verdict(
                    bias_ok and covered and others_covered,
                    warned,
                    median["holds"],
                    median["covers_others"],
                    median["reported"],
                ),
            }
        )
    return pd.DataFrame(rows)


def in_band(coverage: float, error: float) -> bool:
    """Whether a coverage is in the band, up to twice the error of the simulation."""
    return bool(COVERAGE[0] - 2 * error <= coverage <= COVERAGE[1] + 2 * error)


def verdict(
    holds: bool, warned: bool, median: bool | None, others: bool | None, reported: bool = True
) -> str:
    """In words; ``median`` and ``others``: what the warning names for ρ and λ, and for the rest, None where not known;
    ``reported``: whether it has estimates of ρ and λ, or limits alone."""
    if holds:
        return "holds"
    if not warned:
        return "silent"
    if median is False or others is False:
        return "warns, off"
    if not (median and others):
        return "warns, not judged"
    return "warns, resampling holds" if reported else "warns, limits hold"


def _of(table: pd.DataFrame | None, key: tuple) -> pd.DataFrame | None:
    """Rows of one cell, None where there are none."""
    if table is None:
        return None
    rows = table[(table[KEYS] == list(key)).all(axis=1)]
    return None if rows.empty else rows


def _corrected(drawn: pd.DataFrame | None, spatial: list[str]) -> float:
    """Bias of ρ̂ or λ̂ less that of its replicates, the larger one."""
    if drawn is None:
        return np.nan
    rows = drawn[drawn["parameter"].isin(spatial) & (drawn["interval"] == "percentile")]
    return max(rows["bias_corrected"], key=abs) if len(rows) else np.nan


def _limits(drawn: pd.DataFrame | None, parameters: list[str]) -> dict:
    """Whether percentile limits are in the band, and the lowest coverage."""
    if drawn is None:
        return {"holds": None, "lowest": np.nan}
    rows = drawn[drawn["parameter"].isin(parameters) & (drawn["interval"] == "percentile")]
    error = np.sqrt(0.95 * 0.05 / rows["used"].min())
    return {"holds": all(in_band(c, error) for c in rows["coverage"]), "lowest": rows["coverage"].min()}


def _median_unbiased(rows: pd.DataFrame | None, spatial: list[str], others: list[str]) -> dict:
    """The larger median bias with its error, coverage of ρ and λ, the lowest one of the others; None: not
    known."""
    nothing = {"bias": np.nan, "error": np.nan, "coverage": np.nan, "lowest": np.nan}
    if rows is None:
        return nothing | {"holds": None, "covers_others": None, "reported": True}
    by = rows.set_index("parameter")
    own = by.loc[spatial]
    worst = own["estimate_median_bias"].abs().idxmax()
    small = own["estimate_median_bias"].abs() <= BIAS + 2 * own["median_mcse"]
    covers = [in_band(c, e) for c, e in zip(own["coverage"], own["coverage_mcse"], strict=True)]
    reported = bool(own["reported"].any())
    holds = bool((small.all() or not reported) and all(covers))
    if holds and (own["median_mcse"].max() > JUDGEABLE if reported else own["coverage_mcse"].max() > FINE):
        holds = None
    rest = by.loc[[name for name in others if name in by.index]].dropna(subset="coverage")
    inside = [in_band(c, e) for c, e in zip(rest["coverage"], rest["coverage_mcse"], strict=True)]
    return {
        "bias": own.loc[worst, "estimate_median_bias"],
        "error": own.loc[worst, "median_mcse"],
        "coverage": own.loc[(own["coverage"] - 0.95).abs().idxmax(), "coverage"],
        "lowest": rest["coverage"].min() if len(rest) else np.nan,
        "holds": holds,
        "covers_others": all(inside) if len(rest) else None,
        "reported": reported,
    }


# --- cells that look like city panels

LIFELIKE = (
    "holds",
    "holds, effects blank",
    "warns, what it names holds",
    "warns, off",
    "warns, not judged",
    "warns of something else",
    "silent",
    "warns, says by how much",
    "rejects too rarely",  # a test
)
#: The note of a fit → the estimator and covariance that it names; of random effects their own.
NAMED = {
    "variances_tied": ("robust_score", "cluster"),
    "measured_short(hubs)": ("robust_score", "cluster"),
    "measured_short(random)": ("robust_score", "cluster"),
    "correlated_over_time": ("lee_yu", "cluster"),
    "measured_short(short)": ("lee_yu", "cluster"),
    "correlated_equations": ("fiml", "cluster"),
}
#: Notes that give the coverage that was measured in such cells.
MEASURED = (
    *("measured_short(few)", "measured_short(strong)", "measured_short(instruments)"),
    *("tied_in_system", "lam_of_system"),
)
#: A note is heard where it is in so many of the panels.
HEARD = 0.5
#: A parameter is judged where so many panels have it.
GIVEN = 0.5
#: Clustered errors of few units are to be no shorter than this, and no longer.
CLUSTERED = (0.92, 0.99)


def lifelike_verdicts(table: pd.DataFrame, keys: list[str], spatial: tuple[str, ...]) -> pd.DataFrame:
    """One row per place, errors and fit, from ``lifelike.csv`` or ``lifelike_systems.csv``.

    ``keys``: the columns of a cell; then ``estimator`` (or ``method``) and ``covariance`` say the fit. ``verdict``: *holds*
    (the median of ``spatial`` within 0.02 of the truth, every coverage in its band, up to twice the error of the
    simulation); *holds, effects blank* (what is given holds, and the fit gives no effects in more than half of the
    panels); else by what the fit says in at least half of the panels: of its errors, and *what it names holds*; or is *off*
    as well; or has no cell yet (*not judged*); of the coverage that was measured in such a cell (*says by how much*); of
    *something else*, such as few units or weak instruments; nothing: *silent*. ``blank`` is the largest share of panels in
    which a number is not given.
    """
    how = "estimator" if "estimator" in table else "method"
    rows = []
    for key, part in table.groupby([*keys, how, "covariance"], sort=False):
        by = part.set_index("parameter")
        band = CLUSTERED if key[-1] == "cluster" else COVERAGE
        given = by["used"] >= GIVEN * by["panels"]
        blank = float(1 - by["used"].min() / by["panels"].max())
        by = by[given]
        error = np.sqrt(0.95 * 0.05 / by["used"])
        own = by.loc[[name for name in spatial if name in by.index]]
        inside = by["coverage"].between(band[0] - 2 * error, band[1] + 2 * error)
        centred = own["median_bias"].abs() <= BIAS + 2 * own["median_mcse"]
        worst = own["median_bias"].abs().idxmax() if len(own) else None
        rows.append(
            dict(zip([*keys, how, "covariance"], key, strict=True))
            | {
                "panels": int(part["panels"].max()),
                "blank": blank,
                "median_bias": own.loc[worst, "median_bias"] if worst else np.nan,
                "bias_error": 2 * own.loc[worst, "median_mcse"] if worst else np.nan,
                "coverage_spatial": own["coverage"].min(),
                "coverage_others": by["coverage"].drop(own.index).min(),
                "coverage_error": 2 * float(error.max()),
                "holds": bool(inside.all() and centred.all()),
                "says": part["says"].fillna("").iloc[0],
            }
        )
    found = pd.DataFrame(rows)
    holds = {tuple(row[[*keys, how, "covariance"]]): row["holds"] for _, row in found.iterrows()}
    found["verdict"] = [
        LIFELIKE[int(row["blank"] > 1 - GIVEN)]
        if row["holds"]
        else _said(row["says"], tuple(row[keys]), holds, row[how])
        for _, row in found.iterrows()
    ]
    return found


def heard(says: str) -> set[str]:
    """Kinds of notes in at least half of the panels, of ``kind:share kind:share``."""
    pairs = (word.split(":") for word in says.split())
    return {kind for kind, share in pairs if float(share) >= HEARD}


def _said(says: str, cell: tuple, holds: dict[tuple, bool], estimator: str) -> str:
    """The verdict of a fit that is off: by any of what its notes name."""
    kinds = heard(says)
    off = None
    for kind, named in NAMED.items():
        if kind in kinds:
            own = ("random", "cluster") if estimator == "random" and named[0] == "lee_yu" else named
            known = holds.get((*cell, *own))
            if known:
                return LIFELIKE[2]
            off = off or (LIFELIKE[4] if known is None else LIFELIKE[3])
    if kinds & set(MEASURED):
        return LIFELIKE[7]
    return off or (LIFELIKE[5] if kinds else LIFELIKE[6])


# --- panels of any shape

SHAPE = ("design", "model", "errors", "n", "periods")
#: Up to so many units ρ with λ is said to be weak, with figures; few units are said, and the errors and sets that hold.
SAYS_WEAK_PAIR = 30


def shape_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """One row per design, model, errors, size and parameter of the adjusted score, from ``shape.csv``.

    ``verdict``: *holds* (|bias| of ρ, λ and θ at most 0.02, coverage of 92 to 97 %, clustered 92 to 99 %, up to twice the
    error of the simulation); else by what the fit says. Bias: at least half of the fits say that they lean, and less the
    bias of the bootstrap that the note names (of its expansion, where no bootstrap was run) the estimate is in the band.
    Coverage: units are so few that the fit says so, and what it names covers: the score set ρ or λ, clustered errors all
    others. Then *warns, what it names holds*, or *warns, off*; ρ and λ together in few units *warn and say by how much*;
    without a note *silent*.
    """
    own = table[table["model"].isin(["SDM", "SEM", "SAC"])]
    rows = []
    for key, part in own.groupby(list(SHAPE), sort=False):
        by = {name: rows.set_index("parameter") for name, rows in part.groupby("estimator")}
        rows += [
            dict(zip(SHAPE, key, strict=True)) | {"parameter": p} | _of_shape(key, p, by)
            for p in by["adjusted score"].index
            if p != "set"
        ]
    return pd.DataFrame(rows)


def _of_shape(key: tuple, parameter: str, by: dict[str, pd.DataFrame]) -> dict:
    """Numbers and verdict of one parameter in one cell, ``by`` estimator."""
    _, model, errors, n, _ = key
    plain, few, asked = by["adjusted score"], n <= WARNED_UNITS, parameter in ("rho", "lam", "theta")
    row = plain.loc[parameter]
    expansion, resampled = by.get("expansion"), by.get("bootstrap")
    says = float(expansion.loc["says", "bias"]) if expansion is not None else 0.0
    told = expansion if resampled is None or parameter not in resampled.index else resampled
    less, less_error = np.nan, np.nan
    if asked and told is not None and parameter in told.index:
        less = row["bias"] - told.loc[parameter, "bias"]
        less_error = float(np.hypot(row["bias_mcse"], told.loc[parameter, "bias_mcse"]))
    centred = not asked or abs(row["bias"]) <= BIAS + 2 * row["bias_mcse"]
    covered = _covers(row, CLUSTERED if errors != "iid" else COVERAGE)
    named, band = row, CLUSTERED
    if parameter in ("rho", "lam") and "set" in plain.index:
        named, band = plain.loc["set"], COVERAGE
    elif few and "clustered" in by:
        named = by["clustered"].loc[parameter]
    if centred and covered:
        verdict = LIFELIKE[0]
    elif model == "SAC" and n <= SAYS_WEAK_PAIR:
        verdict = LIFELIKE[7]
    elif (not centred and says < HEARD) or (not covered and not few):
        verdict = LIFELIKE[6]
    else:
        mended = centred or abs(less) <= BIAS + 2 * less_error
        verdict = LIFELIKE[2] if mended and (covered or _covers(named, band)) else LIFELIKE[3]
    return {
        "panels": int(row["used"]),
        "bias": row["bias"] if asked else np.nan,
        "bias_error": 2 * row["bias_mcse"] if asked else np.nan,
        "coverage": row["coverage"],
        "coverage_error": 2 * _error(row),
        "says_it_leans": says,
        "bias_less_its_own": less,
        "named_coverage": named["coverage"] if few else np.nan,
        "verdict": verdict,
    }


def _error(row: pd.Series) -> float:
    return float(np.sqrt(0.95 * 0.05 / row["used"]))


def _covers(row: pd.Series, band: tuple[float, float]) -> bool:
    """Whether a coverage is in a band, up to twice the error of the simulation."""
    return bool(band[0] - 2 * _error(row) <= row["coverage"] <= band[1] + 2 * _error(row))
