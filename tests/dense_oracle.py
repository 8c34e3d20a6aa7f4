"""A slow, obvious second implementation of the likelihood, sharing no line with the package.

The effects are taken out with explicit orthonormal bases, W is carried over as W* = F'WF on the full
(n−1)(T−1) system, determinants are ``slogdet``, all parameters are searched at once, and derivatives are
complex steps: f(θ + ih).imag / h has no rounding error, so the gradient is exact to machine precision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from spatial_zb import Panel, Weights

STEP = 1e-30  # complex step: as small as one likes
HESSIAN_STEP = 1e-4  # fourth-order central differences of an exact gradient: error of order 1e-13

MODELS = {
    # lag_y, lag_x, lag_error
    "OLS": (False, [], False),
    "SLX": (False, "all", False),
    "SAR": (True, [], False),
    "SDM": (True, "all", False),
    "SEM": (False, [], True),
    "SDEM": (False, "all", True),
    "SAC": (True, [], True),
    "GNS": (True, "all", True),
}


def helmert(m: int) -> np.ndarray:
    """(m, m − 1) orthonormal columns, each orthogonal to ι."""
    out = np.zeros((m, m - 1))
    for j in range(1, m):
        out[:j, j - 1] = 1
        out[j, j - 1] = -j
        out[:, j - 1] /= np.sqrt(j * (j + 1))
    return out


def eigen_basis(m: int) -> np.ndarray:
    """(m, m − 1) eigenvectors of J = I − ιι'/m with eigenvalue one: another basis of the same space."""
    values, vectors = np.linalg.eigh(np.eye(m) - np.full((m, m), 1 / m))
    return vectors[:, values > 0.5]


@dataclass(frozen=True)
class Dense:
    """y (N,), Z (N, k + dummies), W (N, N) of the system whose errors are independent; k reported columns."""

    y: np.ndarray
    Z: np.ndarray
    W: np.ndarray
    k: int
    lag_y: bool
    lag_error: bool
    interval: tuple[float, float]  # of ρ and λ: (1/ω_min, 1/ω_max) of W as given

    @property
    def size(self) -> int:
        return self.Z.shape[1] + self.lag_y + self.lag_error + 1

    def split(self, theta):
        """δ, ρ, λ, σ² out of a vector of the active parameters."""
        rest = list(theta[self.Z.shape[1] :])
        rho = rest.pop(0) if self.lag_y else 0.0
        lam = rest.pop(0) if self.lag_error else 0.0
        return theta[: self.Z.shape[1]], rho, lam, rest[0]

    def residual(self, theta):
        delta, rho, lam, _ = self.split(theta)
        mean = (self.Z @ delta).reshape(-1, *[1] * (self.y.ndim - 1))
        u = self.y - rho * (self.W @ self.y) - mean
        return u - lam * (self.W @ u)

    def constant(self, theta):
        """The part of ln L without data."""
        _, rho, lam, sigma2 = self.split(theta)
        N = len(self.y)
        determinants = sum(_log_det(np.eye(N) - c * self.W) for c in (rho, lam))
        return -N / 2 * np.log(2 * np.pi * sigma2) + determinants

    def fit_part(self, theta):
        """−ε'ε / 2σ²; of each sample where y is (N, M)."""
        e = self.residual(theta)
        return -(e * e).sum(axis=0) / (2 * self.split(theta)[3])

    def log_likelihood(self, theta):
        return self.constant(theta) + self.fit_part(theta)

    def gradient(self, theta, part=None):
        theta, part = np.asarray(theta, float), part or self.log_likelihood
        steps = STEP * 1j * np.eye(len(theta))
        return np.array([part(theta + s).imag / STEP for s in steps])

    def hessian(self, theta, part=None):
        theta = np.asarray(theta, float)
        columns = []
        for j, value in enumerate(theta):
            h = np.zeros(len(theta))
            h[j] = HESSIAN_STEP * max(1.0, abs(value))
            near = self.gradient(theta + h, part) - self.gradient(theta - h, part)
            far = self.gradient(theta + 2 * h, part) - self.gradient(theta - 2 * h, part)
            columns.append((8 * near - far) / (12 * h[j]))
        out = np.array(columns)
        return (out + out.swapaxes(0, 1)) / 2

    def start(self, rho, lam):
        """Least squares of the filtered data: only where the search begins."""
        target = self.y - rho * (self.W @ self.y)
        filtered, Z = target - lam * (self.W @ target), self.Z - lam * (self.W @ self.Z)
        delta = np.linalg.lstsq(Z, filtered, rcond=None)[0]
        sigma2 = np.mean((filtered - Z @ delta) ** 2)
        return np.array([*delta, *([rho] * self.lag_y), *([lam] * self.lag_error), sigma2])

    def maximise(self):
        """Best of several climbs over all parameters, polished by Newton; (θ̂, ln L)."""
        grid = [share * end for end in self.interval for share in (0.8, 0.5, 0.2)]
        rhos, lams = (grid if on else [0.0] for on in (self.lag_y, self.lag_error))
        starts = [self.start(r, s) for r in rhos for s in lams]
        starts = sorted(starts, key=lambda t: -self.log_likelihood(t))[:4]
        found = [t for t in map(self._climb, starts) if self._inside(t)]
        best = self._polished(max(found, key=self.log_likelihood))
        assert self._inside(best)
        assert np.abs(self.gradient(best)).max() < 1e-6 * max(1, np.abs(best).max())
        assert np.all(np.linalg.eigvalsh(self.hessian(best)) < 0)
        return best, self.log_likelihood(best)

    def _climb(self, theta):
        def loss(v):
            return -self.log_likelihood(v) if self._inside(v) else np.inf

        return optimize.minimize(loss, theta, jac=lambda v: -self.gradient(v), method="BFGS").x

    def _polished(self, theta):
        for _ in range(4):
            if not self._inside(theta):
                break
            theta = theta - np.linalg.solve(self.hessian(theta), self.gradient(theta))
        return theta

    def _inside(self, theta):
        _, rho, lam, sigma2 = self.split(theta)
        low, high = self.interval
        return sigma2 > 0 and all(low < c < high for c in (rho, lam))

    def expected_information(self, theta):
        """E[−∂²ln L] at θ, exactly: with y = A⁻¹(Zδ + B⁻¹ε) the Hessian is quadratic in ε, so that
        E q(ε) = q(0) + σ² Σ_i [(q(e_i) + q(−e_i))/2 − q(0)] whenever E ε = 0 and E εε' = σ²I."""
        delta, rho, lam, sigma2 = self.split(theta)
        N = len(self.y)
        A, B = np.eye(N) - rho * self.W, np.eye(N) - lam * self.W

        def at(e):
            y = np.linalg.solve(A, (self.Z @ delta)[:, None] + np.linalg.solve(B, e))
            return -self.hessian(theta, replace(self, y=y).fit_part).sum(axis=2)

        centre, errors = at(np.zeros((N, 1))), np.eye(N) * np.sqrt(sigma2)
        both = at(np.hstack([errors, -errors]))
        return centre - self.hessian(theta, self.constant) + both / 2 - N * centre

    def reported(self, matrix):
        """Cut the dummies' rows and columns out of a covariance."""
        keep = [*range(self.k), *range(self.Z.shape[1], self.size)]
        return matrix[np.ix_(keep, keep)]


def _log_det(matrix):
    sign, value = np.linalg.slogdet(matrix)
    return value + (np.log(sign) if np.iscomplexobj(matrix) else 0.0)


def dense_system(
    panel: Panel, W: Weights, x: list[str], model: str, effects: str, estimator: str = "lee_yu"
) -> Dense:
    """Build the transformed system of a model of ``y`` on ``x``; ``direct`` has dummies instead."""
    lag_y, lag_x, lag_error = MODELS[model]
    T, n = panel.array("y").shape
    dense = W.matrix.toarray()
    unit, time = effects in ("unit", "two_way"), effects in ("time", "two_way")
    y, X = panel.array("y").ravel(), panel.array(x).reshape(T * n, -1)
    big = np.kron(np.eye(T), dense)
    omega = np.linalg.eigvals(dense)
    real = omega.real[np.abs(omega.imag) < 1e-9]
    interval = 1 / real.min(), 1 / real.max()
    if estimator == "direct":
        Z = np.hstack([X, big @ X]) if lag_x == "all" else X
        dummies = [np.kron(np.ones((T, 1)), np.eye(n))] if unit else []
        dummies += [np.kron(np.eye(T), np.ones((n, 1)))[:, unit:]] if time else []
        first = [np.ones((T * n, 1))] if effects == "none" else []
        Z = np.hstack([*first, Z])
        return Dense(y, np.hstack([Z, *dummies]), big, Z.shape[1], lag_y, lag_error, interval)
    F_T = helmert(T) if unit else np.eye(T)
    F_n = eigen_basis(n) if time else np.eye(n)
    F = np.kron(F_T, F_n)
    star = F.T @ big @ F
    Xs = F.T @ X
    Z = np.hstack([Xs, star @ Xs]) if lag_x == "all" else Xs
    if effects == "none":
        Z = np.hstack([np.ones((T * n, 1)), Z])
    return Dense(F.T @ y, Z, star, Z.shape[1], lag_y, lag_error, interval)
