"""The robust score of four models of the cities by matrices of all n·T rows: ``python dense_score.py`` writes expected.csv.

Nothing of spatial_zb is used. With M the matrix that takes out two-way effects and regressors, G = W(I − ρW)⁻¹ for every
period and M_ij its blocks by unit, K_i solves Σ_j M_ij K_j M_ji = sym (MG)_ii, and ρ solves w'e = Σ e_i'K_ie_i with e and w
what M leaves of y − ρWy and Wy. ``cr1`` and ``cr2`` are clustered errors of ρ: residuals as they are with n/(n − 1), and
residuals times the root of the inverse of what leverage left of a unit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
MODELS = {"industry": ["talent", "ln_pgdp"], "talent": ["industry", "ln_pgdp"]}


def main() -> None:
    """All samples and models."""
    data = pd.read_csv(HERE / "data.csv", dtype={"city": str})
    edges, rows = pd.read_csv(HERE / "edges.csv", dtype=str), []
    for sample, links in edges.groupby("sample"):
        cities = sorted(set(links["i"]))
        own = data[data["city"].isin(cities)].sort_values(["city", "year"])
        W = pd.crosstab(links["i"], links["j"]).loc[cities, cities].to_numpy(float)
        W = W / W.sum(axis=1, keepdims=True)
        for y, x in MODELS.items():
            found = estimate(own[y].to_numpy(), own[x].to_numpy(), W)
            rows += [(f"{sample} {y}", name, value) for name, value in found.items()]
    pd.DataFrame(rows, columns=["model", "param", "value"]).to_csv(HERE / "expected.csv", index=False)


def estimate(y: np.ndarray, X: np.ndarray, W: np.ndarray) -> dict[str, float]:
    """ρ and its errors; rows are units, then periods."""
    n, T = len(W), len(y) // len(W)
    lag = np.kron(W, np.eye(T))
    off = np.kron(np.eye(n) - 1 / n, np.eye(T) - 1 / T)
    Z = off @ np.hstack([X, lag @ X])
    M = off - Z @ np.linalg.inv(Z.T @ Z) @ Z.T
    ey, w = M @ y, M @ lag @ y
    own = [slice(i * T, (i + 1) * T) for i in range(n)]
    blocks = M.reshape(n, T, n, T).swapaxes(1, 2)

    def spread(K: np.ndarray) -> np.ndarray:
        return np.einsum("ijab,jbc,ijdc->iad", blocks, K, blocks, optimize=True)

    def weights(G: np.ndarray) -> np.ndarray:
        MG = M @ np.kron(G, np.eye(T))
        right = np.stack([(MG[s, s] + MG[s, s].T) / 2 for s in own])
        K, left = np.zeros_like(right), right.copy()
        step, size = left.copy(), (left**2).sum()
        while size > 1e-22 * (right**2).sum():
            image = spread(step)
            length = size / (step * image).sum()
            K, left = K + length * step, left - length * image
            before, size = size, (left**2).sum()
            step = left + size / before * step
        return K

    def score(rho: float) -> float:
        e, K = ey - rho * w, weights(filtered(rho))
        return float(w @ e - sum(e[s] @ k @ e[s] for s, k in zip(own, K, strict=True)))

    def filtered(rho: float) -> np.ndarray:
        return W @ np.linalg.inv(np.eye(n) - rho * W)

    low, high = -0.7, 0.8
    at_low = score(low)
    assert at_low > 0 > score(high)
    for _ in range(44):
        middle = (low + high) / 2
        low, high = (middle, high) if score(middle) > 0 else (low, middle)
    rho = (low + high) / 2
    G, e = filtered(rho), ey - rho * w
    K, slope = weights(G), (score(rho - 1e-5) - score(rho + 1e-5)) / 2e-5
    whole = np.zeros_like(M)
    for s, k in zip(own, K, strict=True):
        whole[s, s] = k
    form = M @ np.kron(G, np.eye(T)) - M @ whole @ M
    delta = np.linalg.lstsq(Z, off @ (y - rho * lag @ y), rcond=None)[0]
    a = M @ off @ np.kron(G, np.eye(T)) @ Z @ delta
    R = np.linalg.qr(np.column_stack([Z, off @ np.kron(G, np.eye(T)) @ Z @ delta]))[0]
    left_of = off - R @ R.T
    longer = np.concatenate([_root(left_of[s, s]) @ e[s] for s in own])

    def error(u: np.ndarray, factor: float) -> float:
        linear = factor * sum(float(a[s] @ u[s]) ** 2 for s in own)
        products = form * np.outer(u, u)
        pairs = products.reshape(n, T, n, T).sum(axis=(1, 3))
        pairs = (pairs + pairs.T) / 2
        np.fill_diagonal(pairs, 0.0)
        return float(np.sqrt(linear + 2 * factor**2 * (pairs**2).sum()) / slope)

    return {"rho": rho, "cr1": error(e, n / (n - 1)), "cr2": error(longer, 1.0)}


def _root(matrix: np.ndarray) -> np.ndarray:
    """The inverse root over the eigenvalues that are not zero."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > 1e-8
    return vectors[:, kept] / np.sqrt(values[kept]) @ vectors[:, kept].T


if __name__ == "__main__":
    main()
