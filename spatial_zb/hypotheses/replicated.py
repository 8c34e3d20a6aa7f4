"""The tests on many panels of one case at once, and prepivoted p-values.

Panels differ in y only. Every statistic is that of :mod:`spatial_zb.hypotheses.panel`, ``over_time`` and ``random``;
tests/hypotheses/test_replicated_tests.py holds them to each other.

Tests whose law depends on ρ or λ, brought to a scale on which it hardly does: their place in the law at the estimate.

U(c, s) is the place of a statistic s among those of panels drawn at a coefficient c, the other parameters and the errors
those of the data given c. With the same errors everywhere every drawn statistic is a smooth function of c, made on a
grid and read between it. What is compared is U(ĉ, s), of the data and of panels drawn at ĉ, each with its own estimate ĉ*:
the double bootstrap (Beran 1988, JASA 83: 687-697; Davison & Hinkley 1997, §4.5), whose inner draws depend on a panel by
ĉ* only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import scipy
from numpy.typing import NDArray

from spatial_zb.base.errors import SpatialZbError
from spatial_zb.core import Array
from spatial_zb.core.laws import SampleModel, Samples, fast
from spatial_zb.core.laws.bootstrap import Generator, error_pool, places_among
from spatial_zb.core.laws.random import RandomReplicates, estimate_random
from spatial_zb.core.laws.replicates import (
    Replicates,
    estimate_all,
    expected_information,
    filtered_errors,
    inverses,
    replicated_errors,
    replicated_score_tests,
)
from spatial_zb.core.likelihood import given_spatial
from spatial_zb.core.likelihood import tests as core
from spatial_zb.core.likelihood.errors import (
    Errors,
    crossing_form,
    lag_form,
    places,
    serial_correlation,
    tied_variances,
    variances_by_place,
)
from spatial_zb.core.random.tests import (
    bsk_error_given_random,
    bsk_marginal,
    bsk_random_given_error,
    hausman_mundlak,
    random_effects_ml,
)
from spatial_zb.core.transforms import FixedEffects, column_basis, demean, transformed_sample
from spatial_zb.hypotheses.case import Case, dummies_of, moran_parts, quiet_design
from spatial_zb.hypotheses.panel import WITHOUT, cd_statistic, effects_tests, need_nested_sem
from spatial_zb.hypotheses.random import common_means, mundlak_f, need_transform, need_varying, unit_model
from spatial_zb.inference.bootstrap.static import generator_of, sample_model
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import cross_products_of

#: Numbers of simulated panels and of their regressors held at once.
CHUNK = 4_000_000


def can_be_replicated(case: Case) -> bool:
    """Whether all samples can be estimated together: few enough units, eigenvalues of W."""
    return case.together and fast(case.weights.matrix, case.weights.logdet, True, False)


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

    def model(self, lag_y: bool = False, lag_x: Sequence[str] = (), lag_error: bool = False) -> SampleModel:
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
        durbin, error = self.scores(larger, wide, [*range(k + q), *spatial], [*range(k), *spatial, k + q + 1])
        return durbin, error

    @cached_property
    def errors(self) -> tuple[Errors, Array]:
        """Those of SDM, and the diagonal of JG at its ρ."""
        return replicated_errors(self.model(lag_y=True, lag_x=self.case.lagged), self.samples, self.sdm)

    def of_errors(self, statistic: Callable[[Errors, Array], Array]) -> Array:
        """NaN where SDM has no interior maximum."""
        return np.where(self.sdm.at_bound, np.nan, statistic(*self.errors))

    def scores(self, larger: SampleModel, at: Replicates, *active: Sequence[int]) -> list[Array]:
        """LM statistics; NaN where the smaller model has no interior maximum."""
        found = replicated_score_tests(larger, self.samples, at, active)
        return [np.where(at.at_bound, np.nan, one) for one in found]

    # --- without unit effects

    @property
    def means(self) -> FixedEffects:
        """What is taken out of y beside random effects."""
        return "time" if self.case.period_means else "none"

    @cached_property
    def common(self) -> tuple[Array, Array]:
        """y (R, T, n) and X (T, n, k) as :func:`common_means` has them."""
        X = common_means(self.case)[1]
        if self.case.period_means:
            return Samples(self.case.weights.matrix, "time", self.Y).y, X
        return self.Y - self.Y.mean(axis=(1, 2), keepdims=True), X

    @cached_property
    def hausman(self) -> tuple[Array, Array]:
        """Hausman's statistics and Mundlak's."""
        y, X = self.common
        varying = need_varying(self.case, X)
        hausman, wald = hausman_mundlak(y, X, varying, self.case.period_means)
        return hausman, wald / varying.sum()

    @cached_property
    def pooled(self) -> tuple[Array, Array]:
        """Marginal tests of Baltagi, Song and Koh: of random effects, and of a spatial error."""
        (y, X), case = self.common, self.case
        u = core.residuals(stacked(X), y.reshape(len(y), -1)).reshape(y.shape)
        return bsk_marginal(u, Samples(case.weights.matrix, "none", u).Wy, case.moments)

    def with_random_effects(self, mundlak: Sequence[str]) -> tuple[RandomReplicates, list[str]]:
        """Estimates of the specification with random unit effects and a lag of y, and their terms."""
        case, kind = self.case, self.means
        need_transform(case, apart=False)
        spec = unit_model(case, "random", mundlak)
        design, terms = quiet_design(case, spec), list(spec.terms)
        Z = design.Z
        if case.period_means:
            Z, terms = demean(Z[:, :, 1:], "time"), terms[1:]  # the intercept is a period effect
        sample = transformed_sample(case.n, case.T, kind, "lee_yu")
        basis = column_basis(stacked(Z))
        model = replace(sample_model(design, "lee_yu"), effects=kind, sample=sample, Z=Z, basis=basis)
        return estimate_random(model, Samples(case.weights.matrix, kind, self.Y)), terms

    def log_likelihood(self, found: Replicates) -> Array:
        """Up to a constant that models of one sample share; at an end of the interval its supremum."""
        case = self.case
        sample = case.design.sample(case.estimator)
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


def _beside(many: _Many, found: Replicates, lag_x: Sequence[str] = ()) -> Array:
    """The spatial lag missing from the model: of y in a model with one of the error, or the reverse."""
    k = found.delta.shape[1]
    return many.scores(many.model(lag_y=True, lag_x=lag_x, lag_error=True), found, range(k + 3))[0]


def _wald(many: _Many, common_factor: bool) -> Array:
    case, found = many.case, many.sdm
    k, q, x = found.delta.shape[1], len(case.lagged), list(case.spec.x)
    theta, cov = found.delta[:, k - q :], found.cov
    assert cov is not None, "estimated with covariances"
    if not common_factor:
        return core.quadratic_form(theta, cov[:, k - q : k, k - q : k])
    need_nested_sem(case)
    own = [k - q - len(x) + x.index(name) for name in case.lagged]
    order = [*own, *range(k - q, k + 1)]
    return core.common_factor_wald(found.delta[:, own], theta, found.rho, cov[:, order][:, :, order])


def _ratio(many: _Many, smaller: str) -> Array:
    if smaller == "sem":
        need_nested_sem(many.case)
    ratio = 2 * (many.log_likelihood(many.sdm) - many.log_likelihood(getattr(many, smaller)))
    return np.maximum(ratio, 0.0)


def _serial(many: _Many, crossing: bool) -> Array:
    T = many.case.T
    return many.of_errors(
        lambda errors, _: serial_correlation(
            errors, crossing_form(T) if crossing else lag_form(T, errors.within)
        )
    )


def _by_place(many: _Many) -> Array:
    columns = places(many.case.weights.matrix, many.case.period_means)
    return many.of_errors(lambda errors, _: variances_by_place(errors.variances, columns))


def _heteroskedasticity(many: _Many, normal: bool) -> Array:
    rows = many.residuals.reshape(len(many.Y), -1)
    return core.heteroskedasticity(rows, stacked(many.case.design.Z))[0 if normal else 1]


def _of_effects(without: FixedEffects, at: int, many: _Many) -> Array:
    """F (0) or LR (1) of effects against some of them."""
    y = np.moveaxis(many.Y, 0, 2)
    F, ratio, *_ = effects_tests(many.case, without, lambda effects: dummies_of(many.case, effects, y))
    return ratio if at else F


def _error_given_random(many: _Many) -> Array:
    case = many.case
    u, sigma2, sigma2_one = random_effects_ml(*many.common, case.moments.dimension)
    return bsk_error_given_random(u, case.weights.matrix, sigma2, sigma2_one, case.moments)


def _random_given_error(many: _Many) -> Array:
    case, W = many.case, many.case.weights.matrix
    spec = replace(case.model(lag_error=True), fixed_effects=many.means)
    model, samples = sample_model(quiet_design(case, spec), "lee_yu"), Samples(W, many.means, many.Y)
    found = estimate_all(model, samples, covariance=False)
    e, traces = filtered_errors(model, samples, found)
    value = bsk_random_given_error(e, W, found.lam, found.sigma2, traces, case.moments)
    return np.where(found.at_bound, np.nan, value)


def _spatial_hausman(many: _Many) -> Array:
    """As :func:`spatial_zb.hypotheses.random.spatial_hausman`."""
    case = many.case
    random, terms = many.with_random_effects(())
    spec = unit_model(case, "two_way" if case.period_means else "unit")
    model = sample_model(quiet_design(case, spec), "lee_yu")
    samples = Samples(case.weights.matrix, model.effects, many.Y)
    fixed, k = estimate_all(model, samples, covariance=False), len(spec.terms)
    at = [terms.index(name) for name in spec.terms]
    delta, cov = random.delta[:, at], random.cov[:, at][:, :, at]
    within = inverses(expected_information(model, samples, delta, random.rho, random.sigma2))[:, :k, :k]
    value = core.quadratic_form(fixed.delta - delta, within - cov)
    return np.where(fixed.at_bound, np.nan, value)


def _spatial_mundlak(many: _Many) -> Array:
    found, terms = many.with_random_effects(many.case.spec.x)
    at = [i for i, term in enumerate(terms) if term.startswith("mean_")]
    wald = core.quadratic_form(found.delta[:, at], found.cov[:, at][:, :, at])
    return mundlak_f(many.case, wald, len(at))


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
    "Serial correlation (LM*)": lambda many: _serial(many, False),
    "Serial correlation, forward and backward": lambda many: _serial(many, True),
    "Variances and diagonal of G": lambda many: many.of_errors(
        lambda errors, feedback: tied_variances(errors.variances, feedback)
    ),
    "Variances and place in W": _by_place,
    "Breusch-Pagan": lambda many: _heteroskedasticity(many, True),
    "Koenker-Bassett": lambda many: _heteroskedasticity(many, False),
    "LM error from SDM": lambda many: _beside(many, many.sdm, many.case.lagged),
    "Wald SDM to SAR": lambda many: _wald(many, False),
    "LR SDM to SAR": lambda many: _ratio(many, "sar"),
    "Wald SDM to SEM": lambda many: _wald(many, True),
    "LR SDM to SEM": lambda many: _ratio(many, "sem"),
    **{
        f"{kind} {name}": partial(_of_effects, without, at)
        for name, without in WITHOUT.items()
        for at, kind in enumerate(("F", "LR"))
    },
    "CD (Pesaran)": lambda many: cd_statistic(many.case, np.moveaxis(many.Y, 0, 2)),
    "Hausman": lambda many: many.hausman[0],
    "Mundlak": lambda many: many.hausman[1],
    "LM random effects (Breusch-Pagan)": lambda many: many.pooled[0] ** 2,
    "LM random effects and spatial error, joint (BSK)": lambda many: (
        np.maximum(many.pooled[0], 0.0) ** 2 + many.pooled[1] ** 2
    ),
    "LM random effects, marginal (BSK)": lambda many: many.pooled[0],
    "LM spatial error, marginal (BSK)": lambda many: many.pooled[1],
    "LM spatial error given random effects (BSK)": _error_given_random,
    "LM random effects given spatial error (BSK)": _random_given_error,
    "Hausman, spatial": _spatial_hausman,
    "Mundlak, spatial": _spatial_mundlak,
}


#: Tests that allow for a small ρ or λ only.
PREPIVOTED = ("LM lag, robust", "LM error, robust")
#: Coefficients at which the law is drawn, and how many of the draws serve it.
GRID, SHARE = 6, 0.5
#: The least width of the grid.
NARROW = 1e-6


def prepivoted(
    case: Case, fit: Fit, test: str, Y: Array, drawn: Array, seed: np.random.SeedSequence
) -> tuple[float, Array]:
    """U(ĉ, s) of the data, and of panels Y (R, T, n) with statistics ``drawn`` (R,).

    Parameters
    ----------
    fit
        Of the null hypothesis, with one spatial lag.
    seed
        Of the errors of the grid.
    """
    model = generator_of(fit).model
    found = estimate_all(model, Y, covariance=False)
    at = np.append(fit.params[fit.spec.spatial_terms[0]], found.rho + found.lam)
    own = replicated_statistics(case, [test], case.panel.array(case.spec.y)[None])[test, ""]
    statistics = np.append(own, drawn)
    grid = _grid(at)
    size = (int(SHARE * len(Y)), *Y[0].shape)
    chosen = np.random.default_rng(seed).integers(Y[0].size, size=size)
    law = [
        replicated_statistics(case, [test], panels(chosen))[test, ""]
        for panels in _sources(fit.design, model, grid)
    ]
    places = places_among(scipy.interpolate.CubicSpline(grid, np.array(law))(at), statistics)
    places[~np.isfinite(statistics)] = np.nan
    return float(places[0]), places[1:]


def _grid(at: Array) -> Array:
    """Coefficients from the lowest to the highest, not all the same."""
    low, high = at.min(), at.max()
    return np.linspace(low, max(high, low + NARROW), GRID)


def _sources(
    design: Design, model: SampleModel, grid: Array
) -> Iterator[Callable[[NDArray[np.intp]], Array]]:
    """For ρ or λ of each of the grid, the rest estimated given it: chosen residuals ↦ panels (R, T, n)."""
    products = cross_products_of(design)
    for c in grid:
        rho, lam = (c, 0.0) if model.lag_y else (0.0, c)
        delta, _ = given_spatial(products, model.sample, rho, lam)
        e = design.y - rho * design.Wy - design.Z @ delta
        if model.lag_error:
            e = e - lam * (design.Wy - design.lags[0] @ delta)
        pool = error_pool(e, "residual", model.sample, model.effects).ravel()
        generator = Generator(model, delta, rho, lam)
        yield partial(_panels_of, generator, pool)


def _panels_of(generator: Generator, pool: Array, chosen: NDArray[np.intp]) -> Array:
    return generator.panels(pool[chosen])
