"""Posterior probabilities of models × weights: what one panel says for SAR against SDM, for queen against distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.printing import Printed
from spatial_zb.core.likelihood.marginal import Data, Integral, PriorNumbers, log_marginal
from spatial_zb.core.logdet import NoLag
from spatial_zb.core.transforms import FixedEffects
from spatial_zb.data.panel import Panel
from spatial_zb.models.design import Design, build_design, stacked
from spatial_zb.models.spec import FAMILIES, DurbinSpec
from spatial_zb.weights.compare import compare_weights
from spatial_zb.weights.matrix import Weights, as_weights

#: Families that are compared: at most one of ρ and λ.
MODELS = ("OLS", "SLX", "SAR", "SDM", "SEM", "SDEM")
#: (lag of y, lag of x, lag of the error) of each.
_LAGS = {name: lags for lags, name in FAMILIES.items()}
_CHOICES = ["model", "weights"]


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed before the data; the defaults say little and are proper where models differ.

    Attributes
    ----------
    coefficients
        ``"g"``: Zellner's δ | σ² ~ N(0, σ² g (Z'Z)⁻¹), Z after the fixed-effects transform. ``"flat"``: constant
        densities (LeSage 2014), which compare only models with the same number of coefficients.
    g
        A number, ``"unit"`` (the number of observations N), or ``"benchmark"``, max(N, k²) with k the coefficients
        of the largest model compared (Fernández, Ley & Steel 2001).
    shape
        q of ρ, λ ~ Beta(q, q) on the admissible interval: 1 is uniform, more leans to the middle.
    nu, scale
        σ² ~ inverse gamma (ν/2, νs²/2); ν = 0 is 1/σ², which all models share.
    cells
        How prior probability is spread: ``"family"``: equally over families, then over the W of each;
        ``"equal"``: equally over all models × W.

    Raises
    ------
    SpecificationError
        A value outside these.
    """

    coefficients: Literal["g", "flat"] = "g"
    g: float | Literal["unit", "benchmark"] = "benchmark"
    shape: float = 1.0
    nu: float = 0.0
    scale: float = 1.0
    cells: Literal["family", "equal"] = "family"

    def __post_init__(self) -> None:
        for name, allowed in (("coefficients", ("g", "flat")), ("cells", ("family", "equal"))):
            if getattr(self, name) not in allowed:
                raise not_one_of(name, getattr(self, name), allowed)
        if isinstance(self.g, str):
            if self.g not in ("unit", "benchmark"):
                raise SpecificationError(
                    f'g must be a number, "unit" or "benchmark", not {self.g!r}.',
                    f'g须为数值、"unit"或"benchmark"，而不是{self.g!r}。',
                )
        elif not (np.isfinite(self.g) and self.g > 0):
            raise SpecificationError(
                f"g must be positive and finite, not {self.g!r}.", f"g须为正且有限，而不是{self.g!r}。"
            )
        if not (np.isfinite(self.shape) and self.shape >= 1):
            raise SpecificationError(
                f"shape must be 1 (uniform) or more, not {self.shape!r}.",
                f"shape须为1（均匀）或更大，而不是{self.shape!r}。",
            )
        if not (self.nu >= 0 and self.scale > 0):
            raise SpecificationError(
                f"nu must not be negative and scale must be positive, not {self.nu!r} and {self.scale!r}.",
                f"nu不能为负，scale须为正，而不是{self.nu!r}和{self.scale!r}。",
            )

    def numbers(self, observations: int, largest: int) -> PriorNumbers:
        """The prior in numbers, for N observations and at most ``largest`` coefficients."""
        known = {"unit": observations, "benchmark": max(observations, largest**2)}
        g = known[self.g] if isinstance(self.g, str) else self.g
        return PriorNumbers(
            float("inf") if self.coefficients == "flat" else float(g), self.shape, self.nu, self.scale
        )


@dataclass(frozen=True, eq=False, repr=False)
class ModelProbabilities(Printed):
    """Posterior probabilities of models × weights.

    Attributes
    ----------
    frame
        One row per model and W: ``model, weights, log_marginal, prior_probability, probability``,
        ``log_bayes_factor`` (against the most probable row), ``coefficient`` (``rho``, ``lam`` or blank) with its
        posterior ``mean`` and ``std_dev``.
        OLS has no W and stands once, with a blank.
    prior
        What was believed before.
    sensitivity
        ``prior`` (its name), ``g`` and the columns of ``frame`` for every prior asked for; None without.
    sample
        ``y, x, fixed_effects, n_units, n_periods, nobs, g``.
    """

    frame: pd.DataFrame
    prior: Prior
    sensitivity: pd.DataFrame | None
    sample: Mapping[str, Any]

    def tidy(self) -> pd.DataFrame:
        """One row per model and W, in the order they were given."""
        return self.frame.copy()

    def glance(self) -> pd.DataFrame:
        """The sample, the prior and the most probable model in one row."""
        best = self.frame.loc[self.frame["probability"].idxmax()]
        facts = {**self.sample, "x": ", ".join(self.sample["x"]), "coefficients": self.prior.coefficients}
        facts |= {"shape": self.prior.shape, "best_model": best["model"], "best_weights": best["weights"]}
        return pd.DataFrame([facts | {"probability": best["probability"]}])

    def by(self, what: Literal["model", "weights"]) -> pd.Series:
        """Probability of every model over all W, or of every W over all models (blank: the one without W)."""
        if what not in _CHOICES:
            raise not_one_of("what", what, _CHOICES)
        return self.frame.groupby(what, sort=False)["probability"].sum()

    def table(self) -> pd.DataFrame:
        """Probabilities with a row per model and a column per W; OLS, which has none, in a column of its own."""
        order = list(dict.fromkeys(self.frame["weights"]))
        wide = self.frame.pivot(index="model", columns="weights", values="probability")
        return wide.loc[list(dict.fromkeys(self.frame["model"])), order]


def model_probabilities(
    panel: Panel,
    y: str,
    x: Sequence[str],
    weights: Mapping[str, Any],
    *,
    models: Sequence[str] = MODELS,
    fixed_effects: FixedEffects = "two_way",
    prior: Prior | None = None,
    sensitivity: bool | Mapping[str, Prior] = False,
) -> ModelProbabilities:
    r"""Posterior probabilities of spatial models × weights from their marginal likelihoods.

    p(M | y) ∝ p(M) ∫ L(ρ, δ, σ²) p(δ, σ², ρ | M), over the data after the fixed-effects transform of Lee & Yu
    (2010), so that all models have the same N observations. δ and σ² integrate out exactly and ρ or λ by
    quadrature: no simulation, no seed.

    Parameters
    ----------
    panel, y, x
        Data; all of x are lagged in SLX, SDM and SDEM.
    weights
        By name, of all units of the panel.
    models
        Some of OLS, SLX, SAR, SDM, SEM, SDEM.
    fixed_effects
        ``"none"`` (an intercept with a flat prior), ``"unit"``, ``"time"`` or ``"two_way"``.
    prior
        :class:`Prior`; its defaults without it.
    sensitivity
        True: the same under ten times smaller and larger g and under Beta priors of ρ and λ; or priors by name.

    Raises
    ------
    SpecificationError
        Nothing to compare, an unknown model, a flat prior with models of different size, time effects with a W that
        is not row-normalised, or ρ not identified under some W.
    DataError, AlignmentError
        As in :func:`fit_durbin`.

    Notes
    -----
    LeSage & Parent (2007), Geographical Analysis 39: 241-267; LeSage (2014), Spatial Statistics 9: 122-145;
    Fernández, Ley & Steel (2001), J. Econometrics 100: 381-427. Probabilities are relative to the models compared:
    one of them gets nearly all where all are wrong, too. spatial-zb docs comparison has the formulas.
    """
    prior = prior or Prior()
    aligned = _aligned(panel, weights)
    names = _checked(models, aligned, fixed_effects)
    cells = [(model, W) for model in names for W in (aligned if model != "OLS" else [""])]
    data = {cell: _data(panel, y, x, aligned, fixed_effects, *cell) for cell in cells}
    _refuse_unlike_sizes(prior, data)
    frame = _frame(data, aligned, prior)
    sample = next(iter(data.values())).sample
    facts = {
        "y": y,
        "x": tuple(x),
        "fixed_effects": fixed_effects,
        "n_units": sample.n_units,
        "n_periods": sample.n_periods,
        "nobs": sample.observations,
        "g": _numbers(prior, data).g,
    }
    return ModelProbabilities(frame, prior, _sensitivity(sensitivity, data, aligned, facts), facts)


@dataclass(frozen=True, slots=True)
class _Cell:
    """One model under one W, ready to be integrated."""

    data: Data
    sample: Any
    lag: Literal["none", "y", "error"]


def _aligned(panel: Panel, weights: Mapping[str, Any]) -> dict[str, Weights]:
    if not isinstance(weights, Mapping) or not weights:
        raise SpecificationError(
            "Give weights by name: {'queen': W1, 'knn4': W2}.",
            "请按名称给出权重矩阵：{'queen': W1, 'knn4': W2}。",
        )
    out = {str(name): as_weights(W, label=str(name)).align(panel.units) for name, W in weights.items()}
    if len(out) > 1:
        compare_weights(out)  # says which are nearly one matrix
    return out


def _checked(models: Sequence[str], weights: Mapping[str, Weights], effects: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(str(model).upper() for model in models))
    strange = [name for name in names if name not in MODELS]
    if strange or not names:
        raise SpecificationError(
            f"models must be some of {listed(MODELS)}, not {listed(strange) or 'none'}.",
            f"models须取自{listed_zh(MODELS)}，而不是{listed_zh(strange) or '空'}。",
        )
    if len(names) * len(weights) < 2:
        raise SpecificationError(
            "Probabilities need at least two models, or two weights.",
            "计算概率至少需要两个模型或两个权重矩阵。",
        )
    if effects not in get_args(FixedEffects):
        raise not_one_of("fixed_effects", effects, get_args(FixedEffects))
    wrong = [name for name, W in weights.items() if not W.row_normalised]
    if wrong and effects in ("time", "two_way") and {"SAR", "SDM", "SEM", "SDEM"} & set(names):
        raise SpecificationError(
            f"With time effects the transform needs row-normalised weights; {listed(wrong)} are not. "
            'Use W.standardise("row"), or unit effects only.',
            f'含时间效应的变换需要行标准化的权重矩阵；{listed_zh(wrong)}不是。请用W.standardise("row")，或只用地区效应。',
        )
    return names


def _data(
    panel: Panel,
    y: str,
    x: Sequence[str],
    weights: Mapping[str, Weights],
    effects: FixedEffects,
    model: str,
    W: str,
) -> _Cell:
    lag_y, lag_x, lag_error = _LAGS[model]
    spec = DurbinSpec(y, x, lag_y, "all" if lag_x else (), lag_error, effects)
    design = build_design(spec, panel, weights[W] if W else next(iter(weights.values())))
    return _Cell(_columns(design), design.sample(), "y" if lag_y else "error" if lag_error else "none")


def _columns(design: Design) -> Data:
    flat = int(design.spec.terms[:1] == ("(Intercept)",))
    Z, y, Wy = map(stacked, (design.Z, design.y, design.Wy))
    return Data(Z, y, Wy, design.basis, flat, design.lagged)


def _refuse_unlike_sizes(prior: Prior, data: Mapping[tuple[str, str], _Cell]) -> None:
    sizes = {model: cell.data.Z.shape[1] for (model, _), cell in data.items()}
    if prior.coefficients == "flat" and len(set(sizes.values())) > 1:
        raise SpecificationError(
            f"A flat prior has no scale, so that models with {listed(sorted(set(sizes.values())))} coefficients cannot be "
            'compared under it. Compare SLX, SDM and SDEM, or OLS, SAR and SEM; or use Prior(coefficients="g").',
            f"平坦先验没有尺度，系数个数不同（{listed_zh(sorted(set(sizes.values())))}）的模型无法在其下比较。"
            '请比较SLX、SDM与SDEM，或OLS、SAR与SEM；或用Prior(coefficients="g")。',
        )


def _numbers(prior: Prior, data: Mapping[tuple[str, str], _Cell]) -> PriorNumbers:
    largest = max(cell.data.Z.shape[1] - cell.data.flat for cell in data.values())
    return prior.numbers(next(iter(data.values())).sample.observations, largest)


def _frame(
    data: Mapping[tuple[str, str], _Cell], weights: Mapping[str, Weights], prior: Prior
) -> pd.DataFrame:
    numbers = _numbers(prior, data)
    found = [
        log_marginal(
            cell.data, weights[W].logdet if cell.lag != "none" else NoLag(), cell.sample, numbers, cell.lag
        )
        for (_, W), cell in data.items()
    ]
    return _probable(data, found, prior)


def _probable(data: Mapping[tuple[str, str], _Cell], found: Sequence[Integral], prior: Prior) -> pd.DataFrame:
    """Bayes' rule over the rows."""
    frame = pd.DataFrame(list(data), columns=_CHOICES)
    frame["log_marginal"] = [one.log_value for one in found]
    families = frame["model"].nunique()
    sizes = frame.groupby("model")["model"].transform("size")
    frame["prior_probability"] = 1 / len(frame) if prior.cells == "equal" else 1 / (families * sizes)
    weight = frame["log_marginal"] + np.log(frame["prior_probability"])
    frame["probability"] = np.exp(weight - logsumexp(weight))
    best = frame["log_marginal"][frame["probability"].idxmax()]
    frame["log_bayes_factor"] = frame["log_marginal"] - best
    frame["coefficient"] = [{"y": "rho", "error": "lam", "none": ""}[cell.lag] for cell in data.values()]
    frame["mean"], frame["std_dev"] = [one.mean for one in found], [one.std_dev for one in found]
    return frame


def _sensitivity(
    asked: bool | Mapping[str, Prior],
    data: Mapping[tuple[str, str], _Cell],
    weights: Mapping[str, Weights],
    facts: Mapping[str, Any],
) -> pd.DataFrame | None:
    if asked is False:
        return None
    priors = _standard_priors(facts["nobs"]) if asked is True else dict(asked)
    for prior in priors.values():
        _refuse_unlike_sizes(prior, data)
    frames = [
        _frame(data, weights, prior).assign(prior=name, g=_numbers(prior, data).g)
        for name, prior in priors.items()
    ]
    out = pd.concat(frames, ignore_index=True)
    return out[["prior", "g", *out.columns.drop(["prior", "g"])]]


def _standard_priors(observations: int) -> dict[str, Prior]:
    """Priors that a reader would ask about, under the names that tables print."""
    return {
        "g = max(N, k²)": Prior(),
        "g = N/10": Prior(g=observations / 10),
        "g = 10 N": Prior(g=10.0 * observations),
        "Beta(2, 2)": Prior(shape=2.0),
        "Beta(5, 5)": Prior(shape=5.0),
    }
