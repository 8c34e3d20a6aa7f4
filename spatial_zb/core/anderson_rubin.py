r"""Values of ρ that the Anderson-Rubin test does not reject, whatever the strength of the instruments.

Under ρ₀ the residuals (I − ρ₀W)y of the exogenous regressors have nothing to do with the h − k instruments beside them:

    F(ρ₀) = [e'(P_H − P_X)e / (h − k)] / [e'(I − P_H)e / (N − h)],  e = y − ρ₀Wy,

is F(h − k, N − h) under normal errors, exactly (Anderson & Rubin 1949, Annals of Mathematical Statistics 20: 46-63). Both
sums are quadratic in ρ₀, so that what is not rejected is an interval, all values, all but an interval, or none.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from spatial_zb.core.gmm import Instruments

__all__ = ["anderson_rubin_pieces"]

Array = NDArray[np.float64]


def anderson_rubin_pieces(
    y: Array, w: Array, instruments: Instruments, alpha: float, bounds: tuple[float, float]
) -> tuple[list[tuple[float, float]], float]:
    """The values in ``bounds`` that are not rejected, as up to two intervals, and the critical F.

    y (M,) and its endogenous regressor w (M,), without effects.
    """
    both = np.column_stack([y, w])
    own = np.linalg.qr(instruments.included)[0] if instruments.included.shape[1] else both[:, :0]
    spare = instruments.count - own.shape[1]
    explained, onto = instruments.basis.T @ both, own.T @ both
    among = explained.T @ explained
    excluded, rest = among - onto.T @ onto, both.T @ both - among
    critical = float(stats.f.ppf(1 - alpha, spare, instruments.dof))
    q = excluded / spare - critical * rest / instruments.dof
    return _where_not_positive(q[1, 1], -2 * q[0, 1], q[0, 0], bounds), critical


def _where_not_positive(
    a: float, b: float, c: float, bounds: tuple[float, float]
) -> list[tuple[float, float]]:
    """Where ax² + bx + c ≤ 0 within bounds."""
    roots = np.roots([a, b, c])
    ends = sorted(r.real for r in roots if abs(r.imag) < 1e-12 * (1 + abs(r.real)))
    points = [bounds[0], *(r for r in ends if bounds[0] < r < bounds[1]), bounds[1]]
    pieces: list[tuple[float, float]] = []
    for low, high in pairwise(points):
        middle = (low + high) / 2
        if (a * middle + b) * middle + c <= 0:
            joined = bool(pieces) and pieces[-1][1] == low  # a root that is only touched
            pieces = [*pieces[:-1], (pieces[-1][0], high)] if joined else [*pieces, (low, high)]
    return pieces
