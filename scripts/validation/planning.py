"""What 11 cities, 41 cities and 90 counties can show: power and coverage by the size of the true effect."""

from __future__ import annotations

import spatial_zb as zb

from .places import KINDS, OUT, PERIODS, ROOT, SIZES, weights

SEED = 20261127
STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def run(replications: int = 300, workers: int = 1) -> None:
    """Simulate SDM panels for each n and strength; the table, and the figure of ρ and of the indirect effect."""
    from spatial_zb.report import figures

    study = zb.simulate.power(
        zb.DurbinSpec("y", ["x"]),
        {f"{n} units": weights(n, KINDS[0]) for n in SIZES},
        PERIODS,
        {f"{c:g}": {"x": 1.0, "W_x": c / 2, "rho": c} for c in STRENGTHS},
        replicates=replications,
        rng=SEED,
        workers=workers,
    )
    frame = study.tidy()
    frame.to_csv(OUT / "power.csv", index=False, float_format="%.5g")
    for parameter, name in (("rho", "rho"), ("x indirect", "indirect")):
        drawing = figures.power(frame, measures=("rejects", "coverage"), parameter=parameter)
        drawing.figure.savefig(ROOT / "docs" / "images" / f"power_{name}.png", dpi=200)
