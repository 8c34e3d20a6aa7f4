"""Which fits may be compared with what: the same data, the same likelihood, one inside the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spatial_zb.errors import SpecificationError, listed
from spatial_zb.models.fit import Fit

__all__ = ["nested", "refuse_other_data", "refuse_other_likelihoods", "same_model"]


def refuse_other_data(fits: Mapping[str, Fit]) -> None:
    """Refuse fits of another y, of other units or periods, or after other effects."""
    _refuse(fits, _DATA, "they are not models of the same data. Fit them on the same sample in the same way.")


def refuse_other_likelihoods(fits: Mapping[str, Fit]) -> None:
    """Refuse fits whose log-likelihoods say nothing about each other, or that have none."""
    failed = [name for name, fit in fits.items() if not fit.converged]
    if failed:
        raise SpecificationError(f"{listed(failed)} did not converge; leave them out of the comparison.")
    without = [name for name, fit in fits.items() if not np.isfinite(fit.log_likelihood)]
    if without:
        raise SpecificationError(
            f"{listed(without)} have no likelihood, since they are estimated by moments: ln L, AIC and BIC do not exist. "
            "Compare them by a J test, or estimate them by maximum likelihood."
        )
    _refuse(
        fits,
        {"estimator": lambda f: f.estimator} | _DATA,
        "their likelihoods are of different data, and ln L, AIC and BIC say nothing about which is better. Fit them on "
        "the same sample in the same way.",
    )


_DATA: dict[str, Callable[[Fit], Any]] = {
    "y": lambda f: f.spec.y,
    "units": lambda f: tuple(sorted(f.panel.units)),
    "periods": lambda f: tuple(f.panel.periods),
    "effects": lambda f: f.spec.fixed_effects,
    "observations": lambda f: f.nobs,
    "values of y": lambda f: float(f.panel.array(f.spec.y)[:, np.argsort(f.panel.units)].sum()),
}


def _refuse(fits: Mapping[str, Fit], facts: Mapping[str, Callable[[Fit], Any]], why: str) -> None:
    for what, of in facts.items():
        if len({of(fit) for fit in fits.values()}) > 1:
            raise SpecificationError(f"{listed(fits)} differ in their {what}: {why}")


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
