"""Robust covariances of SAR, SEM and SAC against loops over units and periods and a likelihood that is differenced."""

import warnings

import numpy as np
import pytest

from spatial_zb import DurbinSpec, Panel, SpatialZbWarning, as_weights, fit_durbin

#: Second differences of a log-likelihood of a few hundred, at steps of 1e-4.
DIFFERENCED = 2e-3
N, T = 10, 6


class Sample:
    """Everything at the estimate, dense; parameters are (β, ρ, λ, σ²)."""

    def __init__(self, fit, A):
        two_way = fit.spec.fixed_effects == "two_way"
        self.A, self.y = A, fit.panel.array("y")
        self.x = np.stack([fit.panel.array(name) for name in ("a", "b")], axis=-1)
        self.in_time, self.in_space = np.eye(T) - 1 / T, np.eye(N) - two_way / N
        self.periods, self.units = T - 1, N - two_way
        get = fit.params.get
        self.p = np.array([get("a"), get("b"), get("rho", 0.0), get("lam", 0.0), get("sigma2")])
        self.free = [0, 1, *([2] if fit.spec.lag_y else []), *([3] if fit.spec.lag_error else []), 4]
        self.steps = 1e-4 * np.maximum(np.abs(self.p), np.sqrt(self.p[4]) / 10)

    def filtered(self, part, lam):
        return self.in_time @ part @ (np.eye(N) - lam * self.A).T @ self.in_space

    def log_likelihood(self, p):
        """By period, (T,)."""
        beta, (rho, lam, s2) = p[:2], p[2:]
        S, B = np.eye(N) - rho * self.A, np.eye(N) - lam * self.A
        e = self.filtered(self.y @ S.T - self.x @ beta, lam)
        lost = 0.0 if self.units == N else np.log(1 - rho) + np.log(1 - lam)
        share = self.periods / T
        logdet = np.linalg.slogdet(S)[1] + np.linalg.slogdet(B)[1] - lost
        return share * (logdet - self.units / 2 * np.log(2 * np.pi * s2)) - (e**2).sum(axis=1) / (2 * s2)

    def differenced(self, function, at):
        steps = np.diag(self.steps)
        return np.stack([(function(at + s) - function(at - s)) / (2 * s.max()) for s in steps], axis=-1)

    def scores(self):
        """By period, (T, 5)."""
        return self.differenced(self.log_likelihood, self.p)

    def bread(self):
        total = lambda p: self.log_likelihood(p).sum()  # noqa: E731
        hessian = -self.differenced(lambda p: self.differenced(total, p), self.p)[
            np.ix_(self.free, self.free)
        ]
        return np.linalg.inv((hessian + hessian.T) / 2)

    def unit_meat(self, kernel):
        """Linear forms and own terms summed by unit, terms of two units squared one by one."""
        beta, (rho, lam, s2) = self.p[:2], self.p[2:]
        S, B = np.eye(N) - rho * self.A, np.eye(N) - lam * self.A
        G, H = (self.in_space @ self.A @ np.linalg.inv(F) @ self.in_space for F in (S, B))
        mean = self.x @ beta
        e = self.filtered(self.y @ S.T - mean, lam)
        slopes = [self.filtered(self.x[:, :, k], lam) for k in (0, 1)]
        slopes += [self.filtered(mean @ np.linalg.inv(S).T @ self.A.T, lam), np.zeros((T, N))]
        sums, pairs = np.zeros((N, 5)), np.zeros((2, 2))
        for i in range(N):
            for t in range(T):
                own = e[t, i] ** 2 / s2 - self.units * self.periods / (T * N)
                sums[i] += [*(d[t, i] * e[t, i] / s2 for d in slopes), own / (2 * s2)]
                sums[i, 2:4] += own * np.array([G[i, i], H[i, i]])
            for j in range(i):
                term = np.array([G[i, j] + G[j, i], H[i, j] + H[j, i]]) * (e[:, i] @ e[:, j]) / s2
                pairs += np.outer(term, term)
        sums -= sums.mean(axis=0)
        meat = sums.T @ kernel @ sums
        meat[2:4, 2:4] += pairs
        return meat

    def few_clusters_meat(self):
        """CR2: M_X explicit, its blocks by eigenvalues, the quadratic forms less their share of ε'ε one by one."""
        beta, (rho, lam, s2) = self.p[:2], self.p[2:]
        S, B = np.eye(N) - rho * self.A, np.eye(N) - lam * self.A
        G, H = (self.in_space @ self.A @ np.linalg.inv(F) @ self.in_space for F in (S, B))
        e = self.filtered(self.y @ S.T - self.x @ beta, lam)
        slopes = [self.filtered(self.x[:, :, k], lam) for k in (0, 1)]
        if 2 in self.free:
            slopes.append(self.filtered(self.x @ beta @ np.linalg.inv(S).T @ self.A.T, lam))
        X = np.stack([slope.T.ravel() for slope in slopes], axis=1)  # rows by unit
        M = np.kron(self.in_space, self.in_time) - X @ np.linalg.solve(X.T @ X, X.T)
        star, self.roots = np.zeros((T, N)), []
        for i in range(N):
            at = slice(i * T, (i + 1) * T)
            values, vectors = np.linalg.eigh(M[at, at])
            big = values > 1e-8
            root = vectors[:, big] @ np.diag(values[big] ** -0.5) @ vectors[:, big].T
            star[:, i] = root @ e[:, i]
            self.roots.append(M[:, at] @ root @ X[at] @ np.linalg.inv(X.T @ X))
        J = self.in_space
        forms = [P - np.trace(P) / np.trace(J) * J for P in (G, H)]
        linear = [*slopes, *[np.zeros((T, N))] * (4 - len(slopes))]
        concentrated, meat = np.zeros((N, 5)), np.zeros((5, 5))
        square = (star**2).sum(axis=0) / s2
        for i in range(N):
            around = J[i, i] * (square[i] - square.mean()) / (2 * s2)
            concentrated[i] = [*(d[:, i] @ star[:, i] / s2 for d in linear), around]
            concentrated[i, 2:4] += [P[i, i] * square[i] for P in forms]
            for j in range(i):
                product = star[:, i] @ star[:, j] / s2
                term = np.array([0, 0, *(P[i, j] + P[j, i] for P in forms), J[i, j] / s2]) * product
                meat += np.outer(term, term)
        meat += concentrated.T @ concentrated
        back = np.eye(5)  # the scores are those of the forms, and their share of the score of σ²
        back[2:4, 4] = [2 * s2 * np.trace(P) / np.trace(J) for P in (G, H)]
        return back @ meat @ back.T

    def degrees(self):
        """Of β and, where it is there, ρ."""
        out = []
        for c in np.eye(self.roots[0].shape[1]):
            P = np.array([root @ c for root in self.roots])
            gamma = P @ P.T
            out.append(np.trace(gamma) ** 2 / np.sum(gamma**2))
        return out


def overlap(A):
    near = ((A != 0) | (A.T != 0) | np.eye(N, dtype=bool)).astype(float)
    sizes = near.sum(axis=1)
    return near @ near / np.sqrt(np.outer(sizes, sizes))


@pytest.mark.parametrize("effects", ["unit", "two_way"])
@pytest.mark.parametrize(("lag_y", "lag_error"), [(True, False), (False, True), (True, True)])
def test_standard_errors_are_those_of_loops(lag_y, lag_error, effects):
    rng = np.random.default_rng(8)
    A = np.diag(np.ones(N - 1), 1) * rng.uniform(0.5, 2, (N, N)) + np.diag(np.ones(N - 1), -1)
    A /= A.sum(axis=1, keepdims=True)
    x = rng.normal(size=(T, N, 2))
    y = (x @ [1, 0.5] + rng.standard_t(5, size=(T, N))) @ np.linalg.inv(np.eye(N) - 0.4 * A).T
    panel = Panel(
        1e3 * np.concatenate([y[:, :, None], x], axis=2),
        tuple(range(T)),
        [f"u{i}" for i in range(N)],
        list("yab"),
    )
    spec = DurbinSpec("y", ["a", "b"], lag_y=lag_y, lag_error=lag_error, lag_x=(), fixed_effects=effects)
    meats = {
        "cr1": lambda s: s.unit_meat(np.eye(N)) * N / (N - 1),
        "cluster": lambda s: s.few_clusters_meat(),
        "spatial_hac": lambda s: s.unit_meat(overlap(A)),
        "driscoll_kraay": lambda s: sum(
            weight * s.scores()[lag:].T @ s.scores()[: T - lag]
            for lag, weight in ((0, 1.0), (1, 0.5), (1, 0.5))
        ),
    }
    for covariance, meat in meats.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpatialZbWarning)
            fit = fit_durbin(
                spec,
                panel,
                as_weights(A, panel.units),
                covariance=covariance,
                bandwidth=None if covariance in ("cr1", "cluster") else 1,
            )
        dense = Sample(fit, A)
        middle = meat(dense)[np.ix_(dense.free, dense.free)]
        cov = dense.bread() @ (middle + middle.T) / 2 @ dense.bread()
        expected = np.sqrt(np.diag(cov))[:-1]
        np.testing.assert_allclose(fit.bse.to_numpy()[:-1], expected, rtol=DIFFERENCED, err_msg=covariance)
        if covariance == "cluster":
            found = fit.tidy()["df"].to_numpy()
            known = dense.degrees()
            np.testing.assert_allclose(found[: len(known)], known, rtol=1e-8)
            assert (found[len(known) :] == N - 1).all()
        elif covariance == "cr1":
            assert fit.df_resid == N - 1
