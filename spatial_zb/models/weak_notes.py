"""Where the data say little about ρ or λ: what simulations found at that precision, and what to read instead."""

from __future__ import annotations

import numpy as np

from spatial_zb.models.fit import Fit
from spatial_zb.models.gmm_notes import limits_that_hold
from spatial_zb.models.notes import fit_words, warn_together
from spatial_zb.text import Text

__all__ = ["VERY_WEAK", "WEAK_RANDOM_ERROR", "WEAK_SPATIAL_ERROR", "mention_weak_spatial_terms"]

#: Standard error of ρ or λ from which intervals of indirect effects cover less than 92 % and bias reaches 0.02
#: (docs/validation/study.md: up to 0.15 both are good; 0.18 gives −0.020 and 89 %, 0.24 −0.031, 0.33 −0.057).
WEAK_SPATIAL_ERROR = 0.16
#: The same with random effects, whose bias reaches −0.03 at 0.10 with contiguity and at any error under a dense W
#: (docs/validation/small_sample.md).
WEAK_RANDOM_ERROR = 0.09
#: Standard error of ρ by instruments from which a tenth or more of the estimates leave the admissible interval
#: (docs/validation/gmm.md: 0.6 to 4.9).
VERY_WEAK = 0.55


def mention_weak_spatial_terms(fit: Fit) -> None:
    """Warn where standard errors of ρ and λ are so large that simulations show bias and short intervals of effects."""
    where = [fit.params.index.get_loc(name) for name in fit.spec.spatial_terms]
    weakest = float(np.sqrt(fit.cov.to_numpy()[where, where].max())) if where else 0.0
    if fit.estimator == "gmm":
        said = _by_instruments(fit, weakest)
    elif fit.spec.fixed_effects == "random":
        said = _with_random_effects(fit, weakest)
    else:
        said = _by_likelihood(fit, weakest)
    if said is not None:
        warn_together(fit_words(fit.spec.family, fit.spec.y, fit.weights.label), [said], stacklevel=3)


def _by_likelihood(fit: Fit, weakest: float) -> Text | None:
    if not weakest > WEAK_SPATIAL_ERROR:
        return None
    advice = _instead(fit)
    return Text(
        f"the data say little about the spatial coefficient (standard error {weakest:.2f}). In simulations at this "
        "precision it leans low by 0.02 or more and intervals of indirect effects are too short "
        f"(docs/validation/study.md). {advice.en}",
        f"数据对空间系数提供的信息很少（标准误{weakest:.2f}）。模拟表明此精度下估计值偏低0.02以上，间接效应的区间偏窄"
        f"（docs/validation/study.md）。{advice.zh}",
    )


def _with_random_effects(fit: Fit, weakest: float) -> Text | None:
    """Means of periods carry most of what a dense W says of ρ, and there are as few of them as periods."""
    if not fit.spec.spatial_terms or not fit.converged:
        return None
    if not (fit.weights.dense or weakest > WEAK_RANDOM_ERROR):
        return None
    one = len(fit.spec.spatial_terms) == 1
    other = "zb.median_unbiased(fit)" if one else "zb.bootstrap(fit)"
    dense = Text(
        "In simulations under a W that links nearly all units it leans low by 0.03 to 0.13",
        "模拟表明W几乎连接所有地区时估计值偏低0.03至0.13",
    )
    sparse = Text(
        "In simulations at this precision it leans low by 0.01 to 0.03",
        "模拟表明此精度下估计值偏低0.01至0.03",
    )
    how = dense if fit.weights.dense else sparse
    return Text(
        f"the spatial coefficient is imprecise (standard error {weakest:.2f}). {how.en}, and intervals of indirect effects "
        f"hold the truth in 87 to 93 % (docs/validation/small_sample.md). Read {other} beside it",
        f"空间系数不精确（标准误{weakest:.2f}）。{how.zh}，间接效应区间的覆盖率为87%至93%"
        f"（docs/validation/small_sample.md）。请同时看{other}",
    )


def _by_instruments(fit: Fit, weakest: float) -> Text | None:
    if not weakest > WEAK_SPATIAL_ERROR:
        return None
    other = limits_that_hold(fit)
    if weakest > VERY_WEAK:
        return Text(
            f"instruments say next to nothing about the spatial coefficient (standard error {weakest:.2f}). In simulations "
            "at this precision 10 to 60 % of the estimates were outside the admissible interval, and the others low by 0.1 "
            f"to 2 on average (docs/validation/gmm.md). Read {other}, or estimate by lee_yu where all regressors are "
            "exogenous",
            f"工具变量对空间系数几乎没有信息（标准误{weakest:.2f}）。模拟表明此精度下10%至60%的估计值落在容许区间之外，其余平均"
            f"偏低0.1至2（docs/validation/gmm.md）。请看{other}；若所有解释变量外生，宜用lee_yu估计",
        )
    off, off_zh = ("0.05", "0.05以内") if fit.bias_correction else ("0.14", "0.14以内")
    return Text(
        f"instruments say little about the spatial coefficient (standard error {weakest:.2f}). In simulations at this "
        f"precision its median is off by up to {off}, and intervals of indirect effects are too short "
        f"(docs/validation/gmm.md). Read {other} beside it, or use a sparser W",
        f"工具变量对空间系数的信息很少（标准误{weakest:.2f}）。模拟表明此精度下其中位数的偏误在{off_zh}，间接效应的区间偏窄"
        f"（docs/validation/gmm.md）。请同时看{other}，或用更稀疏的W",
    )


def _instead(fit: Fit) -> Text:
    """What to read where the data say little; of two spatial lags only the intervals of zb.median_unbiased are good."""
    if fit.estimator != "lee_yu" or fit.spec.dynamic:
        return Text(
            "Use a sparser W, and read zb.bootstrap(fit) beside it",
            "请用更稀疏的W，并同时看zb.bootstrap(fit)",
        )
    if len(fit.spec.spatial_terms) > 1:
        return Text(
            "Use a sparser W or a model with one spatial lag, or read the intervals of zb.median_unbiased(fit), which cover",
            "请用更稀疏的W或只含一种空间滞后的模型，或看zb.median_unbiased(fit)的区间（覆盖率达标）",
        )
    return Text(
        "Use a sparser W, or read zb.median_unbiased(fit), whose estimate does not lean and whose intervals cover",
        "请用更稀疏的W，或看zb.median_unbiased(fit)（估计值不偏低，区间的覆盖率达标）",
    )
