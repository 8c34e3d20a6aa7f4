"""Bootstrap of a system: its coefficients, and the effects that run through all its equations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.arguments import child_of, renamed
from spatial_zb.base.errors import ConvergenceError, SpecificationError
from spatial_zb.base.execute import Execution, run_tasks
from spatial_zb.base.notes import Note, about, tell
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.laws.bootstrap import Scheme, draw_errors, error_pool, independent_parts
from spatial_zb.core.laws.replicates import inverses
from spatial_zb.core.logdet.traces import Solver
from spatial_zb.core.system import (
    Sources,
    SystemArrays,
    SystemGenerator,
    lag_stacked,
    system_population,
    system_solver,
)
from spatial_zb.core.system.dynamic import CarriedGenerator, follow
from spatial_zb.core.system.fiml import maximise_system
from spatial_zb.core.system.identification import kind_of
from spatial_zb.core.system.instrumental import instrumental
from spatial_zb.core.system.instruments import many_columns, products_of
from spatial_zb.core.system.moments import forward_deviations
from spatial_zb.core.system.samples import instrumental_many, many_lagged_columns, maximise_many
from spatial_zb.effects.responses import responses_at, responses_axes, responses_errors
from spatial_zb.effects.system import (
    average_system_effects,
    sources_of,
    stable_systems,
    system_gradient,
)
from spatial_zb.effects.table import EFFECTS
from spatial_zb.inference.bootstrap.record import (
    BOUND_WARNING,
    Interval,
    Replicated,
    Resampled,
    Statistics,
    by_the_room,
    few_at_edge,
    system_without_maximum,
)
from spatial_zb.inference.bootstrap.static import (
    LARGEST_POPULATION,
    UNEVEN,
    draw_rows,
    jackknife,
    quietly,
)
from spatial_zb.models.gmm_sample import Rows
from spatial_zb.models.shape import placed
from spatial_zb.models.system import fit_system, likelihood_covariance, system_likelihood
from spatial_zb.models.system.dynamic import carried_fit, carried_generator, dynamic_covariance
from spatial_zb.models.system.fit import SystemFit

UNSTABLE = Text("are unstable systems", "为不稳定系统")
UNSOLVED = Text("have no maximum", "没有极大值")
#: Schemes that keep what lags in time need: errors independent over time given the past, with the moments of the fit.
GIVEN_THE_PAST: tuple[Scheme, ...] = ("residual", "parametric")


@dataclass(frozen=True, eq=False, repr=False)
class SystemBootstrap(Resampled):
    """Re-estimates of a system on resampled panels; see :class:`spatial_zb.inference.bootstrap.record.Resampled`.

    ``bias_corrected()`` is needed for the spatial lags under a dense W, which the likelihood puts too low
    (spatial-zb docs validation/system).
    """

    fit: SystemFit

    @cached_property
    def stable(self) -> NDArray[np.bool_]:
        """(R,) whether the system of a replicate is stable, so that it has effects."""
        return stable_systems(self.fit, self.draws[:, self.fit.coefficient_positions])

    @cached_property
    def jackknife(self) -> Array | None:
        """(T, p) parameters with one period left out, for BCa limits; None where T is small or an estimate is missing.

        None with lags in time, where no period can be left out.
        """
        if self.fit.spec.dynamic:
            return None
        return jackknife(len(self.fit.panel.periods), partial(_without, self.fit))

    @renamed(alpha="level")
    def effects(self, interval: Interval = "percentile", *, level: float = 0.95) -> pd.DataFrame:
        """Response, source, effect, estimate, bias, std_error, p_value, conf_low, conf_high.

        Sources are the exogenous variables and ``shock:<equation>``, whose total is the whole closed loop. Replicates of
        unstable systems have no effects: they are left out, and said.

        Raises
        ------
        ConvergenceError
            The fit is not stable, or fewer than half of the replicates are.
        """
        fit = self.fit
        if not fit.stability().stable:
            raise ConvergenceError(
                f"{fit!r} is not stable, so its effects are not defined.", f"{fit!r}不稳定，其效应无定义。"
            )
        names, sources = sources_of(fit.spec)
        where = fit.coefficient_positions
        levels = [fit.spec.names, names, EFFECTS]
        index = pd.MultiIndex.from_product(levels, names=["response", "source", "effect"])
        statistics = Statistics(
            names=index.to_frame(index=False),
            at=lambda values: average_system_effects(fit, sources, values[:, where]).reshape(len(values), -1),
            errors=lambda values, cov: _effect_errors(
                fit, sources, values[:, where], cov[:, where][:, :, where]
            ),
            defined=lambda values: stable_systems(fit, values[:, where]),
            undefined=UNSTABLE,
        )
        return self.table_of(statistics, interval, level)

    def responses(
        self, horizons: int = 10, interval: Interval = "percentile", *, level: float = 0.95
    ) -> pd.DataFrame:
        """Response, source, horizon, effect, estimate, bias, std_error, p_value, conf_low, conf_high.

        Average responses as :func:`spatial_zb.impulse_responses` has them, with limits that are not symmetric: far ahead
        they are products of many estimates.

        Raises
        ------
        SpecificationError
            A system without lags in time.
        """
        fit, axes = self.fit, responses_axes(self.fit, horizons)
        fixed = (
            responses_errors(fit, fit.params.to_numpy()[None], np.eye(len(fit.params))[None], horizons)[0]
            == 0
        )
        statistics = Statistics(
            names=pd.MultiIndex.from_product(axes.values(), names=list(axes)).to_frame(index=False),
            at=lambda values: responses_at(fit, values, horizons),
            errors=lambda values, cov: responses_errors(fit, values, cov, horizons),
            defined=lambda values: np.asarray(np.isfinite(values).all(axis=1)),
            undefined=UNSOLVED,
        )
        frame = self.table_of(statistics, interval, level)
        claims = ["bias", "std_error", "p_value", "conf_low", "conf_high"]
        frame.loc[fixed, claims] = np.nan  # zero by construction
        return frame

    def glance(self) -> pd.DataFrame:
        """The system in one row, and how it was resampled."""
        return super().glance().assign(unstable=int((~self.stable).sum()))


def bootstrap_system(
    fit: SystemFit, replicates: int, scheme: Scheme, root: np.random.SeedSequence, workers: Execution
) -> SystemBootstrap:
    """Resample a system; the arguments are those of :func:`spatial_zb.inference.bootstrap.bootstrap`."""
    if fit.spec.fixed_effects == "random":
        raise SpecificationError(
            "The bootstrap of a system draws from fixed effects; with random effects read the standard errors of the fit.",
            "联立方程组的自助法适用于固定效应；随机效应请看估计结果的标准误。",
        )
    if fit.design.rows is not None and scheme in ("period", "unit"):
        raise SpecificationError(
            f'scheme="{scheme}" makes no sense for {fit!r}: {UNEVEN.en}. Use "residual", "wild" or "parametric".',
            f'scheme="{scheme}"不适用于{fit!r}：{UNEVEN.zh}。请用"residual"、"wild"或"parametric"。',
        )
    if fit.spec.dynamic and scheme not in GIVEN_THE_PAST:
        raise SpecificationError(
            f'scheme="{scheme}" makes no sense for {fit!r}: with lags in time errors must be drawn anew in every period. '
            'Use "residual" or "parametric".',
            f'scheme="{scheme}"不适用于{fit!r}：含时间滞后时误差须逐期重新抽取。请用"residual"或"parametric"。',
        )
    generator = _generator(fit)
    task = partial(_refit, fit, generator, scheme)
    if isinstance(generator, SystemGenerator) and _together(fit):
        run_tasks(task, [], workers=replace(workers, scheduler=None))  # refuses what it refuses elsewhere
        many = partial(_all_at_once, fit, generator, scheme)
        room = 4 * fit.residuals.size * sum(2 + block.shape[1] for block in fit.design.arrays.Z)
        seeds = [child_of(root, place) for place in range(replicates)]
        once = by_the_room(many, task, seeds, room, workers.progress)
        draws, covariances, at_bound = once.draws, once.covariances, once.at_bound
    else:
        found = run_tasks(task, range(replicates), seed=root, workers=workers)
        draws, covariances, at_bound = (
            np.stack([one[name] for one in found]) for name in ("params", "cov", "at_bound")
        )
    ends, notes = int(at_bound.sum()), tuple[Note, ...]()
    if ends > BOUND_WARNING * replicates:
        notes = about(fit.subject, [system_without_maximum(ends, replicates, _by(fit))])
        tell(notes)
    elif ends:
        notes = about(fit.subject, [few_at_edge(ends, replicates)])
    centre = _centre(fit, generator, scheme, draws)
    return SystemBootstrap(fit, scheme, draws, covariances, centre, at_bound.astype(bool), notes)


def _by(fit: SystemFit) -> str:
    if fit.method == "fiml":
        return "likelihood"
    return "recentred" if fit.bias_correction else "moments"


@dataclass(frozen=True)
class RowsGenerator:
    """y* = y + 𝐒̂⁻¹(ε* − ε̂) on the rows that exist: effects stay as they are, since W need not keep them apart."""

    fit: SystemFit
    rows: Rows

    @cached_property
    def residuals(self) -> Array:
        """ε̂ (N, m)."""
        return self.fit.residuals[self.rows.present]

    @cached_property
    def solver(self) -> Solver:
        """𝐒̂⁻¹ of (mN, …), one equation after another; every period by itself."""
        return system_solver(*self.fit.matrices(), self.rows.weights.matrix)

    def errors(self, scheme: Scheme, rng: np.random.Generator) -> Array:
        """ε* (N, m), those of all equations drawn together."""
        unit = np.nonzero(self.rows.present)[1]
        return draw_rows(self.residuals, scheme, self.rows.sample.observations, unit, rng)

    def sample(self, errors: Array) -> SystemArrays:
        """The system with y drawn anew from errors (N, m)."""
        fit, rows = self.fit, self.rows
        N, m = errors.shape
        moved = self.solver((errors - self.residuals).T.ravel()).reshape(m, N).T
        y = fit.panel.array(list(fit.spec.endogenous))[rows.present] + moved
        own, lagged = (rows.taken(placed(part, rows.present)) for part in (y, rows.weights.matrix @ y))
        whole = fit.design.whole or fit.design.arrays
        Z, links = [block.copy() for block in whole.Z], whole.links
        places = links.position - whole.bounds[links.row]
        for g, place, l, by_w in zip(links.row, places, links.column, links.lagged, strict=True):
            Z[g][:, place] = (lagged if by_w else own)[:, l]
        found = replace(whole, y=own, Z=tuple(Z))
        return found if fit.design.whole is None else rows.turned(found)


def _generator(fit: SystemFit) -> SystemGenerator | CarriedGenerator | RowsGenerator:
    if fit.design.rows is not None:
        return RowsGenerator(fit, fit.design.rows)
    if fit.spec.dynamic:
        return carried_generator(fit)
    lam = np.asarray(fit.convergence.lam, float)
    return SystemGenerator(fit.design.arrays, fit.spec.transform, fit.delta, lam)


def _refit(
    fit: SystemFit,
    generator: SystemGenerator | CarriedGenerator | RowsGenerator,
    scheme: Scheme,
    _: int,
    seed: np.random.SeedSequence,
) -> dict[str, Any]:
    """One replicate: parameters, covariance, whether at a bound."""
    rng = np.random.default_rng(seed)
    if isinstance(generator, RowsGenerator):
        errors = generator.errors(scheme, rng)
    else:
        sample, effects = generator.arrays.sample, generator.effects
        errors = draw_errors(fit.residuals, scheme, fit.sigma.to_numpy(), sample, effects, rng)
    params, cov, at_bound = _estimate(fit, generator.sample(errors))
    return {"params": params, "cov": cov, "at_bound": at_bound}


def _together(fit: SystemFit) -> bool:
    """Whether many panels can be estimated at once: errors from products of the data, and instruments without λ."""
    if fit.method == "fiml":
        return fit.covariance == "information"
    spectrum = fit.design.spectrum if fit.bias_correction else None
    whole = spectrum is None or not np.isfinite(
        spectrum.reach
    )  # powers of W reach as far as each panel needs
    return kind_of(fit.covariance) == "classical" and not any(fit.design.arrays.lag_error) and whole


def _all_at_once(
    fit: SystemFit, generator: SystemGenerator, scheme: Scheme, rngs: list[np.random.Generator]
) -> tuple[Replicated, NDArray[np.bool_]]:
    """A panel for each stream, and which are settled."""
    arrays, effects = generator.arrays, generator.effects
    sigma, sample = fit.sigma.to_numpy(), generator.arrays.sample
    errors = [draw_errors(fit.residuals, scheme, sigma, sample, effects, rng) for rng in rngs]
    noise = forward_deviations(np.stack(errors, axis=2), effects)  # (T*, n, R, m)
    Y = generator.responses(noise)
    WY = lag_stacked(arrays.matrix, Y, sample.centred)
    where, p = fit.coefficient_positions, len(fit.params)
    order = np.concatenate([where, np.setdiff1d(np.arange(p), where)])
    if fit.method == "fiml":
        lags = WY, lag_stacked(arrays.matrix, WY, sample.centred)
        columns = many_lagged_columns(arrays, Y, lags)
        likelihood = system_likelihood(replace(fit.design, arrays=arrays), fit.sigma_form)
        gram = columns.swapaxes(1, 2) @ columns
        theta, hessian, settled = maximise_many(likelihood, gram, fit.params.to_numpy()[order])
        cov = inverses(-hessian)
    else:
        spectrum = fit.design.spectrum if fit.bias_correction else None
        products = products_of(many_columns(arrays, Y, WY), arrays.H)
        theta, _, cov, settled = instrumental_many(arrays, products, fit.method.endswith("3sls"), spectrum)
    back = np.argsort(order)
    return Replicated(theta[:, back], cov[:, back][:, :, back], np.zeros(len(rngs), dtype=bool)), settled


def _estimate(fit: SystemFit, arrays: SystemArrays, population: bool = False) -> tuple[Array, Array, bool]:
    """The estimator of the fit on other arrays; a likelihood is climbed from the fit, where the truth is.

    In the ``population`` the moments of instruments have no bias that could be taken off.
    """
    active = np.flatnonzero(arrays.lag_error)
    where = fit.coefficient_positions
    order = np.concatenate([where, np.setdiff1d(np.arange(len(fit.params)), where)])
    if fit.method != "fiml":
        spectrum = fit.design.spectrum if fit.bias_correction and not population else None
        found = instrumental(arrays, fit.method.endswith("3sls"), kind_of(fit.covariance), spectrum)
        theta, cov = np.concatenate([found.delta, found.lam[active]]), found.cov
        at_bound = found.at_bound or found.corrected != (spectrum is not None)
    elif fit.spec.dynamic:
        theta, cov, at_bound = _followed(fit, arrays, fit.params.to_numpy()[order])
    else:
        likelihood = system_likelihood(replace(fit.design, arrays=arrays), fit.sigma_form)
        best = maximise_system(likelihood, [fit.params.to_numpy()[order]])
        theta, at_bound = best.theta, best.at_bound
        # The rows of a population are no panel, whose scores a sandwich could sum.
        kind = "information" if population else fit.covariance
        cov = likelihood_covariance(likelihood, best, kind).cov
    back = np.argsort(order)
    cov = np.full_like(cov, np.nan) if at_bound else cov[np.ix_(back, back)]
    return theta[back], cov, bool(at_bound)


def _followed(fit: SystemFit, arrays: SystemArrays, start: Array) -> tuple[Array, Array, bool]:
    """The end of the path on other arrays, its covariance, and whether there is no maximum at all."""
    carried = carried_fit(fit)
    carried = replace(carried, likelihood=replace(carried.likelihood, arrays=arrays))
    found = follow(carried, [start])
    nothing = np.full((len(start),) * 2, np.nan)
    if not found.solved:
        return found.theta, nothing, True
    spread = dynamic_covariance(carried, found.theta, found.weight, fit.covariance)
    return found.theta, spread.cov if spread.positive else nothing, not spread.positive


def _centre(
    fit: SystemFit,
    generator: SystemGenerator | CarriedGenerator | RowsGenerator,
    scheme: Scheme,
    draws: Array,
) -> Array:
    """θ̂; where a scheme keeps what moves the estimate, its value in the population (for large n the mean)."""
    if scheme not in ("wild", "period") or isinstance(generator, CarriedGenerator):
        return fit.params.to_numpy()
    if isinstance(generator, RowsGenerator):  # sign flips keep what units have of their own
        return draws.mean(axis=0)
    sample, effects = generator.arrays.sample, generator.effects
    if scheme == "wild" and fit.residuals.size * sample.n_units > LARGEST_POPULATION:
        return draws.mean(axis=0)
    pool = error_pool(fit.residuals, scheme, sample, effects)
    parts = independent_parts(pool, scheme, effects)
    assert parts is not None, "made for sign flips and whole periods"
    population = system_population(generator, parts)
    return _estimate(fit, population, population=True)[0]


def _effect_errors(fit: SystemFit, sources: Sources, delta: Array, covariances: Array) -> Array:
    """Standard errors (R, m·K·3) of the effects, by the delta method."""
    errors = []
    for at, V in zip(delta, covariances, strict=True):
        gradient = system_gradient(fit, sources, at)
        gradient = gradient.reshape(-1, gradient.shape[-1])
        errors.append(np.sqrt(np.einsum("ei,ei->e", gradient @ V, gradient)))
    return np.array(errors)


def _without(fit: SystemFit, kept: NDArray[np.bool_]) -> Array:
    """Parameters of some periods."""
    panel = fit.panel.select(periods=[p for p, keep in zip(fit.panel.periods, kept, strict=True) if keep])
    options: dict[str, Any] = {"instrument_powers": fit.design.powers}
    if fit.method == "fiml":
        options["sigma"] = fit.sigma_form
    elif fit.spec.fixed_effects != "random":
        options["bias_correction"] = fit.bias_correction
    return quietly(lambda: fit_system(fit.spec, panel, fit.weights, fit.method, **options)).params.to_numpy()
