"""Measure bias, RMSE and coverage of the system estimators, and write docs/validation/system.{csv,md}.

    python scripts/validate_system.py [--replications 300] [--workers 1]

Simulated data on real maps: the 11 cities of Zhejiang, the 41 cities of the Yangtze River Delta and the 90 counties
of Zhejiang, queen contiguity and dense inverse distance, T = 11, two-way effects, normal errors correlated between
the two equations. A binomial standard error of a 95 % coverage at 300 replications is 1.3 percentage points.
"""

from __future__ import annotations

import argparse
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from spatial_zb import SpatialZbWarning, Weights, read_regions, select_regions
from spatial_zb.effects import spatial_effects
from spatial_zb.errors import SpatialZbError
from spatial_zb.models.simultaneous import fit_system
from spatial_zb.models.system_fit import SystemFit
from spatial_zb.models.system_spec import Equation, SystemSpec
from spatial_zb.system_simulation import simulate_system
from spatial_zb.weights import contiguity, inverse_distance

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "validation"
SEED = 20261125
PERIODS = 11
SIGMA = np.array([[1.0, 0.4], [0.4, 1.0]])
TRUTH = {
    ("industry", "tal"): 0.25,
    ("industry", "W_ind"): 0.3,
    ("industry", "W_tal"): 0.15,
    ("industry", "a"): 1.0,
    ("industry", "b"): -0.5,
    ("talent", "ind"): 0.2,
    ("talent", "W_tal"): 0.25,
    ("talent", "W_ind"): 0.1,
    ("talent", "c"): 1.0,
    ("talent", "d"): 0.5,
}
ERRORS = {("industry", "lam"): 0.3, ("talent", "lam"): 0.3}
#: What is followed: the coefficients of the first equation, and one closed-loop effect.
FOLLOWED = [("industry", term) for term in ("tal", "W_ind", "W_tal", "a")]
EFFECT = ("industry", "shock:talent", "total")
#: Design → spatial errors?, and its (method, covariance) pairs; the last two share the estimates of another.
DESIGNS = {
    "no spatial error": (
        False,
        [("2sls", "classical"), ("3sls", "classical"), ("fiml", "information"), ("3sls", "cluster")],
    ),
    "spatial error": (
        True,
        [("gs2sls", "classical"), ("gs3sls", "classical"), ("fiml", "information"), ("gs3sls", "robust")],
    ),
}
WORDS = {"tal": "γ", "W_ind": "ψ own", "W_tal": "ψ cross", "a": "β", "lam": "λ", "effect": "effect"}

#: What the table of the default seed and replications says; read it again when the table changes.
READING = """
## Reading

- Contiguity, n ≥ 41: γ, ψ and β of every method are within 0.022 of the truth in the median, and 95 % intervals cover
  89–97 %. λ of GS2SLS and GS3SLS is off by −0.04 at n = 41, that of FIML by less than 0.01. Without λ, FIML's RMSE of
  the own spillover ψ is 30 % and of the cross spillover 15 % below that of 3SLS; with λ, 0–4 % and 10–16 %.
- Contiguity, n = 11: γ by 2SLS is off by +0.04 and its interval covers 90 %; FIML is nearly free of bias and covers 94–96 %
  (90–96 % with λ). Cluster standard errors are too small (84–92 %): the fit says so up to 30 units. With as many
  instruments as clusters Hansen's J is not defined (0 %).
- Dense inverse distance with two-way effects: what the period effects leave of Wy is nearly proportional to y. Instrumental
  estimates of the own spillover are off by +0.10 to +0.18 even at n = 90 with a first-stage F above 100, which does not see
  it; their RMSE is 0.3–0.5 for n ≥ 41, and 55 %, 30 % and 17 % of the 2SLS systems are unstable at n = 11, 41, 90. FIML is
  off by 0.00–0.07 for n ≥ 41 and covers 91–97 %. The fit warns when W is dense, time effects are on and the method is
  instrumental. ψ and λ together are hard to tell apart there: 54 %, 23 % and 8 % of the FIML fits have no maximum.
- A first-stage F above 10 is therefore no assurance with a dense W. Below 10 (dense, n = 11) intervals of γ cover 88–92 %.
- Sargan's J rejects a true system in 3–9 %; Hansen's robust J in 4–12 %.
"""


def maps() -> dict[tuple[int, str], Weights]:
    """Weights by number of units and kind."""
    cities = read_regions(ROOT / "shapefiles" / "delta_cities.shp")
    counties = read_regions(ROOT / "shapefiles" / "zhejiang_counties.shp")
    zhejiang = select_regions(cities, list(cities.index[cities["prov"] == "浙江省"]))
    out = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)  # islands joined to the nearest unit: meant here
        for layer in (zhejiang, cities, counties):
            out[len(layer), "contiguity"] = contiguity(layer, islands="nearest").standardise("row")
            out[len(layer), "inverse distance"] = inverse_distance(layer).standardise("row")
    return out


def system(lag_error: bool) -> SystemSpec:
    return SystemSpec(
        {
            "industry": Equation("ind", ["tal"], ["a", "b"], lag_endog=["tal"], lag_error=lag_error),
            "talent": Equation("tal", ["ind"], ["c", "d"], lag_endog=["ind"], lag_error=lag_error),
        }
    )


def followed(fit: SystemFit, lag_error: bool) -> dict[str, tuple[float, float]]:
    """Estimate and standard error of what is followed; the effect of an unstable system is missing."""
    keys = [*FOLLOWED, *([("industry", "lam")] if lag_error else [])]
    out = {key[1]: (fit.params[key], fit.bse[key]) for key in keys}
    try:
        row = spatial_effects(fit).tidy().set_index(["response", "source", "effect"]).loc[EFFECT]
        out["effect"] = (row["estimate"], row["std_error"])
    except SpatialZbError:
        out["effect"] = (np.nan, np.nan)
    return out


def replicate(task: tuple[int, str, Weights, str, np.random.SeedSequence]) -> list[dict]:
    """All methods on one simulated panel."""
    n, kind, W, design, seed = task
    lag_error, methods = DESIGNS[design]
    spec = system(lag_error)
    truth = TRUTH | (ERRORS if lag_error else {})
    panel = simulate_system(spec, W, PERIODS, truth, sigma=SIGMA, rng=np.random.default_rng(seed))
    rows = []
    for method, covariance in methods:
        head = {"n": n, "W": kind, "design": design, "method": method, "covariance": covariance}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpatialZbWarning)
            fit = fit_system(spec, panel, W, method, covariance=covariance)
        found = fit.identification().iloc[0]
        head |= {
            "converged": fit.converged,
            "sw_f": found["sw_f_min"],
            "kp_f": found["kp_f"],
            "j_p": found["j_p"],
        }
        for name, (estimate, std_error) in followed(fit, lag_error).items():
            rows.append(head | {"parameter": name, "estimate": estimate, "std_error": std_error})
    return rows


def summarise(draws: pd.DataFrame) -> pd.DataFrame:
    """One row per n, W, design, method and parameter."""
    keys = ["n", "W", "design", "method", "covariance", "parameter"]
    rows = []
    for key, group in draws.groupby(keys, sort=False):
        good = group[group["converged"] & group["std_error"].notna()]
        truth = true_value(key[5])
        off = good["estimate"] - truth
        rows.append(
            dict(zip(keys, key, strict=True))
            | {
                "truth": truth,
                "used": len(good),
                "left_out": len(group) - len(good),
                "mean_bias": off.mean(),
                "median_bias": off.median(),
                "median_absolute_error": off.abs().median(),
                "rmse": np.sqrt((off**2).mean()),
                "std_dev": off.std(),
                "median_std_error": good["std_error"].median(),
                "coverage": (off.abs() < 1.959964 * good["std_error"]).mean(),
                "median_sw_f": good["sw_f"].median(),
                "median_kp_f": good["kp_f"].median(),
                "j_rejects": (good["j_p"] < 0.05).mean(),
            }
        )
    return pd.DataFrame(rows)


def true_value(parameter: str) -> float:
    if parameter == "effect":  # W ι = ι: the total effect of a shock is (Γ − Ψ)⁻¹
        gamma = np.array([[1, -0.25], [-0.2, 1]])
        psi = np.array([[0.3, 0.15], [0.1, 0.25]])
        return float(np.linalg.inv(gamma - psi)[0, 1])
    return (TRUTH | ERRORS)["industry", parameter]


def report(table: pd.DataFrame, replications: int) -> str:
    """The table in words and Markdown."""
    lines = [
        "# Systems: bias, root mean squared error, coverage",
        "",
        f"Written by `scripts/validate_system.py` (seed {SEED}, {replications} replications per cell, {PERIODS} periods, "
        "two-way effects, W row-normalised).",
        "",
        "    ind = 0.25 tal + 0.30 W ind + 0.15 W tal + 1.0 a − 0.5 b + effects + u₁",
        "    tal = 0.20 ind + 0.25 W tal + 0.10 W ind + 1.0 c + 0.5 d + effects + u₂",
        "",
        "with standard normal regressors and errors, corr(ε₁, ε₂) = 0.4 and, in the second design, λ = 0.3 in both "
        "equations. Shown is the first equation and *effect*, the closed-loop total effect of a structural talent shock "
        f"on industry (truth {true_value('effect'):.2f}). Each cell: median bias, RMSE (effect: median absolute error), "
        "coverage of 95 % intervals. F: median smallest Sanderson–Windmeijer F. J: share of replicates in which "
        "Sargan's or Hansen's J rejects at 5 %. "
        "Left out: replicates without a maximum, or unstable (effect only).",
    ]
    for design, part in table.groupby("design", sort=False):
        names = list(dict.fromkeys(part["parameter"]))
        lines += ["", f"## {design.capitalize()}", ""]
        lines.append(
            "| n | W | method | F | J | " + " | ".join(WORDS[name] for name in names) + " | left out |"
        )
        lines.append("|" + "---|" * (len(names) + 6))
        for (n, kind, method, covariance), rows in part.groupby(
            ["n", "W", "method", "covariance"], sort=False
        ):
            rows = rows.set_index("parameter")
            cells = [
                f"{r.median_bias:+.3f}, {r.median_absolute_error if r.Index == 'effect' else r.rmse:.3f}, "
                f"{100 * r.coverage:.0f} %"
                for r in rows.loc[names].itertuples()
            ]
            first = rows.iloc[0]
            label = method if covariance in ("classical", "information") else f"{method}, {covariance}"
            lines.append(
                f"| {n} | {kind} | {label} | {first.median_sw_f:.1f} | {100 * first.j_rejects:.0f} % | "
                + " | ".join(cells)
                + f" | {first.left_out}, {rows.loc['effect'].left_out} |"
            )
    return "\n".join(lines) + "\n" + READING


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    cells = [(n, kind, W, design) for (n, kind), W in maps().items() for design in DESIGNS]
    seeds = np.random.SeedSequence(SEED).spawn(len(cells))
    tasks = [
        (*cell, child)
        for cell, seed in zip(cells, seeds, strict=True)
        for child in seed.spawn(options.replications)
    ]
    if options.workers > 1:
        with ProcessPoolExecutor(options.workers) as pool:
            found = list(pool.map(replicate, tasks, chunksize=50))
    else:
        found = [replicate(task) for task in tasks]
    table = summarise(pd.DataFrame([row for rows in found for row in rows]))
    OUT.mkdir(parents=True, exist_ok=True)
    table.round(5).to_csv(OUT / "system.csv", index=False, lineterminator="\n")
    (OUT / "system.md").write_text(report(table, options.replications), encoding="utf-8")
    print(f"{len(tasks)} panels; see docs/validation/system.md")


if __name__ == "__main__":
    main()
