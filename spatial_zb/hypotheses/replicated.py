"""The tests whose null is a static model with fixed effects, on many panels of one case at once.

Panels differ in y only. Every statistic is that of :mod:`spatial_zb.hypotheses.lag_error`, ``durbin`` and
``dependence``; tests/test_replicated_tests.py holds them to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from spatial_zb.core import diagnostics as core
from spatial_zb.core.replicates import Replicates, estimate_all
from spatial_zb.core.samples import SampleModel, Samples, fast
from spatial_zb.core.score_replicates import replicated_score_tests
from spatial_zb.core.within import transformed_sample
from spatial_zb.errors import SpatialZbError
from spatial_zb.hypotheses.case import Array, Case, quiet_design
from spatial_zb.hypotheses.dependence import moran_parts
from spatial_zb.hypotheses.durbin import need_nested_sem
from spatial_zb.models.design import stacked
from spatial_zb.resampling.static import sample_model

__all__ = ["REPLICATED", "can_be_replicated", "replicated_statistics"]

#: Numbers of simulated panels and of their regressors held at once.
CHUNK = 4_000_000


def can_be_replicated(case: Case) -> bool:
    """Whether all samples can be estimated together: few enough units, eigenvalues of W."""
    return fast(case.weights.matrix, case.weights.logdet, True, False)


def replicated_statistics(case: Case, tests: Collection[str], Y: Array) -> dict[tuple[str, str], Array]:
    """(test, label) → statistics (R,) on panels Y (R, T, n), NaN where one is not defined."""
    columns = len(case.spec.x) + len(case.lagged) + 2
    size = max(1, CHUNK // (case.T * case.n * columns))
    parts = [_Many(case, Y[first : first + size]).statistics(tests) for first in range(0, len(Y), size)]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


@dataclass(frozen=True, eq=False)
class _Many:
    """Panels Y (R, T, n) of one case; estimates are made once, when a test first asks for them."""

    case: Case
    Y: Array

    def statistics(self, tests: Collection[str]) -> dict[tuple[str, str], Array]:
        wanted = {name: run for name, run in REPLICATED.items() if name in tests}
        out: dict[tuple[str, str], Array] = {}
        for name, run in wanted.items():
            out |= {(name, label): values for label, values in self._attempt(run).items()}
        return out

    def _attempt(self, run: Callable[[_Many], Array | dict[str, Array]]) -> dict[str, Array]:
        """By label; a model that cannot be built leaves the test undefined, as in the chain."""
        try:
            found = run(self)
        except SpatialZbError:
            found = np.full(len(self.Y), np.nan)
        return found if isinstance(found, dict) else {"": found}

    # --- what tests share

    @cached_property
    def samples(self) -> Samples:
        return Samples(self.case.weights.matrix, self.case.effects, self.Y)

    def model(self, lag_y: bool = False, lag_x: tuple[str, ...] = (), lag_error: bool = False) -> SampleModel:
        """The arrays of one specification."""
        case = self.case
        design = quiet_design(case, case.model(lag_y=lag_y, lag_x=lag_x, lag_error=lag_error))
        return sample_model(design, case.estimator)

    @cached_property
    def residuals(self) -> Array:
        """Least-squares residuals u (R, T, n)."""
        P, rows = stacked(self.case.basis), self.samples.y.reshape(len(self.Y), -1)
        u = rows - (rows @ P) @ P.T
        return (u - (u @ P) @ P.T).reshape(self.Y.shape)

    @cached_property
    def lag_error(self) -> core.LagErrorTests:
        case = self.case
        Wu = Samples(case.weights.matrix, case.effects, self.residuals).Wy
        periods, moments = case.sample.periods, case.moments
        return core.lm_lag_error(
            self.residuals, Wu, self.samples.Wy, case.design.Z, periods, moments.dimension * periods, moments
        )

    @cached_property
    def sar(self) -> Replicates:
        return estimate_all(self.model(lag_y=True), self.samples, covariance=False)

    @cached_property
    def sem(self) -> Replicates:
        return estimate_all(self.model(lag_error=True), self.samples, covariance=False)

    @cached_property
    def sdm(self) -> Replicates:
        return estimate_all(self.model(lag_y=True, lag_x=self.case.lagged), self.samples)

    @cached_property
    def from_sar(self) -> tuple[Array, Array]:
        """LM statistics of Durbin terms and of a spatial error beside SAR."""
        found, (k, q) = self.sar, (self.sar.delta.shape[1], len(self.case.lagged))
        larger = self.model(lag_y=True, lag_x=self.case.lagged, lag_error=True)
        wide = replace(found, delta=np.hstack([found.delta, np.zeros((len(self.Y), q))]))
        spatial = k + q, k + q + 2
        return self.scores(larger, wide, [*range(k + q), *spatial], [*range(k), *spatial, k + q + 1])

    def scores(self, larger: SampleModel, at: Replicates, *active: Sequence[int]) -> list[Array]:
        """LM statistics; NaN where the smaller model has no interior maximum."""
        found = replicated_score_tests(larger, self.samples, at, active)
        return [np.where(at.at_bound, np.nan, one) for one in found]

    def log_likelihood(self, found: Replicates) -> Array:
        """Up to a constant that models of one sample share; at an end of the interval its supremum."""
        case = self.case
        sample = transformed_sample(case.n, case.T, case.effects, case.estimator)
        determinant = case.weights.logdet.value(found.rho + found.lam, sample.centred)
        return sample.concentrated(determinant, found.sigma2)


# --- the tests


def _f_durbin(many: _Many) -> Array:
    case, y, u = many.case, many.samples.y, many.residuals
    Z = stacked(many.model(lag_x=case.lagged).Z)
    df = case.sample.observations - Z.shape[1]
    larger = core.sum_of_squares(Z, y.reshape(len(y), -1))
    return ((u * u).sum(axis=(1, 2)) - larger) / len(case.lagged) / (larger / df)


def _moran(many: _Many) -> dict[str, Array]:
    return {label: moments.z for label, moments, _ in moran_parts(many.case, many.residuals)}


def _common_factor_from_sem(many: _Many) -> Array:
    case, found = many.case, many.sem
    need_nested_sem(case)
    x, k, q = list(case.spec.x), found.delta.shape[1], len(case.lagged)
    constant = k - len(x)
    lam, beta = found.lam[:, None], found.delta[:, constant:]
    lagged = beta[:, [x.index(name) for name in case.lagged]]
    delta = np.hstack([(1 - lam) * found.delta[:, :constant], beta, -lam * lagged])
    at = replace(found, delta=delta, rho=found.lam, lam=0 * found.lam)
    larger = many.model(lag_y=True, lag_x=case.lagged, lag_error=True)
    return many.scores(larger, at, [*range(k + q + 1), k + q + 2])[0]


def _beside(many: _Many, found: Replicates, lag_x: tuple[str, ...] = ()) -> Array:
    """The spatial lag that the model has not: of y beside that of the error, or the other way round."""
    k = found.delta.shape[1]
    return many.scores(many.model(lag_y=True, lag_x=lag_x, lag_error=True), found, range(k + 3))[0]


def _wald(many: _Many, common_factor: bool) -> Array:
    case, found = many.case, many.sdm
    k, q, x = found.delta.shape[1], len(case.lagged), list(case.spec.x)
    theta = found.delta[:, k - q :]
    if not common_factor:
        return core.quadratic_form(theta, found.cov[:, k - q : k, k - q : k])
    need_nested_sem(case)
    own = [k - q - len(x) + x.index(name) for name in case.lagged]
    order = [*own, *range(k - q, k + 1)]
    return core.common_factor_wald(found.delta[:, own], theta, found.rho, found.cov[:, order][:, :, order])


def _ratio(many: _Many, smaller: str) -> Array:
    if smaller == "sem":
        need_nested_sem(many.case)
    ratio = 2 * (many.log_likelihood(many.sdm) - many.log_likelihood(getattr(many, smaller)))
    return np.maximum(ratio, 0.0)


#: What can be computed on many panels at once.
REPLICATED: dict[str, Callable[[_Many], Array | dict[str, Array]]] = {
    "LM lag": lambda many: many.lag_error.lag,
    "LM error": lambda many: many.lag_error.error,
    "LM lag, robust": lambda many: many.lag_error.robust_lag,
    "LM error, robust": lambda many: many.lag_error.robust_error,
    "LM lag and error, joint": lambda many: many.lag_error.joint,
    "F Durbin terms, OLS to SLX": _f_durbin,
    "Moran of residuals": _moran,
    "LM Durbin terms from SAR": lambda many: many.from_sar[0],
    "LM common factor from SEM": _common_factor_from_sem,
    "LM error from SAR": lambda many: many.from_sar[1],
    "LM lag from SEM": lambda many: _beside(many, many.sem),
    "LM error from SDM": lambda many: _beside(many, many.sdm, many.case.lagged),
    "Wald SDM to SAR": lambda many: _wald(many, False),
    "LR SDM to SAR": lambda many: _ratio(many, "sar"),
    "Wald SDM to SEM": lambda many: _wald(many, True),
    "LR SDM to SEM": lambda many: _ratio(many, "sem"),
}
