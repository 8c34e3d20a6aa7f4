"""The adjusted score of a panel of any shape, N × N and by its definition: what fast code is compared with."""

from itertools import product

import numpy as np
from scipy import linalg

from spatial_zb.core.likelihood import shape, shape_covariance, shape_rows


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

    def covariance(self, p, slope, kind, on, unit, period, near):
        """Of the parameters ``on`` at an estimate p, where :meth:`slope` is known; ``near`` (units × units) is of Conley."""
        (rho, lam, s2), k = p[-3:], len(p) - 3
        B, M, F, H = self.parts(rho, lam)
        rest = self.y - rho * self.W @ self.y
        e = M @ B @ (rest - self.Z @ p[:-3])
        BZ, BWy = M @ B @ self.Z, M @ B @ self.W @ self.y
        mean = M @ B @ self.W @ np.linalg.solve(self.I - rho * self.W, rest - np.linalg.solve(B, e))
        MZ = M - BZ @ np.linalg.pinv(BZ, rcond=1e-10)
        if kind in ("cr1", "cr2"):
            slope = (slope - np.outer(slope[:, -1], slope[-1]) / slope[-1, -1])[:-1, :-1]
            linear = np.column_stack([BZ, mean, 0 * mean]) / s2
            forms = {k: (M @ F @ M) / s2, k + 1: (M @ H @ M) / s2}
            meat = self._clustered(kind, e, linear, forms, M, MZ, unit)
        elif kind in ("driscoll_kraay", "conley"):
            meat = np.column_stack([BZ, BWy, M @ H @ e, e / (2 * s2)]) * (e / s2)[:, None]
            if kind == "driscoll_kraay":
                meat = np.array([meat[period == t].sum(axis=0) for t in np.unique(period)])
                T = len(meat)
                lags = min(int(4 * (T / 100) ** (2 / 9)), T - 1)
                kernel = np.maximum(0, 1 - abs(np.subtract.outer(range(T), range(T))) / (lags + 1))
            else:
                kernel = near[np.ix_(unit, unit)]
            meat = meat - meat.mean(axis=0)
            meat = meat.T @ kernel @ meat
        else:
            linear = np.column_stack([BZ, mean, np.zeros((self.N, 2))]) / s2
            forms = [*[0 * M] * k, M @ F / s2, M @ H @ M / s2, M / (2 * s2**2)]
            P = self.I - M
            likelihood = np.linalg.norm(M @ F @ P) + np.linalg.norm(M @ H @ P) < 1e-8
            meat = s2 * linear.T @ linear + s2**2 * np.array(
                [[np.trace(a @ (b + b.T)) for b in forms] for a in forms]
            )
            if not likelihood:
                meat[k, k] -= np.trace(MZ @ F @ (self.I - MZ) @ F.T @ MZ)
            slope = meat.copy() if likelihood else slope
            if kind == "sandwich":
                m = M if likelihood else MZ
                third = (e**3).sum() / (m**3).sum() if abs((m**3).sum()) > 1e-8 * self.N else 0.0
                fourth = ((e**4).sum() - 3 * s2**2 * (np.diag(m) ** 2).sum()) / (m**4).sum()
                fourth = max(fourth, third**2 / s2 - 2 * s2**2)
                diagonal = np.column_stack([np.diag(form) for form in forms])
                mixed = linear.T @ diagonal
                meat = meat + third * (mixed + mixed.T) + fourth * diagonal.T @ diagonal
        on = [i for i in on if i < len(meat)]
        bread = np.linalg.inv(slope[np.ix_(on, on)])
        return bread @ meat[np.ix_(on, on)] @ bread.T

    def _clustered(self, kind, e, linear, forms, M, MZ, unit):
        """Loops over units and pairs of them."""
        places = [np.flatnonzero(unit == i) for i in np.unique(unit)]
        factor = len(places) / (len(places) - 1)
        if kind == "cr2":
            mean, factor = linear[:, -2:-1], 1.0
            small = np.linalg.norm(mean) < 1e-9 * np.linalg.norm(self.y)
            left = MZ @ mean
            MX = MZ if small or np.linalg.norm(left) < 1e-9 else MZ - left @ left.T / (left.T @ left)
            e = e.copy()
            for i in places:
                sizes, axes = np.linalg.eigh(MX[np.ix_(i, i)])
                root = np.where(sizes > 1e-8, np.abs(sizes) ** -0.5, 0.0)
                e[i] = axes @ (root * (axes.T @ e[i]))
        # σ² is at its estimate for each ρ and λ: kM of a form is taken off, by CR1 kI
        center = M if kind == "cr2" else self.I
        forms = {
            a: (form + form.T) / 2 - np.trace(form) / (self.N - self.r) * center for a, form in forms.items()
        }
        own, pairs = np.array([linear[i].T @ e[i] for i in places]), np.zeros((linear.shape[1],) * 2)
        for (s, i), (t, j) in product(enumerate(places), enumerate(places)):
            terms = np.zeros(linear.shape[1])
            for a, form in forms.items():
                terms[a] = e[i] @ form[np.ix_(i, j)] @ e[j]
                if s == t and kind == "cr1":  # the mean of errors of equal variances
                    terms[a] -= (e @ e) / (self.N - self.r) * np.trace(form[np.ix_(i, i)] @ M[np.ix_(i, i)])
            if s == t:
                own[s] += terms
            else:
                pairs += 2 * np.outer(terms, terms)
        if kind == "cr1":
            own -= own.mean(axis=0)
        return factor * (own.T @ own + pairs)


def take_the_sparse_road(monkeypatch):
    """No filter and no effect is dense; probes are rows of ±1 at right angles, which leave no error in traces."""

    def hadamard(_, size):
        return linalg.hadamard(size[1])[: size[0]].astype(float)

    monkeypatch.setattr(shape_rows, "DENSE_PERIOD", 5)
    monkeypatch.setattr(shape, "DENSE_EFFECTS", 0)
    monkeypatch.setattr(shape, "SIGNS", (64, 64))
    for name in ("PROBES", "PAIR_PROBES"):
        monkeypatch.setattr(shape_covariance, name, 64)
    for module in (shape, shape_covariance):
        monkeypatch.setattr(module, "random_signs", hadamard)
