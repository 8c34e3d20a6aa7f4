"""What tests of several folders share: the delivered layers; ``dense_oracle`` and ``small_examples`` lie beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))  # test modules import dense_oracle and small_examples by name


@pytest.fixture(scope="session")
def delta():
    """The 41 cities of the Yangtze River Delta."""
    from spatial_zb import read_regions

    return read_regions(ROOT / "shapefiles" / "delta_cities.shp")


@pytest.fixture(scope="session")
def counties():
    """The 90 counties of Zhejiang."""
    from spatial_zb import read_regions

    return read_regions(ROOT / "shapefiles" / "zhejiang_counties.shp")


@pytest.fixture(scope="session")
def real_cities():
    """Panel and W of the 41 cities of the delta and the 11 of Zhejiang, as they were when oracle numbers were computed."""
    import numpy as np
    import pandas as pd
    from scipy import sparse

    import spatial_zb as zb

    folder = ROOT / "tests" / "reference" / "cities"
    data = pd.read_csv(folder / "data.csv", dtype={"city": str})
    out = {}
    for name, links in pd.read_csv(folder / "edges.csv", dtype=str).groupby("sample"):
        ids = pd.Index(sorted(set(links["i"])))
        places = ids.get_indexer(links["i"]), ids.get_indexer(links["j"])
        matrix = sparse.csr_array((np.ones(len(links)), places), shape=(len(ids),) * 2)
        W = zb.Weights(matrix, ids, str(name)).standardise()
        out[str(name)] = zb.build_panel(data[data["city"].isin(ids)], "city", "year", units=ids), W
    return out


@pytest.fixture(scope="session")
def example():
    """The example of the delta: polygons, panel and W, as a newcomer gets them."""
    import spatial_zb as zb

    return zb.example("delta")


@pytest.fixture(scope="session")
def effects_of_a_fit(example):
    """Effects of the example's model."""
    import spatial_zb as zb

    x = ["talent", "ln_pgdp", "fdi_gdp"]
    fit = zb.fit_durbin(zb.DurbinSpec("industry", x), example.panel, example.W)
    return zb.spatial_effects(fit)
