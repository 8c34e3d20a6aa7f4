"""Factors of I − ρW for a sparse W: SuperLU, or CHOLMOD where it is installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from spatial_zb.errors import WeightsError

__all__ = ["ShiftedSystem", "by_cholesky", "cholmod_module", "factorise", "system_at"]

Array = NDArray[np.float64]


def factorise(system: sparse.csc_array, safe: bool, order: str = "MMD_AT_PLUS_A"):
    """Sparse LU. ``safe`` leaves out pivoting, for diagonally dominant or symmetric positive definite matrices.

    The symmetric ``order`` without pivoting halves the fill and the time; with pivoting it would be slower than
    the default, which is taken where neither property holds.
    """
    try:
        if not safe:
            return splu(system)
        return splu(system, permc_spec=order, diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except MemoryError as problem:
        n, links = system.shape[0], system.nnz - system.shape[0]
        raise WeightsError(
            f"The sparse factorisation of I − ρW needs more memory than there is ({n} units, {links / n:.0f} links each). "
            "Use weights with fewer or nearer neighbours.",
            f"I−ρW的稀疏分解所需内存超过本机内存（{n}个地区，平均每个{links / n:.0f}条联系）。"
            "请用邻居更少或更近的权重矩阵。",
        ) from problem


def cholmod_module() -> Any | None:
    """CHOLMOD through scikit-sparse, where it is installed: several times faster than SuperLU."""
    try:
        from sksparse import cholmod
    except ImportError:
        return None
    return cholmod if hasattr(cholmod, "analyze") else None


def by_cholesky(cholmod: Any, form: sparse.csr_array, rho: float, kept: list[Any]) -> float:
    """ln|I − ρF| of a symmetric F by Cholesky factors; their order is found once and kept."""
    system = sparse.csc_matrix(system_at(form, rho))
    if not kept:
        kept.append(cholmod.analyze(system))
    return float(kept[0].cholesky(system).logdet())


def system_at(form: sparse.csr_array, rho: float) -> sparse.csc_array:
    """I − ρW."""
    return sparse.csc_array(sparse.eye_array(form.shape[0], format="csc") - rho * form)


@dataclass(frozen=True, slots=True)
class ShiftedSystem:
    """I − ρF for many ρ: the pattern of I + F once, with the entries of I and of F on it."""

    pattern: sparse.csc_array
    one: Array
    form: Array

    @classmethod
    def of(cls, form: sparse.csr_array) -> ShiftedSystem:
        n = form.shape[0]
        shift = 1 + float(np.abs(form.data).max(initial=0.0))  # no entry of the diagonal may cancel
        pattern = sparse.csc_array(form + shift * sparse.eye_array(n, format="csr"))
        one = (pattern.indices == np.repeat(np.arange(n), np.diff(pattern.indptr))).astype(float)
        return cls(pattern, one, np.where(one > 0, pattern.data - shift, pattern.data))

    def at(self, rho: float) -> sparse.csc_array:
        """I − ρF, sharing the pattern."""
        parts = self.one - rho * self.form, self.pattern.indices, self.pattern.indptr
        return sparse.csc_array(parts, shape=self.pattern.shape)
