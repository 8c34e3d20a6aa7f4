"""The adjusted score of a panel of any shape, N × N and by its definition: what fast code is compared with."""

import numpy as np


class Dense:
    """Everything N × N, by the definitions."""

    def __init__(self, y, Z, W, V, D):
        self.y, self.Z, self.W, self.V, self.N = y, Z, W, V, len(y)
        left, sizes, _ = np.linalg.svd(D, full_matrices=False)
        self.D = left[:, sizes > 1e-9 * sizes.max(initial=0)]
        self.r, self.I = self.D.shape[1], np.eye(len(y))

    def parts(self, rho, lam):
        B = self.I - lam * self.V
        BD = B @ self.D
        M = self.I - BD @ np.linalg.pinv(BD)
        F = B @ self.W @ np.linalg.inv(self.I - rho * self.W) @ np.linalg.inv(B)
        return B, M, F, self.V @ np.linalg.inv(B)

    def scores(self, p):
        """Of (δ, ρ, λ, σ²), from p in this order."""
        delta, (rho, lam, s2) = p[:-3], p[-3:]
        B, M, F, H = self.parts(rho, lam)
        e = M @ B @ (self.y - rho * self.W @ self.y - self.Z @ delta)
        return np.array(
            [
                *(B @ self.Z).T @ e / s2,
                (B @ self.W @ self.y) @ e / s2 - np.trace(M @ F),
                e @ H @ e / s2 - np.trace(M @ H),
                e @ e / (2 * s2**2) - (self.N - self.r) / (2 * s2),
            ]
        )

    def slope(self, p):
        steps = np.diag(1e-5 * np.maximum(np.abs(p), 0.1))
        return -np.column_stack([(self.scores(p + s) - self.scores(p - s)) / (2 * s.max()) for s in steps])
