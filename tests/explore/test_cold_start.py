"""What a first local Moran loads: the parts of SciPy that would double a cold start stay out."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys, warnings
import numpy as np, pandas as pd
from scipy import sparse
already = set(sys.modules)  # older versions of SciPy load more of themselves
from spatial_zb import Panel, as_weights, local_moran, moran
units = pd.Index([f"u{i}" for i in range(6)])
W = as_weights(np.roll(np.eye(6), 1, axis=1) + np.roll(np.eye(6), -1, axis=1), ids=units).standardise("row")
panel = Panel(np.random.default_rng(1).normal(size=(1, 6, 1)), (2019,), units, ("x",))
local_moran(panel, "x", W, permutations=99, rng=1)
moran(panel, "x", W, permutations=99, rng=1)
heavy = ("scipy.special", "scipy.linalg", "scipy.stats", "scipy.optimize", "scipy.sparse.linalg", "scipy.sparse.csgraph",
         "geopandas", "shapely", "matplotlib", "libpysal", "esda", "joblib")
print([name for name in heavy if name in sys.modules and name not in already])
"""


def test_local_moran_loads_pandas_and_sparse_matrices_only():
    out = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
