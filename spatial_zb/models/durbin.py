"""``fit_durbin``, which checks the request and chooses the estimator, and its warnings of weakly identified ρ and λ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np

from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import Note, about, tell
from spatial_zb.base.text import Text
from spatial_zb.base.threads import one_thread
from spatial_zb.core.likelihood.shape import shape_estimate
from spatial_zb.core.likelihood.shape_covariance import ShapePoint
from spatial_zb.data.panel import Panel, require_complete
from spatial_zb.models.certainty import conley_kernel, conley_note, few_degrees, one_unit_alone
from spatial_zb.models.design import build_design, check_kinds, refuse_empty_rows
from spatial_zb.models.dynamic import fit_dynamic
from spatial_zb.models.fit import Fit
from spatial_zb.models.gmm import fit_gmm, limits_that_hold
from spatial_zb.models.ml import SMALL_N, fit_ml, may_lean, notes_on_lean
from spatial_zb.models.notes import (
    BOOTSTRAP,
    MEDIAN_UNBIASED,
    few_periods,
    imprecise_random,
    little_by_instruments,
    little_information,
    next_to_no_instruments,
    variances_tied,
)
from spatial_zb.models.random import fit_random
from spatial_zb.models.regimes import fit_regime_rows, fit_regimes, regime_design
from spatial_zb.models.score import fit_score
from spatial_zb.models.shape import REASONS, Lags, build_shape, fit_shape, read_lags, reasons_for_shape
from spatial_zb.models.spec import COVARIANCES, Covariance, DurbinSpec, Estimator, covariance_of
from spatial_zb.weights.matrix import Weights

#: Standard error of ρ or λ from which intervals of indirect effects cover less than 92 % and bias reaches 0.02
#: (docs/validation/study.md: up to 0.15 both are good; 0.18 gives −0.020 and 89 %, 0.24 −0.031, 0.33 −0.057).
WEAK_SPATIAL_ERROR = 0.16
#: The lean of ρ̂ or λ̂ of a complete panel is looked at from this standard error on (below it bias is at most 0.01:
#: docs/validation/study_verdicts.csv) and up to so many rows.
LEAN_ERROR, LEAN_ROWS = 0.1, 3000
#: The same with random effects, whose bias reaches −0.03 at 0.10 with contiguity and at any error under a dense W
#: (docs/validation/small_sample.md).
WEAK_RANDOM_ERROR = 0.09
#: Standard error of ρ by instruments from which a tenth or more of the estimates leave the admissible interval
#: (docs/validation/gmm.md: 0.6 to 4.9).
VERY_WEAK = 0.55
#: Lowest and highest coverage, in %, of 95 % intervals of coefficients by Driscoll-Kraay without ρ: by (units, periods),
#: with shocks of periods independent over time, then with shocks and errors of AR 0.7 (docs/validation/clusters.csv).
COVERED = {
    (11, 5): (92, 92, 86, 88),
    (11, 10): (89, 92, 80, 84),
    (11, 20): (94, 98, 81, 88),
    (11, 40): (92, 94, 85, 86),
    (41, 5): (90, 92, 84, 89),
    (41, 10): (95, 95, 82, 87),
    (41, 20): (92, 95, 81, 90),
    (41, 40): (96, 98, 88, 90),
}
#: Degrees of freedom below which Student's t with those of Satterthwaite is no good approximation (Pustejovsky & Tipton
#: 2018: below four to five).
FEW_DEGREES = 4.0


def notes_on_spatial_terms(fit: Fit) -> list[Note]:
    """Where standard errors of ρ and λ are so large that simulations show bias and short intervals of effects."""
    if fit.spec.regimes:
        return []
    where = [fit.params.index.get_loc(name) for name in fit.spec.spatial_terms]
    weakest = float(np.sqrt(fit.cov.to_numpy()[where, where].max())) if where else 0.0
    if fit.estimator == "gmm":
        return _by_instruments(fit, weakest)
    if fit.spec.fixed_effects == "random":
        return _with_random_effects(fit, weakest)
    return _by_likelihood(fit, weakest)


def _by_likelihood(fit: Fit, weakest: float) -> list[Note]:
    """Of two spatial lags only the intervals of zb.median_unbiased are good; under unequal variances none of these are."""
    if any(note.kind is variances_tied for note in fit.notes):
        return []
    exact = fit.estimator == "lee_yu" and not fit.spec.dynamic
    if not weakest > WEAK_SPATIAL_ERROR:
        return _lean_of_complete(fit, weakest) if exact else []
    beside = MEDIAN_UNBIASED if exact else BOOTSTRAP
    return [little_information(weakest, beside, exact and len(fit.spec.spatial_terms) > 1)]


def _lean_of_complete(fit: Fit, error: float) -> list[Note]:
    """What is said of rows that come and go, by the same function; fewer units and larger errors are said already."""
    if not is_lean_looked_at(fit.spec, len(fit.panel.units), fit.nobs, error):
        return []
    there = build_shape(fit.spec, fit.panel, Lags(fit.weights, fit.weights, fit.weights), ())
    return notes_on_lean(ShapePoint(shape_estimate(there.shape, there.values)))


def is_lean_looked_at(spec: DurbinSpec, units: int, rows: int, error: float) -> bool:
    """Whether a complete panel may have something to say of its lean; ``error``: the standard error of ρ̂ or λ̂."""
    small = units > SMALL_N and rows <= LEAN_ROWS
    return (
        len(spec.spatial_terms) == 1 and small and error > LEAN_ERROR and may_lean(error**2, len(spec.terms))
    )


def _with_random_effects(fit: Fit, weakest: float) -> list[Note]:
    """Means of periods carry most of what a dense W says of ρ, and there are as few of them as periods."""
    if not fit.spec.spatial_terms or not fit.converged:
        return []
    if not (fit.weights.dense or weakest > WEAK_RANDOM_ERROR):
        return []
    beside = MEDIAN_UNBIASED if len(fit.spec.spatial_terms) == 1 else BOOTSTRAP
    return [imprecise_random(weakest, fit.weights.dense, beside)]


def _by_instruments(fit: Fit, weakest: float) -> list[Note]:
    if not weakest > WEAK_SPATIAL_ERROR:
        return []
    beside = limits_that_hold(fit)
    if weakest > VERY_WEAK:
        return [next_to_no_instruments(weakest, beside)]
    return [little_by_instruments(weakest, 0.05 if fit.bias_correction else 0.14, beside)]


def _notes_on_degrees(fit: Fit) -> list[Note]:
    """Coefficients whose clustered errors rest on a few units, or on one."""
    if fit.clusters is None:
        return []
    found = fit.tidy().iloc[: fit.clusters.back.shape[1]]
    few = found[found["df"] < FEW_DEGREES]
    alone = tuple(found.loc[found["df"].isna() & found["estimate"].notna(), "term"])
    notes = [few_degrees(tuple(zip(few["term"], few["df"], strict=True)), fit.covariance)] if len(few) else []
    return [*notes, *([one_unit_alone(alone, fit.covariance)] if alone else [])]


def _notes_on_periods(fit: Fit) -> list[Note]:
    """What was measured at the nearest number of units and, of the periods that were, the most that the panel has.

    By Conley's errors at the nearest number of units.
    """
    units, periods, known = len(fit.panel.units), len(fit.panel.periods), [T for _, T in COVERED]
    if fit.convergence.kernel is not None:
        return [conley_note(fit.convergence.kernel, units, bool(fit.spec.spatial_terms))]
    if fit.covariance != "driscoll_kraay" or periods > max(known):
        return []
    n = min((n for n, _ in COVERED), key=lambda n: abs(np.log(n / units)))
    T = max((T for T in known if periods >= T), default=min(known))
    return [few_periods(n, T, *COVERED[n, T])]


@one_thread
def fit_durbin(
    spec: DurbinSpec,
    panel: Panel,
    W: Any,
    estimator: Estimator = "lee_yu",
    covariance: Covariance | None = None,
    *,
    powers: int = 2,
    bandwidth: int | Weights | None = None,
    bias_correction: bool | None = None,
    W_x: Any = None,
    W_error: Any = None,
) -> Fit:
    r"""Estimate a spatial Durbin model, or one of its restrictions.

    y_t = ρWy_t + X_t β + W X_t θ + μ + α_t ι + u_t,  u_t = λWu_t + ε_t; with lags in time, τy_{t−1} + ηWy_{t−1} more.

    Parameters
    ----------
    spec
        Which of ρ, θ, λ, which effects, which endogenous regressors.
    panel
        n units × T periods; T = 1 is a cross-section. Of one made with ``balance="keep"`` the rows that are present with
        all variables are used, and neighbours are those that are there.
    W
        Weights of the same units, in any order: they are matched by id. One, or by period (``zb.weights.by_period``).
    estimator
        ``"lee_yu"`` (default): (quasi) maximum likelihood that takes fixed effects out by an orthonormal
        transform, so that N is n(T−1), (n−1)T or (n−1)(T−1) and, with time effects, ln(1 − ρ) leaves the
        determinant. Where that transform does not reach (rows that are absent, W by period or for each lag, other effects,
        time effects under a W that is not row-normalised) the same estimate by its score, written for any shape:
        ``glance()`` says ``adjusted_score`` and the reason (spatial-zb docs shape). ``"direct"``: maximum
        likelihood with dummies, for comparison with other software: its σ² and, with time effects, its ρ̂ are biased when
        n or T is small. ``"gmm"``: spatial two-stage least
        squares and, with ``lag_error``, generalised moments for λ; no normality, and endogenous regressors. Without
        ``lag_error`` rows may be absent, W may differ by period, x have a W of its own, and effects be any.
        ``"robust_score"``: ρ, λ or both by a score that unequal variances of the errors and their correlation over
        time do not bias, as they bias maximum likelihood where units that others look to have larger errors, or few units
        have persistent ones; no likelihood, errors clustered by unit.
        Random effects are estimated by maximum likelihood under ``lee_yu`` and ``direct`` alike, since nothing
        is transformed away, and the fit says ``"ml"``. With a lag in time ``"lee_yu"`` adds the correction of order
        1/T of Yu, de Jong & Lee (2008) and Lee & Yu (2010b), ``"yang"`` takes the bias out of the score at the given T
        (Yang 2018; it may have no root near a unit root), and ``"uncorrected"`` does neither.
    covariance
        Maximum likelihood: ``"information"`` (expected) or ``"hessian"`` (observed), which take errors as normal
        and independent; ``"sandwich"``, independent errors of any distribution (Lee 2004); ``"cluster"``, errors of
        a unit correlated over time: with fewer than 50 units CR2, which puts back what the fit took out of the residuals
        of each, and Student's t with degrees of freedom by coefficient (Bell & McCaffrey 2002), else CR1 with
        t(units − 1); ``"cr2"`` and ``"cr1"`` ask for either; ``"driscoll_kraay"``, errors of a period correlated between
        units, and over ``bandwidth`` periods, for long panels; ``"spatial_hac"``, errors correlated over time and with
        neighbours up to 2 × ``bandwidth`` links of W (after Kelejian & Prucha 2007); ``"conley"``, the same by
        kilometres (Conley 1999), judged by the law of its kernel. These change standard errors, not
        estimates: with ρ or λ the estimates themselves need errors of equal variance, independent between units. GMM:
        ``"information"`` (homoskedastic), ``"robust"`` (heteroskedasticity of unknown form) or, without ``lag_error``,
        ``"cluster"``, ``"cr1"`` and ``"cr2"`` (by unit). By default ``"information"``, and ``"cluster"`` for
        ``robust_score``, which has no other.
    powers
        For ``gmm``: highest power of W that multiplies the exogenous variables among the instruments.
    bandwidth
        For ``"driscoll_kraay"``: lags with Bartlett weights, ⌊4(T/100)^{2/9}⌋ without it. For ``"spatial_hac"``:
        links of W within which units form a neighbourhood (two units correlate as far as theirs overlap), 1 without
        it. For ``"conley"``: distances of :func:`spatial_zb.weights.kilometres`, whose ``within_km`` is where the triangular
        kernel reaches zero, without it six times the median distance to the nearest unit.
    bias_correction
        For ``gmm``: estimates from moments without the bias of many instruments (Liu & Lee 2010), as for a system; with
        ``lag_error`` the moments of λ are recentred too. By default on where the spatial lag of an endogenous variable
        enters (of y, or of one of ``endog``). False gives the textbook estimator.
    W_x, W_error
        Weights of the spatial lags of x and of the error where they are not ``W``, one or by period.

    Raises
    ------
    SpecificationError
        Unknown option; time effects with W not row-normalised and lags in time, λ by ``gmm`` or ``direct``, or
        ``robust_score``; ρ not identified; endogenous regressors without ``gmm``; ``gmm`` with random effects; too few
        instruments; ``robust_score`` with random effects, lags in time or regimes.
    DataError
        Variables that cannot be used, see :func:`spatial_zb.models.design.build_design`.
    AlignmentError
        Units of panel and W differ.
    ConvergenceError
        ``yang`` without a root.

    Notes
    -----
    Lee & Yu (2010), J. Econometrics 154: 165-185 (fixed effects). Yu, de Jong & Lee (2008), J. Econometrics 146:
    118-134, Lee & Yu (2010b), Econometric Theory 26: 564-597, and Yang (2018), J. Econometrics 205: 423-447 (lags in time).
    Baltagi, Song & Koh (2003), J. Econometrics 117: 123-150, and Kapoor, Kelejian & Prucha (2007), J. Econometrics
    140: 97-130 (random effects).
    Kelejian & Prucha (1998, 1999, 2010) (GMM). Without any spatial lag (OLS, SLX) maximum likelihood with
    fixed effects is ordinary least squares: σ² and standard errors then have the degrees of freedom N − k.
    """
    check_kinds(spec, DurbinSpec, panel)
    covariance = covariance_of(estimator, covariance)
    _check_options(spec, estimator, covariance)
    _check_correction(bias_correction, estimator)
    kernel, steps = None, None
    if covariance == "conley" or isinstance(bandwidth, Weights):
        kernel = conley_kernel(covariance, bandwidth, panel, spec)
    else:
        steps = _check_bandwidth(bandwidth, covariance, len(panel.periods) - spec.dynamic)
    lags = read_lags(spec, panel, W, W_x, W_error)
    if reasons := _reasons(spec, panel, lags, estimator):
        if spec.regimes:
            shaped = fit_regime_rows(spec, panel, lags, reasons, covariance, steps)
        elif estimator == "gmm":
            rows = build_shape(spec, panel, lags, reasons)
            return _told(fit_gmm(rows, covariance, powers, bias_correction), powers=powers)
        else:
            there = build_shape(spec, panel, lags, reasons)
            kernel = None if kernel is None else kernel.of(panel.units.get_indexer(there.panel.units))
            shaped = fit_shape(there, covariance, steps, kernel)
        return _told(shaped, bandwidth=bandwidth)
    weights = lags.one
    check_weights(spec, weights, estimator)
    design = (regime_design if spec.regimes else build_design)(spec, panel, weights)
    if estimator == "gmm":
        fit = fit_gmm(design, covariance, powers, bias_correction)
    elif estimator == "robust_score":
        fit = fit_score(design, covariance)
    elif spec.fixed_effects == "random":
        fit = fit_random(design, covariance)
    elif spec.regimes:
        fit = fit_regimes(design, covariance, steps)
    elif spec.dynamic:
        fit = fit_dynamic(design, estimator, covariance, steps)
    else:
        fit = fit_ml(design, estimator, covariance, steps, kernel)
    powers = powers if estimator == "gmm" else 0
    return _told(fit, bandwidth=bandwidth, powers=powers)


def _told(fit: Fit, **asked: Any) -> Fit:
    """The fit with what was ``asked`` in its record, and its notes, which are warned of."""
    convergence = replace(fit.convergence, **asked)
    found = [*fit.notes, *_notes_on_degrees(fit), *_notes_on_periods(fit), *notes_on_spatial_terms(fit)]
    notes = about(fit.subject, [*fit.design.notes, *found])
    tell(notes)
    return replace(fit, convergence=convergence, notes=notes)


def _reasons(spec: DurbinSpec, panel: Panel, lags: Lags, estimator: Estimator) -> tuple[str, ...]:
    """Why the adjusted score is needed; refused where it is, and estimator or model are of another kind.

    That rows of W do not sum to one is refused in the words of each estimator.
    """
    reasons = reasons_for_shape(spec, panel, lags)
    others = {
        f'estimator="{estimator}"': estimator not in ("lee_yu", "gmm"),
        'fixed_effects="random"': spec.fixed_effects == "random",
        "time_lag": spec.dynamic,
    }
    found = [name for name, on in others.items() if on]
    apart = bool(spec.regimes) and spec.lag_y and "rho" not in spec.common  # its transform asks for no such W
    if (found or apart or estimator == "gmm") and set(reasons) <= {"rows of W"}:
        return ()
    if not found:
        return reasons
    require_complete(panel, Text(listed(found), listed_zh(found)))
    why = [REASONS[name] for name in reasons]
    raise SpecificationError(
        f"{listed(found)} needs a complete panel under one W with effects of units and periods, and here "
        f"{' and '.join(text.en for text in why)}. Drop {listed(found)}, or take the units that are always there "
        "(panel.select) and one W.",
        f"{listed_zh(found)}要求面板完整、W唯一、仅有个体与时间效应，而此处{'，'.join(text.zh for text in why)}。"
        f"请去掉{listed_zh(found)}，或只取各期齐全的地区（panel.select）和一个W。",
    )


def _check_options(spec: DurbinSpec, estimator: Estimator, covariance: Covariance) -> None:
    if estimator not in get_args(Estimator):
        raise not_one_of("estimator", estimator, get_args(Estimator))
    _check_dynamics(spec, estimator)
    random = spec.fixed_effects == "random"
    if estimator == "gmm" and random:
        raise SpecificationError(
            'Random effects are estimated by maximum likelihood: drop estimator="gmm", or take fixed_effects '
            '"none", "unit", "time" or "two_way".',
            '随机效应由极大似然估计：请去掉estimator="gmm"，或用fixed_effects "none"、"unit"、"time"或"two_way"。',
        )
    if estimator == "robust_score" and random:
        raise _no_robust_score()
    if spec.endog and estimator != "gmm":
        raise SpecificationError(
            f"{listed(spec.endog)} cannot be endogenous under maximum likelihood of one equation: use "
            'estimator="gmm", or a SystemSpec.',
            f'单方程极大似然中{listed_zh(spec.endog)}不能为内生：请用estimator="gmm"，或SystemSpec。',
        )
    kind = (
        estimator
        if estimator in ("gmm", "robust_score")
        else "random"
        if random
        else "regimes"
        if spec.regimes
        else "ml"
    )
    allowed = COVARIANCES[kind]
    if covariance not in allowed:
        raise SpecificationError(
            f"covariance must be one of {listed(allowed, 9)} for this estimator, not {covariance!r}.",
            f"此估计方法的covariance须为{listed_zh(allowed, 9)}之一，而不是{covariance!r}。",
        )


def _no_robust_score() -> SpecificationError:
    return SpecificationError(
        'The robust score is that of a model with fixed effects: take fixed_effects="unit", or estimate random effects '
        "by the default estimator.",
        '稳健得分用于固定效应模型：请用fixed_effects="unit"，或用默认方法估计随机效应。',
    )


def _check_correction(wanted: bool | None, estimator: Estimator) -> None:
    if wanted and estimator != "gmm":
        raise SpecificationError(
            f'bias_correction is for estimator="gmm" and its many instruments, not for {estimator!r}. Leave it out.',
            f'bias_correction用于消除estimator="gmm"因工具变量过多产生的偏误，不用于{estimator!r}。请去掉。',
        )


def _check_dynamics(spec: DurbinSpec, estimator: Estimator) -> None:
    own = ("lee_yu", "yang", "uncorrected")
    if spec.dynamic and estimator not in own:
        raise SpecificationError(
            f"With a lag in time estimator is one of {listed(own)}, not {estimator!r}: "
            '"uncorrected" gives what maximum likelihood without a correction gives.',
            f"含时间滞后时estimator为{listed_zh(own)}之一，而不是{estimator!r}："
            '"uncorrected"给出未作校正的极大似然估计。',
        )
    if spec.regimes and estimator != "lee_yu":
        raise SpecificationError(
            f'Regimes are estimated by estimator="lee_yu", not by {estimator!r}.',
            f'区制由estimator="lee_yu"估计，而不是{estimator!r}。',
        )
    if not spec.dynamic and estimator in own[1:]:
        raise SpecificationError(
            f'estimator={estimator!r} corrects the bias of a lag in time, and this model has no such lag: use "lee_yu".',
            f'estimator={estimator!r}针对时间滞后的偏误，而模型没有时间滞后：请用"lee_yu"。',
        )


def _check_bandwidth(bandwidth: Any, covariance: Covariance, periods: int) -> int | None:
    long = covariance == "driscoll_kraay"
    if long and periods < 3:
        raise SpecificationError(
            f'covariance="driscoll_kraay" is estimated from period to period, and the panel has {periods}. '
            'Use "cluster" or "spatial_hac".',
            f'covariance="driscoll_kraay"由各时期之间估计，而面板只有{periods}个时期。请用"cluster"或"spatial_hac"。',
        )
    if bandwidth is None:
        return None
    if covariance not in ("driscoll_kraay", "spatial_hac"):
        raise SpecificationError(
            f'bandwidth goes with covariance="driscoll_kraay" or "spatial_hac", not with {covariance!r}.',
            f'bandwidth用于covariance="driscoll_kraay"或"spatial_hac"，而不是{covariance!r}。',
        )
    highest = periods - 1 if long else None
    whole = isinstance(bandwidth, int) and not isinstance(bandwidth, bool) and bandwidth >= 0
    if not whole or (highest is not None and bandwidth > highest):
        allowed, allowed_zh = (
            (f"from 0 to {highest} (one less than the periods)", f"0至{highest}（时期数减1）")
            if long
            else ("from 0", "0或更大")
        )
        raise SpecificationError(
            f"bandwidth must be a whole number {allowed}, not {bandwidth!r}.",
            f"bandwidth须为{allowed_zh}的整数，而不是{bandwidth!r}。",
        )
    return bandwidth


def check_weights(spec: DurbinSpec, weights: Weights, estimator: Estimator) -> None:
    """With time effects W must keep ι where a determinant or a moment of λ is taken; 2SLS alone does not ask."""
    asks = spec.lag_error if estimator == "gmm" else spec.spatial_terms or spec.lag_time_lag
    timed = spec.fixed_effects in ("time", "two_way")
    if spec.regimes:  # their score is unbiased under any W
        return
    if not (asks and timed) or weights.row_normalised or (estimator == "direct" and not spec.lag_error):
        return
    refuse_empty_rows(weights)
    what = {
        "gmm": Text("the moment estimator of λ", "λ的矩估计"),
        "robust_score": Text("the robust score", "稳健得分"),
        # demeaning removes dummies from u only when Wι = ι
        "direct": Text("a spatial error", "空间误差项"),
    }.get(estimator, Text("the Lee-Yu transform", "Lee-Yu变换"))
    other, other_zh = ("", "") if spec.lag_error else (', or estimator="direct"', '，或estimator="direct"')
    raise SpecificationError(
        f"With time effects {what.en} needs a row-normalised W; {weights.label!r} is not. "
        f'Use W.standardise("row"), or unit effects only{other}.',
        f"有时间效应时{what.zh}要求W行标准化，而{weights.label!r}不是。"
        f'请用W.standardise("row")，或只用个体效应{other_zh}。',
    )
