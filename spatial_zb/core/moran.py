"""Global Moran's I on arrays, with its randomisation moments and its permutation distribution.

Cliff, A.D. & Ord, J.K. (1981), Spatial Processes, pp. 42-46; the moments come from :mod:`spatial_zb.core.cross_product`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from spatial_zb.core.cross_product import cross_product, pooled_moran

__all__ = [
    "Alternative",
    "MoranResult",
    "moran_i",
    "moran_permutations",
    "normal_p_value",
    "permutation_p_value",
]

Array = NDArray[np.float64]
Alternative = Literal["two-sided", "greater", "less"]
#: Numbers held at once while permuting; keeps memory near 50 MB whatever n.
CHUNK = 2_000_000


@dataclass(frozen=True, slots=True)
class MoranResult:
    """Moran's I and its moments when values are assigned to units at random."""

    I: float
    expected: float
    std_dev: float

    @property
    def z(self) -> float:
        """Standard deviate of I."""
        return (self.I - self.expected) / self.std_dev

    def p_value(self, alternative: Alternative = "two-sided") -> float:
        """Normal approximation."""
        return float(normal_p_value(self.z, alternative))


#: erfc(x) elementwise, without scipy.special, whose import would cost a fifth of a cold start.
_erfc = np.frompyfunc(math.erfc, 1, 1)


def normal_p_value(z: ArrayLike, alternative: Alternative = "two-sided") -> Array:
    """p-value of a standard normal deviate; NaN stays NaN."""
    z = np.asarray(z, dtype=float) / math.sqrt(2)
    if alternative == "two-sided":
        return np.asarray(_erfc(np.abs(z)), dtype=float)
    return np.asarray(_erfc(z if alternative == "greater" else -z), dtype=float) / 2


def moran_i(x: Array, matrix: sparse.csr_array) -> MoranResult:
    """I = (m/S₀) z'Wz / z'z with z = x − x̄, and its exact mean and variance when values change places.

    Parameters
    ----------
    x
        (n,) values, not constant.
    matrix
        W (n, n), any normalisation. Units without neighbours count in x̄ but not in m, as in R's spdep. Where there
        are such units the moments are those of the permutations, which move values onto them as well: the mean is
        −(m/n)/(n − 1). R puts m for n into the formulas of Cliff and Ord, which fits no distribution.
    """
    found = cross_product(pooled_moran((x - x.mean())[None], matrix))
    return MoranResult(found.value, found.expected, found.std_dev)


def moran_permutations(
    x: Array, matrix: sparse.csr_array, permutations: int, rng: np.random.Generator
) -> Array:
    """I of ``permutations`` random assignments of the values to the units, (permutations,)."""
    z = x - x.mean()
    n = float(np.count_nonzero(np.diff(matrix.indptr)))
    scale = n / (matrix.sum() * (z @ z))
    out = np.empty(permutations)
    step = max(1, CHUNK // len(z))
    for start in range(0, permutations, step):
        stop = min(start + step, permutations)
        shuffled = rng.permuted(np.broadcast_to(z, (stop - start, len(z))), axis=1).T
        out[start:stop] = scale * np.einsum("ij,ij->j", shuffled, matrix @ shuffled)
    return out


def permutation_p_value(observed: float, reference: Array, alternative: Alternative = "two-sided") -> float:
    """(1 + number at least as extreme) / (1 + number of permutations), so never zero; NaN for a NaN statistic.

    Two-sided: twice the smaller tail, at most one (North, Curtis & Sham 2002, Am. J. Hum. Genet. 71).
    """
    if not np.isfinite(observed):
        return float("nan")
    # Ties to rounding, on the scale of the statistic: General G with small weights is small itself.
    slack = 1e-12 * max(abs(observed), float(np.abs(reference).max(initial=0.0)))
    above = (1 + np.count_nonzero(reference >= observed - slack)) / (1 + len(reference))
    below = (1 + np.count_nonzero(reference <= observed + slack)) / (1 + len(reference))
    tails = {"greater": above, "less": below, "two-sided": min(1.0, 2 * min(above, below))}
    return float(tails[alternative])
