"""What the estimation of a system gives: a frozen record with the words of a single-equation fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.notes import FitWords
from spatial_zb.base.printing import Printed
from spatial_zb.base.results import Degrees
from spatial_zb.base.text import Text
from spatial_zb.core.likelihood.errors import Errors, correlation_test
from spatial_zb.core.system import coefficient_matrices, within_residuals
from spatial_zb.core.system.fiml import SigmaForm
from spatial_zb.core.system.identification import (
    Exclusions,
    Strength,
    exclusions,
    instrument_strength,
    kind_of,
)
from spatial_zb.core.unit_rows import RowErrors
from spatial_zb.models.fit import NOT_CONVERGED, OF_THE_SOLUTION, Estimates
from spatial_zb.models.system.design import SystemDesign, instrument_columns
from spatial_zb.models.system.spec import SystemSpec

Method = Literal["2sls", "3sls", "gs2sls", "gs3sls", "fiml"]
#: Which J it is, by how scores are summed.
J_TESTS = {"classical": "Sargan", "robust": "Hansen", "cluster": "Hansen, by unit"}
#: Effective F below which instruments are called weak, and below which they say next to nothing (docs/validation/system.md).
WEAK_F, VERY_WEAK_F = 10.0, 3.0
#: Standard errors to the ends of a 95 % interval.
REACH = 1.959963985


@dataclass(frozen=True, eq=False, repr=False)
class Stability(Printed):
    """Whether interaction dies out in space.

    ``roots`` (complex) solve det(Γ − ωΨ) = 0; a stable system has all of them outside the circle that holds
    the eigenvalues of W (``radius``), so that 𝐒⁻¹ = Σ (Γ⁻¹Ψ)^q Γ⁻¹ ⊗ W^q converges, and det Γ > 0, so that the
    local loop does not reverse itself. ``strength`` is radius / min|root|, below one when stable;
    ``local_loop`` is the spectral radius of [γ].
    """

    roots: NDArray[np.complex128]
    radius: float
    strength: float
    determinant: float
    local_loop: float

    @property
    def stable(self) -> bool:
        """True when effects are defined."""
        return bool(self.strength < 1 and self.determinant > 0)

    def table(self) -> pd.DataFrame:
        """One row per root: real, imaginary, modulus, and whether it lies outside the circle."""
        modulus = np.abs(self.roots)
        return pd.DataFrame(
            {
                "real": self.roots.real,
                "imaginary": self.roots.imag,
                "modulus": modulus,
                "radius": self.radius,
                "outside": modulus > self.radius,
            }
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class SystemFit(Estimates):
    """An estimated system.

    Attributes
    ----------
    params, cov
        Estimates indexed by (equation, term) and their covariance: γ by the name of the endogenous variable,
        ψ as ``W_<name>``, β by name, θ as ``W_<x>``, ``lam``; NaN where no standard error can be claimed.
    sigma
        (m, m) covariance of ε between equations.
    log_likelihood
        Of the transformed data with all constants, for FIML; with lags in time at its maximum before the correction; NaN
        for the instrumental methods.
    residuals
        (T, n, m) ε̂ after the fixed-effects transform.
    instruments, dropped
        Names of the instruments used, and of those that were linear combinations of others.
    """

    KEYS = ("equation", "term")

    design: SystemDesign
    method: Method
    sigma_form: SigmaForm = "full"
    sigma: pd.DataFrame

    @property
    def spec(self) -> SystemSpec:
        """The system as it was asked for."""
        return self.design.spec

    def __repr__(self) -> str:
        state = "" if self.converged else ", n.c."
        return (
            f"SystemFit({', '.join(self.spec.names)}; {self.method}, {self.spec.fixed_effects} effects, "
            f"{self.weights.label!r}{state})"
        )

    @property
    def subject(self) -> FitWords:
        """What a note about the fit is about: ``System of industry, talent by gs3sls under 'queen'``."""
        names, names_zh = listed(self.spec.names), listed_zh(self.spec.names)
        how = Text(f"by {self.method}", self.method)
        return FitWords(Text(f"System of {names}", f"{names_zh}的方程组"), self.weights.label, how)

    @property
    def instruments(self) -> tuple[str, ...]:
        """Names of the instruments used."""
        return self.design.instruments

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of the instruments left out as linear combinations of the others."""
        return self.design.dropped

    @property
    def bias_correction(self) -> bool:
        """Whether the moments are less the bias of many instruments (Liu & Lee 2010)."""
        return bool(self.convergence.corrected)

    @property
    def n_parameters(self) -> int:
        """Coefficients, λ, and the free elements of Σ."""
        m = len(self.spec.names)
        return len(self.params) + (m if self.sigma_form == "diagonal" else m * (m + 1) // 2)

    @property
    def delta(self) -> NDArray[np.float64]:
        """Coefficients without λ in the order of the arrays (equation by equation)."""
        return self.params[self.params.index.get_level_values("term") != "lam"].to_numpy()

    @property
    def coefficient_positions(self) -> NDArray[np.intp]:
        """Where the elements of :attr:`delta` stand among ``params``."""
        return np.flatnonzero(self.params.index.get_level_values("term") != "lam")

    def degrees(self, gradient: NDArray[np.float64]) -> Degrees:
        """Degrees of freedom of functions of the parameters, from their gradients (…, p) in the order of ``params``.

        Of errors clustered by few units those of Bell & McCaffrey under CR2; λ, which has no part in them, has n − 1.
        """
        if self.clusters is None:
            return self.df_resid
        return self.clusters.degrees(gradient[..., self.coefficient_positions])

    def matrices(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Γ = I − [γ] and Ψ = [ψ], (m, m)."""
        return coefficient_matrices(self.delta, self.design.arrays.links, len(self.spec.names))

    def glance(self) -> pd.DataFrame:
        """The system in one row."""
        row = {
            "model": "system",
            "equations": len(self.spec.names),
            "fixed_effects": self.spec.fixed_effects,
            "method": self.method,
            "estimator": self.method,
            "weights": self.weights.label,
            "normalisation": getattr(self.weights, "normalisation", "by period"),
            "covariance": self.covariance,
            "nobs": self.nobs,
            "n_units": len(self.panel.units),
            "n_periods": len(self.panel.periods),
            "instruments": len(self.instruments),
            "bias_correction": self.bias_correction,
            "log_likelihood": self.log_likelihood,
            "aic": self.aic,
            "bic": self.bic,
            "stable": self.converged and self.stability().stable,
            "converged": self.converged,
        }
        if self.spec.dynamic:
            row |= {
                "instruments": 0,
                "stable": row["stable"] and self.convergence.radius < 1,
                **self.persistence,
            }
        row |= self.design.shape_facts
        solved = dict.fromkeys(name for name in OF_THE_SOLUTION if name in row)
        return pd.DataFrame([row if self.converged else row | dict.fromkeys(solved, np.nan)])

    @property
    def persistence(self) -> dict[str, float]:
        """Of a system with lags in time what ``glance()`` has of them.

        ``radius``, the largest modulus of an eigenvalue of 𝐒⁻¹𝐀, with the limits ``radius_low`` and ``radius_high`` of its
        95 % interval (the estimate is the largest of noisy moduli, and therefore rather too high); ``path_weight``, the
        share of the correction for few periods that the data carry; ``serial_p``, the p-value of :func:`serial_correlation`
        of all
        equations.
        """
        found = self.convergence
        radius = found.radius if self.converged else np.nan
        return {
            "radius": radius,
            "radius_low": max(0.0, radius - REACH * found.radius_error),
            "radius_high": radius + REACH * found.radius_error,
            "path_weight": found.weight,
            "serial_p": found.serial[-1] if found.serial else np.nan,
        }

    def equations(self) -> pd.DataFrame:
        """One row per equation: equation, y, sigma2, r2_within, J with its p-value, first-stage F, ``serial_p`` of LM*
        (with lags in time of :func:`spatial_zb.tests.serial_correlation`)."""
        found = self.identification().set_index("equation")
        y = self.design.outcomes  # NaN where a shape has no row
        centre = np.nanmean(y, axis=(0, 1)) if self.spec.intercept else 0.0
        explained = 1 - np.nansum(self.residuals**2, axis=(0, 1)) / np.nansum((y - centre) ** 2, axis=(0, 1))
        table = pd.DataFrame(
            {
                "equation": self.spec.names,
                "y": self.spec.endogenous,
                "nobs": self.nobs,
                "sigma2": np.diag(self.sigma),
                "r2_within": explained,
            }
        )
        strength = found[["j", "j_df", "j_p", "sw_f_min", "kp_f", "effective_f"]]
        if self.method == "fiml":  # which has no first stage
            strength = strength.assign(sw_f_min=np.nan, kp_f=np.nan, effective_f=np.nan)
        table = table if self.spec.dynamic else table.join(strength, on="equation")
        lasting: Any = list(self.convergence.serial[: len(self.spec.names)]) or np.nan
        if self.errors:
            lasting = [correlation_test(self.errors[name])[1] for name in self.spec.names]
        table = table.assign(serial_p=lasting)
        return table if self.converged else table.assign(sigma2=np.nan, r2_within=np.nan, serial_p=np.nan)

    @cached_property
    def errors(self) -> dict[str, Errors | RowErrors]:
        """Residuals of each equation and what its regressors, as the instruments give them, took out of them.

        Empty with random effects, which correlate errors over time by themselves, with too few periods for a test, and with
        lags in time, which have a test of their own (:attr:`persistence`).
        """
        arrays, rows = self.design.whole or self.design.arrays, self.design.rows
        within = self.spec.transform in ("unit", "two_way")
        few = 2 + within > len(self.panel.periods)
        if self.design.strata is not None or few or self.spec.dynamic:
            return {}
        _, Z = arrays.filtered(np.asarray(self.convergence.lam))
        out: dict[str, Errors | RowErrors] = {}
        for g, name in enumerate(self.spec.names):
            hat = arrays.H @ (arrays.H.T @ Z[g])
            hat[:, arrays.endogenous[g] :] = Z[g][:, arrays.endogenous[g] :]
            Q = np.linalg.qr(hat / np.sqrt((hat**2).sum(axis=0)))[0]
            e, basis = self.residuals[:, :, g], within_residuals(Q, arrays.sample)
            plain = Errors(e, basis, np.zeros_like(e), self.spec.transform)
            out[name] = plain if rows is None else rows.errors(e, hat)
        return out

    def identification(self) -> pd.DataFrame:
        """How well each equation is identified, one row per equation.

        Columns: ``excluded`` variables; ``rank``, how many coefficients the exogenous variables tell apart, against
        ``rank_needed`` (rank condition); ``endogenous`` regressors against ``outside`` instruments (order condition);
        ``order``, ``identified``; ``instruments`` against ``instrument_limit`` = nT/10, ``used`` and ``dropped`` by name;
        the smallest Sanderson-Windmeijer F (``sw_f_min``, of ``weakest``), Cragg-Donald, Kleibergen-Paap and effective F,
        ``weak`` when the effective F is below 10, ``unidentified`` below 3 or by rank; ``j``, ``j_df``,
        ``j_p`` with the residuals of the estimates, by
        ``j_test``: Sargan's, Hansen's, or Hansen's by unit under clustered errors. Clustered F are rescaled, and NaN with
        less than three units for each direction they test.

        With lags in time there are no instruments and no J: these are NaN. ``told_by`` then says what an equation rests on
        (``"time order"``, ``"exclusions"`` where same-period effects γ enter, ``"independent errors"`` over space where ψ of
        other variables is not told otherwise), and ``curvature``, the smallest eigenvalue of the likelihood's curvature with
        ones on its diagonal, how well: 0.3 is usual, 0.001 next to nothing.
        """
        return self._identification.copy()

    def first_stage(self) -> pd.DataFrame:
        """One row per equation and endogenous regressor: sw_f, sw_p, partial_r2."""
        rows = []
        for g, name in enumerate(self.spec.names):
            found = self._strength(g)
            terms = self.spec.equations[name].endogenous_terms
            for row in zip(terms, found.sw_f, found.sw_p, found.partial_r2, strict=True):
                rows.append((name, *row))
        return pd.DataFrame(rows, columns=["equation", "term", "sw_f", "sw_p", "partial_r2"])

    def exclusion_tests(self) -> pd.DataFrame:
        """Which of the exclusions that J tests together the data reject, one row per equation and exogenous variable.

        Returns
        -------
        DataFrame with ``equation``, ``variable``, ``terms`` (what of it and its spatial lags the equation leaves out),
        ``statistic`` C (what J falls by when the equation may have them; Newey 1985), ``df``, ``p_value``, and ``p_others``,
        the p-value of J without these terms. NaN where the equation would not be identified with them. Each test takes the
        other exclusions as true. Empty with random effects, and with lags in time, which have no instruments.
        """
        columns = ["equation", "variable", "terms", "statistic", "df", "p_value", "p_others"]
        none = self.design.strata is not None or self.spec.dynamic
        rows = [] if none else [*self._exclusion_rows()]
        return pd.DataFrame(rows, columns=columns)

    def stability(self) -> Stability:
        """Roots of det(Γ − ωΨ) against the eigenvalues of W."""
        gamma, psi = self.matrices()
        kappa = np.linalg.eigvals(np.linalg.solve(gamma, psi)).astype(complex)
        kappa = kappa[np.abs(kappa) > 1e-12]
        plain = not len(kappa) or self.design.rows_sum_to_one
        radius = 1.0 if plain else float(np.abs(self.design.eigenvalues).max())
        local = float(np.abs(np.linalg.eigvals(np.eye(len(gamma)) - gamma)).max())
        strength = radius * float(np.abs(kappa).max(initial=0.0))
        return Stability(np.asarray(1 / kappa, complex), radius, strength, float(np.linalg.det(gamma)), local)

    def summary(self) -> str:
        """The system as text, for a terminal."""
        head, stability = self.glance().iloc[0], self.stability()
        lines = [
            f"system of {', '.join(self.spec.names)}   effects: {head['fixed_effects']}   W: {head['weights']} "
            f"({head['normalisation']})",
            f"method: {self.method}   covariance: {self.covariance}   {head['n_units']} units × "
            f"{head['n_periods']} periods, {self.nobs} observations"
            + ("" if self.spec.dynamic else f", {len(self.instruments)} instruments"),
        ]
        if self.spec.dynamic and self.converged:
            lines.append(
                f"given the first period   radius {head['radius']:.3f} "
                f"[{head['radius_low']:.3f}, {head['radius_high']:.3f}]   "
                f"weight of the correction {head['path_weight']:.3g}   serial correlation p = {head['serial_p']:.3f}"
            )
        if "reason" in head:
            share = f"{head['rows']} rows, {head['present']:.0%} of the panel"
            lines.append(f"rows as they are, since {head['reason']}: {share}")
        if self.bias_correction:
            lines.append("moments less the bias of many instruments (Liu & Lee 2010)")
        lines += self._law
        if self.converged and np.isfinite(self.log_likelihood):
            lines.append(f"ln L = {self.log_likelihood:.4f}   AIC = {self.aic:.2f}")
        if not self.converged:
            lines.append(NOT_CONVERGED)
        elif not stability.stable:
            lines.append(
                f"NOT STABLE: spatial strength {stability.strength:.3f}, det Γ {stability.determinant:.3f}."
            )
        report = self.identification().drop(columns=["used", "dropped"])
        if self.spec.dynamic:
            report = report[["equation", "excluded", "rank", "rank_needed", "told_by", "curvature"]]
        tables = [self.tidy(), report.T]
        texts = [
            tables[0].to_string(index=False, float_format=lambda v: f"{v: .5f}"),
            tables[1].to_string(header=False, float_format=lambda v: f"{v: .4f}"),
        ]
        return "\n".join([*lines, "", texts[0], "", texts[1]])

    @cached_property
    def _identification(self) -> pd.DataFrame:
        return pd.DataFrame([self._identification_row(name) for name in self.spec.names])

    def _strength(self, g: int) -> Strength:
        arrays = self.design.arrays
        Z, p = arrays.Z[g], arrays.endogenous[g]
        return instrument_strength(
            Z[:, :p],
            Z[:, p:],
            arrays.H,
            arrays.sample.observations,
            arrays.sample.n_units,
            kind_of(self.covariance),
        )

    def _identification_row(self, name: str) -> dict[str, Any]:
        g = self.spec.names.index(name)
        found, strength = self.design.identification[name], self._strength(g)
        terms = self.spec.equations[name].endogenous_terms
        finite = len(terms) and np.isfinite(strength.sw_f).all()
        weakest = int(np.argmin(strength.sw_f)) if finite else 0
        J, df, p = (np.nan, 0, np.nan) if self.spec.dynamic else self._exclusions(g).test()
        if not self.converged and np.any(self.convergence.lam):  # of data filtered by a λ that is none
            J = p = np.nan
        row = {
            "equation": name,
            "excluded": found.excluded,
            "rank": found.rank,
            "rank_needed": found.rank_needed,
            "endogenous": found.endogenous,
            "outside": found.outside,
            "order": found.order,
            "identified": found.identified,
            "instruments": len(self.instruments),
            "instrument_limit": len(self.panel.units) * len(self.panel.periods) / 10,
            "used": ", ".join(self.instruments),
            "dropped": ", ".join(self.dropped),
            "sw_f_min": strength.sw_f[weakest] if finite else np.nan,
            "weakest": terms[weakest] if finite else "",
            "cragg_donald_f": strength.cragg_donald,
            "kp_f": strength.kleibergen_paap,
            "effective_f": strength.effective,
            "weak": bool(strength.effective < WEAK_F),
            "unidentified": found.rank < found.rank_needed or bool(strength.effective < VERY_WEAK_F),
            "j": J,
            "j_df": df,
            "j_p": p,
            "j_test": "" if self.spec.dynamic else J_TESTS[kind_of(self.covariance)],
        }
        return row | self._told(name) if self.spec.dynamic else row

    def _told(self, name: str) -> dict[str, Any]:
        """What tells the equation of a system with lags in time, in place of instruments that it does not have."""
        found = self.design.identification[name]
        by = "exclusions" if self.spec.equations[name].endog else "time order"
        by = "independent errors" if found.rank < found.rank_needed else by
        nothing = dict.fromkeys(["sw_f_min", "cragg_donald_f", "kp_f", "effective_f"], np.nan)
        own = {"outside": 0, "instruments": 0, "used": "", "dropped": "", "weakest": ""}
        identified = found.rank == found.rank_needed
        told: dict[str, Any] = {"order": True, "identified": identified, "weak": False, "unidentified": False}
        told |= {"told_by": by, "curvature": self.convergence.curvature}
        return own | nothing | told

    def _exclusions(self, g: int) -> Exclusions:
        """Moments of equation g at the errors of the estimates, filtered with their λ."""
        arrays = self.design.arrays
        y, Z = arrays.filtered(np.asarray(self.convergence.lam))
        e = y[:, g] - Z[g] @ self.delta[arrays.block(g)]
        sample = arrays.sample
        kind = kind_of(self.covariance)
        return exclusions(e, y[:, g], Z[g], arrays.H, sample.observations, sample.n_units, kind)

    def _exclusion_rows(self) -> Iterator[tuple[Any, ...]]:
        arrays, powers = self.design.arrays, range(1, self.design.powers + 1)
        for g, (name, equation) in enumerate(self.spec.equations.items()):
            found, lam = self._exclusions(g), self.convergence.lam[g]
            for x in self.spec.exogenous:
                terms = (x, *(f"W{power if power > 1 else ''}_{x}" for power in powers))
                own = tuple(t for t in terms if t in self.instruments and t not in equation.exogenous_terms)
                if not own:
                    continue
                columns = instrument_columns(self.design, own)
                if lam:
                    columns = columns - lam * arrays.lag(columns)
                C, df, p, others = found.without(arrays.H.T @ columns)
                yield name, x, ", ".join(own), C, df, p, others
