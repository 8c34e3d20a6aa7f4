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
