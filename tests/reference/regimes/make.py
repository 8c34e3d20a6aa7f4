"""Regimes in a cross-section by spreg: least squares, SLX, SAR and SDM with one ρ, their errors and Chow tests.

Usage: python make.py   (writes data.csv and expected.json beside itself; versions are recorded in the latter)
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import spreg
from libpysal.weights import lat2W

HERE = Path(__file__).parent
SIDE = 8


def data() -> pd.DataFrame:
    """An 8 × 8 lattice with three regimes, coefficients of their own and ρ = 0.4."""
    rng = np.random.default_rng(20)
    n = SIDE**2
    W = lat2W(SIDE, SIDE)
    W.transform = "r"
    dense = W.full()[0]
    region = np.repeat([1, 2, 3], [20, 24, 20])
    x, z = rng.normal(size=(2, n))
    beta = np.array([0.5, 1.0, 1.5])[region - 1]
    mean = region + beta * x - 0.7 * z + 0.3 * (dense @ x)
    y = np.linalg.solve(np.eye(n) - 0.4 * dense, mean + rng.normal(size=n))
    return pd.DataFrame({"unit": [f"u{i:02d}" for i in range(n)], "region": region, "y": y, "x": x, "z": z})


def main() -> None:
    frame = data()
    frame.to_csv(HERE / "data.csv", index=False)
    frame = pd.read_csv(HERE / "data.csv")
    W = lat2W(SIDE, SIDE)
    W.transform = "r"
    y, X, region = frame[["y"]].to_numpy(), frame[["x", "z"]].to_numpy(), frame["region"].tolist()
    common = {"w": W, "name_x": ["x", "z"], "name_y": "y"}
    least = common | {"regime_err_sep": False}
    fits = {
        "OLS": spreg.OLS_Regimes(y, X, region, **least),
        "SLX": spreg.OLS_Regimes(y, X, region, slx_lags=1, **least),
        "SAR": spreg.ML_Lag_Regimes(
            y, X, region, method="full", epsilon=1e-13, regime_lag_sep=False, **common
        ),
        "SDM": spreg.ML_Lag_Regimes(
            y, X, region, method="full", epsilon=1e-13, regime_lag_sep=False, slx_lags=1, **common
        ),
        "OLS, z common": spreg.OLS_Regimes(y, X, region, cols2regi=[True, False], **least),
    }
    out = {"versions": {name: metadata.version(name) for name in ("spreg", "libpysal", "numpy", "scipy")}}
    for name, fit in fits.items():
        out[name] = {
            "names": list(fit.name_x_r) if hasattr(fit, "name_x_r") else None,
            "x": list(fit.name_x),
            "betas": fit.betas.ravel().tolist(),
            "std_errors": np.sqrt(np.diag(fit.vm)).tolist(),
            "sig2": float(fit.sig2),
            "chow": np.asarray(fit.chow.regi).tolist(),
            "joint": np.asarray(fit.chow.joint).ravel().tolist(),
        }
    (HERE / "expected.json").write_text(json.dumps(out, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
