"""Tests of errors of four spatial Durbin models, from dense matrices and loops alone: writes expected.json.

Inputs: ``panel.csv`` (cities × 2007-2019: location quotients of industry and of talent, log GDP per head, as the study had
them on 2026-11-30) and ``edges.csv`` (row-normalised contiguity of the 41 cities of the delta and of the 11 of Zhejiang).
Numpy and scipy only: python expected.py. Made with numpy 2.3.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize

HERE = Path(__file__).parent


def durbin(y: np.ndarray, X: np.ndarray, W: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """ρ̂ of Lee and Yu's likelihood with two-way effects, residuals (T, n), and M (Tn, Tn) that leaves them."""
    T, n = y.shape
    Q = np.kron(np.eye(T) - 1 / T, np.eye(n) - 1 / n)
    every = np.kron(np.eye(T), W)
    Z = Q @ np.column_stack([X, every @ X])
    H = np.eye(T * n) - Z @ np.linalg.solve(Z.T @ Z, Z.T)
    a, b = H @ Q @ y.ravel(), H @ Q @ every @ y.ravel()
    omega = np.linalg.eigvals(W)

    def minus(rho: float) -> float:
        determinant = np.log(np.abs(1 - rho * omega)).sum() - np.log(1 - rho)
        return (n - 1) * (T - 1) / 2 * np.log(((a - rho * b) ** 2).sum()) - (T - 1) * determinant

    rho = optimize.minimize_scalar(minus, bounds=(-0.9, 0.9), method="bounded", options={"xatol": 1e-12}).x
    delta = np.linalg.solve(Z.T @ Z, Z.T @ Q @ (y.ravel() - rho * every @ y.ravel()))
    G = W @ np.linalg.inv(np.eye(n) - rho * W)
    U = np.linalg.qr(np.column_stack([Z, Q @ np.kron(np.eye(T), G) @ Z @ delta]))[0]
    return rho, (a - rho * b).reshape(T, n), (Q - U @ U.T).reshape(T, n, T, n)


def tests(rho: float, e: np.ndarray, M: np.ndarray, W: np.ndarray) -> dict[str, float]:
    """LM*, its forward and backward form, and the correlation of variances with the diagonal of G."""
    T, n = e.shape
    L = np.eye(T, k=-1)
    L[np.arange(T - 1), np.arange(T - 1)] = 1 / (T - 1)
    F = np.zeros((T, T))
    for t in range(2, T - 1):
        f, g = np.zeros(T), np.zeros(T)
        f[t], g[t - 1] = 1, 1
        f[t:] -= 1 / (T - t)
        g[:t] -= 1 / t
        F += np.outer(f, g)
    out = {"rho": float(rho)}
    for name, Q in (("serial", L), ("forward_backward", F)):
        z = []
        for i in range(n):
            block = M[:, i, :, i]
            z.append(e[:, i] @ Q @ e[:, i] - e[:, i] @ e[:, i] * np.sum(Q * block) / np.trace(block))
        out[name] = float(np.sum(z) / np.sqrt(n * np.var(z, ddof=1)))
    q = [e[:, i] @ e[:, i] / np.trace(M[:, i, :, i]) for i in range(n)]
    G = W @ np.linalg.inv(np.eye(n) - rho * W)
    r = np.corrcoef(np.diag(G) - G.mean(axis=0), q)[0, 1]
    return out | {"tied": float(r * np.sqrt((n - 2) / (1 - r * r)))}


def main() -> None:
    """All four models."""
    edges = pd.read_csv(HERE / "edges.csv", dtype={"i": str, "j": str})
    panel = pd.read_csv(HERE / "panel.csv", dtype={"unit": str})
    expected = {}
    for sample, rows in panel.groupby("sample"):
        units = sorted(rows["unit"].unique())
        W = np.zeros((len(units), len(units)))
        for edge in edges[edges["sample"] == sample].itertuples():
            W[units.index(edge.i), units.index(edge.j)] = edge.w
        wide = {
            v: rows.pivot(index="period", columns="unit", values=v)[units].to_numpy()
            for v in rows.columns[3:]
        }
        for y, x in (("industry", "talent"), ("talent", "industry")):
            X = np.column_stack([wide[x].ravel(), wide["ln_pgdp"].ravel()])
            expected[f"{sample} {y}"] = tests(*durbin(wide[y], X, W), W)
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
