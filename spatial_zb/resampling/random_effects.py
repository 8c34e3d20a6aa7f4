"""Random unit effects: panels whose effects and noise are both drawn anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core.bootstrap import Scheme
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.random_bootstrap import draw_components, draw_whole_units
from spatial_zb.core.traces import filter_solver
from spatial_zb.core.unit_spread import apply_between, make_spread
from spatial_zb.models.fit import Fit
from spatial_zb.resampling.sources import again, without_periods
from spatial_zb.text import Text

__all__ = ["RandomSource"]

Array = NDArray[np.float64]
PERIOD = Text(
    "whole periods hold the deviations from the unit effects only; in their population the scores between units and within "
    "units, whose sum is zero at the estimate, do not add up to zero",
    "整期抽样只含对个体效应的离差；在其总体中，组间与组内得分之和（在估计值处为零）不再为零",
)
WILD = Text(
    "sign flips leave the squares of every unit as they are, and with them the variances of effects and noise, whose errors "
    "would be nil",
    "符号翻转不改变各地区的平方和，效应与噪声的方差因而不变，其标准误将近于零",
)
UNIT = Text(
    "with u = μ + (I − λW)⁻¹ε no filter makes the series of units exchangeable: what takes λ out of ε puts it into μ; with "
    'error_structure="kkp" one does',
    'u=μ+(I−λW)⁻¹ε时，没有滤波能使各地区的序列可交换：从ε中消去λ就会把它带入μ；error_structure="kkp"则可以',
)


@dataclass(frozen=True)
class RandomSource:
    """y* = (I − ρ̂W)⁻¹(Zδ̂ + u*), u* = μ* + (I − λ̂W)⁻¹ε* (Baltagi) or (I − λ̂W)⁻¹(μ* + ε*) (KKP)."""

    fit: Fit

    @property
    def refused(self) -> Mapping[Scheme, Text]:
        """Schemes that make no sense, and why."""
        return {"period": PERIOD, "wild": WILD} | ({"unit": UNIT} if self.apart else {})

    @property
    def apart(self) -> bool:
        """Whether ε spreads in space and μ does not."""
        return bool(self.fit.spec.lag_error) and self.fit.spec.error_structure == "baltagi"

    def draw(self, scheme: Scheme, rng: np.random.Generator) -> dict[str, Array]:
        """y*, by its name."""
        fit, W = self.fit, self.fit.weights.matrix
        rho, lam = (self._value(name) for name in ("rho", "lam"))
        phi, sigma2, (T, n) = self._value("phi"), fit.sigma2, fit.residuals.shape
        mu = np.zeros(n)
        if scheme == "unit":
            noise = draw_whole_units(self._filtered, phi, sigma2, rng)
        elif scheme == "parametric":
            mu = np.sqrt(phi * sigma2) * rng.standard_normal(n)
            noise = np.sqrt(sigma2) * rng.standard_normal((T, n))
        else:
            mu, noise = draw_components(self._effects, fit.residuals, phi, sigma2, rng)
        spread = filter_solver(W, lam) if lam else lambda right: right
        u = mu + spread(noise.T).T if self.apart else spread((mu + noise).T).T
        right = fit.design.Z @ fit.params[list(fit.spec.terms)].to_numpy() + u
        return {fit.spec.y: filter_solver(W, rho)(right.T).T if rho else right}

    def estimate(self, drawn: dict[str, Array]) -> Fit:
        """As the fit."""
        return again(self.fit, drawn)

    def centre(self, scheme: Scheme) -> Array:
        """θ̂: the draws have the variances of the estimate, between units and within."""
        return self.fit.params.to_numpy()

    def without(self, kept: NDArray[np.bool_]) -> Array:
        """Parameters of some periods."""
        return without_periods(self.fit, kept)

    def _value(self, name: str) -> float:
        return float(self.fit.params.get(name, 0.0))

    @cached_property
    def _filtered(self) -> Array:
        """(I − λ̂W)û (T, n)."""
        fit, design, lam = self.fit, self.fit.design, self._value("lam")
        u = design.y - self._value("rho") * design.Wy - design.Z @ fit.params[list(fit.spec.terms)].to_numpy()
        return u - lam * spatial_lag(fit.weights.matrix, u) if lam else u

    @cached_property
    def _effects(self) -> Array:
        """Best linear predictions of μ (n,), up to a factor: of the filtered û, or φT B'K⁻¹B of its time means."""
        mean, W, lam = self._filtered.mean(axis=0), self.fit.weights.matrix, self._value("lam")
        if not self.apart:
            return mean
        T = len(self.fit.residuals)
        shrunk = apply_between(mean, make_spread(W), lam, self._value("phi"), T)
        return shrunk - lam * (W.T @ shrunk)
