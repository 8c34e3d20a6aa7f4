"""A user's own typed script checks against the package, and a wrong call in it is an error."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import spatial_zb

ROOT = Path(__file__).resolve().parents[2]

#: The README's five lines, weights and a grid.
RIGHT = """
import spatial_zb as zb

bay = zb.prepare(zb.load_study("studies/bay_area.toml"))
panel, W = bay.sample("delta"), bay.weights("queen", "delta")
fit = zb.fit_durbin(zb.DurbinSpec("industry", bay.study.models["industry"].x), panel, W, covariance="cluster")
print(fit, zb.spatial_effects(fit), sep="\\n\\n")

regions = zb.read_regions("shapefiles/delta_cities.gpkg", id="adcode")
queen = zb.weights.contiguity(regions, kind="queen", islands="nearest").standardise("row")
near = zb.weights.knn(regions, k=4)
lags: list[list[str]] = [["talent"], []]
specs = [zb.DurbinSpec(y="industry", x=["talent"], lag_x=lagged) for lagged in lags]
grid = zb.specification_grid(panel, specs, {"queen": queen, "near": near}, estimators=["lee_yu", "direct"])
moran = zb.moran(panel, "industry", queen, permutations=99, rng=1)
height: float = fit.log_likelihood
terms: tuple[str, ...] = fit.spec.terms
print(grid.tidy(), moran.table(), height, terms)
"""

#: Line by line, each with the word that its error must have.
WRONG = {
    'spec = zb.DurbinSpec(y="industry", x=["talent"], fixed_effects="twoway")': "fixed_effects",
    'fit = zb.fit_durbin(spec, panel, W, estimator="ols")': "estimator",
    "print(fit.log_likelihod)": "log_likelihod",
    "zb.spatial_effect(fit)": "spatial_effect",
    "weights: int = fit.weights": "Weights",
}
BEFORE = """
import spatial_zb as zb

bay = zb.prepare(zb.load_study("studies/bay_area.toml"))
panel, W = bay.sample("delta"), bay.weights("queen", "delta")
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says of both scripts, in one run on the cache of the check of the package."""
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "right.py").write_text(RIGHT, encoding="utf-8")
    (folder / "wrong.py").write_text("\n".join([BEFORE.strip(), *WRONG]), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        "pyproject.toml",
        folder / "right.py",
        folder / "wrong.py",
    ]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert not run.stderr, run.stderr
    return run.stdout.splitlines()


def test_package_says_that_it_is_typed() -> None:
    assert (Path(spatial_zb.__file__).parent / "py.typed").is_file()


def test_right_script_has_no_error(found: list[str]) -> None:
    assert [line for line in found if "wrong.py" not in line and not line.startswith("Found")] == []


def test_every_wrong_line_is_an_error(found: list[str]) -> None:
    errors = {int(m[1]): m[2] for line in found if (m := re.search(r"wrong\.py:(\d+): error: (.*)", line))}
    first = len(BEFORE.strip().splitlines()) + 1
    assert sorted(errors) == list(range(first, first + len(WRONG)))
    for said, word in zip((errors[line] for line in sorted(errors)), WRONG.values(), strict=True):
        assert word in said
