"""The tests whose null is a static model with fixed effects, on many panels of one case at once.

Panels differ in y only. Every statistic is that of :mod:`spatial_zb.hypotheses.lag_error`, ``durbin`` and
``dependence``; tests/test_replicated_tests.py holds them to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spatial_zb.core import diagnostics as core
from spatial_zb.core.replicates import Replicates, SampleModel, estimate_all, fast, lag_all, transform_all
from spatial_zb.core.score_replicates import Restricted, score_tests
from spatial_zb.core.within import transformed_sample
from spatial_zb.errors import SpatialZbError
from spatial_zb.hypotheses.case import Array, Case, quiet_design
from spatial_zb.hypotheses.dependence import moran_parts
from spatial_zb.hypotheses.durbin import need_nested_sem
from spatial_zb.models.design import stacked

__all__ = ["can_be_replicated", "replicated_statistics"]

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
        wanted = {name: run for name, run in TESTS.items() if name in tests}
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

    def model(self, lag_y: bool = False, lag_x: tuple[str, ...] = (), lag_error: bool = False) -> SampleModel:
        """The arrays of one specification."""
        case = self.case
        spec = case.model(lag_y=lag_y, lag_x=lag_x, lag_error=lag_error)
        design = quiet_design(case, spec)
        sample = transformed_sample(case.n, case.T, case.effects, case.estimator)
        return SampleModel(
            case.weights.matrix,
            case.weights.logdet,
            sample,
            case.effects,
            design.Z,
            design.WZ,
            design.basis,
            lag_y,
            lag_error,
        )

    @cached_property
    def least_squares(self) -> tuple[Array, Array, Array]:
        """y, Wy and least-squares residuals u (R, T, n), transformed."""
        plain = self.model()
        y, Wy = (transform_all(plain, v) for v in (self.Y, lag_all(plain.matrix, self.Y)))
        P, rows = stacked(self.case.basis), y.reshape(len(y), -1)
        u = rows - (rows @ P) @ P.T
        return y, Wy, (u - (u @ P) @ P.T).reshape(y.shape)

    @cached_property
    def lag_error(self) -> core.LagErrorTests:
        case, (_, Wy, u) = self.case, self.least_squares
        plain, moments = self.model(), case.moments
        Wu = transform_all(plain, lag_all(plain.matrix, u))
        periods = case.sample.periods
        return core.lm_lag_error(u, Wu, Wy, case.design.Z, periods, moments.dimension * periods, moments)

    @cached_property
    def sar(self) -> Replicates:
        return self._estimates(self.model(lag_y=True))

    @cached_property
    def sem(self) -> Replicates:
        return self._estimates(self.model(lag_error=True))

    @cached_property
    def sdm(self) -> Replicates:
        return self._estimates(self.model(lag_y=True, lag_x=self.case.lagged))

    def _estimates(self, model: SampleModel) -> Replicates:
        return estimate_all(model, self.Y)

    def score(self, smaller: Replicates, larger: SampleModel, delta: Array, rho: Array, lam: Array) -> Array:
        """LM statistics; NaN where the smaller model has no interior maximum or no covariance."""
        found = score_tests(larger, self.Y, Restricted(delta, rho, lam, smaller.sigma2))
        return np.where(_converged(smaller), found, np.nan)

    def log_likelihood(self, found: Replicates) -> Array:
        """Up to a constant that models of one sample share; at an end of the interval its supremum."""
        case = self.case
        sample = transformed_sample(case.n, case.T, case.effects, case.estimator)
        determinant = case.weights.logdet.value(found.rho + found.lam, sample.centred)
        return sample.periods * determinant - sample.observations / 2 * np.log(found.sigma2)


def _converged(found: Replicates) -> Array:
    return ~found.at_bound & np.isfinite(found.cov[:, 0, 0])


# --- the tests


def _f_durbin(many: _Many) -> Array:
    case, (y, _, u) = many.case, many.least_squares
    Z = stacked(many.model(lag_x=case.lagged).Z)
    df = case.sample.observations - Z.shape[1]
    smaller = (u * u).sum(axis=(1, 2))
    larger = core.sum_of_squares(Z, y.reshape(len(y), -1))
    return (smaller - larger) / len(case.lagged) / (larger / df)


def _moran(many: _Many) -> dict[str, Array]:
    u = many.least_squares[2]
    return {label: moments.z for label, moments, _ in moran_parts(many.case, u)}


def _durbin_from_sar(many: _Many) -> Array:
    case, found = many.case, many.sar
    larger = many.model(lag_y=True, lag_x=case.lagged)
    delta = np.hstack([found.delta, np.zeros((len(many.Y), len(case.lagged)))])
    return many.score(found, larger, delta, found.rho, found.lam)


def _common_factor_from_sem(many: _Many) -> Array:
    case, found = many.case, many.sem
    need_nested_sem(case)
    x, constant = list(case.spec.x), found.delta.shape[1] - len(case.spec.x)
    lam, beta = found.lam[:, None], found.delta[:, constant:]
    lagged = beta[:, [x.index(name) for name in case.lagged]]
    delta = np.hstack([(1 - lam) * found.delta[:, :constant], beta, -lam * lagged])
    return many.score(found, many.model(lag_y=True, lag_x=case.lagged), delta, found.lam, 0 * found.lam)


def _beside(many: _Many, found: Replicates, lag_x: tuple[str, ...] = ()) -> Array:
    """The spatial lag that the model has not: of the error beside that of y, or the other way round."""
    larger = many.model(lag_y=True, lag_x=lag_x, lag_error=True)
    return many.score(found, larger, found.delta, found.rho, found.lam)


def _wald(many: _Many, common_factor: bool) -> Array:
    case, found = many.case, many.sdm
    k, q = found.delta.shape[1], len(case.lagged)
    theta = found.delta[:, k - q :]
    if not common_factor:
        return core.quadratic_form(theta, found.cov[:, k - q : k, k - q : k])
    need_nested_sem(case)
    x = list(case.spec.x)
    own = [k - q - len(x) + x.index(name) for name in case.lagged]
    order = [*own, *range(k - q, k + 1)]
    return core.common_factor_wald(found.delta[:, own], theta, found.rho, found.cov[:, order][:, :, order])


def _ratio(many: _Many, smaller: Callable[[_Many], Replicates], nested_sem: bool) -> Array:
    if nested_sem:
        need_nested_sem(many.case)
    ratio = 2 * (many.log_likelihood(many.sdm) - many.log_likelihood(smaller(many)))
    return np.maximum(ratio, 0.0)


TESTS: dict[str, Callable[[_Many], Array | dict[str, Array]]] = {
    "LM lag": lambda many: many.lag_error.lag,
    "LM error": lambda many: many.lag_error.error,
    "LM lag, robust": lambda many: many.lag_error.robust_lag,
    "LM error, robust": lambda many: many.lag_error.robust_error,
    "LM lag and error, joint": lambda many: many.lag_error.joint,
    "F Durbin terms, OLS to SLX": _f_durbin,
    "Moran of residuals": _moran,
    "LM Durbin terms from SAR": _durbin_from_sar,
    "LM common factor from SEM": _common_factor_from_sem,
    "LM error from SAR": lambda many: _beside(many, many.sar),
    "LM lag from SEM": lambda many: _beside(many, many.sem),
    "LM error from SDM": lambda many: _beside(many, many.sdm, many.case.lagged),
    "Wald SDM to SAR": lambda many: _wald(many, False),
    "LR SDM to SAR": lambda many: _ratio(many, lambda m: m.sar, False),
    "Wald SDM to SEM": lambda many: _wald(many, True),
    "LR SDM to SEM": lambda many: _ratio(many, lambda m: m.sem, True),
}
