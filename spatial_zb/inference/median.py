"""Median-unbiased ρ, λ and φ, with intervals for small samples: the laws of their scores, inverted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import Rng, alpha_of, check_count, renamed, seed_of
from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.printing import Printed
from spatial_zb.base.threads import one_thread
from spatial_zb.core import Array
from spatial_zb.core.laws import SampleModel, nuisance
from spatial_zb.core.laws.score import (
    DEAR_GRID,
    SPECTRAL_UNITS,
    ErrorLaw,
    LagLaw,
    ScoreLaw,
    Solution,
    below_observed,
    invert,
    one_coefficient_law,
)
from spatial_zb.core.likelihood import given_spatial
from spatial_zb.core.likelihood.tests import weight_moments
from spatial_zb.effects.static import average_effects_at
from spatial_zb.effects.table import EFFECTS
from spatial_zb.inference.bootstrap.static import check_single, generator_of
from spatial_zb.inference.intervals import FEWEST
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import cross_products_of

#: Points at which the share of draws below the score is read, for limits of coefficients and effects; of a dear law.
CURVE, DEAR_CURVE = 101, 21
#: Values of a dear law that one inversion asks for, about; so many seconds of it are not worth a word.
EXPECTED, SILENT = DEAR_GRID + 24, 2.0
#: Standard error that W and the sample alone leave to one spatial lag, from which two of them are not told apart
#: (docs/validation/study.md: medians of ρ and λ are within 0.01 at 0.15, eleven units and contiguity, within 0.023 at 0.26,
#: 90 units and inverse distance, and off by up to −0.05 and −0.10 at 0.35 and 0.57, 41 and 11 units).
APART = 0.3


@dataclass(frozen=True, eq=False, repr=False)
class MedianUnbiased(Printed):
    """Estimates given the median-unbiased ρ or λ.

    Attributes
    ----------
    params
        In the order of ``fit.params``: ρ and λ median-unbiased, β, θ and σ² the (generalised) least-squares estimates given
        them, σ² as the fit has it. NaN where two spatial lags are not told apart: the limits are the result.
    solutions
        By term (``"rho"``, ``"lam"``): where the score is at its median, limits, whether they are ends of the admissible
        interval.
    """

    fit: Fit
    params: pd.Series
    solutions: Mapping[str, Solution]
    replicates: int
    level: float
    law: LagLaw | ErrorLaw | nuisance.RandomLagLaw | nuisance.RandomErrorLaw | None = field(repr=False)

    @property
    def _tails(self) -> list[float]:
        """Shares below the lower and the upper limit."""
        alpha = alpha_of(self.level)
        return [alpha / 2, 1 - alpha / 2]

    @property
    def told_apart(self) -> bool:
        """Whether there are estimates: with two spatial lags only where W and the sample tell them apart."""
        return not self.params.isna().any()

    @property
    def at_bound(self) -> bool:
        """Whether ρ or λ is an end of the admissible interval: no value inside has the score at its median."""
        return any(self.solutions[term].at_bound for term in self.fit.spec.spatial_terms)

    def tidy(self) -> pd.DataFrame:
        """Term, estimate, ml_estimate, conf_low, conf_high, at_bound, open_low, open_high, limits.

        ``limits``: how they were found. ``"score, exact"`` (λ of SEM and SDEM: exact under normal errors), ``"score"`` (its
        law drawn at estimates of the other coefficients), ``"pivot"`` (of β, θ and σ²: draws over the values of ρ or λ as
        likely as their law makes them), empty where there are none (models with both). ``open_low`` and ``open_high`` say
        that a limit is the end of the admissible interval, where the data reject nothing.
        """
        out = pd.DataFrame(
            {
                "term": self.params.index,
                "estimate": self.params.to_numpy(),
                "ml_estimate": self.fit.claimed.to_numpy(),
                "conf_low": np.nan,
                "conf_high": np.nan,
                "at_bound": False,
                "open_low": False,
                "open_high": False,
                "limits": "",
            }
        )
        if self.law is not None:
            low, high = np.quantile(self.draws, self._tails, axis=0)
            out["conf_low"], out["conf_high"], out["limits"] = low, high, "pivot"
        for term, found in self.solutions.items():
            row = out["term"] == term
            exact = isinstance(self.law, ErrorLaw)
            columns = ["conf_low", "conf_high", "at_bound", "open_low", "open_high", "limits"]
            words = "score, exact" if exact else "score"
            out.loc[row, columns] = [
                found.low,
                found.high,
                found.at_bound,
                found.open_low,
                found.open_high,
                words,
            ]
        return out

    def effects(self) -> pd.DataFrame:
        """Term, effect, estimate, ml_estimate, conf_low, conf_high of the average effects.

        With a lag of y at an end of its interval there is no estimate (NaN): the effects have no finite value there. A
        limit is infinite where ρ may be such an end. Models with both lags have no limits here, nor estimates where the lags
        are not told apart: read ``zb.bootstrap(fit)``.
        """
        spec = self.fit.spec
        fitted = average_effects_at(self.fit, self.fit.params.to_numpy()).ravel()
        fitted = fitted if self.fit.converged else np.full_like(fitted, np.nan)
        point = low = high = np.full_like(fitted, np.nan)
        if self.told_apart and not ("rho" in self.solutions and self.solutions["rho"].at_bound):
            point = average_effects_at(self.fit, self.params.to_numpy()).ravel()
        if self.law is not None:
            levels = self._tails
            low, high = np.quantile(self._effect_draws(), levels, axis=0, method="inverted_cdf")
        return pd.DataFrame(
            {
                "term": [name for name in spec.regressors for _ in EFFECTS],
                "effect": list(EFFECTS) * len(spec.regressors),
                "estimate": point,
                "ml_estimate": fitted,
                "conf_low": low,
                "conf_high": high,
            }
        )

    def glance(self) -> pd.DataFrame:
        """The fit in one row, and whether its spatial lags are told apart."""
        more = {"replicates": self.replicates, "level": self.level, "told_apart": self.told_apart}
        return self.fit.glance().assign(**more)

    @cached_property
    def draws(self) -> Array:
        """(R, p) parameters as likely as the data make them; of a model with one spatial lag.

        ρ (or λ) at which the share of draws below the observed score is u, uniform; given it δ̂ + σFz and σ² = SSR/χ², the
        pivots of least squares (generalised inference: Weerahandi 1993, JASA 88: 899-905).
        """
        law, (term,) = self._one_law, self.solutions
        rng = drawing_from(law.seed)
        at = values_at(law, self.solutions[term], rng.random(self.replicates))
        delta, sigma2 = law.drawn_estimates(at, rng)
        return np.column_stack([delta, at, sigma2])

    @property
    def _one_law(self) -> LagLaw | ErrorLaw | nuisance.RandomLagLaw | nuisance.RandomErrorLaw:
        assert self.law is not None, "of a model with one spatial lag"
        return self.law

    def _effect_draws(self) -> Array:
        """(R, 3 × regressors) effects of the draws, without bound where ρ is an end of its interval."""
        effects = average_effects_at(self.fit, self.draws)
        if self.fit.spec.lag_y:
            rho, (low, high) = self.draws[:, self.params.index.get_loc("rho")], self._one_law.bounds
            effects[rho >= high] = np.copysign(np.inf, effects[rho >= high])
            own = effects[..., :2]  # at the lower end the total is finite
            own[rho <= low] = np.copysign(np.inf, own[rho <= low])
        return effects.reshape(len(effects), -1)


def drawing_from(seed: np.random.SeedSequence) -> np.random.Generator:
    """What draws coefficients, apart from the draws of a law with this seed."""
    return np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 1 << 20)))


def values_at(law: ScoreLaw, solution: Solution, shares: Array) -> Array:
    """Coefficients at which the wanted share of draws lies below the score; an end of the interval where no value has it."""
    low, high = law.bounds
    wide = 0.5 * (solution.high - solution.low)
    points = DEAR_CURVE if law.dear else CURVE
    near = np.linspace(max(low, solution.low - wide), min(high, solution.high + wide), points)
    grid = np.unique(np.concatenate([[low], near, [high]]))
    falling = np.minimum.accumulate(below_observed(law, grid))
    return np.interp(-shares, -falling, grid)


@renamed(alpha="level")
@one_thread
def median_unbiased(
    fit: Fit,
    replicates: int = 999,
    *,
    rng: Rng = None,
    level: float = 0.95,
    progress: Any = None,
) -> MedianUnbiased:
    r"""Estimate ρ and λ so that they are as often too high as too low, with intervals that cover in small samples.

    At every ρ₀ the profile score s(ρ₀) is compared with what it is in samples drawn under ρ₀ with normal errors, β and σ at
    their estimates under ρ₀. The estimate is the ρ₀ at which the score observed is the median of that law; the interval
    holds the ρ₀ at which it lies between the α/2 and 1 − α/2 quantiles. For SEM and SDEM the law does not depend on β and
    σ: the estimate is exactly median-unbiased, the interval exact under normal errors. No interior maximum of the likelihood
    is needed. Where no ρ₀ has the score at its median the estimate is an end of the admissible interval (``at_bound``).

    With both lags ρ and λ are solved one at a time, the other one re-estimated under every value. In simulations their
    intervals cover. Where W and the sample would leave even one lag alone, without regressors, a standard error above 0.3,
    1/√(T* T_w) with T_w of the LM tests (a dense W, few periods), the two are not told apart by any estimate: all estimates
    are NaN and the intervals are the result. Prefer a model with one lag there.

    Parameters
    ----------
    fit
        Of one equation by ``lee_yu`` with ρ, λ or both, or with random effects and one of them; converged or not. With
        random effects φ = σ²_μ/σ²_ε is median-unbiased too, given ρ or λ.
    replicates
        Samples, at least 99; the limits are exact for any number.
    rng
        Seed: the same samples serve all values of ρ₀.
    alpha
        One minus the confidence level.
    progress
        Called with values done, values expected and seconds left, where it takes more than two seconds.

    Raises
    ------
    SpecificationError
        Another estimator (``direct``, ``gmm``, lags in time, regimes), no spatial coefficient, both lags or random effects
        with more than 500 units, both lags with random effects, too few replicates.

    Notes
    -----
    Andrews (1993), Econometrica 61: 139-165 (median-unbiased estimates); Hansen (1999), Review of Economics and Statistics
    81: 594-607 (grid bootstrap); spatial-zb docs median-unbiased; measured in spatial-zb docs validation/study.
    """
    _check(fit, replicates, level)
    alpha = alpha_of(level)
    root = seed_of(rng)
    if fit.spec.fixed_effects == "random":
        counter = _Counter(progress, EXPECTED)
        return invert_random(fit, replicates, root, level, lambda law: _Counted(law, counter))
    model, y = generator_of(fit).model, fit.panel.array(fit.spec.y)
    if len(fit.spec.spatial_terms) == 1:
        law: LagLaw | ErrorLaw | None = one_coefficient_law(model, y, replicates, root)
        laws: dict[str, Any] = {fit.spec.spatial_terms[0]: law}
    else:
        law, kinds = None, {"rho": nuisance.LagBesideErrorLaw, "lam": nuisance.ErrorBesideLagLaw}
        laws = {term: kind(model, y, replicates, root) for term, kind in kinds.items()}
    counter = _Counter(progress, EXPECTED * len(laws))
    solutions = {}
    for term, one in laws.items():
        start = None if fit.convergence.at_bound else float(fit.params[term])
        solutions[term] = invert(_Counted(one, counter), alpha, start)
    spatial = {term: found.estimate for term, found in solutions.items()}
    delta, sigma2 = given_spatial(
        cross_products_of(fit.design), model.sample, spatial.get("rho", 0.0), spatial.get("lam", 0.0)
    )
    params = pd.Series([*delta, *spatial.values(), sigma2], index=fit.params.index, name="estimate")
    if len(laws) > 1 and not _told_apart(model):
        params[:] = np.nan
    return MedianUnbiased(fit, params, solutions, replicates, level, law)


def _told_apart(model: SampleModel) -> bool:
    """Whether 1/√(T* T_w), the standard error of ρ or of λ at zero in a model with nothing else, is small enough."""
    variance = weight_moments(model.matrix, model.sample.centred).variance
    return bool(model.sample.periods * variance >= APART**-2)


def has_median_unbiased(fit: Fit) -> bool:
    """Whether a median-unbiased estimate exists: static, ``lee_yu``, ρ or λ, and few enough units where it has both."""
    try:
        _check_model(fit)
    except SpecificationError:
        return False
    return True


def _check(fit: Any, replicates: int, level: float) -> None:
    if not isinstance(fit, Fit):
        raise SpecificationError(
            f"median_unbiased takes a fit of fit_durbin, not {type(fit).__name__}.",
            f"median_unbiased须给出fit_durbin的估计，而不是{type(fit).__name__}。",
        )
    _check_model(fit)
    check_count(replicates, "replicates", FEWEST)
    if alpha_of(level) / 2 * (replicates + 1) < 1:
        raise SpecificationError(
            f"level must be at most {1 - 2 / (replicates + 1):.4g} with {replicates} replicates, not {level}.",
            f"重复{replicates}次时level至多为{1 - 2 / (replicates + 1):.4g}，而不是{level}。",
        )


def _check_model(fit: Fit) -> None:
    if fit.estimator == "adjusted_score":
        raise SpecificationError(
            "median_unbiased is for the likelihood of a complete panel, where one determinant gives the law of ρ; this fit "
            "is by the adjusted score. Read zb.profile_interval(fit), the set of its score, which few units do not shorten, "
            "or zb.bootstrap(fit).",
            "median_unbiased用于完整面板的似然，其ρ的分布由一个行列式给出；此估计用的是调整得分（adjusted score）。"
            "请看zb.profile_interval(fit)（得分集，地区少时不会偏短）或zb.bootstrap(fit)。",
        )
    if fit.spec.fixed_effects != "random":
        check_single(fit)
    spec = fit.spec
    if fit.estimator == "direct":
        raise SpecificationError(
            'median_unbiased takes fits by "lee_yu"; this one is by "direct".',
            'median_unbiased用于"lee_yu"的估计；这里是"direct"。',
        )
    if not spec.spatial_terms:
        raise SpecificationError(
            f"{spec.family} has neither ρ nor λ: its least squares are unbiased already.",
            f"{spec.family}既没有ρ也没有λ：其最小二乘本无偏误。",
        )
    random = spec.fixed_effects == "random"
    if random and (len(spec.spatial_terms) > 1 or fit.weights.n > SPECTRAL_UNITS):
        raise SpecificationError(
            f"With random effects median_unbiased is for one spatial lag and up to {SPECTRAL_UNITS} units, not for "
            f"{spec.family} with {fit.weights.n} units. Read zb.bootstrap(fit).",
            f"含随机效应时median_unbiased限一种空间滞后、至多{SPECTRAL_UNITS}个地区；{spec.family}、{fit.weights.n}个地区不适用。"
            "请用zb.bootstrap(fit)。",
        )
    if len(spec.spatial_terms) > 1 and fit.weights.n > SPECTRAL_UNITS:
        raise SpecificationError(
            f"With two spatial lags median_unbiased takes up to {SPECTRAL_UNITS} units; this {spec.family} has "
            f"{fit.weights.n}. Use fit.conf_int().",
            f"有两个空间滞后时median_unbiased最多用于{SPECTRAL_UNITS}个地区；此{spec.family}有{fit.weights.n}个。请用fit.conf_int()。",
        )


class _Counter:
    """Reports progress once the work takes longer than a moment."""

    def __init__(self, progress: Any, expected: int) -> None:
        self.progress, self.expected, self.done, self.start = progress, expected, 0, time.monotonic()

    def add(self, values: int) -> None:
        """Count values of a law that are done."""
        self.done += values
        passed = time.monotonic() - self.start
        if self.progress and passed > SILENT:
            expected = max(self.expected, self.done)
            self.progress(self.done, expected, passed / self.done * (expected - self.done))


@dataclass(frozen=True, slots=True)
class _Counted:
    """A law whose values are counted."""

    law: ScoreLaw
    counter: _Counter

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the law."""
        return self.law.bounds

    @property
    def dear(self) -> bool:
        """Of the law."""
        return self.law.dear

    def scores(self, at: Array) -> tuple[Array, Array]:
        """Of the law, and counted."""
        if not self.dear:
            return self.law.scores(at)
        parts = []
        for c in at:
            parts.append(self.law.scores(np.array([c])))
            self.counter.add(1)
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts], axis=1)

    def height(self, at: Array) -> Array:
        """Of the law."""
        return self.law.height(at)


@dataclass(frozen=True, eq=False, repr=False)
class RandomMedianUnbiased(MedianUnbiased):
    """Estimates given the median-unbiased ρ or λ and φ; limits of φ are exact given ρ or λ, under normal errors.

    Attributes
    ----------
    of_variance
        The law of the score of s = ln(1 + Tφ), and its solution.
    """

    law: nuisance.RandomLagLaw | nuisance.RandomErrorLaw = field(repr=False)
    of_variance: tuple[nuisance.VarianceLaw, Solution] = field(repr=False)

    @cached_property
    def draws(self) -> Array:
        """(R, p) parameters as likely as the data make them: ρ or λ, δ and σ² given it, and φ."""
        (term,) = self.fit.spec.spatial_terms
        rng = drawing_from(self.law.seed)
        at = values_at(self.law, self.solutions[term], rng.random(self.replicates))
        delta, sigma2 = self.law.drawn_estimates(at, rng)
        s = values_at(*self.of_variance, rng.random(self.replicates))
        return np.column_stack([delta, at, _phi(s, self.law.model.periods), sigma2])


def invert_random(
    fit: Fit,
    replicates: int,
    root: np.random.SeedSequence,
    level: float,
    counted: Callable[[ScoreLaw], ScoreLaw],
) -> RandomMedianUnbiased:
    """Solve for ρ or λ, then for φ given it; arguments as checked by :func:`spatial_zb.median_unbiased`."""
    spec, design = fit.spec, fit.design
    (term,), (seed, other) = spec.spatial_terms, root.spawn(2)
    apart = bool(spec.lag_error) and spec.error_structure == "baltagi"
    W, kind = fit.weights, nuisance.RandomLagLaw if spec.lag_y else nuisance.RandomErrorLaw
    model = nuisance.RandomModel(design.Z, W.matrix.toarray(), W.logdet, bool(spec.lag_y), apart)
    law = kind(model, design.y, replicates, seed)
    start = None if fit.convergence.at_bound else float(fit.params[term])
    alpha = alpha_of(level)
    found = invert(counted(law), alpha, start)
    given, sample = law.given(found.estimate)
    of_s = nuisance.VarianceLaw(given, sample, replicates, other)
    s = invert(of_s, alpha)
    estimate, low, high = (float(_phi(value, model.periods)) for value in (s.estimate, s.low, s.high))
    phi = replace(s, estimate=estimate, low=low, high=high)
    _, delta, ssr = given.solve(np.full(1, s.estimate), given.data(sample))
    values = [*delta[0], found.estimate, phi.estimate, ssr[0] / design.y.size]
    solutions: Mapping[str, Solution] = {term: found, "phi": phi}
    params = pd.Series(values, index=fit.params.index, name="estimate")
    return RandomMedianUnbiased(fit, params, solutions, replicates, level, law, (of_s, s))


def _phi(s: Array | float, periods: int) -> Array:
    return np.expm1(s) / periods
