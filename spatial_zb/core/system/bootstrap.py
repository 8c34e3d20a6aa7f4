"""Resampled panels from a fitted system: arrays only.

A sample is drawn from the reduced form of the transformed system, y* = 𝐒̂⁻¹[Xβ̂ + B̂⁻¹ε*] with 𝐒 = Γ⊗I − Ψ⊗W and
B_g = I − λ_gW. Exogenous columns and instruments stay; y and the columns Y and WY of every equation are drawn. Errors of
all equations are drawn together, so that their correlation stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spatial_zb.core import Array
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.system.arrays import SystemArrays, coefficient_matrices, lag_stacked, system_solver
from spatial_zb.core.system.moments import forward_deviations
from spatial_zb.core.transforms import FixedEffects


@dataclass(frozen=True, slots=True)
class SystemGenerator:
    """The fitted system as a source of samples: ``arrays`` of the data, ``delta`` (K,), ``lam`` (m,)."""

    arrays: SystemArrays
    effects: FixedEffects
    delta: Array
    lam: Array

    def sample(self, errors: Array) -> SystemArrays:
        """The system with y drawn anew from errors (T, n, m), not yet transformed."""
        noise = forward_deviations(errors, self.effects)
        return self._arrays(self._responses(self._mean() + self._filtered(noise)))

    def _mean(self) -> Array:
        """Xβ̂ by equation, (T*, n, m)."""
        arrays = self.arrays
        columns = []
        for g, (Z, first) in enumerate(zip(arrays.Z, arrays.endogenous, strict=True)):
            columns.append(Z[:, first:] @ self.delta[arrays.block(g)][first:])
        return np.column_stack(columns).reshape(-1, arrays.sample.n_units, arrays.m)

    def _filtered(self, noise: Array) -> Array:
        """B̂⁻¹ε by equation, (T*, n, m)."""
        out = noise.copy()
        for g in np.flatnonzero(self.lam):
            out[:, :, g] = filter_solver(self.arrays.matrix, self.lam[g])(noise[:, :, g].T).T
        return out

    def _responses(self, right: Array) -> Array:
        """𝐒̂⁻¹ applied to every period, as rows (M, m), period effects out."""
        arrays = self.arrays
        periods, n, m = right.shape
        gamma, psi = coefficient_matrices(self.delta, arrays.links, m)
        flat = right.transpose(2, 1, 0).reshape(m * n, periods)
        y = system_solver(gamma, psi, arrays.matrix)(flat).reshape(m, n, periods).transpose(2, 1, 0)
        if arrays.sample.centred:
            y = y - y.mean(axis=1, keepdims=True)
        return y.reshape(periods * n, m)

    def _arrays(self, y: Array) -> SystemArrays:
        """The system with responses y (M, m) in place of those of the data."""
        arrays, links = self.arrays, self.arrays.links
        Wy = lag_stacked(arrays.matrix, y, arrays.sample.centred)
        Z = [block.copy() for block in arrays.Z]
        places = links.position - arrays.bounds[links.row]
        for g, l, place, lagged in zip(links.row, links.column, places, links.lagged, strict=True):
            Z[g][:, place] = (Wy if lagged else y)[:, l]
        if arrays.WZ is None:
            return replace(arrays, y=y, Z=tuple(Z))
        WZ = [block.copy() for block in arrays.WZ]
        WWy = lag_stacked(arrays.matrix, Wy, arrays.sample.centred)
        for g, l, place, lagged in zip(links.row, links.column, places, links.lagged, strict=True):
            WZ[g][:, place] = (WWy if lagged else Wy)[:, l]
        return replace(arrays, y=y, Z=tuple(Z), Wy=Wy, WZ=tuple(WZ))


def system_population(generator: SystemGenerator, parts: Array) -> SystemArrays:
    """One long sample whose moments are those expected over errors made of independent ``parts`` (K, T, n, m).

    Expected squares are those of the mean and of what the parts add, which have no regressors and no instruments.
    """
    alone = replace(generator, arrays=_without_regressors(generator.arrays))
    return _stacked([generator.sample(np.zeros_like(parts[0])), *(alone.sample(part) for part in parts)])


def _without_regressors(arrays: SystemArrays) -> SystemArrays:
    none = tuple(np.zeros_like(block) for block in arrays.Z)
    return replace(arrays, Z=none, H=np.zeros_like(arrays.H), WZ=None if arrays.WZ is None else none)


def _stacked(parts: list[SystemArrays]) -> SystemArrays:
    first, m = parts[0], parts[0].m
    Z = tuple(np.vstack([p.Z[g] for p in parts]) for g in range(m))
    y, H = np.vstack([p.y for p in parts]), np.vstack([p.H for p in parts])
    if first.WZ is None:
        return replace(first, y=y, H=H, Z=Z)
    lags = [p.lagged for p in parts]
    WZ = tuple(np.vstack([blocks[g] for _, blocks in lags]) for g in range(m))
    return replace(first, y=y, H=H, Z=Z, WZ=WZ, Wy=np.vstack([Wy for Wy, _ in lags]))
