"""Which fits may be compared with what: the same data, the same likelihood, one inside the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spatial_zb.errors import SpecificationError, listed, listed_zh
from spatial_zb.models.fit import Fit
from spatial_zb.text import Text

__all__ = ["nested", "refuse_other_data", "refuse_other_likelihoods", "same_model"]


def refuse_other_data(fits: Mapping[str, Fit]) -> None:
    """Refuse fits of another y, of other units or periods, or after other effects."""
    _refuse(
        fits,
        _DATA,
        Text(
            "they are not models of the same data. Fit them on the same sample in the same way.",
            "数据不同的模型不能比较。请用同一样本、同样的方式估计。",
        ),
    )


def refuse_other_likelihoods(fits: Mapping[str, Fit]) -> None:
    """Refuse fits whose log-likelihoods say nothing about each other, or that have none."""
    failed = [name for name, fit in fits.items() if not fit.converged]
    if failed:
        raise SpecificationError(
            f"{listed(failed)} did not converge; leave them out of the comparison.",
            f"{listed_zh(failed)}没有收敛；请移出比较。",
        )
    without = [name for name, fit in fits.items() if not np.isfinite(fit.log_likelihood)]
    if without:
        raise SpecificationError(
            f"{listed(without)} have no likelihood, since they are estimated by moments: ln L, AIC and BIC do not exist. "
            "Compare them by a J test, or estimate them by maximum likelihood.",
            f"{listed_zh(without)}由矩估计，没有似然：ln L、AIC和BIC不存在。请用J检验比较，或用极大似然估计。",
        )
    _refuse(
        fits,
        {Text("estimator", "估计方法"): lambda f: f.estimator} | _DATA,
        Text(
            "their likelihoods are of different data, and ln L, AIC and BIC say nothing about which is better. Fit them "
            "on the same sample in the same way.",
            "其似然出自不同的数据，ln L、AIC和BIC不能说明优劣。请用同一样本、同样的方式估计。",
        ),
    )


_DATA: dict[Text, Callable[[Fit], Any]] = {
    Text("y", "y"): lambda f: f.spec.y,
    Text("units", "地区"): lambda f: tuple(sorted(f.panel.units)),
    Text("periods", "时期"): lambda f: tuple(f.panel.periods),
    Text("effects", "效应"): lambda f: f.spec.fixed_effects,
    Text("observations", "观测数"): lambda f: f.nobs,
    Text("values of y", "y的取值"): lambda f: float(
        f.panel.array(f.spec.y)[:, np.argsort(f.panel.units)].sum()
    ),
}


def _refuse(fits: Mapping[str, Fit], facts: Mapping[Text, Callable[[Fit], Any]], why: Text) -> None:
    for what, of in facts.items():
        if len({of(fit) for fit in fits.values()}) > 1:
            raise SpecificationError(
                f"{listed(fits)} differ in their {what.en}: {why.en}",
                f"{listed_zh(fits)}的{what.zh}不同：{why.zh}",
            )


def nested(small: Fit, large: Fit) -> bool:
    """Whether ``small`` is ``large`` with some coefficients at zero, under the same W."""
    inside = set(small.params.index) < set(large.params.index)
    return inside and (_without_w(small) or _same_w(small, large))


def same_model(a: Fit, b: Fit) -> bool:
    """Whether two fits have the same terms and the same W."""
    alike = set(a.params.index) == set(b.params.index)
    return alike and (_without_w(a) or _same_w(a, b))


def _without_w(fit: Fit) -> bool:
    return not fit.spec.spatial_terms and not fit.spec.lag_x


def _same_w(a: Fit, b: Fit) -> bool:
    return (a.weights.matrix != b.weights.align(a.weights.ids).matrix).nnz == 0
