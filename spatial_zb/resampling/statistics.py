"""Effects and differences as functions of the parameters, for every replicate: values, standard errors, where they exist."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.core.impacts import average_effects, multipliers, no_multipliers
from spatial_zb.dynamic_effects import long_run_statistics
from spatial_zb.effects import EFFECTS, Horizon, average_effects_at
from spatial_zb.errors import not_one_of
from spatial_zb.models.fit import Fit
from spatial_zb.models.regimes import regime_contrast, regime_labels
from spatial_zb.regime_effects import regime_gradient, regime_values, regimes_admit
from spatial_zb.resampling.record import Statistics
from spatial_zb.text import Text

__all__ = ["differences_of", "effects_of"]

Array = NDArray[np.float64]
OUTSIDE = Text("have ρ outside its admissible interval", "的ρ落在容许区间之外")
EXPLOSIVE = Text("are explosive (no long run)", "为爆炸过程（没有长期）")


def effects_of(fit: Fit, horizon: Horizon) -> Statistics:
    """Average direct, indirect and total effects of every regressor, of the short or the long run, or by regime."""
    if horizon not in get_args(Horizon):
        raise not_one_of("horizon", horizon, get_args(Horizon))
    if horizon == "long":
        at, errors, defined = long_run_statistics(fit)
        return Statistics(_names(fit.spec.regressors), at, errors, defined, EXPLOSIVE)
    if fit.spec.regimes:
        return _by_regime(fit)

    def defined(values: Array) -> NDArray[np.bool_]:
        if not fit.spec.lag_y:
            return np.ones(len(values), dtype=bool)
        low, high = fit.weights.logdet.interval
        rho = values[:, fit.params.index.get_loc("rho")]
        return (low < rho) & (rho < high)

    return Statistics(
        names=_names(fit.spec.regressors),
        at=lambda values: average_effects_at(fit, values).reshape(len(values), -1),
        errors=lambda values, covariances: _delta_errors(fit, values, covariances),
        defined=defined,
        undefined=OUTSIDE,
    )


def differences_of(fit: Fit) -> Statistics:
    """Second regime less first: of every coefficient, and of the effects on the units of either."""
    names, contrast = regime_contrast(fit)
    rows = [(name, "coefficient") for name in names] + [(x, effect) for x in fit.spec.x for effect in EFFECTS]

    def at(values: Array) -> Array:
        effects = regime_values(fit, values)
        return np.hstack(
            [values @ contrast.T, (effects[:, :, 1] - effects[:, :, 0]).reshape(len(values), -1)]
        )

    def errors(values: Array, covariances: Array) -> Array:
        gradient = regime_gradient(fit, values)
        effects = (gradient[:, :, 1] - gradient[:, :, 0]).reshape(len(values), -1, values.shape[1])
        every = np.broadcast_to(contrast, (len(values), *contrast.shape))
        return _roots(np.concatenate([every, effects], axis=1), covariances)

    frame = pd.DataFrame(rows, columns=["term", "effect"])
    return Statistics(frame, at, errors, lambda values: regimes_admit(fit, values), OUTSIDE)


def _by_regime(fit: Fit) -> Statistics:
    def at(values: Array) -> Array:
        return regime_values(fit, values).reshape(len(values), -1)

    def errors(values: Array, covariances: Array) -> Array:
        gradient = regime_gradient(fit, values)
        return _roots(gradient.reshape(len(values), -1, values.shape[1]), covariances)

    labels = (*regime_labels(fit.spec, fit.convergence["regimes"]), "")
    names = _names(tuple(f"{x}{label}" for x in fit.spec.x for label in labels))
    return Statistics(names, at, errors, lambda values: regimes_admit(fit, values), OUTSIDE)


def _names(terms: tuple[str, ...]) -> pd.DataFrame:
    rows = [(term, effect) for term in terms for effect in EFFECTS]
    return pd.DataFrame(rows, columns=["term", "effect"])


def _roots(gradient: Array, cov: Array) -> Array:
    """√(g'Vg) (R, q) of gradients (R, q, p) and covariances (R, p, p)."""
    return np.sqrt(np.einsum("rqi,rij,rqj->rq", gradient, cov, gradient, optimize=True))


def _delta_errors(fit: Fit, values: Array, covariances: Array) -> Array:
    """Standard errors (R, 3 × regressors) of the average effects at parameters (R, p), by the delta method."""
    spec, index = fit.spec, fit.params.index
    at = {name: index.get_loc(name) for name in index}
    rho = values[:, at["rho"]] if spec.lag_y else np.zeros(len(values))
    W = fit.weights
    factors = (
        multipliers(rho, W.matrix, W.logdet, W.row_normalised) if spec.lag_y else no_multipliers(W.matrix)
    )
    beta = values[:, [at[name] for name in spec.regressors]]
    theta = np.stack(
        [values[:, at[f"W_{x}"]] if x in spec.lag_x else rho * 0 for x in spec.regressors], axis=1
    )
    gradient = np.broadcast_to(average_effects(beta, theta, factors)[1], (*beta.shape, 3, 3))
    out = np.empty((*beta.shape, 3))
    for k, name in enumerate(spec.regressors):
        places = [at[name], at.get(f"W_{name}", -1) if name in spec.lag_x else -1, at.get("rho", -1)]
        used = [i for i, place in enumerate(places) if place >= 0]
        where = [places[i] for i in used]
        g, V = gradient[:, k][:, :, used], covariances[:, where][:, :, where]
        out[:, k] = np.sqrt(np.einsum("rei,rij,rej->re", g, V, g))
    return out.reshape(len(values), -1)
